//! The columns of a file in the types that the table has now.
//!
//! A file keeps the types of its time. A value that its present type holds exactly is that value;
//! any other one does not fit: it is a difference, and is shown as the file holds it.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, UInt8Array,
    UInt64Array, new_null_array,
};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{cast, is_not_null, nullif};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use inlet_model::change::{ChangeBatch, Origin, polled_schema};
use inlet_model::{Column, TableSchema};
use std::sync::Arc;

/// A column of the table, by its rows.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The values in the present type; null where a value does not fit.
    pub values: ArrayRef,
    /// The file's own values, where one of them does not fit.
    raw: Option<ArrayRef>,
}

/// Returns the table's columns by name; a column that a file lacks is null.
pub fn columns(schema: &TableSchema, rows: &RecordBatch) -> Vec<Fitted> {
    let column = |column: &Column| {
        let data_type = column.column_type.arrow();
        match rows.column_by_name(&column.name) {
            None => Fitted::of(new_null_array(&data_type, rows.num_rows())),
            Some(array) if *array.data_type() == data_type => Fitted::of(array.clone()),
            Some(array) => Fitted::cast(array, &data_type),
        }
    };
    schema.columns.iter().map(column).collect()
}

/// The columns as changes of these operations, for the encoders of records; `unfit` are the values
/// that no column holds, if there are any.
pub fn changes(
    schema: &Arc<TableSchema>,
    columns: Vec<Fitted>,
    ops: UInt8Array,
    unfit: Option<&ArrayRef>,
) -> ChangeBatch {
    let count = ops.len();
    let mut columns: Vec<ArrayRef> = columns.into_iter().map(|column| column.values).collect();
    columns.push(Arc::new(ops));
    columns.push(Arc::new(UInt64Array::from_value(0, count)));
    let no_unfit = || new_null_array(&DataType::Utf8, count);
    columns.push(unfit.cloned().unwrap_or_else(no_unfit));
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(polled_schema(schema), columns, &options)
        .expect("the columns are of the polled schema");
    ChangeBatch {
        schema: schema.clone(),
        rows,
        detected_at: 0,
        origin: Origin::Poll,
    }
}

impl Fitted {
    fn of(values: ArrayRef) -> Self {
        Self { values, raw: None }
    }

    fn cast(array: &ArrayRef, data_type: &DataType) -> Self {
        let fitting = cast(array, data_type).and_then(|values| {
            // The way back shows whether the value is the same: a cast rounds and cuts off.
            let back = cast(&values, array.data_type())?;
            let changed = changed(&back, array)?;
            Ok((nullif(&values, &changed)?, changed.true_count() > 0))
        });
        match fitting {
            Ok((values, false)) => Self::of(values),
            Ok((values, true)) => Self {
                values,
                raw: Some(array.clone()),
            },
            // No value has a counterpart in the present type.
            Err(_) => Self {
                values: new_null_array(data_type, array.len()),
                raw: (array.null_count() < array.len()).then(|| array.clone()),
            },
        }
    }

    /// Whether a value of the file has no counterpart in the present type.
    pub fn is_misfit(&self, row: usize) -> bool {
        let is_lost = |raw: &ArrayRef| raw.is_valid(row) && self.values.is_null(row);
        self.raw.as_ref().is_some_and(is_lost)
    }

    /// The bytes that make the hash of a misfit another one than that of any other value.
    pub fn misfit_bytes(&self, row: usize) -> Option<Vec<u8>> {
        let raw = self.raw.as_ref().filter(|_| self.is_misfit(row))?;
        Some(format!("{:?}", raw.slice(row, 1)).into_bytes())
    }

    /// One row of the column.
    pub fn row(&self, row: usize) -> Self {
        let slice = |array: &ArrayRef| array.slice(row, 1);
        Self {
            values: slice(&self.values),
            raw: self.raw.as_ref().map(slice),
        }
    }

    /// Whether the first rows of both are one value.
    pub fn equals(&self, other: &Self) -> bool {
        !self.is_misfit(0) && !other.is_misfit(0) && self.values.as_ref() == other.values.as_ref()
    }

    /// The first row for people; `None` is null. A value that does not fit is shown with its type.
    pub fn text(&self) -> Result<Option<String>, ArrowError> {
        match self.raw.as_ref().filter(|_| self.is_misfit(0)) {
            Some(raw) => {
                let data_type = raw.data_type();
                Ok(Some(format!("{} (stored as {data_type})", text(raw)?)))
            }
            None if self.values.is_null(0) => Ok(None),
            None => text(&self.values).map(Some),
        }
    }
}

/// Where a value is another one, or is null on one side only.
fn changed(back: &ArrayRef, array: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    // Arrow compares columns of single values at once, and refuses lists.
    if let Ok(changed) = distinct(back, array) {
        return Ok(changed);
    }
    let is_changed = |row| back.slice(row, 1).as_ref() != array.slice(row, 1).as_ref();
    Ok((0..array.len()).map(|row| Some(is_changed(row))).collect())
}

fn text(array: &ArrayRef) -> Result<String, ArrowError> {
    let shown = match array.data_type() {
        // A zone by name needs a database of zones, which Arrow has not here. The values are UTC.
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            return Ok(array_value_to_string(&without_zone(array), 0)? + "Z");
        }
        DataType::List(field) if matches!(field.data_type(), DataType::Timestamp(_, Some(_))) => {
            let list = array.as_list::<i32>();
            let values = without_zone(list.values());
            let field = field
                .as_ref()
                .clone()
                .with_data_type(values.data_type().clone());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::new(field), offsets, values, nulls)?)
        }
        DataType::FixedSizeBinary(16) => {
            let hex: String = array
                .as_fixed_size_binary()
                .value(0)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
            return Ok(parts.join("-"));
        }
        _ => array.clone(),
    };
    array_value_to_string(&shown, 0)
}

fn without_zone(array: &ArrayRef) -> ArrayRef {
    let times = array.as_primitive::<TimestampMicrosecondType>().clone();
    Arc::new(times.with_timezone_opt(None::<Arc<str>>))
}

/// Where every one of these columns has a value.
pub fn all_valid(columns: &[&Fitted], rows: usize) -> Result<BooleanArray, ArrowError> {
    let mut valid = BooleanArray::from(vec![true; rows]);
    for column in columns {
        valid = arrow::compute::and(&valid, &is_not_null(&column.values)?)?;
    }
    Ok(valid)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array, StringArray,
        TimestampMicrosecondArray,
    };
    use inlet_model::{ColumnType, Scalar, TableName};

    use super::*;

    fn fitted(column_type: impl Into<ColumnType>, array: ArrayRef) -> Fitted {
        let column = Column {
            name: "c".to_owned(),
            column_type: column_type.into(),
            postgres_type: String::new(),
            as_text: false,
            not_null: false,
            generated: false,
            number: None,
        };
        let schema = TableSchema::new(TableName::new("public", "t"), vec![column], vec![]);
        let rows = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap();
        columns(&schema, &rows).pop().unwrap()
    }

    fn shown(fitted: &Fitted, row: usize) -> Option<String> {
        fitted.row(row).text().unwrap()
    }

    #[test]
    fn a_narrower_type_of_an_earlier_time_is_the_same_value() {
        let earlier = fitted(
            Scalar::Int64,
            Arc::new(Int32Array::from(vec![Some(7), None])),
        );
        let now = fitted(
            Scalar::Int64,
            Arc::new(arrow::array::Int64Array::from(vec![7])),
        );
        assert!(earlier.row(0).equals(&now.row(0)));
        assert_eq!(
            (shown(&earlier, 0), shown(&earlier, 1)),
            (Some("7".into()), None)
        );
        assert!(!earlier.is_misfit(1));
    }

    #[test]
    fn a_value_that_a_cast_would_round_is_a_difference_with_its_own_text() {
        let decimals = Decimal128Array::from(vec![19_876, 20_000])
            .with_precision_and_scale(20, 4)
            .unwrap();
        let whole = Scalar::Decimal {
            precision: 20,
            scale: 0,
        };
        let earlier = fitted(whole, Arc::new(decimals));
        let two = Decimal128Array::from(vec![2])
            .with_precision_and_scale(20, 0)
            .unwrap();
        let now = fitted(whole, Arc::new(two)).row(0);
        assert!(!earlier.row(0).equals(&now) && earlier.row(1).equals(&now));
        assert!(earlier.misfit_bytes(0).is_some() && earlier.misfit_bytes(1).is_none());
        let text = shown(&earlier, 0).unwrap();
        assert!(text.starts_with("1.9876 (stored as Decimal128"), "{text}");
        let floats = fitted(Scalar::Int32, Arc::new(Float64Array::from(vec![1.5, 3.0])));
        assert!(floats.is_misfit(0) && !floats.is_misfit(1));
    }

    #[test]
    fn a_type_without_a_cast_is_a_difference_and_never_null_or_empty() {
        let uuid = fitted(
            Scalar::Uuid,
            Arc::new(StringArray::from(vec![Some("x"), None])),
        );
        assert!(uuid.is_misfit(0) && !uuid.is_misfit(1));
        assert_eq!(shown(&uuid, 0).as_deref(), Some("x (stored as Utf8)"));
        let number = fitted(
            Scalar::Int32,
            Arc::new(StringArray::from(vec!["many", "7"])),
        );
        assert!(number.is_misfit(0) && !number.is_misfit(1));
        assert_eq!(shown(&number, 0).as_deref(), Some("many (stored as Utf8)"));
    }

    #[test]
    fn a_moment_a_list_of_moments_and_a_uuid_have_a_text() {
        let times = TimestampMicrosecondArray::from(vec![1_795_132_800_000_000]);
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        let moment = fitted(Scalar::TimestampTz, times.clone());
        assert_eq!(shown(&moment, 0).as_deref(), Some("2026-11-20T00:00:00Z"));
        let list_type = ColumnType::List(Scalar::TimestampTz);
        let DataType::List(field) = list_type.arrow() else {
            panic!("a list is a list");
        };
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
        let list = ListArray::new(field, offsets, times, None);
        let moments = fitted(list_type, Arc::new(list));
        assert_eq!(shown(&moments, 0).as_deref(), Some("[2026-11-20T00:00:00]"));
        let bytes = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16]].iter()).unwrap();
        assert_eq!(
            shown(&fitted(Scalar::Uuid, Arc::new(bytes)), 0).as_deref(),
            Some("abababab-abab-abab-abab-abababababab")
        );
    }
}
