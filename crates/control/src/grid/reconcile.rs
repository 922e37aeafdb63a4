//! What is wanted against what is held, app by app. Idempotent: run it as often as you like.

use kinesis_protocol::{AppId, Epoch, LeaseId, Replica, message::ToAgent};

use super::{Effect, Grid, Lease, Node, Phase, Stop, place::Purpose};
use crate::api::{AppState, Event};

/// After this share of the time that a lease has to become ready, another is placed beside it.
const HEDGE_SHARE: u64 = 3;

impl Grid {
    /// Moves an app towards what is wanted of it.
    pub(super) fn reconcile(&mut self, now_ms: u64, id: AppId) {
        let stopped = self.apps.get(&id).is_none_or(|app| app.stop.is_some());
        if stopped {
            let all: Vec<LeaseId> = self.leases_of(id).map(|lease| lease.spec.lease).collect();
            for lease in all {
                self.release(now_ms, lease);
            }
        } else if let Some(app) = self.apps.get_mut(&id) {
            (app.unsatisfied, app.starting) = (false, false);
            app.refused.retain(|_, (until, _)| *until > now_ms);
            app.avoid.retain(|_, until| *until > now_ms);
            match app.scale.map(|scale| scale.replicas) {
                Some(replicas) => self.reconcile_service(now_ms, id, replicas),
                None => self.reconcile_job(now_ms, id),
            }
        }
        let state = self.state(id);
        let Some(app) = self.apps.get_mut(&id) else { return };
        if state == AppState::Running && app.scale.is_some() && !app.unsatisfied {
            // All that is wanted is held, or on its way: what failed before is no news.
            app.reason = None;
        }
        self.tell_state(id);
    }

    /// Tells where an app stands, if it was not told before.
    pub(super) fn tell_state(&mut self, id: AppId) {
        let state = self.state(id);
        let Some(app) = self.apps.get_mut(&id).filter(|app| app.told != state) else { return };
        app.told = state;
        let name = app.spec.manifest.name.clone();
        self.effects.push(Effect::Routes(id));
        self.effects.push(Effect::Tell(Event::App { app: id, name, state }));
    }

    fn reconcile_service(&mut self, now_ms: u64, id: AppId, replicas: u32) {
        let Some(app) = self.apps.get(&id) else { return };
        let Some(service) = app.spec.service() else { return };
        let warm = service.warm;
        let held = self.leases_of(id).map(|lease| lease.spec.key.replica.0 + 1).max();
        for replica in 0..replicas.max(held.unwrap_or(0)).max(1) {
            // Scaled down to nothing, the first replica's standbys stay: they cost nothing.
            let stands = if replica < replicas.max(1) { warm } else { 0 };
            self.reconcile_replica(now_ms, id, Replica(replica), replica < replicas, stands);
        }
    }

    fn held(&self, id: AppId, replica: Replica) -> impl Iterator<Item = &Lease> {
        self.leases_of(id).filter(move |lease| lease.spec.key.replica == replica)
    }

    /// The lease that serves a replica.
    fn serving(&self, id: AppId, replica: Replica) -> Option<&Lease> {
        self.held(id, replica)
            .filter(|lease| lease.phase == Phase::Active && !lease.standby)
            .max_by_key(|lease| lease.epoch())
    }

    fn reconcile_replica(
        &mut self,
        now_ms: u64,
        id: AppId,
        replica: Replica,
        wanted: bool,
        stands: u32,
    ) {
        if wanted {
            self.serve(now_ms, id, replica);
        } else {
            let active: Vec<LeaseId> =
                self.held(id, replica).filter(|l| !l.standby).map(|l| l.spec.lease).collect();
            for lease in active {
                self.release(now_ms, lease);
            }
        }
        self.fence(now_ms, id, replica);
        self.stand(now_ms, id, replica, wanted, stands);
    }

    /// Sees to it that something of the wanted version serves.
    fn serve(&mut self, now_ms: u64, id: AppId, replica: Replica) {
        let Some(version) = self.apps.get(&id).map(|app| app.spec.version) else { return };
        let serving = self.serving(id, replica);
        let leaves = |lease: &Lease| self.nodes.get(&lease.node).is_some_and(Node::is_to_be_left);
        let unsafe_on = |lease: &Lease| lease.suspected_at_ms.is_some() || leaves(lease);
        let fine = serving.filter(|lease| !unsafe_on(lease));
        if fine.is_some_and(|lease| lease.version == version) {
            // Who came second, or says that it serves though nobody told it to.
            let extra: Vec<LeaseId> = self
                .held(id, replica)
                .filter(|lease| lease.claims || (lease.hedge && !lease.standby))
                .filter(|lease| lease.phase != Phase::Active || lease.standby)
                .map(|lease| lease.spec.lease)
                .collect();
            for lease in extra {
                self.release(now_ms, lease);
            }
            return;
        }
        // What could take over: warm ones first, of the wanted version first, the oldest first.
        let above = serving.map_or(Epoch(0), Lease::epoch);
        let mut standbys: Vec<&Lease> = self
            .held(id, replica)
            .filter(|lease| lease.standby && lease.is_live())
            .filter(|lease| !lease.has_epoch() || lease.epoch() > above)
            .collect();
        standbys.sort_by_key(|l| (l.phase != Phase::Warm, l.version != version, l.epoch()));
        if let Some(old) = serving {
            let moves = old.version != version || leaves(old);
            let suspected = unsafe_on(old);
            let ready = standbys.iter().find(|lease| {
                lease.phase == Phase::Warm && (lease.version == version || suspected)
            });
            if let Some(ready) = ready {
                let ready = ready.spec.lease;
                self.promote(now_ms, ready);
            } else if moves && !standbys.iter().any(|lease| lease.version == version) {
                self.place(now_ms, id, replica, Purpose::Succeed);
            }
            return;
        }
        let best = standbys.first().map(|best| (best.spec.lease, best.phase == Phase::Warm));
        let coming: Vec<&Lease> =
            self.held(id, replica).filter(|lease| !lease.standby && lease.is_live()).collect();
        let slow = coming.len() == 1 && coming.iter().all(|lease| self.is_slow(now_ms, lease));
        let coming = !coming.is_empty();
        let may_return = now_ms < self.grace_until_ms
            && self.held(id, replica).any(|l| l.phase == Phase::Lost && l.restored && !l.standby);
        if may_return {
            // It served before this utility's restart and most likely still does: what it holds in
            // memory is worth the moment its agent needs to dial again.
            self.unsatisfied(id, None);
            return;
        }
        match best {
            Some((best, true)) => self.promote(now_ms, best),
            _ if coming => {
                // Looked at again in a moment: it may be slow.
                self.unsatisfied(id, None);
                if slow {
                    self.place(now_ms, id, replica, Purpose::Hedge);
                }
            }
            Some((best, false)) => {
                // It is on its way: it serves as soon as it is ready.
                if let Some(lease) = self.leases.get_mut(&best) {
                    lease.standby = false;
                }
                self.effects.push(Effect::Activated(best));
            }
            None => {
                self.place(now_ms, id, replica, Purpose::Serve);
            }
        }
    }

    /// Whatever is below the serving epoch is over.
    fn fence(&mut self, now_ms: u64, id: AppId, replica: Replica) {
        let Some(epoch) = self.serving(id, replica).map(Lease::epoch) else { return };
        let older: Vec<LeaseId> = self
            .held(id, replica)
            .filter(|lease| lease.has_epoch() && lease.epoch() < epoch)
            .map(|lease| lease.spec.lease)
            .collect();
        for lease in older {
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.fenced_at_ms.get_or_insert(now_ms);
            }
            self.release(now_ms, lease);
        }
    }

    /// Sees to it that as many standbys wait as are wanted, each on a supplier of its own.
    fn stand(&mut self, now_ms: u64, id: AppId, replica: Replica, wanted: bool, stands: u32) {
        let Some(version) = self.apps.get(&id).map(|app| app.spec.version) else { return };
        let current = self
            .serving(id, replica)
            .or_else(|| self.held(id, replica).find(|l| !l.standby && l.is_live()));
        if wanted && current.is_none_or(|l| !l.has_epoch() || l.version != version) {
            // First things first: what serves, then what stands by. During a roll-over the
            // successor waits as a standby and must not be counted as one too many.
            return;
        }
        let mut taken: Vec<kinesis_protocol::Address> =
            current.map(|lease| lease.info.supplier).into_iter().collect();
        let mut standbys: Vec<&Lease> =
            self.held(id, replica).filter(|l| l.standby && l.is_live()).collect();
        // One that is being placed has no epoch yet: what it is placed beside comes first.
        standbys.sort_by_key(|l| (l.phase != Phase::Warm, l.hedge, l.epoch()));
        let (mut kept, mut ready, mut slow, mut extra) = (0, 0, 0, Vec::new());
        for lease in standbys {
            let leaving = self.nodes.get(&lease.node).is_some_and(Node::is_to_be_left);
            let fits =
                lease.version == version && !leaving && !taken.contains(&lease.info.supplier);
            // Beside each that is slow to start another may wait, until one of the two is ready.
            if fits && kept < stands + slow.min(stands - ready) {
                kept += 1;
                ready += u32::from(lease.phase == Phase::Warm);
                slow += u32::from(!lease.hedge && self.is_slow(now_ms, lease));
                taken.push(lease.info.supplier);
            } else {
                extra.push(lease.spec.lease);
            }
        }
        for lease in extra {
            self.release(now_ms, lease);
        }
        if ready < stands
            && let Some(app) = self.apps.get_mut(&id)
        {
            app.starting = true;
        }
        while kept < stands {
            if !self.place(now_ms, id, replica, Purpose::Stand) {
                return;
            }
            kept += 1;
        }
        while kept < stands + slow.min(stands - ready) {
            if !self.place(now_ms, id, replica, Purpose::StandBeside) {
                return;
            }
            kept += 1;
        }
    }

    /// Whether a lease takes long to get ready.
    pub(super) fn is_slow(&self, now_ms: u64, lease: &Lease) -> bool {
        let waited = now_ms.saturating_sub(lease.placed_at_ms);
        lease.is_starting() && waited > self.ready_ms(lease) / HEDGE_SHARE
    }

    /// A standby takes over. Nothing is waited for: the frame first, then the routes.
    fn promote(&mut self, now_ms: u64, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.standby = false;
        lease.claims = false;
        lease.activated_at_ms = now_ms;
        lease.suspected_at_ms = None;
        lease.enter(Phase::Active, now_ms);
        let lease = lease.clone();
        let key = lease.spec.key;
        self.effects.push(Effect::Send(lease.node, ToAgent::Activate { lease: id }));
        self.effects.push(Effect::Routes(key.app));
        self.effects.push(Effect::Activated(id));
        let others: Vec<&Lease> = self
            .held(key.app, key.replica)
            .filter(|other| !other.standby && other.spec.lease != id)
            .collect();
        let from = others.iter().map(|other| (other.epoch(), other.spec.lease)).max();
        let coming: Vec<LeaseId> = others
            .iter()
            .filter(|other| other.phase != Phase::Active && other.is_live())
            .map(|other| other.spec.lease)
            .collect();
        for other in coming {
            self.release(now_ms, other);
        }
        if let Some((_, from)) = from {
            self.effects.push(Effect::Tell(Event::TakeOver {
                app: key.app,
                replica: key.replica.0,
                from,
                to: id,
                node: lease.node,
                name: lease.info.name.clone(),
            }));
        }
        self.tell_lease(&lease);
        self.fence(now_ms, key.app, key.replica);
    }

    /// Tells a lease to end. One that is lost is told when its node is back.
    pub(super) fn release(&mut self, now_ms: u64, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let mut drain_ms = self.config.drain_ms;
        if lease.is_job() {
            // What it does after it was told to end, wherever its node is now, nobody pays.
            lease.fenced_at_ms.get_or_insert(now_ms);
            let stop = self.apps.get(&lease.spec.key.app).and_then(|app| app.stop);
            if stop == Some(Stop::Budget) {
                drain_ms = 0;
            }
        }
        match lease.phase {
            Phase::Placing => lease.cancelled = true,
            Phase::Asked | Phase::Starting | Phase::Warm | Phase::Active => {
                let serves = lease.phase == Phase::Active && !lease.standby;
                lease.enter(Phase::Draining, now_ms);
                let (node, app) = (lease.node, lease.spec.key.app);
                let notice_ms = if serves { drain_ms } else { 0 };
                let lease = lease.clone();
                if serves {
                    self.effects.push(Effect::Routes(app));
                }
                self.effects.push(Effect::Send(node, ToAgent::Release { lease: id, notice_ms }));
                self.tell_lease(&lease);
            }
            Phase::Draining | Phase::Lost | Phase::Ended => {}
        }
    }
}
