//! The rows of a table's latest state, read from its files in two readings: the first one finds
//! which version of each key is the latest, the second one hands these on.
//!
//! Memory is bounded whatever the table's size: by ranges of keys, as `inlet verify` reads them.
//! The files are those that were committed when the reading started, so all ranges show one moment.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use chrono::{DateTime, Utc};
use inlet_lake::TableReader;
use inlet_model::{ColumnType, SchemaFields, TableSchema, printable};

use super::checksum::Checksum;
use super::error::RestoreError;
use super::text::Lines;
use crate::verify::{Hash, Hasher, KeyRange, Lake, Position, Version, columns, positions};

/// Versions in memory at once: about 320 MB.
const HELD_MAX: usize = 4 << 20;
/// Bytes of text that are handed on at once, about.
const TEXT_BYTES: usize = 1 << 20;
/// Files that an error names.
const FILES_MAX: usize = 3;

pub struct Latest {
    lake: Lake,
    /// The lake's latest schema, which tells how rows are identified.
    schema: std::sync::Arc<TableSchema>,
    /// The columns that the table has itself.
    own: TableSchema,
    checksum: Checksum,
}

impl Latest {
    /// The latest state as it was known at a moment, and the schema of its rows. Refuses a lake
    /// that lacks files.
    pub async fn open(
        reader: TableReader,
        as_of: Option<DateTime<Utc>>,
    ) -> Result<(Self, TableSchema), RestoreError> {
        let found = reader.head().await?;
        let schema = found.as_ref().and_then(|head| reader.latest_schema(head));
        let Some(schema) = schema else {
            return Err(RestoreError::NoRows(reader.folder().to_owned()));
        };
        let inspection = reader.inspect().await?;
        let lost = inspection.missing.iter();
        let lost = lost.chain(inspection.damaged.keys());
        let lost = lost.chain(inspection.forbidden.keys());
        let files: Vec<_> = lost
            .take(FILES_MAX)
            .map(|path| path.display().to_string())
            .collect();
        if !files.is_empty() {
            let files = files.join(", ");
            let path = reader.folder().to_owned();
            return Err(RestoreError::Incomplete { path, files });
        }
        let own = own_columns(&schema);
        let schema = std::sync::Arc::new(schema);
        let settled = reader.data_files()?;
        let mut lake = Lake::open(reader, settled.clone(), &inspection, &schema).await?;
        lake.read_only(settled, as_of.map(|moment| moment.timestamp_micros()));
        let latest = Self {
            lake,
            schema: schema.clone(),
            checksum: Checksum::new(&own),
            own: own.clone(),
        };
        Ok((latest, schema.as_ref().clone()))
    }

    /// Rows in quarantine.
    pub fn quarantined(&self) -> u64 {
        let quarantined = self.lake.quarantined().values();
        quarantined.map(|of_key| of_key.versions).sum()
    }

    /// The rows that were handed on.
    pub fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    /// Hands on every row, as the text that COPY reads: of its columns those that are wanted.
    pub async fn read(
        &mut self,
        is_wanted: &[bool],
        mut take: impl FnMut(&str) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut range = KeyRange::ALL;
        loop {
            self.lake.restart();
            self.lake.read_on(&mut range, HELD_MAX).await?;
            tokio::task::block_in_place(|| self.read_range(is_wanted, &mut take))?;
            match range.after() {
                Some(next) => range = next,
                None => return Ok(()),
            }
        }
    }

    fn read_range(
        &mut self,
        is_wanted: &[bool],
        take: &mut impl FnMut(&str) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let keyed = !self.schema.key.is_empty();
        let latest = latest_of(keyed, self.lake.versions());
        let mut hasher = Hasher::new(self.schema.clone());
        let types: Vec<ColumnType> = self
            .own
            .columns
            .iter()
            .map(|column| column.column_type)
            .collect();
        let (mut text, mut value) = (String::new(), String::new());
        let (own, checksum) = (&self.own, &mut self.checksum);
        // The reading of files has no way to end with our errors.
        let mut failed = None;
        self.lake.rows(|rows| {
            if failed.is_some() {
                return;
            }
            let rows = chosen(rows, &latest, &mut hasher);
            let done = fitting(own, &rows).and_then(|columns| {
                checksum.add(&columns, rows.num_rows());
                let lines = Lines::new(&columns, &types, is_wanted);
                for row in 0..rows.num_rows() {
                    lines.write(row, &mut text, &mut value);
                    if text.len() >= TEXT_BYTES {
                        take(&text)?;
                        text.clear();
                    }
                }
                Ok(())
            });
            failed = done.err();
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if !text.is_empty() {
            take(&text)?;
        }
        Ok(())
    }
}

/// The table's own columns, without those that identify its key. Whatever its key was, these rows
/// have no order and no names.
fn own_columns(schema: &TableSchema) -> TableSchema {
    let columns = schema.columns.iter().enumerate();
    let own = columns.filter(|(at, _)| !schema.is_identity(*at));
    TableSchema::from_fields(SchemaFields {
        table: schema.table.clone(),
        columns: own.map(|(_, column)| column.clone()).collect(),
        key: Vec::new(),
        relation: None,
        identities: Vec::new(),
    })
}

/// The latest version of each key, unless it is a delete, sorted by key. Without a key every
/// version counts. `versions` are sorted by key, and by their order within a key.
fn latest_of(keyed: bool, versions: &[Version]) -> Vec<(Hash, Position)> {
    let named = |version: &Version| (version.key, version.position);
    if !keyed {
        let rows = versions.iter().filter(|version| !version.deleted);
        return rows.map(named).collect();
    }
    let mut latest = Vec::new();
    for of_key in versions.chunk_by(|one, other| one.key == other.key) {
        let last = of_key.last().expect("a group holds a version");
        if !last.deleted {
            latest.push(named(last));
        }
    }
    latest
}

/// Those rows of a batch that are the latest ones.
fn chosen(rows: &RecordBatch, latest: &[(Hash, Position)], hasher: &mut Hasher) -> RecordBatch {
    let (hashed, positions) = (hasher.hash(rows), positions(rows));
    let is_latest = |row: usize| {
        let key = hashed.keys[row];
        let first = latest.partition_point(|(other, _)| *other < key);
        let of_key = latest[first..]
            .iter()
            .take_while(|(other, _)| *other == key);
        hashed.is_of_key.value(row)
            && of_key
                .into_iter()
                .any(|(_, position)| *position == positions[row])
    };
    let chosen: BooleanArray = (0..rows.num_rows())
        .map(|row| Some(is_latest(row)))
        .collect();
    filter_record_batch(rows, &chosen).expect("there is an answer for each row")
}

/// The columns in the types of the schema.
fn fitting(schema: &TableSchema, rows: &RecordBatch) -> Result<Vec<ArrayRef>, RestoreError> {
    let fitted = columns(schema, rows);
    for (column, fitted) in schema.columns.iter().zip(&fitted) {
        if (0..rows.num_rows()).any(|row| fitted.is_misfit(row)) {
            let column = printable(&column.name).into_owned();
            return Err(RestoreError::Misfit { column });
        }
    }
    Ok(fitted.into_iter().map(|fitted| fitted.values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(key: u64, offset: i64, deleted: bool) -> Version {
        Version {
            key: Hash::of(&key.to_be_bytes()),
            values: Hash::default(),
            xid: 0,
            position: Position {
                offset,
                ..Position::default()
            },
            columns: 0,
            deleted,
            settled: true,
            earlier_key: false,
        }
    }

    #[test]
    fn the_last_version_of_a_key_counts_and_a_delete_ends_it() {
        let versions = [
            version(1, 1, false),
            version(1, 5, false),
            version(2, 2, false),
            version(2, 3, true),
        ];
        let offsets = |keyed| -> Vec<i64> {
            let latest = latest_of(keyed, &versions);
            latest.iter().map(|(_, position)| position.offset).collect()
        };
        assert_eq!(offsets(true), [5]);
        assert_eq!(offsets(false), [1, 5, 2]);
    }
}
