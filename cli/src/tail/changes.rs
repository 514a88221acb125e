//! Rows of commits in the order in which they became readable, each as JSON.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt8Array};
use arrow::compute::interleave_record_batch;
use chrono::{DateTime, Utc};
use inlet_lake::{Commit, CommittedRows};
use inlet_model::TableSchema;
use inlet_model::change::{ChangeBatch, DELETE, OP, UPSERT};
use inlet_model::record::Rows;
use inlet_model::record::json::{encode_own_keys, encode_values};
use inlet_service::output::StdoutError;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::verify::{Position, fit, positions};

/// Rows that are encoded at once.
const CHUNK_ROWS: usize = 1024;

/// A change of a row, as the lake has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The number of its commit.
    pub seq: u64,
    pub committed_at: DateTime<Utc>,
    pub position: Position,
    /// The key as a JSON object; `None` without one.
    pub key: Option<String>,
    /// The row as a JSON object; `None` for a delete.
    pub row: Option<String>,
}

impl Change {
    /// Whether the key has these values; no values mean any key.
    pub fn is_of(&self, values: &[String]) -> bool {
        if values.is_empty() {
            return true;
        }
        let key = self.key.as_deref().map(fields).unwrap_or_default();
        let own = key.iter().map(|(_, value)| plain(value));
        own.eq(values.iter().cloned())
    }
}

/// The fields of a JSON object in their order, each value as JSON text.
pub fn fields(object: &str) -> Vec<(String, String)> {
    let found = serde_json::from_str::<Ordered>(object);
    found.map(|Ordered(fields)| fields).unwrap_or_default()
}

/// A value as a user writes it: a text without its quotes.
pub fn plain(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
}

/// Rows of several files, with the commits that have brought them.
#[derive(Debug, Default)]
pub struct Changes {
    commits: Vec<Commit>,
    schemas: Vec<Arc<TableSchema>>,
    parts: Vec<Part>,
    /// Part and row of each change, in the order of the changes.
    order: Vec<(usize, usize)>,
}

/// Rows of one file.
#[derive(Debug)]
struct Part {
    /// Which of the schemas they have.
    schema: usize,
    batch: ChangeBatch,
    commits: Vec<usize>,
    positions: Vec<Position>,
}

impl Changes {
    pub fn new(commits: Vec<Commit>) -> Self {
        Self {
            commits,
            ..Self::default()
        }
    }

    pub fn add(&mut self, found: CommittedRows) {
        let CommittedRows {
            schema,
            rows,
            commits,
        } = found;
        let (part, count) = (self.parts.len(), rows.num_rows());
        self.order.extend((0..count).map(|row| (part, row)));
        let known = self.schemas.iter().position(|known| *known == schema);
        let schema_at = known.unwrap_or(self.schemas.len());
        if known.is_none() {
            self.schemas.push(schema);
        }
        let schema = &self.schemas[schema_at];
        self.parts.push(Part {
            schema: schema_at,
            batch: fit::changes(schema, fit::columns(schema, &rows), ops(&rows), None),
            positions: positions(&rows),
            commits,
        });
    }

    /// Puts the rows in order: by commit, then as polls have found them, then by their offsets.
    pub fn sort(&mut self) {
        let parts = &self.parts;
        // Several rows of a message have one offset, and stay as the file has them.
        self.order.sort_by_key(|(part, row)| {
            let part = &parts[*part];
            (part.commits[*row], part.positions[*row].order(true))
        });
    }

    /// The last ones of them.
    pub fn last(mut self, count: usize) -> Self {
        let left_out = self.order.len().saturating_sub(count);
        self.order.drain(..left_out);
        self
    }

    /// Gives every change in order.
    pub fn each(
        &self,
        mut take: impl FnMut(Change) -> Result<(), StdoutError>,
    ) -> Result<(), StdoutError> {
        let schema = |(part, _): &(usize, usize)| self.parts[*part].schema;
        let same = self.order.chunk_by(|one, two| schema(one) == schema(two));
        for order in same.flat_map(|order| order.chunks(CHUNK_ROWS)) {
            self.chunk(order).into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    }

    /// The changes of rows of one schema.
    fn chunk(&self, order: &[(usize, usize)]) -> Vec<Change> {
        let batch = self.gather(order);
        let (mut values, mut keys) = (Rows::default(), Rows::default());
        encode_values(&batch, &mut values);
        let has_key = !batch.schema.key.is_empty();
        if has_key {
            encode_own_keys(&batch, &mut keys);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let change = |(at, (part, row)): (usize, &(usize, usize))| {
            let part = &self.parts[*part];
            let commit = &self.commits[part.commits[*row]];
            Change {
                seq: commit.seq,
                committed_at: commit.committed_at,
                position: part.positions[*row],
                key: has_key.then(|| keys.get(at).map(text)).flatten(),
                row: values.get(at).map(text),
            }
        };
        order.iter().enumerate().map(change).collect()
    }

    /// Rows of several parts as one batch.
    fn gather(&self, order: &[(usize, usize)]) -> ChangeBatch {
        let mut used: Vec<usize> = order.iter().map(|(part, _)| *part).collect();
        used.sort_unstable();
        used.dedup();
        let batches = used.iter().map(|part| &self.parts[*part].batch.rows);
        let batches: Vec<&RecordBatch> = batches.collect();
        let local = |(part, row): &(usize, usize)| {
            let at = used.binary_search(part).expect("every part is used");
            (at, *row)
        };
        let order: Vec<_> = order.iter().map(local).collect();
        let rows = interleave_record_batch(&batches, &order).expect("the rows have one schema");
        ChangeBatch {
            rows,
            ..self.parts[used[0]].batch.clone()
        }
    }
}

fn ops(rows: &RecordBatch) -> UInt8Array {
    let ops = rows
        .column_by_name(OP)
        .expect("a data file has this column");
    let op = |op: Option<&str>| match op {
        Some("d") => DELETE,
        _ => UPSERT,
    };
    UInt8Array::from_iter_values(ops.as_string::<i32>().iter().map(op))
}

/// A JSON object with its fields in their order.
struct Ordered(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Ordered, M::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push((name, value.get().to_owned()));
                }
                Ok(Ordered(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_found_by_the_values_of_its_key_as_a_user_writes_them() {
        let change = |key: Option<&str>| Change {
            seq: 1,
            committed_at: DateTime::UNIX_EPOCH,
            position: Position::default(),
            key: key.map(str::to_owned),
            row: None,
        };
        let values = |values: &[&str]| -> Vec<String> {
            values.iter().map(|value| (*value).to_owned()).collect()
        };
        let of = change(Some(r#"{"no":-7,"it's":"a\"b"}"#));
        assert!(of.is_of(&values(&["-7", "a\"b"])));
        assert!(of.is_of(&[]));
        assert!(!of.is_of(&values(&["-7"])));
        assert!(!of.is_of(&values(&["a\"b", "-7"])));
        assert!(change(None).is_of(&[]) && !change(None).is_of(&values(&["1"])));
    }

    #[test]
    fn fields_keep_their_order_and_their_exact_numbers() {
        let found = fields(r#"{"z":1e400,"a":"12.50","n":null}"#);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a", "n"]);
        assert_eq!(found[0].1, "1e400");
        assert_eq!(
            (plain(&found[1].1), plain(&found[2].1)),
            ("12.50".into(), "null".into())
        );
    }
}
