//! What agents and utilities tell each other, from either side. What is understood is understood
//! again after it was passed on.
#![no_main]

use kinesis_protocol::message::{StreamAnswer, StreamOpen, ToAgent, ToUtility, decode, encode};
use libfuzzer_sys::fuzz_target;

macro_rules! passed_on {
    ($bytes:expr, $($kind:ty),+) => {
        $(if let Ok(message) = decode::<$kind>($bytes) {
            let once = encode(&message);
            let again = decode::<$kind>(&once).expect("what we say is understood");
            assert_eq!(encode(&again), once);
        })+
    };
}

fuzz_target!(|bytes: &[u8]| {
    passed_on!(bytes, ToUtility, ToAgent, StreamOpen, StreamAnswer);
});
