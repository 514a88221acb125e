//! The positions of rows, and the rows of some of them: which ones are there more than once.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use inlet_model::KafkaPartition;
use inlet_model::change::{KAFKA_PARTITION, OFFSET};
use roaring::RoaringTreemap;
use xxhash_rust::xxh3::xxh3_64;

use super::ContentFlaw;
use crate::error::LakeError;
use crate::reader::TableReader;

/// Offsets by kafka_partition, a few bits each.
#[derive(Default)]
pub(super) struct Positions(BTreeMap<i32, RoaringTreemap>);

impl Positions {
    /// Adds those of rows; returns whether several rows have one position.
    pub fn add(&mut self, batch: &RecordBatch) -> bool {
        // A file with other types has other statistics as well.
        let Some((partitions, offsets)) = columns(batch) else {
            return false;
        };
        let mut has_messages = false;
        for (partition, offset) in partitions.iter().zip(offsets) {
            let known = self.0.entry(*partition).or_default();
            has_messages |= !known.insert(offset.cast_unsigned());
        }
        has_messages
    }

    /// Adds the positions that both have.
    pub fn add_shared(&mut self, one: &Self, other: &Self) {
        for (partition, offsets) in &one.0 {
            let shared = other.0.get(partition).map(|known| offsets & known);
            if let Some(shared) = shared.filter(|shared| !shared.is_empty()) {
                *self.0.entry(*partition).or_default() |= shared;
            }
        }
    }

    pub fn add_all(&mut self, other: Self) {
        for (partition, offsets) in other.0 {
            *self.0.entry(partition).or_default() |= offsets;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last offset of each kafka_partition.
    pub fn last(&self) -> impl Iterator<Item = (KafkaPartition, i64)> {
        let of = self.0.iter();
        of.filter_map(|(partition, offsets)| {
            Some((KafkaPartition(*partition), offsets.max()?.cast_signed()))
        })
    }

    fn has(&self, partition: i32, offset: i64) -> bool {
        let offsets = self.0.get(&partition);
        offsets.is_some_and(|offsets| offsets.contains(offset.cast_unsigned()))
    }
}

/// Rows by a hash of 64 bits, and those that came again.
pub(super) struct Rows {
    /// The columns that a row is known by beside its position; all of them when empty.
    names: Vec<String>,
    known: HashSet<u64>,
    repeated: u64,
    first: Option<i64>,
}

impl Rows {
    /// Rows are equal when these columns are, and their positions.
    pub fn of_key(names: Vec<String>) -> Self {
        Self {
            names,
            known: HashSet::new(),
            repeated: 0,
            first: None,
        }
    }

    /// Rows are equal when all columns are.
    pub fn whole() -> Self {
        Self::of_key(Vec::new())
    }

    /// Adds the rows of a file, or those at some positions. Rows of one file are compared with each
    /// other only where there is a key.
    pub fn read(&mut self, path: &Path, at: Option<&Positions>) -> Result<(), LakeError> {
        let mut of_file = HashSet::new();
        let mut failed = None;
        let read = TableReader::rows(path, |batch| {
            if failed.is_none() {
                failed = self.add(batch, at, &mut of_file).err();
            }
        });
        self.known.extend(of_file);
        match (read, failed) {
            // It was replaced by hand since the first reading.
            (Err(LakeError::Io { source, .. }), _)
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            (Ok(()), Some(error)) => Err(LakeError::Damaged {
                path: path.to_owned(),
                source: error.into(),
            }),
            (read, _) => read,
        }
    }

    /// The rows that came again since this was asked last.
    pub fn flaw(&mut self) -> Option<ContentFlaw> {
        let rows = std::mem::take(&mut self.repeated);
        let first = self.first.take()?;
        Some(ContentFlaw::Repeated { rows, first })
    }

    fn add(
        &mut self,
        batch: &RecordBatch,
        at: Option<&Positions>,
        of_file: &mut HashSet<u64>,
    ) -> Result<(), ArrowError> {
        let Some((partitions, offsets)) = columns(batch) else {
            return Ok(());
        };
        let named = |name: &String| batch.column_by_name(name).cloned();
        let mut compared: Vec<ArrayRef> = match self.names.is_empty() {
            true => batch.columns().to_vec(),
            false => self.names.iter().filter_map(named).collect(),
        };
        compared.extend(
            [KAFKA_PARTITION, OFFSET]
                .map(str::to_owned)
                .iter()
                .filter_map(named),
        );
        let fields = compared.iter();
        let fields = fields.map(|column| SortField::new(column.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?.convert_columns(&compared)?;
        for (row, (partition, offset)) in partitions.iter().zip(offsets).enumerate() {
            if at.is_some_and(|at| !at.has(*partition, *offset)) {
                continue;
            }
            let hash = xxh3_64(rows.row(row).as_ref());
            let is_new = !self.known.contains(&hash);
            let is_new_here = of_file.insert(hash) || self.names.is_empty();
            if !is_new || !is_new_here {
                self.repeated += 1;
                self.first.get_or_insert(*offset);
            }
        }
        Ok(())
    }
}

fn columns(batch: &RecordBatch) -> Option<(&[i32], &[i64])> {
    let column = |name| batch.column_by_name(name);
    let partitions = column(KAFKA_PARTITION)?.as_primitive_opt::<Int32Type>()?;
    let offsets = column(OFFSET)?.as_primitive_opt::<Int64Type>()?;
    Some((partitions.values(), offsets.values()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, StringArray};
    use inlet_model::change::{DETECTED_AT, OP, XID};
    use parquet::arrow::ArrowWriter;

    use super::*;

    /// A file of rows of one kafka_partition, given as offset and value.
    fn write(folder: &Path, name: &str, rows: &[(i64, i64)]) -> PathBuf {
        let numbers = |number: fn(&(i64, i64)) -> i64| -> ArrayRef {
            Arc::new(rows.iter().map(number).collect::<Int64Array>())
        };
        let (offsets, values) = (numbers(|row| row.0), numbers(|row| row.1));
        let ops: ArrayRef = Arc::new(StringArray::from(vec!["u"; rows.len()]));
        let partitions: ArrayRef = Arc::new(Int32Array::from(vec![0; rows.len()]));
        let rows = RecordBatch::try_from_iter([
            ("value", values),
            (OP, ops),
            (XID, offsets.clone()),
            (KAFKA_PARTITION, partitions),
            (OFFSET, offsets.clone()),
            (DETECTED_AT, offsets),
        ]);
        let (rows, path) = (rows.unwrap(), folder.join(name));
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        path
    }

    #[test]
    fn a_row_is_in_one_file_and_a_message_may_be_in_several() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            write(folder.path(), "a", &[(1, 10), (2, 20), (2, 20)]),
            write(folder.path(), "b", &[(2, 21), (3, 30)]),
            write(folder.path(), "c", &[(2, 20), (3, 30), (4, 40)]),
        ];
        let (mut known, mut several) = (Positions::default(), Positions::default());
        for file in &files {
            let mut found = Positions::default();
            TableReader::rows(file, |rows| _ = found.add(rows)).unwrap();
            several.add_shared(&found, &known);
            known.add_all(found);
        }
        assert!(several.has(0, 2) && several.has(0, 3));
        assert!(!several.has(0, 1) && !several.has(0, 4));
        let mut rows = Rows::whole();
        let mut flaws = Vec::new();
        for file in &files {
            rows.read(file, Some(&several)).unwrap();
            flaws.push(rows.flaw());
        }
        let repeated = ContentFlaw::Repeated { rows: 2, first: 2 };
        assert_eq!(flaws, [None, None, Some(repeated)]);
    }
}
