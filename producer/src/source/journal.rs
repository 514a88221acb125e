//! What leaves a journal: the changes that were read from it and have arrived.
//!
//! A row is removed only if a sweep has read it: a sweep asks for no timestamp, so a clock that was
//! set to another time hides nothing from it. Every row that was visible in the snapshot before the
//! sweep has been emitted once the sweep is in the progress. That snapshot is the primary's, and
//! the row's own `xid` is that of its whole transaction, so the server's comparison of both is
//! exact. Source: docs/polling.md, "Journals".

use inlet_model::TableName;
use inlet_postgres::Error;
use sqlx::AssertSqlSafe;

use super::error::PollError;
use super::poll::Poll;
use super::table::PolledTable;

/// How far the latest sweep of a journal is.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    asked: bool,
    /// The snapshot before a sweep whose rows no progress covers yet.
    open: Option<String>,
    /// The snapshot before a sweep that is in the progress which was handed out.
    handed_over: Option<String>,
}

impl Swept {
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Records a sweep after this snapshot.
    pub(super) fn done(&mut self, snapshot: String) {
        self.asked = false;
        self.open = Some(snapshot);
    }

    /// The progress that covers all sweeps so far is handed out.
    pub(super) fn handed_over(&mut self) {
        let covered = self.open.take();
        self.handed_over = covered.or(self.handed_over.take());
    }
}

impl Poll {
    /// The journals whose rows can be removed: they are loaded.
    pub fn journals(&self) -> Vec<TableName> {
        let journals = self.tables.iter().filter(|table| is_carried(table));
        journals.map(|table| table.name().clone()).collect()
    }

    /// Asks for a sweep of a journal that holds rows; false where it is empty.
    pub async fn sweep_journal(&mut self, journal: &TableName) -> Result<bool, PollError> {
        let sql = format!("SELECT EXISTS (SELECT FROM {})", journal.quoted());
        let holds_rows: bool = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(self.postgres.primary())
            .await
            .map_err(|error| Error::rows(journal, error))?;
        if let Some(table) = self.journal(journal).filter(|_| holds_rows) {
            table.ask_sweep();
            // The sweep is made also if no transaction has ended since the last cycle.
            self.quiet = None;
        }
        Ok(holds_rows)
    }

    /// The snapshot before a sweep that is in the progress which was handed out, once.
    pub fn swept(&mut self, journal: &TableName) -> Option<String> {
        self.journal(journal)?.swept.handed_over.take()
    }

    /// Removes up to `rows_max` rows that were visible in a snapshot; returns how many.
    pub async fn trim(
        &mut self,
        journal: &TableName,
        snapshot: &str,
        rows_max: i64,
    ) -> Result<u64, sqlx::Error> {
        let name = journal.quoted();
        let sql = format!(
            "DELETE FROM {name} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {name} \
             WHERE pg_visible_in_snapshot(xid::text::xid8, $1::pg_snapshot) LIMIT $2))"
        );
        let removed = sqlx::query(AssertSqlSafe(sql))
            .bind(snapshot)
            .bind(rows_max)
            .execute(self.postgres.primary())
            .await?;
        Ok(removed.rows_affected())
    }

    fn journal(&mut self, journal: &TableName) -> Option<&mut PolledTable> {
        let mut tables = self.tables.iter_mut();
        tables.find(|table| table.name() == journal && is_carried(table))
    }
}

fn is_carried(table: &PolledTable) -> bool {
    table.is_journal() && table.is_tailing() && table.reload.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_counts_once_its_progress_is_handed_out() {
        let mut swept = Swept::default();
        swept.ask();
        assert!(swept.is_asked());
        swept.done("5:9:".to_owned());
        assert!(!swept.is_asked());
        assert_eq!(swept.handed_over, None);
        swept.handed_over();
        assert_eq!(swept.handed_over.as_deref(), Some("5:9:"));
        swept.handed_over();
        assert_eq!(swept.handed_over.as_deref(), Some("5:9:"));
    }
}
