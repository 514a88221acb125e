//! Thousands of random values of a real PostgreSQL, decoded, compared with the server's own text.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    Decimal128Type, Decimal256Type, DecimalType, Float32Type, Float64Type, Int32Type,
};
use inlet_harness::{Database, shared_database};
use inlet_model::change::{UNFIT, UPSERT};
use inlet_model::{Scalar, TableReference, Xid};
use inlet_postgres::{RowDecoder, capture, xmin};
use inlet_service::config::TableConfig;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::AssertSqlSafe;

const ROWS: usize = 1_500;

/// A column's type, the values as a person writes them, and the values that no Arrow type holds
/// (`$` is the column).
struct Case {
    sql_type: &'static str,
    values: BoxedStrategy<String>,
    unfit: &'static str,
}

/// Digits of up to `whole` places before the point and `fraction` after it; often zeros.
fn number(whole: usize, fraction: usize) -> BoxedStrategy<String> {
    let digits = |most| {
        prop_oneof![
            vec(select(vec!['0', '9', '1']), 0..=most),
            vec(select(('0'..='9').collect::<Vec<_>>()), 0..=most),
            (0..=most).prop_map(|zeros| vec!['0'; zeros]),
        ]
    };
    (select(vec!["", "-"]), digits(whole), digits(fraction))
        .prop_map(|(sign, whole, fraction)| {
            let text = |digits: Vec<char>| digits.into_iter().collect::<String>();
            format!("{sign}0{}.{}0", text(whole), text(fraction))
        })
        .boxed()
}

fn or_nan(numbers: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![20 => numbers, 1 => Just("NaN".to_owned())].boxed()
}

/// Arrays of up to three dimensions, with nulls and other first indices, every element in quotes.
fn array(elements: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let element = weighted(0.85, elements).prop_map(|element| match element {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    });
    let dimensions = prop_oneof![
        6 => vec(1..6_usize, 1..2),
        1 => Just(vec![0]),
        2 => vec(1..3_usize, 2..4),
    ];
    (dimensions, vec(element, 30), weighted(0.2, -3..4_i32))
        .prop_map(|(lengths, elements, first)| {
            let body = nested(&lengths, &mut elements.into_iter());
            match first {
                Some(first) if lengths != [0] => {
                    let bound =
                        |length: &usize| format!("[{first}:{}]", first + *length as i32 - 1);
                    format!("{}={body}", lengths.iter().map(bound).collect::<String>())
                }
                _ => body,
            }
        })
        .boxed()
}

fn nested(lengths: &[usize], elements: &mut impl Iterator<Item = String>) -> String {
    let Some((length, inner)) = lengths.split_first() else {
        return elements.next().unwrap();
    };
    let parts: Vec<String> = (0..*length).map(|_| nested(inner, elements)).collect();
    format!("{{{}}}", parts.join(","))
}

fn cases() -> Vec<Case> {
    const NO_LIST: &str = "coalesce(array_ndims($) > 1 OR array_lower($, 1) <> 1, false)";
    const NO_LIST_OR_NAN: &str =
        "coalesce(array_ndims($) > 1 OR array_lower($, 1) <> 1 OR 'NaN' = ANY ($), false)";
    let texts = || {
        prop_oneof![
            "[a-z \\\\\"{},'\u{e9}\t\n\u{b}]{0,6}",
            select(vec!["NULL", "null", "", " ", "\u{a0}", "{}"]).prop_map(str::to_owned),
        ]
    };
    let case = |sql_type, values, unfit| Case {
        sql_type,
        values,
        unfit,
    };
    vec![
        case("numeric(5,2)", or_nan(number(3, 2)), "$ = 'NaN'"),
        case("numeric(12,8)", or_nan(number(4, 8)), "$ = 'NaN'"),
        case("numeric(20,0)", or_nan(number(20, 0)), "$ = 'NaN'"),
        case("numeric(38,19)", or_nan(number(19, 19)), "$ = 'NaN'"),
        case("numeric(38,37)", or_nan(number(1, 37)), "$ = 'NaN'"),
        case("numeric(39,3)", or_nan(number(36, 3)), "$ = 'NaN'"),
        case("numeric(76,38)", or_nan(number(38, 38)), "$ = 'NaN'"),
        case(
            "integer[]",
            array(any::<i32>().prop_map(|n| n.to_string()).boxed()),
            NO_LIST,
        ),
        case(
            "numeric(10,2)[]",
            array(or_nan(number(8, 2))),
            NO_LIST_OR_NAN,
        ),
        case("text[]", array(texts().boxed()), NO_LIST),
        case(
            "real[]",
            array(floats(any::<f32>().prop_map(f64::from).boxed())),
            NO_LIST,
        ),
        case(
            "double precision[]",
            array(floats(any::<f64>().boxed())),
            NO_LIST,
        ),
    ]
}

fn floats(all: BoxedStrategy<f64>) -> BoxedStrategy<String> {
    let round = select(vec![
        0.0, -0.0, 1e15, 1e16, 123_456.0, 1e6, 0.0001, 0.000_01, 1e-7,
    ]);
    let special = select(vec!["NaN", "Infinity", "-Infinity"]).prop_map(str::to_owned);
    let number = prop_oneof![all, round]
        .prop_filter("a number", |number| number.is_finite())
        .prop_map(|number| format!("{number:e}"));
    prop_oneof![8 => number, 1 => special].boxed()
}

/// Fills a table with a column for every case.
async fn create(database: &Database, cases: &[Case]) {
    let mut runner = TestRunner::deterministic();
    let mut value = |case: &Case| {
        let value = weighted(0.95, case.values.clone()).new_tree(&mut runner);
        match value.unwrap().current() {
            Some(text) => format!("'{}'", text.replace('\'', "''")),
            None => "NULL".to_owned(),
        }
    };
    let columns: Vec<String> = (0..)
        .zip(cases)
        .map(|(at, case): (usize, _)| format!("c{at} {}", case.sql_type))
        .collect();
    let rows: Vec<String> = (0..ROWS)
        .map(|_| cases.iter().map(&mut value).collect::<Vec<_>>().join(", "))
        .map(|values| format!("(DEFAULT, {values})"))
        .collect();
    let sql = format!(
        "CREATE TABLE random (id serial PRIMARY KEY, {}); INSERT INTO random VALUES {};",
        columns.join(", "),
        rows.join(",\n")
    );
    database.sql(&sql).await.unwrap();
}

async fn decode(database: &Database) -> RecordBatch {
    let mut connection = database.connect().await.unwrap();
    let table = TableConfig::named(TableReference::parse("random").unwrap());
    let captured = capture(&mut connection, &table).await.unwrap();
    let list = captured.select_list();
    let sql = format!("SELECT {list} FROM random ORDER BY id");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut decoder = RowDecoder::new(Arc::clone(&captured.schema), ROWS);
    for row in &rows {
        decoder
            .append(row, Xid(u64::from(xmin(row))), UPSERT)
            .unwrap();
    }
    let batch = decoder.finish(0).rows;
    for (at, column) in captured.schema.columns.iter().enumerate() {
        assert!(!column.as_text, "column {at} has a type of its own");
    }
    batch
}

/// An element as PostgreSQL's text, floats as their bits.
fn element(array: &dyn Array, scalar: Scalar, row: usize) -> Option<String> {
    array.is_valid(row).then(|| match scalar {
        Scalar::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        Scalar::Float32 => float_bits(f64::from(array.as_primitive::<Float32Type>().value(row))),
        Scalar::Float64 => float_bits(array.as_primitive::<Float64Type>().value(row)),
        Scalar::Text => array.as_string::<i32>().value(row).to_owned(),
        Scalar::Decimal { precision, scale } if precision <= 38 => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            Decimal128Type::format_decimal(value, precision, scale)
        }
        Scalar::Decimal { precision, scale } => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            Decimal256Type::format_decimal(value, precision, scale)
        }
        other => panic!("{other:?} is in no case"),
    })
}

fn float_bits(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else {
        format!("{:x}", number.to_bits())
    }
}

/// The server's text of an element in the form of [`element`].
fn expected_element(text: &str, scalar: Scalar) -> String {
    match scalar {
        Scalar::Float32 => float_bits(f64::from(text.parse::<f32>().unwrap())),
        Scalar::Float64 => float_bits(text.parse().unwrap()),
        _ => text.to_owned(),
    }
}

#[tokio::test]
async fn thousands_of_random_values_are_exact_or_unfit_with_their_text() {
    let (database, cases) = (shared_database().await, cases());
    create(&database, &cases).await;
    let batch = decode(&database).await;
    let unfit = batch.column_by_name(UNFIT).unwrap().as_string::<i32>();
    let schema = batch.schema();
    for (at, case) in cases.iter().enumerate() {
        let name = format!("c{at}");
        let is_list = case.sql_type.ends_with("[]");
        let shown = if is_list {
            "array_to_json($::text[])"
        } else {
            "$"
        };
        let sql = format!(
            "SELECT coalesce({}, false), coalesce({shown}::text, 'null'), $::text FROM random \
             ORDER BY id",
            case.unfit
        );
        let expected = database.rows(&sql.replace('$', &name)).await.unwrap();
        assert_eq!(expected.len(), ROWS);
        let column = batch.column(at + 1);
        let mut misfits = Vec::new();
        for (row, expected) in expected.iter().enumerate() {
            let [is_unfit, shown, text] = expected.as_slice() else {
                panic!("three columns")
            };
            let what = format!("{} {text}", case.sql_type);
            let object: serde_json::Value = match unfit.is_valid(row) {
                true => serde_json::from_str(unfit.value(row)).unwrap(),
                false => serde_json::json!({}),
            };
            let kept = object
                .get(&name)
                .map(|text| text.as_str().unwrap().to_owned());
            assert_eq!(kept.is_some(), is_unfit == "t", "{what}");
            if let Some(kept) = kept {
                assert!(column.is_null(row), "{what}");
                misfits.push(format!("({row}, '{}')", kept.replace('\'', "''")));
                if !["real[]", "double precision[]"].contains(&case.sql_type) {
                    assert_eq!(&kept, text, "{what}");
                }
                continue;
            }
            let json: serde_json::Value = match is_list {
                true => serde_json::from_str(shown).unwrap(),
                false if shown == "null" => serde_json::Value::Null,
                false => serde_json::json!([shown]),
            };
            let expected = json.as_array().cloned();
            assert_eq!(column.is_valid(row), expected.is_some(), "{what}");
            let scalar = match schema.field(at + 1).data_type() {
                arrow::datatypes::DataType::List(field) => scalar_of(field.data_type()),
                scalar => scalar_of(scalar),
            };
            let (values, rows) = if is_list {
                let values = column.as_list::<i32>().value(row);
                let rows = 0..values.len();
                (values, rows)
            } else {
                (Arc::clone(column), row..row + 1)
            };
            let Some(expected) = expected else { continue };
            let got: Vec<_> = rows.map(|row| element(&values, scalar, row)).collect();
            let text = |value: &serde_json::Value| {
                value.as_str().map(|text| expected_element(text, scalar))
            };
            assert_eq!(got, expected.iter().map(text).collect::<Vec<_>>(), "{what}");
        }
        assert!(!misfits.is_empty(), "{} has misfits", case.sql_type);
        // PostgreSQL reads the text of every misfit back as the same value.
        if is_list {
            let sql = format!(
                "SELECT count(*) FROM (VALUES {}) AS kept (at, text) \
                 JOIN random ON random.id = kept.at + 1 \
                 WHERE array_send(kept.text::{}) <> array_send({name})",
                misfits.join(", "),
                case.sql_type
            );
            let differ = database.rows(&sql).await.unwrap();
            assert_eq!(differ, [["0"]], "{}", case.sql_type);
        }
    }
}

fn scalar_of(data_type: &arrow::datatypes::DataType) -> Scalar {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::Int32 => Scalar::Int32,
        DataType::Float32 => Scalar::Float32,
        DataType::Float64 => Scalar::Float64,
        DataType::Utf8 => Scalar::Text,
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Scalar::Decimal {
                precision: *precision,
                scale: *scale,
            }
        }
        other => panic!("{other} is in no case"),
    }
}
