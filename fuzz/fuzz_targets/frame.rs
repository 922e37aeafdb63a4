//! Frames of a control stream, cut anywhere: the length that is announced is never believed beyond
//! what is allowed.
#![no_main]

use kinesis_protocol::message::{FRAME_BYTES_MAX, ToUtility};
use kinesis_wire::frame::read_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut rest = bytes;
        loop {
            let before = rest.len();
            match read_frame::<_, ToUtility>(&mut rest, FRAME_BYTES_MAX).await {
                // Each takes what it says, and not a byte more.
                Ok(_) => assert!(before - rest.len() >= 4),
                Err(_) => break,
            }
        }
    });
});
