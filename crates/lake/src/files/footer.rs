//! The footer of a data file: its length, and other names for its columns.
//!
//! A Parquet file names its columns in its footer alone, so other names cost a copy of the bytes
//! and a new footer. The rows, their order and their statistics stay what they are, byte by byte.
//! Source: the Parquet format, "File format" and `FileMetaData`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use inlet_model::Fingerprint;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataOptions,
    ParquetMetaDataReader, ParquetMetaDataWriter,
};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::bucket::in_bucket;
use super::opened::Opened;
use crate::commit::Extent;
use crate::error::{LakeError, READING};

/// The key of a file's metadata under which its schema's fingerprint is stored, so that a file is
/// known from those of other schemas, whatever its columns are called.
pub(crate) const SCHEMA_KEY: &str = "inlet.schema";

/// The length of the metadata, 4 bytes, and the magic bytes.
pub(crate) const TAIL: u64 = 8;
const MAGIC: &[u8] = b"PAR1";

/// A data file that is open, and its footer.
#[derive(Debug)]
pub(crate) struct Footer {
    size: u64,
    length: u32,
    bytes: Bytes,
    metadata: ParquetMetaData,
}

/// The length of the metadata at the end of a file of this size.
pub(crate) fn length(file: &File, size: u64) -> io::Result<u32> {
    let mut tail = [0; TAIL as usize];
    let at = tail_at(size)?;
    file.read_exact_at(&mut tail, at)?;
    length_in(tail, size)
}

fn tail_at(size: u64) -> io::Result<u64> {
    size.checked_sub(TAIL)
        .ok_or_else(|| io::Error::other("the file is shorter than a footer"))
}

fn length_in(tail: [u8; TAIL as usize], size: u64) -> io::Result<u32> {
    let (length, magic) = tail.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes were split off"));
    if magic != MAGIC || u64::from(length) + TAIL > size {
        return Err(io::Error::other(
            "the file does not end as a Parquet file does",
        ));
    }
    Ok(length)
}

impl Footer {
    /// Reads the footer of a data file; `None` when the file is missing.
    pub fn read(path: &Path) -> Result<Option<Self>, LakeError> {
        let failed = |source| LakeError::io(READING, path, source);
        let file = match Opened::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let size = file.size();
        let damaged = |source| LakeError::Damaged {
            path: path.to_owned(),
            source,
        };
        let at = tail_at(size).map_err(|error| damaged(error.into()))?;
        let tail = file.read_at(at, TAIL as usize).map_err(failed)?;
        let tail = tail.as_ref().try_into().expect("as many bytes were read");
        let length = length_in(tail, size).map_err(|error| damaged(error.into()))?;
        let start = size - TAIL - u64::from(length);
        let bytes = file.read_at(start, length as usize).map_err(failed)?;
        let metadata = ParquetMetaDataReader::decode_metadata(&bytes).map_err(damaged)?;
        Ok(Some(Self {
            size,
            length,
            bytes,
            metadata,
        }))
    }

    /// Bytes before the footer, which stay the same whatever the columns are called.
    pub fn data_bytes(&self) -> u64 {
        self.size - TAIL - u64::from(self.length)
    }

    pub fn extent(&self) -> Extent {
        Extent {
            bytes: self.size,
            footer: self.length,
        }
    }

    pub fn rows(&self) -> u64 {
        let rows = self.metadata.file_metadata().num_rows();
        rows.unsigned_abs()
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fields = self.metadata.file_metadata().schema().get_fields();
        fields.iter().map(|field| field.name())
    }

    /// The columns, with their Arrow types.
    pub fn columns(&self, path: &Path) -> Result<Vec<(String, DataType)>, LakeError> {
        let known = self.metadata.file_metadata();
        let arrow = parquet_to_arrow_schema(known.schema_descr(), known.key_value_metadata());
        let arrow = arrow.map_err(|source| LakeError::Damaged {
            path: path.to_owned(),
            source,
        })?;
        let fields = arrow.fields().iter();
        Ok(fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect())
    }

    /// The schema that the file names; `None` in a file of 0.1.0.
    pub fn schema(&self) -> Option<Fingerprint> {
        let values = self.metadata.file_metadata().key_value_metadata()?;
        let found = values.iter().find(|value| value.key == SCHEMA_KEY)?;
        let number = u64::from_str_radix(found.value.as_deref()?, 16).ok()?;
        Some(Fingerprint(number))
    }

    /// True when the first columns have these names.
    pub fn has_names(&self, names: &[&str]) -> bool {
        let mut found = self.names();
        names.iter().all(|name| found.next() == Some(*name))
    }

    /// Writes a durable copy of the file in which the first columns have these names.
    pub fn renamed(
        &self,
        path: &Path,
        copy: &Path,
        names: &[&str],
        schema: Fingerprint,
    ) -> Result<(), LakeError> {
        let footer = self
            .encode(names, schema)
            .map_err(|source| LakeError::Damaged {
                path: path.to_owned(),
                source,
            })?;
        let failed = |source| LakeError::io("writing", copy, source);
        if in_bucket(path) {
            let read = Opened::open(path).and_then(|file| file.reader(0));
            let mut file = File::create(copy).map_err(failed)?;
            let mut data = read.map_err(failed)?.take(self.data_bytes());
            io::copy(&mut data, &mut file).map_err(failed)?;
            return file.write_all(&footer).map_err(failed);
        }
        // On a file system that shares blocks this copies no byte.
        fs::copy(path, copy).map_err(failed)?;
        let mut file = File::options().append(true).open(copy).map_err(failed)?;
        file.set_len(self.data_bytes()).map_err(failed)?;
        file.write_all(&footer).map_err(failed)?;
        // A name must not lead to this copy before its bytes are durable.
        file.sync_all().map_err(failed)
    }

    fn encode(&self, names: &[&str], schema: Fingerprint) -> Result<Vec<u8>, ParquetError> {
        let known = self.metadata.file_metadata();
        let name = |at: usize, field: &TypePtr| names.get(at).unwrap_or(&field.name()).to_string();
        let fields = known.schema().get_fields().iter().enumerate();
        let fields = fields
            .map(|(at, field)| Ok(Arc::new(with_name(field, &name(at, field))?)))
            .collect::<Result<Vec<_>, ParquetError>>()?;
        let root = Type::group_type_builder(known.schema().name())
            .with_fields(fields)
            .build()?;
        let descriptor = Arc::new(SchemaDescriptor::new(Arc::new(root)));
        // Each column chunk repeats the path of its column. Decoded with the new schema, the
        // chunks have the new paths and everything else as it was.
        let options = ParquetMetaDataOptions::new()
            .with_schema(descriptor.clone())
            .with_encoding_stats_as_mask(false);
        let renamed =
            ParquetMetaDataReader::decode_metadata_with_options(&self.bytes, Some(&options))?;
        let metadata = FileMetaData::new(
            known.version(),
            known.num_rows(),
            known.created_by().map(str::to_owned),
            Some(self.key_values(names, schema)?),
            descriptor,
            known.column_orders().cloned(),
        );
        let metadata = ParquetMetaDataBuilder::new(metadata)
            .set_row_groups(renamed.row_groups().to_vec())
            .build();
        let mut bytes = Vec::with_capacity(self.bytes.len() + 64);
        ParquetMetaDataWriter::new(&mut bytes, &metadata).finish()?;
        Ok(bytes)
    }

    /// The file's own key-value pairs, with the Arrow schema under the new names.
    fn key_values(
        &self,
        names: &[&str],
        schema: Fingerprint,
    ) -> Result<Vec<KeyValue>, ParquetError> {
        let known = self.metadata.file_metadata();
        let old = known.key_value_metadata();
        let arrow = parquet_to_arrow_schema(known.schema_descr(), old)?;
        let fields = arrow.fields().iter().enumerate();
        let fields: Vec<Field> = fields
            .map(|(at, field)| {
                let field = field.as_ref().clone();
                match names.get(at) {
                    Some(name) => field.with_name(*name),
                    None => field,
                }
            })
            .collect();
        let arrow = encode_arrow_schema(&Schema::new(fields));
        let ours = [SCHEMA_KEY, ARROW_SCHEMA_META_KEY];
        let others = old.into_iter().flatten();
        let others = others.filter(|value| !ours.contains(&value.key.as_str()));
        Ok(others
            .cloned()
            .chain([
                KeyValue::new(SCHEMA_KEY.to_owned(), schema.to_string()),
                KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), arrow),
            ])
            .collect())
    }
}

/// The same column with another name.
fn with_name(field: &Type, name: &str) -> Result<Type, ParquetError> {
    let of = field.get_basic_info();
    let id = of.has_id().then(|| of.id());
    match field {
        Type::PrimitiveType {
            physical_type,
            type_length,
            scale,
            precision,
            ..
        } => Type::primitive_type_builder(name, *physical_type)
            .with_repetition(of.repetition())
            .with_converted_type(of.converted_type())
            .with_logical_type(of.logical_type_ref().cloned())
            .with_length(*type_length)
            .with_precision(*precision)
            .with_scale(*scale)
            .with_id(id)
            .build(),
        Type::GroupType { fields, .. } => Type::group_type_builder(name)
            .with_repetition(of.repetition())
            .with_converted_type(of.converted_type())
            .with_logical_type(of.logical_type_ref().cloned())
            .with_fields(fields.clone())
            .with_id(id)
            .build(),
    }
}
