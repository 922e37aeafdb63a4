//! Carrying out what the grid wants, in a simulated network and store.

use super::*;

impl Sim {
    pub(super) fn act(&mut self) {
        for effect in self.grid.drain() {
            let later = self.now + self.rng.random_range(1..40);
            match effect {
                Effect::Send(node, message) => {
                    let at = self.now + self.rng.random_range(1..30);
                    let Some(machine) = self.nodes.iter_mut().find(|m| m.info.node == node) else {
                        continue;
                    };
                    if let Some(session) = machine.session {
                        let at = machine.to_node.back().map_or(at, |(last, ..)| at.max(*last));
                        machine.to_node.push_back((at, session, message));
                    }
                }
                Effect::Close(node, _) => {
                    let found = self.nodes.iter_mut().find(|m| m.info.node == node);
                    if let Some(machine) = found {
                        machine.closed_session = machine.session;
                    }
                }
                Effect::Place(lease) => self.writes.push_back((later, Write::Place(lease))),
                Effect::Activated(lease) => self.writes.push_back((later, Write::Activated(lease))),
                Effect::Ended(over) => self.writes.push_back((later, Write::Ended(over))),
                Effect::State(app, state, _) => {
                    self.writes.push_back((later, Write::State(app, state)));
                }
                Effect::Tell(Event::TakeOver { replica, to, .. }) => {
                    self.trace.push(format!("{} {to} takes over {replica}", self.now));
                }
                Effect::Tell(Event::ReportRefused { reason, .. }) => {
                    panic!("seed {}: an honest report was refused: {reason}", self.seed);
                }
                Effect::Routes(_) | Effect::Tell(_) => {}
            }
        }
        // Writes finish in the order of their times.
        self.writes.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    pub(super) fn finish(&mut self, write: Write) {
        let epoch = self.write(&write);
        match write {
            Write::Place(lease) => self.grid.placed(self.now, lease, epoch),
            Write::Ended(over) => self.grid.recorded(over.lease),
            Write::Activated(_) | Write::State(..) => {}
        }
        self.act();
    }

    /// What the store does.
    pub(super) fn write(&mut self, write: &Write) -> Option<Epoch> {
        match write {
            Write::Place(id) => {
                let mut lease = self.grid.leases().get(id)?.clone();
                let key = lease.spec.key;
                let epoch = self.store.epochs.entry((key.app, key.replica)).or_default();
                *epoch += 1;
                lease.spec.key.epoch = Epoch(*epoch);
                if let Workload::Job(_) = lease.spec.workload {
                    let part = self.store.parts.get_mut(&(lease.version, key.replica.0))?;
                    let over = part.failed || !part.completed.is_empty();
                    if over || (part.running.is_some() && (!lease.hedge || part.beside.is_some())) {
                        return None;
                    }
                    match part.running {
                        Some(_) => part.beside = Some(*id),
                        None => part.running = Some(*id),
                    }
                }
                let (standby, counters) = (lease.standby, Counters::default());
                self.beside += u32::from(lease.hedge);
                self.store.leases.insert(*id, Row { lease, standby, counters, ended: None });
                Some(Epoch(*epoch))
            }
            Write::Activated(id) => {
                if let Some(row) = self.store.leases.get_mut(id) {
                    row.standby = false;
                }
                None
            }
            Write::Ended(over) => {
                if let Some(row) = self.store.leases.get_mut(&over.lease)
                    && row.ended.is_none()
                {
                    row.ended = Some(over.ending.clone());
                    row.counters = row.counters.max(&over.counters);
                }
                let part = self.store.parts.get_mut(&(over.version, over.key.replica.0));
                let part = part.filter(|part| part.completed.is_empty() && !part.failed)?;
                let other = match (part.running, part.beside) {
                    (Some(first), beside) if first == over.lease => beside,
                    (first, Some(beside)) if beside == over.lease => first,
                    _ => return None,
                };
                match (&over.part, other) {
                    (Some(PartOutcome::Completed), _) => part.completed.push(over.lease),
                    (Some(PartOutcome::Other) | None, Some(other)) => {
                        (part.running, part.beside) = (Some(other), None);
                    }
                    (Some(PartOutcome::Other), None) => part.running = None,
                    (Some(PartOutcome::Again { counts, .. }), _) => {
                        part.attempts += u32::from(*counts);
                        (part.running, part.beside) = (None, None);
                    }
                    (Some(PartOutcome::Failed), _) => part.failed = true,
                    (None, None) => {}
                }
                None
            }
            Write::State(app, state) => {
                self.store.over.insert(*app, *state);
                None
            }
        }
    }
}
