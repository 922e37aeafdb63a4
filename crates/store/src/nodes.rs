//! Nodes that ever joined, as they described themselves last.

use std::collections::HashSet;

use kinesis_protocol::{Benchmark, NodeId, NodeInfo};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    db::{Row, args, json},
};

/// A node that joined at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What it said of itself last.
    pub info: NodeInfo,
    /// What it proved of its speed last.
    pub benchmark: Option<Benchmark>,
    /// When it joined first.
    pub first_at_ms: u64,
    /// When it joined last.
    pub joined_at_ms: u64,
}

macro_rules! node_columns {
    () => {
        "SELECT info, benchmark, first_at_ms, joined_at_ms FROM nodes"
    };
}

fn read(row: &Row) -> Result<NodeRecord, StoreError> {
    Ok(NodeRecord {
        info: row.json(0, "node")?,
        benchmark: row
            .opt_text(1)?
            .map(|s| serde_json::from_str(&s).map_err(|e| StoreError::corrupt("benchmark", e)))
            .transpose()?,
        first_at_ms: row.uint(2)?,
        joined_at_ms: row.uint(3)?,
    })
}

impl Store {
    /// Records that a node joined. Keeps its benchmark where none is given.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn upsert_node(
        &self,
        info: &NodeInfo,
        benchmark: Option<Benchmark>,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(
            "INSERT INTO nodes (node, info, benchmark, first_at_ms, joined_at_ms) \
             VALUES ($1, $2, $3, $4, $4) ON CONFLICT (node) DO UPDATE SET \
             info = excluded.info, benchmark = COALESCE(excluded.benchmark, nodes.benchmark), \
             joined_at_ms = excluded.joined_at_ms",
            args![info.node.to_string(), json(info), benchmark.as_ref().map(json), at_ms],
        )
        .await?;
        tx.commit().await
    }

    /// One node; `None` where it never joined.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeRecord>, StoreError> {
        let sql = concat!(node_columns!(), " WHERE node = $1");
        let row = self.db.one(sql, args![node.to_string()]).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// All nodes that ever joined, first one first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let sql = concat!(node_columns!(), " ORDER BY first_at_ms, node");
        self.db.all(sql, args![]).await?.iter().map(read).collect()
    }

    /// Forgets nodes that never held a lease: those that joined last before `before_ms`, and the
    /// longest gone of more than `most`; none of `keep`. Says how many were forgotten.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn prune_nodes(
        &self,
        before_ms: u64,
        most: usize,
        keep: &HashSet<NodeId>,
    ) -> Result<usize, StoreError> {
        let mut tx = self.db.begin().await?;
        let rows = tx
            .all(
                "SELECT node, joined_at_ms FROM nodes \
                 WHERE node NOT IN (SELECT node FROM leases) ORDER BY joined_at_ms DESC, node",
                args![],
            )
            .await?;
        let mut forgotten = 0;
        for (place, row) in rows.iter().enumerate() {
            let (node, joined_at_ms): (NodeId, _) = (row.parse(0, "node id")?, row.uint(1)?);
            if (joined_at_ms < before_ms || place >= most) && !keep.contains(&node) {
                tx.run("DELETE FROM nodes WHERE node = $1", args![node.to_string()]).await?;
                forgotten += 1;
            }
        }
        tx.commit().await?;
        Ok(forgotten)
    }
}
