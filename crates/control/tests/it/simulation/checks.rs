//! What must hold, at every moment and in the end.

use super::*;

impl Sim {
    /// What holds at every moment.
    pub(super) fn check_always(&self) {
        let seed = self.seed;
        for app in &self.apps {
            let leases: Vec<&Lease> =
                self.grid.leases_of(app.id).filter(|lease| lease.is_live()).collect();
            for replica in leases.iter().map(|l| l.spec.key.replica).collect::<BTreeSet<_>>() {
                let of = leases.iter().filter(|lease| lease.spec.key.replica == replica);
                let serving = of
                    .clone()
                    .filter(|lease| !lease.standby && lease.phase == Phase::Active)
                    .max_by_key(|lease| lease.epoch());
                for standby in of.filter(|lease| lease.standby) {
                    if let Some(serving) = serving {
                        assert_ne!(
                            standby.info.supplier, serving.info.supplier,
                            "seed {seed} at {}: {standby:?} stands by on the supplier of {serving:?}",
                            self.now
                        );
                    }
                }
            }
        }
    }

    /// What holds once everything has been left alone for a while.
    pub(super) fn check_settled(&self) {
        let seed = self.seed;
        for (app, replicas) in [(&self.apps[0], 1), (&self.apps[1], 2)] {
            for replica in (0..replicas).map(Replica) {
                let active: Vec<_> = self.held(app.id, replica, LeaseState::Active).collect();
                let warm: Vec<_> = self.held(app.id, replica, LeaseState::Warm).collect();
                let name = &app.manifest.name;
                let found = (active.len(), warm.len());
                assert_eq!(
                    found,
                    (1, 1),
                    "seed {seed}: {name} {replica}\n{}",
                    self.describe(app.id)
                );
                assert!(warm[0].1 > active[0].1, "seed {seed}: a standby's epoch is higher");
                assert_ne!(warm[0].0, active[0].0, "seed {seed}: one supplier for both");
                let routes = self.grid.routes(app.id).unwrap();
                let usable = routes.serving.iter().filter(|s| s.replica == replica && s.usable);
                assert_eq!(usable.count(), 1, "seed {seed}: routes {routes:?}");
            }
        }
        // What the load had brought is gone with it.
        let more = |lease: &&Lease| lease.spec.key.replica.0 >= 2 && lease.is_live();
        let more: Vec<_> = self.grid.leases_of(self.apps[1].id).filter(more).collect();
        assert!(more.is_empty(), "seed {seed}: {more:?}");
        assert_eq!(self.grid.state(self.apps[2].id), AppState::Idle, "seed {seed}");
        for machine in &self.nodes {
            for (id, held) in &machine.leases {
                let known = self.grid.leases().get(id);
                assert!(known.is_some(), "seed {seed}: orphan {id} {:?}", held.state);
            }
        }
        for (id, lease) in self.grid.leases() {
            let machine = self.nodes.iter().find(|m| m.info.node == lease.node).unwrap();
            let held = machine.leases.get(id);
            assert!(held.is_some(), "seed {seed}: {id} is held by nobody: {lease:?}");
            if let Some(held) = held {
                assert!(held.told.covers(&lease.counters), "seed {seed}: believed too much");
                let behind = held.counters.wall_ms - lease.counters.wall_ms;
                assert!(behind <= 300, "seed {seed}: {id} is {behind} ms behind");
            }
        }
        assert_eq!(
            self.store.over.get(&self.apps[3].id),
            Some(&AppState::Completed),
            "seed {seed}: the job ends; parts {:?}",
            self.grid.apps().get(&self.apps[3].id).map(|app| &app.parts)
        );
        for ((_, number), part) in &self.store.parts {
            assert_eq!(part.completed.len(), 1, "seed {seed}: part {number} is billed once");
            let row = &self.store.leases[&part.completed[0]];
            assert!(matches!(row.ended, Some(Ending::Completed { .. })), "seed {seed}");
        }
        let mut epochs = BTreeSet::new();
        for row in self.store.leases.values() {
            assert!(epochs.insert(row.lease.spec.key), "seed {seed}: an epoch was given twice");
        }
    }

    /// Everything known of an app's leases, for a failed assertion.
    fn describe(&self, app: AppId) -> String {
        let mut text = format!("now {}\n", self.now);
        for lease in self.grid.leases_of(app) {
            text += &format!(
                "grid {} {} on {} standby {} {:?} since {} fenced {:?}\n",
                lease.spec.lease,
                lease.spec.key.epoch,
                lease.info.name,
                lease.standby,
                lease.phase,
                lease.since_ms,
                lease.fenced_at_ms,
            );
        }
        for machine in &self.nodes {
            text += &format!("{} session {:?}\n", machine.info.name, machine.session);
            for (id, held) in machine.leases.iter().filter(|(_, held)| held.spec.key.app == app) {
                text += &format!(
                    "  holds {id} {} {:?} activate {}\n",
                    held.spec.key, held.state, held.activate
                );
            }
        }
        text + &format!("{:?}", self.grid.apps().get(&app).map(|app| (&app.reason, app.scale)))
    }

    /// Supplier and epoch of what machines hold for a replica in one state.
    fn held(
        &self,
        app: AppId,
        replica: Replica,
        state: LeaseState,
    ) -> impl Iterator<Item = (Address, Epoch)> {
        self.nodes.iter().flat_map(move |machine| {
            machine
                .leases
                .values()
                .filter(move |held| {
                    held.spec.key.app == app
                        && held.spec.key.replica == replica
                        && held.state == state
                })
                .map(|held| (machine.info.supplier, held.spec.key.epoch))
        })
    }
}
