//! The few lines of WASI HTTP that the example services share: a request that can be read, a reply
//! that can be sent whole or streamed. Blocking, since a guest answers one request at a time.
//!
//! A client that goes away is an everyday thing and never a trap: a kept instance would lose its
//! state. Sends into nowhere are dropped, and [`Sink::write`] says [`Gone`].

use serde::Serialize;
use wasip2::{
    http::types::{
        Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse,
        ResponseOutparam,
    },
    io::streams::{InputStream, OutputStream, StreamError},
};

#[doc(hidden)]
pub use wasip2;

/// How many bytes are moved at once. `blocking-write-and-flush` takes at most 4096.
const CHUNK: usize = 4096;

/// Exports `fn(Request, Reply)` as the component's HTTP handler.
#[macro_export]
macro_rules! serve {
    ($handler:path) => {
        struct Server;
        impl $crate::wasip2::exports::http::incoming_handler::Guest for Server {
            fn handle(
                request: $crate::wasip2::http::types::IncomingRequest,
                out: $crate::wasip2::http::types::ResponseOutparam,
            ) {
                $handler($crate::Request::new(request), $crate::Reply::new(out));
            }
        }
        $crate::wasip2::http::proxy::export!(Server with_types_in $crate::wasip2);
    };
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than the caller takes.
    TooLong,
    /// It broke off.
    Gone,
}

/// A request. Its body has not been read yet.
#[derive(Debug)]
pub struct Request {
    inner: IncomingRequest,
    method: String,
    path: String,
    query: String,
}

impl Request {
    #[doc(hidden)]
    #[must_use]
    pub fn new(inner: IncomingRequest) -> Self {
        let target = inner.path_with_query().unwrap_or_else(|| "/".to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let method = match inner.method() {
            Method::Get => "GET".to_owned(),
            Method::Head => "HEAD".to_owned(),
            Method::Post => "POST".to_owned(),
            Method::Put => "PUT".to_owned(),
            Method::Delete => "DELETE".to_owned(),
            Method::Connect => "CONNECT".to_owned(),
            Method::Options => "OPTIONS".to_owned(),
            Method::Trace => "TRACE".to_owned(),
            Method::Patch => "PATCH".to_owned(),
            Method::Other(name) => name,
        };
        Self { method, path: decode(path), query: query.to_owned(), inner }
    }

    /// The method, in capitals.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path, decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first value of `name` in the query, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        form_value(&self.query, name)
    }

    /// A number from the query, or `default`.
    #[must_use]
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.query(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// All headers, names in lower case.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        let entries = self.inner.headers().entries();
        entries
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect()
    }

    /// The whole body, at most `most` bytes of it.
    ///
    /// # Errors
    /// The body is longer, or broke off.
    pub fn body(self, most: usize) -> Result<Vec<u8>, BodyError> {
        let mut all = Vec::new();
        let mut fits = true;
        let whole = self.each_chunk(|chunk| {
            fits = all.len() + chunk.len() <= most;
            if fits {
                all.extend_from_slice(chunk);
            }
            fits
        });
        match (fits, whole) {
            (false, _) => Err(BodyError::TooLong),
            (true, Err(Gone)) => Err(BodyError::Gone),
            (true, Ok(_)) => Ok(all),
        }
    }

    /// Hands every chunk of the body to `take` until it says `false`; returns the trailers.
    ///
    /// # Errors
    /// The body broke off.
    pub fn each_chunk(
        self,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<(String, Vec<u8>)>, Gone> {
        let body = self.inner.consume().map_err(|()| Gone)?;
        let stream: InputStream = body.stream().map_err(|()| Gone)?;
        loop {
            match stream.blocking_read(16 * CHUNK as u64) {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    if !take(&chunk) {
                        return Ok(Vec::new());
                    }
                }
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(_)) => return Err(Gone),
            }
        }
        drop(stream);
        let trailers = IncomingBody::finish(body);
        trailers.subscribe().block();
        match trailers.get() {
            Some(Ok(Ok(Some(fields)))) => Ok(fields.entries()),
            Some(Ok(Ok(None))) => Ok(Vec::new()),
            _ => Err(Gone),
        }
    }
}

/// The right to answer, once.
#[derive(Debug)]
pub struct Reply(ResponseOutparam);

impl Reply {
    #[doc(hidden)]
    #[must_use]
    pub fn new(out: ResponseOutparam) -> Self {
        Self(out)
    }

    /// Sends a whole response.
    pub fn send(self, status: u16, content_type: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len().to_string();
        let headers = [("content-type", content_type), ("content-length", &length)];
        let Some(mut sink) = self.stream(status, &headers) else { return };
        if sink.write(body).is_ok() {
            sink.finish();
        }
    }

    /// Sends JSON.
    pub fn json(self, status: u16, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(body) => self.send(status, "application/json", body),
            Err(error) => self.send(500, "text/plain; charset=utf-8", format!("{error}\n")),
        }
    }

    /// Sends one line of text.
    pub fn text(self, status: u16, text: impl AsRef<str>) {
        self.send(status, "text/plain; charset=utf-8", format!("{}\n", text.as_ref()));
    }

    /// Sends the head and hands out the body. `None`: the head was refused.
    #[must_use]
    pub fn stream(self, status: u16, headers: &[(&str, &str)]) -> Option<Sink> {
        let list: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let response = OutgoingResponse::new(Fields::from_list(&list).ok()?);
        response.set_status_code(status).ok()?;
        let body = response.body().ok()?;
        ResponseOutparam::set(self.0, Ok(response));
        let stream = body.write().ok()?;
        Some(Sink { stream, body })
    }
}

/// The body of a response under way.
#[derive(Debug)]
pub struct Sink {
    // Before `body`: the stream is a child of it and must be dropped first.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Sink {
    /// Sends `bytes`, and waits until they are on their way.
    ///
    /// # Errors
    /// The client is gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        for chunk in bytes.chunks(CHUNK) {
            self.stream.blocking_write_and_flush(chunk).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Ends the body.
    pub fn finish(self) {
        self.finish_with(Vec::new());
    }

    /// Ends the body with trailers.
    pub fn finish_with(self, trailers: Vec<(String, Vec<u8>)>) {
        drop(self.stream);
        let trailers = match trailers.is_empty() {
            true => None,
            false => Fields::from_list(&trailers).ok(),
        };
        let _ = OutgoingBody::finish(self.body, trailers);
    }
}

/// The first value of `name` in a form or a query, decoded.
#[must_use]
pub fn form_value(form: &str, name: &str) -> Option<String> {
    form.split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| decode(key) == name)
        .map(|(_, value)| decode(&value.replace('+', " ")))
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
