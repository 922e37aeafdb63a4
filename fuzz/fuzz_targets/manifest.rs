//! `kinesis.toml`, as a customer uploads it. What is taken is within every limit; what is refused is
//! refused in words, at a line that exists.
#![no_main]

use kinesis_protocol::{
    Manifest,
    manifest::{Kind, PARTS_MAX, REPLICAS_MAX, app_name, relative_path},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!(app_name(&manifest.name) && relative_path(&manifest.component));
            assert!(
                manifest.files.iter().all(|(to, from)| relative_path(to) && relative_path(from))
            );
            match &manifest.kind {
                Kind::Service(service) => {
                    assert!(service.min <= service.max && service.max <= REPLICAS_MAX);
                }
                Kind::Job(job) => {
                    let most = usize::try_from(PARTS_MAX).unwrap();
                    assert!((1..=most).contains(&job.parts.len()));
                }
            }
            assert_eq!(Manifest::parse(text).as_ref(), Ok(&manifest));
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.len() < 4_096, "{said}");
            assert!(error.line <= text.lines().count() + 1, "line {} of {text:?}", error.line);
        }
    }
});
