//! The format as a whole: there and back for every type, against a foreign reader, and against
//! hostile bytes.

pub mod batches;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type,
};
use arrow::datatypes::{Time64MicrosecondType, TimestampMicrosecondType};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, NaiveDate, NaiveTime};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{prop_assert, prop_assert_eq};
use serde_json::value::RawValue;

use self::batches::{batch, every_type, schema};
use super::{Decoder, RowError, ValueKind, Why, encode_keys, encode_values};
use crate::TableSchema;
use crate::change::{ChangeBatch, DELETE, UPSERT};
use crate::record::Rows;
use crate::record::json::error::shown;
use crate::{ColumnType, Scalar};

fn encoded(batch: &ChangeBatch) -> (Rows, Rows) {
    let (mut keys, mut values) = (Rows::default(), Rows::default());
    encode_values(batch, &mut values);
    encode_keys(batch, &values, &mut keys);
    (keys, values)
}

fn texts(rows: &Rows) -> Vec<Option<String>> {
    (0..rows.len())
        .map(|row| {
            rows.get(row)
                .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        })
        .collect()
}

/// A table of one column `x` beside the key `id`.
fn table_of(column_type: ColumnType, postgres_type: &str) -> Arc<TableSchema> {
    schema(
        &[
            ("id", ColumnType::Scalar(Scalar::Int64), "bigint"),
            ("x", column_type, postgres_type),
        ],
        &[0],
    )
}

fn refusal(schema: &Arc<TableSchema>, value: &str) -> RowError {
    let mut decoder = Decoder::new(schema.clone(), 1);
    decoder.decode_value(value.as_bytes()).expect_err(value)
}

fn orders() -> Arc<TableSchema> {
    schema(
        &[
            ("order_id", ColumnType::Scalar(Scalar::Int64), "bigint"),
            ("customer", ColumnType::Scalar(Scalar::Text), "text"),
            (
                "amount",
                ColumnType::Scalar(Scalar::Decimal {
                    precision: 10,
                    scale: 2,
                }),
                "numeric(10,2)",
            ),
            (
                "paid_at",
                ColumnType::Scalar(Scalar::TimestampTz),
                "timestamp with time zone",
            ),
        ],
        &[0],
    )
}

const ORDER: &str = r#"{"order_id":42,"customer":"Ann \"A\" B","amount":"220.00","paid_at":"2026-11-20T12:34:56.000001Z"}"#;

fn order() -> ChangeBatch {
    let mut decoder = Decoder::new(orders(), 1);
    decoder.decode_value(ORDER.as_bytes()).unwrap();
    batch(&orders(), decoder.finish(), &[UPSERT], &[None])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_reads_back_the_same_for_every_type((schema, columns) in every_type()) {
        let rows = columns[0].len();
        let (_, values) = encoded(&batch(&schema, columns.clone(), &vec![UPSERT; rows], &vec![None; rows]));
        let mut decoder = Decoder::new(schema.clone(), rows);
        for row in 0..rows {
            decoder.decode_value(values.get(row).unwrap()).unwrap();
        }
        for ((decoded, original), column) in decoder.finish().iter().zip(&columns).zip(&schema.columns) {
            prop_assert_eq!(decoded.data_type(), &column.column_type.arrow());
            prop_assert_eq!(decoded, original, "{}", column.name);
        }
    }

    #[test]
    fn a_foreign_reader_sees_the_same_values((schema, columns) in every_type()) {
        let rows = columns[0].len();
        let (_, values) = encoded(&batch(&schema, columns.clone(), &vec![UPSERT; rows], &vec![None; rows]));
        for row in 0..rows {
            let object: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(values.get(row).unwrap()).unwrap();
            prop_assert_eq!(object.len(), schema.columns.len());
            for (column, array) in schema.columns.iter().zip(&columns) {
                let seen = object[&column.name].get();
                if array.is_null(row) {
                    prop_assert_eq!(seen, "null");
                } else if let Some(expected) = in_other_words(column.column_type, array, row, seen) {
                    prop_assert_eq!(unquoted(seen), expected, "{}", column.name);
                }
            }
        }
    }

    #[test]
    fn deletes_carry_their_key_and_nothing_else((schema, columns) in every_type()) {
        let rows = columns[0].len();
        let schema = Arc::new(TableSchema::new(schema.table.clone(), schema.columns.clone(), (0..schema.columns.len()).rev().step_by(2).collect()));
        let (keys, values) = encoded(&batch(&schema, columns.clone(), &vec![DELETE; rows], &vec![None; rows]));
        let mut decoder = Decoder::new(schema.clone(), rows);
        for row in 0..rows {
            prop_assert_eq!(values.get(row), None);
            decoder.decode_delete(keys.get(row).unwrap()).unwrap();
        }
        for (index, decoded) in decoder.finish().iter().enumerate() {
            if schema.key.contains(&index) {
                prop_assert_eq!(decoded, &without_zeros_below_zero(&columns[index]));
            } else {
                prop_assert_eq!(decoded.null_count(), rows);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:0-9a-z\\\\ .+-]{0,80}") {
        let mut decoder = Decoder::new(orders(), 1);
        prop_assert!(decoder.decode_value(&bytes).is_err());
        prop_assert!(decoder.decode_value(text.as_bytes()).is_err());
        prop_assert!(decoder.decode_delete(&bytes).is_err());
    }

    #[test]
    fn a_damaged_row_is_refused_or_another_row_and_leaves_the_others_untouched(
        (schema, columns) in every_type(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let rows = columns[0].len();
        let (_, values) = encoded(&batch(&schema, columns.clone(), &vec![UPSERT; rows], &vec![None; rows]));
        let mut decoder = Decoder::new(schema.clone(), 0);
        for row in 0..rows {
            let mut damaged = values.get(row).unwrap().to_vec();
            let place = at.index(damaged.len());
            if cut { damaged.truncate(place) } else { damaged[place] = byte }
            let mut alone = Decoder::new(schema.clone(), 0);
            if alone.decode_value(&damaged).is_err() {
                prop_assert!(decoder.decode_value(&damaged).is_err());
            }
            decoder.decode_value(values.get(row).unwrap()).unwrap();
        }
        prop_assert_eq!(decoder.finish(), columns);
    }
}

/// A key has one zero for the two of a float.
fn without_zeros_below_zero(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(|value| value + 0.0))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(|value| value + 0.0))
        }
        _ => column.clone(),
    }
}

fn unquoted(json: &str) -> String {
    if json.starts_with('"') {
        serde_json::from_str(json).unwrap()
    } else {
        json.to_owned()
    }
}

/// The value's text as other libraries write it; `None` where they have none. A float is compared
/// by its bits.
fn in_other_words(
    column_type: ColumnType,
    array: &ArrayRef,
    row: usize,
    seen: &str,
) -> Option<String> {
    let date = |days: i64| NaiveDate::from_epoch_days(i32::try_from(days).unwrap());
    let float = |value: f64, read: f64| {
        if value.is_finite() && value.to_bits() == read.to_bits() {
            seen.to_owned()
        } else {
            special(value)
        }
    };
    Some(match column_type {
        ColumnType::Scalar(Scalar::Bool) => array.as_boolean().value(row).to_string(),
        ColumnType::Scalar(Scalar::Int16) => {
            array.as_primitive::<Int16Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Int32) => {
            array.as_primitive::<Int32Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Int64 | Scalar::Oid) => {
            array.as_primitive::<Int64Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Float32) => {
            let read: f32 = seen.parse().unwrap_or(f32::NAN);
            float(
                array.as_primitive::<Float32Type>().value(row).into(),
                read.into(),
            )
        }
        ColumnType::Scalar(Scalar::Float64) => float(
            array.as_primitive::<Float64Type>().value(row),
            seen.parse().unwrap_or(f64::NAN),
        ),
        ColumnType::Scalar(Scalar::Decimal {
            precision: ..=38, ..
        }) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        ColumnType::Scalar(Scalar::Decimal { .. }) => {
            array.as_primitive::<Decimal256Type>().value_as_string(row)
        }
        ColumnType::Scalar(Scalar::Text | Scalar::Json) => {
            array.as_string::<i32>().value(row).to_owned()
        }
        ColumnType::Scalar(Scalar::Uuid) => {
            let hex: String = array
                .as_fixed_size_binary()
                .value(row)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            )
        }
        ColumnType::Scalar(Scalar::Bytes) => {
            BASE64_STANDARD.encode(array.as_binary::<i32>().value(row))
        }
        ColumnType::Scalar(Scalar::Date) => {
            date(array.as_primitive::<Date32Type>().value(row).into())?.to_string()
        }
        ColumnType::Scalar(Scalar::Time) => {
            let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
            let (seconds, nanos) = (micros / 1_000_000, micros % 1_000_000 * 1000);
            let time = NaiveTime::from_num_seconds_from_midnight_opt(
                u32::try_from(seconds).unwrap(),
                u32::try_from(nanos).unwrap(),
            );
            time?.format("%H:%M:%S%.6f").to_string()
        }
        ColumnType::Scalar(Scalar::Timestamp | Scalar::TimestampTz) => {
            let moment = DateTime::from_timestamp_micros(
                array.as_primitive::<TimestampMicrosecondType>().value(row),
            )?;
            let zone = if column_type == ColumnType::Scalar(Scalar::TimestampTz) {
                "Z"
            } else {
                ""
            };
            format!(
                "{}{}{zone}",
                moment.date_naive(),
                moment.format("T%H:%M:%S%.6f")
            )
        }
        ColumnType::List(element) => {
            let elements = array.as_list::<i32>().value(row);
            let seen: Vec<Box<RawValue>> = serde_json::from_str(seen).unwrap();
            assert_eq!(seen.len(), elements.len());
            for (at, seen) in seen.iter().enumerate() {
                if elements.is_null(at) {
                    assert_eq!(seen.get(), "null");
                } else if let Some(expected) =
                    in_other_words(element.into(), &elements, at, seen.get())
                {
                    assert_eq!(unquoted(seen.get()), expected);
                }
            }
            return None;
        }
    })
}

fn special(value: f64) -> String {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
    .to_owned()
}

#[test]
fn an_order_looks_as_the_format_says() {
    let (keys, values) = encoded(&order());
    assert_eq!(texts(&values), [Some(ORDER.to_owned())]);
    assert_eq!(texts(&keys), [Some(r#"{"order_id":42}"#.to_owned())]);
}

#[test]
fn a_table_without_a_key_is_keyed_by_the_hash_of_its_value() {
    let schema = Arc::new(TableSchema::new(
        orders().table.clone(),
        orders().columns.clone(),
        vec![],
    ));
    let (keys, _) = encoded(&ChangeBatch {
        schema: schema.clone(),
        ..order()
    });
    let hash = xxhash_rust::xxh3::xxh3_64(ORDER.as_bytes());
    assert_eq!(texts(&keys), [Some(format!(r#"{{"_row":"{hash:016x}"}}"#))]);
    assert_eq!(
        Decoder::new(schema, 1).decode_delete(keys.get(0).unwrap()),
        Err(RowError::NoKey)
    );
}

#[test]
fn an_unfit_value_is_written_as_its_text_and_refused_by_the_reader() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(StringArray::from(vec![None, Some("b"), None])),
        arrow::array::new_null_array(
            &ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2,
            })
            .arrow(),
            3,
        ),
        arrow::array::new_null_array(&ColumnType::Scalar(Scalar::TimestampTz).arrow(), 3),
    ];
    let unfit = [
        Some(r#"{"paid_at":"infinity","amount":"NaN"}"#),
        None,
        Some(r#"{"customer":"\\xff \"x\""}"#),
    ];
    let (_, values) = encoded(&batch(&orders(), columns, &[UPSERT; 3], &unfit));
    let texts: Vec<_> = texts(&values).into_iter().flatten().collect();
    assert_eq!(
        texts[0],
        r#"{"order_id":1,"customer":null,"amount":"NaN","paid_at":"infinity"}"#
    );
    assert_eq!(
        texts[2],
        r#"{"order_id":3,"customer":{"unfit":"\\xff \"x\""},"amount":null,"paid_at":null}"#
    );

    let mut decoder = Decoder::new(orders(), 3);
    assert_eq!(
        decoder
            .decode_value(texts[0].as_bytes())
            .unwrap_err()
            .to_string(),
        "column `amount`: NaN is no numeric(10,2)"
    );
    assert_eq!(decoder.decode_value(texts[1].as_bytes()), Ok(()));
    assert!(
        matches!(decoder.decode_value(texts[2].as_bytes()), Err(RowError::Unfit { column, .. }) if column == "customer")
    );
    assert_eq!(decoder.len(), 1);
    assert!(decoder.finish().iter().all(|column| column.len() == 1));
}

#[test]
fn an_unfit_key_keeps_its_text() {
    let schema = schema(
        &[("at", ColumnType::Scalar(Scalar::Timestamp), "timestamp")],
        &[0],
    );
    let columns = vec![arrow::array::new_null_array(
        &ColumnType::Scalar(Scalar::Timestamp).arrow(),
        2,
    )];
    let unfit = [Some(r#"{"at":"infinity"}"#), Some(r#"{"at":"-infinity"}"#)];
    let (keys, _) = encoded(&batch(&schema, columns, &[UPSERT; 2], &unfit));
    assert_eq!(
        texts(&keys),
        [
            Some(r#"{"at":"infinity"}"#.to_owned()),
            Some(r#"{"at":"-infinity"}"#.to_owned())
        ]
    );
}

#[test]
fn a_foreign_producer_may_order_space_and_escape_as_json_allows() {
    let foreign = " {\"amount\" : 220.00 \
        ,\n\t\"\\u0070aid_at\":\"2026-11-20T14:34:56.000001+02:00\", \"customer\": \"Ann \
        \\u0022A\\u0022 B\",\r\n\"order_id\":42 } ";
    let mut decoder = Decoder::new(orders(), 2);
    decoder.decode_value(foreign.as_bytes()).unwrap();
    decoder
        .decode_value(foreign.replace("220.00", "220").as_bytes())
        .unwrap();
    let twice = decoder.finish();
    decoder.decode_value(ORDER.as_bytes()).unwrap();
    decoder.decode_value(ORDER.as_bytes()).unwrap();
    assert_eq!(twice, decoder.finish());
}

#[test]
fn escapes_are_characters_and_nul_is_kept() {
    let mut decoder = Decoder::new(table_of(ColumnType::Scalar(Scalar::Text), "text"), 1);
    decoder
        .decode_value(br#"{"id":1,"x":"\u0000 \ud834\udd1e \/ \b\f\n\r\t \u00e4"}"#)
        .unwrap();
    assert_eq!(
        decoder.finish()[1].as_string::<i32>().value(0),
        "\0 \u{1d11e} / \u{8}\u{c}\n\r\t ä"
    );
}

#[test]
fn a_column_may_be_called_anything() {
    let schema = schema(
        &[
            ("a\"b\\", ColumnType::Scalar(Scalar::Int16), "smallint"),
            ("", ColumnType::Scalar(Scalar::Int16), "smallint"),
            ("ü\n", ColumnType::Scalar(Scalar::Bool), "boolean"),
        ],
        &[0],
    );
    let mut decoder = Decoder::new(schema.clone(), 1);
    let value = "{\"a\\\"b\\\\\":1,\"\":2,\"ü\\n\":true}";
    decoder.decode_value(value.as_bytes()).unwrap();
    let (_, values) = encoded(&batch(&schema, decoder.finish(), &[UPSERT], &[None]));
    assert_eq!(texts(&values), [Some(value.to_owned())]);
}

#[test]
fn a_refusal_names_the_column_the_value_and_the_reason() {
    let numeric = table_of(
        ColumnType::Scalar(Scalar::Decimal {
            precision: 10,
            scale: 2,
        }),
        "numeric(10,2)",
    );
    for (schema, value, reason) in [
        (
            &numeric,
            r#"{"id":1,"x":"220.005"}"#,
            "column `x`: 220.005 has more decimals than numeric(10,2)",
        ),
        (
            &numeric,
            r#"{"id":1,"x":220.005}"#,
            "column `x`: 220.005 has more decimals than numeric(10,2)",
        ),
        (
            &numeric,
            r#"{"id":1,"x":"123456789"}"#,
            "column `x`: 123456789 is out of the range of numeric(10,2)",
        ),
        (
            &numeric,
            r#"{"id":1,"x":2e2}"#,
            "column `x`: 2e2 is no numeric(10,2)",
        ),
        (
            &numeric,
            r#"{"id":1,"x":true}"#,
            "column `x`: a boolean where numeric(10,2) is expected",
        ),
        (
            &numeric,
            r#"{"id":1,"x":[1]}"#,
            "column `x`: an array where numeric(10,2) is expected",
        ),
        (
            &numeric,
            r#"{"id":1,"x":{"a":1}}"#,
            "column `x`: an object where numeric(10,2) is expected",
        ),
        (
            &numeric,
            r#"{"id":"1","x":null}"#,
            "column `id`: a string where bigint is expected",
        ),
        (
            &numeric,
            r#"{"id":1.0,"x":null}"#,
            "column `id`: 1.0 has more decimals than bigint",
        ),
        (
            &numeric,
            r#"{"id":9223372036854775808,"x":null}"#,
            "column `id`: 9223372036854775808 is out of the range of bigint",
        ),
        (&numeric, r#"{"id":1}"#, "column `x` is missing"),
        (&numeric, r#"{}"#, "column `id` is missing"),
        (
            &numeric,
            r#"{"id":1,"id":1,"x":null}"#,
            "column `id` is repeated",
        ),
        (
            &numeric,
            r#"{"id":1,"x":null,"y":[[[1]]]}"#,
            "column `y` is unknown",
        ),
        (
            &numeric,
            r#"{"id":1,"x":null} {}"#,
            "byte 18: nothing may follow the object",
        ),
        (
            &numeric,
            r#"{"id":1,"x":null,}"#,
            "byte 17: a string is expected",
        ),
        (
            &numeric,
            r#"{"id":01,"x":null}"#,
            "byte 7: a comma or the object's end is expected",
        ),
        (&numeric, "", "byte 0: an object is expected"),
        (&numeric, "null", "byte 0: an object is expected"),
    ] {
        assert_eq!(refusal(schema, value).to_string(), reason, "{value}");
    }
}

#[test]
fn what_would_have_to_be_rounded_or_guessed_is_refused() {
    for (column_type, name, value) in [
        (ColumnType::Scalar(Scalar::Int16), "smallint", "32768"),
        (ColumnType::Scalar(Scalar::Int32), "integer", "-2147483649"),
        (ColumnType::Scalar(Scalar::Int32), "integer", "1e3"),
        (ColumnType::Scalar(Scalar::Float32), "real", "1e39"),
        (
            ColumnType::Scalar(Scalar::Float64),
            "double precision",
            "1e400",
        ),
        (
            ColumnType::Scalar(Scalar::Float64),
            "double precision",
            r#""1.5""#,
        ),
        (ColumnType::Scalar(Scalar::Bool), "boolean", "1"),
        (
            ColumnType::Scalar(Scalar::Uuid),
            "uuid",
            r#""0b0e7a5200004000800000000000000000""#,
        ),
        (ColumnType::Scalar(Scalar::Bytes), "bytea", r#""AAE""#),
        (ColumnType::Scalar(Scalar::Bytes), "bytea", r#""AAF=""#),
        (ColumnType::Scalar(Scalar::Date), "date", r#""infinity""#),
        (
            ColumnType::Scalar(Scalar::Time),
            "time",
            r#""12:34:56.0000001""#,
        ),
        (
            ColumnType::Scalar(Scalar::Timestamp),
            "timestamp",
            r#""2026-11-20T12:34:56Z""#,
        ),
        (
            ColumnType::Scalar(Scalar::TimestampTz),
            "timestamp with time zone",
            r#""+294248-01-01T00:00:00Z""#,
        ),
        (
            ColumnType::Scalar(Scalar::Decimal {
                precision: 50,
                scale: 3,
            }),
            "numeric(50,3)",
            r#""NaN""#,
        ),
        (ColumnType::Scalar(Scalar::Text), "text", "7"),
        (ColumnType::Scalar(Scalar::Json), "jsonb", r#"{"a":1}"#),
        (ColumnType::Scalar(Scalar::Json), "json", r#""{\"a\":}""#),
        (
            ColumnType::Scalar(Scalar::Json),
            "json",
            r#""[\"\\ud800\"]""#,
        ),
        (ColumnType::List(Scalar::Json), "jsonb[]", r#"["1","x"]"#),
        (ColumnType::Scalar(Scalar::Time), "time", r#""24:00:00""#),
        (
            ColumnType::Scalar(Scalar::Date),
            "date",
            r#""+5881580-07-11""#,
        ),
        (
            ColumnType::List(Scalar::Int32),
            "integer[]",
            r#""[0:1]={1,2}""#,
        ),
        (ColumnType::List(Scalar::Int32), "integer[]", "[1,[2]]"),
        (
            ColumnType::List(Scalar::Int32),
            "integer[]",
            "[1,2147483648]",
        ),
        (ColumnType::List(Scalar::Text), "text[]", r#"["a",7]"#),
        (ColumnType::List(Scalar::Text), "text[]", r#"{"a":1}"#),
    ] {
        let error = refusal(
            &table_of(column_type, name),
            &format!(r#"{{"id":1,"x":{value}}}"#),
        );
        assert!(
            matches!(error, RowError::Value { .. } | RowError::Kind { .. }),
            "{error}"
        );
    }
    let error = refusal(
        &table_of(ColumnType::Scalar(Scalar::Int16), "smallint"),
        r#"{"id":1,"x":32768}"#,
    );
    let expected = RowError::Value {
        column: "x".into(),
        value: "32768".into(),
        kind: ValueKind::Number,
        why: Why::OutOfRange,
        expected: "smallint".into(),
    };
    assert_eq!(error, expected);
}

#[test]
fn a_list_is_taken_whole_or_not_at_all() {
    let mut decoder = Decoder::new(table_of(ColumnType::List(Scalar::Text), "text[]"), 1);
    for refused in [
        r#"{"id":1,"x":["a","b",3]}"#,
        r#"{"id":1,"x":["a""#,
        r#"{"id":1,"x":["a",]}"#,
        r#"{"id":1,"x":["a"],"y":1}"#,
    ] {
        decoder.decode_value(refused.as_bytes()).expect_err(refused);
    }
    for taken in [
        r#"{"id":1,"x":[]}"#,
        r#"{"id":2,"x":null}"#,
        r#"{"id":3,"x": [ "a\n" , null,"" ] }"#,
    ] {
        decoder.decode_value(taken.as_bytes()).expect(taken);
    }
    let columns = decoder.finish();
    let lists = columns[1].as_list::<i32>();
    assert_eq!(lists.value_offsets(), [0, 0, 0, 3]);
    assert!(lists.is_valid(0) && lists.is_null(1));
    let elements = lists.value(2);
    assert_eq!(
        elements.as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("a\n"), None, Some("")]
    );
}

#[test]
fn broken_strings_are_refused() {
    let schema = table_of(ColumnType::Scalar(Scalar::Text), "text");
    for text in [
        "\\ud834",
        "\\udd1e",
        "\\ud834\\u0041",
        "\\ud834x",
        "\\u12g4",
        "\\u12",
        "\\x",
        "a\nb",
        "\\",
        "unended",
    ] {
        let end = if text == "unended" { "" } else { "\"}" };
        let error = refusal(&schema, &format!("{{\"id\":1,\"x\":\"{text}{end}"));
        assert!(matches!(error, RowError::Syntax { .. }), "{text}: {error}");
    }
    let mut decoder = Decoder::new(schema, 1);
    assert_eq!(
        decoder.decode_value(b"{\"id\":1,\"x\":\"\xff\"}"),
        Err(RowError::Utf8 { at: 13 })
    );
}

#[test]
fn deep_and_long_values_cost_no_more_than_their_length() {
    let numeric = table_of(
        ColumnType::Scalar(Scalar::Decimal {
            precision: 76,
            scale: 10,
        }),
        "numeric(76,10)",
    );
    let deep = format!(r#"{{"id":1,"x":{}"#, "[".repeat(1_000_000));
    assert!(matches!(
        refusal(&numeric, &deep),
        RowError::Kind {
            kind: ValueKind::Array,
            ..
        }
    ));
    let long = format!(r#"{{"id":1,"x":{}}}"#, "9".repeat(1_000_000));
    let RowError::Value {
        value,
        why: Why::OutOfRange,
        ..
    } = refusal(&numeric, &long)
    else {
        panic!("a long number is out of range")
    };
    assert!(value.len() < 100);
    let text = format!(r#"{{"id":1,"x":"{}"}}"#, "\\n".repeat(1_000_000));
    let mut decoder = Decoder::new(table_of(ColumnType::Scalar(Scalar::Text), "text"), 1);
    decoder.decode_value(text.as_bytes()).unwrap();
    assert_eq!(
        decoder.finish()[1].as_string::<i32>().value(0).len(),
        1_000_000
    );
}

#[test]
fn a_shown_value_is_cut_between_characters() {
    assert_eq!(
        shown("ä".repeat(500).as_bytes()),
        format!("{}…", "ä".repeat(80))
    );
    assert_eq!(shown(b"short"), "short");
}
