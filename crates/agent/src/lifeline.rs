//! The lifeline: a plain TCP connection that says nothing and lives as long as this process.
//!
//! When the process dies, however it dies, the kernel closes the socket and the utility knows
//! within a millisecond; so does the agent of the utility's. It carries no data but the token that names its agent, so it needs no
//! encryption: whoever cut it could cut the packets too, and gains a failover at most.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);
/// A connection that stood this long was accepted; one that is closed sooner was refused.
const STOOD: Duration = Duration::from_secs(1);
/// The longest token that is sent: 64 hexadecimal digits, and room for a newer version.
const TOKEN_BYTES_MAX: usize = 256;

/// The lifeline that a utility offered, if it is one of its own: on a machine where we were told to
/// find it, with a token that means nothing to anybody else. A utility must not choose whom this
/// machine dials, nor what it says there.
pub(crate) fn own<'a>(
    addr: &str,
    token: &'a str,
    utility: &[SocketAddr],
) -> Option<(SocketAddr, &'a str)> {
    let addr: SocketAddr = addr.parse().ok()?;
    let known = utility.iter().any(|known| known.ip() == addr.ip());
    let plain = token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|b| b.is_ascii_hexdigit());
    if !known || !plain {
        tracing::warn!(%addr, "the utility's lifeline is not its own; doing without one");
        return None;
    }
    Some((addr, token))
}

/// Holds the lifeline open until the other end closes it, which a utility does when it dies. Dials
/// again where it was refused. Dropping this closes it.
pub(crate) async fn hold(addr: SocketAddr, token: &str) {
    loop {
        match tokio::time::timeout(DIAL_TIMEOUT, dial(addr, token)).await {
            Ok(Ok(mut socket)) => {
                // Nothing is ever sent to us; the read ends when the other end goes away.
                let (since, mut nothing) = (Instant::now(), [0; 64]);
                while matches!(socket.read(&mut nothing).await, Ok(1..)) {}
                tracing::debug!("the lifeline was closed by the other end");
                if since.elapsed() >= STOOD {
                    return;
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, %addr, "the lifeline cannot be dialled"),
            Err(_) => tracing::debug!(%addr, "the lifeline does not answer"),
        }
        tokio::time::sleep(PAUSE + Duration::from_millis(rand::random_range(0..500))).await;
    }
}

async fn dial(addr: SocketAddr, token: &str) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    socket.write_all(token.as_bytes()).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn it_names_itself_comes_back_and_dies_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let holder = tokio::spawn(async move { hold(addr, "abcd").await });
        for _ in 0..2 {
            named(&listener).await;
        }
        let mut last = named(&listener).await;
        holder.abort();
        assert!(matches!(last.read(&mut [0; 4]).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_lifeline_that_stood_ends_with_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let holder = tokio::spawn(async move { hold(addr, "abcd").await });
        let socket = named(&listener).await;
        tokio::time::sleep(STOOD * 2).await;
        assert!(!holder.is_finished());
        drop(socket);
        tokio::time::timeout(Duration::from_secs(20), holder).await.unwrap().unwrap();
    }

    #[test]
    fn a_utility_chooses_neither_whom_we_dial_nor_what_we_say() {
        let utility = ["192.0.2.1:8083".parse().unwrap()];
        let at = "192.0.2.1:8084";
        assert_eq!(own(at, "00ff", &utility), Some((at.parse().unwrap(), "00ff")));
        assert_eq!(own("127.0.0.1:6379", "00ff", &utility), None);
        assert_eq!(own("192.0.2.1.example:80", "00ff", &utility), None);
        assert_eq!(own(at, "FLUSHALL\r\n", &utility), None);
        assert_eq!(own(at, &"0".repeat(257), &utility), None);
        assert_eq!(own(at, "00ff", &[]), None);
    }

    /// Accepts a lifeline and reads its token.
    async fn named(listener: &TcpListener) -> TcpStream {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut token = [0; 4];
        socket.read_exact(&mut token).await.unwrap();
        assert_eq!(&token, b"abcd");
        socket
    }
}
