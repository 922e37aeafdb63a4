//! The sandboxed child as a program of its own, for tests and benches of this crate. The product's
//! binary carries the same code as its hidden command `runner`.
//!
//! `kinesis-runner [--trust FILE]`: the guests' TLS believes the certificates in FILE, too.

use rustls::pki_types::{CertificateDer, pem::PemObject};

fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os().skip(1);
    let mut trusted = Vec::new();
    if let (Some(option), Some(file)) = (args.next(), args.next())
        && option == "--trust"
    {
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        match read {
            Ok(certificates) => trusted = certificates,
            Err(error) => {
                eprintln!("kinesis-runner: --trust: {error}");
                return std::process::ExitCode::from(2);
            }
        }
    }
    kinesis_runtime::runner::main_trusting(trusted)
}
