use arrow::array::{AsArray, Date32Array, Decimal128Array, Int32Array, StringArray};
use arrow::datatypes::UInt64Type;
use inlet_model::Column;
use inlet_model::change::{DELETE, OP, UNFIT, UPSERT, XID};
use inlet_model::{ColumnType, Scalar};

use super::*;

fn column(name: &str, column_type: ColumnType, as_text: bool) -> Column {
    Column {
        name: name.to_owned(),
        column_type,
        postgres_type: "some".to_owned(),
        as_text,
        not_null: false,
        generated: false,
        number: None,
    }
}

fn schema() -> Arc<TableSchema> {
    let columns = vec![
        column("id", ColumnType::Scalar(Scalar::Int32), false),
        column(
            "amount",
            ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2,
            }),
            false,
        ),
        column("day", ColumnType::Scalar(Scalar::Date), false),
        column("no\"te", ColumnType::Scalar(Scalar::Text), true),
    ];
    Arc::new(TableSchema::new(
        TableName::new("public", "t"),
        columns,
        vec![0],
    ))
}

fn append(
    decoder: &mut RowDecoder,
    values: [Option<&[u8]>; 4],
    xid: u64,
    op: u8,
) -> Result<(), DecodeError> {
    decoder.append_values(|index| values[index], Xid(xid), op)
}

const AMOUNT: &[u8] = &[0, 2, 0, 0, 0, 0, 0, 2, 0, 220, 0x13, 0x88];
const NAN: &[u8] = &[0, 0, 0, 0, 0xc0, 0, 0, 0];

#[test]
fn the_select_list_quotes_names_and_asks_for_the_text_of_what_has_no_mapping() {
    assert_eq!(
        select_list(&schema(), |_| false, &[]),
        r#"xmin, "id", "amount", "day", CASE WHEN "no""te" IS DISTINCT FROM NULL THEN pg_catalog.concat("no""te") END"#
    );
}

#[test]
fn values_and_nulls_land_in_their_columns() {
    let mut decoder = RowDecoder::new(schema(), 8);
    append(
        &mut decoder,
        [
            Some(&[0, 0, 0, 7]),
            Some(AMOUNT),
            Some(&[0, 0, 0, 0]),
            Some("é".as_bytes()),
        ],
        1 << 40,
        UPSERT,
    )
    .expect("a row");
    append(&mut decoder, [None; 4], 5, DELETE).expect("a row");
    assert_eq!(decoder.rows(), 2);
    assert!(
        decoder.bytes() > 4 + AMOUNT.len() + 4 + 2,
        "{}",
        decoder.bytes()
    );
    let batch = decoder.finish(9);
    assert_eq!(batch.detected_at, 9);
    let of = |name: &str| batch.rows.column_by_name(name).expect("a column");
    assert_eq!(
        of("id").as_primitive(),
        &Int32Array::from(vec![Some(7), None])
    );
    let amounts = Decimal128Array::from(vec![Some(22_050), None])
        .with_precision_and_scale(10, 2)
        .expect("a decimal");
    assert_eq!(of("amount").as_primitive(), &amounts);
    assert_eq!(
        of("day").as_primitive(),
        &Date32Array::from(vec![Some(10_957), None])
    );
    assert_eq!(
        of("no\"te").as_string(),
        &StringArray::from(vec![Some("é"), None])
    );
    assert_eq!(of(XID).as_primitive::<UInt64Type>().values(), &[1 << 40, 5]);
    assert_eq!(
        of(OP)
            .as_primitive::<arrow::datatypes::UInt8Type>()
            .values(),
        b"ud"
    );
    assert_eq!(of(UNFIT).null_count(), 2);
}

#[test]
fn an_unfit_value_is_null_and_its_text_is_in_unfit() {
    let mut decoder = RowDecoder::new(schema(), 0);
    let id: &[u8] = &[0, 0, 0, 1];
    append(
        &mut decoder,
        [Some(id), Some(AMOUNT), None, None],
        1,
        UPSERT,
    )
    .expect("a row");
    append(
        &mut decoder,
        [
            Some(id),
            Some(NAN),
            Some(&[0x7f, 0xff, 0xff, 0xff]),
            Some(b"a\xff"),
        ],
        2,
        UPSERT,
    )
    .expect("a row");
    append(
        &mut decoder,
        [Some(id), Some(AMOUNT), None, None],
        3,
        UPSERT,
    )
    .expect("a row");
    let batch = decoder.finish(0).rows;
    let unfit = batch
        .column_by_name(UNFIT)
        .expect("a column")
        .as_string::<i32>();
    let json = r#"{"amount":"NaN","day":"infinity","no\"te":"\\x61ff"}"#;
    assert_eq!(unfit, &StringArray::from(vec![None, Some(json), None]));
    assert!(batch.column(1).is_null(1) && batch.column(2).is_null(1) && batch.column(3).is_null(1));
    assert!(batch.column(1).is_valid(2), "the next row is not touched");
}

#[test]
fn an_unfit_value_is_null_and_counted_where_that_is_asked_for_but_a_key_never_is() {
    let keyed_by = |key| {
        Arc::new(TableSchema::new(
            schema().table.clone(),
            schema().columns.clone(),
            vec![key],
        ))
    };
    let values: [Option<&[u8]>; 4] = [None, Some(NAN), Some(&[0x7f, 0xff, 0xff, 0xff]), None];
    for (key, nulled, unfit) in [(0, 2, None), (2, 1, Some(r#"{"day":"infinity"}"#))] {
        let mut decoder = RowDecoder::new(keyed_by(key), 1).impossible_as_null(true);
        append(&mut decoder, values, 1, UPSERT).expect("a row");
        assert_eq!((decoder.take_nulled(), decoder.take_nulled()), (nulled, 0));
        let batch = decoder.finish(0).rows;
        assert!(batch.column(1).is_null(0) && batch.column(2).is_null(0));
        assert_eq!(
            batch.column_by_name(UNFIT).expect("a column").as_string(),
            &StringArray::from(vec![unfit])
        );
    }
}

#[test]
fn an_array_that_does_not_fit_leaves_the_lists_around_it_whole() {
    let lists = column(
        "n",
        ColumnType::List(Scalar::Decimal {
            precision: 10,
            scale: 2,
        }),
        false,
    );
    let schema = Arc::new(TableSchema::new(
        TableName::new("public", "t"),
        vec![lists],
        vec![],
    ));
    let array = |elements: &[&[u8]]| {
        let header = [1, 0, 1700, elements.len() as i32, 1]
            .map(i32::to_be_bytes)
            .concat();
        elements.iter().fold(header, |bytes, element| {
            [&bytes[..], &(element.len() as i32).to_be_bytes(), element].concat()
        })
    };
    let mut decoder = RowDecoder::new(schema, 1);
    for row in [
        array(&[AMOUNT]),
        array(&[AMOUNT, NAN, AMOUNT]),
        array(&[AMOUNT, AMOUNT]),
    ] {
        decoder
            .append_values(|_| Some(&row), Xid(1), UPSERT)
            .expect("a row");
    }
    let batch = decoder.finish(0).rows;
    let lists = batch.column(0).as_list::<i32>();
    let lengths: Vec<_> = lists
        .iter()
        .map(|list| list.map(|list| list.len()))
        .collect();
    assert_eq!(lengths, [Some(1), None, Some(2)]);
    assert_eq!(
        batch
            .column_by_name(UNFIT)
            .expect("a column")
            .as_string::<i32>()
            .value(1),
        r#"{"n":"{220.50,NaN,220.50}"}"#
    );
}

#[test]
fn a_finished_decoder_starts_empty() {
    let mut decoder = RowDecoder::new(schema(), 1);
    append(&mut decoder, [None, Some(NAN), None, Some(b"x")], 1, UPSERT).expect("a row");
    decoder.finish(0);
    assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
    append(&mut decoder, [None, None, None, Some(b"y")], 2, UPSERT).expect("a row");
    let batch = decoder.finish(0).rows;
    assert_eq!(batch.column(3).as_string(), &StringArray::from(vec!["y"]));
    assert_eq!(
        batch.column_by_name(UNFIT).expect("a column").null_count(),
        1
    );
    assert_eq!(decoder.finish(0).rows.num_rows(), 0);
}

#[test]
fn a_malformed_value_names_its_column() {
    let mut decoder = RowDecoder::new(schema(), 1);
    let error = append(&mut decoder, [Some(&[1, 2]), None, None, None], 1, UPSERT)
        .expect_err("two bytes are no integer");
    assert_eq!(
        error.to_string(),
        "a value of column `id` of table `public.t` has 2 bytes that are not PostgreSQL's format \
            of some"
    );
    assert_eq!(error.kind(), Kind::Bug);
}
