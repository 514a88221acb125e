//! Rows into one staged Parquet file a date, on a thread of its own.
//!
//! Promises: rows of one kafka_partition stand in the order of their offsets; memory is bounded
//! whatever dates come; nothing is visible. Leaves to others: which offsets the rows cover
//! (`stage`), names and commit (`lake`). Budget: rows of one date are encoded without a copy; rows
//! of many dates are copied once, so that each file is written in runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use inlet_model::TableSchema;
use inlet_model::change::{ChangeBatch, KAFKA_PARTITION, OFFSET};
use inlet_model::{KafkaPartition, Offset};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use super::Shared;
use super::columns::Columns;
use super::dates::{self, Calendar, Day};
use super::error::LakeError;
use super::quarantine::{QuarantineFile, Rejected};
use super::store::{Litter, STAGING, sync_files};

/// Files that are open at once.
const OPEN_DATES_MAX: usize = 16;
/// Closed files that are held open until they are synced together.
const UNSYNCED_MAX: usize = 64;
/// Rows of a date that are gathered before they are encoded.
const RUN_ROWS: usize = 8192;
/// Bytes of gathered rows, over all dates.
const GATHERED_BYTES_MAX: usize = 32 << 20;
/// Bytes of encoded rows whose row group is not written yet, over all files.
const ENCODED_BYTES_MAX: usize = 48 << 20;
/// A file that has grown to this size is closed, and another one of its date begun.
const FILE_BYTES_MAX: usize = 512 << 20;

/// A closed, durable, invisible file.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub staged: String,
    /// The position of its first row, which names it.
    pub first: (KafkaPartition, Offset),
    pub date: Option<String>,
    pub rows: u64,
    pub bytes: u64,
    pub litter: Litter,
}

/// What was encoded.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub files: Vec<StagedFile>,
    pub quarantine: Option<StagedFile>,
    pub schemas: Vec<Arc<TableSchema>>,
    pub date_key: Option<String>,
    pub positions: BTreeMap<KafkaPartition, Positions>,
}

/// The rows of a kafka_partition, rejected ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Positions {
    pub first: Offset,
    pub last: Offset,
    pub rows: u64,
}

/// Encodes the rows of one open batch. Blocking.
pub(super) struct Encoder {
    shared: Arc<Shared>,
    calendar: Calendar,
    columns: Option<Columns>,
    gathered: BTreeMap<Day, Gathered>,
    open: BTreeMap<Day, DateFile>,
    quarantine: Option<QuarantineFile>,
    /// The last row of each kafka_partition: rows must come in the order of their offsets.
    last_rows: BTreeMap<KafkaPartition, Offset>,
    writes: u64,
    done: Encoded,
    /// Closed files that are not durable yet: the last ones of `done`.
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
    litter: Litter,
    first: (KafkaPartition, Offset),
    rows: u64,
    /// The number of its last write: tells the coldest file.
    written: u64,
}

impl Encoder {
    /// An encoder without rows. `date_key` is the one that the table's folders have already.
    pub fn new(shared: Arc<Shared>, date_key: Option<String>) -> Self {
        let calendar = Calendar::new(shared.options.timezone);
        Self {
            shared,
            calendar,
            columns: None,
            gathered: BTreeMap::new(),
            open: BTreeMap::new(),
            quarantine: None,
            last_rows: BTreeMap::new(),
            writes: 0,
            done: Encoded {
                date_key,
                ..Encoded::default()
            },
            unsynced: Vec::new(),
        }
    }

    /// Takes rows; encodes those of the dates that have enough of them.
    pub fn take(&mut self, batch: &ChangeBatch) -> Result<(), LakeError> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        self.follow_schema(&batch.schema)?;
        let columns = self.columns.as_ref().expect("the schema was followed");
        let rows = columns.in_file(&batch.rows)?;
        let days = self
            .calendar
            .days(rows.column(columns.date_column))
            .expect("a date column tells days");
        self.note_positions(&rows)?;
        for (day, rows) in split(&rows, &days)? {
            self.gather(day, rows)?;
        }
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

    /// Takes rows for quarantine.
    pub fn reject(&mut self, rejected: &[Rejected]) -> Result<(), LakeError> {
        for row in rejected {
            if self.quarantine.is_none() {
                let staged = self.shared.claim.staging_name("staged");
                let path = self.shared.store.path(&staged);
                self.quarantine = Some(QuarantineFile::new(
                    staged,
                    path,
                    (row.kafka_partition, row.offset),
                )?);
            }
            self.quarantine
                .as_mut()
                .expect("it was opened")
                .write(row)?;
            self.note(row.kafka_partition, row.offset, row.offset, 1);
        }
        Ok(())
    }

    /// Bytes that the files will have, about.
    pub fn bytes(&self) -> u64 {
        let closed: u64 = self.done.files.iter().map(|file| file.bytes).sum();
        let open: usize = self
            .open
            .values()
            .map(|file| file.writer.bytes_written() + file.writer.in_progress_size())
            .sum();
        closed + open as u64
    }

    /// Encodes what is gathered, closes every file and makes all of it durable.
    pub fn finish(mut self) -> Result<Encoded, LakeError> {
        self.close_all()?;
        self.sync()?;
        if let Some(mut file) = self.quarantine.take() {
            let bytes = file.finish()?;
            let QuarantineFile {
                staged,
                first,
                rows,
                litter,
                ..
            } = file;
            self.done.quarantine = Some(StagedFile {
                staged,
                first,
                date: None,
                rows,
                bytes,
                litter,
            });
        }
        if !self.done.files.is_empty() || self.done.quarantine.is_some() {
            self.shared.store.sync(STAGING)?;
        }
        Ok(self.done)
    }

    /// One file holds rows of one schema.
    fn follow_schema(&mut self, schema: &Arc<TableSchema>) -> Result<(), LakeError> {
        if self
            .columns
            .as_ref()
            .is_some_and(|columns| Arc::ptr_eq(&columns.table, schema) || columns.table == *schema)
        {
            return Ok(());
        }
        self.close_all()?;
        let columns = Columns::new(schema, &self.shared.options, self.done.date_key.as_deref())?;
        self.done.date_key = Some(columns.date_key.clone());
        self.done.schemas.push(schema.clone());
        self.columns = Some(columns);
        Ok(())
    }

    fn note_positions(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        for (partition, first, last, count) in runs(rows) {
            if self
                .last_rows
                .insert(partition, last)
                .is_some_and(|behind| first <= behind)
            {
                let reason = format!(
                    "offset {} of kafka_partition {} comes twice or out of order",
                    first.0, partition.0
                );
                return Err(LakeError::batch(&self.shared.options.table, reason));
            }
            self.note(partition, first, last, count);
        }
        Ok(())
    }

    fn note(&mut self, partition: KafkaPartition, first: Offset, last: Offset, rows: u64) {
        let positions = self.done.positions.entry(partition).or_insert(Positions {
            first,
            last,
            rows: 0,
        });
        positions.first = positions.first.min(first);
        positions.last = positions.last.max(last);
        positions.rows += rows;
    }

    fn gather(&mut self, day: Day, rows: RecordBatch) -> Result<(), LakeError> {
        let gathered = self.gathered.entry(day).or_default();
        gathered.rows += rows.num_rows();
        gathered.bytes += rows.get_array_memory_size();
        gathered.batches.push(rows);
        if gathered.rows >= RUN_ROWS {
            self.encode(day)
        } else {
            Ok(())
        }
    }

    /// Encodes what is gathered of a date into its file.
    fn encode(&mut self, day: Day) -> Result<(), LakeError> {
        let Some(gathered) = self.gathered.remove(&day) else {
            return Ok(());
        };
        let rows = match gathered.batches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&many[0].schema(), many)
                .map_err(|error| LakeError::batch(&self.shared.options.table, error.to_string()))?,
        };
        self.open(day, &rows)?;
        self.writes += 1;
        let file = self.open.get_mut(&day).expect("it was opened");
        file.writer
            .write(&rows)
            .map_err(|source| encode_error(&file.staged, source))?;
        file.rows += rows.num_rows() as u64;
        file.written = self.writes;
        if file.writer.bytes_written() >= FILE_BYTES_MAX {
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
            let coldest = self
                .open
                .iter()
                .min_by_key(|(_, file)| file.written)
                .map(|(day, _)| *day);
            self.close(coldest.expect("files are open"))?;
        }
        let columns = self.columns.as_ref().expect("gathered rows have a schema");
        let staged = self.shared.claim.staging_name("staged");
        let path = self.shared.store.path(&staged);
        let file =
            File::create_new(&path).map_err(|source| LakeError::io("creation", &path, source))?;
        let litter = Litter::new(path);
        let writer = ArrowWriter::try_new(
            file,
            columns.arrow.clone(),
            Some(columns.properties.clone()),
        )
        .map_err(|source| encode_error(&staged, source))?;
        let (partition, first, ..) = runs(rows).next().expect("rows are written, never none");
        self.open.insert(
            day,
            DateFile {
                writer,
                staged,
                litter,
                first: (partition, first),
                rows: 0,
                written: 0,
            },
        );
        Ok(())
    }

    fn close(&mut self, day: Day) -> Result<(), LakeError> {
        let Some(DateFile {
            writer,
            staged,
            litter,
            first,
            rows,
            ..
        }) = self.open.remove(&day)
        else {
            return Ok(());
        };
        let file = writer
            .into_inner()
            .map_err(|source| encode_error(&staged, source))?;
        let bytes = file
            .metadata()
            .map_err(|source| LakeError::io("inspection", &staged, source))?
            .len();
        self.unsynced.push(file);
        self.done.files.push(StagedFile {
            staged,
            first,
            date: dates::name(day),
            rows,
            bytes,
            litter,
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
        let closed = &self.done.files[self.done.files.len() - files.len()..];
        let named: Vec<_> = closed
            .iter()
            .map(|closed| closed.staged.as_str())
            .zip(files)
            .collect();
        sync_files(&named)
    }

    fn close_all(&mut self) -> Result<(), LakeError> {
        // Open files first: a date that opens another one closes the coldest, which may have rows
        // gathered.
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

    /// Ends the largest row group while too much waits in memory for one.
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

/// The rows of each day, in their order; without a copy where they stand together.
fn split(rows: &RecordBatch, days: &[Day]) -> Result<Vec<(Day, RecordBatch)>, LakeError> {
    if days.iter().all(|day| *day == days[0]) {
        return Ok(vec![(days[0], rows.clone())]);
    }
    let mut by_day: BTreeMap<Day, Vec<u32>> = BTreeMap::new();
    for (row, day) in (0..).zip(days) {
        by_day.entry(*day).or_default().push(row);
    }
    let part = |indices: Vec<u32>| {
        let (first, count) = (indices[0] as usize, indices.len());
        // A long run is encoded at once; a short one is copied, so that waiting rows do not hold
        // the whole batch.
        if count >= RUN_ROWS && indices[count - 1] as usize - first == count - 1 {
            return Ok(rows.slice(first, count));
        }
        take_record_batch(rows, &UInt32Array::from(indices))
    };
    let parts = by_day
        .into_iter()
        .map(|(day, indices)| part(indices).map(|rows| (day, rows)));
    parts
        .collect::<Result<_, _>>()
        .map_err(|error| LakeError::Encode {
            path: STAGING.to_owned(),
            source: error.into(),
        })
}

/// Runs of rows of one kafka_partition with rising offsets: partition, first and last offset, rows.
fn runs(rows: &RecordBatch) -> impl Iterator<Item = (KafkaPartition, Offset, Offset, u64)> {
    let column = |name: &str| {
        rows.column_by_name(name)
            .expect("a batch of the lake has its position columns")
    };
    let partitions = column(KAFKA_PARTITION)
        .as_primitive::<Int32Type>()
        .values()
        .clone();
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values().clone();
    let mut start = 0;
    std::iter::from_fn(move || {
        let partition = *partitions.get(start)?;
        let mut end = start + 1;
        while end < partitions.len()
            && partitions[end] == partition
            && offsets[end] > offsets[end - 1]
        {
            end += 1;
        }
        let run = (
            KafkaPartition(partition),
            Offset(offsets[start]),
            Offset(offsets[end - 1]),
            (end - start) as u64,
        );
        start = end;
        Some(run)
    })
}

/// A full disk is no fault of the rows.
fn encode_error(path: &str, source: ParquetError) -> LakeError {
    match source {
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
