//! One table's plan, carried out in the open snapshot: the scan of its tier, and what is read
//! beside it.

use inlet_model::change::Origin;
use inlet_postgres::{Block, Floor};
use sqlx::postgres::PgConnection;
use tracing::info;

use super::coverage::Coverage;
use super::error::PollError;
use super::keys::KeysOf;
use super::notice;
use super::out::{Event, Out, Reading};
use super::plan::Plan;
use super::repair::republish;
use super::scan::{BatchLimits, ReadBy, Scan, Scanned, Versions, scan};
use super::statement::Condition;
use super::table::PolledTable;

/// Reads what the plan asks for, and hands the rows on.
pub async fn carry_out(
    connection: &mut PgConnection,
    block: &Block,
    table: &PolledTable,
    plan: &Plan,
    out: &mut impl Out,
) -> Result<Scanned, PollError> {
    let bounds = plan.bounds();
    let condition = Condition::Since {
        floor: bounds.floor,
        xid: bounds.xid,
        only: None,
    };
    let reading = notice::reading(plan);
    starts(reading, table, out);
    let known = Scan {
        table: &table.table,
        attached: &table.attached,
        coverage: &table.coverage,
        keys: table.held.keys.as_ref().map(KeysOf::Missing),
        wanted: Versions::New,
        condition: &condition,
        snapshot: table.detection.of(block.snapshot),
        late_below: plan.late_below(),
        origin: Origin::Poll,
        // Only what reads a whole table has an answer that is worth a new plan.
        read_by: if reading.is_some() {
            ReadBy::Long
        } else {
            ReadBy::Short
        },
        batch: BatchLimits::default(),
    };
    let mut scanned = scan(connection, known, out).await?;
    scanned.found = scanned.rows - scanned.deletes + scanned.outside;
    if let Some(reload) = table.opens() {
        // What was written since the load's `begin` and emitted already is the scans' part, and has
        // to come again. Versions that were new were emitted just now.
        let again = Scan {
            wanted: Versions::EmittedBefore(bounds.xid),
            condition: &Condition::Since {
                floor: None,
                xid: reload.load.begin,
                only: reload.condition.clone(),
            },
            late_below: Floor::MIN,
            read_by: ReadBy::Long,
            ..known
        };
        scanned = scanned.and(scan(connection, again, out).await?);
    }
    if plan.reads_attached() && !table.attached.is_empty() {
        // The coverage does not apply to these rows: their xids may have emitted rows of the
        // table while these were not part of it.
        let attached = Scan {
            coverage: &Coverage::default(),
            condition: &Condition::Attached,
            late_below: Floor::MIN,
            read_by: ReadBy::Long,
            ..known
        };
        let attached = scan(connection, attached, out).await?;
        info!(table = %table.name(), rows = attached.rows, "rows of attached tables are read");
        scanned = scanned.and(attached);
    }
    if let Some(repair) = table.repairs() {
        // The other rows of these transactions were not returned.
        scanned =
            scanned.and_without_xids(republish(connection, repair, bounds.xid, known, out).await?);
    }
    if table.has_unseen_columns() && scanned.rows == 0 {
        scanned = scanned.and_without_xids(one_row(connection, known, out).await?);
    }
    if let Some(reading) = reading {
        out.observe(Event::Ends(reading));
    }
    Ok(scanned)
}

/// Reports the start of a long reading.
fn starts(reading: Option<Reading>, table: &PolledTable, out: &mut impl Out) {
    if let Some(reading) = reading {
        out.observe(Event::Starts {
            reading,
            table: table.name(),
            expected: None,
        });
    }
}

/// Emits any row of a table another time: it brings altered columns to the readers.
async fn one_row(
    connection: &mut PgConnection,
    known: Scan<'_>,
    out: &mut impl Out,
) -> Result<Scanned, PollError> {
    let one = Scan {
        coverage: &Coverage::default(),
        condition: &Condition::One,
        late_below: Floor::MIN,
        ..known
    };
    let one = scan(connection, one, out).await?;
    let table = &known.table.captured.schema.table;
    info!(%table, rows = one.rows, "its columns were altered: one row brings them to the readers");
    Ok(one)
}
