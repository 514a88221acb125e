#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Decimal128Type, Float64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use proptest::sample::select;

use super::super::tests::batches::{batch, every_type, schema};
use super::{Declared, Decoder, Encoder, OpenError, Opened, Topic};
use crate::change::{ChangeBatch, DELETE, Origin, UPSERT};
use crate::record::codec::encoder;
use crate::record::encoding::{DebeziumModes, DecimalMode, Encoding, TimeMode};
use crate::record::format::{
    Changes, Decoder as _, Encoder as _, Messages, Record, Target, TopicKey,
};
use crate::{Column, ColumnType, KafkaPartition, Scalar, TableName, TableSchema, Xid};

const PARTITION: KafkaPartition = KafkaPartition(0);

fn modes() -> impl Strategy<Value = DebeziumModes> {
    let decimals = [
        DecimalMode::Precise,
        DecimalMode::String,
        DecimalMode::Double,
    ];
    // `connect` cuts microseconds, by its definition.
    let times = [TimeMode::Adaptive, TimeMode::AdaptiveTimeMicroseconds];
    (
        any::<bool>(),
        select(decimals.to_vec()),
        select(times.to_vec()),
    )
        .prop_map(|(schemas, decimals, times)| DebeziumModes {
            schemas,
            decimals,
            times,
        })
}

fn target() -> Target {
    Target {
        topic: "shop.t".to_owned(),
        pipeline: "shop".to_owned(),
        database: "db".to_owned(),
        ..Target::default()
    }
}

fn encode(modes: DebeziumModes, batch: &ChangeBatch) -> Messages {
    let mut messages = Messages::default();
    Encoder::new(modes, target())
        .encode(batch, 3, &mut messages)
        .unwrap();
    messages
}

fn decode(
    modes: DebeziumModes,
    schema: &Arc<TableSchema>,
    messages: &Messages,
) -> (Vec<ArrayRef>, Changes) {
    let mut decoder = Decoder::new(schema.clone(), modes, 1);
    let mut changes = Changes::default();
    for (at, facts) in messages.facts.iter().enumerate() {
        let record = Record {
            rows: 1,
            op: facts.op,
            xid: facts.xid,
            key: messages.keys.get(at),
            value: messages.values.get(at),
        };
        decoder.decode(&record, &mut changes).unwrap();
    }
    (decoder.finish(), changes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_reads_back_the_same((schema, columns) in every_type(), modes in modes()) {
        let rows = columns[0].len();
        let batch = batch(&schema, columns.clone(), &vec![UPSERT; rows], &vec![None; rows]);
        let (decoded, changes) = decode(modes, &schema, &encode(modes, &batch));
        for ((decoded, original), column) in decoded.iter().zip(&columns).zip(&schema.columns) {
            prop_assert_eq!(decoded, original, "{}", column.name);
        }
        prop_assert_eq!(changes.ops, vec![UPSERT; rows]);
        prop_assert_eq!(changes.xids, vec![7; rows]);
    }

    #[test]
    fn a_connector_with_schemas_needs_no_declaration((schema, columns) in every_type()) {
        let rows = columns[0].len();
        let batch = batch(&schema, columns.clone(), &vec![UPSERT; rows], &vec![None; rows]);
        let modes = DebeziumModes { schemas: true, ..DebeziumModes::default() };
        let messages = encode(modes, &batch);
        let mut topic = Topic::new(schema.table.clone(), Declared::default());
        for row in 0..rows {
            let (key, value) = (messages.keys.get(row), messages.values.get(row));
            // The row's hash is no column, so the columns of the key are declared here.
            let opened = topic.open(PARTITION, key.filter(|_| !schema.key.is_empty()), value).unwrap();
            let Opened::Row { reader, op, xid, row, .. } = opened else { panic!("{opened:?}") };
            prop_assert_eq!((reader, op, xid), (0, UPSERT, Xid(7)));
            topic.reader(reader).read(op, row).unwrap();
        }
        if rows > 0 {
            let reader = topic.reader(0);
            let found = reader.schema().clone();
            for (at, decoded) in reader.finish().iter().enumerate() {
                let column = &schema.columns[at];
                prop_assert_eq!(&found.columns[at].name, &column.name);
                if found.columns[at].column_type == column.column_type {
                    prop_assert_eq!(decoded, &columns[at], "{}", column.name);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(key: Option<Vec<u8>>, value in ".{0,60}") {
        let mut topic = Topic::new(TableName::new("public", "t"), Declared::default());
        let _ = topic.open(PARTITION, key.as_deref(), Some(value.as_bytes()));
    }
}

fn orders() -> Arc<TableSchema> {
    schema(
        &[
            ("id", Scalar::Int64.into(), "bigint"),
            (
                "amount",
                Scalar::Decimal {
                    precision: 10,
                    scale: 2,
                }
                .into(),
                "numeric(10,2)",
            ),
            (
                "at",
                Scalar::Timestamp.into(),
                "timestamp without time zone",
            ),
        ],
        &[0],
    )
}

fn declared(columns: &[&str], modes: DebeziumModes) -> Declared {
    let columns = columns.iter().map(|text| Column::declared(text).unwrap());
    Declared {
        columns: columns.collect(),
        key: Vec::new(),
        modes,
    }
}

#[test]
fn an_envelope_is_what_a_reader_of_debezium_expects() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(arrow::array::Int64Array::from(vec![7])),
        Arc::new(
            arrow::array::Decimal128Array::from(vec![22_000])
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1_500])),
    ];
    let mut batch = batch(&orders(), columns, &[UPSERT], &[None]);
    (batch.origin, batch.detected_at) = (Origin::Load, 1_795_000_000_000_001);
    let messages = encode(DebeziumModes::default(), &batch);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "{{\"before\":null,\"after\":{{\"id\":7,\"amount\":\"VfA=\",\"at\":1500}},\"source\":\
         {{\"version\":\"{version}\",\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":\
         1795000000000,\"snapshot\":\"true\",\"db\":\"db\",\"sequence\":null,\"ts_us\":\
         1795000000000001,\"ts_ns\":1795000000000001000,\"schema\":\"public\",\"table\":\"t\",\
         \"txId\":7,\"lsn\":null,\"xmin\":null,\"origin\":null,\"origin_lsn\":null}},\"transaction\":null,\"op\":\"r\",\"ts_ms\":\
         1795000000000,\"ts_us\":1795000000000001,\"ts_ns\":1795000000000001000}}"
    );
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    assert_eq!(text(messages.values.get(0)), expected);
    assert_eq!(text(messages.keys.get(0)), "{\"id\":7}");
    batch.origin = Origin::Repair;
    let repaired = text(encode(DebeziumModes::default(), &batch).values.get(0));
    let expected = expected.replace(r#""snapshot":"true""#, r#""snapshot":"incremental""#);
    assert_eq!(repaired, expected);
}

#[test]
fn a_chosen_key_is_that_of_rows_and_not_of_deletes() {
    let orders = orders();
    let null = |at: usize| arrow::array::new_null_array(&orders.columns[at].column_type.arrow(), 2);
    let columns = vec![
        Arc::new(arrow::array::Int64Array::from(vec![7, 8])) as ArrayRef,
        null(1),
        Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![
            Some(5),
            None,
        ])),
    ];
    let batch = batch(&orders, columns, &[UPSERT, DELETE], &[None, None]);
    let encoded = |column: &str, encoding: Encoding| {
        let target = Target {
            topic_key: TopicKey(vec![column.to_owned()]),
            ..target()
        };
        let mut messages = Messages::default();
        encoder(encoding, target)
            .encode(&batch, 3, &mut messages)
            .map(|()| messages)
    };
    let debezium = Encoding::Debezium(DebeziumModes::default());
    for (encoding, key) in [
        (Encoding::Plain, "\"1970-01-01T00:00:00.000005\""),
        (debezium, "5"),
    ] {
        let messages = encoded("AT", encoding).unwrap();
        let text =
            |row: usize| String::from_utf8(messages.keys.get(row).unwrap().to_vec()).unwrap();
        assert_eq!(text(0), format!("{{\"at\":{key}}}"));
        assert_eq!(text(1), "{\"id\":8}");
    }
    let error = encoded("missing", debezium).unwrap_err();
    let expected = "table `public.t` has no column `missing` for the keys of its messages";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_delete_has_its_key_in_before() {
    let orders = orders();
    let nulls =
        |at: usize| arrow::array::new_null_array(&orders.columns[at].column_type.arrow(), 1);
    let columns = vec![
        Arc::new(arrow::array::Int64Array::from(vec![7])) as ArrayRef,
        nulls(1),
        nulls(2),
    ];
    let batch = batch(&orders, columns.clone(), &[DELETE], &[None]);
    for schemas in [false, true] {
        let modes = DebeziumModes {
            schemas,
            ..DebeziumModes::default()
        };
        let messages = encode(modes, &batch);
        let value = String::from_utf8(messages.values.get(0).unwrap().to_vec()).unwrap();
        assert!(
            value.contains("{\"before\":{\"id\":7,\"amount\":null,\"at\":null},\"after\":null,")
        );
        assert!(value.contains("\"op\":\"d\""));
        let (decoded, changes) = decode(modes, &orders, &messages);
        assert_eq!((decoded, changes.ops), (columns.clone(), vec![DELETE]));
    }
}

/// Rows of a connector that sends no schemas, with the columns declared.
fn read(columns: &[&str], modes: DebeziumModes, after: &str) -> Result<Vec<ArrayRef>, String> {
    let mut topic = Topic::new(TableName::new("public", "t"), declared(columns, modes));
    let value =
        format!(r#"{{"before":null,"after":{after},"source":{{"txId":5}},"op":"c","ts_ms":9}}"#);
    let opened = topic.open(PARTITION, Some(b"{\"id\":1}"), Some(value.as_bytes()));
    let opened = opened.map_err(|error| error.to_string())?;
    let Opened::Row {
        reader, op, row, ..
    } = opened
    else {
        return Err("no row".to_owned());
    };
    topic
        .reader(reader)
        .read(op, row)
        .map_err(|error| error.to_string())?;
    Ok(topic.reader(reader).finish())
}

#[test]
fn each_decimal_mode_gives_the_same_decimal_as_long_as_it_carries_it() {
    let columns = ["id bigint", "amount numeric(10,2)"];
    for (decimals, value) in [
        (DecimalMode::Precise, r#""VfA=""#),
        (DecimalMode::String, r#""220.00""#),
        (DecimalMode::Double, "220.0"),
        (DecimalMode::Double, "2.2E2"),
    ] {
        let modes = DebeziumModes {
            decimals,
            ..DebeziumModes::default()
        };
        let after = format!(r#"{{"id":1,"amount":{value}}}"#);
        let found = read(&columns, modes, &after).unwrap();
        assert_eq!(
            found[1].as_primitive::<Decimal128Type>().value(0),
            22_000,
            "{value}"
        );
    }
    let double = DebeziumModes {
        decimals: DecimalMode::Double,
        ..DebeziumModes::default()
    };
    // Sixteen digits are more than a double carries, so the column is what it is in the topic.
    let found = read(
        &["id bigint", "amount numeric(16,2)"],
        double,
        r#"{"id":1,"amount":12345678901234.56}"#,
    );
    let found = found.unwrap();
    assert_eq!(
        found[1].as_primitive::<Float64Type>().value(0),
        12_345_678_901_234.56
    );
    assert!(read(&columns, double, r#"{"id":1,"amount":220.001}"#).is_err());
}

#[test]
fn units_of_time_follow_from_type_and_mode() {
    let micros = |column: &str, times, number: &str| {
        let modes = DebeziumModes {
            times,
            ..DebeziumModes::default()
        };
        let after = format!(r#"{{"id":1,"at":{number}}}"#);
        let found = read(&["id bigint", column], modes, &after).unwrap();
        found[1].as_primitive::<TimestampMicrosecondType>().value(0)
    };
    assert_eq!(micros("at timestamp", TimeMode::Adaptive, "1500"), 1_500);
    assert_eq!(
        micros("at timestamp(3)", TimeMode::Adaptive, "1500"),
        1_500_000
    );
    assert_eq!(micros("at timestamp", TimeMode::Connect, "1500"), 1_500_000);
    assert_eq!(
        micros(
            "at timestamptz",
            TimeMode::Connect,
            r#""1970-01-01T00:00:00.0015Z""#
        ),
        1_500
    );
}

#[test]
fn a_value_that_debezium_did_not_get_is_refused() {
    let after = r#"{"id":1,"note":"__debezium_unavailable_value"}"#;
    let error = read(&["id bigint", "note text"], DebeziumModes::default(), after).unwrap_err();
    assert!(error.contains("REPLICA IDENTITY FULL"), "{error}");
    let after = r#"{"id":1,"note":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}"#;
    assert!(
        read(
            &["id bigint", "note bytea"],
            DebeziumModes::default(),
            after
        )
        .is_err()
    );
    assert!(read(&["id bigint", "note text"], DebeziumModes::default(), after).is_ok());
}

#[test]
fn a_message_without_schema_needs_declared_columns() {
    let mut topic = Topic::new(TableName::new("public", "t"), Declared::default());
    let value = br#"{"op":"c","after":{"id":1}}"#;
    let error = topic
        .open(PARTITION, Some(b"{\"id\":1}"), Some(value))
        .unwrap_err();
    assert!(matches!(error, OpenError::NoColumns { .. }));
    let mut topic = Topic::new(
        TableName::new("public", "t"),
        declared(&["a bigint"], DebeziumModes::default()),
    );
    let error = topic
        .open(PARTITION, Some(b"{\"id\":1}"), Some(value))
        .unwrap_err();
    assert!(matches!(error, OpenError::Key { .. }));
}

#[test]
fn tombstones_and_heartbeats_are_no_rows() {
    let mut topic = Topic::new(TableName::new("public", "t"), Declared::default());
    assert_eq!(
        topic.open(PARTITION, Some(b"{\"id\":1}"), None),
        Ok(Opened::Ignored)
    );
    let heartbeat = topic.open(PARTITION, None, Some(b"{\"ts_ms\":1}"));
    assert_eq!(heartbeat, Ok(Opened::Ignored));
    let with_schema = br#"{"schema":{"type":"struct"},"payload":{"ts_ms":1}}"#;
    assert_eq!(
        topic.open(PARTITION, None, Some(with_schema)),
        Ok(Opened::Ignored)
    );
}

#[test]
fn a_clock_that_is_set_back_does_not_turn_the_order_around() {
    let declared = declared(&["id bigint"], DebeziumModes::default());
    let mut topic = Topic::new(TableName::new("public", "t"), declared);
    let mut found_at = |ts: i64| {
        let value = format!(r#"{{"op":"c","after":{{"id":1}},"ts_ms":{ts}}}"#);
        match topic.open(PARTITION, Some(b"{\"id\":1}"), Some(value.as_bytes())) {
            Ok(Opened::Row { found_at, .. }) => found_at,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        [found_at(5), found_at(3), found_at(6)],
        [5_000, 5_000, 6_000]
    );
}

#[test]
fn a_new_schema_gets_a_reader_of_its_own() {
    let value = |fields: &str, after: &str| {
        format!(
            r#"{{"schema":{{"type":"struct","fields":[{{"type":"struct","fields":[{fields}],"optional":true,"field":"after"}}]}},"payload":{{"op":"c","after":{after}}}}}"#
        )
    };
    let id = r#"{"type":"int64","optional":false,"field":"id"}"#;
    let note = r#"{"type":"string","optional":true,"field":"note"}"#;
    let first = value(id, r#"{"id":1}"#);
    let second = value(&format!("{id},{note}"), r#"{"id":1,"note":"a"}"#);
    let mut topic = Topic::new(TableName::new("public", "t"), Declared::default());
    let mut reader =
        |value: &str| match topic.open(PARTITION, Some(b"{\"id\":1}"), Some(value.as_bytes())) {
            Ok(Opened::Row { reader, .. }) => reader,
            other => panic!("{other:?}"),
        };
    assert_eq!([reader(&first), reader(&second), reader(&first)], [0, 1, 0]);
    let schema = topic.reader(1).schema().clone();
    assert_eq!(
        schema.columns[1].column_type,
        ColumnType::Scalar(Scalar::Text)
    );
    assert_eq!(schema.key, [0]);
    assert!(schema.columns[0].not_null);
}
