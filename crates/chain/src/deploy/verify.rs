//! Whether a deployment is what it says: the code of this release behind every address, joined as they
//! belong together, owned by the timelock, whose only proposer is the governor. Anybody can ask, of any
//! chain; nothing is believed but what the chain itself answers.

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, B256, Bytes, U256, b256, keccak256},
    providers::Provider as _,
    rpc::types::Filter,
    sol_types::{SolCall, SolEvent as _},
};
use serde::Serialize;

use super::{
    Contracts, DeployConfig,
    plan::{canceller_role, proposer_role},
};
use crate::{
    ChainError, Key, ProtocolContracts,
    amount::{decimal, span},
    client::{Client, unreachable_or_refused},
    contracts::{
        Audits, Disputes, ERC1967Proxy, Exchange, Grants, Joule, KinesisGovernor, Leases,
        PaymentEscrow, Registry, StakePool, TimelockController, Treasury, UniswapV2Market,
    },
    logs::Backwards,
};

/// Where a proxy keeps its implementation (ERC-1967).
const IMPLEMENTATION_SLOT: B256 =
    b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");
/// The bytes of a word in code, where the creation leaves room for an immutable.
const WORD: usize = 32;
/// The most changes of roles that are looked through.
const ROLE_CHANGES_MAX: usize = 10_000;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, in words.
    pub what: String,
    /// Where.
    pub address: Address,
    /// What it has to be; `None` where it is anything.
    pub expected: Option<String>,
    /// What it is.
    pub found: String,
    /// Whether it is as it has to be.
    pub holds: bool,
}

/// Looks at everything. With a configuration, at what it says too.
///
/// # Errors
/// Where the endpoint fails, serves another chain, or keeps no logs.
pub async fn verify(
    rpc_url: &str,
    contracts: &Contracts,
    config: Option<&DeployConfig>,
) -> Result<Vec<Check>, ChainError> {
    // Reading asks for no key; one that holds nothing will do.
    let client = Client::new(rpc_url, Key::random())?;
    client.expect_chain(contracts.chain_id).await?;
    let at = contracts.protocol()?;
    let mut look = Look { client, contracts: *contracts, at, checks: Vec::new() };
    look.code().await?;
    if look.checks.iter().all(|check| check.holds) {
        look.owners().await?;
        look.joints().await?;
        look.parameters(config).await?;
    }
    // What has other code answers whatever it likes: there is no use in asking it.
    look.roles().await?;
    Ok(look.checks)
}

struct Look {
    client: Client,
    contracts: Contracts,
    at: ProtocolContracts,
    checks: Vec<Check>,
}

/// A contract behind a proxy: its name, its proxy, what makes it, and what may stand in it.
type Proxied<'a> = (&'static str, Address, &'a Bytes, Vec<Address>);

impl Look {
    fn expect(
        &mut self,
        what: impl Into<String>,
        address: Address,
        expected: String,
        found: String,
    ) {
        let holds = expected == found;
        let (what, expected) = (what.into(), Some(expected));
        self.checks.push(Check { what, address, expected, found, holds });
    }

    fn tell(&mut self, what: impl Into<String>, address: Address, found: String) {
        let what = what.into();
        self.checks.push(Check { what, address, expected: None, found, holds: true });
    }

    async fn read<C: SolCall>(&self, at: Address, call: &C) -> Result<C::Return, ChainError> {
        self.client.read(at, call).await
    }

    async fn code_at(&self, address: Address) -> Result<Bytes, ChainError> {
        self.client.provider().get_code_at(address).await.map_err(unreachable_or_refused)
    }

    /// The code behind every address.
    async fn code(&mut self) -> Result<(), ChainError> {
        let (joule, escrow, at) = (self.contracts.joule, self.contracts.escrow, self.at);
        self.same_code("timelock", at.timelock, &TimelockController::BYTECODE, &[]).await?;
        let proxied: [Proxied<'_>; 10] = [
            ("joule", joule, &Joule::BYTECODE, vec![]),
            ("governor", at.governor, &KinesisGovernor::BYTECODE, vec![]),
            ("treasury", at.treasury, &Treasury::BYTECODE, vec![]),
            ("registry", at.registry, &Registry::BYTECODE, vec![joule]),
            ("escrow", escrow, &PaymentEscrow::BYTECODE, vec![joule, at.registry]),
            ("pool", at.pool, &StakePool::BYTECODE, vec![joule, at.registry, escrow]),
            ("disputes", at.disputes, &Disputes::BYTECODE, vec![escrow, at.registry, joule]),
            ("grants", at.grants, &Grants::BYTECODE, vec![joule]),
            ("audits", at.audits, &Audits::BYTECODE, vec![at.disputes, at.registry, escrow, joule]),
            ("leases", at.leases, &Leases::BYTECODE, vec![at.disputes, at.registry, escrow, joule]),
        ];
        for (name, proxy, creation, immutables) in proxied {
            self.proxied(name, proxy, creation, immutables).await?;
        }
        if self.is_market().await? {
            let router = self.read(at.exchange, &UniswapV2Market::routerCall {}).await?;
            self.tell("exchange trades at the router", at.exchange, router.to_string());
            return Ok(());
        }
        let immutables = vec![at.usd, joule];
        self.proxied("exchange", at.exchange, &Exchange::BYTECODE, immutables).await
    }

    /// Whether an adapter stands in place of the exchange.
    async fn is_market(&self) -> Result<bool, ChainError> {
        let code = self.code_at(self.at.exchange).await?;
        Ok(mismatch(&code, &UniswapV2Market::BYTECODE).is_some())
    }

    async fn proxied(
        &mut self,
        name: &'static str,
        proxy: Address,
        creation: &Bytes,
        mut immutables: Vec<Address>,
    ) -> Result<(), ChainError> {
        self.same_code(&format!("{name} (proxy)"), proxy, &ERC1967Proxy::BYTECODE, &[]).await?;
        let provider = self.client.provider();
        let slot = provider.get_storage_at(proxy, IMPLEMENTATION_SLOT.into()).await;
        let word = B256::from(slot.map_err(unreachable_or_refused)?);
        let implementation = Address::from_word(word);
        immutables.push(implementation);
        self.same_code(name, implementation, creation, &immutables).await
    }

    /// Whether the code at an address is what this release creates, with nothing else in it than the
    /// addresses that belong there.
    async fn same_code(
        &mut self,
        name: &str,
        address: Address,
        creation: &Bytes,
        immutables: &[Address],
    ) -> Result<(), ChainError> {
        let code = self.code_at(address).await?;
        let (expected, what) = ("of this release".to_owned(), format!("code of {name}"));
        let hash = keccak256(&code);
        let found = match mismatch(&code, creation) {
            _ if code.is_empty() => "none".to_owned(),
            None => format!("another, of hash {hash}"),
            Some(words) => {
                let mut strangers = words.iter().filter(|word| {
                    // Numbers are small: what has an address's length is one.
                    let number = U256::from_be_bytes(word.0);
                    number >= U256::ONE << 128
                        && number < U256::ONE << 160
                        && !immutables.contains(&Address::from_word(**word))
                });
                match strangers.next() {
                    None => expected.clone(),
                    Some(word) => format!("with {} in it", Address::from_word(*word)),
                }
            }
        };
        self.expect(what, address, expected, found);
        Ok(())
    }

    /// Who owns what.
    async fn owners(&mut self) -> Result<(), ChainError> {
        let (timelock, at) = (self.at.timelock.to_string(), self.at);
        let mut owned = vec![
            ("joule", self.contracts.joule),
            ("escrow", self.contracts.escrow),
            ("treasury", at.treasury),
            ("registry", at.registry),
            ("pool", at.pool),
            ("disputes", at.disputes),
            ("grants", at.grants),
            ("audits", at.audits),
            ("leases", at.leases),
        ];
        if !self.is_market().await? {
            owned.push(("exchange", at.exchange));
        }
        let nobody = Address::ZERO.to_string();
        for (name, address) in owned {
            // All of them are owned in the same way.
            let owner = self.read(address, &Registry::ownerCall {}).await?.to_string();
            self.expect(format!("owner of {name}"), address, timelock.clone(), owner);
            let next = self.read(address, &Registry::pendingOwnerCall {}).await?.to_string();
            self.expect(format!("next owner of {name}"), address, nobody.clone(), next);
        }
        let executor = self.read(at.governor, &KinesisGovernor::timelockCall {}).await?.to_string();
        self.expect("who acts for the governor", at.governor, timelock, executor);
        Ok(())
    }

    /// Who points at whom.
    async fn joints(&mut self) -> Result<(), ChainError> {
        let at = self.at;
        let (joule, escrow) = (self.contracts.joule, self.contracts.escrow);
        let slasher = self.read(at.registry, &Registry::slasherCall {}).await?;
        let token = self.read(at.governor, &KinesisGovernor::tokenCall {}).await?;
        let treasury = self.read(escrow, &PaymentEscrow::treasuryCall {}).await?;
        let usd = self.read(at.exchange, &Exchange::usdCall {}).await?;
        let traded = self.read(at.exchange, &Exchange::jouleCall {}).await?;
        for (what, of, expected, found) in [
            ("who slashes stake", at.registry, at.disputes, slasher),
            ("whose votes count", at.governor, joule, token),
            ("who receives fees", escrow, at.treasury, treasury),
            ("the exchange's USD", at.exchange, at.usd, usd),
            ("the exchange's JOULE", at.exchange, joule, traded),
        ] {
            self.expect(what, of, expected.to_string(), found.to_string());
        }
        for (name, court) in [("audits", at.audits), ("leases", at.leases)] {
            let admitted = self.read(at.disputes, &Disputes::isCourtCall { court }).await?;
            let what = format!("whether {name} may accuse");
            self.expect(what, at.disputes, "true".to_owned(), admitted.to_string());
        }
        Ok(())
    }

    /// What was set, and whether it is what the configuration says. Later votes may have changed it.
    async fn parameters(&mut self, config: Option<&DeployConfig>) -> Result<(), ChainError> {
        let (at, escrow, joule) = (self.at, self.contracts.escrow, self.contracts.joule);
        let fee = self.read(escrow, &PaymentEscrow::feeBpCall {}).await?;
        let delay = self.read(escrow, &PaymentEscrow::withdrawalDelayCall {}).await?;
        let emission = self.read(joule, &Joule::yearlyEmissionBpCall {}).await?;
        let thaw = self.read(at.registry, &Registry::thawCall {}).await?;
        let node = self.read(at.registry, &Registry::nodeBondCall {}).await?;
        let utility = self.read(at.registry, &Registry::utilityBondCall {}).await?;
        let timelock = self.read(at.timelock, &TimelockController::getMinDelayCall {}).await?;
        let voting = self.read(at.governor, &KinesisGovernor::votingPeriodCall {}).await?;
        let notice = self.read(at.governor, &KinesisGovernor::votingDelayCall {}).await?;
        let guardian = self.read(at.disputes, &Disputes::guardianCall {}).await?;
        let underwriter = self.read(at.pool, &StakePool::underwriterCall {}).await?;
        let percent = |bp: u16| format!("{} %", decimal(U256::from(bp), 2));
        let joules = |wei: U256| format!("{} JOULE", decimal(wei, 18));
        let time = |s: U256| span(s.saturating_to());
        let time_s = |s: u32| span(u64::from(s));
        let of =
            |account: Option<Address>, otherwise: Address| account.unwrap_or(otherwise).to_string();
        for (what, address, found, expected) in [
            ("protocol fee", escrow, percent(fee), config.map(|c| percent(c.fee_bp))),
            (
                "a withdrawal thaws",
                escrow,
                time_s(delay),
                config.map(|c| time_s(c.withdrawal_delay_s)),
            ),
            (
                "a year adds at most",
                joule,
                percent(emission),
                config.map(|c| percent(c.yearly_emission_bp)),
            ),
            ("stake thaws", at.registry, time_s(thaw), config.map(|c| time_s(c.stake.thaw_s))),
            (
                "a node's bond",
                at.registry,
                joules(node),
                config.map(|c| joules(c.stake.node_bond_wei)),
            ),
            (
                "a utility's bond",
                at.registry,
                joules(utility),
                config.map(|c| joules(c.stake.utility_bond_wei)),
            ),
            (
                "what was decided waits",
                at.timelock,
                time(timelock),
                config.map(|c| time_s(c.governance.timelock_delay_s)),
            ),
            (
                "a vote lasts",
                at.governor,
                time(voting),
                config.map(|c| time_s(c.governance.voting_period_s)),
            ),
            (
                "and begins after",
                at.governor,
                time(notice),
                config.map(|c| time_s(c.governance.voting_delay_s)),
            ),
            (
                "guardian",
                at.disputes,
                guardian.to_string(),
                config.map(|c| of(c.governance.guardian, Address::ZERO)),
            ),
            (
                "underwriter",
                at.pool,
                underwriter.to_string(),
                config.map(|c| of(c.pool.underwriter, at.timelock)),
            ),
        ] {
            match expected {
                Some(expected) => self.expect(what, address, expected, found),
                None => self.tell(what, address, found),
            }
        }
        Ok(())
    }

    /// Who may do what in the timelock: by its own words, from its first to its last.
    async fn roles(&mut self) -> Result<(), ChainError> {
        let timelock = self.at.timelock;
        let changes = [
            TimelockController::RoleGranted::SIGNATURE_HASH,
            TimelockController::RoleRevoked::SIGNATURE_HASH,
        ];
        let filter = Filter::new().address(timelock).event_signature(changes.to_vec());
        let floor = self.contracts.from_block;
        let mut logs = Backwards::new(&self.client, filter, floor, None).await?;
        let (admin, mut known) = (B256::ZERO, 0);
        let mut decided = BTreeSet::new();
        let mut holders = BTreeSet::new();
        while let Some(log) = logs.next().await? {
            known += 1;
            if known > ROLE_CHANGES_MAX {
                return Err(ChainError::Nonsense("the timelock's roles changed too often"));
            }
            let (role, account, granted) =
                match TimelockController::RoleGranted::decode_log(&log.inner) {
                    Ok(change) => (change.role, change.account, true),
                    Err(_) => {
                        let change = TimelockController::RoleRevoked::decode_log(&log.inner);
                        let change = change.map_err(|_| {
                            ChainError::Nonsense("the timelock tells of roles in other words")
                        })?;
                        (change.role, change.account, false)
                    }
                };
            // The newest word on somebody counts.
            if decided.insert((role, account)) && granted {
                holders.insert((role, account));
            }
            // The first thing that a timelock ever does is to make itself its own administrator.
            if role == admin && account == timelock && granted {
                break;
            }
        }
        for (what, role, only) in [
            ("who proposes to the timelock", proposer_role(), self.at.governor),
            ("who cancels in the timelock", canceller_role(), self.at.governor),
            ("who gives rights in the timelock", admin, timelock),
        ] {
            let held: Vec<_> = holders
                .iter()
                .filter(|(of, _)| *of == role)
                .map(|(_, account)| account.to_string())
                .collect();
            self.expect(what, timelock, only.to_string(), held.join(", "));
        }
        Ok(())
    }
}

/// Whether `code` is what `creation` leaves behind: its last part, byte by byte, but for words of zeros
/// that its constructor has filled. Returns these; `None` where it is something else.
fn mismatch(code: &[u8], creation: &[u8]) -> Option<BTreeSet<B256>> {
    let from = creation.len().checked_sub(code.len())?;
    let made = creation.get(from..)?;
    let mut words = BTreeSet::new();
    let mut at = 0;
    while at < code.len() {
        if code[at] == made[at] {
            at += 1;
            continue;
        }
        // An immutable begins with zeros of its own: look back to where its word may begin.
        let earliest = at.saturating_sub(WORD - 1);
        let begin = (earliest..=at).find(|begin| {
            let is_room = made.get(*begin..begin + WORD).is_some_and(|w| w.iter().all(|b| *b == 0));
            // PUSH32 stands before each of them.
            is_room && begin.checked_sub(1).is_some_and(|push| made[push] == 0x7f)
        })?;
        words.insert(B256::from_slice(code.get(begin..begin + WORD)?));
        at = begin + WORD;
    }
    (!code.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_differs_by_immutables_only() {
        let word = B256::repeat_byte(0).0;
        let creation =
            [&[0xaa, 0xbb, 0x60, 0x7f][..], &word, &[0x50, 0x7f], &word, &[0x00]].concat();
        let place = Address::repeat_byte(7).into_word();
        let code = [&[0x60, 0x7f][..], place.as_slice(), &[0x50, 0x7f], place.as_slice(), &[0x00]]
            .concat();
        assert_eq!(mismatch(&code, &creation), Some(BTreeSet::from([place])));
        let mut other = code.clone();
        other[0] = 0x61;
        assert_eq!(mismatch(&other, &creation), None);
        // A word that nobody left room for.
        let mut grown = code.clone();
        *grown.last_mut().unwrap() = 1;
        assert_eq!(mismatch(&grown, &creation), None);
        assert_eq!(mismatch(&[], &creation), None);
        assert_eq!(mismatch(&[0; 200], &creation), None);
    }
}
