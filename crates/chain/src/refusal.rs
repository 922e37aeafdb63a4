//! Why a contract refused, in words, and what to do next.
//!
//! The errors are those of the contracts' own interfaces; the sentences are here. A test keeps both
//! together: an error without a sentence, or a sentence about a value that the error does not have,
//! fails it.

mod sentences;

use std::{collections::HashMap, sync::OnceLock};

use alloy::{
    dyn_abi::{DynSolValue, ErrorExt as _},
    json_abi::{Error, JsonAbi},
    primitives::{Selector, U256, hex},
    sol_types::decode_revert_reason,
};

use crate::{
    amount::{Joules, decimal, moment},
    contracts::interfaces,
};
use sentences::SENTENCES;

/// How much of an error that nobody knows is shown.
const UNKNOWN_BYTES_MAX: usize = 68;
/// How much of what a contract says is repeated.
const WORDS_CHARS_MAX: usize = 400;

/// One error of a contract in words. Values stand in braces, with how they are to be read:
/// `joule` (wei), `time` (seconds since 1970), `s` (seconds), `bp` (basis points), `usd` (atto-USD),
/// `proposal` and `case` (where one stands).
struct Sentence {
    name: &'static str,
    text: &'static str,
    /// What to do about it; empty where that is clear or nothing.
    next: &'static str,
}

/// What a contract answered, in words. Starts with the error's name and a colon where the error is
/// one of ours.
pub(crate) fn words(data: &[u8]) -> String {
    // What an unknown contract says is text from outside.
    let printable = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
    known(data)
        .or_else(|| decode_revert_reason(data))
        .filter(printable)
        .map(|text| text.chars().take(WORDS_CHARS_MAX).collect())
        .unwrap_or_else(|| {
            format!("0x{}", hex::encode(data.get(..UNKNOWN_BYTES_MAX).unwrap_or(data)))
        })
}

/// What to do about a refusal, by the text of [`ChainError::Reverted`](crate::ChainError::Reverted).
#[must_use]
pub fn next_step(refused: &str) -> Option<&'static str> {
    let name = refused.split(':').next()?;
    let found = SENTENCES.iter().find(|sentence| sentence.name == name)?;
    Some(found.next).filter(|next| !next.is_empty())
}

fn known(data: &[u8]) -> Option<String> {
    let selector = Selector::try_from(data.get(..4)?).ok()?;
    let error = errors().get(&selector)?;
    let values = error.decode_error(data).ok()?.body;
    let Some(sentence) = SENTENCES.iter().find(|sentence| sentence.name == error.name) else {
        return Some(format!("{}: {}", error.name, plain(error, &values)));
    };
    let mut text = sentence.text.to_owned();
    for (place, name, kind) in places(sentence.text) {
        let value = error.inputs.iter().position(|input| input.name == name);
        let value = value.and_then(|at| values.get(at)).map(|value| read(value, kind));
        text = text.replace(place, &value.unwrap_or_default());
    }
    Some(format!("{}: {text}", error.name))
}

/// The errors of all contracts.
fn errors() -> &'static HashMap<Selector, Error> {
    static ERRORS: OnceLock<HashMap<Selector, Error>> = OnceLock::new();
    ERRORS.get_or_init(|| {
        let all = interfaces().values().flat_map(JsonAbi::errors);
        all.map(|error| (error.selector(), error.clone())).collect()
    })
}

/// What stands in braces: the whole, the value's name, how it is to be read.
fn places(text: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((at, length)) =
        rest.find('{').and_then(|at| Some((at, rest[at..].find('}')? + 1)))
    {
        let place = &rest[at..at + length];
        let inner = &place[1..place.len() - 1];
        let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
        found.push((place, name, kind));
        rest = &rest[at + length..];
    }
    found
}

fn read(value: &DynSolValue, kind: &str) -> String {
    let Some((number, _)) = value.as_uint() else { return other(value) };
    let seconds = || u64::try_from(number).unwrap_or(u64::MAX);
    match kind {
        "joule" => format!("{} JOULE", Joules(number)),
        "usd" => format!("${}", decimal(number, 18)),
        "bp" => format!("{} %", decimal(number, 2)),
        "s" => format!("{number} s"),
        "time" => moment(seconds()),
        "proposal" => named(&PROPOSAL_STATES, number),
        "case" => named(&CASE_STATES, number),
        _ => number.to_string(),
    }
}

/// As OpenZeppelin's governor counts them.
pub(crate) const PROPOSAL_STATES: [&str; 8] =
    ["pending", "active", "canceled", "defeated", "succeeded", "queued", "expired", "executed"];
/// As `IDisputes.Status` counts them.
pub(crate) const CASE_STATES: [&str; 6] =
    ["unknown", "open", "vetoed", "executed", "pending", "withdrawn"];

fn named(names: &[&str], number: U256) -> String {
    let known = usize::try_from(number).ok().and_then(|at| names.get(at));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// A value that is no number.
pub(crate) fn other(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::FixedBytes(word, size) => format!("0x{}", hex::encode(&word[..*size])),
        DynSolValue::Bytes(bytes) => format!("0x{}", hex::encode(bytes)),
        DynSolValue::String(text) => text.clone(),
        DynSolValue::Bool(yes) => yes.to_string(),
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::Int(number, _) => number.to_string(),
        DynSolValue::Array(all) | DynSolValue::FixedArray(all) | DynSolValue::Tuple(all) => {
            let all: Vec<_> = all.iter().map(other).collect();
            format!("({})", all.join(", "))
        }
        function => format!("{function:?}"),
    }
}

/// An error without a sentence, with its values.
fn plain(error: &Error, values: &[DynSolValue]) -> String {
    let named = error.inputs.iter().zip(values);
    let all: Vec<_> =
        named.map(|(input, value)| format!("{} {}", input.name, other(value))).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolError as _;

    use super::*;
    use crate::contracts::{KinesisGovernor, PaymentEscrow, Registry};

    #[test]
    fn every_error_has_a_sentence_about_its_own_values() {
        let mut wrong = Vec::new();
        for error in errors().values() {
            match SENTENCES
                .iter()
                .filter(|sentence| sentence.name == error.name)
                .collect::<Vec<_>>()[..]
            {
                [sentence] => {
                    for (place, name, kind) in places(sentence.text) {
                        let kinds = ["", "joule", "usd", "bp", "s", "time", "proposal", "case"];
                        if !error.inputs.iter().any(|input| input.name == name) {
                            wrong.push(format!("{} has no {place}", error.signature()));
                        }
                        assert!(kinds.contains(&kind), "{place}");
                    }
                }
                ref found => {
                    wrong.push(format!("{} has {} sentences", error.signature(), found.len()));
                }
            }
        }
        for sentence in SENTENCES {
            if !errors().values().any(|error| error.name == sentence.name) {
                wrong.push(format!("no contract has the error {}", sentence.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn values_are_said_in_their_units() {
        let joule = U256::from(10).pow(U256::from(18));
        let refused = words(
            &Registry::BondRequired { required: joule * U256::from(3), active: joule }.abi_encode(),
        );
        assert!(refused.starts_with("BondRequired: "), "{refused}");
        assert!(refused.contains("3 JOULE") && refused.contains("1 JOULE"), "{refused}");
        assert!(next_step(&refused).unwrap().contains("kinesis stake"), "{refused}");
        let early =
            words(&PaymentEscrow::StillThawing { thawedAt: U256::from(951_827_696) }.abi_encode());
        assert!(early.contains("2000-02-29 12:34:56 UTC"), "{early}");
        let state = KinesisGovernor::GovernorUnexpectedProposalState {
            proposalId: U256::from(7),
            current: 1,
            expectedStates: Default::default(),
        };
        assert!(words(&state.abi_encode()).contains("active"));
    }

    #[test]
    fn what_nobody_knows_is_shown_as_it_is() {
        assert_eq!(words(&[1, 2, 3]), "0x010203");
        let loud = alloy::sol_types::Revert::from("\u{1b}[2J").abi_encode();
        assert!(words(&loud).starts_with("0x08c379a0"), "{}", words(&loud));
        assert!(words(&alloy::sol_types::Revert::from("no").abi_encode()).contains("no"));
        assert_eq!(words(&[]), "0x");
        assert_eq!(words(&[0xab; 500]).len(), 2 + 2 * UNKNOWN_BYTES_MAX);
        assert_eq!(next_step("something else"), None);
    }
}
