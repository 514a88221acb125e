//! What the next poll would find, counted instead of read: how far the sink is behind PostgreSQL.
//! And what no poll finds, as far as PostgreSQL's counters show it ([`Hidden`]).
//!
//! Promises: reads only, and no statement for longer than [`ANSWER_TIME_MAX`]; 0 rows means that a
//! poll from the durable progress would find none.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use futures::TryStreamExt;
use inlet_model::Progress;
use inlet_model::Xid;
use inlet_model::{TableName, quote};
use inlet_postgres::capture::{Gap, Held, Recording};
use inlet_postgres::server::{self, Identity};
use inlet_postgres::{Captured, CursorKind, expected_rows};
use inlet_postgres::{Error, Floor, Known, Meaning, Reading, ServerTime, Table, Tables, connect};
use inlet_service::config::{Config, Deletes, PostgresAddress};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::activity::Activity;
use super::census::Census;
use super::error::PollError;
use super::phase::Phase;
use super::plan::Plan;
use super::progress::Stored;
use super::resume::{is_another, lineage_broken, with_stored_cursor};
use super::statement::{Condition, filter};
use super::table::{Depths, PolledTable};

/// A count that takes longer is cancelled.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// A table with more rows is counted only through an index.
const READ_WHOLE_MAX: u64 = 1_000_000;
/// Only the depth of the next poll counts: deeper scans are never due.
const DEPTHS: Depths = Depths {
    wide_interval: Duration::MAX,
    sweep_interval: Duration::MAX,
};

/// What the counters show beyond the polls: all numbers are upper bounds, and lag by seconds.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    /// Versions that were written and that neither an earlier scan has found nor the next poll
    /// would: only a sweep finds them.
    pub versions: u64,
    /// True when earlier sweeps have found about as many harmless: of aborted transactions, or
    /// replaced before a poll.
    pub usual: bool,
    /// The time since the last sweep, and until the next one at the latest; `None` where every poll
    /// reads the whole table.
    pub sweep: Option<(Duration, Duration)>,
    /// True where deletes are looked for.
    pub looks_for_deletes: bool,
    /// Deletes that no comparison of keys has found; `None` where deletes are not looked for, or
    /// before the first comparison has started.
    pub deletes: Option<u64>,
    /// The time since the last comparison of keys that has ended was started, or the first one.
    pub compared: Option<Duration>,
    /// Deletes that were counted in a table whose deletes are not looked for.
    pub ignored_deletes: u64,
}

impl Hidden {
    /// The hidden versions, unless earlier sweeps have found about as many harmless.
    pub fn suspicious(&self) -> u64 {
        match self.usual {
            true => 0,
            false => self.versions,
        }
    }
}

/// What waits in one table.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The table, as the catalog spells it.
    pub table: TableName,
    /// Versions that are not durable in the sink; `None` while the table is loaded, and where
    /// counting them would read a large table whole or takes too long.
    pub rows: Option<u64>,
    /// How old the oldest of them is: since it was stamped, and no longer than since the last
    /// durable poll.
    pub age: Duration,
    /// The rows that PostgreSQL expects in the table.
    pub expected_rows: Option<u64>,
    /// What no poll finds; `None` while the table is loaded.
    pub hidden: Option<Hidden>,
}

/// A look at a server: everything is as of one moment.
pub struct Look {
    connection: PgConnection,
    identity: Identity,
    reading: Reading,
    zone: Tz,
    sweep_interval: Duration,
}

impl Look {
    /// Connects and reads who may still bring rows.
    pub async fn open(primary: &PostgresAddress) -> Result<Self, Error> {
        let mut connection = connect(primary).await?;
        let limit = format!("SET statement_timeout = {}", ANSWER_TIME_MAX.as_millis());
        let asked = async {
            sqlx::query(AssertSqlSafe(limit))
                .execute(&mut connection)
                .await?;
            let identity = server::greet(&mut connection).await?.identity;
            Ok((
                identity,
                server::writers_zone(&mut connection).await?,
                server::read_activity(&mut connection).await?,
            ))
        };
        let (identity, zone, reading) = asked
            .await
            .map_err(Error::server("activity could not be read"))?;
        Ok(Self {
            connection,
            identity,
            reading,
            zone,
            sweep_interval: Duration::MAX,
        })
    }

    /// True while a session of this name is connected to the database.
    pub async fn has_session(&mut self, name: &str) -> Result<bool, Error> {
        let found = server::has_session(&mut self.connection, name).await;
        found.map_err(Error::server("sessions could not be read"))
    }

    /// Finds the tables of a configuration, from one reading of the catalog.
    pub async fn find(&mut self, config: &Config) -> Result<Tables, Error> {
        self.sweep_interval = config.streaming.sweep_interval;
        Tables::find(&mut self.connection, config, &Known::new()).await
    }

    /// What is wrong with the triggers of a table whose changes are recorded, and what its journal
    /// holds; `role` is the one that polls.
    pub async fn recorded(
        &mut self,
        table: &Table,
        role: &str,
    ) -> Result<(Vec<Gap>, Option<Held>), Error> {
        let captured = &table.captured;
        let (name, oids) = (&captured.schema.table, captured.oids());
        let recording = Recording::find(&mut self.connection, name, &oids, role).await?;
        let held = recording.held(&mut self.connection).await?;
        Ok((recording.gaps(captured, &table.config), held))
    }

    /// What waits in a table whose sink has this progress.
    pub async fn table(
        &mut self,
        table: &Table,
        progress: Option<&Progress>,
    ) -> Result<Waiting, PollError> {
        let name = table.captured.schema.table.clone();
        let damaged = |source| PollError::Progress {
            table: name.clone(),
            source,
        };
        let stored = progress.map(Stored::decode).transpose().map_err(damaged)?;
        let mut waiting = Waiting {
            table: name.clone(),
            rows: None,
            age: Duration::ZERO,
            expected_rows: expected_rows(&mut self.connection, &name).await,
            hidden: None,
        };
        let (Some(stored), Some(progress)) = (stored.flatten(), progress) else {
            return Ok(waiting);
        };
        let Some(polled_at) = stored.polled_at() else {
            return Ok(waiting);
        };
        waiting.age = since(polled_at, self.reading.read_at);
        let broken = lineage_broken(&name, stored.identity.as_ref(), &self.identity)?;
        if broken || is_another(&table.captured, &stored, &self.identity)? {
            return Ok(waiting);
        }
        let (table, _next) = with_stored_cursor(table.clone(), &stored)?;
        let mut hidden = self.hidden(&table, &stored, progress).await?;
        // What is pending counts, also while its scan rests after the last one.
        let stored = Stored {
            scans: Vec::new(),
            ..stored
        };
        let table = PolledTable::resumed(table, self.zone, DEPTHS, stored, self.reading.read_at);
        let Phase::Tailing(last) = &table.phase else {
            return Ok(waiting);
        };
        let activity = Arc::new(Activity::next(Some(last), &self.reading));
        let Some(plan) = table.plan(&activity) else {
            (waiting.rows, waiting.age) = (Some(0), Duration::ZERO);
            waiting.hidden = Some(hidden);
            return Ok(waiting);
        };
        let captured = &table.table.captured;
        let indexed = captured.cursor.is_some_and(|cursor| cursor.indexed);
        if !indexed
            && waiting
                .expected_rows
                .is_none_or(|rows| rows > READ_WHOLE_MAX)
        {
            waiting.hidden = Some(hidden);
            return Ok(waiting);
        }
        match self.count(&table, &plan).await {
            Ok((rows, oldest)) => {
                waiting.rows = Some(rows);
                waiting.age = oldest.map_or(Duration::ZERO, |oldest| oldest.min(waiting.age));
                // What the next poll would find waits in the open.
                hidden.versions = hidden.versions.saturating_sub(rows);
            }
            Err(error) if Meaning::of(&error) == Meaning::Canceled => {}
            Err(error) => return Err(Error::rows_of(&table.table.captured, error).into()),
        }
        waiting.hidden = Some(hidden);
        Ok(waiting)
    }

    /// What the counters show beyond a stored progress, before the rows are subtracted that the
    /// next poll would find.
    async fn hidden(
        &mut self,
        table: &Table,
        stored: &Stored,
        progress: &Progress,
    ) -> Result<Hidden, PollError> {
        let counted = server::counters(&mut self.connection, &[table.captured.oids()]).await;
        let (_, counted) =
            counted.map_err(Error::server("counters of the tables could not be read"))?;
        let counted = counted.first().copied().unwrap_or_default();
        let now = self.reading.read_at;
        let mut hidden = Hidden::default();
        // With one tier every poll is a sweep, and hides nothing.
        if let [_, .., sweep] = stored.scans.as_slice() {
            (hidden.versions, hidden.usual) = stored.unseen.missing(counted.written);
            let next = since(now, sweep.next(self.sweep_interval));
            hidden.sweep = Some((since(sweep.at, now), next));
        }
        let census = Census::decode(progress);
        let keyed = !table.captured.schema.key.is_empty();
        let looks = keyed && table.config.deletes != Deletes::Ignored && census.too_large.is_none();
        hidden.looks_for_deletes = looks;
        if !looks {
            hidden.ignored_deletes = u64::try_from(counted.deleted).unwrap_or(0);
        } else if let Some((deletes, compared)) = census.unfound(counted.deleted) {
            hidden.deletes = Some(deletes);
            hidden.compared = Some(since(compared, now));
        }
        Ok(hidden)
    }

    /// The versions that the next scan would emit, and the age of the oldest.
    async fn count(
        &mut self,
        table: &PolledTable,
        plan: &Plan,
    ) -> Result<(u64, Option<Duration>), sqlx::Error> {
        let captured = &table.table.captured;
        let cursor = captured.cursor.as_ref();
        let bounds = plan.bounds();
        let condition = Condition::Since {
            floor: bounds.floor,
            xid: bounds.xid,
            only: None,
        };
        let (sql, values) = counts(captured, &condition, &table.attached, self.reading.xid_end);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in values {
            query = query.bind(value);
        }
        let now = cursor.map(|cursor| self.now(cursor.kind, table.zone));
        let (mut waiting, mut oldest) = (0, None);
        let mut groups = query.fetch(&mut self.connection);
        while let Some(group) = groups.try_next().await? {
            let low: i64 = group.try_get(0)?;
            let xid = Xid::widen(
                u32::try_from(low).expect("an xid has 32 bits"),
                self.reading.xid_end,
            );
            let at = match cursor {
                // Without a finite stamp all of them are in the future: a floor excludes every
                // other row of such a group.
                Some(_) => group.try_get::<Option<i64>, _>(2)?.unwrap_or(i64::MAX),
                None => Floor::MIN,
            };
            if !table.coverage.covers(xid, at) {
                waiting += u64::try_from(group.try_get::<i64, _>(1)?).expect("a count");
                // Without a stamp it may be as old as the last poll.
                let age = now.map_or(Duration::MAX, |now| {
                    Duration::from_micros(u64::try_from(now.saturating_sub(at)).unwrap_or(0))
                });
                oldest = oldest.max(Some(age));
            }
        }
        Ok((waiting, oldest))
    }

    /// The server's time in the unit of a cursor.
    fn now(&self, kind: CursorKind, zone: Tz) -> i64 {
        match kind {
            CursorKind::Timestamptz => self.reading.read_at.0,
            CursorKind::Timestamp | CursorKind::Date => {
                kind.floor(self.reading.read_at, self.reading.read_at, zone)
            }
        }
    }
}

/// The statement that counts the rows of each transaction, with their smallest stamp in
/// microseconds.
fn counts(
    captured: &Captured,
    condition: &Condition,
    attached: &[u32],
    xid_end: Xid,
) -> (String, Vec<String>) {
    let (clauses, values) = filter(captured, condition, attached, xid_end);
    let oldest = captured.cursor.map_or_else(
        || "NULL::bigint".to_owned(),
        |cursor| {
            let column = quote(&captured.schema.columns[cursor.column].name);
            format!(
                "(extract(epoch FROM min({column}) FILTER (WHERE isfinite({column}))) * \
                1000000)::bigint"
            )
        },
    );
    (
        format!(
            "SELECT xmin::text::bigint, count(*), {oldest} FROM {}{clauses} GROUP BY 1",
            captured.schema.table.quoted()
        ),
        values,
    )
}

fn since(earlier: ServerTime, now: ServerTime) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(earlier.0)).unwrap_or(0))
}
