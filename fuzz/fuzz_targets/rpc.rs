//! JSON-RPC for the embedded chain, against a chain that lives on from input to input.
#![no_main]

use std::cell::RefCell;

use axum::{body::Body, http::Request};
use kinesis_chain::{ChainConfig, EmbeddedChain};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt;

struct Chain {
    runtime: tokio::runtime::Runtime,
    router: axum::Router,
    _directory: tempfile::TempDir,
}

impl Chain {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let config = ChainConfig::new(directory.path());
        let chain = runtime.block_on(async { EmbeddedChain::open(config) }).expect("a chain");
        Self { runtime, router: chain.router(), _directory: directory }
    }

    fn ask(&self, body: &[u8]) {
        let request = Request::post("/rpc")
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(Body::from(body.to_vec()))
            .expect("a request");
        let answered = self.router.clone().oneshot(request);
        let response = self.runtime.block_on(answered).expect("it always answers");
        assert!(!response.status().is_server_error(), "{response:?}");
    }
}

thread_local! {
    static CHAIN: RefCell<Option<Chain>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    CHAIN.with_borrow_mut(|chain| chain.get_or_insert_with(Chain::new).ask(bytes));
});
