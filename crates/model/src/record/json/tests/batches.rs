//! Random batches of every type, with the extremes of each.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    UInt8Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, i256};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;

use crate::change::{ChangeBatch, Origin, polled_schema};
use crate::{Column, TableName, TableSchema};
use crate::{ColumnType, Scalar};

/// A table of columns (name, type, PostgreSQL's name of the type).
pub fn schema(columns: &[(&str, ColumnType, &str)], key: &[usize]) -> Arc<TableSchema> {
    let column = |(name, column_type, postgres_type): &(&str, ColumnType, &str)| Column {
        name: (*name).to_owned(),
        column_type: *column_type,
        postgres_type: (*postgres_type).to_owned(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    };
    let columns = columns.iter().map(column).collect();
    Arc::new(TableSchema::new(
        TableName::new("public", "t"),
        columns,
        key.to_vec(),
    ))
}

pub fn batch(
    schema: &Arc<TableSchema>,
    mut columns: Vec<ArrayRef>,
    ops: &[u8],
    unfit: &[Option<&str>],
) -> ChangeBatch {
    columns.push(Arc::new(UInt8Array::from(ops.to_vec())));
    columns.push(Arc::new(UInt64Array::from(vec![7; ops.len()])));
    columns.push(Arc::new(StringArray::from(unfit.to_vec())));
    let rows = RecordBatch::try_new(polled_schema(schema), columns).unwrap();
    ChangeBatch {
        schema: schema.clone(),
        rows,
        detected_at: 0,
        origin: Origin::Poll,
    }
}

/// A table with a column of every type, and up to 20 rows of it.
pub fn every_type() -> impl Strategy<Value = (Arc<TableSchema>, Vec<ArrayRef>)> {
    let decimal = |precision, scale| ColumnType::Scalar(Scalar::Decimal { precision, scale });
    let types = [
        ColumnType::Scalar(Scalar::Bool),
        ColumnType::Scalar(Scalar::Int16),
        ColumnType::Scalar(Scalar::Int32),
        ColumnType::Scalar(Scalar::Int64),
        ColumnType::Scalar(Scalar::Float32),
        ColumnType::Scalar(Scalar::Float64),
        decimal(1, 0),
        decimal(10, 2),
        decimal(18, 18),
        decimal(38, 0),
        decimal(38, 38),
        decimal(39, 1),
        decimal(50, 20),
        decimal(76, 0),
        decimal(76, 76),
        ColumnType::Scalar(Scalar::Text),
        ColumnType::Scalar(Scalar::Json),
        ColumnType::Scalar(Scalar::Uuid),
        ColumnType::Scalar(Scalar::Bytes),
        ColumnType::Scalar(Scalar::Date),
        ColumnType::Scalar(Scalar::Time),
        ColumnType::Scalar(Scalar::Timestamp),
        ColumnType::Scalar(Scalar::TimestampTz),
        ColumnType::Scalar(Scalar::Oid),
        ColumnType::List(Scalar::Int32),
        ColumnType::List(Scalar::Float64),
        ColumnType::List(Scalar::Decimal {
            precision: 38,
            scale: 2,
        }),
        ColumnType::List(Scalar::Text),
        ColumnType::List(Scalar::Uuid),
        ColumnType::List(Scalar::TimestampTz),
    ];
    let names: Vec<String> = types
        .iter()
        .enumerate()
        .map(|(at, column_type)| format!("{at} {column_type:?}"))
        .collect();
    let columns: Vec<_> = names
        .iter()
        .zip(types)
        .map(|(name, column_type)| (name.as_str(), column_type, name.as_str()))
        .collect();
    let schema = schema(&columns, &[1]);
    let arrays = (1..20_usize)
        .prop_flat_map(move |rows| types.map(|column_type| column(column_type, rows)).to_vec());
    arrays.prop_map(move |arrays| (schema.clone(), arrays))
}

fn column(column_type: ColumnType, rows: usize) -> BoxedStrategy<ArrayRef> {
    match column_type {
        ColumnType::Scalar(Scalar::Bool) => array(any::<bool>(), rows, |values| {
            Arc::new(BooleanArray::from(values))
        }),
        ColumnType::Scalar(Scalar::Int16) => array(any::<i16>(), rows, |values| {
            Arc::new(Int16Array::from(values))
        }),
        ColumnType::Scalar(Scalar::Int32) => array(
            edges([i32::MIN, 0, i32::MAX], any::<i32>()),
            rows,
            |values| Arc::new(Int32Array::from(values)),
        ),
        ColumnType::Scalar(Scalar::Oid) => {
            array(any::<u32>().prop_map(i64::from), rows, |values| {
                Arc::new(Int64Array::from(values))
            })
        }
        ColumnType::Scalar(Scalar::Int64) => array(
            edges([i64::MIN, 0, i64::MAX], any::<i64>()),
            rows,
            |values| Arc::new(Int64Array::from(values)),
        ),
        ColumnType::Scalar(Scalar::Float32) => array(float32(), rows, |values| {
            Arc::new(Float32Array::from(values))
        }),
        ColumnType::Scalar(Scalar::Float64) => array(float64(), rows, |values| {
            Arc::new(Float64Array::from(values))
        }),
        ColumnType::Scalar(Scalar::Decimal {
            precision: precision @ ..=38,
            scale,
        }) => array(decimal(precision), rows, move |values| {
            let values: Vec<_> = values
                .into_iter()
                .map(|value| value.and_then(i256::to_i128))
                .collect();
            Arc::new(
                Decimal128Array::from(values)
                    .with_precision_and_scale(precision, scale)
                    .unwrap(),
            )
        }),
        ColumnType::Scalar(Scalar::Decimal { precision, scale }) => {
            array(decimal(precision), rows, move |values| {
                Arc::new(
                    Decimal256Array::from(values)
                        .with_precision_and_scale(precision, scale)
                        .unwrap(),
                )
            })
        }
        ColumnType::Scalar(Scalar::Text) => {
            array(text(), rows, |values| Arc::new(StringArray::from(values)))
        }
        ColumnType::Scalar(Scalar::Json) => array(document(), rows, |values| {
            Arc::new(StringArray::from(values))
        }),
        ColumnType::Scalar(Scalar::Uuid) => array(any::<[u8; 16]>(), rows, |values| {
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 16)
                    .unwrap(),
            )
        }),
        ColumnType::Scalar(Scalar::Bytes) => array(vec(any::<u8>(), 0..40), rows, |values| {
            Arc::new(BinaryArray::from_iter(values))
        }),
        ColumnType::Scalar(Scalar::Date) => {
            let days = prop_oneof![
                -2_440_588..=2_145_042_905_i32,
                -1_000_000..4_000_000_i32,
                select(vec![-2_440_588, -719_528, 0, 2_932_896, 2_145_042_905])
            ];
            array(days, rows, |values| Arc::new(Date32Array::from(values)))
        }
        ColumnType::Scalar(Scalar::Time) => array(
            edges([0, 1, 86_399_999_999], 0..86_400_000_000_i64),
            rows,
            |values| Arc::new(Time64MicrosecondArray::from(values)),
        ),
        ColumnType::Scalar(Scalar::Timestamp) => array(micros(), rows, |values| {
            Arc::new(TimestampMicrosecondArray::from(values))
        }),
        ColumnType::Scalar(Scalar::TimestampTz) => array(micros(), rows, |values| {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
        }),
        ColumnType::List(element) => lists(element, rows),
    }
}

/// Lists of up to three elements; a null holds none.
fn lists(element: Scalar, rows: usize) -> BoxedStrategy<ArrayRef> {
    let DataType::List(field) = ColumnType::List(element).arrow() else {
        unreachable!("a list's type")
    };
    vec(weighted(0.85, 0..4_usize), rows)
        .prop_flat_map(move |lengths| {
            let count = lengths.iter().flatten().sum();
            (Just(lengths), column(element.into(), count))
        })
        .prop_map(move |(lengths, elements)| {
            let offsets =
                OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
            let nulls: NullBuffer = lengths.iter().map(Option::is_some).collect();
            let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
            Arc::new(ListArray::new(field.clone(), offsets, elements, nulls)) as ArrayRef
        })
        .boxed()
}

fn array<S: Strategy + 'static>(
    value: S,
    rows: usize,
    build: impl Fn(Vec<Option<S::Value>>) -> ArrayRef + 'static,
) -> BoxedStrategy<ArrayRef>
where
    S::Value: Clone,
{
    vec(weighted(0.85, value), rows).prop_map(build).boxed()
}

fn edges<T: Clone + std::fmt::Debug + 'static>(
    edges: [T; 3],
    all: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![1 => select(edges.to_vec()), 3 => all].boxed()
}

fn float32() -> BoxedStrategy<f32> {
    let edges = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::MAX,
        f32::MIN,
        1e16,
        0.1,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let any = any::<u32>()
        .prop_map(f32::from_bits)
        .prop_map(|value| if value.is_nan() { f32::NAN } else { value });
    prop_oneof![1 => select(edges.to_vec()), 3 => any].boxed()
}

fn float64() -> BoxedStrategy<f64> {
    let edges = [
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::MAX,
        f64::MIN,
        1e16,
        0.1,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let any = any::<u64>()
        .prop_map(f64::from_bits)
        .prop_map(|value| if value.is_nan() { f64::NAN } else { value });
    prop_oneof![1 => select(edges.to_vec()), 3 => any].boxed()
}

fn decimal(precision: u8) -> BoxedStrategy<i256> {
    let bound = i256::from_i128(10).wrapping_pow(precision.into());
    let most = bound.wrapping_sub(i256::ONE);
    let long = any::<(u128, i128)>()
        .prop_map(move |(low, high)| i256::from_parts(low, high).wrapping_rem(bound));
    let short =
        any::<i64>().prop_map(move |value| i256::from_i128(value.into()).wrapping_rem(bound));
    prop_oneof![
        long,
        short,
        Just(most),
        Just(most.wrapping_neg()),
        Just(i256::ZERO),
        Just(i256::ONE)
    ]
    .boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        ".{0,30}",
        "[\"\\\\\0-\u{1f}a-c]{0,30}",
        Just(String::new()),
        "[ -~]{0,60}"
    ]
    .boxed()
}

/// JSON texts with spaces, escapes and any nesting.
fn document() -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        text().prop_map(|text| serde_json::to_string(&text).expect("a string is JSON")),
        select(vec!["null", " true", "-0.5E+3 ", r#""\ud83d\ude00\u0000""#])
            .prop_map(str::to_owned),
    ];
    scalar
        .prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|parts| format!("[{}]", parts.join(" ,"))),
                vec(inner, 0..4).prop_map(|parts| {
                    let member = |part: &String| format!("\"a\" : {part}");
                    let members: Vec<_> = parts.iter().map(member).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
        .boxed()
}

fn micros() -> BoxedStrategy<i64> {
    const FIRST: i64 = -210_866_803_200_000_000;
    let near = FIRST..300_000_000_000_000_000_i64;
    let edges = [
        FIRST,
        i64::MAX - 1,
        0,
        -1,
        253_402_300_799_999_999,
        253_402_300_800_000_000,
        -62_167_219_200_000_001,
    ];
    prop_oneof![FIRST..i64::MAX, near, select(edges.to_vec())].boxed()
}
