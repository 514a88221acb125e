use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, Int64Array, StringArray, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use arrow::ipc::writer::StreamWriter;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::change::{ChangeBatch, DELETE, UPSERT};
use crate::record::encoding::Encoding;
use crate::record::format::{Changes, Decoder as _, Encoder as _, Messages, Record, TopicKey};
use crate::record::json::tests::batches::{batch, every_type, schema};
use crate::record::json::{self, RowError, Style};
use crate::{ColumnType, Scalar};
use arrow::array::{ArrayRef, AsArray, RecordBatch};

const TEXT: ColumnType = ColumnType::Scalar(Scalar::Text);
const INT: ColumnType = ColumnType::Scalar(Scalar::Int64);

/// The same rows, whose xids are their numbers.
fn numbered(batch: ChangeBatch) -> ChangeBatch {
    let rows = batch.rows.num_rows() as u64;
    let mut columns = batch.rows.columns().to_vec();
    columns[batch.schema.columns.len() + 1] = Arc::new(UInt64Array::from_iter_values(0..rows));
    let rows = RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
    ChangeBatch { rows, ..batch }
}

fn encode(batch: &ChangeBatch, kafka_partitions: u32) -> Messages {
    let mut messages = Messages::default();
    Encoder::new(TopicKey::default())
        .encode(batch, kafka_partitions, &mut messages)
        .unwrap();
    messages
}

fn record(messages: &Messages, at: usize) -> Record<'_> {
    let facts = messages.facts[at];
    Record {
        op: facts.op,
        xid: facts.xid,
        rows: facts.rows,
        key: messages.keys.get(at),
        value: messages.values.get(at),
    }
}

/// The numbers of the rows of each message, with its kafka_partition; those of JSON are decoded as
/// well.
fn rows_of(messages: &Messages, table: &Arc<TableSchema>) -> Vec<(i32, Vec<u64>)> {
    let mut of = Vec::new();
    for (at, facts) in messages.facts.iter().enumerate() {
        let xids = match facts.encoding {
            Encoding::Arrow => {
                assert_eq!(messages.keys.get(at), None, "rows have no common key");
                let (mut decoder, mut changes) = (Decoder::new(table.clone()), Changes::default());
                decoder.decode(&record(messages, at), &mut changes).unwrap();
                assert_eq!(changes.ops[0], facts.op);
                changes.xids
            }
            _ => vec![facts.xid.0],
        };
        assert_eq!(xids.len(), facts.rows as usize);
        assert_eq!(xids[0], facts.xid.0);
        of.push((facts.kafka_partition.0, xids));
    }
    of
}

/// A table of a number and a text, with these numbers as keys.
fn numbers(ids: &[i64], text: impl Fn(usize) -> String) -> ChangeBatch {
    let table = schema(&[("id", INT, "bigint"), ("v", TEXT, "text")], &[0]);
    let texts = (0..ids.len()).map(text).collect::<Vec<_>>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(StringArray::from(texts)),
    ];
    numbered(batch(
        &table,
        columns,
        &vec![UPSERT; ids.len()],
        &vec![None; ids.len()],
    ))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_reads_back_the_same_for_every_type(
        (table, columns) in every_type(),
        kafka_partitions in 1..4_u32,
        deletes in vec(any::<bool>(), 20),
    ) {
        let rows = columns[0].len();
        let ops: Vec<u8> = deletes[..rows].iter().map(|is| if *is { DELETE } else { UPSERT }).collect();
        let batch = numbered(batch(&table, columns.clone(), &ops, &vec![None; rows]));
        let messages = encode(&batch, kafka_partitions);
        // The messages of all kafka_partitions in one decoder, as a slab has them.
        let (mut decoder, mut changes) = (Decoder::new(table.clone()), Changes::default());
        for at in 0..messages.facts.len() {
            decoder.decode(&record(&messages, at), &mut changes).unwrap();
        }
        let numbers = UInt32Array::from_iter_values(changes.xids.iter().map(|xid| *xid as u32));
        prop_assert_eq!(changes.xids.iter().collect::<HashSet<_>>().len(), rows);
        for ((decoded, original), column) in decoder.finish().iter().zip(&columns).zip(&table.columns) {
            prop_assert_eq!(decoded.data_type(), &column.column_type.arrow());
            prop_assert_eq!(decoded, &take(original, &numbers, None).unwrap(), "{}", &column.name);
        }
        for (op, xid) in changes.ops.iter().zip(&changes.xids) {
            prop_assert_eq!(*op, ops[*xid as usize]);
        }
    }

    /// A message has a key once, and the versions of a key keep their order.
    #[test]
    fn a_key_is_in_its_kafka_partition_once_a_message_and_in_order(
        ids in vec((0..6_i64, prop::bool::weighted(0.1)), 1..60), kafka_partitions in 1..4_u32,
    ) {
        let (ids, unfit): (Vec<i64>, Vec<bool>) = ids.into_iter().unzip();
        let mut batch = numbers(&ids, |at| at.to_string());
        let unfit = unfit.iter().map(|is| is.then_some(r#"{"v":"x"}"#));
        let mut columns = batch.rows.columns().to_vec();
        columns[4] = Arc::new(unfit.collect::<StringArray>());
        batch.rows = RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
        let messages = encode(&batch, kafka_partitions);
        let found = rows_of(&messages, &batch.schema);
        let mut rows = Messages::default();
        json::Encoder::new(Style::Json, TopicKey::default())
            .encode(&batch, kafka_partitions, &mut rows)
            .unwrap();
        let mut of_partition = BTreeMap::<i32, Vec<u64>>::new();
        for (kafka_partition, numbers) in &found {
            let keys: HashSet<_> = numbers.iter().map(|number| ids[*number as usize]).collect();
            prop_assert_eq!(keys.len(), numbers.len());
            of_partition.entry(*kafka_partition).or_default().extend(numbers);
        }
        // As in the format `json`, row by row.
        let mut expected = BTreeMap::<i32, Vec<u64>>::new();
        for (number, facts) in (0..).zip(&rows.facts) {
            expected.entry(facts.kafka_partition.0).or_default().push(number);
        }
        prop_assert_eq!(of_partition, expected);
    }

    #[test]
    fn damaged_bytes_are_read_or_refused(
        at in any::<Index>(), byte: u8, cut in any::<Index>(), is_cut: bool,
    ) {
        let batch = numbers(&[1, 2, 3], |at| format!("{at} {at}"));
        let messages = encode(&batch, 1);
        let mut value = messages.values.get(0).unwrap().to_vec();
        let at = at.index(value.len());
        value[at] ^= byte;
        if is_cut {
            value.truncate(cut.index(value.len()));
        }
        let record = Record { value: Some(&value), ..record(&messages, 0) };
        let mut changes = Changes::default();
        let mut decoder = Decoder::new(batch.schema.clone());
        if decoder.decode(&record, &mut changes).is_ok() {
            prop_assert_eq!(changes.ops.len(), 3);
            let columns = decoder.finish();
            prop_assert_eq!(columns[0].len(), 3);
        } else {
            prop_assert!(changes.ops.is_empty());
        }
    }
}

#[test]
fn a_message_has_its_rows_and_bytes_at_most_and_a_large_row_is_alone() {
    let ids: Vec<i64> = (0..10_000).collect();
    // Most rows are small, so their average is far from the large ones.
    let text = |at: usize| {
        "x".repeat(if at % 1000 == 7 {
            BYTES_MAX * 3 / 4
        } else {
            20
        })
    };
    let batch = numbers(&ids, text);
    let messages = encode(&batch, 1);
    let mut all = Vec::new();
    for (at, (_, rows)) in rows_of(&messages, &batch.schema).into_iter().enumerate() {
        let bytes = messages.values.get(at).unwrap().len();
        assert!(rows.len() <= ROWS_MAX && bytes <= BYTES_MAX, "{bytes}");
        all.extend(rows);
    }
    assert_eq!(all, (0..10_000).collect::<Vec<u64>>());

    let huge = numbers(&[1, 2], |_| "x".repeat(2 * BYTES_MAX));
    let found = rows_of(&encode(&huge, 1), &huge.schema);
    assert_eq!(found, [(0, vec![0]), (0, vec![1])]);
    let small = numbers(&ids[..ROWS_MAX + 1], |_| String::new());
    let counts = rows_of(&encode(&small, 1), &small.schema);
    let counts: Vec<usize> = counts.iter().map(|(_, rows)| rows.len()).collect();
    assert_eq!(counts, [ROWS_MAX, 1]);
}

#[test]
fn a_row_that_no_column_holds_is_a_message_of_json_in_its_place() {
    let mut batch = numbers(&[1, 2, 3], |at| at.to_string());
    let mut columns = batch.rows.columns().to_vec();
    columns[4] = Arc::new(StringArray::from(vec![
        None,
        Some(r#"{"v":"\\x00"}"#),
        None,
    ]));
    batch.rows = RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
    let messages = encode(&batch, 1);
    let encodings: Vec<_> = messages.facts.iter().map(|facts| facts.encoding).collect();
    assert_eq!(
        encodings,
        [Encoding::Arrow, Encoding::Json, Encoding::Arrow]
    );
    assert_eq!(messages.keys.get(1), Some(&br#"{"id":2}"#[..]));
    let value = std::str::from_utf8(messages.values.get(1).unwrap()).unwrap();
    assert_eq!(value, r#"{"id":2,"v":{"unfit":"\\x00"}}"#);
}

#[test]
fn a_table_without_a_key_is_spread_as_in_json_and_equal_rows_share_a_message() {
    let table = schema(&[("v", TEXT, "text")], &[]);
    let texts: Vec<String> = (0..50).map(|at| (at % 5).to_string()).collect();
    let column: ArrayRef = Arc::new(StringArray::from(texts));
    let batch = numbered(batch(&table, vec![column], &[UPSERT; 50], &[None; 50]));
    let one = rows_of(&encode(&batch, 1), &table);
    assert_eq!(one, [(0, (0..50).collect())]);
    let mut rows = Messages::default();
    json::Encoder::new(Style::Json, TopicKey::default())
        .encode(&batch, 3, &mut rows)
        .unwrap();
    for (kafka_partition, numbers) in rows_of(&encode(&batch, 3), &table) {
        for number in numbers {
            assert_eq!(
                rows.facts[number as usize].kafka_partition.0,
                kafka_partition
            );
        }
    }
}

#[test]
fn the_columns_of_a_topic_key_choose_the_kafka_partition() {
    let batch = numbers(&[1, 2, 3, 4, 5, 6, 7, 8], |at| (at % 2).to_string());
    let mut messages = Messages::default();
    Encoder::new(TopicKey(vec!["v".to_owned()]))
        .encode(&batch, 8, &mut messages)
        .unwrap();
    let found = rows_of(&messages, &batch.schema);
    let rows: HashSet<_> = found.into_iter().map(|(_, rows)| rows).collect();
    assert_eq!(rows, HashSet::from([vec![0, 2, 4, 6], vec![1, 3, 5, 7]]));
}

#[test]
fn what_is_no_message_of_the_schema_is_refused_in_words() {
    let batch = numbers(&[1, 2], |at| at.to_string());
    let messages = encode(&batch, 1);
    let refused = |record: Record<'_>, table: &Arc<TableSchema>| {
        let (mut decoder, mut changes) = (Decoder::new(table.clone()), Changes::default());
        let error = decoder.decode(&record, &mut changes).unwrap_err();
        assert!(changes.ops.is_empty() && decoder.finish()[0].is_empty());
        error
    };
    let whole = record(&messages, 0);
    let none = Record {
        value: None,
        ..whole
    };
    assert_eq!(refused(none, &batch.schema), RowError::NoValue);
    let text = |error: RowError| error.to_string();
    let json = Record {
        value: Some(b"{\"id\":1}"),
        ..whole
    };
    assert!(text(refused(json, &batch.schema)).starts_with("no batch of Arrow: "));
    let more = Record { rows: 3, ..whole };
    let expected = "no batch of Arrow: it has 2 rows, and its header 3";
    assert_eq!(text(refused(more, &batch.schema)), expected);
    let other = schema(&[("id", INT, "bigint"), ("v", INT, "bigint")], &[0]);
    let expected =
        "no batch of Arrow: it has a column `v` of type Utf8 instead of `v` of type Int64";
    assert_eq!(text(refused(whole, &other)), expected);
    let narrow = schema(&[("id", INT, "bigint")], &[0]);
    let expected = "no batch of Arrow: it has 4 columns instead of 3";
    assert_eq!(text(refused(whole, &narrow)), expected);
    for (ops, expected) in [
        (
            vec![Some("u"), Some("x")],
            "a row has operation Some(\"x\")",
        ),
        (vec![Some("u"), None], "a row has no operation or no xid"),
    ] {
        let mut columns = batch.rows.columns()[..2].to_vec();
        columns.push(Arc::new(StringArray::from(ops)));
        columns.push(Arc::new(Int64Array::from(vec![1, 2])));
        let fields = message_schema(&batch.schema);
        let fields: Vec<Field> = fields
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true))
            .collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut value = Vec::new();
        let mut writer = StreamWriter::try_new(&mut value, rows.schema_ref()).unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap();
        let record = Record {
            value: Some(&value),
            ..whole
        };
        assert_eq!(
            text(refused(record, &batch.schema)),
            format!("no batch of Arrow: {expected}")
        );
    }
}

/// A message that pyarrow wrote with the columns of the format.
#[test]
fn a_message_of_another_writer_reads_back() {
    let batch = numbers(&[1, -2], |at| ["é", ""][at].to_owned());
    let (mut decoder, mut changes) = (Decoder::new(batch.schema.clone()), Changes::default());
    let value = include_bytes!("tests/message.arrows");
    let messages = encode(&batch, 1);
    let stored = Record {
        value: Some(value),
        ..record(&messages, 0)
    };
    decoder.decode(&stored, &mut changes).unwrap();
    assert_eq!((changes.ops, changes.xids), (vec![UPSERT; 2], vec![0, 1]));
    let columns = decoder.finish();
    assert_eq!(columns[0].as_primitive::<Int64Type>().values(), &[1, -2]);
    let texts: Vec<_> = columns[1].as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("é"), Some("")]);
}
