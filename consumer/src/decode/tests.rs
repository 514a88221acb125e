use std::collections::HashMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, UInt8Type};
use inlet_model::Column;
use inlet_model::Xid;
use inlet_model::change::{DELETE, OFFSET, OP, Origin, UPSERT};
use inlet_model::record::encoding::Encoding;
use inlet_model::record::header::{Header, HeaderError};
use inlet_model::{ColumnType, Scalar};
use inlet_model::{KafkaPartition, Offset};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::source::Headed;

fn schema(name: &str, columns: &[&str]) -> Arc<TableSchema> {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        column_type: ColumnType::Scalar(Scalar::Int64),
        postgres_type: "bigint".into(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    };
    Arc::new(TableSchema::new(
        TableName::new("public", name),
        columns.iter().map(column).collect(),
        vec![0],
    ))
}

fn ours(schema: &TableSchema, op: u8) -> Headed {
    Headed::Ours(Header {
        op,
        xid: Xid(7),
        sequence: 0,
        fingerprint: schema.fingerprint(),
        detected_at: 5,
        rows: 1,
        encoding: Encoding::Json,
    })
}

/// Decodes messages of header, key and value, numbered by their offsets.
fn decode(
    known: &[Arc<TableSchema>],
    messages: &[(Headed, Option<&str>, Option<&str>)],
) -> Decoded {
    let mut slab = Slab::new("orders".into(), 0);
    for (offset, (headed, key, value)) in (0..).zip(messages) {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        slab.push(Message {
            partition: KafkaPartition(0),
            offset: Offset(offset),
            key,
            value,
            headed: *headed,
            origin: Origin::Poll,
        });
    }
    let kept: Vec<u32> = (0..).take(messages.len()).collect();
    let schemas: HashMap<_, _> = known
        .iter()
        .map(|schema| (schema.fingerprint(), schema.clone()))
        .collect();
    let mut decoders = Decoders::new(TableName::new("public", "orders"), None);
    let known = |fingerprint| schemas.get(&fingerprint).cloned();
    decoders.decode(&slab, &kept, known).expect("no error")
}

fn offsets(batch: &DecodedBatch) -> Vec<i64> {
    batch
        .changes
        .rows
        .column_by_name(OFFSET)
        .expect("positioned")
        .as_primitive::<Int64Type>()
        .values()
        .to_vec()
}

#[test]
fn upserts_and_deletes_become_rows_with_their_position() {
    let schema = schema("orders", &["id", "total"]);
    let decoded = decode(
        std::slice::from_ref(&schema),
        &[
            (
                ours(&schema, UPSERT),
                Some(r#"{"id":1}"#),
                Some(r#"{"id":1,"total":5}"#),
            ),
            (ours(&schema, DELETE), Some(r#"{"id":1}"#), None),
        ],
    );
    let [batch] = decoded.batches.as_slice() else {
        panic!("{decoded:?}")
    };
    assert_eq!(offsets(batch), [0, 1]);
    let rows = &batch.changes.rows;
    assert_eq!(
        rows.column_by_name(OP)
            .expect("an operation")
            .as_primitive::<UInt8Type>()
            .values()
            .as_ref(),
        b"ud"
    );
    let total = rows.column(1).as_primitive::<Int64Type>();
    assert_eq!(total.iter().collect::<Vec<_>>(), [Some(5), None]);
    assert!(decoded.rejected.is_empty());
}

#[test]
fn what_is_no_row_is_rejected_whole_and_the_rest_goes_on() {
    let (schema, other) = (schema("orders", &["id"]), schema("items", &["id"]));
    let unknown = Headed::Unknown(HeaderError::Length(3));
    let decoded = decode(
        &[schema.clone(), other.clone()],
        &[
            (ours(&schema, UPSERT), None, Some(r#"{"id":1}"#)),
            (Headed::Missing, Some("k"), Some("v")),
            (unknown, None, Some("v")),
            (ours(&schema, UPSERT), None, Some("not json")),
            (ours(&schema, UPSERT), None, Some(r#"{"id":1.5}"#)),
            (ours(&schema, UPSERT), None, None),
            (ours(&schema, DELETE), None, None),
            (ours(&schema, DELETE), Some(r#"{"id":1}"#), Some("v")),
            (ours(&other, UPSERT), None, Some(r#"{"id":1}"#)),
            (
                ours(&super::tests::schema("orders", &["gone"]), UPSERT),
                None,
                Some("{}"),
            ),
            (ours(&schema, UPSERT), None, Some(r#"{"id":2}"#)),
        ],
    );
    assert_eq!(
        decoded.batches.iter().flat_map(offsets).collect::<Vec<_>>(),
        [0, 10]
    );
    assert_eq!(
        decoded
            .rejected
            .iter()
            .map(|rejected| rejected.offset.0)
            .collect::<Vec<_>>(),
        (1..10).collect::<Vec<_>>()
    );
    assert_eq!(decoded.rejected[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(decoded.rejected[2].value.as_deref(), Some(&b"not json"[..]));
    assert!(
        decoded.rejected[3].reason.contains("id"),
        "{}",
        decoded.rejected[3].reason
    );
    assert!(
        decoded.rejected[7].reason.contains("public.items"),
        "{}",
        decoded.rejected[7].reason
    );
}

#[test]
fn a_change_of_schema_begins_another_batch_and_keeps_the_order() {
    let (first, second) = (
        schema("orders", &["id"]),
        schema("orders", &["id", "total"]),
    );
    let old = (ours(&first, UPSERT), None, Some(r#"{"id":1}"#));
    let new = (ours(&second, UPSERT), None, Some(r#"{"id":1,"total":2}"#));
    let decoded = decode(&[first, second], &[old, new, new, old]);
    let runs: Vec<_> = decoded.batches.iter().map(offsets).collect();
    assert_eq!(runs, [vec![0], vec![1, 2], vec![3]]);
}

/// What a message of the topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A row of one of the two schemas of `orders`.
    Upsert(usize),
    Delete(usize),
    NoHeader,
    BrokenHeader,
    UnknownSchema,
    OtherTable,
    NotJson,
    /// The first column is valid and the second one is not: what was appended must be taken back.
    BrokenAtTheEnd(&'static str),
    UpsertWithoutValue,
    DeleteWithoutKey,
    DeleteWithValue,
}

fn kind() -> impl Strategy<Value = Kind> {
    let broken = vec![
        r#"{"id":5,"total":"#,
        r#"{"id":5,"total":"six"}"#,
        r#"{"id":5,"total":9223372036854775808}"#,
        r#"{"id":5,"total":6}}"#,
        r#"{"id":5,"total":6,"total":6}"#,
        r#"{"id":5,"other":6}"#,
    ];
    let others = vec![
        Kind::NoHeader,
        Kind::BrokenHeader,
        Kind::UnknownSchema,
        Kind::OtherTable,
        Kind::NotJson,
        Kind::UpsertWithoutValue,
        Kind::DeleteWithoutKey,
        Kind::DeleteWithValue,
    ];
    prop_oneof![
        4 => (0..2_usize).prop_map(Kind::Upsert),
        2 => (0..2_usize).prop_map(Kind::Delete),
        2 => select(broken).prop_map(Kind::BrokenAtTheEnd),
        2 => select(others),
    ]
}

type Parts = (Headed, Option<String>, Option<String>);

fn message(kind: Kind, id: i64, orders: &[Arc<TableSchema>; 2]) -> Parts {
    let key = Some(format!(r#"{{"id":{id}}}"#));
    let row = |at: usize| match at {
        0 => format!(r#"{{"id":{id}}}"#),
        _ => format!(r#"{{"id":{id},"total":{}}}"#, id * 2),
    };
    let value = Some(row(1));
    match kind {
        Kind::Upsert(at) => (ours(&orders[at], UPSERT), key, Some(row(at))),
        Kind::Delete(at) => (ours(&orders[at], DELETE), key, None),
        Kind::NoHeader => (Headed::Missing, key, value),
        Kind::BrokenHeader => (Headed::Unknown(HeaderError::Length(3)), key, value),
        Kind::UnknownSchema => (ours(&schema("orders", &["x"]), UPSERT), key, value),
        Kind::OtherTable => (ours(&schema("items", &["id"]), UPSERT), key, value),
        Kind::NotJson => (ours(&orders[0], UPSERT), None, Some("id".into())),
        Kind::BrokenAtTheEnd(text) => (ours(&orders[1], UPSERT), key, Some(text.into())),
        Kind::UpsertWithoutValue => (ours(&orders[0], UPSERT), key, None),
        Kind::DeleteWithoutKey => (ours(&orders[1], DELETE), None, None),
        Kind::DeleteWithValue => (ours(&orders[1], DELETE), key, value),
    }
}

/// Offset, operation and values of each row.
fn rows(batch: &DecodedBatch) -> Vec<(i64, u8, Option<i64>, Option<i64>)> {
    let rows = &batch.changes.rows;
    let ops = rows
        .column_by_name(OP)
        .expect("a change")
        .as_primitive::<UInt8Type>();
    let numbers = |at| rows.column(at).as_primitive::<Int64Type>().iter();
    let totals: Vec<_> = match batch.changes.schema.columns.len() {
        1 => vec![None; rows.num_rows()],
        _ => numbers(1).collect(),
    };
    let values = ops.values().iter().zip(numbers(0)).zip(totals);
    let positioned = offsets(batch).into_iter().zip(values);
    positioned
        .map(|(offset, ((op, id), total))| (offset, *op, id, total))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Slab after slab with the same decoders: each kept message is one row of its own values, or
    /// is rejected with its own bytes, and both keep their order.
    #[test]
    fn every_kept_message_is_its_row_or_is_rejected_whole(
        kinds in vec((kind(), prop::bool::weighted(0.8)), 0..40), cut in any::<Index>()
    ) {
        let orders = [schema("orders", &["id"]), schema("orders", &["id", "total"])];
        let known: HashMap<_, _> = orders.iter().chain([&schema("items", &["id"])])
            .map(|schema| (schema.fingerprint(), schema.clone()))
            .collect();
        let mut decoders = Decoders::new(orders[0].table.clone(), None);
        let (mut found, mut rejected) = (Vec::new(), Vec::new());
        let (mut expected_rows, mut expected_rejected) = (Vec::new(), Vec::new());
        let (first, second) = kinds.split_at(cut.index(kinds.len() + 1));
        let mut id = 0;
        for slab_kinds in [first, second] {
            let mut slab = Slab::new("orders".into(), 0);
            let mut kept = Vec::new();
            for (number, (kind, is_kept)) in (0..).zip(slab_kinds) {
                id += 1;
                let (headed, key, value) = message(*kind, id, &orders);
                slab.push(Message {
                    partition: KafkaPartition(0),
                    offset: Offset(id),
                    key: key.as_deref().map(str::as_bytes),
                    value: value.as_deref().map(str::as_bytes),
                    headed,
                    origin: Origin::Poll,
                });
                if !is_kept {
                    continue;
                }
                kept.push(number);
                let total = |at: usize| (at == 1).then_some(id * 2);
                match kind {
                    Kind::Upsert(at) => {
                        expected_rows.push((id, UPSERT, Some(id), total(*at)));
                    }
                    Kind::Delete(_) => expected_rows.push((id, DELETE, Some(id), None)),
                    _ => expected_rejected.push((id, key, value)),
                }
            }
            let schema = |fingerprint| known.get(&fingerprint).cloned();
            let decoded = decoders.decode(&slab, &kept, schema).expect("no error");
            found.extend(decoded.batches.iter().flat_map(rows));
            for row in decoded.rejected {
                let text = |bytes: Option<Bytes>| {
                    bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("a text"))
                };
                prop_assert!(!row.reason.is_empty());
                rejected.push((row.offset.0, text(row.key), text(row.value)));
            }
        }
        prop_assert_eq!(found, expected_rows);
        prop_assert_eq!(rejected, expected_rejected);
    }
}
