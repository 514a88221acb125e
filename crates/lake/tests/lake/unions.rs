//! What DuckDB makes of a column that has two types in two files, for every pair of types that the
//! lake leaves under one name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, i256};
use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_lake::TableReader;
use inlet_model::{ColumnType, Scalar, Union, union};

use crate::fixture::{P0, batch, column, options, range, table, try_open};

fn decimal(precision: u8, scale: i8) -> Scalar {
    Scalar::Decimal { precision, scale }
}

fn types() -> Vec<Scalar> {
    let decimals = [
        (1, 0),
        (5, 0),
        (9, 4),
        (10, 2),
        (12, 2),
        (18, 18),
        (19, 0),
        (20, 10),
        (21, 2),
        (28, 0),
        (38, 0),
        (38, 10),
        (38, 19),
        (38, 38),
        (39, 3),
        (60, 3),
    ];
    let others = [
        Scalar::Bool,
        Scalar::Int16,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Oid,
        Scalar::Float32,
        Scalar::Float64,
        Scalar::Text,
        Scalar::Json,
        Scalar::Uuid,
        Scalar::Bytes,
        Scalar::Date,
        Scalar::Time,
        Scalar::Timestamp,
        Scalar::TimestampTz,
    ];
    let decimals = decimals.map(|(precision, scale)| decimal(precision, scale));
    others.into_iter().chain(decimals).collect()
}

/// Values at the edges of a type.
fn edges(scalar: Scalar) -> ArrayRef {
    /// 0001-01-01 and 9999-12-31, in days.
    const DAYS: [i32; 2] = [-719_162, 2_932_896];
    const DAY: i64 = 86_400_000_000;
    let micros = || {
        let days = DAYS.map(|day| i64::from(day) * DAY);
        vec![days[0], -1, 0, 1, days[1] + DAY - 1]
    };
    match scalar {
        Scalar::Bool => Arc::new(BooleanArray::from(vec![true, false])),
        Scalar::Int16 => Arc::new(Int16Array::from(vec![i16::MIN, -1, 0, i16::MAX])),
        Scalar::Int32 => Arc::new(Int32Array::from(vec![i32::MIN, -1, 0, i32::MAX])),
        Scalar::Int64 => Arc::new(Int64Array::from(vec![i64::MIN, -1, 0, i64::MAX])),
        Scalar::Oid => Arc::new(Int64Array::from(vec![0, i64::from(u32::MAX)])),
        Scalar::Float32 => Arc::new(Float32Array::from(vec![
            f32::MIN,
            f32::MIN_POSITIVE,
            0.1,
            16_777_215.0,
            f32::NAN,
            f32::INFINITY,
        ])),
        Scalar::Float64 => Arc::new(Float64Array::from(vec![
            f64::MIN,
            f64::MIN_POSITIVE,
            0.1,
            9_007_199_254_740_991.0,
            f64::NAN,
            f64::NEG_INFINITY,
        ])),
        Scalar::Decimal { precision, scale } if precision <= 38 => {
            let largest = 10_i128.pow(u32::from(precision)) - 1;
            let array = Decimal128Array::from(vec![-largest, -1, 0, 1, largest]);
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        }
        Scalar::Decimal { precision, scale } => {
            let largest = i256::from_string(&"9".repeat(usize::from(precision))).unwrap();
            let array = Decimal256Array::from(vec![i256::ONE, largest]);
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        }
        Scalar::Text => Arc::new(StringArray::from(vec!["", "007", "null", "é 🐟", "1e3"])),
        Scalar::Json => Arc::new(StringArray::from(vec!["{\"a\": [1, null]}", "null", "7"])),
        Scalar::Uuid => {
            let uuids = [[0; 16], [0xff; 16]].into_iter();
            Arc::new(FixedSizeBinaryArray::try_from_iter(uuids).unwrap())
        }
        Scalar::Bytes => Arc::new(BinaryArray::from(vec![&[0x00, 0xff][..], &b"a"[..], &[]])),
        Scalar::Date => Arc::new(Date32Array::from(vec![DAYS[0], -1, 0, DAYS[1]])),
        Scalar::Time => Arc::new(Time64MicrosecondArray::from(vec![0, DAY - 1])),
        Scalar::Timestamp => Arc::new(TimestampMicrosecondArray::from(micros())),
        Scalar::TimestampTz => {
            Arc::new(TimestampMicrosecondArray::from(micros()).with_timezone("UTC"))
        }
    }
}

/// One list of all values, an empty one, and none.
fn list(scalar: Scalar) -> ArrayRef {
    let values = edges(scalar);
    let DataType::List(field) = ColumnType::List(scalar).arrow() else {
        panic!("a list has a list's type")
    };
    let lengths = OffsetBuffer::from_lengths([values.len(), 0, 0]);
    let nulls = NullBuffer::from(vec![true, true, false]);
    Arc::new(ListArray::new(field, lengths, values, Some(nulls)))
}

/// Writes a lake with one data file that has the values in a column `v`.
async fn file(folder: &Path, column_type: ColumnType, values: ArrayRef) -> PathBuf {
    let mut by_detection = options(Tz::UTC);
    by_detection.date_column = None;
    let schema = table(vec![
        column("id", Scalar::Int64, "bigint"),
        column("v", column_type, "some"),
    ]);
    let count = values.len() as i64;
    let offsets: Vec<i64> = (0..count).collect();
    let ids: ArrayRef = Arc::new(Int64Array::from(offsets.clone()));
    let mut lake = try_open(folder, by_detection).await.unwrap();
    lake.take_over([P0]).await.unwrap();
    let rows = batch(&schema, vec![ids, values], P0, &offsets);
    lake.append(rows).await.unwrap();
    lake.cover(P0, range(0..count), count as u64).unwrap();
    lake.commit(None).await.unwrap();
    let files = TableReader::new(folder).data_files().unwrap();
    files.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_share_a_name_show_every_value_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let lists = types().into_iter().map(ColumnType::List);
    // An array of longer decimals is read as its text, so that list does not exist.
    let lists = lists.filter(|list| {
        !matches!(
            list.scalar(),
            Scalar::Decimal {
                precision: 39..,
                ..
            }
        )
    });
    let all = types().into_iter().map(ColumnType::Scalar).chain(lists);
    let mut files = Vec::new();
    for (number, column_type) in all.enumerate() {
        let values = match column_type {
            ColumnType::Scalar(scalar) => edges(scalar),
            ColumnType::List(scalar) => list(scalar),
        };
        let path = folder.path().join(number.to_string());
        files.push((column_type, file(&path, column_type, values).await));
    }
    let mut selects = Vec::new();
    for (one, first) in &files {
        for (two, second) in &files {
            if one == two || union(*one, *two) == Union::NewGeneration {
                continue;
            }
            // A value that went through the common type and back is the one that the file has, or
            // it was changed on the way.
            let both = [first, second].map(|path| format!("'{}'", path.display()));
            for files in [both.join(", "), format!("{}, {}", both[1], both[0])] {
                selects.push(format!(
                    "SELECT '{one:?} {two:?}' AS pair, count(*) AS changed FROM \
                     read_parquet([{files}], union_by_name = true, filename = true) u \
                     JOIN read_parquet({first}) o USING (_offset) \
                     WHERE u.filename = {first} \
                     AND CAST(u.v AS {sql})::VARCHAR IS DISTINCT FROM o.v::VARCHAR",
                    first = both[0],
                    sql = one.duckdb(),
                ));
            }
        }
    }
    assert!(selects.len() > 300, "{} pairs", selects.len());
    // A program's argument may have 128 kB.
    for selects in selects.chunks(100) {
        let sql = format!(
            "SELECT pair, changed FROM ({}) WHERE changed > 0",
            selects.join(" UNION ALL ")
        );
        for version in duckdb::Version::ALL {
            let changed = duckdb::query_by(version, &sql).await.unwrap();
            assert!(changed.is_empty(), "{version:?}: {changed:?}");
        }
    }
}
