//! `kinesis utility`: relay, wires, ledger, control, ingress and portal in one process.

mod money;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use kinesis_chain::{EventReader, Key, Protocol, dev};
use kinesis_control::{ChainSettle, Control, ControlConfig, Settle as _, desk::DeskConfig};
use kinesis_ingress::{Ingress, IngressConfig, TlsFiles};
use kinesis_portal::{OperatorToken, Portal, PortalConfig};
use kinesis_protocol::{JoulePrice, NanoJoule};
use kinesis_store::{Artifacts, Store};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret, Relay};
use tokio_util::sync::CancellationToken;

use super::{Stop, raise_open_files};
use crate::{
    cli::role::{Utility, UtilitySettings},
    config::{self, Layered},
    endpoints::{self, UtilityEndpoints},
    error::{Error, Result},
    files::{self, DataLock},
    listen::Listen,
    output::Output,
};

const RPC_DEFAULT: &str = "http://127.0.0.1:8545/rpc";
const TOKEN_FILE: &str = "operator.token";
/// How long requests may finish once the utility is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What listens, in order: flag, what it is, its default port, whether it is UDP.
const LISTENERS: [(&str, &str, u16, bool); 5] = [
    ("--ingress", "the ingress", 8080, false),
    ("--portal", "the portal", 8081, false),
    ("--relay", "the relay", 8082, false),
    ("--wire", "the wire", 8083, true),
    ("--lifeline", "the lifeline", 8084, false),
];

fn wanted(settings: &UtilitySettings) -> [Listen; 5] {
    let UtilitySettings { ingress, portal, relay, wire, lifeline, .. } = settings;
    let given = [ingress, portal, relay, wire, lifeline];
    std::array::from_fn(|i| given[i].unwrap_or(Listen::local(LISTENERS[i].2)))
}

/// Fails where a port is taken already.
pub(crate) fn check_ports(settings: &UtilitySettings) -> Result<()> {
    for ((flag, what, _, udp), listen) in LISTENERS.into_iter().zip(wanted(settings)) {
        if udp { listen.check_udp(what, flag)? } else { listen.check_tcp(what, flag)? }
    }
    Ok(())
}

/// Where to listen: as wished, and where any port will do, where it was last time.
fn addresses(settings: &UtilitySettings, dir: &Path) -> [SocketAddr; 5] {
    let last: BTreeMap<String, SocketAddr> =
        endpoints::read::<UtilityEndpoints>(dir).map(|last| last.listens).unwrap_or_default();
    let wanted = wanted(settings);
    std::array::from_fn(|i| {
        let (flag, _, _, udp) = LISTENERS[i];
        let free = if udp { endpoints::udp_free } else { endpoints::tcp_free };
        endpoints::remembered(wanted[i], last.get(flag).copied(), free)
    })
}

pub(crate) async fn run(args: Utility, out: Output) -> Result<()> {
    let dir = config::data_dir(args.data.data.as_deref(), Some("utility"))?;
    let _lock = DataLock::take(&dir)?;
    let settings: UtilitySettings = args.settings.over(config::file(&args.data, &dir)?);
    let rpc = args.chain.unwrap_or_else(|| RPC_DEFAULT.to_owned());
    check_ports(&settings)?;
    raise_open_files();
    let mut stop = Stop::listen()?;
    let running = tokio::select! {
        started = Running::start(&dir, &settings, &rpc) => started?,
        () = stop.asked() => return Ok(()),
    };
    endpoints::write(&dir, &running.endpoints)?;
    out.event(
        &running.endpoints,
        format_args!(
            "The utility is up (Ctrl-C stops it)\n  page     {}\n  apps     {}\n  address  {}",
            running.endpoints.portal, running.endpoints.ingress, running.endpoints.wire
        ),
    )?;
    stop.asked().await;
    tracing::info!("the utility stops");
    tokio::select! {
        () = running.stop() => {}
        () = stop.asked() => {}
    }
    Ok(())
}

struct Running {
    endpoints: UtilityEndpoints,
    portal: Portal,
    ingress: Ingress,
    control: Arc<Control>,
    endpoint: Endpoint,
    relay: Relay,
    /// Ends the reading of the chain's events.
    indexing: CancellationToken,
}

impl Running {
    async fn start(dir: &Path, settings: &UtilitySettings, rpc: &str) -> Result<Self> {
        let [at_ingress, at_portal, at_relay, at_wire, at_lifeline] = addresses(settings, dir);
        let mut control_config = control_config(settings, at_lifeline)?;
        control_config.log_dir = Some(dir.join("logs"));
        control_config.agreements_dir = Some(dir.join("leases"));
        let (settlement, contracts) = money::settle(dir, settings, rpc).await?;
        let utility = settlement.address();
        // A development chain was made a moment ago: its market has no past yet.
        control_config.price.young = contracts.chain_id == dev::CHAIN_ID;
        let market = money::market(settings, &contracts)?;
        control_config.audits = contracts.protocol.map(|protocol| protocol.audits);
        let store = match &settings.store {
            Some(url) => Store::open(url).await,
            None => Store::open(&format!("sqlite://{}", dir.join("ledger.sqlite").display())).await,
        };
        let store = store.map_err(Error::role("store"))?;
        let mut settle = ChainSettle::new(settlement, settings.series.unwrap_or(1), store.clone());
        if let Some(market) = market {
            settle = settle.with_market(market);
        }
        // It only looks: reading asks for no key.
        if contracts.protocol.is_some() {
            let protocol = Protocol::new(rpc, contracts, Key::random());
            settle = settle.with_protocol(protocol.map_err(Error::role("chain"))?);
        } else if control_config.min_stake > NanoJoule::ZERO {
            return Err(Error::Usage {
                message: "--min-stake: nobody says where stake is registered".into(),
                hint: Some("name all contracts with --contracts FILE".into()),
            });
        }
        let index_from = index_from(settings, &settle, rpc).await?;
        let indexer = settle.indexer(rpc, index_from).map_err(Error::role("chain"))?;
        let others = settle.protocol_indexer(rpc, index_from.max(contracts.from_block));
        let others = others.map_err(Error::role("chain"))?;

        let relay = Relay::start(at_relay).await.map_err(Error::role("relay"))?;
        let secret =
            NodeSecret::load_or_create(&dir.join("node.key")).map_err(Error::role("wire"))?;
        let endpoint = Endpoint::bind(EndpointConfig {
            secret,
            bind: Some(at_wire),
            relay: Some(relay.url()),
            listen: true,
        })
        .await
        .map_err(Error::role("wire"))?;

        let artifacts = match &settings.artifacts {
            Some(url) => Artifacts::open(url).await,
            None => {
                let artifacts = dir.join("artifacts");
                files::private_dir(&artifacts)?;
                Artifacts::open(&format!("file://{}", artifacts.display())).await
            }
        };
        let artifacts = artifacts.map_err(Error::role("artifact store"))?;

        let control = Control::start(
            control_config,
            store.clone(),
            artifacts.clone(),
            Arc::new(settle),
            endpoint.clone(),
        )
        .await
        .map_err(Error::role("control"))?;
        let domain = settings.domain.as_deref().unwrap_or("localhost").trim_matches('.').to_owned();
        let ingress_config = ingress_config(settings, at_ingress, &domain);
        let scheme = if ingress_config.tls.is_some() { "https" } else { "http" };
        let ingress = Ingress::start(ingress_config, Arc::clone(&control))
            .await
            .map_err(Error::role("ingress"))?;
        let ingress_addr = ingress.addr();
        control.set_url_template(&format!("{scheme}://{{app}}.{domain}:{}", ingress_addr.port()));

        let token_file = dir.join(TOKEN_FILE);
        let wire = endpoint.addr().to_string();
        let operator =
            OperatorToken::load_or_create(&token_file).map_err(Error::role("operator's token"))?;
        let portal_config = PortalConfig {
            wire: Some(wire.clone()),
            rpc: Some(rpc.to_owned()),
            ..PortalConfig::new(at_portal, operator)
        };
        let portal = Portal::start(portal_config, Arc::clone(&control), store, artifacts)
            .await
            .map_err(Error::role("portal"))?;

        let indexing = CancellationToken::new();
        tokio::spawn(indexer.run(indexing.clone()));
        if let Some(others) = others {
            tokio::spawn(others.run(indexing.clone()));
        }

        let mut listens = BTreeMap::new();
        let mut heard = vec![
            ("--ingress", ingress_addr),
            ("--portal", portal.addr()),
            ("--relay", relay.addr()),
        ];
        heard.extend(
            endpoint
                .addr()
                .addrs
                .first()
                .map(|addr| ("--wire", SocketAddr::new(at_wire.ip(), addr.port()))),
        );
        heard.extend(control.lifeline_addr().map(|addr| ("--lifeline", addr)));
        listens.extend(heard.into_iter().map(|(flag, addr)| (flag.to_owned(), addr)));
        let endpoints = UtilityEndpoints {
            pid: std::process::id(),
            ingress: format!("{scheme}://{ingress_addr}"),
            portal: format!("http://{}", portal.addr()),
            relay: relay.url(),
            wire,
            lifeline: control.lifeline_addr(),
            rpc: rpc.to_owned(),
            chain_id: contracts.chain_id,
            joule: contracts.joule,
            escrow: contracts.escrow,
            contracts: Some(contracts),
            utility,
            operator_token_file: token_file,
            listens,
        };
        Ok(Self { endpoints, portal, ingress, control, endpoint, relay, indexing })
    }

    /// Takes no new work, finishes what it has, posts what is known.
    async fn stop(self) {
        self.ingress.shutdown(STOP_GRACE).await;
        self.portal.shutdown(STOP_GRACE).await;
        self.indexing.cancel();
        self.control.shutdown().await;
        self.endpoint.close().await;
        self.relay.shutdown().await;
    }
}

/// From which block on the escrow's events are read, where none was read yet.
async fn index_from(settings: &UtilitySettings, settle: &ChainSettle, rpc: &str) -> Result<u64> {
    let chain_id = settle.payer().chain_id;
    match settings.index_from {
        Some(block) => Ok(block),
        None if chain_id == dev::CHAIN_ID => Ok(0),
        None => {
            let reader = EventReader::new(rpc, chain_id).map_err(Error::role("chain"))?;
            Ok(reader.head().await.map_err(Error::role("chain"))?.number)
        }
    }
}

fn control_config(settings: &UtilitySettings, lifeline: SocketAddr) -> Result<ControlConfig> {
    let mut config =
        ControlConfig { lifeline: Some(lifeline), joule_price: None, ..ControlConfig::default() };
    if let Some(bp) = settings.margin_bp {
        if bp > 10_000 {
            return Err(Error::usage(format!("--margin-bp: {bp} is more than 10000")));
        }
        config.margin_bp = bp;
    }
    if let Some(price) = settings.joule_price {
        let price = JoulePrice::new(price.0);
        let price =
            price.ok_or_else(|| Error::usage("--joule-price: must be more than nothing"))?;
        config.joule_price = Some(price);
    }
    config.desk = desk_config(settings)?;
    if let Some(stake) = settings.min_stake {
        config.min_stake = stake;
    }
    if let Some(deposit) = settings.escrow_deposit {
        config.escrow_deposit = deposit;
    }
    Ok(config)
}

fn desk_config(settings: &UtilitySettings) -> Result<DeskConfig> {
    let mut desk = DeskConfig::default();
    desk.low = settings.desk_low.unwrap_or(desk.low);
    desk.high = settings.desk_high.unwrap_or(desk.high);
    desk.sell_above = NanoJoule(desk.high.0.saturating_mul(2));
    desk.trade_max = settings.desk_trade_max.unwrap_or(desk.trade_max);
    desk.day_max = settings.desk_day_max.unwrap_or(desk.day_max);
    desk.tolerance_bp = settings.desk_slippage_bp.unwrap_or(desk.tolerance_bp);
    desk.validate().map_err(|why| Error::usage(format!("--desk-...: {why}")))?;
    Ok(desk)
}

fn ingress_config(settings: &UtilitySettings, bind: SocketAddr, domain: &str) -> IngressConfig {
    let tls = settings.tls_cert.clone().zip(settings.tls_key.clone());
    IngressConfig {
        tls: tls.map(|(cert, key)| TlsFiles { cert, key }),
        suffix: format!(".{domain}"),
        ..IngressConfig::local(bind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_before_anything_starts() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let free = Some(Listen::local(0));
        let settings = UtilitySettings {
            ingress: free,
            portal: Some(Listen(at)),
            relay: free,
            wire: free,
            lifeline: free,
            ..UtilitySettings::default()
        };
        let error = check_ports(&settings).unwrap_err();
        assert!(error.to_string().contains(&at.port().to_string()), "{error}");
        assert!(error.hint().unwrap().contains("--portal"));
    }

    #[test]
    fn strange_prices_are_refused() {
        let lifeline = "127.0.0.1:0".parse().unwrap();
        let settings = UtilitySettings { margin_bp: Some(10_001), ..UtilitySettings::default() };
        assert_eq!(control_config(&settings, lifeline).unwrap_err().code(), 2);
        let settings = UtilitySettings {
            joule_price: Some(kinesis_protocol::NanoUsd::ZERO),
            ..UtilitySettings::default()
        };
        assert_eq!(control_config(&settings, lifeline).unwrap_err().code(), 2);
        let settings =
            UtilitySettings { desk_low: Some(NanoJoule(i64::MAX)), ..UtilitySettings::default() };
        let error = control_config(&settings, lifeline).unwrap_err();
        assert!(error.to_string().contains("--desk-"), "{error}");
    }
}
