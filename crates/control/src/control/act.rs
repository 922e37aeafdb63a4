//! Carrying out what the grid wants: frames first, then routes, then everything that may wait.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use kinesis_protocol::{AppId, LeaseId, NodeId};
use kinesis_wire::http::{LeaseClient, LeaseTraffic};
use tracing::{info, warn};

use super::Control;
use crate::{
    api::Event,
    grid::{Effect, Grid},
    meter::Observed,
    routes::{AppRoute, ReplicaRoute, Routes},
};

impl Control {
    /// Tells the grid something and carries out what follows before anyone else can tell it more.
    pub(crate) fn with<R>(self: &Arc<Self>, tell: impl FnOnce(&mut Grid, u64) -> R) -> R {
        let mut grid = self.grid.lock();
        let answer = tell(&mut grid, self.clock.now_ms());
        let effects = grid.drain();
        if !effects.is_empty() {
            self.act(&grid, effects);
        }
        answer
    }

    /// What the ingress saw of a lease.
    pub(crate) fn observed(&self, lease: LeaseId) -> Option<Observed> {
        let traffic = self.traffic.lock().get(&lease).cloned()?;
        Some(Observed { traffic: traffic.counts(), busy_ms: traffic.busy_ms() })
    }

    fn act(self: &Arc<Self>, grid: &Grid, effects: Vec<Effect>) {
        let mut routed = BTreeSet::new();
        for effect in &effects {
            match effect {
                Effect::Send(node, message) => self.send(*node, message.clone()),
                Effect::Routes(app) => {
                    routed.insert(*app);
                }
                _ => {}
            }
        }
        if !routed.is_empty() {
            self.publish(grid, &routed);
        }
        for effect in effects {
            match effect {
                Effect::Send(..) | Effect::Routes(_) => {}
                Effect::Close(node, reason) => self.close(node, &reason),
                Effect::Place(lease) => {
                    if let Some(lease) = grid.leases().get(&lease) {
                        self.spawn(Self::place(Arc::clone(self), lease.clone()));
                    }
                }
                Effect::Activated(lease) => {
                    self.spawn(Self::record_activation(Arc::clone(self), lease));
                }
                Effect::Ended(over) => self.spawn(Self::record_end(Arc::clone(self), *over)),
                Effect::State(app, state, reason) => {
                    self.spawn(Self::record_state(Arc::clone(self), app, state, reason));
                }
                Effect::Tell(event) => self.tell(event),
            }
        }
    }

    /// Tells everyone who watches. What people must be able to look up later is logged too.
    pub(crate) fn tell(&self, event: Event) {
        match &event {
            Event::NodeJoined { node, name } => info!(node = node.short(), name, "a node joined"),
            Event::NodeLost { node, name, reason } => {
                info!(node = node.short(), name, reason, "a node was lost");
            }
            Event::TakeOver { app, replica, from, to, name, .. } => {
                info!(%app, replica, %from, %to, name, "a standby took over");
            }
            Event::ReportRefused { lease, node, reason } => {
                warn!(%lease, node = node.short(), reason, "a usage report was refused");
            }
            Event::Budget { name, spent_nanousd, stopped, .. } => {
                warn!(app = name, spent = %spent_nanousd, stopped, "an app nears its budget");
            }
            Event::Lease { .. } | Event::App { .. } | Event::Tick { .. } => {}
        }
        // Nobody may be watching.
        let _ = self.events.send(Arc::new(event));
    }

    pub(super) fn send(&self, node: NodeId, message: kinesis_protocol::message::ToAgent) {
        let sessions = self.sessions.lock();
        let Some(session) = sessions.get(&node) else { return };
        if session.frames.try_send(message).is_err() {
            // It has read nothing for a thousand frames: it is no use.
            session.link.close("the control stream is stuck");
        }
    }

    fn close(&self, node: NodeId, reason: &str) {
        if let Some(session) = self.sessions.lock().get(&node) {
            session.link.close(reason);
        }
    }

    /// Swaps in new routes for these apps.
    fn publish(&self, grid: &Grid, apps: &BTreeSet<AppId>) {
        let mut known = self.replicas.lock();
        let old = self.routes.load();
        let mut next = Routes { hosts: old.hosts.clone(), apps: old.apps.clone() };
        for app in apps {
            let before = next.apps.remove(app);
            for host in before.iter().flat_map(|route| route.answers_to()) {
                if next.hosts.get(host).is_some_and(|route| route.app == *app) {
                    next.hosts.remove(host);
                }
            }
            let route = grid.routes(*app).map(|routes| {
                let mut replicas = Vec::with_capacity(routes.serving.len());
                for serving in &routes.serving {
                    let sessions = self.sessions.lock();
                    let Some(session) = sessions.get(&serving.node) else { continue };
                    let kept = known.get(&serving.lease).filter(|route| {
                        route.session == session.number && route.epoch == serving.epoch
                    });
                    let route = match kept {
                        Some(route) => Arc::clone(route),
                        None => {
                            let traffic = self.traffic_of(serving.lease);
                            let link = session.link.clone();
                            Arc::new(ReplicaRoute {
                                lease: serving.lease,
                                replica: serving.replica,
                                epoch: serving.epoch,
                                node: serving.node,
                                client: LeaseClient::new(
                                    link.clone(),
                                    serving.lease,
                                    serving.epoch,
                                    Arc::clone(&traffic),
                                ),
                                link,
                                traffic,
                                concurrency: routes.concurrency,
                                usable: AtomicBool::new(true),
                                session: session.number,
                            })
                        }
                    };
                    route.usable.store(serving.usable, Ordering::Release);
                    replicas.push(route);
                }
                Arc::new(AppRoute {
                    app: *app,
                    name: routes.name,
                    hosts: routes.hosts,
                    state: routes.state,
                    replicas,
                    request_ms_max: routes.request_ms_max,
                })
            });
            // Whoever still holds the old snapshot must not choose what is gone.
            for gone in before.iter().flat_map(|route| &route.replicas) {
                let stays = route
                    .as_ref()
                    .is_some_and(|route| route.replicas.iter().any(|new| Arc::ptr_eq(new, gone)));
                if !stays {
                    gone.usable.store(false, Ordering::Release);
                    known.remove(&gone.lease);
                }
            }
            if let Some(route) = route {
                for replica in &route.replicas {
                    known.insert(replica.lease, Arc::clone(replica));
                }
                for host in route.answers_to() {
                    next.hosts.entry(host.to_owned()).or_insert_with(|| Arc::clone(&route));
                }
                next.apps.insert(*app, route);
            }
        }
        self.routes.store(Arc::new(next));
        self.changed.send_modify(|version| *version += 1);
    }

    fn traffic_of(&self, lease: LeaseId) -> Arc<LeaseTraffic> {
        Arc::clone(self.traffic.lock().entry(lease).or_default())
    }

    /// What is in flight to each service, and whether anything came since it was asked last.
    pub(crate) fn loads(&self, seen: &mut HashMap<AppId, u64>) -> Vec<(AppId, u64)> {
        let routes = self.routes.load();
        let mut loads = Vec::with_capacity(routes.apps.len());
        for (app, route) in &routes.apps {
            let (mut in_flight, mut requests) = (0, 0);
            for replica in &route.replicas {
                in_flight += u64::from(replica.traffic.in_flight.load(Ordering::Relaxed));
                requests += replica.traffic.requests.load(Ordering::Relaxed);
            }
            let moved = seen.insert(*app, requests).is_some_and(|before| before != requests);
            loads.push((*app, in_flight.max(u64::from(moved))));
        }
        seen.retain(|app, _| routes.apps.contains_key(app));
        loads
    }
}
