//! The Arrow builder of one column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::i256;
use inlet_model::{ColumnType, Scalar};

use super::list::ListBuilder;
use super::numeric::{self, Scale};
use super::value::{self, Misfit};
use crate::hash::{TEXT_BYTES, ValueHasher};

const UUID_BYTES: i32 = 16;

/// A builder by the column's type: matched once a value, never boxed.
pub(super) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, Scale<i128>),
    Decimal256(Decimal256Builder, Scale<i256>),
    Text(StringBuilder),
    /// Hashes of texts.
    Hashed(StringBuilder, Box<ValueHasher>),
    Json(StringBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    List(Box<ListBuilder>),
}

impl ColumnBuilder {
    /// A builder with room for `rows` values; `bytes` is what those without a fixed width take
    /// together.
    pub(super) fn new(column_type: ColumnType, rows: usize, bytes: usize) -> Self {
        match column_type {
            ColumnType::Scalar(scalar) => Self::of_scalar(scalar, rows, bytes),
            ColumnType::List(element) => {
                Self::List(Box::new(ListBuilder::new(element, rows, bytes)))
            }
        }
    }

    /// A builder of hashes.
    pub(super) fn hashed(hasher: ValueHasher, rows: usize) -> Self {
        let builder = StringBuilder::with_capacity(rows, rows * TEXT_BYTES);
        Self::Hashed(builder, Box::new(hasher))
    }

    /// A builder of the same kind, with room for as much as this one has.
    pub(super) fn next(&self, column_type: ColumnType, rows: usize) -> Self {
        match self {
            Self::Hashed(_, hasher) => Self::hashed(hasher.as_ref().clone(), rows),
            _ => Self::new(column_type, rows, self.variable_bytes()),
        }
    }

    /// The same for a column of single values, or for the elements of a list.
    pub(super) fn of_scalar(scalar: Scalar, rows: usize, bytes: usize) -> Self {
        match scalar {
            Scalar::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Scalar::Int16 => Self::Int16(Int16Builder::with_capacity(rows)),
            Scalar::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            Scalar::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            Scalar::Oid => Self::Oid(Int64Builder::with_capacity(rows)),
            Scalar::Float32 => Self::Float32(Float32Builder::with_capacity(rows)),
            Scalar::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            Scalar::Decimal { precision, scale } if precision <= 38 => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(scalar.arrow());
                Self::Decimal128(builder, Scale::new(precision, scale))
            }
            Scalar::Decimal { precision, scale } => {
                let builder = Decimal256Builder::with_capacity(rows).with_data_type(scalar.arrow());
                Self::Decimal256(builder, Scale::new(precision, scale))
            }
            Scalar::Text => Self::Text(StringBuilder::with_capacity(rows, bytes)),
            Scalar::Json => Self::Json(StringBuilder::with_capacity(rows, bytes)),
            Scalar::Uuid => Self::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, UUID_BYTES)),
            Scalar::Bytes => Self::Bytes(BinaryBuilder::with_capacity(rows, bytes)),
            Scalar::Date => Self::Date(Date32Builder::with_capacity(rows)),
            Scalar::Time => Self::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            Scalar::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows)),
            Scalar::TimestampTz => Self::TimestampTz(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(scalar.arrow()),
            ),
        }
    }

    /// Appends a value in PostgreSQL's binary format; appends nothing when it does not fit.
    // Called of rows and of lists, and inlined in both: a row's loop is as tight as with one
    // caller.
    #[inline(always)]
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        match self {
            Self::Bool(builder) => builder.append_value(value::boolean(bytes)?),
            Self::Int16(builder) => builder.append_value(value::int16(bytes)?),
            Self::Int32(builder) => builder.append_value(value::int32(bytes)?),
            Self::Int64(builder) => builder.append_value(value::int64(bytes)?),
            Self::Oid(builder) => builder.append_value(value::oid(bytes)?),
            Self::Float32(builder) => builder.append_value(value::float32(bytes)?),
            Self::Float64(builder) => builder.append_value(value::float64(bytes)?),
            Self::Decimal128(builder, scale) => {
                builder.append_value(numeric::decimal128(bytes, *scale)?)
            }
            Self::Decimal256(builder, scale) => {
                builder.append_value(numeric::decimal256(bytes, *scale)?)
            }
            Self::Text(builder) => builder.append_value(value::text(bytes)?),
            Self::Hashed(builder, hasher) => {
                builder.append_value(hasher.hash(bytes, &mut [0; TEXT_BYTES]));
            }
            Self::Json(builder) => builder.append_value(value::json(bytes)?),
            Self::Uuid(builder) => builder.append_value(bytes).map_err(|_| Misfit::Malformed)?,
            Self::Bytes(builder) => builder.append_value(bytes),
            Self::Date(builder) => builder.append_value(value::date(bytes)?),
            Self::Time(builder) => builder.append_value(value::time(bytes)?),
            Self::Timestamp(builder) => builder.append_value(value::timestamp(bytes, false)?),
            Self::TimestampTz(builder) => builder.append_value(value::timestamp(bytes, true)?),
            Self::List(builder) => builder.append(bytes)?,
        }
        Ok(())
    }

    #[inline]
    pub(super) fn append_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) | Self::Oid(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal128(builder, _) => builder.append_null(),
            Self::Decimal256(builder, _) => builder.append_null(),
            Self::Text(builder) | Self::Json(builder) | Self::Hashed(builder, _) => {
                builder.append_null();
            }
            Self::Uuid(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) | Self::TimestampTz(builder) => builder.append_null(),
            Self::List(builder) => builder.append_null(),
        }
    }

    /// The bytes held by a column without a fixed width, else 0.
    pub(super) fn variable_bytes(&self) -> usize {
        match self {
            Self::Text(builder) | Self::Json(builder) | Self::Hashed(builder, _) => {
                builder.values_slice().len()
            }
            Self::Bytes(builder) => builder.values_slice().len(),
            Self::List(builder) => builder.variable_bytes(),
            _ => 0,
        }
    }

    /// The column; the builder is spent.
    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int16(mut builder) => Arc::new(builder.finish()),
            Self::Int32(mut builder) => Arc::new(builder.finish()),
            Self::Int64(mut builder) | Self::Oid(mut builder) => Arc::new(builder.finish()),
            Self::Float32(mut builder) => Arc::new(builder.finish()),
            Self::Float64(mut builder) => Arc::new(builder.finish()),
            Self::Decimal128(mut builder, _) => Arc::new(builder.finish()),
            Self::Decimal256(mut builder, _) => Arc::new(builder.finish()),
            Self::Text(mut builder) | Self::Json(mut builder) | Self::Hashed(mut builder, _) => {
                Arc::new(builder.finish())
            }
            Self::Uuid(mut builder) => Arc::new(builder.finish()),
            Self::Bytes(mut builder) => Arc::new(builder.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) | Self::TimestampTz(mut builder) => {
                Arc::new(builder.finish())
            }
            Self::List(builder) => builder.finish(),
        }
    }
}
