//! Leases: who may run what, under which epoch, what they used and what was posted for it.

use kinesis_protocol::{
    AccountId, Address, AppId, Counters, Ending, Epoch, LeaseId, LeaseSpec, NanoJoule, NanoUsd,
    NodeId, Replica, Tier, VersionId,
};
use serde::{Deserialize, Serialize};

use crate::{
    Amounts, AppKind, Store, StoreError, apps,
    db::{Row, Tx, args, json},
    shown,
};

/// The highest margin or fee that is taken for serious: ten times the supplier's share.
const TERMS_BP_MAX: u32 = 100_000;

macro_rules! lease_columns {
    () => {
        "SELECT id, app, account, kind, version, series, node, node_name, supplier, tier, spec, \
         margin_bp, fee_bp, role, counters, supplier_nanousd, margin_nanousd, fee_nanousd, \
         supplier_nanojoule, fee_nanojoule, created_at_ms, activated_at_ms, ended_at_ms, ending \
         FROM leases"
    };
}

pub(crate) use lease_columns;

/// What a lease is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseRole {
    /// It serves, or works.
    Active,
    /// It waits, warm, to take over.
    Standby,
}

word!(LeaseRole, "lease role", { Active => "active", Standby => "standby" });

/// What was agreed on top of the supplier's share, for the whole life of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The utility's margin, in ten-thousandths of the supplier's share.
    pub margin_bp: u32,
    /// The protocol's fee, in ten-thousandths of the supplier's share.
    pub fee_bp: u32,
}

/// A lease that is about to be asked for.
#[derive(Debug, Clone)]
pub struct NewLease {
    /// What is asked of the node; `spec.key.epoch` comes from [`Store::next_epoch`].
    pub spec: LeaseSpec,
    /// The version it runs.
    pub version: VersionId,
    /// The payment series of the instance that asks.
    pub series: u64,
    /// The node.
    pub node: NodeId,
    /// The node's name now, for bills.
    pub node_name: String,
    /// Who is paid.
    pub supplier: Address,
    /// The node's tier now.
    pub tier: Tier,
    /// Margin and fee.
    pub terms: Terms,
}

/// A lease, as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// What was asked of the node.
    pub spec: LeaseSpec,
    /// The app's account.
    pub account: AccountId,
    /// A service's lease or a job's attempt.
    pub kind: AppKind,
    /// The version it runs.
    pub version: VersionId,
    /// The payment series it is paid in.
    pub series: u64,
    /// The node.
    pub node: NodeId,
    /// The node's name when it was placed.
    pub node_name: String,
    /// Who is paid.
    pub supplier: Address,
    /// The node's tier when it was placed.
    pub tier: Tier,
    /// Margin and fee.
    pub terms: Terms,
    /// What it is held for now.
    pub role: LeaseRole,
    /// Everything it used, as believed.
    pub counters: Counters,
    /// Everything that was posted for it.
    pub posted: Amounts,
    /// When it was placed.
    pub created_at_ms: u64,
    /// When it was activated: at placement, or when it took over.
    pub activated_at_ms: Option<u64>,
    /// When its end was recorded.
    pub ended_at_ms: Option<u64>,
    /// How it ended; `None` while it lives.
    pub ending: Option<Ending>,
}

impl Lease {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.spec.lease
    }
}

impl Store {
    /// The next epoch of a replica: larger than every one before, durable when this returns.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn next_epoch(&self, app: AppId, replica: Replica) -> Result<Epoch, StoreError> {
        let mut tx = self.db.begin().await?;
        let row = tx
            .one(
                "INSERT INTO epochs (app, replica, epoch) VALUES ($1, $2, 1) \
                 ON CONFLICT (app, replica) DO UPDATE SET epoch = epochs.epoch + 1 \
                 RETURNING epoch",
                args![app.to_string(), replica.0],
            )
            .await?
            .ok_or_else(|| StoreError::corrupt("epoch", "none was returned"))?;
        let epoch = Epoch(row.uint(0)?);
        tx.commit().await?;
        Ok(epoch)
    }

    /// Records a lease before its node is asked. Its role is `spec.standby`'s. Inserting the same
    /// lease again changes nothing.
    ///
    /// # Errors
    /// Where its epoch was not handed out, or another lease holds it.
    pub async fn insert_lease(&self, new: &NewLease, at_ms: u64) -> Result<Lease, StoreError> {
        let spec = &new.spec;
        if new.terms.margin_bp > TERMS_BP_MAX || new.terms.fee_bp > TERMS_BP_MAX {
            return Err(StoreError::Invalid(format!(
                "margin and fee are at most {TERMS_BP_MAX} ten-thousandths"
            )));
        }
        spec.prices.validate().map_err(StoreError::Invalid)?;
        let mut tx = self.db.begin().await?;
        if let Some(lease) = load(&mut tx, spec.lease).await? {
            return if lease.spec == *spec && lease.node == new.node {
                Ok(lease)
            } else {
                Err(StoreError::StaleEpoch(spec.lease))
            };
        }
        let app = apps::load_app(&mut tx, spec.key.app).await?;
        let (id, key) = (spec.lease.to_string(), (app.id.to_string(), spec.key.replica.0));
        let taken = tx
            .one(
                "SELECT e.epoch, (SELECT COUNT(*) FROM leases l WHERE l.app = e.app \
                 AND l.replica = e.replica AND l.epoch = $3) \
                 FROM epochs e WHERE e.app = $1 AND e.replica = $2",
                args![key.0.as_str(), key.1, spec.key.epoch.0],
            )
            .await?;
        let free = match taken {
            Some(row) => spec.key.epoch.0 <= row.uint(0)? && row.int(1)? == 0,
            None => false,
        };
        if !free || spec.key.epoch.0 == 0 {
            return Err(StoreError::StaleEpoch(spec.lease));
        }
        let version = tx
            .one(
                "SELECT app FROM versions WHERE id = $1 AND app = $2",
                args![new.version.to_string(), key.0.as_str()],
            )
            .await?;
        if version.is_none() {
            return Err(StoreError::not_found("version", new.version));
        }
        let role = if spec.standby { LeaseRole::Standby } else { LeaseRole::Active };
        tx.run(
            "INSERT INTO leases (id, app, replica, epoch, account, kind, version, series, node, \
             node_name, supplier, tier, spec, prices, margin_bp, fee_bp, role, counters, open, \
             supplier_nanousd, margin_nanousd, fee_nanousd, supplier_nanojoule, fee_nanojoule, \
             carry_attousd, created_at_ms, activated_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             $18, 1, 0, 0, 0, 0, 0, 0, $19, $20)",
            args![
                id,
                key.0,
                key.1,
                spec.key.epoch.0,
                app.account.to_string(),
                app.kind.as_str(),
                new.version.to_string(),
                new.series,
                new.node.to_string(),
                new.node_name.as_str(),
                format!("{:#x}", new.supplier),
                new.tier.as_str(),
                json(spec),
                json(&spec.prices),
                new.terms.margin_bp,
                new.terms.fee_bp,
                role.as_str(),
                json(&Counters::default()),
                at_ms,
                (role == LeaseRole::Active).then_some(at_ms)
            ],
        )
        .await?;
        let lease = load(&mut tx, spec.lease).await?;
        tx.commit().await?;
        lease.ok_or_else(|| StoreError::not_found("lease", spec.lease))
    }

    /// Records that a standby took over. Says whether anything changed.
    ///
    /// # Errors
    /// Where there is no such lease.
    pub async fn activate_lease(&self, lease: LeaseId, at_ms: u64) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let changed = tx
            .run(
                "UPDATE leases SET role = 'active', activated_at_ms = $2 \
                 WHERE id = $1 AND role = 'standby' AND ended_at_ms IS NULL",
                args![lease.to_string(), at_ms],
            )
            .await?;
        if changed == 0 && load(&mut tx, lease).await?.is_none() {
            return Err(StoreError::not_found("lease", lease));
        }
        tx.commit().await?;
        Ok(changed > 0)
    }

    /// Records believed counters, each the larger of what is stored and what is given, without
    /// posting anything. Unknown leases are passed over.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn record_counters(&self, reports: &[(LeaseId, Counters)]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for (lease, counters) in reports {
            merge(&mut tx, *lease, counters).await?;
        }
        tx.commit().await
    }

    /// Records the end of a lease with its last believed counters; a service's remaining usage is
    /// posted by the next tick. Says whether it was alive before: the first ending stays.
    ///
    /// # Errors
    /// Where there is no such lease.
    pub async fn end_lease(
        &self,
        lease: LeaseId,
        counters: &Counters,
        ending: &Ending,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        if load(&mut tx, lease).await?.is_none() {
            return Err(StoreError::not_found("lease", lease));
        }
        merge(&mut tx, lease, counters).await?;
        // A service's stays open until the next tick has posted what is left.
        let changed = tx
            .run(
                "UPDATE leases SET ended_at_ms = $2, ending = $3, \
                 open = CASE WHEN kind = 'job' THEN 0 ELSE 1 END \
                 WHERE id = $1 AND ended_at_ms IS NULL",
                args![lease.to_string(), at_ms, json(ending)],
            )
            .await?;
        tx.commit().await?;
        Ok(changed > 0)
    }

    /// One lease; `None` where there is none.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn lease(&self, lease: LeaseId) -> Result<Option<Lease>, StoreError> {
        let sql = concat!(lease_columns!(), " WHERE id = $1");
        let row = self.db.one(sql, args![lease.to_string()]).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// All leases of a series that have not ended, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn unfinished_leases(&self, series: u64) -> Result<Vec<Lease>, StoreError> {
        let sql = concat!(
            lease_columns!(),
            " WHERE series = $1 AND open = 1 AND ended_at_ms IS NULL ORDER BY id"
        );
        self.db.all(sql, args![series]).await?.iter().map(read).collect()
    }

    /// All leases an app ever had, oldest first: for tests and repairs. What is shown is paged
    /// ([`Store::bill`]).
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn leases_of(&self, app: AppId) -> Result<Vec<Lease>, StoreError> {
        let sql = concat!(lease_columns!(), " WHERE app = $1 ORDER BY id");
        self.db.all(sql, args![app.to_string()]).await?.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<Lease, StoreError> {
    read_from(row, 0)
}

/// A lease whose columns begin at `from`.
pub(crate) fn read_from(row: &Row, from: usize) -> Result<Lease, StoreError> {
    Ok(Lease {
        account: row.parse(from + 2, "account id")?,
        kind: row.parse(from + 3, "app kind")?,
        version: row.parse(from + 4, "version id")?,
        series: row.uint(from + 5)?,
        node: row.parse(from + 6, "node id")?,
        node_name: row.text(from + 7)?,
        supplier: row.parse(from + 8, "supplier")?,
        tier: row.parse(from + 9, "tier")?,
        spec: row.json(from + 10, "lease spec")?,
        terms: Terms { margin_bp: row.u32(from + 11)?, fee_bp: row.u32(from + 12)? },
        role: row.parse(from + 13, "lease role")?,
        counters: row.json(from + 14, "lease's counters")?,
        posted: read_amounts(row, from + 15)?,
        created_at_ms: row.uint(from + 20)?,
        activated_at_ms: row.opt_uint(from + 21)?,
        ended_at_ms: row.opt_uint(from + 22)?,
        ending: row
            .opt_text(from + 23)?
            .map(|s| serde_json::from_str(&s).map_err(|e| StoreError::corrupt("ending", e)))
            .transpose()?,
    })
}

/// The five amounts from this column on.
pub(crate) fn read_amounts(row: &Row, from: usize) -> Result<Amounts, StoreError> {
    Ok(Amounts {
        supplier_nanousd: NanoUsd(row.int(from)?),
        margin_nanousd: NanoUsd(row.int(from + 1)?),
        fee_nanousd: NanoUsd(row.int(from + 2)?),
        supplier_nanojoule: NanoJoule(row.int(from + 3)?),
        fee_nanojoule: NanoJoule(row.int(from + 4)?),
    })
}

pub(crate) async fn load(tx: &mut Tx, lease: LeaseId) -> Result<Option<Lease>, StoreError> {
    let sql = concat!(lease_columns!(), " WHERE id = $1");
    let row = tx.one(sql, args![lease.to_string()]).await?;
    row.map(|row| read(&row)).transpose()
}

/// Keeps the larger of what is recorded and what is reported, counter by counter. A service that
/// ended and was posted is opened again where that is more: the next tick posts the rest.
pub(crate) async fn merge(
    tx: &mut Tx,
    lease: LeaseId,
    reported: &Counters,
) -> Result<(), StoreError> {
    let id = lease.to_string();
    let sql = "SELECT counters, app FROM leases WHERE id = $1";
    let Some(row) = tx.one(sql, args![id.as_str()]).await? else { return Ok(()) };
    let recorded: Counters = row.json(0, "lease's counters")?;
    let larger = recorded.max(reported);
    if larger != recorded {
        let more = larger.requests.saturating_sub(recorded.requests);
        shown::count_requests(tx, &row.text(1)?, more).await?;
        tx.run(
            "UPDATE leases SET counters = $2, \
             open = CASE WHEN kind = 'job' THEN open ELSE 1 END WHERE id = $1",
            args![id, json(&larger)],
        )
        .await?;
    }
    Ok(())
}
