//! How many rows each load has read, for the log.

use std::collections::BTreeMap;
use std::time::Instant;

use inlet_model::TableName;
use inlet_model::change::{ChangeBatch, Origin};
use tracing::info;

use crate::source::table::PolledTable;

/// The loads that are under way. A restart counts from its own beginning.
#[derive(Debug, Default)]
pub struct Loads(BTreeMap<TableName, Load>);

#[derive(Debug)]
struct Load {
    rows: u64,
    since: Instant,
}

impl Loads {
    /// Counts the rows of a batch.
    pub fn add(&mut self, batch: &ChangeBatch) {
        if batch.origin == Origin::Load {
            self.of(&batch.schema.table).rows += batch.rows.num_rows() as u64;
        }
    }

    /// Logs the loads that have ended.
    pub fn observe(&mut self, tables: &[PolledTable]) {
        for table in tables {
            if !table.is_tailing() || table.reload.is_some() {
                self.of(table.name());
            } else if let Some(Load { rows, since }) = self.0.remove(table.name()) {
                let seconds = since.elapsed().as_secs_f64();
                let rows_per_second = (rows as f64 / seconds.max(0.001)).round() as u64;
                let (table, seconds) = (table.name(), (seconds * 10.0).round() / 10.0);
                info!(%table, rows, seconds, rows_per_second, "loaded");
            }
        }
    }

    fn of(&mut self, table: &TableName) -> &mut Load {
        self.0.entry(table.clone()).or_insert_with(|| Load {
            rows: 0,
            since: Instant::now(),
        })
    }
}
