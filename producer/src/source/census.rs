//! The census: finds deleted rows by comparing the keys that are published with the keys in the
//! table.
//!
//! A pass compares every published key once, in chunks. A chunk has a snapshot of its own, taken
//! after every earlier scan of the table: a published key was visible in one of those, so a key
//! that this snapshot does not show was deleted. What is inserted later is found by a later scan,
//! and published after the delete. Source: docs/polling.md, "Deletes".
//!
//! What is decided here is pure ([`Census`]); [`compare_next`] carries it out.

use std::time::{Duration, Instant};

use inlet_model::change::{ChangeBatch, Origin};
use inlet_model::{Progress, quote};
use inlet_postgres::{Block, Captured, Error, Floor, Gate, Postgres, ServerTime};
use inlet_service::sink::SinkError;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, raw_sql};

use super::coverage::Coverage;
use super::error::PollError;
use super::keys::{Chunk, KeysOf, integers};
use super::load::end_of_part;
use super::out::Out;
use super::scan::{BatchLimits, ReadBy, Scan, Versions, scan};
use super::statement::{BoundKeys, Condition, KEYS};
use super::table::PolledTable;

pub(super) const CENSUS: &str = "census";

/// How deletes are looked for.
#[derive(Debug, Clone, Copy)]
pub struct CensusSettings {
    /// A pass starts after this time also when PostgreSQL has counted no delete.
    pub interval: Duration,
    /// Percent of a core that the comparisons may take, and the sweeps that a counter asks for.
    pub percent: u8,
    /// Keys of a chunk: of integers, and of others.
    pub chunk_keys: (usize, usize),
    /// Bytes of a table's keys at most.
    pub memory: usize,
}

/// What the census of one table remembers. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// The pass that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    /// The last pass that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastPass>,
    /// True when rows may be missing in the table that PostgreSQL did not count as deleted: it was
    /// truncated, lost a partition, or was restored.
    #[serde(default)]
    pub due: bool,
    /// The bytes of the table's keys, where these were more than they may be: deletes are not
    /// found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_large: Option<u64>,
    /// Deletes that were published, of all passes.
    #[serde(default)]
    pub deletes: u64,
}

/// A pass over the published keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Where the next chunk starts; empty at the beginning.
    pub from: String,
    /// The time before its first snapshot.
    pub started: ServerTime,
    /// Deletes that PostgreSQL had counted before the pass.
    pub counted: i64,
    /// Keys that were compared.
    pub keys: u64,
    /// Deletes that were published.
    pub deletes: u64,
}

/// A pass that has ended: every delete that was committed before it started is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPass {
    pub started: ServerTime,
    pub ended: ServerTime,
    /// Deletes that PostgreSQL had counted before the pass.
    pub counted: i64,
    pub keys: u64,
    pub deletes: u64,
}

/// What comparing a chunk brought.
#[derive(Debug)]
pub struct Compared {
    /// Deletes that were emitted.
    pub deletes: u64,
    /// What must be flushed before they become durable.
    pub gate: Gate,
    pub took: Duration,
}

/// How long what took this time rests, so that it takes this share of the time.
pub(crate) fn rest(took: Duration, percent: u8) -> Duration {
    let percent = u32::from(percent.clamp(1, 100));
    took.saturating_mul(100 - percent) / percent
}

impl Census {
    /// What is stored; a part that cannot be read counts as none, and a pass starts.
    pub fn decode(progress: &Progress) -> Self {
        let text = progress.0.get(CENSUS);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// Looks at the server's counter; true when a pass starts.
    pub fn look(&mut self, counted: i64, now: ServerTime, interval: Duration) -> bool {
        if self.pass.is_some() {
            return false;
        }
        let is_quiet = self.last.as_ref().is_some_and(|last| {
            // A counter that is lower was reset, and another one means deletes, or aborted ones.
            let is_rested = now < last.started.plus(interval) && now >= last.started;
            last.counted == counted && is_rested
        });
        if is_quiet && !self.due {
            return false;
        }
        self.due = false;
        self.pass = Some(Pass {
            from: String::new(),
            started: now,
            counted,
            keys: 0,
            deletes: 0,
        });
        true
    }

    /// The deletes that the server has counted and no pass has found, at most, and the time since
    /// which they may have been committed; `None` before the first pass has started.
    pub fn unfound(&self, counted: i64) -> Option<(u64, ServerTime)> {
        let last = self.last.as_ref().map(|last| (last.counted, last.started));
        // What was counted before the first pass may be older than the table's load.
        let first = self.pass.as_ref().map(|pass| (pass.counted, pass.started));
        let (before, started) = last.or(first)?;
        let counted = match counted - before {
            // The counters were reset, so the number of deletes since is unknown.
            ..0 => counted.max(1),
            since => since,
        };
        let found = self.pass.as_ref().map_or(0, |pass| pass.deletes);
        Some((counted.unsigned_abs().saturating_sub(found), started))
    }

    /// Records a chunk of the pass; `until` is where the next one starts. True when it was the last
    /// one.
    pub fn compared(
        &mut self,
        keys: u64,
        deletes: u64,
        until: Option<String>,
        now: ServerTime,
    ) -> bool {
        let pass = self.pass.as_mut().expect("a chunk belongs to a pass");
        pass.keys += keys;
        pass.deletes += deletes;
        self.deletes += deletes;
        if let Some(until) = until {
            pass.from = until;
            return false;
        }
        let pass = self.pass.take().expect("a chunk belongs to a pass");
        self.last = Some(LastPass {
            started: pass.started,
            ended: now,
            counted: pass.counted,
            keys: pass.keys,
            deletes: pass.deletes,
        });
        true
    }
}

/// Compares the next chunk of a table's keys with the table, or takes in keys of rows that were
/// published before keys were held.
pub async fn compare_next(
    postgres: &mut Postgres,
    table: &mut PolledTable,
    settings: &CensusSettings,
    out: &mut impl Out,
) -> Result<Option<Compared>, PollError> {
    let Some(keys) = &table.held.keys else {
        return Ok(None);
    };
    let started = Instant::now();
    // A standby may lag: it must have replayed what the earlier scans have shown.
    postgres.catch_up().await?;
    if !keys.is_complete() {
        let gate = adopt(postgres.reader(), table, settings.chunk_keys.1).await?;
        return Ok(Some(Compared {
            deletes: 0,
            gate,
            took: started.elapsed(),
        }));
    }
    let Some(pass) = &table.held.census.pass else {
        return Ok(None);
    };
    let (chunk, until) = keys.chunk(&pass.from, settings.chunk_keys);
    let captured = &table.table.captured;
    let connection = postgres.reader();
    let block = Block::begin(connection, &[captured]).await?;
    let snapshot = table.detection.of(block.snapshot);
    let missing = missing(connection, captured, &chunk).await?;
    let deletes = missing.len();
    if deletes > 0 {
        let batch = missing.deletes(&captured.schema, snapshot.xid_end, snapshot.taken_at);
        out.write(batch).await?;
    }
    // The gate holds for deletes as it does for rows: a crash may take back a delete that was not
    // flushed.
    let gate = block.end(connection).await?;
    table.compared(chunk.len(), &missing, until, snapshot.taken_at);
    Ok(Some(Compared {
        deletes,
        gate,
        took: started.elapsed(),
    }))
}

/// Those keys of a chunk that the open snapshot does not show.
async fn missing(
    connection: &mut PgConnection,
    captured: &Captured,
    chunk: &Chunk,
) -> Result<Chunk, PollError> {
    let failed = |error| Error::rows_of(captured, error);
    // One process more would double the work of a moment, whatever the share of a core is.
    let alone = "SET LOCAL max_parallel_workers_per_gather = 0";
    raw_sql(alone)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    match chunk {
        Chunk::Integers(keys) => {
            let (Some(first), Some(last)) = (keys.min(), keys.max()) else {
                return Ok(Chunk::Integers(RoaringTreemap::new()));
            };
            let words: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(words(captured)))
                .bind(integers::integer(first))
                .bind(integers::integer(last))
                .fetch_all(connection)
                .await
                .map_err(failed)?;
            let mut missing = keys.clone();
            for (word, bits) in words {
                let mut bits = bits.cast_unsigned();
                while bits != 0 {
                    let bit = i64::from(bits.trailing_zeros());
                    missing.remove(integers::ordered((word << 6) | bit));
                    bits &= bits - 1;
                }
            }
            Ok(Chunk::Integers(missing))
        }
        Chunk::Texts(_) => {
            // The server compares: only it knows what equal means for every type.
            let index = "SET LOCAL enable_seqscan = off";
            raw_sql(index)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            looked_up(connection, captured, chunk).await
        }
    }
}

/// Those keys of a chunk that the open snapshot does not show; the server looks up each of them.
pub(super) async fn looked_up(
    connection: &mut PgConnection,
    captured: &Captured,
    chunk: &Chunk,
) -> Result<Chunk, PollError> {
    let failed = |error| Error::rows_of(captured, error);
    let mut query = sqlx::query(AssertSqlSafe(absent(captured)));
    for texts in chunk.texts(&captured.schema) {
        query = query.bind(texts);
    }
    let rows = query.fetch_all(connection).await.map_err(failed)?;
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        let number: i64 = row.try_get(0).map_err(failed)?;
        places.push(usize::try_from(number - 1).expect("rows are counted from 1"));
    }
    Ok(chunk.at(&places))
}

/// The statement that shows which integers of a range are keys: 64 in a word, which costs 95 ms of
/// the server for a million keys and transfers 16 bytes for 64 of them.
fn words(captured: &Captured) -> String {
    let column = quote(&captured.schema.columns[captured.key[0]].name);
    format!(
        "SELECT k >> 6, bit_or(1::bigint << (k & 63)::integer) FROM (SELECT {column}::bigint AS k \
         FROM {} WHERE {column} >= $1 AND {column} <= $2{}) AS keys GROUP BY 1",
        captured.schema.table.quoted(),
        and_membership(captured)
    )
}

/// The statement that shows which of the bound keys no row has, by their numbers from 1 on.
fn absent(captured: &Captured) -> String {
    let places = 1..=captured.schema.key.len();
    let arrays: Vec<_> = places.map(|place| format!("${place}::text[]")).collect();
    let keys = BoundKeys::of(captured, &arrays);
    format!(
        "SELECT {KEYS}.n FROM {} WHERE NOT EXISTS (SELECT FROM {} WHERE {}{}) ORDER BY {KEYS}.n",
        keys.relation,
        captured.schema.table.quoted(),
        keys.equal,
        and_membership(captured)
    )
}

/// A key of a row that does not exist for readers counts as missing.
pub(super) fn and_membership(captured: &Captured) -> String {
    let membership = captured.membership.as_deref();
    membership.map_or_else(String::new, |sql| format!(" AND {sql}"))
}

/// Takes in the keys of the next rows of a table whose rows were published before keys were held.
async fn adopt(
    connection: &mut PgConnection,
    table: &mut PolledTable,
    rows: usize,
) -> Result<Gate, PollError> {
    // Rows that do not belong any more may have been published, and their keys have to be compared.
    let mut every = table.table.clone();
    every.captured.membership = None;
    let captured = &every.captured;
    let block = Block::begin(connection, &[captured]).await?;
    let after = table.held.adopted.as_deref();
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    let until = end_of_part(connection, captured, after, rows).await?;
    let condition = Condition::Chunk {
        after: table.held.adopted.clone(),
        until: until.clone(),
        // Every row that the snapshot shows.
        before: block.snapshot.xid_end,
        only: None,
    };
    let scanned = scan(
        connection,
        Scan {
            table: &every,
            attached: &[],
            coverage: &Coverage::default(),
            keys: table.held.keys.as_ref().map(KeysOf::Missing),
            wanted: Versions::New,
            condition: &condition,
            snapshot: block.snapshot,
            late_below: Floor::MIN,
            origin: Origin::Poll,
            read_by: ReadBy::Long,
            batch: BatchLimits::default(),
        },
        &mut Discard,
    )
    .await?;
    let gate = block.end(connection).await?;
    table.adopted(scanned.keys, until);
    Ok(gate)
}

/// Takes rows that were published before.
struct Discard;

impl Out for Discard {
    async fn write(&mut self, _batch: ChangeBatch) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> ServerTime {
        ServerTime(seconds * 1_000_000)
    }

    /// A census that has ended one pass at second 100, after 5 counted deletes.
    fn rested() -> Census {
        let mut census = Census::default();
        assert!(census.look(5, at(90), HOUR), "the first look starts a pass");
        assert!(!census.compared(10, 0, Some("07".to_owned()), at(95)));
        assert!(census.compared(10, 3, None, at(100)));
        census
    }

    #[test]
    fn a_pass_starts_when_the_server_has_counted_other_deletes() {
        let mut census = rested();
        assert!(!census.look(5, at(101), HOUR));
        assert!(census.look(6, at(102), HOUR));
        let mut reset = rested();
        assert!(reset.look(0, at(101), HOUR), "the counters were reset");
    }

    #[test]
    fn a_pass_starts_after_the_interval_without_a_counted_delete() {
        let mut census = rested();
        assert!(!census.look(5, at(90 + 3599), HOUR));
        assert!(census.look(5, at(90 + 3600), HOUR));
    }

    #[test]
    fn a_clock_that_was_moved_back_does_not_delay_a_pass() {
        assert!(rested().look(5, at(80), HOUR));
    }

    #[test]
    fn a_truncated_table_is_compared_at_once() {
        let mut census = rested();
        census.due = true;
        assert!(census.look(5, at(101), HOUR));
        assert!(!census.due);
    }

    #[test]
    fn deletes_that_no_pass_has_looked_for_are_counted_since_the_last_one() {
        let mut census = rested();
        assert_eq!(census.unfound(5), Some((0, at(90))));
        assert_eq!(census.unfound(9), Some((4, at(90))));
        assert_eq!(
            census.unfound(2),
            Some((2, at(90))),
            "the counters were reset"
        );
        census.look(9, at(200), HOUR);
        census.compared(10, 3, Some("07".to_owned()), at(201));
        assert_eq!(census.unfound(9), Some((1, at(90))));
        let mut first = Census::default();
        assert_eq!(first.unfound(9), None);
        first.look(9, at(300), HOUR);
        assert_eq!(first.unfound(12), Some((3, at(300))));
    }

    #[test]
    fn deletes_of_all_passes_are_counted() {
        let mut census = rested();
        census.look(6, at(200), HOUR);
        census.compared(20, 1, None, at(210));
        assert_eq!(census.deletes, 4);
        assert_eq!(census.last.unwrap().started, at(200));
    }

    #[test]
    fn a_pass_goes_on_from_what_is_stored() {
        let mut census = rested();
        census.look(6, at(200), HOUR);
        census.compared(10, 1, Some("09".to_owned()), at(201));
        let text = serde_json::to_string(&census).unwrap();
        let progress = Progress([(CENSUS.to_owned(), text)].into());
        assert_eq!(Census::decode(&progress), census);
    }
}
