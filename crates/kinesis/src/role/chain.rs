//! `kinesis chain`: the embedded development chain over HTTP.

use kinesis_chain::{ChainConfig, EmbeddedChain, dev};

use super::Stop;
use crate::{
    cli::role::{Chain, ChainSettings},
    config::{self, Layered},
    endpoints::{self, ChainEndpoints},
    error::{Error, Result},
    files::DataLock,
    listen::{Listen, listening},
    output::Output,
};

/// Where the chain listens unless somebody says otherwise.
pub(crate) const RPC_DEFAULT: Listen = Listen::local(8545);

pub(crate) async fn run(args: Chain, out: Output) -> Result<()> {
    let dir = config::data_dir(args.data.data.as_deref(), Some("chain"))?;
    let _lock = DataLock::take(&dir)?;
    let settings: ChainSettings = args.settings.over(config::file(&args.data, &dir)?);
    let mut stop = Stop::listen()?;

    let last = endpoints::read::<ChainEndpoints>(&dir).map(|last| last.rpc_addr);
    let wanted = settings.rpc.unwrap_or(RPC_DEFAULT);
    let addr = endpoints::remembered(wanted, last, endpoints::tcp_free);
    let listener = tokio::net::TcpListener::bind(addr).await;
    let listener = listening("the chain", addr, "--rpc", listener)?;
    let addr = listener.local_addr().map_err(Error::io("listen"))?;
    let chain = EmbeddedChain::open(ChainConfig::new(dir.clone())).map_err(Error::role("chain"))?;

    let found = ChainEndpoints {
        pid: std::process::id(),
        rpc: format!("http://{addr}/rpc"),
        rpc_addr: addr,
        chain_id: dev::CHAIN_ID,
    };
    endpoints::write(&dir, &found)?;
    out.event(&found, format_args!("The chain answers at {} (Ctrl-C stops it)", found.rpc))?;
    tracing::info!(rpc = found.rpc, "the chain answers");
    tokio::select! {
        served = axum::serve(listener, chain.router()) => served.map_err(Error::io("serve the chain"))?,
        () = stop.asked() => tracing::info!("the chain stops"),
    }
    Ok(())
}
