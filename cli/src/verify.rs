//! `inlet verify`: every value of the tables in PostgreSQL against the lake, in two ways.
//!
//! * *The files*: a table is read in one snapshot and hashed by key. The lake's files are hashed
//!   the same way, all versions of all keys. The lake lags the snapshot by design: `verify` waits
//!   for rows that are missing, and recognizes by its xid what was committed after the snapshot.
//! * *As DuckDB reads it*: the latest state as a reader gets it, compared with the same snapshot by
//!   hashes that both servers make. Without DuckDB only the files are compared, and the report
//!   states it.
//!
//! Exit code 0 means, for each way that the report names: every row of the snapshot is in the
//! lake's latest state with equal values, or in quarantine, or was changed again after the
//! snapshot, and no version is a duplicate; and the folder holds the committed files and no others.
//! Memory is bounded whatever the table's size. Rows whose deletion the lake does not know yet are
//! differences, and are reported as such. Read in this order: [`postgres`], [`lake`], [`fit`],
//! [`hash`], [`compare`], [`examples`], [`canonical`], [`as_read`], [`report`], [`repair`].
//!
//! With `--repair` the rows that differ become a request to the service ([`repair`]); what is
//! reported last, and the exit code, are those of a second comparison.

mod as_read;
mod canonical;
mod compare;
mod error;
mod examples;
pub mod fit;
mod hash;
mod lake;
mod loads;
mod outcome;
mod postgres;
mod repair;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use inlet_lake::{LeftDates, TableReader};
use inlet_model::Xid;
use inlet_postgres::{Known, Table, Tables, connect};
use inlet_service::config::Config;
use inlet_service::output;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::as_read::OfTable;
use self::compare::{Findings, Row, compare};
pub use self::compare::{Position, Version};
pub use self::error::VerifyError;
pub use self::fit::columns;
pub use self::hash::{Hash, Hasher, KeyRange, row_converter};
pub use self::lake::{Lake, positions};
use self::postgres::Snapshot;
use self::report::Report;
use crate::args::VerifyArguments;
use crate::failure::{Failure, Outcome};
use crate::tables;

/// Exit code of a difference.
const DIFFERENT: u8 = 3;
/// The pause between two checks for new files of the lake.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Rows, and versions, in memory at once: about 800 MB. Larger tables are compared by ranges of
/// keys.
const HELD_MAX: usize = 8 << 20;

/// Compares the tables in PostgreSQL with the lake.
pub async fn run(arguments: VerifyArguments, config: Config, stop: CancellationToken) -> Outcome {
    let Some(reports) = stop.run_until_cancelled(verify(&arguments, &config)).await else {
        return Err(VerifyError::Stopped.into());
    };
    let reports = reports?;
    if arguments.json {
        output::stdout(format!("{}\n", report::json(&reports)))?;
    }
    let equal = reports.iter().all(Report::is_equal);
    Ok(if equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}

async fn verify(arguments: &VerifyArguments, config: &Config) -> Result<Vec<Report>, Failure> {
    config.require_datalake()?;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    let mut connection = connect(&config.require_postgres()?.primary).await?;
    let mut found = Tables::find(&mut connection, config, &Known::new()).await?;
    let config = found.config.clone();
    let datalake = config.require_datalake()?;
    let mut reports = Vec::new();
    for at in tables::asked(&arguments.tables, &config.tables)? {
        let table = &config.tables[at];
        // The lake keeps what leaves a journal.
        if table.journal_of.is_some() {
            continue;
        }
        let of = OfTable {
            config: &config,
            datalake,
            table,
        };
        let found = found.take(table)?;
        let wanted = Wanted {
            keys: arguments.repair,
            repaired: false,
        };
        let mut report =
            verify_table(&mut connection, &of, found.clone(), deadline, wanted).await?;
        if !arguments.json {
            output::stdout(report.to_string())?;
        }
        if arguments.repair && !report.is_equal() {
            report = repair(arguments, &mut connection, &of, found, report).await?;
        }
        reports.push(report);
    }
    // The session only read, so an error while it closes costs no data.
    let _ = connection.close().await;
    Ok(reports)
}

/// Lets the service publish what a comparison has found, and compares again once it has.
async fn repair(
    arguments: &VerifyArguments,
    connection: &mut PgConnection,
    of: &OfTable<'_>,
    table: Table,
    mut report: Report,
) -> Result<Report, Failure> {
    let time_max = Duration::from_secs(arguments.timeout);
    let outcome = repair::ask(of, &mut report, time_max).await?;
    if !arguments.json {
        output::stdout(format!("  {outcome}\n"))?;
    }
    if outcome.is_made() {
        let deadline = Instant::now() + time_max;
        let wanted = Wanted {
            keys: false,
            repaired: true,
        };
        report = verify_table(connection, of, table, deadline, wanted).await?;
        if !arguments.json {
            output::stdout(report.to_string())?;
        }
    }
    report.repair = Some(outcome);
    Ok(report)
}

/// What a comparison is for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// Name the rows that differ.
    keys: bool,
    /// The rows of a repair are on their way: wait for its deletes too.
    repaired: bool,
}

impl Wanted {
    /// Whether later commits of the lake may make both sides equal.
    fn waits_for(self, found: &Findings) -> bool {
        found.may_be_late() || self.repaired && found.to_repair() > 0
    }
}

async fn verify_table(
    connection: &mut PgConnection,
    of: &OfTable<'_>,
    table: Table,
    deadline: Instant,
    wanted: Wanted,
) -> Result<Report, VerifyError> {
    let folder = tables::folder(of.config, of.datalake, of.table);
    // The views name files by their whole paths, and both comparisons leave out the same ones.
    let reader = TableReader::new(tables::absolute(&folder));
    // Each file is read once, so none may be merged into another one meanwhile.
    let _held = reader.hold();
    let inspection = reader.inspect().await?;
    // The files are listed before the snapshot: everything in them was committed before, so the
    // snapshot sees it, whichever transactions run.
    let settled = reader.data_files().map_err(VerifyError::from)?;
    let mut snapshot = Snapshot::open(connection, table, deadline).await?;
    let schema = snapshot.schema.clone();
    // Files are held in their places, so no date leaves meanwhile.
    let head = reader.head().await?;
    let mut left = head.and_then(|head| {
        let date_column = of.table.date_column.as_deref();
        LeftDates::of(&head, &schema, date_column, of.table.timezone)
    });
    let mut lake = Lake::open(reader, settled, &inspection, &schema).await?;
    let mut findings = Findings::default();
    let mut range = KeyRange::ALL;
    loop {
        let (found, compared) = compare_range(
            of,
            &mut snapshot,
            &mut left,
            &mut lake,
            range,
            deadline,
            wanted,
        )
        .await?;
        findings.add(found);
        match compared.after() {
            Some(next) => range = next,
            None => break,
        }
    }
    let examples = examples::read(&mut snapshot, &lake, &findings).await?;
    let keyed = !schema.key.is_empty();
    let keys_to_repair = match wanted.keys && keyed {
        true => examples::keys(&mut snapshot, &lake, &findings).await?,
        false => Vec::new(),
    };
    let as_read = as_read::compare(of, &mut snapshot, &lake, deadline).await?;
    snapshot.end().await?;
    Ok(Report {
        table: schema.table.clone(),
        keyed,
        keys: report::keys(&schema, lake.head.as_ref()),
        findings,
        examples,
        inspection,
        as_read,
        keys_to_repair,
        repair: None,
    })
}

/// Compares the keys of a range, or of the part of it that fits into memory. Waits until the lake
/// has caught up or the deadline is over.
async fn compare_range(
    of: &OfTable<'_>,
    snapshot: &mut Snapshot<'_>,
    left: &mut Option<LeftDates>,
    lake: &mut Lake,
    mut range: KeyRange,
    deadline: Instant,
    wanted: Wanted,
) -> Result<(Findings, KeyRange), VerifyError> {
    let mut rows = read_rows(snapshot, left.as_mut(), &mut range).await?;
    let before = range;
    lake.restart();
    lake.read_on(&mut range, HELD_MAX).await?;
    if range != before {
        rows.retain(|row| range.holds(&row.key));
    }
    rows.sort_unstable_by_key(|row| row.key);
    let keyed = !snapshot.schema.key.is_empty();
    let (mut is_reported, mut loads) = (false, None);
    loop {
        let found = tokio::task::block_in_place(|| {
            compare(
                keyed,
                &rows,
                lake.versions(),
                lake.quarantined(),
                &snapshot.sight,
                loads.as_deref().unwrap_or_default(),
            )
        });
        // The progress may be in Kafka, so it is asked for only where it decides something.
        if found.duplicates.rows > 0 && loads.is_none() {
            let table = &snapshot.schema.table;
            loads = Some(loads::of_table(of.config, table, lake.head.as_ref()).await);
            continue;
        }
        if wanted.waits_for(&found) && !std::mem::replace(&mut is_reported, true) {
            let seconds = deadline.saturating_duration_since(Instant::now()).as_secs();
            let table = &snapshot.schema.table;
            tracing::info!(%table, seconds, "the lake is behind: waiting for it, at most this \
                long");
            if lake.has_no_writer() {
                tracing::warn!(
                    %table,
                    "no service of this machine writes the lake: what is behind arrives when one \
                     runs"
                );
            }
        }
        if !wanted.waits_for(&found) || !wait_for_more(lake, &mut range, deadline).await? {
            return Ok((found, range));
        }
    }
}

/// Returns true when the lake has grown, false when the deadline is over.
async fn wait_for_more(
    lake: &mut Lake,
    range: &mut KeyRange,
    deadline: Instant,
) -> Result<bool, VerifyError> {
    while Instant::now() < deadline {
        tokio::time::sleep(LOOK_AGAIN).await;
        // The range is fixed now, so every version that arrives in these seconds is held.
        if lake.read_on(range, usize::MAX).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Hashes the snapshot's rows; narrows the range while they are too many.
async fn read_rows(
    snapshot: &mut Snapshot<'_>,
    mut left: Option<&mut LeftDates>,
    range: &mut KeyRange,
) -> Result<Vec<Row>, VerifyError> {
    let mut hasher = Hasher::new(snapshot.schema.clone());
    let mut rows = Vec::new();
    let take = |batch: &arrow::array::RecordBatch| {
        let hashed = hasher.hash(batch);
        let left = left.as_mut().map(|left| left.holds(batch));
        for (at, (key, values)) in hashed.keys.iter().zip(&hashed.values).enumerate() {
            if range.holds(key) {
                rows.push(Row {
                    key: *key,
                    values: *values,
                    xmin: Xid(hashed.xids[at]).low(),
                    has_left: left.as_ref().is_some_and(|left| left[at]),
                });
            }
        }
        while rows.len() > HELD_MAX && range.narrow() {
            rows.retain(|row| range.holds(&row.key));
        }
    };
    snapshot.read(take).await?;
    Ok(rows)
}
