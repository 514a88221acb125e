//! The lake's side: every version in the data files, and the rows in quarantine. Rows of a
//! file never change, so each is read once per range of keys.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use inlet_lake::{Head, Inspection, TableReader};
use inlet_model::change::{DETECTED_AT, KAFKA_PARTITION, OFFSET, OP};
use inlet_model::{Column, Fingerprint, TableSchema};
use xxhash_rust::xxh3::xxh3_64;

use super::compare::{Position, Quarantined, Version};
use super::error::VerifyError;
use super::hash::{Hash, Hasher, KeyRange};

/// A table's lake, as far as it was read.
pub struct Lake {
    pub reader: TableReader,
    /// The log's head before the files were read last; `None` before the first commit.
    pub head: Option<Head>,
    schema: Arc<TableSchema>,
    /// Files that existed before the snapshot.
    settled: BTreeSet<PathBuf>,
    /// The only files that are read, where others may be added meanwhile.
    only: Option<BTreeSet<PathBuf>>,
    /// Rows that were found later, in microseconds since 1970-01-01 UTC, are not read.
    found_until: i64,
    /// Files that are not read: the log does not name them, or they are damaged.
    left_out: BTreeSet<PathBuf>,
    /// The schemas of data files, if the table has had another key.
    schemas: HashMap<PathBuf, Fingerprint>,
    data_read: BTreeSet<PathBuf>,
    quarantine_read: BTreeSet<PathBuf>,
    versions: Vec<Version>,
    quarantined: HashMap<Hash, Quarantined>,
}

impl Lake {
    /// True when no process of this machine writes the lake; of a bucket it is not known.
    pub fn has_no_writer(&self) -> bool {
        !self.reader.is_in_bucket() && self.reader.is_written() == Some(false)
    }

    /// A table's lake with the files that existed before the snapshot. Refuses a folder that holds
    /// another table.
    pub async fn open(
        reader: TableReader,
        settled: BTreeSet<PathBuf>,
        found: &Inspection,
        schema: &Arc<TableSchema>,
    ) -> Result<Self, VerifyError> {
        reader.expect_table(&schema.table).await?;
        let unread = found.damaged.keys().chain(found.forbidden.keys());
        Ok(Self {
            reader,
            head: None,
            schema: schema.clone(),
            settled,
            only: None,
            found_until: i64::MAX,
            left_out: found.foreign.iter().chain(unread).cloned().collect(),
            schemas: HashMap::new(),
            data_read: BTreeSet::new(),
            quarantine_read: BTreeSet::new(),
            versions: Vec::new(),
            quarantined: HashMap::new(),
        })
    }

    /// Reads these files alone, and of their rows those that were found by this time.
    pub fn read_only(&mut self, files: BTreeSet<PathBuf>, found_until: Option<i64>) {
        self.only = Some(files);
        self.found_until = found_until.unwrap_or(i64::MAX);
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
        // The log is read before the files: it knows the schema of every file that is read, and
        // what its columns are called.
        self.head = self.reader.head().await?;
        tokio::task::block_in_place(|| {
            // Quarantine is read after the data, because a commit publishes them in this order: a
            // row of the commit is then seen in one of them.
            let data = self.read_data(range, held_max)?;
            Ok(self.read_quarantine()? || data)
        })
    }

    /// Reads every row of the files that were compared last, as stored.
    pub fn rows(&self, mut take: impl FnMut(&RecordBatch)) -> Result<(), VerifyError> {
        for path in &self.data_read {
            TableReader::rows_as(path, self.head.as_ref(), &self.schema, &mut take)?;
        }
        Ok(())
    }

    /// Whether positions of several kafka_partitions are compared.
    pub fn is_partitioned(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| head.offsets.len() > 1)
    }

    /// The files that are not read.
    pub fn left_out(&self) -> &BTreeSet<PathBuf> {
        &self.left_out
    }

    /// The data files that the log names and that can be read.
    pub fn data_files(&self) -> Result<Vec<PathBuf>, VerifyError> {
        let found = match &self.only {
            Some(only) => only.clone(),
            None => self.reader.data_files()?,
        };
        let found = found.into_iter();
        Ok(found.filter(|path| !self.left_out.contains(path)).collect())
    }

    fn read_data(&mut self, range: &mut KeyRange, held_max: usize) -> Result<bool, VerifyError> {
        let mut hasher = Hasher::new(self.schema.clone());
        let mut grown = false;
        let files = self.data_files()?;
        if files.iter().any(|path| !self.data_read.contains(path)) {
            self.read_schemas()?;
        }
        for path in files {
            if self.data_read.contains(&path) {
                continue;
            }
            let of_file = OfFile {
                settled: self.settled.contains(&path),
                found_until: self.found_until,
                earlier_key: self.is_of_earlier_key(&path),
            };
            let versions = &mut self.versions;
            TableReader::rows_as(&path, self.head.as_ref(), &self.schema, |rows| {
                push(versions, &mut hasher, rows, range, &of_file);
                while versions.len() > held_max && range.narrow() {
                    versions.retain(|version| range.holds(&version.key));
                }
            })?;
            self.data_read.insert(path);
            grown = true;
        }
        if grown {
            let is_partitioned = self.is_partitioned();
            self.versions.sort_unstable_by_key(|version| {
                (version.key, version.position.order(is_partitioned))
            });
        }
        Ok(grown)
    }

    /// Whether the rows of a file were written under another key than the table has now.
    fn is_of_earlier_key(&self, path: &PathBuf) -> bool {
        let schema = self.schemas.get(path).and_then(|fingerprint| {
            let head = self.head.as_ref()?;
            head.schemas.get(fingerprint)
        });
        schema.is_some_and(|schema| !has_same_key(schema, &self.schema))
    }

    /// Asks the log for the schemas of files that are new.
    fn read_schemas(&mut self) -> Result<(), VerifyError> {
        let Some(head) = &self.head else {
            return Ok(());
        };
        // Most tables have had one key only, and then no file is of another one.
        if head
            .schemas
            .values()
            .all(|schema| has_same_key(schema, &self.schema))
        {
            return Ok(());
        }
        let files = self.reader.files(head)?.into_iter();
        self.schemas = files
            .filter_map(|file| Some((file.path, file.schema?)))
            .collect();
        Ok(())
    }

    fn read_quarantine(&mut self) -> Result<bool, VerifyError> {
        let mut grown = false;
        for path in self.reader.quarantine_files()? {
            if self.quarantine_read.contains(&path) || self.left_out.contains(&path) {
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

/// What all rows of a file have in common.
struct OfFile {
    settled: bool,
    found_until: i64,
    earlier_key: bool,
}

/// Whether the same columns, of the same types, identify rows. A column keeps its number when it is
/// renamed; 0.1.0 stored no numbers.
pub fn has_same_key(one: &TableSchema, other: &TableSchema) -> bool {
    let key = |schema: &TableSchema| -> Vec<Column> {
        let columns = schema.key.iter().map(|at| schema.columns[*at].clone());
        columns.collect()
    };
    let is_same = |(one, other): (&Column, &Column)| {
        let is_it = match (one.number, other.number) {
            (Some(one), Some(other)) => one == other,
            _ => one.name == other.name,
        };
        is_it && one.column_type == other.column_type
    };
    let (one, other) = (key(one), key(other));
    one.len() == other.len() && one.iter().zip(&other).all(is_same)
}

fn push(
    versions: &mut Vec<Version>,
    hasher: &mut Hasher,
    rows: &RecordBatch,
    range: &KeyRange,
    of_file: &OfFile,
) {
    let hashed = hasher.hash(rows);
    let (ops, columns) = (ops(rows), columns(rows));
    let positions = positions(rows);
    // A key column that was renamed has no values in older files. The load after the rename brought
    // these rows again, so the older versions are left out.
    for (at, key) in hashed
        .keys
        .iter()
        .enumerate()
        .filter(|(at, key)| range.holds(key) && hashed.is_of_key.value(*at))
        .filter(|(at, _)| positions[*at].detected_at <= of_file.found_until)
    {
        let deleted = ops.value(at) == "d";
        versions.push(Version {
            key: *key,
            values: hashed.values[at],
            xid: hashed.xids[at],
            position: positions[at],
            columns,
            deleted,
            settled: of_file.settled,
            earlier_key: of_file.earlier_key,
        });
    }
}

/// The positions of a file's rows.
pub fn positions(rows: &RecordBatch) -> Vec<Position> {
    let column = |name| {
        rows.column_by_name(name)
            .expect("a data file has the change columns")
    };
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
    let partitions = column(KAFKA_PARTITION).as_primitive::<Int32Type>().values();
    let times = column(DETECTED_AT)
        .as_primitive::<TimestampMicrosecondType>()
        .values();
    let position = |at: usize| Position {
        kafka_partition: partitions[at],
        offset: offsets[at],
        detected_at: times[at],
    };
    (0..rows.num_rows()).map(position).collect()
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
