//! The head of a customer's request on its way through the ingress: nothing that a client says turns
//! up as something the ingress says.
#![no_main]

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use libfuzzer_sys::fuzz_target;

fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(bytes).ok()?.is_complete().then_some(())?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = parsed.path?.parse::<Uri>().ok()?;
    *request.version_mut() =
        if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    for header in parsed.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(request)
}

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = request(bytes) else { return };
    let Some((host, passed)) = kinesis_ingress::fuzz::pass(request) else { return };
    assert!(!host.is_empty() && host.len() <= 253 && host == host.to_ascii_lowercase());
    let headers = passed.headers();
    let one = |name: HeaderName| {
        let mut values = headers.get_all(&name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name}")).to_str().expect("text");
        assert!(values.next().is_none(), "{name} twice");
        value.to_owned()
    };
    assert_eq!(one(HeaderName::from_static("x-forwarded-for")), "203.0.113.7");
    assert_eq!(one(HeaderName::from_static("x-forwarded-proto")), "http");
    let written = one(header::HOST);
    let forwarded = format!("for=203.0.113.7;host=\"{written}\";proto=http");
    assert!(!written.contains(['"', '\\', ';', ',', ' ']), "{written}");
    assert_eq!(one(header::FORWARDED), forwarded);
    assert!(!one(HeaderName::from_static("x-request-id")).is_empty());
    for gone in [header::TRANSFER_ENCODING, header::EXPECT, header::PROXY_AUTHORIZATION] {
        assert!(!headers.contains_key(&gone), "{gone}");
    }
    assert!(passed.uri().authority().is_none() && passed.version() == Version::HTTP_11);
});
