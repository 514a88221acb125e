//! The lake's side: every version in the data files, and what lies in quarantine. Files do not
//! change, so each is read once a range of keys.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use inlet_lake::LakeTable;
use inlet_model::TableSchema;
use inlet_model::change::{OFFSET, OP};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::compare::{Quarantined, Version};
use super::error::VerifyError;
use super::hash::{Hash, Hasher, KeyRange};
use crate::status::folder;

const BATCH_ROWS: usize = 8192;

/// What is read of a table's folder so far.
pub struct Lake {
    folder: PathBuf,
    schema: Arc<TableSchema>,
    /// Files that were there before the snapshot.
    settled: BTreeSet<PathBuf>,
    data_read: BTreeSet<PathBuf>,
    quarantine_read: BTreeSet<PathBuf>,
    versions: Vec<Version>,
    quarantined: HashMap<Hash, Quarantined>,
}

/// What we read of a line in quarantine.
#[derive(Deserialize)]
struct Line {
    offset: i64,
    key: Option<String>,
}

impl Lake {
    /// A table's folder with the files that it had before the snapshot; it may be empty or missing.
    /// One that holds another table is refused.
    pub async fn open(
        folder: &Path,
        settled: BTreeSet<PathBuf>,
        schema: &Arc<TableSchema>,
    ) -> Result<Self, VerifyError> {
        LakeTable::peek(folder, &schema.table).await?;
        Ok(Self {
            folder: folder.to_owned(),
            schema: schema.clone(),
            settled,
            data_read: BTreeSet::new(),
            quarantine_read: BTreeSet::new(),
            versions: Vec::new(),
            quarantined: HashMap::new(),
        })
    }

    /// Forgets what was read, to read it for another range.
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

    /// Reads the files that came since; narrows the range while it holds more than `held_max`
    /// versions. True when there were any.
    pub async fn read_on(
        &mut self,
        range: &mut KeyRange,
        held_max: usize,
    ) -> Result<bool, VerifyError> {
        tokio::task::block_in_place(|| {
            // Quarantine after the data: a row that goes from one commit to the next is seen in one
            // of them.
            let data = self.read_data(range, held_max)?;
            Ok(self.read_quarantine()? || data)
        })
    }

    /// Every row of every file, as the files hold them.
    pub fn rows(&self, mut take: impl FnMut(&RecordBatch)) -> Result<(), VerifyError> {
        for path in data_files(&self.folder)? {
            read_file(&path, &mut take)?;
        }
        Ok(())
    }

    fn read_data(&mut self, range: &mut KeyRange, held_max: usize) -> Result<bool, VerifyError> {
        let mut hasher = Hasher::new(self.schema.clone());
        let mut grown = false;
        for path in data_files(&self.folder)? {
            if self.data_read.contains(&path) {
                continue;
            }
            let settled = self.settled.contains(&path);
            read_file(&path, &mut |rows| {
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
        for path in listed(&self.folder, folder::quarantine_files(&self.folder))? {
            if self.quarantine_read.contains(&path) {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|source| VerifyError::Disk {
                path: path.clone(),
                source,
            })?;
            for line in text.lines() {
                let line: Line = serde_json::from_str(line).map_err(|error| VerifyError::Disk {
                    path: path.clone(),
                    source: error.into(),
                })?;
                let Some(key) = line.key else { continue };
                let quarantined = self
                    .quarantined
                    .entry(Hash::of(key.as_bytes()))
                    .or_default();
                quarantined.versions += 1;
                quarantined.offset = quarantined.offset.max(line.offset);
            }
            self.quarantine_read.insert(path);
            grown = true;
        }
        Ok(grown)
    }
}

/// The data files that a table's folder has now.
pub fn data_files(folder: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    listed(folder, folder::data_files(folder))
}

fn listed(
    folder: &Path,
    files: std::io::Result<Vec<PathBuf>>,
) -> Result<Vec<PathBuf>, VerifyError> {
    files.map_err(|source| VerifyError::Disk {
        path: folder.to_owned(),
        source,
    })
}

fn read_file(path: &Path, take: &mut impl FnMut(&RecordBatch)) -> Result<(), VerifyError> {
    let damaged = |source: ParquetError| VerifyError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|source| VerifyError::Disk {
        path: path.to_owned(),
        source,
    })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build());
    for rows in reader.map_err(damaged)? {
        let rows = rows.map_err(|error| damaged(error.into()))?;
        if let Some(lacking) = [OFFSET, OP, inlet_model::change::XID]
            .iter()
            .find(|name| rows.column_by_name(name).is_none())
        {
            return Err(damaged(ParquetError::General(format!(
                "it has no column `{lacking}`"
            ))));
        }
        take(&rows);
    }
    Ok(())
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
    // Versions of before a column of the key had its name came again with it.
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
        .expect("it was looked for")
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
        .expect("it was looked for")
        .as_string::<i32>()
}
