use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, UInt8Type};
use inlet_model::Column;
use inlet_model::Xid;
use inlet_model::change::{OFFSET, OP, UPSERT};
use inlet_model::record::header::HeaderError;
use inlet_model::{ColumnType, Scalar};
use inlet_model::{KafkaPartition, Offset};

use super::*;

fn schema(name: &str, columns: &[&str]) -> Arc<TableSchema> {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        column_type: ColumnType::Scalar(Scalar::Int64),
        postgres_type: "bigint".into(),
        as_text: false,
        not_null: false,
        generated: false,
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
        });
    }
    let kept: Vec<u32> = (0..).take(messages.len()).collect();
    let schemas: HashMap<_, _> = known
        .iter()
        .map(|schema| (schema.fingerprint(), schema.clone()))
        .collect();
    Decoders::new(TableName::new("public", "orders")).decode(&slab, &kept, |fingerprint| {
        schemas.get(&fingerprint).cloned()
    })
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
