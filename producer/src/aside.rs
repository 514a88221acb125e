//! Tables that have failed by themselves and are set aside, so that the others are still polled.
//!
//! A table counts as failed by itself when its statement, its rows or its folder fail while the
//! server answers: a right was revoked, a column has a name that the lake uses, a value cannot be
//! decoded, its partitions need more locks than the server has. It is tried again by itself, less
//! and less often. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_model::TableName;
use inlet_service::error::{Explain, Kind, chain};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::metrics;
use crate::source::error::PollError;

/// The first wait before a table is tried again; a lock is released sooner than a right is granted.
const FIRST: Duration = Duration::from_secs(5);
const FIRST_LOCKED: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);
const LONGEST_LOCKED: Duration = Duration::from_secs(30);
/// A table that fails again within this time waits longer than before.
const PROBATION: Duration = Duration::from_secs(600);

/// The tables that are set aside, and those that were until lately.
#[derive(Debug, Default)]
pub struct Aside {
    tables: BTreeMap<TableName, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Failures in a row.
    failures: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is left out until then.
    Resting { error: PollError, until: Instant },
    /// It is polled since then, for the first time after a failure.
    Trying,
    /// It was polled without a failure.
    Polled { since: Instant },
}

impl Aside {
    /// Sets a table aside for a while, because of an error of its own.
    pub fn set(&mut self, table: &TableName, error: PollError, now: Instant) {
        let entry = self.tables.entry(table.clone()).or_insert(Entry {
            failures: 0,
            state: State::Trying,
        });
        if let State::Polled { since } = entry.state
            && now.duration_since(since) > PROBATION
        {
            entry.failures = 0;
        }
        let (first, longest) = match error.is_everyday() {
            true => (FIRST_LOCKED, LONGEST_LOCKED),
            false => (FIRST, LONGEST),
        };
        let wait = first
            .saturating_mul(1 << entry.failures.min(10))
            .min(longest);
        entry.failures += 1;
        let reason = chain(&error);
        let hint = error.hint().map(tracing::field::display);
        let retry_seconds = wait.as_secs();
        // A lock for seconds is everyday work, and a warning for it would train people to ignore
        // warnings.
        if error.is_everyday() && entry.failures == 1 {
            info!(%table, reason, retry_seconds, "table is set aside for a moment: the others are \
                polled");
        } else {
            warn!(%table, reason, hint, retry_seconds, "table is set aside: the others are polled");
        }
        metrics::set_aside(table, true);
        entry.state = State::Resting {
            error,
            until: now + wait,
        };
    }

    /// True while a table has to be left out.
    pub fn is_resting(&self, table: &TableName, now: Instant) -> bool {
        self.resting()
            .any(|(resting, until)| resting == table && now < until)
    }

    /// The tables that are due to be tried again.
    pub fn due(&self, now: Instant) -> Option<TableName> {
        let mut resting = self.resting();
        resting
            .find(|(_, until)| now >= *until)
            .map(|(table, _)| table.clone())
    }

    /// A table is polled again: whether it recovers shows in the next cycles.
    pub fn is_tried(&mut self, table: &TableName) {
        if let Some(entry) = self.tables.get_mut(table) {
            entry.state = State::Trying;
        }
    }

    /// A cycle of all tables that are not set aside has succeeded.
    pub fn succeeded(&mut self, now: Instant) {
        for (table, entry) in &mut self.tables {
            if matches!(entry.state, State::Trying) {
                info!(%table, "table is polled again");
                metrics::set_aside(table, false);
                entry.state = State::Polled { since: now };
            }
        }
    }

    /// The tables that are set aside, each with the reason; without those that the sink itself has
    /// refused, because it would refuse the reason too.
    pub fn reasons(&self) -> Vec<(TableName, String)> {
        let reason = |(table, entry): (&TableName, &Entry)| match &entry.state {
            State::Resting {
                error: PollError::Sink(_),
                ..
            }
            | State::Trying
            | State::Polled { .. } => None,
            State::Resting { error, .. } => Some((table.clone(), chain(error))),
        };
        self.tables.iter().filter_map(reason).collect()
    }

    /// The error that counts for the service when every table is set aside: one that passes goes
    /// first, so that the service waits for it. Its table is tried again.
    pub fn take_error(&mut self) -> Option<PollError> {
        let kind = |entry: &Entry| match &entry.state {
            State::Resting { error, .. } => Some(error.kind() != Kind::Unavailable),
            State::Trying | State::Polled { .. } => None,
        };
        let table = self
            .tables
            .iter()
            .filter_map(|(table, entry)| Some((kind(entry)?, table)))
            .min()
            .map(|(_, table)| table.clone())?;
        let entry = self.tables.get_mut(&table)?;
        match std::mem::replace(&mut entry.state, State::Trying) {
            State::Resting { error, .. } => Some(error),
            State::Trying | State::Polled { .. } => None,
        }
    }

    fn resting(&self) -> impl Iterator<Item = (&TableName, Instant)> {
        self.tables
            .iter()
            .filter_map(|(table, entry)| match entry.state {
                State::Resting { until, .. } => Some((table, until)),
                State::Trying | State::Polled { .. } => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use inlet_postgres::{CatalogError, Error};

    use super::*;

    fn table(name: &str) -> TableName {
        TableName::new("public", name)
    }

    fn refused(name: &str) -> PollError {
        PollError::Postgres(Error::Catalog(CatalogError::Reserved {
            table: table(name),
            column: "_op".to_owned(),
        }))
    }

    fn locked(name: &str) -> PollError {
        PollError::Postgres(Error::Locked {
            table: Some(table(name)),
            source: sqlx::Error::PoolTimedOut,
        })
    }

    #[test]
    fn a_table_that_fails_again_and_again_waits_longer_and_longer() {
        let (mut aside, name, start) = (Aside::default(), table("t"), Instant::now());
        aside.set(&name, refused("t"), start);
        assert!(aside.is_resting(&name, start + FIRST - Duration::from_millis(1)));
        assert!(!aside.is_resting(&name, start + FIRST));
        assert_eq!(aside.due(start + FIRST), Some(name.clone()));
        aside.set(&name, refused("t"), start);
        assert!(aside.is_resting(&name, start + FIRST));
        for _ in 0..20 {
            aside.set(&name, refused("t"), start);
        }
        assert!(!aside.is_resting(&name, start + LONGEST));
    }

    #[test]
    fn a_table_that_was_polled_for_long_starts_with_the_shortest_wait() {
        let (mut aside, name, start) = (Aside::default(), table("t"), Instant::now());
        for _ in 0..9 {
            aside.set(&name, locked("t"), start);
        }
        aside.is_tried(&name);
        aside.succeeded(start);
        assert_eq!(aside.reasons(), []);
        let later = start + PROBATION + Duration::from_secs(1);
        aside.set(&name, locked("t"), later);
        assert!(!aside.is_resting(&name, later + FIRST_LOCKED));
    }

    #[test]
    fn a_service_waits_for_a_table_whose_error_passes_before_it_ends() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.set(&table("a"), refused("a"), now);
        aside.set(&table("b"), locked("b"), now);
        let kinds: Vec<_> = std::iter::from_fn(|| aside.take_error())
            .map(|error| error.kind())
            .collect();
        assert_eq!(kinds, [Kind::Unavailable, Kind::Config]);
    }
}
