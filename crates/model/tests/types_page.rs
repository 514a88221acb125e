//! docs/types.md agrees with the code: the page is rendered from the mapping and from the topic's
//! codec, and compared with the file.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt8Array, UInt64Array};
use inlet_model::change::{ChangeBatch, Origin, UPSERT, polled_schema};
use inlet_model::record::Rows;
use inlet_model::record::json::{Decoder, encode_values};
use inlet_model::{CatalogType, ColumnType, Scalar};
use inlet_model::{Column, TableName, TableSchema};

const INTRODUCTION: &str = "\
# Types

What a column of PostgreSQL becomes: in Arrow and Parquet, in the JSON of the topic, and what \
    DuckDB shows of it. Both ways into the lake, with
Kafka and without, give the same values. A value is exact or it is impossible (below); none is \
    rounded, cut or dropped.

This page is rendered from `crates/model/src/types.rs` and the codec by \
    `crates/model/tests/types_page.rs`, which compares it; after a change of the mapping:
`UPDATE_DOCS=1 cargo test --release --workspace --test types_page`. That the values are \
    PostgreSQL's own, on both ways and in DuckDB, is shown by
`cli/tests/services/types.rs`.

";

const BEHIND: &str = "
## Text

Text is the output of the type's output function, as a SELECT shows it, never that of a cast to \
    text: a user's cast may give anything, and the one of
`inet` adds a netmask. The session has `DateStyle` ISO, `IntervalStyle` postgres, \
    `bytea_output` hex and `TimeZone` UTC, so the
configuration of the server does not change it; but for two: `money` is shown in the currency of \
    `lc_monetary`, and names (`regclass` and its like)
without the schemas of the role's `search_path`. It reads back as the same value: `CAST(x AS ...)` \
    in DuckDB for what DuckDB has, an INSERT of it into
PostgreSQL for everything.

* `numeric` without precision is text: a decimal of Parquet has one scale for the whole column and \
    at most 38 digits that readers know, such a
  column has any scale in every row, up to 131072 digits, and `NaN`. No decimal holds it, and a \
    double would round it.
* `oid` is a 64-bit integer, not an unsigned one of 32: Spark, Iceberg and Delta have no unsigned \
    integers, and JSON does not care.
* `interval` is text: months, days and microseconds are three numbers, Parquet's INTERVAL ends at \
    milliseconds.
* `timetz` is text: no type of Arrow keeps its offset.
* `money` is text: how many of its digits are decimals depends on `lc_monetary`, not on the type.

## Impossible values

Some types of PostgreSQL have values that the lake's type cannot hold. What becomes of them is \
    said by table:

    tables:
      orders:
        impossible_values: quarantine     # or null, or text

| policy | then |
|---|---|
| `quarantine` (default) | the row goes to `_quarantine`, whole, with PostgreSQL's text of the \
    value |
| `null` | null is written in its place; the log counts them, one line a batch. Not in a key \
    column: two keys would become one, so such a row goes to quarantine |
| `text` | every column that can have an impossible value comes as PostgreSQL's text, with all its \
    values: numeric(p,s), json, date, time, timestamp, timestamptz and lists. The cursor and the column \
    that dates the rows keep their types, and quarantine their impossible values |

`text` changes the types of columns, so it is chosen before the table's first row: what a reader \
    makes of files with both types is its own affair.
Where it is chosen, name the cursor too (`tables.<name>.cursor`), so that an index made later does \
    not make another column the one that keeps its type.
`inlet verify` compares by the same policy. Bytes that are no UTF-8, in a database of the encoding \
    `SQL_ASCII`, are impossible in a text as well; `text`
leaves them in quarantine.
";

/// A type of the catalog as it is written in SQL, a value as JSON, what is impossible in it, and
/// what else there is to say.
struct Row {
    sql: &'static str,
    name: &'static str,
    modifier: i32,
    array: bool,
    json: &'static str,
    impossible: &'static str,
    remark: &'static str,
}

const fn row(
    sql: &'static str,
    name: &'static str,
    json: &'static str,
    impossible: &'static str,
    remark: &'static str,
) -> Row {
    Row {
        sql,
        name,
        modifier: -1,
        array: false,
        json,
        impossible,
        remark,
    }
}

const fn decimal(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | scale) + 4
}

const MOMENTS: &str = "`infinity`, `-infinity`, from `294247-01-10 04:00:54.775807` on";

const ROWS: &[Row] = &[
    row("boolean", "bool", "true", "", ""),
    row("smallint", "int2", "-32768", "", ""),
    row("integer", "int4", "42", "", ""),
    row("bigint", "int8", "9007199254740993", "", ""),
    row("oid", "oid", "4294967295", "", "0 to 4294967295"),
    row(
        "real",
        "float4",
        "1.1",
        "",
        "`NaN`, `Infinity` and `-0` are values, strings in JSON where it has no number; a view may show `-0` as `0`, as DuckDB's window functions do",
    ),
    row("double precision", "float8", "\"NaN\"", "", "as real"),
    Row {
        modifier: decimal(10, 2),
        ..row(
            "numeric(p,s) of at most 38 digits",
            "numeric",
            "\"220.00\"",
            "`NaN`",
            "shown: numeric(10,2); numeric(5,-2) has 7 digits, numeric(3,5) has 5",
        )
    },
    Row {
        modifier: decimal(50, 2),
        ..row(
            "numeric(p,s) of 39 to 76 digits",
            "numeric",
            "\"220.00\"",
            "`NaN`",
            "shown: numeric(50,2); text in the lake, exact: readers know 38 digits",
        )
    },
    row(
        "numeric; numeric(p,s) of more than 76 digits",
        "numeric",
        "\"1234567890123456789012345678901234567890.5\"",
        "",
        "text, see below",
    ),
    row("text, varchar(n)", "text", "\"a \\\"b\\\"\"", "", ""),
    row(
        "char(n)",
        "bpchar",
        "\"ab   \"",
        "",
        "padded, as PostgreSQL shows it",
    ),
    row(
        "json",
        "json",
        "\" {\\\"a\\\": 1}\"",
        "half of a surrogate pair: `\"\\ud800\"`",
        "the text unchanged, spaces too",
    ),
    row(
        "jsonb",
        "jsonb",
        "\"{\\\"a\\\": 9007199254740993}\"",
        "",
        "PostgreSQL's text; numbers of any length",
    ),
    row(
        "uuid",
        "uuid",
        "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
        "",
        "Parquet UUID",
    ),
    row("bytea", "bytea", "\"AAE=\"", "", "base64 in JSON"),
    row(
        "date",
        "date",
        "\"2026-11-20\"",
        "`infinity`, `-infinity`",
        "4714 BC to 5874897",
    ),
    row(
        "time",
        "time",
        "\"12:34:56.000001\"",
        "`24:00:00`",
        "microseconds",
    ),
    row(
        "timestamp",
        "timestamp",
        "\"2026-11-20T12:34:56.000001\"",
        MOMENTS,
        "microseconds of a wall clock, from 4714 BC on",
    ),
    row(
        "timestamptz",
        "timestamptz",
        "\"2026-11-20T12:34:56.000001Z\"",
        MOMENTS,
        "microseconds, UTC, from 4714 BC on",
    ),
    Row {
        array: true,
        ..row(
            "integer[]",
            "int4",
            "[1,null,3]",
            "more than one dimension, first index other than 1",
            "nulls and empty lists are kept apart",
        )
    },
    Row {
        array: true,
        ..row("text[]", "text", "[\"a\",\"\"]", "as integer[]", "")
    },
    Row {
        array: true,
        modifier: decimal(10, 2),
        ..row(
            "numeric(10,2)[]",
            "numeric",
            "[\"1.50\"]",
            "as integer[], and an element that is impossible",
            "",
        )
    },
    Row {
        array: true,
        ..row(
            "timestamptz[]",
            "timestamptz",
            "[\"2026-11-20T12:34:56.000001Z\"]",
            "as numeric(10,2)[]",
            "likewise an array of any type above that is not text",
        )
    },
    Row {
        array: true,
        ..row(
            "numeric[], numeric(p,s)[] of more than 38 digits",
            "numeric",
            "\"{1.20,NULL,NaN}\"",
            "",
            "text",
        )
    },
    Row {
        array: true,
        ..row(
            "array of a type that is text",
            "inet",
            "\"{10.0.0.1,NULL}\"",
            "",
            "text, of any dimensions",
        )
    },
    row(
        "interval",
        "interval",
        "\"1 year 2 mons -3 days 04:05:06.000007\"",
        "",
        "text",
    ),
    row("timetz", "timetz", "\"12:00:00+02\"", "", "text"),
    row("money", "money", "\"$12.34\"", "", "text"),
    row(
        "inet, cidr, macaddr, macaddr8",
        "inet",
        "\"10.0.0.1/8\"",
        "",
        "text",
    ),
    row("bit, varbit", "bit", "\"101\"", "", "text"),
    row("xml", "xml", "\"<a/>\"", "", "text"),
    row("tsvector, tsquery", "tsvector", "\"'a':1A\"", "", "text"),
    row(
        "point, line, lseg, box, path, polygon, circle",
        "point",
        "\"(1.5,-2)\"",
        "",
        "text",
    ),
    row(
        "ranges and multiranges",
        "int4range",
        "\"[1,5)\"",
        "",
        "text",
    ),
    row(
        "pg_lsn, xid, xid8, tid, regclass and its like",
        "pg_lsn",
        "\"16/B374D848\"",
        "",
        "text",
    ),
    row("\"char\", name", "name", "\"orders\"", "", "text"),
    row(
        "enum, composite, hstore, citext and every other type",
        "mood",
        "\"happy\"",
        "",
        "text",
    ),
    row(
        "domain",
        "int4",
        "42",
        "",
        "as its base type, with the modifiers of the innermost domain that has them",
    ),
];

/// The page, from the mapping and the codec.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str(
        "| PostgreSQL | Arrow, Parquet | JSON | DuckDB | impossible | remarks \
        |\n|---|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let catalog = CatalogType {
            name: row.name,
            modifier: row.modifier,
            array: row.array,
        };
        let mapped = ColumnType::of(catalog);
        assert_eq!(
            mapped.is_none(),
            row.remark.starts_with("text") && !row.remark.contains("in the lake"),
            "{}",
            row.sql
        );
        let column_type = mapped.unwrap_or(ColumnType::Scalar(Scalar::Text));
        assert_eq!(
            row.impossible.is_empty(),
            !catalog.has_impossible_values(),
            "{}",
            row.sql
        );
        let arrow = match column_type {
            ColumnType::List(element) => format!("List of {}", element.arrow()),
            other => other.arrow().to_string(),
        };
        let json = through_the_codec(column_type, row.json);
        let duckdb = column_type.duckdb();
        writeln!(
            page,
            "| {} | {arrow} | `{json}` | {duckdb} | {} | {} |",
            row.sql, row.impossible, row.remark
        )
        .unwrap();
    }
    page + BEHIND
}

/// A value as the topic's codec reads it and writes it again.
fn through_the_codec(column_type: ColumnType, json: &str) -> String {
    let column = Column {
        name: "x".to_owned(),
        column_type,
        postgres_type: String::new(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    };
    let schema = Arc::new(TableSchema::new(
        TableName::new("public", "t"),
        vec![column],
        vec![0],
    ));
    let mut decoder = Decoder::new(schema.clone(), 1);
    decoder
        .decode_value(format!("{{\"x\":{json}}}").as_bytes())
        .unwrap();
    let mut columns = decoder.finish();
    columns.push(Arc::new(UInt8Array::from(vec![UPSERT])));
    columns.push(Arc::new(UInt64Array::from(vec![1])));
    columns.push(Arc::new(StringArray::from(vec![None::<&str>])));
    let rows = RecordBatch::try_new(polled_schema(&schema), columns).unwrap();
    let mut values = Rows::default();
    encode_values(
        &ChangeBatch {
            schema,
            rows,
            detected_at: 0,
            origin: Origin::Poll,
        },
        &mut values,
    );
    let object = String::from_utf8(values.get(0).unwrap().to_vec()).unwrap();
    object
        .strip_prefix("{\"x\":")
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap()
        .to_owned()
}

#[test]
fn the_page_agrees_with_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/types.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == page,
        "docs/types.md differs from the code; render it again: UPDATE_DOCS=1 cargo test \
            --release --workspace --test types_page"
    );
}
