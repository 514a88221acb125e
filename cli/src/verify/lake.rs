//! The lake's side: every version in the data files, and the rows in quarantine. Rows of a
//! file never change, so each is read once per range of keys.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use inlet_lake::{Head, TableReader};
use inlet_model::TableSchema;
use inlet_model::change::{OFFSET, OP};
use xxhash_rust::xxh3::xxh3_64;

use super::compare::{Quarantined, Version};
use super::error::VerifyError;
use super::hash::{Hash, Hasher, KeyRange};

/// A table's lake, as far as it was read.
pub struct Lake {
    reader: TableReader,
    schema: Arc<TableSchema>,
    /// The head of the log: it knows what the columns are called in the files.
    head: Option<Head>,
    /// Files that existed before the snapshot.
    settled: BTreeSet<PathBuf>,
    data_read: BTreeSet<PathBuf>,
    quarantine_read: BTreeSet<PathBuf>,
    versions: Vec<Version>,
    quarantined: HashMap<Hash, Quarantined>,
}

impl Lake {
    /// A table's lake with the files that existed before the snapshot. Refuses a folder that holds
    /// another table.
    pub async fn open(
        reader: TableReader,
        settled: BTreeSet<PathBuf>,
        schema: &Arc<TableSchema>,
    ) -> Result<Self, VerifyError> {
        reader.expect_table(&schema.table).await?;
        Ok(Self {
            head: reader.head().await?,
            reader,
            schema: schema.clone(),
            settled,
            data_read: BTreeSet::new(),
            quarantine_read: BTreeSet::new(),
            versions: Vec::new(),
            quarantined: HashMap::new(),
        })
    }

    /// Starts reading again, for another range.
    pub fn restart(&mut self) {
        self.data_read.clear();
        self.versions.clear();
    }

    /// Versions of the range, sorted by key and offset.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Keys in quarantine, of every range.
    pub fn quarantined(&self) -> &HashMap<Hash, Quarantined> {
        &self.quarantined
    }

    /// Reads the files that are new since the last call; true when there were any. Narrows the
    /// range while it holds more than `held_max` versions.
    pub async fn read_on(
        &mut self,
        range: &mut KeyRange,
        held_max: usize,
    ) -> Result<bool, VerifyError> {
        // Names of columns change with the log.
        self.head = self.reader.head().await?;
        tokio::task::block_in_place(|| {
            // Quarantine is read after the data, because a commit publishes them in this order: a
            // row of the commit is then seen in one of them.
            let data = self.read_data(range, held_max)?;
            Ok(self.read_quarantine()? || data)
        })
    }

    /// Reads every row of every file, as stored.
    pub fn rows(&self, mut take: impl FnMut(&RecordBatch)) -> Result<(), VerifyError> {
        for path in self.reader.data_files()? {
            TableReader::rows_as(&path, self.head.as_ref(), &self.schema, &mut take)?;
        }
        Ok(())
    }

    fn read_data(&mut self, range: &mut KeyRange, held_max: usize) -> Result<bool, VerifyError> {
        let mut hasher = Hasher::new(self.schema.clone());
        let mut grown = false;
        for path in self.reader.data_files()? {
            if self.data_read.contains(&path) {
                continue;
            }
            let settled = self.settled.contains(&path);
            TableReader::rows_as(&path, self.head.as_ref(), &self.schema, |rows| {
                push(
                    &mut self.versions,
                    &mut hasher,
                    &self.schema,
                    rows,
                    range,
                    settled,
                );
                while self.versions.len() > held_max && range.narrow() {
                    self.versions.retain(|version| range.holds(&version.key));
                }
            })?;
            self.data_read.insert(path);
            grown = true;
        }
        if grown {
            self.versions
                .sort_unstable_by_key(|version| (version.key, version.offset));
        }
        Ok(grown)
    }

    fn read_quarantine(&mut self) -> Result<bool, VerifyError> {
        let mut grown = false;
        for path in self.reader.quarantine_files()? {
            if self.quarantine_read.contains(&path) {
                continue;
            }
            TableReader::rejected(&path, |row| {
                let Some(key) = row.key else { return };
                let quarantined = self.quarantined.entry(Hash::of(&key)).or_default();
                quarantined.versions += 1;
                quarantined.offset = quarantined.offset.max(row.offset.0);
            })?;
            self.quarantine_read.insert(path);
            grown = true;
        }
        Ok(grown)
    }
}

fn push(
    versions: &mut Vec<Version>,
    hasher: &mut Hasher,
    schema: &TableSchema,
    rows: &RecordBatch,
    range: &KeyRange,
    settled: bool,
) {
    let hashed = hasher.hash(rows);
    let (offsets, ops, columns) = (offsets(rows), ops(rows), columns(rows));
    // A key column that was renamed has no values in older files. The load after the rename brought
    // these rows again, so the older versions are left out.
    let named: Vec<_> = schema
        .never_null_key()
        .map(|column| rows.column_by_name(&column.name))
        .collect();
    let is_named = |at: usize| {
        named
            .iter()
            .all(|values| values.is_some_and(|values| values.is_valid(at)))
    };
    for (at, key) in hashed
        .keys
        .iter()
        .enumerate()
        .filter(|(at, key)| range.holds(key) && is_named(*at))
    {
        let deleted = ops.value(at) == "d";
        versions.push(Version {
            key: *key,
            values: hashed.values[at],
            xid: hashed.xids[at],
            offset: offsets[at],
            columns,
            deleted,
            settled,
        });
    }
}

/// The offsets of a file's rows.
pub fn offsets(rows: &RecordBatch) -> &[i64] {
    rows.column_by_name(OFFSET)
        .expect("a data file has this column")
        .as_primitive::<Int64Type>()
        .values()
}

/// A hash of a file's columns, by name.
fn columns(rows: &RecordBatch) -> u32 {
    let schema = rows.schema();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    xxh3_64(names.join("\0").as_bytes()) as u32
}

fn ops(rows: &RecordBatch) -> &arrow::array::StringArray {
    rows.column_by_name(OP)
        .expect("a data file has this column")
        .as_string::<i32>()
}
