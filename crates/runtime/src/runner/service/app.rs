//! The app itself: `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`, asked the same way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    Request, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::{
    Store,
    component::{Accessor, InstancePre},
};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView, p2, p3};

use super::{Answer, Counted};
use crate::runner::guest::Guest;

/// An app of either WASI, linked.
#[derive(Clone)]
pub(super) enum AppPre {
    P2(p2::bindings::ProxyPre<Guest>),
    P3(p3::bindings::ServicePre<Guest>),
}

/// An instance of it.
pub(super) enum App {
    P2(p2::bindings::Proxy),
    P3(p3::bindings::Service),
}

impl AppPre {
    /// WASI 0.3 where the engine runs it and the component exports it.
    pub(super) fn new(pre: InstancePre<Guest>, concurrent: bool) -> wasmtime::Result<Self> {
        if !concurrent {
            return p2::bindings::ProxyPre::new(pre).map(Self::P2);
        }
        p3::bindings::ServicePre::new(pre.clone())
            .map(Self::P3)
            .or_else(|error| p2::bindings::ProxyPre::new(pre).map(Self::P2).map_err(|_| error))
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<App> {
        match self {
            Self::P2(pre) => pre.instantiate_async(store).await.map(App::P2),
            Self::P3(pre) => pre.instantiate_async(store).await.map(App::P3),
        }
    }
}

impl App {
    /// Hands over a request; ends when the guest has nothing more to do for it. `answer` hears of
    /// the response as soon as it has a head. The body flows only while this is polled.
    pub(super) async fn ask(
        &self,
        store: &mut Store<Guest>,
        request: Request<Counted>,
        answer: oneshot::Sender<Answer>,
    ) -> wasmtime::Result<()> {
        match self {
            Self::P2(proxy) => {
                let mut http = store.data_mut().http();
                let scheme = p2::bindings::http::types::Scheme::Http;
                let request = http.new_incoming_request(scheme, request)?;
                let out = http.new_response_outparam_from_callback(move |response| {
                    let _ = answer.send(response.map_err(|code| format!("{code:?}")));
                })?;
                proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
            }
            // In a box of its own: it is large, and nothing of it is needed for the other.
            Self::P3(service) => Box::pin(ask_concurrently(service, store, request, answer)).await,
        }
    }
}

async fn ask_concurrently(
    service: &p3::bindings::Service,
    store: &mut Store<Guest>,
    request: Request<Counted>,
    answer: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    let (request, processed) =
        p3::Request::from_http(store.data_mut().http().hooks, absolute(request));
    let handle = async move |store: &Accessor<Guest>| {
        let (open, closed) = oneshot::channel();
        let response = match service.handle(store, request).await? {
            Ok(response) => {
                let response =
                    store.with(|mut access| response.into_http(&mut access, processed))?;
                Ok(response.map(|body| Open { body, open: Some(open) }.boxed_unsync()))
            }
            Err(code) => Err(format!("{code:?}")),
        };
        let _ = answer.send(response);
        // A guest may go on after it has answered, and may have left its body to the host.
        std::future::poll_fn(|cx| store.poll_no_interesting_tasks(cx)).await;
        let _ = closed.await;
        Ok(())
    };
    store.run_concurrent(handle).await?
}

/// With the authority that the client named: a guest of WASI 0.3 is told no `Host` field.
fn absolute(mut request: Request<Counted>) -> Request<Counted> {
    let host = request.headers().get(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = request.uri().clone().into_parts();
    if parts.authority.is_none() {
        parts.authority = authority;
    }
    if parts.authority.is_some() {
        parts.scheme.get_or_insert(Scheme::HTTP);
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// A body that tells, by dropping a sender, when nothing more of it will be asked for.
struct Open {
    body: WasiBody,
    open: Option<oneshot::Sender<()>>,
}

impl Body for Open {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.open = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
