//! The rows of several files in one: sorted by key, then by kafka_partition and offset, so that the
//! versions of a row are beside each other and readers leave row groups out. Blocking.
//!
//! Every row stays, with every value as it is. Memory is bounded: files are taken until their rows
//! take [`ROWS_BYTES_MAX`], and these are held twice while they are sorted.

use std::fs::File;
use std::io::Write;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use inlet_model::TableSchema;
use inlet_model::change::{KAFKA_PARTITION, OFFSET};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::compute_leaves;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempPath;

use super::encoder::{Parquet, encode_error, written};
use super::{Store, columns};
use crate::error::{LakeError, READING};

/// Rows of merged files in memory, in Arrow's form.
const ROWS_BYTES_MAX: usize = 32 << 20;
const BATCH_ROWS: usize = 8192;
/// A few vectors of DuckDB: small enough to leave most of a file out for one key.
const ROW_GROUP_ROWS: usize = 32_768;

/// A staged file with the rows of the first files of a list.
#[derive(Debug)]
pub(crate) struct MergedFile {
    pub rows: u64,
    pub bytes: u64,
    /// `None` for rejected rows.
    pub parquet: Option<Parquet>,
    pub path: TempPath,
    /// The positions in the list of the files whose rows it has.
    pub inputs: Vec<usize>,
}

/// How fast files are read.
pub(crate) trait Pace {
    /// Called after a file of this many bytes; may wait. False ends the merge.
    fn after(&mut self, bytes: u64) -> bool;
}

/// Merges data files of one schema, whose columns have these names, into `staged`. Leaves out files
/// that are missing, and those that another version wrote with other types. `None` when fewer than
/// two are left.
pub(crate) fn merge_data(
    store: &Store,
    staged: &str,
    table: &TableSchema,
    names: &[&str],
    inputs: &[(&str, u64)],
    pace: &mut impl Pace,
) -> Result<Option<MergedFile>, LakeError> {
    let (schema, properties) = columns::merged(table, names)?;
    let (mut batches, mut taken, mut held, mut expected) = (Vec::new(), Vec::new(), 0, 0);
    for (at, (path, rows)) in inputs.iter().enumerate() {
        let Some(read) = read(store, path, &schema)? else {
            continue;
        };
        let found: usize = read.iter().map(RecordBatch::num_rows).sum();
        if found as u64 != *rows {
            return Err(damaged(
                store,
                path,
                format!("it has {found} rows instead of {rows}"),
            ));
        }
        held += read
            .iter()
            .map(RecordBatch::get_array_memory_size)
            .sum::<usize>();
        expected += rows;
        batches.extend(read);
        taken.push(at);
        if !pace.after(store.size(path)?.unwrap_or(0)) {
            return Ok(None);
        }
        if held >= ROWS_BYTES_MAX {
            break;
        }
    }
    if taken.len() < 2 {
        return Ok(None);
    }
    let failed = |source| encode_error(staged, source);
    let rows = concat_batches(&schema, &batches).map_err(|error| failed(error.into()))?;
    drop(batches);
    assert_eq!(rows.num_rows() as u64, expected, "each row is written once");
    let order = order(table, &rows).map_err(|error| failed(error.into()))?;
    // The merged file gets the first of the names, and with it the place of this file.
    let first = taken.iter().map(|at| inputs[*at].0).min();
    let gap = store
        .size(first.expect("two files were read"))?
        .unwrap_or(0);
    let (file, path) = store.create_file(staged)?;
    let writer = ArrowWriter::try_new(file, schema, Some(properties));
    let (file, metadata) = writer
        .and_then(|writer| write(writer, &rows, &order, gap))
        .map_err(failed)?;
    let (file, bytes, parquet) = written(&file, &metadata, staged, table)?;
    sync(&file, staged)?;
    Ok(Some(MergedFile {
        rows: expected,
        bytes,
        parquet: Some(parquet),
        path,
        inputs: taken,
    }))
}

/// Writes rows in this order, after a gap of zero bytes.
///
/// A reader that has read the footer of the file of before under this name, and opens the name
/// again, as DuckDB does with `union_by_name`, looks for columns where that file had them. It finds
/// zero bytes, which are no page, and fails, instead of taking other columns for its own.
fn write(
    writer: ArrowWriter<File>,
    rows: &RecordBatch,
    order: &[u32],
    gap: u64,
) -> Result<(File, ParquetMetaData), ParquetError> {
    let (mut file, factory) = writer.into_serialized_writer()?;
    let start = file.bytes_written() as u64;
    let zeros = [0; 4096];
    let mut left = gap;
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        file.write_all(&zeros[..part as usize])?;
        left -= part;
    }
    file.flush()?;
    // The zero bytes need no room on the disk; a file system that cannot leave them out keeps them.
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let _ = fallocate(file.inner(), flags, start, gap);
    for (number, part) in order.chunks(ROW_GROUP_ROWS).enumerate() {
        let part = take_record_batch(rows, &UInt32Array::from(part.to_vec()))?;
        let mut writers = factory.create_column_writers(number)?.into_iter();
        let mut group = file.next_row_group()?;
        for (field, column) in part.schema().fields().iter().zip(part.columns()) {
            for leaf in compute_leaves(field, column)? {
                let mut writer = writers.next().expect("each leaf has a writer");
                writer.write(&leaf)?;
                writer.close()?.append_to_row_group(&mut group)?;
            }
        }
        group.close()?;
    }
    let metadata = file.finish()?;
    Ok((file.inner().try_clone()?, metadata))
}

/// Merges files of rejected rows into `staged`, line by line.
pub(crate) fn merge_rejected(
    store: &Store,
    staged: &str,
    inputs: &[(&str, u64)],
    pace: &mut impl Pace,
) -> Result<Option<MergedFile>, LakeError> {
    let (mut file, path) = store.create_file(staged)?;
    let (mut taken, mut expected) = (Vec::new(), 0);
    for (at, (path, rows)) in inputs.iter().enumerate() {
        let Some(lines) = store.read(path)? else {
            continue;
        };
        let found = lines.iter().filter(|byte| **byte == b'\n').count();
        if found as u64 != *rows || lines.last() != Some(&b'\n') {
            return Err(damaged(
                store,
                path,
                format!("it has {found} lines instead of {rows}"),
            ));
        }
        file.write_all(&lines)
            .map_err(|source| LakeError::io("writing", staged, source))?;
        expected += rows;
        taken.push(at);
        if !pace.after(lines.len() as u64) {
            return Ok(None);
        }
    }
    if taken.len() < 2 {
        return Ok(None);
    }
    sync(&file, staged)?;
    let bytes = file.metadata();
    Ok(Some(MergedFile {
        rows: expected,
        bytes: bytes
            .map_err(|source| LakeError::io("inspection", staged, source))?
            .len(),
        parquet: None,
        path,
        inputs: taken,
    }))
}

fn sync(file: &File, staged: &str) -> Result<(), LakeError> {
    file.sync_all()
        .map_err(|source| LakeError::io("sync", staged, source))
}

/// The rows of a data file under the schema of the merged one; `None` when it is missing, or has
/// other columns or types.
fn read(
    store: &Store,
    path: &str,
    schema: &SchemaRef,
) -> Result<Option<Vec<RecordBatch>>, LakeError> {
    let place = store.path(path);
    let file = match File::open(&place) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LakeError::io(READING, place, source)),
    };
    let failed = |source| LakeError::Damaged {
        path: place.clone(),
        source,
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    if columns_of(builder.schema()) != columns_of(schema) {
        return Ok(None);
    }
    let reader = builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(failed)?;
    let batches = reader.map(|rows| {
        let rows = rows?;
        // Names and types are the same; what differs is metadata, such as a field id that an
        // earlier version did not write.
        RecordBatch::try_new(schema.clone(), rows.columns().to_vec())
    });
    let batches: Result<_, ArrowError> = batches.collect();
    batches.map(Some).map_err(|error| failed(error.into()))
}

fn columns_of(schema: &Schema) -> Vec<(&str, &arrow::datatypes::DataType)> {
    let fields = schema.fields().iter();
    fields
        .map(|field| (field.name().as_str(), field.data_type()))
        .collect()
}

/// The rows in the order of the file.
fn order(table: &TableSchema, rows: &RecordBatch) -> Result<Vec<u32>, ArrowError> {
    let key = table.key.iter().map(|at| rows.column(*at).clone());
    let position = [KAFKA_PARTITION, OFFSET].map(|name| {
        let column = rows.column_by_name(name);
        column
            .expect("a data file has its position columns")
            .clone()
    });
    let columns: Vec<ArrayRef> = key.chain(position).collect();
    let fields = columns.iter();
    let fields = fields.map(|column| SortField::new(column.data_type().clone()));
    let keys = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
    let count = u32::try_from(rows.num_rows()).expect("merged rows fit into memory");
    let mut order: Vec<u32> = (0..count).collect();
    // The rows of a message have one offset, and stay in their order.
    order.sort_by(|one, two| keys.row(*one as usize).cmp(&keys.row(*two as usize)));
    Ok(order)
}

fn damaged(store: &Store, path: &str, reason: String) -> LakeError {
    LakeError::Damaged {
        path: store.path(path),
        source: ParquetError::General(reason),
    }
}
