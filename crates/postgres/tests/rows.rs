//! Rows of a real PostgreSQL, decoded, compared with PostgreSQL's own text of every value.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, DecimalType, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use inlet_harness::{Database, shared_database, shared_postgres};
use inlet_model::TableReference;
use inlet_model::Xid;
use inlet_model::change::{UNFIT, UPSERT};
use inlet_model::quote;
use inlet_model::{ColumnType, Scalar};
use inlet_postgres::{Captured, RowDecoder, capture, connect, cursor_value, xmin};
use inlet_service::config::{Config, TableConfig};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

fn named(name: &str) -> TableConfig {
    TableConfig::named(TableReference::parse(name).unwrap())
}

/// A type, what shows its values exactly in SQL (`$` is the column), which values no Arrow column
/// holds, and values.
struct Case {
    sql_type: &'static str,
    shown: &'static str,
    unfit: &'static str,
    values: &'static [&'static str],
}

const fn case(
    sql_type: &'static str,
    shown: &'static str,
    unfit: &'static str,
    values: &'static [&'static str],
) -> Case {
    Case {
        sql_type,
        shown,
        unfit,
        values,
    }
}

const TEXT: &str = "encode(textsend($::text), 'hex')";
/// What the type's output function gives, which a cast to text may differ from.
const OUTPUT: &str = "encode(textsend(nullif(format('%s', $), '')), 'hex')";
/// Before PostgreSQL 14 an epoch with its microseconds is a float: whole seconds and the rest are
/// exact.
const MICROS: &str = "(extract(epoch FROM date_trunc('second', $))::numeric * 1000000 + \
    extract(microseconds FROM $)::numeric % 1000000)::numeric(30, 0)::text";
const BEHIND: &str = "NOT isfinite($) OR $ > '294247-01-10 04:00:54.775806'";
const FITS: &str = "false";
const NO_LIST: &str = "array_ndims($) > 1 OR array_lower($, 1) <> 1";
const MOMENTS: &[&str] = &[
    "2026-11-20 12:34:56.000001",
    "1969-12-31 23:59:59.999999",
    "2000-01-01",
    "4713-11-24 00:00:00 BC",
    "0044-03-15 12:00:00 BC",
    "294247-01-10 04:00:54.775806",
    "294247-01-10 04:00:54.775807",
    "294276-12-31 23:59:59.999999",
    "294276-12-31 23:59:00",
    "infinity",
    "-infinity",
];

/// Types that are mapped, with the ends of their ranges.
const MAPPED: &[Case] = &[
    case("boolean", "$::text", FITS, &["true", "false"]),
    case("smallint", "$::text", FITS, &["-32768", "0", "32767"]),
    case(
        "integer",
        "$::text",
        FITS,
        &["-2147483648", "-1", "2147483647"],
    ),
    case(
        "bigint",
        "$::text",
        FITS,
        &["-9223372036854775808", "9223372036854775807"],
    ),
    case(
        "real",
        "encode(float4send($), 'hex')",
        FITS,
        &[
            "1.1",
            "-0",
            "3.4028235e38",
            "1e-45",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    case(
        "double precision",
        "encode(float8send($), 'hex')",
        FITS,
        &[
            "0.1",
            "-0",
            "1.7976931348623157e308",
            "5e-324",
            "NaN",
            "-Infinity",
        ],
    ),
    case(
        "numeric(10,2)",
        "$::text",
        "$ = 'NaN'",
        &[
            "220.00",
            "-0.01",
            "99999999.99",
            "-99999999.99",
            "0",
            "100000",
            "1.5",
            "NaN",
        ],
    ),
    case(
        "numeric(5)",
        "$::text",
        "$ = 'NaN'",
        &["99999", "-1", "10000", "NaN"],
    ),
    case(
        "numeric(12,10)",
        "$::text",
        FITS,
        &["0.0000000001", "-99.9999999999", "10.00001"],
    ),
    case(
        "numeric(38,1)",
        "$::text",
        FITS,
        &[
            "9999999999999999999999999999999999999.9",
            "-0.1",
            "1000000000000000000000000000000000000",
        ],
    ),
    case(
        "numeric(38,38)",
        "$::text",
        FITS,
        &[
            "0.99999999999999999999999999999999999999",
            "-0.00000000000000000000000000000000000001",
        ],
    ),
    case(
        "numeric(39,0)",
        "$::text",
        "$ = 'NaN'",
        &["999999999999999999999999999999999999999", "-1", "NaN"],
    ),
    case(
        "numeric(76,3)",
        "$::text",
        FITS,
        &[
            "9999999999999999999999999999999999999999999999999999999999999999999999999.999",
            "-0.001",
            "20000",
        ],
    ),
    case(
        "text",
        TEXT,
        FITS,
        &["", "plain", "é 😀 \u{1}", "a\"b\\c\n"],
    ),
    case("varchar(3)", TEXT, FITS, &["", "abc"]),
    case(
        "char(5)",
        "encode(bpcharsend($), 'hex')",
        FITS,
        &["ab", "abcde", ""],
    ),
    case("json", TEXT, FITS, &[" {\"b\": 1,  \"a\":1e400}", "null"]),
    case(
        "jsonb",
        TEXT,
        FITS,
        &[" {\"b\": 1,  \"a\":1e400}", "[]", "\"\u{e9}\""],
    ),
    case(
        "uuid",
        "replace($::text, '-', '')",
        FITS,
        &[
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
    case("bytea", "encode($, 'hex')", FITS, &["", "\\x00ff01"]),
    case(
        "date",
        "($ - date '1970-01-01')::text",
        "NOT isfinite($)",
        &[
            "2026-11-20",
            "1969-12-31",
            "4714-11-24 BC",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
    ),
    case(
        "time",
        MICROS,
        "$ = '24:00'",
        &["00:00", "12:34:56.000001", "23:59:59.999999", "24:00"],
    ),
    case("timestamp", MICROS, BEHIND, MOMENTS),
    case("timestamptz", MICROS, BEHIND, MOMENTS),
    case(
        "timestamptz(0)",
        MICROS,
        BEHIND,
        &["2026-11-20 12:34:56.7+02"],
    ),
    case("amount", "$::text", "$ = 'NaN'", &["1.500", "NaN"]),
    case("small_amount", "$::text", FITS, &["1.500"]),
    case(
        "moment",
        MICROS,
        "NOT isfinite($)",
        &["2026-11-20 12:34:56+02", "infinity"],
    ),
    case("oid", "$::text", FITS, &["0", "4294967295"]),
    case(
        "boolean[]",
        "replace(replace($::text, 't', 'true'), 'f', 'false')",
        FITS,
        &["{t,f}", "{}"],
    ),
    case(
        "smallint[]",
        "$::text",
        NO_LIST,
        &["{1,-2}", "[2:3]={4,5}", "{{1,NULL},{3,4}}"],
    ),
    case(
        "integer[]",
        "$::text",
        NO_LIST,
        &[
            "{1,NULL,3}",
            "{}",
            "[0:1]={1,2}",
            "[2:2][3:4]={{1,2}}",
            "{NULL}",
            "{7}",
        ],
    ),
    case(
        "bigint[]",
        "$::text",
        NO_LIST,
        &["{9223372036854775807}", "{{{1}},{{-1}}}"],
    ),
    case(
        "oid[]",
        "$::text",
        NO_LIST,
        &["{4294967295}", "{{4294967295}}"],
    ),
    case(
        "double precision[]",
        "$::text",
        "true",
        &["{{0.1,-1.5},{NaN,-Infinity}}", "[0:0]={-0}"],
    ),
    case(
        "real[]",
        "$::text",
        "true",
        &["{{1.1,2.25},{NULL,Infinity}}"],
    ),
    case(
        "numeric(10,2)[]",
        "$::text",
        "array_ndims($) > 1 OR 'NaN' = ANY($)",
        &[
            "{220.00,NULL,-0.01}",
            "{1.00,NaN}",
            "{{1.50},{-99999999.99}}",
            "{7.00}",
        ],
    ),
    case("prices", "$::text", NO_LIST, &["{1.50,NULL}", "{{1.50}}"]),
    case(
        "amount[]",
        "$::text",
        "'NaN' = ANY($)",
        &["{1.500}", "{NaN}"],
    ),
    case("numbers", "$::text", NO_LIST, &["{1,2}", "{{1,2}}"]),
    case(
        "text[]",
        "array_to_string(ARRAY(SELECT encode(textsend(e), 'hex') FROM unnest($) e), ',')",
        "true",
        &[
            r#"{{"a b",NULL,"","null"},{"\"q\\",x,"{}","a,b"}}"#,
            "[-1:0]={é,😀}",
        ],
    ),
    case(
        "varchar(3)[]",
        "$::text",
        "array_ndims($) > 1",
        &["{{abc}}"],
    ),
    case(
        "jsonb[]",
        "$::text",
        "true",
        &[r#"{{"{\"a\": [1, \"b\"]}"}}"#],
    ),
    case(
        "uuid[]",
        "replace($::text, '-', '')",
        NO_LIST,
        &[
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}",
            "{{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}}",
        ],
    ),
    case(
        "bytea[]",
        r#"replace(replace($::text, '"', ''), '\\x', '')"#,
        "array_ndims($) > 1",
        &[r#"{"\\x00ff","\\x"}"#, r#"{{"\\x00ff"}}"#],
    ),
    case(
        "date[]",
        "$::text",
        "true",
        &[
            r#"{2026-11-20,infinity,"0044-03-15 BC"}"#,
            "{{-infinity}}",
            "[0:1]={5874897-12-31,1969-12-31}",
        ],
    ),
    case(
        "time[]",
        "$::text",
        "true",
        &["{12:34:56.000001,24:00:00,NULL,00:00:00.5}"],
    ),
    case(
        "timestamp[]",
        "$::text",
        "true",
        &[
            r#"{infinity,"2026-11-20 12:34:56.000001","0044-03-15 12:00:00 BC"}"#,
            r#"{{"294276-12-31 23:59:59"}}"#,
        ],
    ),
    case(
        "timestamptz[]",
        "$::text",
        "true",
        &[r#"{-infinity,"2026-11-20 12:34:56.7+02","0044-03-15 12:00:00+00 BC"}"#],
    ),
];

/// Types without a mapping come as their text.
const AS_TEXT: &[Case] = &[
    case(
        "interval",
        OUTPUT,
        FITS,
        &["1 year 2 mons -3 days 04:05:06.000007"],
    ),
    case("inet", OUTPUT, FITS, &["10.0.0.1/8", "::1", "10.0.0.1"]),
    case(
        "numeric[]",
        OUTPUT,
        FITS,
        &["{1.20,NULL,NaN}", "{}", "[2:3]={4,5}"],
    ),
    case("numeric(50,2)[]", OUTPUT, FITS, &["{1.20}"]),
    case("numbers[]", OUTPUT, FITS, &["{\"{1,2}\"}"]),
    case("mood[]", OUTPUT, FITS, &["{happy,\"so so\"}"]),
    case("int2vector", OUTPUT, FITS, &["1 2"]),
    case("oidvector", OUTPUT, FITS, &["1 4294967295"]),
    case("mood", OUTPUT, FITS, &["happy", "so so"]),
    case("numeric", OUTPUT, FITS, &["1.2300", "NaN", "1e100"]),
    case("numeric(80,2)", OUTPUT, FITS, &["1.5"]),
    case("int4range", OUTPUT, FITS, &["[1,5)", "empty"]),
    case("timetz", OUTPUT, FITS, &["12:00+02"]),
    case("bit(3)", OUTPUT, FITS, &["101"]),
    case("point", OUTPUT, FITS, &["(1,2)"]),
    case("\"char\"", OUTPUT, FITS, &["x"]),
    case("name", OUTPUT, FITS, &["orders"]),
    case("aclitem", OUTPUT, FITS, &["=r/inlet_test"]),
    case("pair", OUTPUT, FITS, &["(1,\"a b\")"]),
];

const TYPES: &str = "CREATE TYPE mood AS ENUM ('happy', 'so so');
    CREATE TYPE pair AS (a integer, b text);
    CREATE DOMAIN amount AS numeric(12,3);
    CREATE DOMAIN small_amount AS amount CHECK (VALUE < 10);
    CREATE DOMAIN moment AS timestamptz;
    CREATE DOMAIN numbers AS integer[];
    CREATE DOMAIN prices AS numeric(10,2)[];";

/// Reads the whole table in the order of its first column.
async fn read(connection: &mut PgConnection, captured: &Captured) -> Vec<PgRow> {
    let table = captured.schema.table.quoted();
    let sql = format!("SELECT {} FROM {table} ORDER BY 2", captured.select_list());
    sqlx::query(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .expect("the rows are read")
}

fn decode(captured: &Captured, rows: &[PgRow]) -> RecordBatch {
    let mut decoder = RowDecoder::new(Arc::clone(&captured.schema), 2);
    for row in rows {
        decoder
            .append(row, Xid(u64::from(xmin(row))), UPSERT)
            .expect("the row is decoded");
    }
    decoder.finish(0).rows
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// A value as the case's SQL shows it.
fn shown(column: &dyn Array, column_type: ColumnType, row: usize) -> String {
    match column_type {
        ColumnType::Scalar(Scalar::Bool) => column.as_boolean().value(row).to_string(),
        ColumnType::Scalar(Scalar::Int16) => {
            column.as_primitive::<Int16Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Int32) => {
            column.as_primitive::<Int32Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Int64 | Scalar::Oid) => {
            column.as_primitive::<Int64Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Float32) => hex(&column
            .as_primitive::<Float32Type>()
            .value(row)
            .to_be_bytes()),
        ColumnType::Scalar(Scalar::Float64) => hex(&column
            .as_primitive::<Float64Type>()
            .value(row)
            .to_be_bytes()),
        ColumnType::Scalar(Scalar::Decimal { precision, scale }) if precision <= 38 => {
            Decimal128Type::format_decimal(
                column.as_primitive::<Decimal128Type>().value(row),
                precision,
                scale,
            )
        }
        ColumnType::Scalar(Scalar::Decimal { precision, scale }) => Decimal256Type::format_decimal(
            column.as_primitive::<Decimal256Type>().value(row),
            precision,
            scale,
        ),
        ColumnType::Scalar(Scalar::Text | Scalar::Json) => {
            hex(column.as_string::<i32>().value(row).as_bytes())
        }
        ColumnType::Scalar(Scalar::Uuid) => hex(column.as_fixed_size_binary().value(row)),
        ColumnType::Scalar(Scalar::Bytes) => hex(column.as_binary::<i32>().value(row)),
        ColumnType::Scalar(Scalar::Date) => {
            column.as_primitive::<Date32Type>().value(row).to_string()
        }
        ColumnType::Scalar(Scalar::Time) => column
            .as_primitive::<Time64MicrosecondType>()
            .value(row)
            .to_string(),
        ColumnType::Scalar(Scalar::Timestamp | Scalar::TimestampTz) => column
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            .to_string(),
        ColumnType::List(element) => {
            let elements = column.as_list::<i32>().value(row);
            let element = |at| {
                if elements.is_null(at) {
                    "NULL".to_owned()
                } else {
                    shown(&elements, element.into(), at)
                }
            };
            format!(
                "{{{}}}",
                (0..elements.len())
                    .map(element)
                    .collect::<Vec<_>>()
                    .join(",")
            )
        }
    }
}

/// A table with one column a case; row `n` holds the n-th value of each, or null, and the last row
/// nulls alone.
async fn create(database: &Database, cases: &[Case]) {
    let columns: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| format!("c{at} {}", case.sql_type))
        .collect();
    let mut sql = format!(
        "{TYPES} CREATE TABLE every (id serial PRIMARY KEY, {});",
        columns.join(", ")
    );
    let rows = cases
        .iter()
        .map(|case| case.values.len())
        .max()
        .unwrap_or(0);
    for row in 0..=rows {
        let values: Vec<String> = cases
            .iter()
            .map(|case| {
                case.values.get(row).map_or("NULL".to_owned(), |value| {
                    format!("'{}'::{}", value.replace('\'', "''"), case.sql_type)
                })
            })
            .collect();
        write!(
            sql,
            "INSERT INTO every VALUES (DEFAULT, {});",
            values.join(", ")
        )
        .expect("a string takes all");
    }
    database.sql(&sql).await.expect("the table is made");
}

/// Compares every value of the table `every` with PostgreSQL's own text of it.
async fn compare(cases: &[Case], as_text: bool) {
    let database = shared_database().await;
    create(&database, cases).await;
    let mut connection = database.connect().await.expect("a connection");
    let captured = capture(&mut connection, &named("every"))
        .await
        .expect("the table can be captured");
    let rows = read(&mut connection, &captured).await;
    let batch = decode(&captured, &rows);
    let unfit = batch
        .column_by_name(UNFIT)
        .expect("a column")
        .as_string::<i32>();
    for (at, case) in cases.iter().enumerate() {
        let (column, name) = (&captured.schema.columns[at + 1], format!("c{at}"));
        assert_eq!(column.as_text, as_text, "{}", case.sql_type);
        let sql = format!(
            "SELECT CASE WHEN {} THEN 'unfit ' || $::text ELSE {} END, $ IS NULL FROM every ORDER \
                BY id",
            case.unfit, case.shown
        );
        let expected = database
            .rows(&sql.replace('$', &quote(&name)))
            .await
            .expect("PostgreSQL shows its values");
        assert_eq!(expected.len(), batch.num_rows());
        for (row, expected) in expected.into_iter().enumerate() {
            let array = batch.column(at + 1);
            let in_unfit = unfit.is_valid(row).then(|| {
                serde_json::from_str::<serde_json::Value>(unfit.value(row)).expect("JSON")
            });
            let got = match in_unfit.as_ref().and_then(|object| object.get(&name)) {
                Some(text) => {
                    assert!(array.is_null(row), "an unfit value is null");
                    vec![
                        format!("unfit {}", text.as_str().expect("a text")),
                        "f".to_owned(),
                    ]
                }
                None if array.is_null(row) => vec!["NULL".to_owned(), "t".to_owned()],
                None => vec![shown(array, column.column_type, row), "f".to_owned()],
            };
            assert_eq!(got, expected, "{} in row {row}", case.sql_type);
        }
    }
}

#[tokio::test]
async fn every_mapped_type_is_exact_at_the_ends_of_its_range() {
    compare(MAPPED, false).await;
}

#[tokio::test]
async fn a_type_without_a_mapping_comes_as_its_text() {
    compare(AS_TEXT, true).await;
}

#[tokio::test]
async fn a_row_carries_its_xmin_and_its_cursor() {
    let database = shared_database().await;
    let sql = "CREATE TABLE t (id serial PRIMARY KEY, updated_at timestamptz, seen timestamp, day \
        date);
        INSERT INTO t VALUES (1, '2026-11-20 12:34:56.000001+00', '2026-11-20 12:34:56.000001', \
        '2026-11-20'), (2, NULL, NULL, NULL), (3, 'infinity', '-infinity', '-infinity')";
    database.sql(sql).await.expect("the table is made");
    let mut connection = database.connect().await.expect("a connection");
    let expected_row = database.rows(
        "SELECT xmin, (extract(epoch FROM updated_at) * 1000000)::bigint, extract(epoch FROM \
            day)::bigint FROM t WHERE id = 1",
    );
    let expected_row: Vec<i64> = expected_row.await.expect("a row")[0]
        .iter()
        .map(|number| number.parse().expect("a number"))
        .collect();
    for (cursor, expected) in [
        ("updated_at", [Some(expected_row[1]), None, Some(i64::MAX)]),
        ("seen", [Some(expected_row[1]), None, Some(i64::MIN)]),
        (
            "day",
            [Some(expected_row[2] * 1_000_000), None, Some(i64::MIN)],
        ),
    ] {
        let config = TableConfig {
            cursor: Some(cursor.to_owned()),
            ..named("t")
        };
        let captured = capture(&mut connection, &config)
            .await
            .expect("the table can be captured");
        let rows = read(&mut connection, &captured).await;
        let cursor = captured.cursor.expect("a cursor");
        assert_eq!(
            rows.iter()
                .map(|row| cursor_value(row, &cursor))
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(i64::from(xmin(&rows[0])), expected_row[0]);
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_unfit_and_nothing_else_is_lost() {
    let server = shared_postgres().await;
    server
        .sql(
            "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE \
        template0",
        )
        .await
        .expect("a database");
    let database = server.named("ascii");
    database
        .sql(r"CREATE TABLE t (id integer PRIMARY KEY, note text); INSERT INTO t VALUES (1, E'caf\xe9'), (2, 'cafe')")
        .await
        .expect("a table");
    let text = format!(
        "postgres: {{ url: \"{}\" }}\ntables: {{ t: }}",
        database.url()
    );
    let config = Config::parse(&text).expect("a configuration");
    let mut connection = connect(&config.postgres.expect("it is given").primary)
        .await
        .expect("a connection");
    let captured = capture(&mut connection, &named("t"))
        .await
        .expect("the table can be captured");
    let batch = decode(&captured, &read(&mut connection, &captured).await);
    let unfit = batch
        .column_by_name(UNFIT)
        .expect("a column")
        .as_string::<i32>();
    assert_eq!(unfit.value(0), r#"{"note":"\\x636166e9"}"#);
    assert!(unfit.is_null(1) && batch.column(1).is_null(0));
    assert_eq!(batch.column(1).as_string::<i32>().value(1), "cafe");
}
