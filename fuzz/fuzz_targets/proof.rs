//! The file in which a supplier keeps its newest payment. No file but a signed one is worth anything,
//! and none stops whoever reads it.
#![no_main]

use kinesis_protocol::{Address, root::PaymentProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(payment) = serde_json::from_slice::<PaymentProof>(bytes) else { return };
    let holds = payment.verify(31_337, Address::repeat_byte(8));
    let mut other = payment.clone();
    other.supplier = Address::repeat_byte(0xee);
    assert!(
        !holds
            || payment.supplier == other.supplier
            || !other.verify(31_337, Address::repeat_byte(8))
    );
    let text = serde_json::to_vec(&payment).expect("it is kept as it came");
    assert_eq!(serde_json::from_slice::<PaymentProof>(&text).ok().as_ref(), Some(&payment));
});
