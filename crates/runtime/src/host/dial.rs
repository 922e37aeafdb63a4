//! Connections for guests: only to what the manifest names, never to a private place.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    time::Duration,
};

const CONNECT_MAX: Duration = Duration::from_secs(20);

/// Connects to `target` (`host:port`), which must be in `allowed`.
///
/// # Errors
/// A sentence for the guest.
pub(super) async fn dial(target: &str, allowed: &[String]) -> Result<OwnedFd, String> {
    if !allowed.iter().any(|host| host.eq_ignore_ascii_case(target)) {
        return Err(format!("{target} is not among the manifest's network hosts"));
    }
    let connect = async {
        let mut last = format!("{target} has no address");
        // A name that resolves to a private address, now or at the next look, is refused: the
        // address that was checked is the one that is connected to.
        for address in tokio::net::lookup_host(target).await.map_err(|e| e.to_string())? {
            if !is_public(address.ip()) {
                last = format!("{target} leads to {}, which is not public", address.ip());
                continue;
            }
            match tokio::net::TcpStream::connect(address).await {
                Ok(stream) => return stream.into_std().map(Into::into).map_err(|e| e.to_string()),
                Err(e) => last = format!("connect to {address}: {e}"),
            }
        }
        Err(last)
    };
    tokio::time::timeout(CONNECT_MAX, connect)
        .await
        .unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT_MAX.as_secs())))
}

/// Whether an address may be reached on a stranger's word, such as a guest's: not loopback, link-local
/// (where clouds keep their metadata), private, shared, multicast or reserved, also not in an IPv6
/// disguise.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let low_v4 = || {
        let [.., a, b] = segments;
        let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // IPv4 mapped, compatible, NAT64.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            is_public_v4(low_v4())
        }
        // 6to4 and Teredo carry addresses that nobody checked.
        [0x2002, ..] | [0x2001, 0, ..] => false,
        // Documentation.
        [0x2001, 0xdb8, ..] => false,
        // Only global unicast is left: no loopback, link-local, unique local, multicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_places_are_refused_in_every_disguise() {
        for ip in [
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
            "fec0::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[tokio::test]
    async fn only_named_hosts_and_only_public_ones() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let refused = dial(&target, &[]).await.unwrap_err();
        assert!(refused.contains("not among"), "{refused}");
        let refused = dial(&target, std::slice::from_ref(&target)).await.unwrap_err();
        assert!(refused.contains("not public"), "{refused}");
    }
}
