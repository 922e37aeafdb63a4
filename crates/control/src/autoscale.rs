//! How many replicas a service wants: by the requests in flight, down to zero and up again. Pure.

use kinesis_protocol::manifest::Service;

/// How full a replica may be before another is wanted, in percent of its concurrency.
const FULL_PERCENT: u64 = 70;

/// What one service's scaling remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Replicas wanted.
    pub replicas: u32,
    /// When as many as that were last needed.
    needed_at_ms: u64,
}

impl Scale {
    /// The start: what the manifest's minimum says, and one where it says none, so that a first
    /// deployment shows that it works.
    #[must_use]
    pub fn new(service: &Service, now_ms: u64) -> Self {
        Self { replicas: service.min.max(1), needed_at_ms: now_ms }
    }

    /// Somebody waits for it: at least one replica is wanted.
    pub fn wake(&mut self, now_ms: u64) {
        self.replicas = self.replicas.max(1);
        self.needed_at_ms = now_ms;
    }

    /// Looks at the requests in flight and answers with the replicas wanted. Grows at once, shrinks
    /// when fewer have done for the manifest's `idle_ms`.
    pub fn observe(&mut self, service: &Service, in_flight: u64, now_ms: u64) -> u32 {
        let each = (u64::from(service.concurrency) * FULL_PERCENT).div_ceil(100).max(1);
        let needed = u32::try_from(in_flight.div_ceil(each)).unwrap_or(u32::MAX);
        let needed = needed.clamp(service.min, service.max);
        let idle = now_ms.saturating_sub(self.needed_at_ms) >= service.idle_ms;
        if needed >= self.replicas || idle {
            *self = Self { replicas: needed, needed_at_ms: now_ms };
        }
        // A new version may allow less than the old one did.
        self.replicas = self.replicas.clamp(service.min, service.max);
        self.replicas
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_protocol::Manifest;
    use kinesis_protocol::manifest::Kind;

    fn service(scale: &str) -> Service {
        let text = format!(
            "name = \"a\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n[service]\nconcurrency = 10\n[scale]\n{scale}\n"
        );
        match Manifest::parse(&text).unwrap().kind {
            Kind::Service(service) => service,
            Kind::Job(_) => unreachable!(),
        }
    }

    #[test]
    fn load_adds_replicas_at_once_and_calm_takes_them_slowly() {
        let service = service("min = 1\nmax = 4\nidle_ms = 1000");
        let mut scale = Scale::new(&service, 0);
        assert_eq!(scale.observe(&service, 7, 10), 1);
        assert_eq!(scale.observe(&service, 8, 20), 2);
        assert_eq!(scale.observe(&service, 1_000, 30), 4);
        assert_eq!(scale.observe(&service, 0, 1_000), 4);
        assert_eq!(scale.observe(&service, 0, 1_030), 1);
    }

    #[test]
    fn idle_goes_to_zero_and_a_request_wakes_it() {
        let service = service("min = 0\nmax = 2\nidle_ms = 1000");
        let mut scale = Scale::new(&service, 0);
        assert_eq!(scale.observe(&service, 0, 999), 1);
        assert_eq!(scale.observe(&service, 1, 1_500), 1);
        assert_eq!(scale.observe(&service, 0, 2_499), 1);
        assert_eq!(scale.observe(&service, 0, 2_500), 0);
        scale.wake(9_000);
        assert_eq!(scale.observe(&service, 0, 9_100), 1);
        assert_eq!(scale.observe(&service, 0, 10_000), 0);
    }
}
