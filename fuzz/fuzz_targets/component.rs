//! What a customer uploads as a component, before it is compiled: in the sandbox that has nothing but
//! this file, but still.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kinesis_runtime::fuzz::component(bytes));
