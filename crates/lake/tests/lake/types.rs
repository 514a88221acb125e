//! Every type keeps its type and its value, as DuckDB prints them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::i256;
use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_model::Scalar;

use crate::fixture::{P0, batch, column, options, range, select, table, texts, try_open};

const UUID: [u8; 16] = [
    0x55, 0x0e, 0x84, 0x00, 0xe2, 0x9b, 0x41, 0xd4, 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0x00, 0x00,
];
/// 2026-11-20T12:34:56.000001, in microseconds.
const AT: i64 = 1_795_178_096_000_001;

fn decimal(precision: u8, scale: i8) -> Scalar {
    Scalar::Decimal { precision, scale }
}

fn decimals(value: i128, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(
        Decimal128Array::from(vec![Some(value), None])
            .with_precision_and_scale(precision, scale)
            .unwrap(),
    )
}

/// Type, PostgreSQL's name, a value and a null, DuckDB's type, DuckDB's text.
fn cases() -> Vec<(Scalar, &'static str, ArrayRef, &'static str, &'static str)> {
    let digits =
        i256::from_string("-1234567890123456789012345678901234567890123456789007").unwrap();
    let wide = Decimal256Array::from(vec![Some(digits), None])
        .with_precision_and_scale(76, 2)
        .unwrap();
    let uuids =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some(UUID), None].into_iter(), 16)
            .unwrap();
    vec![
        (
            Scalar::Int64,
            "bigint",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
            "BIGINT",
            "-9223372036854775808",
        ),
        (
            Scalar::Bool,
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            "BOOLEAN",
            "true",
        ),
        (
            Scalar::Int16,
            "smallint",
            Arc::new(Int16Array::from(vec![Some(i16::MIN), None])),
            "SMALLINT",
            "-32768",
        ),
        (
            Scalar::Int32,
            "integer",
            Arc::new(Int32Array::from(vec![Some(i32::MAX), None])),
            "INTEGER",
            "2147483647",
        ),
        (
            Scalar::Float32,
            "real",
            Arc::new(Float32Array::from(vec![Some(f32::NAN), None])),
            "FLOAT",
            "nan",
        ),
        (
            Scalar::Float64,
            "double precision",
            Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), None])),
            "DOUBLE",
            "-inf",
        ),
        (
            decimal(9, 2),
            "numeric(9,2)",
            decimals(-22_000, 9, 2),
            "DECIMAL(9,2)",
            "-220.00",
        ),
        (
            decimal(18, 18),
            "numeric(18,18)",
            decimals(1, 18, 18),
            "DECIMAL(18,18)",
            ".000000000000000001",
        ),
        (
            decimal(38, 0),
            "numeric(38,0)",
            decimals(10_i128.pow(38) - 1, 38, 0),
            "DECIMAL(38,0)",
            "99999999999999999999999999999999999999",
        ),
        (
            decimal(76, 2),
            "numeric(76,2)",
            Arc::new(wide),
            "VARCHAR",
            "-12345678901234567890123456789012345678901234567890.07",
        ),
        (
            Scalar::Text,
            "text",
            Arc::new(StringArray::from(vec![Some("naïve 🐟 \"q\"\nline"), None])),
            "VARCHAR",
            "naïve 🐟 \"q\"\nline",
        ),
        (
            Scalar::Json,
            "jsonb",
            Arc::new(StringArray::from(vec![Some("{\"a\": [1, null]}"), None])),
            "JSON",
            "{\"a\": [1, null]}",
        ),
        (
            Scalar::Uuid,
            "uuid",
            Arc::new(uuids),
            "UUID",
            "550e8400-e29b-41d4-a716-446655440000",
        ),
        (
            Scalar::Bytes,
            "bytea",
            Arc::new(BinaryArray::from(vec![Some(&[0x00, 0xff, b'a'][..]), None])),
            "BLOB",
            "\\x00\\xFFa",
        ),
        (
            Scalar::Date,
            "date",
            Arc::new(Date32Array::from(vec![Some(20_777), None])),
            "DATE",
            "2026-11-20",
        ),
        (
            Scalar::Time,
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(45_296_000_001),
                None,
            ])),
            "TIME",
            "12:34:56.000001",
        ),
        (
            Scalar::Timestamp,
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(AT), None])),
            "TIMESTAMP",
            "2026-11-20 12:34:56.000001",
        ),
        (
            Scalar::TimestampTz,
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(AT), None]).with_timezone("UTC")),
            "TIMESTAMP WITH TIME ZONE",
            "2026-11-20 12:34:56.000001+00",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_round_trips() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    let columns = cases
        .iter()
        .enumerate()
        .map(|(number, case)| column(&format!("c{number:02}"), case.0, case.1))
        .collect();
    let mut by_detection = options(Tz::UTC);
    by_detection.date_column = None;
    let mut lake = try_open(folder.path(), by_detection).await.unwrap();
    lake.take_over([P0]).await.unwrap();
    lake.append(batch(
        &table(columns),
        cases.iter().map(|case| case.2.clone()).collect(),
        P0,
        &[0, 1],
    ))
    .await
    .unwrap();
    lake.cover(P0, range(0..2), 2).unwrap();
    lake.commit(None).await.unwrap();

    let described = format!(
        "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM \
         read_parquet('{}/**/*.parquet'))",
        folder.path().display()
    );
    let types = duckdb::query(&described).await.unwrap();
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(
            types[number],
            [format!("c{number:02}"), case.3.to_owned()],
            "{}",
            case.1
        );
    }
    let ours = texts([
        ["_op", "VARCHAR"],
        ["_xid", "BIGINT"],
        ["_kafka_partition", "INTEGER"],
        ["_offset", "BIGINT"],
        ["_detected_at", "TIMESTAMP WITH TIME ZONE"],
        ["date", "DATE"],
    ]);
    assert_eq!(types[cases.len()..], ours);
    for (number, case) in cases.iter().enumerate() {
        let name = format!("c{number:02}");
        let rows = select(folder.path(), &format!("_offset, {name}")).await;
        assert_eq!(rows, texts([["0", case.4], ["1", "NULL"]]), "{}", case.1);
    }
    assert_eq!(
        select(folder.path(), "_offset, _op, _xid").await,
        texts([["0", "u", "1000"], ["1", "u", "1001"]])
    );
}
