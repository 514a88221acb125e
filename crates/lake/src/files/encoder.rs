//! Rows into one staged Parquet file per date, on a blocking thread.
//!
//! Rows of one kafka_partition keep the order of their offsets, memory is bounded whatever dates
//! arrive, and the files are invisible. Budget: rows of one date are encoded without a copy; rows
//! of many dates are copied once, so that each file is written in runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use inlet_model::change::ChangeBatch;
use inlet_model::{Fingerprint, KafkaPartition, Offset, TableSchema};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::columns::Columns;
use super::dates::{self, Calendar, Day};
use super::footer;
use super::names::STAGING;
use super::quarantine::{QuarantineFile, Rejected};
use super::rows::{RUN_ROWS, runs, split};
use super::statistics::{self, ColumnStatistics};
use super::store::StagedPath;
use crate::commit::{ColumnNames, LatestSchema};
use crate::error::LakeError;
use crate::folder::Folder;

/// Files that are open at once.
const OPEN_DATES_MAX: usize = 16;
/// Closed files that are held open until they are synced together.
const UNSYNCED_MAX: usize = 64;
/// Bytes of gathered rows, over all dates.
const GATHERED_BYTES_MAX: usize = 32 << 20;
/// Bytes of encoded rows whose row group is not written yet, over all files.
const ENCODED_BYTES_MAX: usize = 48 << 20;
/// A file that reaches this size is closed, and the next rows of its date start another one.
const DATA_FILE_BYTES_MAX: usize = 512 << 20;

/// A closed, durable, invisible file. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub staged: String,
    /// The position of its first row, which names it.
    pub first: (KafkaPartition, Offset),
    pub date: Option<String>,
    pub rows: u64,
    pub bytes: u64,
    /// What the entry stores of a data file beside; `None` for rejected rows.
    pub parquet: Option<Parquet>,
    pub path: StagedPath,
}

/// What a data file's own metadata contains.
#[derive(Debug, Clone)]
pub(crate) struct Parquet {
    pub schema: Fingerprint,
    /// Bytes of the metadata at the file's end, without its length and the magic bytes after it.
    pub footer: u32,
    pub columns: BTreeMap<String, ColumnStatistics>,
}

/// What the log's head fixes for new files. Only a hint: the commit compares it with the log, where
/// other writers may have appended in the meantime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// The key that the table's folders by date have already.
    pub date_key: Option<String>,
    /// The names of columns in files.
    pub names: ColumnNames,
}

/// The files of a batch, and the schemas and positions of their rows.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub files: Vec<StagedFile>,
    pub quarantine: Option<StagedFile>,
    pub schemas: Vec<Arc<TableSchema>>,
    pub latest: Option<LatestSchema>,
    pub date_key: Option<String>,
    pub positions: BTreeMap<KafkaPartition, Positions>,
}

/// Where the rows of a kafka_partition are, rejected ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positions {
    pub first: Offset,
    pub last: Offset,
}

/// Encodes the rows of one open batch. Blocking.
pub(super) struct Encoder {
    folder: Arc<Folder>,
    calendar: Calendar,
    names: ColumnNames,
    columns: Option<Columns>,
    gathered: BTreeMap<Day, Gathered>,
    open: BTreeMap<Day, DateFile>,
    quarantine: Option<QuarantineFile>,
    /// The last row of each kafka_partition: rows must arrive in the order of their offsets.
    last_rows: BTreeMap<KafkaPartition, Offset>,
    writes: u64,
    done: Encoded,
    /// Closed files that are not durable yet: the last files of `done`.
    unsynced: Vec<File>,
}

#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

struct DateFile {
    writer: ArrowWriter<File>,
    staged: String,
    path: StagedPath,
    first: (KafkaPartition, Offset),
    rows: u64,
    /// The number of its last write: the file with the lowest one is closed first.
    written: u64,
}

impl Encoder {
    /// An encoder without rows.
    pub fn new(folder: Arc<Folder>, layout: Layout) -> Self {
        let calendar = Calendar::new(folder.options.timezone);
        Self {
            folder,
            calendar,
            names: layout.names,
            columns: None,
            gathered: BTreeMap::new(),
            open: BTreeMap::new(),
            quarantine: None,
            last_rows: BTreeMap::new(),
            writes: 0,
            done: Encoded {
                date_key: layout.date_key,
                ..Encoded::default()
            },
            unsynced: Vec::new(),
        }
    }

    /// Gathers rows by date, and encodes the dates that have enough of them.
    pub fn append(&mut self, batch: &ChangeBatch) -> Result<(), LakeError> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        self.use_schema(&batch.schema)?;
        let schema = LatestSchema {
            detected_at: batch.detected_at,
            fingerprint: batch.schema.fingerprint(),
        };
        self.done.latest = LatestSchema::later(self.done.latest, Some(schema));
        let columns = self.columns.as_ref().expect("a schema is in use");
        let rows = columns.in_file(&batch.rows)?;
        let days = self
            .calendar
            .days(rows.column(columns.date_column))
            .expect("a date column has days");
        self.note_positions(&rows)?;
        for (day, rows) in split(&rows, &days)? {
            self.gather(day, rows)?;
        }
        // A batch with many dates may gather rows of each without filling one run; the largest
        // date is then encoded early, which frees the most memory for one row group.
        while self
            .gathered
            .values()
            .map(|gathered| gathered.bytes)
            .sum::<usize>()
            > GATHERED_BYTES_MAX
        {
            let largest = self
                .gathered
                .iter()
                .max_by_key(|(_, gathered)| gathered.bytes)
                .map(|(day, _)| *day);
            self.encode(largest.expect("bytes were gathered"))?;
        }
        self.bound_encoded()
    }

    /// Writes rows to quarantine.
    pub fn reject(&mut self, rejected: &[Rejected]) -> Result<(), LakeError> {
        for row in rejected {
            if self.quarantine.is_none() {
                let staged = self.folder.claim.staging_name("staged");
                self.quarantine = Some(QuarantineFile::new(
                    &self.folder.store,
                    staged,
                    (row.kafka_partition, row.offset),
                )?);
            }
            self.quarantine
                .as_mut()
                .expect("the file is open")
                .write(row)?;
            self.note(row.kafka_partition, row.offset, row.offset);
        }
        Ok(())
    }

    /// The approximate size of the data files.
    pub fn bytes(&self) -> u64 {
        // Gathered rows are not counted: their encoded size is unknown, and they are bounded apart.
        let closed: u64 = self.done.files.iter().map(|file| file.bytes).sum();
        let open: usize = self
            .open
            .values()
            .map(|file| file.writer.bytes_written() + file.writer.in_progress_size())
            .sum();
        closed + open as u64
    }

    /// Encodes the gathered rows, closes every file and makes all of them durable.
    pub fn finish(mut self) -> Result<Encoded, LakeError> {
        self.close_all()?;
        self.sync()?;
        if let Some(mut file) = self.quarantine.take() {
            let bytes = file.finish(&self.folder.store)?;
            let QuarantineFile {
                staged,
                first,
                rows,
                path,
                ..
            } = file;
            self.done.quarantine = Some(StagedFile {
                staged,
                first,
                date: None,
                rows,
                bytes,
                parquet: None,
                path,
            });
        }
        if !self.done.files.is_empty() || self.done.quarantine.is_some() {
            // The names of the files must be durable before an entry mentions them.
            self.folder.store.sync(STAGING)?;
        }
        Ok(self.done)
    }

    /// Switches to a schema: a file holds rows of one schema only.
    fn use_schema(&mut self, schema: &Arc<TableSchema>) -> Result<(), LakeError> {
        if self
            .columns
            .as_ref()
            .is_some_and(|columns| Arc::ptr_eq(&columns.table, schema) || columns.table == *schema)
        {
            return Ok(());
        }
        // Rows of the old schema that are still gathered would not fit a file of the new one.
        self.close_all()?;
        let (options, date_key) = (&self.folder.options, self.done.date_key.as_deref());
        let columns = Columns::new(schema, options, date_key, &self.names.of(schema))?;
        self.done.date_key = Some(columns.date_key.clone());
        self.done.schemas.push(schema.clone());
        self.columns = Some(columns);
        Ok(())
    }

    fn note_positions(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        for (partition, first, last) in runs(rows) {
            // An offset that arrives a second time would be a duplicate in the lake, so the batch
            // fails before anything of it is committed. The rows of a message arrive together.
            if self
                .last_rows
                .insert(partition, last)
                .is_some_and(|last| first <= last)
            {
                let reason = format!(
                    "offset {} of kafka_partition {} is a duplicate or out of order",
                    first.0, partition.0
                );
                return Err(self.folder.batch_error(reason));
            }
            self.note(partition, first, last);
        }
        Ok(())
    }

    fn note(&mut self, partition: KafkaPartition, first: Offset, last: Offset) {
        let found = self.done.positions.entry(partition);
        let positions = found.or_insert(Positions { first, last });
        positions.first = positions.first.min(first);
        positions.last = positions.last.max(last);
    }

    fn gather(&mut self, day: Day, rows: RecordBatch) -> Result<(), LakeError> {
        let gathered = self.gathered.entry(day).or_default();
        gathered.rows += rows.num_rows();
        // Slices of one batch count its buffers several times: the bound errs on the safe side.
        gathered.bytes += rows.get_array_memory_size();
        gathered.batches.push(rows);
        if gathered.rows >= RUN_ROWS {
            self.encode(day)
        } else {
            Ok(())
        }
    }

    /// Encodes the gathered rows of a date into its file.
    fn encode(&mut self, day: Day) -> Result<(), LakeError> {
        let Some(gathered) = self.gathered.remove(&day) else {
            return Ok(());
        };
        // One batch needs no copy.
        let rows = match gathered.batches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&many[0].schema(), many)
                .map_err(|error| self.folder.batch_error(error.to_string()))?,
        };
        self.open(day, &rows)?;
        self.writes += 1;
        let file = self.open.get_mut(&day).expect("the date's file is open");
        file.writer
            .write(&rows)
            .map_err(|source| encode_error(&file.staged, source))?;
        file.rows += rows.num_rows() as u64;
        file.written = self.writes;
        // Only finished row groups count, so a file may exceed the size by one row group.
        if file.writer.bytes_written() >= DATA_FILE_BYTES_MAX {
            self.close(day)
        } else {
            Ok(())
        }
    }

    fn open(&mut self, day: Day, rows: &RecordBatch) -> Result<(), LakeError> {
        if self.open.contains_key(&day) {
            return Ok(());
        }
        if self.open.len() >= OPEN_DATES_MAX {
            // The file that was written longest ago is the one that waits least for more rows.
            let coldest = self
                .open
                .iter()
                .min_by_key(|(_, file)| file.written)
                .map(|(day, _)| *day);
            self.close(coldest.expect("files are open"))?;
        }
        let columns = self.columns.as_ref().expect("gathered rows have a schema");
        let staged = self.folder.claim.staging_name("staged");
        let (file, path) = self.folder.store.stage(&staged)?;
        let writer = ArrowWriter::try_new(
            file,
            columns.arrow.clone(),
            Some(columns.properties.clone()),
        )
        .map_err(|source| encode_error(&staged, source))?;
        // The name of a file comes from its first row: no other commit can have the same offset,
        // and the rows of a message with one date are in one file.
        let (partition, first, _) = runs(rows).next().expect("a date has rows");
        self.open.insert(
            day,
            DateFile {
                writer,
                staged,
                path,
                first: (partition, first),
                rows: 0,
                written: 0,
            },
        );
        Ok(())
    }

    fn close(&mut self, day: Day) -> Result<(), LakeError> {
        let Some(DateFile {
            mut writer,
            staged,
            path,
            first,
            rows,
            ..
        }) = self.open.remove(&day)
        else {
            return Ok(());
        };
        let columns = self.columns.as_ref().expect("an open file has a schema");
        let metadata = writer
            .finish()
            .map_err(|source| encode_error(&staged, source))?;
        let (file, bytes, parquet) = written(writer.inner(), &metadata, &staged, &columns.table)?;
        self.unsynced.push(file);
        self.done.files.push(StagedFile {
            staged,
            first,
            date: dates::name(day),
            rows,
            bytes,
            parquet: Some(parquet),
            path,
        });
        if self.unsynced.len() >= UNSYNCED_MAX {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Makes the closed files durable.
    fn sync(&mut self) -> Result<(), LakeError> {
        let files = std::mem::take(&mut self.unsynced);
        // The unsynced files are the last ones that were closed, in the same order.
        let closed = &self.done.files[self.done.files.len() - files.len()..];
        let named: Vec<_> = closed
            .iter()
            .map(|closed| closed.staged.as_str())
            .zip(files)
            .collect();
        self.folder.store.make_durable(&named)
    }

    fn close_all(&mut self) -> Result<(), LakeError> {
        // Dates with an open file go first: opening the file of another date would close one of
        // them, which may have gathered rows, and would need a second file for these.
        let opened: Vec<Day> = self.open.keys().copied().collect();
        for day in opened
            .into_iter()
            .chain(self.gathered.keys().copied().collect::<Vec<_>>())
        {
            self.encode(day)?;
            self.close(day)?;
        }
        Ok(())
    }

    /// Ends the largest row group while encoded rows take too much memory.
    fn bound_encoded(&mut self) -> Result<(), LakeError> {
        while self
            .open
            .values()
            .map(|file| file.writer.memory_size())
            .sum::<usize>()
            > ENCODED_BYTES_MAX
        {
            let largest = self
                .open
                .values_mut()
                .max_by_key(|file| file.writer.memory_size())
                .expect("bytes are encoded in open files");
            // Without rows in progress a flush frees nothing.
            if largest.writer.in_progress_rows() == 0 {
                break;
            }
            largest
                .writer
                .flush()
                .map_err(|source| encode_error(&largest.staged, source))?;
        }
        Ok(())
    }
}

/// A second handle of a data file that is written and not durable yet, its size, and what the entry
/// stores of it.
pub(super) fn written(
    file: &File,
    metadata: &ParquetMetaData,
    staged: &str,
    table: &TableSchema,
) -> Result<(File, u64, Parquet), LakeError> {
    let inspected = |source| LakeError::io("inspection", staged, source);
    // The writer keeps its own handle and has no more to write.
    let file = file.try_clone().map_err(inspected)?;
    // The size goes into the entry: recovery compares it with the visible file when
    // the staged one is missing.
    let bytes = file.metadata().map_err(inspected)?.len();
    let parquet = Parquet {
        schema: table.fingerprint(),
        footer: footer::length(&file, bytes).map_err(inspected)?,
        columns: statistics::of(metadata, table),
    };
    Ok((file, bytes, parquet))
}

/// An error of the disk keeps its own kind, so that a full disk is retried.
pub(super) fn encode_error(path: &str, source: ParquetError) -> LakeError {
    match source {
        // A full disk arrives wrapped in an error of Parquet. Unwrapped, it is retried as what it
        // is.
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(io) => LakeError::io("writing", path, *io),
            Err(cause) => LakeError::Encode {
                path: path.to_owned(),
                source: ParquetError::External(cause),
            },
        },
        source => LakeError::Encode {
            path: path.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests;
