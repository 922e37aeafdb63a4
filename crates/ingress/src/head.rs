//! Heads of requests and responses: what is added, and what is for one hop only.

use std::{
    borrow::Cow,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use kinesis_protocol::RequestId;
use parking_lot::Mutex;

/// Names one request, here and in the guest's logs.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Who is at the other end of a connection, ready to be put into requests.
#[derive(Debug)]
pub(crate) struct Client {
    ip: IpAddr,
    proto: &'static str,
    x_forwarded_for: HeaderValue,
    /// The last host and the `Forwarded` header for it: a connection mostly asks for one.
    forwarded: Mutex<Option<(HeaderValue, HeaderValue)>>,
}

impl Client {
    pub(crate) fn new(ip: IpAddr, tls: bool) -> Self {
        let ip = ip.to_canonical();
        let x_forwarded_for = HeaderValue::try_from(ip.to_string()).expect("an IP is visible");
        let proto = if tls { "https" } else { "http" };
        Self { ip, proto, x_forwarded_for, forwarded: Mutex::new(None) }
    }

    fn forwarded(&self, host: &HeaderValue) -> Option<HeaderValue> {
        let mut cached = self.forwarded.lock();
        if let Some((_, forwarded)) = cached.as_ref().filter(|(last, _)| last == host) {
            return Some(forwarded.clone());
        }
        let proto = self.proto;
        let text = match self.ip {
            IpAddr::V4(ip) => format!("for={ip};host=\"{}\";proto={proto}", host.to_str().ok()?),
            IpAddr::V6(ip) => {
                format!("for=\"[{ip}]\";host=\"{}\";proto={proto}", host.to_str().ok()?)
            }
        };
        let forwarded = HeaderValue::try_from(text).ok()?;
        *cached = Some((host.clone(), forwarded.clone()));
        Some(forwarded)
    }
}

/// The request's id: the client's own where it gives a sensible one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sensible = |value: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
            && value
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    headers.get(X_REQUEST_ID).filter(sensible).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(new_request_id().to_string()).expect("an id is visible")
    })
}

/// As [`RequestId::random`] makes them (UUID version 7), without asking the system twice for each
/// request.
fn new_request_id() -> RequestId {
    let mut bytes: [u8; 16] = rand::random();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    bytes[..6].copy_from_slice(&since_ms.to_be_bytes()[2..]);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    RequestId::from_bytes(bytes)
}

/// The host a request is for, without its port, in lowercase, and as it was written.
pub(crate) fn host<B>(request: &Request<B>) -> Option<(Cow<'_, str>, HeaderValue)> {
    // A request line with a host, and every HTTP/2 request, says it there; a Host header must agree,
    // and since it is replaced by what is found here, it does.
    let written = match request.uri().authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
        None => {
            let mut hosts = request.headers().get_all(header::HOST).iter();
            let host = hosts.next()?.clone();
            if hosts.next().is_some() {
                return None;
            }
            host
        }
    };
    let text = match request.uri().authority() {
        Some(authority) => authority.host(),
        None => {
            let text = request.headers().get(header::HOST)?.to_str().ok()?;
            match text.rfind(':') {
                Some(colon) if !text[colon..].contains(']') => {
                    // What is written is passed on: nothing but a port may follow the name.
                    text[colon + 1..].parse::<u16>().ok().filter(|_| !text.contains('+'))?;
                    &text[..colon]
                }
                _ => text,
            }
        }
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let good = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']' | b':')
    };
    if text.is_empty() || text.len() > 253 || !text.bytes().all(good) {
        return None;
    }
    let lower = if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    };
    Some((lower, written))
}

/// Whether a request may be sent again when it is not known whether it was processed.
pub(crate) fn is_idempotent<B>(request: &Request<B>) -> bool {
    matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    ) || request.headers().contains_key(IDEMPOTENCY_KEY)
}

/// What a request asks its connection to become.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let asked = connection_options(request.headers()).any(|o| o.eq_ignore_ascii_case("upgrade"));
    if asked { request.headers().get(header::UPGRADE).cloned() } else { None }
}

/// Makes a client's request one for the replica.
pub(crate) fn to_replica<B>(
    request: &mut Request<B>,
    client: &Client,
    host: HeaderValue,
    id: &HeaderValue,
    upgrade: Option<HeaderValue>,
) {
    let was_http2 = request.version() == Version::HTTP_2;
    let trailers = was_http2 || te_trailers(request.headers());
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // It wins over a length, which must not be passed on beside it.
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    headers.remove(header::EXPECT);
    headers.remove(X_FORWARDED_HOST);
    if was_http2 {
        join_cookies(headers);
    }
    if trailers {
        headers.insert(header::TE, TRAILERS);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    // What a client says of the way its request took is not believed.
    match client.forwarded(&host) {
        Some(forwarded) => headers.insert(header::FORWARDED, forwarded),
        None => headers.remove(header::FORWARDED),
    };
    headers.insert(X_FORWARDED_FOR, client.x_forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.proto));
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(header::HOST, host);
}

/// Makes a replica's response one for the client.
pub(crate) fn to_client(headers: &mut HeaderMap, id: &HeaderValue, upgraded: bool) {
    let protocol = if upgraded { headers.get(header::UPGRADE).cloned() } else { None };
    remove_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    headers.insert(X_REQUEST_ID, id.clone());
}

fn te_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value.split(',').any(|option| option.trim().eq_ignore_ascii_case("trailers"))
        })
    })
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter(|option| !matches!(*option, "keep-alive" | "close" | "Keep-Alive"))
            .filter_map(|option| option.parse().ok())
            // Whoever names these would have them forged or lost on the way.
            .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::PROXY_AUTHORIZATION);
    headers.remove(header::TE);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}

/// HTTP/2 may split cookies over several headers; HTTP/1.1 has one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_some() && cookies.next().is_some() {
        let all: Vec<&[u8]> =
            headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new("203.0.113.7".parse().unwrap(), false)
    }

    fn passed(request: http::request::Builder) -> Request<()> {
        let mut request = request.body(()).unwrap();
        let (_, written) = host(&request).unwrap();
        let upgrade = upgrade(&request);
        let id = request_id(request.headers());
        to_replica(&mut request, &client(), written, &id, upgrade);
        request
    }

    #[test]
    fn a_host_is_found_wherever_it_is_said() {
        for (uri, header, expected) in [
            ("/", Some("Hello.LOCALHOST:8080"), Some("hello.localhost")),
            ("/", Some("hello.localhost."), Some("hello.localhost")),
            ("/", Some("[::1]:8080"), Some("[::1]")),
            ("http://a.example:1/x", Some("b.example"), Some("a.example")),
            ("/", None, None),
            ("/", Some(""), None),
            ("/", Some("a b"), None),
            ("/", Some("a/../b"), None),
        ] {
            let mut request = Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header(header::HOST, header);
            }
            let request = request.body(()).unwrap();
            let found = host(&request).map(|(host, _)| host.into_owned());
            assert_eq!(found.as_deref(), expected, "{uri} {header:?}");
        }
        let twice = Request::builder().header("host", "a").header("host", "b").body(()).unwrap();
        assert!(host(&twice).is_none());
    }

    #[test]
    fn what_is_for_one_hop_stays_there() {
        let request = passed(
            Request::builder()
                .uri("http://a.example/path?q=1")
                .header("connection", "keep-alive, X-Secret, host")
                .header("x-secret", "1")
                .header("keep-alive", "timeout=5")
                .header("te", "trailers, deflate")
                .header("transfer-encoding", "chunked")
                .header("content-length", "3")
                .header("upgrade", "h2c")
                .header("proxy-authorization", "secret")
                .header("expect", "100-continue")
                .header("x-kept", "1"),
        );
        assert_eq!(request.uri(), "/path?q=1");
        for gone in [
            "connection",
            "x-secret",
            "keep-alive",
            "transfer-encoding",
            "content-length",
            "upgrade",
            "proxy-authorization",
            "expect",
        ] {
            assert!(!request.headers().contains_key(gone), "{gone}");
        }
        assert_eq!(request.headers()["x-kept"], "1");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["host"], "a.example");
    }

    #[test]
    fn nothing_but_a_port_follows_a_name() {
        let of = |written: &str| {
            let request = Request::builder().header("host", written).body(()).unwrap();
            host(&request).map(|(name, _)| name.into_owned())
        };
        assert_eq!(of("A.example:80").as_deref(), Some("a.example"));
        assert_eq!(of("[::1]:80").as_deref(), Some("[::1]"));
        for evil in ["a:80\";proto=https;for=10.0.0.1;x=\"", "a:", "a:+80", "a:99999", "a:b", "a b"]
        {
            assert_eq!(of(evil), None, "{evil}");
        }
    }

    #[test]
    fn the_way_is_told_by_us_alone() {
        let request = passed(
            Request::builder()
                .header("host", "a.example:8080")
                .header("x-forwarded-for", "10.0.0.1")
                .header("forwarded", "for=10.0.0.1")
                .header("x-forwarded-host", "evil")
                .header("x-request-id", "not sensible!"),
        );
        let headers = request.headers();
        assert_eq!(headers["x-forwarded-for"], "203.0.113.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], "for=203.0.113.7;host=\"a.example:8080\";proto=http");
        assert!(!headers.contains_key("x-forwarded-host"));
        assert!(headers["x-request-id"].to_str().unwrap().starts_with("req_"));
        let digits = new_request_id().to_string();
        assert_eq!((&digits[16..17], digits.len()), ("7", 36), "{digits}");
        let own = passed(Request::builder().header("host", "a").header("x-request-id", "abc-1"));
        assert_eq!(own.headers()["x-request-id"], "abc-1");
    }

    #[test]
    fn an_upgrade_is_asked_for_in_both_headers() {
        let asked = passed(
            Request::builder()
                .header("host", "a")
                .header("connection", "keep-alive, Upgrade")
                .header("upgrade", "websocket"),
        );
        assert_eq!(asked.headers()["upgrade"], "websocket");
        assert_eq!(asked.headers()["connection"], "upgrade");
    }

    #[test]
    fn cookies_of_http2_become_one() {
        let request = passed(
            Request::builder()
                .version(Version::HTTP_2)
                .uri("http://a.example/")
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        );
        assert_eq!(request.headers().get_all("cookie").iter().count(), 1);
        assert_eq!(request.headers()["cookie"], "a=1; b=2");
        assert_eq!(request.headers()["te"], "trailers");
    }

    #[test]
    fn methods_and_keys_make_a_request_idempotent() {
        for (method, expected) in
            [("GET", true), ("PUT", true), ("DELETE", true), ("POST", false), ("PATCH", false)]
        {
            let request = Request::builder().method(method).body(()).unwrap();
            assert_eq!(is_idempotent(&request), expected, "{method}");
        }
        let keyed = Request::post("/").header("idempotency-key", "1").body(()).unwrap();
        assert!(is_idempotent(&keyed));
    }
}
