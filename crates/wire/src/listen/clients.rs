//! Who has how many of something.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// The client that an address belongs to: an IPv4 address itself, of an IPv6 address the network of
/// 64 bits, of which whoever has one address mostly has all.
#[must_use]
pub fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// How many of something each client has.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<IpAddr, u32>>);

/// One of a client's, until it is dropped.
#[derive(Debug)]
pub struct Held {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Counts one more for whom this address belongs to; `None` where they have `most` already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, ip: IpAddr, most: u32) -> Option<Held> {
        let client = client_of(ip);
        let mut clients = self.0.lock();
        let count = clients.get(&client).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        clients.insert(client, count + 1);
        Some(Held { clients: Arc::clone(self), client })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut clients = self.clients.0.lock();
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(clients: &Arc<Clients>, ip: &str) -> Option<Held> {
        clients.enter(ip.parse().unwrap(), 2)
    }

    #[test]
    fn a_client_has_so_many_and_no_more() {
        let clients = Arc::new(Clients::default());
        let first = enter(&clients, "203.0.113.7").unwrap();
        let _second = enter(&clients, "::ffff:203.0.113.7").unwrap();
        assert!(enter(&clients, "203.0.113.7").is_none());
        assert!(enter(&clients, "203.0.113.8").is_some());
        drop(first);
        assert!(enter(&clients, "203.0.113.7").is_some());
        assert_eq!(clients.0.lock().len(), 1);
        assert!(clients.enter("203.0.113.9".parse().unwrap(), 0).is_none());
        assert_eq!(clients.0.lock().len(), 1, "who was refused is not remembered");
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let clients = Arc::new(Clients::default());
        let _first = enter(&clients, "2001:db8:0:1::1").unwrap();
        let _second = enter(&clients, "2001:db8:0:1:ffff:ffff:ffff:ffff").unwrap();
        assert!(enter(&clients, "2001:db8:0:1:2:3:4:5").is_none());
        assert!(enter(&clients, "2001:db8:0:2::1").is_some());
        assert!(enter(&clients, "::1").is_some());
    }
}
