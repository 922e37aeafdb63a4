//! `kinesis gov`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use kinesis_chain::{Joules, LogPlace, protocol::governance};
use kinesis_protocol::Address;

use super::{Amount, OfAddress, OnChain, Span};

/// `kinesis gov`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis gov propose set-fee 120              a fee of 1.20 %
  kinesis gov vote latest for
  kinesis gov queue latest                     once the vote has passed
  kinesis gov execute latest                   once the timelock's delay is over

JOULE votes where its holder delegated it before the vote began: `kinesis gov delegate`."
)]
pub(crate) struct Gov {
    #[command(subcommand)]
    pub(crate) command: GovCommand,
}

/// What can be done with the DAO.
#[derive(Debug, Subcommand)]
pub(crate) enum GovCommand {
    /// Show proposals, the newest first
    List(GovList),
    /// Show one: what it does, its votes, what comes next
    Show(GovProposal),
    /// Propose something
    Propose(GovPropose),
    /// Vote with everything that is delegated to you
    Vote(GovVote),
    /// Put a proposal that has passed into the timelock; anyone may
    Queue(GovProposal),
    /// Carry a queued proposal out; anyone may
    Execute(GovProposal),
    /// Take your own proposal back before its vote begins
    Cancel(GovProposal),
    /// Let your JOULE vote: your own account, or another's
    Delegate(OfAddress),
    /// Show what an account may say
    Power(OfAddress),
    /// Show the grants
    Grants(OnChain),
    /// Pay a grantee what has vested; anyone may
    Release(GovGrant),
}

/// `kinesis gov list`
#[derive(Debug, Args)]
pub(crate) struct GovList {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) limit: u16,
    /// Those older than this place, which the list before ended with
    #[arg(long, value_name = "PLACE")]
    pub(crate) before: Option<LogPlace>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A proposal, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProposalName {
    /// The newest.
    Latest,
    /// Its number, or enough of its first digits.
    Digits(String),
}

impl FromStr for ProposalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits =
            !text.is_empty() && text.len() <= 78 && text.bytes().all(|b| b.is_ascii_digit());
        if digits {
            Ok(Self::Digits(text.to_owned()))
        } else {
            Err("expected a proposal's number, its first digits, or latest".to_owned())
        }
    }
}

/// A command about a proposal.
#[derive(Debug, Args)]
pub(crate) struct GovProposal {
    /// Its number, enough of its first digits, or `latest`
    #[arg(value_name = "ID")]
    pub(crate) id: ProposalName,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis gov vote`
#[derive(Debug, Args)]
pub(crate) struct GovVote {
    /// Its number, enough of its first digits, or `latest`
    #[arg(value_name = "ID")]
    pub(crate) id: ProposalName,
    /// What you say
    #[arg(value_name = "VOTE")]
    pub(crate) vote: VoteWord,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A vote, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VoteWord {
    /// Yes
    For,
    /// No
    Against,
    /// Counts for the quorum only
    Abstain,
}

/// A command about a grant.
#[derive(Debug, Args)]
pub(crate) struct GovGrant {
    /// The grant's number
    #[arg(value_name = "GRANT")]
    pub(crate) grant: u64,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis gov propose`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis gov propose set-fee 120 --why \"The treasury pays for two audits a year\"
  kinesis gov propose upgrade escrow 0x5FbDB2315678afecb367f032d93F642f64180aa3
  kinesis gov propose grant 0x7099…79C8 25000 --cliff 90d --over 365d
  kinesis gov propose call escrow \"setFee(uint16)\" 120
  kinesis gov propose set-fee 120 --dry-run    shows the calls and sends nothing"
)]
pub(crate) struct GovPropose {
    #[command(subcommand)]
    pub(crate) what: ProposeCommand,
    /// Why, in your words [default: what it does]
    #[arg(long, value_name = "TEXT", global = true)]
    pub(crate) why: Option<String>,
    /// Show the calls and send nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
}

/// What can be proposed.
#[derive(Debug, Subcommand)]
pub(crate) enum ProposeCommand {
    /// Set the protocol fee on redemptions, in ten-thousandths
    SetFee(ProposeBp),
    /// Set what a year may add to the supply, in ten-thousandths
    SetEmission(ProposeBp),
    /// Set the exchange's trading fee, in ten-thousandths
    SetExchangeFee(ProposeBp),
    /// Set how long stake thaws
    SetThaw(ProposeTime),
    /// Set how long a utility's withdrawal thaws
    SetWithdrawalDelay(ProposeTime),
    /// Set the stake that each claimed node needs, in JOULE
    SetNodeBond(Amount),
    /// Set the stake that a utility's offer needs, in JOULE
    SetUtilityBond(Amount),
    /// Set who may give credit from the pool
    SetUnderwriter(ProposeAddress),
    /// Set who may stop a dispute beside the DAO
    SetGuardian(ProposeAddress),
    /// Mint JOULE within the year's emission
    Mint(ProposePay),
    /// Pay from the treasury
    Pay(ProposePay),
    /// Pay from the treasury as it vests
    Grant(ProposeGrant),
    /// Take back what has not vested of a grant
    Revoke(GovGrant),
    /// Put a contract on another implementation; its state stays
    Upgrade(ProposeUpgrade),
    /// Any other call
    Call(ProposeCall),
}

/// A share in ten-thousandths.
#[derive(Debug, Args)]
pub(crate) struct ProposeBp {
    /// In ten-thousandths: 120 is 1.20 %
    #[arg(value_name = "BP")]
    pub(crate) bp: u64,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A length of time.
#[derive(Debug, Args)]
pub(crate) struct ProposeTime {
    /// Such as 90s, 12h or 14d
    #[arg(value_name = "TIME")]
    pub(crate) time: Span,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// An account.
#[derive(Debug, Args)]
pub(crate) struct ProposeAddress {
    /// The account
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Address,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A payment.
#[derive(Debug, Args)]
pub(crate) struct ProposePay {
    /// Who receives it
    #[arg(value_name = "ADDRESS")]
    pub(crate) to: Address,
    /// How much, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A grant.
#[derive(Debug, Args)]
pub(crate) struct ProposeGrant {
    /// Who receives it
    #[arg(value_name = "ADDRESS")]
    pub(crate) to: Address,
    /// How much in all, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    /// How long nothing is paid, from now on
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub(crate) cliff: Span,
    /// After how long all of it is paid, from now on
    #[arg(long, value_name = "TIME", default_value = "365d")]
    pub(crate) over: Span,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// An upgrade.
#[derive(Debug, Args)]
pub(crate) struct ProposeUpgrade {
    /// Which contract
    #[arg(value_name = "CONTRACT", value_parser = contract_parser())]
    pub(crate) contract: governance::Upgradeable,
    /// The implementation, which has been deployed
    #[arg(value_name = "ADDRESS")]
    pub(crate) implementation: Address,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A call.
#[derive(Debug, Args)]
pub(crate) struct ProposeCall {
    /// A contract of the protocol by name, or any address
    #[arg(value_name = "CONTRACT|ADDRESS")]
    pub(crate) target: String,
    /// The function with its types, such as "setFee(uint16)"
    #[arg(value_name = "SIGNATURE")]
    pub(crate) signature: String,
    /// Its arguments
    #[arg(value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<String>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// Contracts by their names.
fn contract_parser() -> impl clap::builder::TypedValueParser<Value = governance::Upgradeable> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(governance::Upgradeable::ALL.map(governance::Upgradeable::name)).map(
        |name| {
            let found = governance::Upgradeable::ALL.into_iter().find(|known| known.name() == name);
            found.expect("the parser lets only names of contracts pass")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_have_numbers() {
        assert_eq!("latest".parse(), Ok(ProposalName::Latest));
        assert_eq!("0123".parse(), Ok(ProposalName::Digits("0123".into())));
        assert!("0x12".parse::<ProposalName>().is_err());
    }
}
