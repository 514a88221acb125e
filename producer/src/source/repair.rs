//! A repair: rows that a comparison has found different in the lake are published another time, as
//! the table has them now.
//!
//! It is carried out beside a sweep, in the same snapshot. What the sweep finds new it has emitted
//! already; the repair emits those of the asked rows that were emitted before, and deletes of the
//! asked keys that have no row. So each version comes once with the repair, whatever was written
//! since the comparison, and after everything that earlier snapshots have shown: the order of a
//! key's versions is that of the snapshots. The key of the repair becomes durable with its rows, so
//! it is made once. Source: docs/decisions/0022.

use inlet_model::Xid;
use inlet_model::change::Origin;
use inlet_postgres::Floor;
use sqlx::postgres::PgConnection;
use tracing::info;

use super::census::looked_up;
use super::error::PollError;
use super::keys::Chunk;
use super::out::Out;
use super::scan::{ReadBy, Scan, Scanned, Versions, scan};
use super::statement::{Condition, array_text};

/// The rows that a user wants published another time.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The request.
    pub id: String,
    pub keys: Chunk,
}

/// What a repair has emitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Republished {
    pub rows: u64,
    pub deletes: u64,
}

impl Republished {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            deletes: self.deletes + other.deletes,
        }
    }
}

/// Emits the rows of a repair. `sweep` is the scan that was carried out in this snapshot, down
/// to the xid `bound`.
pub async fn republish(
    connection: &mut PgConnection,
    repair: &Repair,
    bound: Xid,
    sweep: Scan<'_>,
    out: &mut impl Out,
) -> Result<Scanned, PollError> {
    let captured = &sweep.table.captured;
    let columns = repair.keys.texts(&captured.schema);
    let existing = Scan {
        wanted: Versions::EmittedBefore(bound),
        condition: &Condition::Keys {
            columns: columns.iter().map(|texts| array_text(texts)).collect(),
        },
        late_below: Floor::MIN,
        read_by: ReadBy::Short,
        origin: Origin::Repair,
        ..sweep
    };
    let mut scanned = scan(connection, existing, out).await?;
    let rows = scanned.rows;
    let missing = looked_up(connection, captured, &repair.keys).await?;
    let deletes = missing.len();
    if deletes > 0 {
        let (xid_end, taken_at) = (sweep.snapshot.xid_end, sweep.snapshot.taken_at);
        let mut batch = missing.deletes(&captured.schema, xid_end, taken_at);
        batch.origin = Origin::Repair;
        out.write(batch).await?;
        scanned.deleted_keys.push(missing);
    }
    scanned.rows += deletes;
    scanned.deletes += deletes;
    scanned.repaired = Republished { rows, deletes };
    info!(table = %captured.schema.table, rows, deletes, "rows were published another time, as a \
        repair asks");
    Ok(scanned)
}
