//! The client of a signing process: one line of JSON for each question and each answer, over a Unix
//! socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559},
    primitives::{Address, B256},
};
use kinesis_protocol::{LeaseTerms, PaymentRoot, Signature, sla::Ack};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::Mutex,
    time::timeout,
};

use crate::ChainError;

/// The longest line either side reads.
pub(super) const LINE_BYTES_MAX: u64 = 512 << 10;
/// How long an answer may take: a disk sync and a signature.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a signing process is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Ask {
    /// Whom it signs for.
    Address,
    /// To sign a payment root.
    Root { root: PaymentRoot, chain_id: u64, escrow: Address },
    /// To sign a transaction.
    Transaction { transaction: Box<TxEip1559> },
    /// To sign the terms of a lease.
    Terms { terms: LeaseTerms, chain_id: u64, court: Address },
    /// To sign an acknowledgement.
    Ack { ack: Ack, chain_id: u64, court: Address },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    Address { address: Address },
    Signature { signature: Signature },
    Refused { reason: String },
}

/// A signing process, by its socket. A lost connection is made again for the next question.
#[derive(Debug)]
pub struct RemoteSigner {
    path: PathBuf,
    address: Address,
    connection: Mutex<Option<BufReader<UnixStream>>>,
}

impl RemoteSigner {
    /// Asks the signing process at `path` whom it signs for.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn connect(path: &Path) -> Result<Self, ChainError> {
        let connection = Mutex::new(None);
        let mut signer = Self { path: path.to_owned(), address: Address::ZERO, connection };
        match signer.ask(&Ask::Address).await? {
            Answer::Address { address } => signer.address = address,
            Answer::Refused { reason } => return Err(ChainError::SignerRefused(reason)),
            Answer::Signature { .. } => return Err(signer.failed(io::ErrorKind::InvalidData)),
        }
        Ok(signer)
    }

    /// Whom it signs for.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    pub(super) async fn sign_root(
        &self,
        root: &PaymentRoot,
        chain_id: u64,
        escrow: Address,
    ) -> Result<Signature, ChainError> {
        let hash = root.signing_hash(chain_id, escrow);
        self.sign(&Ask::Root { root: root.clone(), chain_id, escrow }, hash).await
    }

    pub(super) async fn sign_transaction(
        &self,
        transaction: &TxEip1559,
    ) -> Result<Signature, ChainError> {
        let hash = transaction.signature_hash();
        self.sign(&Ask::Transaction { transaction: Box::new(transaction.clone()) }, hash).await
    }

    pub(super) async fn sign_terms(
        &self,
        terms: LeaseTerms,
        chain_id: u64,
        court: Address,
    ) -> Result<Signature, ChainError> {
        let hash = terms.signing_hash(chain_id, court);
        self.sign(&Ask::Terms { terms, chain_id, court }, hash).await
    }

    pub(super) async fn sign_ack(
        &self,
        ack: Ack,
        chain_id: u64,
        court: Address,
    ) -> Result<Signature, ChainError> {
        let hash = ack.signing_hash(chain_id, court);
        self.sign(&Ask::Ack { ack, chain_id, court }, hash).await
    }

    /// A signature over `hash` that is this signer's.
    async fn sign(&self, ask: &Ask, hash: B256) -> Result<Signature, ChainError> {
        match self.ask(ask).await? {
            Answer::Signature { signature }
                if signature
                    .recover_address_from_prehash(&hash)
                    .is_ok_and(|signer| signer == self.address) =>
            {
                Ok(signature)
            }
            Answer::Refused { reason } => Err(ChainError::SignerRefused(reason)),
            _ => Err(self.failed(io::ErrorKind::InvalidData)),
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, ChainError> {
        let mut connection = self.connection.lock().await;
        let mut line =
            serde_json::to_vec(ask).map_err(|_| self.failed(io::ErrorKind::InvalidInput))?;
        line.push(b'\n');
        // Asking twice is harmless: a signature is the same each time.
        let known = connection.is_some();
        match self.exchange(&mut connection, &line).await {
            Err(_) if known => self.exchange(&mut connection, &line).await,
            done => done,
        }
        .map_err(|source| ChainError::Signer { path: self.path.clone(), source })
    }

    async fn exchange(
        &self,
        connection: &mut Option<BufReader<UnixStream>>,
        line: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => BufReader::new(UnixStream::connect(&self.path).await?),
        };
        let talk = async {
            stream.write_all(line).await?;
            let mut answer = Vec::new();
            (&mut stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut answer).await?;
            if answer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            serde_json::from_slice(&answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let answer = timeout(ANSWER_MAX, talk).await.map_err(|_| io::ErrorKind::TimedOut)??;
        // Only a conversation that is in step is carried on.
        *connection = Some(stream);
        Ok(answer)
    }

    fn failed(&self, kind: io::ErrorKind) -> ChainError {
        ChainError::Signer { path: self.path.clone(), source: kind.into() }
    }
}
