//! The sandboxed child: what `kinesis runner` does.
//!
//! ```text
//! start --Enter--> shim: leaves root, enters namespaces, forks --Hello--+
//!                    | waits for the worker, then ends as it did        v
//!                    +--> worker: engine, empty root, limits, seccomp --Confined--> waits
//!                            | Lease: Landlock, guest instantiated --Ready--> serves or runs --Ended
//!                            | Compile --Compiled
//! ```
//!
//! A worker waits, confined, before it knows its lease: that takes most of a start out of the way
//! of the first request. It ends when the control socket ends, so that nothing outlives its agent.

mod compile;
mod confine;
mod engine;
mod filter;
mod guest;
mod job;
mod lease;
mod log;
mod meter;
mod network;
mod service;
mod world;

#[cfg(fuzzing)]
pub(crate) use compile::examine;

use std::{
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    time::Duration,
};

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};
use rustls::pki_types::CertificateDer;

use crate::{
    channel,
    talk::{FromChild, Outcome, Plan, ToChild},
};

/// Runs as a sandboxed child of [`crate::Runtime`], with the control socket as standard input.
/// Call it before anything else of the process has started a thread.
#[must_use]
pub fn main() -> ExitCode {
    main_trusting(Vec::new())
}

/// As [`main`], with guests' TLS trusting these certificates, too: for tests that are servers.
#[doc(hidden)]
#[must_use]
pub fn main_trusting(trusted: Vec<CertificateDer<'static>>) -> ExitCode {
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return usage();
    };
    if !is_socket(&socket) {
        return usage();
    }
    // Standard input keeps its number, so that nothing else can be opened under it.
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
    }
    let plan = match channel::recv::<ToChild>(socket.as_fd()) {
        Ok(Some((ToChild::Enter(plan), _))) => plan,
        _ => return ExitCode::FAILURE,
    };
    match start(&socket, plan, trusted) {
        Ok(code) => code,
        Err(reason) => {
            end(&socket, Outcome::failed(reason));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("runner: this command is started by an agent, which talks to it over a socket");
    ExitCode::from(2)
}

fn is_socket(socket: &OwnedFd) -> bool {
    nix::sys::socket::getsockopt(socket, nix::sys::socket::sockopt::SockType)
        .is_ok_and(|kind| kind == nix::sys::socket::SockType::SeqPacket)
}

/// Tells the runtime how this ended.
fn end(socket: &OwnedFd, outcome: Outcome) {
    let _ = channel::send(socket.as_fd(), &FromChild::Ended(outcome), &[]);
}

fn start(
    socket: &OwnedFd,
    plan: Plan,
    trusted: Vec<CertificateDer<'static>>,
) -> Result<ExitCode, String> {
    confine::die_with_parent();
    confine::leave(plan)?;
    // SAFETY: this process has a single thread, so the child may do whatever it likes.
    match unsafe { fork() }.map_err(|e| format!("fork: {e}"))? {
        ForkResult::Parent { child } => {
            channel::send(socket.as_fd(), &FromChild::Hello { pid: child.as_raw() }, &[])
                .map_err(|e| format!("control socket: {e}"))?;
            Ok(wait(child))
        }
        ForkResult::Child => {
            confine::die_with_parent();
            let reason = match worker(socket, plan, trusted) {
                Ok(()) => return Ok(ExitCode::SUCCESS),
                Err(reason) => reason,
            };
            Err(reason)
        }
    }
}

/// The shim's whole life from here: it ends as the worker did.
fn wait(worker: Pid) -> ExitCode {
    loop {
        match waitpid(worker, None) {
            Ok(WaitStatus::Exited(_, code)) => {
                return ExitCode::from(u8::try_from(code).unwrap_or(1));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                let code = u8::try_from(128 + signal as i32).unwrap_or(1);
                return ExitCode::from(code);
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn worker(
    socket: &OwnedFd,
    plan: Plan,
    trusted: Vec<CertificateDer<'static>>,
) -> Result<(), String> {
    let engine = engine::engine(engine::Kind::default()).map_err(|e| format!("engine: {e:#}"))?;
    let barriers = confine::confine(plan)?;
    let confined = FromChild::Confined { barriers, engine: engine::fingerprint(&engine) };
    channel::send(socket.as_fd(), &confined, &[]).map_err(|e| format!("control socket: {e}"))?;
    let message =
        channel::recv::<ToChild>(socket.as_fd()).map_err(|e| format!("control socket: {e}"))?;
    match message {
        None => Ok(()),
        Some((ToChild::Lease { hold }, descriptors)) => {
            let [dir, listener]: [OwnedFd; 2] =
                descriptors.try_into().map_err(|_| "expected two descriptors".to_owned())?;
            lease::run(socket, engine, dir, listener, lease::Start { hold, trusted })
        }
        Some((ToChild::Compile { deterministic }, descriptors)) => {
            let [component, code]: [OwnedFd; 2] =
                descriptors.try_into().map_err(|_| "expected two descriptors".to_owned())?;
            compile::run(engine, deterministic, component.into(), code.into())?;
            channel::send(socket.as_fd(), &FromChild::Compiled, &[])
                .map_err(|e| format!("control socket: {e}"))
        }
        Some((other, _)) => Err(format!("unexpected message {other:?}")),
    }
}

/// Instantiation of a guest may take this long.
const INSTANTIATE_MAX: Duration = Duration::from_secs(20);
