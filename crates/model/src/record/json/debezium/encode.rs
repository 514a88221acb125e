//! A polled batch into envelopes.
//!
//! What a poll does not know is null: `before` of an update, the position in PostgreSQL's log, the
//! transaction block. A delete has its key in `before`, and no tombstone follows it.
//!
//! `op` is `r` for a row of a load. For a row of a poll it is `c` or `u` as the table's own columns
//! tell, see [`Inserted`].

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType, UInt64Type};

use super::super::encode::{Source, UnfitTexts, Unfits, ops, write_integer, write_object};
use super::super::text::{write_hex, write_string};
use super::super::wire::Wire;
use super::schema;
use crate::change::{ChangeBatch, DELETE, Origin};
use crate::record::Rows;
use crate::record::encoding::{DebeziumModes, Encoding};
use crate::record::format::{self, EncodeError, Messages, Target};
use crate::{ColumnType, Fingerprint, Role, Scalar, TableSchema};

/// The format's side of the producer.
#[derive(Debug)]
pub struct Encoder {
    modes: DebeziumModes,
    target: Target,
    /// What messages of the last schema have in common.
    common: Option<(Fingerprint, Common)>,
    row: Vec<u8>,
}

/// What every message of a schema has.
#[derive(Debug)]
struct Common {
    wires: Vec<Wire>,
    /// The columns of the key that was chosen; `None`: the row's.
    topic_key: Option<Vec<usize>>,
    /// What is before and after a value.
    value: [Vec<u8>; 2],
    /// What is before and after a key of the chosen columns, and of the row's own.
    keys: [[Vec<u8>; 2]; 2],
}

impl Encoder {
    /// An encoder of a topic.
    pub fn new(modes: DebeziumModes, target: Target) -> Self {
        Self {
            modes,
            target,
            common: None,
            row: Vec::new(),
        }
    }

    fn common(&mut self, schema: &TableSchema) -> Result<&Common, EncodeError> {
        let fingerprint = schema.fingerprint();
        let is_known = matches!(&self.common, Some((known, _)) if *known == fingerprint);
        if !is_known {
            let common = Common::new(self.modes, &self.target, schema)?;
            self.common = Some((fingerprint, common));
        }
        Ok(&self.common.as_ref().expect("it was just made").1)
    }

    /// The source block up to the xid, which differs from row to row.
    fn source(&self, batch: &ChangeBatch) -> Vec<u8> {
        let mut out = b"{\"version\":".to_vec();
        write_string(&mut out, env!("CARGO_PKG_VERSION"));
        out.extend_from_slice(b",\"connector\":\"postgresql\",\"name\":");
        write_string(&mut out, &self.target.pipeline);
        out.extend_from_slice(b",\"ts_ms\":");
        write_integer(&mut out, batch.detected_at.div_euclid(1_000));
        // A repair is what Debezium calls an incremental snapshot: rows that somebody asked for,
        // between the changes.
        let snapshot: &[u8] = match batch.origin {
            Origin::Poll => b"false",
            Origin::Load => b"true",
            Origin::Repair => b"incremental",
        };
        out.extend_from_slice(b",\"snapshot\":\"");
        out.extend_from_slice(snapshot);
        out.extend_from_slice(b"\",\"db\":");
        write_string(&mut out, &self.target.database);
        out.extend_from_slice(b",\"sequence\":null,\"ts_us\":");
        write_integer(&mut out, batch.detected_at);
        out.extend_from_slice(b",\"ts_ns\":");
        write_nanos(&mut out, batch.detected_at);
        out.extend_from_slice(b",\"schema\":");
        write_string(&mut out, &batch.schema.table.schema);
        out.extend_from_slice(b",\"table\":");
        write_string(&mut out, &batch.schema.table.name);
        out.extend_from_slice(b",\"txId\":");
        out
    }
}

impl Common {
    fn new(
        modes: DebeziumModes,
        target: &Target,
        schema: &TableSchema,
    ) -> Result<Self, EncodeError> {
        let columns = schema.columns.iter();
        let wires: Vec<Wire> = columns.map(|column| Wire::of(column, modes)).collect();
        let topic_key = target.topic_key.resolve(schema)?;
        let wrap = |schema: serde_json::Value| -> [Vec<u8>; 2] {
            if !modes.schemas {
                return [Vec::new(), Vec::new()];
            }
            let before = format!("{{\"schema\":{schema},\"payload\":");
            [before.into_bytes(), b"}".to_vec()]
        };
        let key = |columns: &[usize]| {
            if columns.is_empty() {
                return wrap(schema::row_hash(&target.topic));
            }
            let columns: Vec<_> = columns
                .iter()
                .map(|at| (&schema.columns[*at], wires[*at]))
                .collect();
            wrap(schema::key(&target.topic, &columns, modes.times))
        };
        let own = key(&schema.key);
        Ok(Self {
            value: wrap(schema::envelope(&target.topic, schema, &wires, modes.times)),
            keys: [topic_key.as_deref().map_or(own.clone(), key), own],
            wires,
            topic_key,
        })
    }
}

impl format::Encoder for Encoder {
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        kafka_partitions: u32,
        messages: &mut Messages,
    ) -> Result<(), EncodeError> {
        let source = self.source(batch);
        let mut row = std::mem::take(&mut self.row);
        let common = self.common(&batch.schema)?;
        let columns = Columns::new(common, batch);
        let unfit = Unfits::of(batch);
        let inserted = Inserted::of(batch);
        let xids = batch.rows.column(batch.schema.columns.len() + 1);
        let xids = xids.as_primitive::<UInt64Type>();
        messages.keys.clear();
        messages.values.clear();
        for (at, op) in ops(batch).iter().enumerate() {
            let unfit = unfit.of_row(at);
            let op = match *op {
                DELETE => Op::Delete,
                _ if batch.origin != Origin::Poll => Op::Read,
                _ => inserted.op(at),
            };
            row.clear();
            // A polled delete has nulls in all columns but those of its key.
            write_object(&mut row, &columns.row, at, unfit.as_ref());
            let out = &mut messages.values.bytes;
            out.extend_from_slice(&common.value[0]);
            write_envelope(out, op, &row, &source, xids.value(at), batch.detected_at);
            out.extend_from_slice(&common.value[1]);
            messages.values.end();
            columns.write_key(&mut messages.keys, op, at, unfit.as_ref(), &row);
        }
        messages.set_facts_of_rows(Encoding::Debezium(self.modes), batch, kafka_partitions);
        self.row = row;
        Ok(())
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Read,
    Create,
    Update,
    Delete,
}

/// The columns of a batch, ready to be written.
struct Columns<'a> {
    common: &'a Common,
    row: Vec<Source<'a>>,
    /// Those of the row's key.
    own: Vec<Source<'a>>,
    /// Those of the key that was chosen.
    chosen: Option<Vec<Source<'a>>>,
}

impl<'a> Columns<'a> {
    fn new(common: &'a Common, batch: &'a ChangeBatch) -> Self {
        let key = |columns: &[usize]| -> Vec<_> {
            let source = |at: &usize| Source::of_key(batch, *at, common.wires[*at]);
            columns.iter().map(source).collect()
        };
        let wires = common.wires.iter().enumerate();
        Self {
            common,
            row: wires
                .map(|(at, wire)| Source::new(batch, at, *wire))
                .collect(),
            own: key(&batch.schema.key),
            chosen: common.topic_key.as_deref().map(key),
        }
    }

    fn write_key(
        &self,
        keys: &mut Rows,
        op: Op,
        at: usize,
        unfit: Option<&UnfitTexts>,
        row: &[u8],
    ) {
        // A delete has no values but those of the row's key, which are all that names the row.
        let (columns, around) = match &self.chosen {
            Some(chosen) if op != Op::Delete => (chosen, &self.common.keys[0]),
            _ => (&self.own, &self.common.keys[1]),
        };
        keys.bytes.extend_from_slice(&around[0]);
        if columns.is_empty() {
            write_row_hash(keys, row);
        } else {
            write_object(&mut keys.bytes, columns, at, unfit);
        }
        keys.bytes.extend_from_slice(&around[1]);
        keys.end();
    }
}

fn write_envelope(
    out: &mut Vec<u8>,
    op: Op,
    row: &[u8],
    source: &[u8],
    xid: u64,
    detected_at: i64,
) {
    let parts: [&[u8]; 3] = match op {
        Op::Delete => [b"{\"before\":", row, b",\"after\":null,\"source\":"],
        _ => [b"{\"before\":null,\"after\":", row, b",\"source\":"],
    };
    parts
        .into_iter()
        .for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(source);
    write_integer(out, xid);
    out.extend_from_slice(b",\"lsn\":null,\"xmin\":null,\"origin\":null,\"origin_lsn\":null},\"transaction\":null,\"op\":\"");
    out.push(match op {
        Op::Read => b'r',
        Op::Create => b'c',
        Op::Update => b'u',
        Op::Delete => b'd',
    });
    out.extend_from_slice(b"\",\"ts_ms\":");
    write_integer(out, detected_at.div_euclid(1_000));
    out.extend_from_slice(b",\"ts_us\":");
    write_integer(out, detected_at);
    out.extend_from_slice(b",\"ts_ns\":");
    write_nanos(out, detected_at);
    out.push(b'}');
}

/// Equal rows of a table without a key get equal keys, so all of them are in one kafka_partition.
fn write_row_hash(keys: &mut Rows, row: &[u8]) {
    keys.bytes.extend_from_slice(b"{\"_row\":\"");
    let hash = xxhash_rust::xxh3::xxh3_64(row).to_be_bytes();
    hash.iter()
        .for_each(|byte| write_hex(&mut keys.bytes, *byte));
    keys.bytes.extend_from_slice(b"\"}");
}

fn write_nanos(out: &mut Vec<u8>, micros: i64) {
    write_integer(out, i128::from(micros) * 1_000);
}

/// Whether a polled row was inserted since the last poll, as far as its own columns tell.
///
/// A poll sees the latest version of a row, and not what was there before. A table that has both a
/// time of creation and a time of the last change (by their names, see [`Role`]) tells: the two are
/// equal in a row that was never changed. A table with a time of creation alone is one whose rows
/// are rarely changed, and one without is unknown.
#[derive(Debug)]
enum Inserted {
    /// Both times, in microseconds or days.
    Times(Vec<Option<i64>>, Vec<Option<i64>>),
    Always,
    Never,
}

impl Inserted {
    fn of(batch: &ChangeBatch) -> Self {
        let best = |is_wanted: fn(Role) -> bool| {
            let columns = batch.schema.columns.iter().enumerate();
            let roles = columns.filter_map(|(at, column)| {
                let role = column.role().filter(|role| is_wanted(*role))?;
                Some((role, at))
            });
            roles.min().map(|(_, at)| at)
        };
        let created = best(|role| matches!(role, Role::Created(_)));
        let changed = best(|role| matches!(role, Role::Changed(_)));
        match (created, changed) {
            (Some(created), Some(changed)) => {
                Self::Times(times(batch, created), times(batch, changed))
            }
            (Some(_), None) => Self::Always,
            (None, _) => Self::Never,
        }
    }

    fn op(&self, row: usize) -> Op {
        let is_inserted = match self {
            // A row that was never changed may have no time of a change.
            Self::Times(created, changed) => changed[row].is_none() || created[row] == changed[row],
            Self::Always => true,
            Self::Never => false,
        };
        if is_inserted { Op::Create } else { Op::Update }
    }
}

fn times(batch: &ChangeBatch, column: usize) -> Vec<Option<i64>> {
    let array: &ArrayRef = batch.rows.column(column);
    match batch.schema.columns[column].column_type {
        ColumnType::Scalar(Scalar::Date) => {
            let days = array.as_primitive::<Date32Type>().iter();
            days.map(|days| days.map(i64::from)).collect()
        }
        _ => array
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .collect(),
    }
}
