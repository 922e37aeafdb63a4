//! The sandboxed child as a program of its own, for tests and benches of this crate. The product's
//! binary carries the same code as its hidden command `runner`.

fn main() -> std::process::ExitCode {
    kinesis_runtime::runner::main()
}
