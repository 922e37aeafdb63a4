//! The signing process: holds the key, listens on a Unix socket (mode 0600), and signs what
//! [`SignerPolicy`] and [`Guard`] let pass.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alloy::{consensus::SignableTransaction as _, primitives::Address};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tracing::{info, warn};

use super::{
    guard::Guard,
    policy::SignerPolicy,
    remote::{Answer, Ask, LINE_BYTES_MAX},
};
use crate::{ChainError, Key};

/// The most connections at once: a utility keeps one.
const CONNECTIONS_MAX: usize = 16;

/// A signing process, listening.
#[derive(Debug)]
pub struct SignerServer {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
    vault: Arc<Vault>,
}

#[derive(Debug)]
struct Vault {
    key: Key,
    policy: SignerPolicy,
    guard: Guard,
}

impl SignerServer {
    /// Listens at `socket`, in place of a predecessor that is gone. What was signed is kept in
    /// `guard`.
    ///
    /// # Errors
    /// Where the socket cannot be made, or another process listens there.
    pub async fn bind(
        socket: &Path,
        key: Key,
        policy: SignerPolicy,
        guard: Guard,
    ) -> Result<Self, ChainError> {
        let failed = |source| ChainError::Signer { path: socket.to_owned(), source };
        if UnixStream::connect(socket).await.is_ok() {
            return Err(failed(ErrorKind::AddrInUse.into()));
        }
        match fs::remove_file(socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // Made beside and renamed into place: nobody meets it with other rights than these.
        let beside = socket.with_extension(format!("{:08x}", rand::random::<u32>()));
        let listener = UnixListener::bind(&beside).map_err(failed)?;
        let placed = fs::set_permissions(&beside, Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&beside, socket))
            .and_then(|()| fs::metadata(socket));
        let owner = placed.map_err(failed)?.uid();
        let vault = Arc::new(Vault { key, policy, guard });
        Ok(Self { listener, path: socket.to_owned(), owner, vault })
    }

    /// Answers until it is dropped; then all its conversations end, too.
    pub async fn run(self) {
        let mut conversations = JoinSet::new();
        loop {
            while conversations.len() >= CONNECTIONS_MAX {
                conversations.join_next().await;
            }
            while conversations.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(error = %error, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // The socket's mode keeps others out; this keeps out who got in another way.
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.owner => {}
                peer => {
                    warn!(peer = ?peer, "a stranger connected");
                    continue;
                }
            }
            let vault = Arc::clone(&self.vault);
            // A caller that goes away is no failure.
            conversations.spawn(async move { vault.converse(stream).await.ok() });
        }
    }
}

impl Drop for SignerServer {
    fn drop(&mut self) {
        // It may be a successor's; then that one is told by the next question.
        let _ = fs::remove_file(&self.path);
    }
}

impl Vault {
    async fn converse(self: Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            (&mut stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let vault = Arc::clone(&self);
            let answer = tokio::task::spawn_blocking(move || vault.answer(&line));
            let answer = answer.await.map_err(io::Error::other)?;
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            stream.write_all(&text).await?;
        }
    }

    fn answer(&self, line: &[u8]) -> Answer {
        let ask = match serde_json::from_slice(line) {
            Ok(ask) => ask,
            Err(error) => return Answer::Refused { reason: format!("no question: {error}") },
        };
        match self.decide(ask) {
            Ok(answer) => answer,
            Err(ChainError::SignerRefused(reason)) => {
                warn!(reason, "refused to sign");
                Answer::Refused { reason }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot sign");
                Answer::Refused { reason: error.to_string() }
            }
        }
    }

    fn is_ours(&self, chain_id: u64, court: Address) -> bool {
        (chain_id, Some(court)) == (self.policy.chain_id, self.policy.leases)
    }

    fn decide(&self, ask: Ask) -> Result<Answer, ChainError> {
        let refuse = |reason: &str| Err(ChainError::SignerRefused(reason.to_owned()));
        let own = self.key.address();
        let hash = match ask {
            Ask::Address => return Ok(Answer::Address { address: own }),
            Ask::Root { root, chain_id, escrow } => {
                if (chain_id, escrow) != (self.policy.chain_id, self.policy.escrow) {
                    return refuse("the root is for another chain or escrow");
                }
                if root.utility != own {
                    return refuse("the root is another utility's");
                }
                let hash = root.signing_hash(chain_id, escrow);
                self.guard.pass(chain_id, escrow, root.series, root.tick, hash)?;
                hash
            }
            Ask::Terms { terms, chain_id, court } => {
                if !self.is_ours(chain_id, court) {
                    return refuse("the terms are for another chain or court");
                }
                if terms.utility != own {
                    return refuse("the terms are another utility's");
                }
                terms.validate().map_err(ChainError::SignerRefused)?;
                terms.signing_hash(chain_id, court)
            }
            // Whatever it acknowledges, it takes from nobody but this key's holder: the right to
            // accuse.
            Ask::Ack { ack, chain_id, court } => {
                if !self.is_ours(chain_id, court) {
                    return refuse("the acknowledgement is for another chain or court");
                }
                ack.signing_hash(chain_id, court)
            }
            Ask::Transaction { transaction } => {
                self.policy.allows(own, &transaction).map_err(ChainError::SignerRefused)?;
                info!(nonce = transaction.nonce, to = ?transaction.to, "signs a transaction");
                transaction.signature_hash()
            }
        };
        Ok(Answer::Signature { signature: self.key.sign_hash(&hash) })
    }
}
