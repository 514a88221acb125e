//! Keys by value: two values have one key in the topic exactly when PostgreSQL takes them for
//! equal.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use std::fmt::Write as _;
use std::sync::Arc;

use inlet_harness::{Database, shared_database};
use inlet_model::change::UPSERT;
use inlet_model::record::Rows;
use inlet_model::record::json::{encode_keys, encode_values};
use inlet_model::{TableReference, Xid};
use inlet_postgres::{Captured, RowDecoder, capture, xmin};
use inlet_service::config::TableConfig;
use sqlx::AssertSqlSafe;

const TYPES: &str = "
    CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TYPE mood AS ENUM ('happy', 'Happy');
    CREATE TYPE pair AS (amount numeric, note text);
    CREATE TYPE plain_pair AS (amount numeric(10,2), note text, moods mood[]);
    CREATE DOMAIN amount AS numeric;
    CREATE DOMAIN positive AS amount CHECK (VALUE > 0);
    CREATE DOMAIN amounts AS numeric[];
    CREATE DOMAIN document AS jsonb;
    CREATE DOMAIN span AS interval;
    CREATE DOMAIN name_of AS text COLLATE caseless;
    CREATE TYPE note_range AS RANGE (subtype = text, collation = caseless);
    CREATE EXTENSION citext;
    CREATE EXTENSION hstore;
    CREATE DOMAIN email AS citext;
    CREATE TYPE nested AS (pairs pair[], notes citext[], document document);";

/// A type, the form of its identity (none: its text), and values.
struct Case {
    sql_type: &'static str,
    form: Option<&'static str>,
    values: &'static [&'static str],
}

const fn by_text(sql_type: &'static str, values: &'static [&'static str]) -> Case {
    Case {
        sql_type,
        form: None,
        values,
    }
}

const fn by(sql_type: &'static str, form: &'static str, values: &'static [&'static str]) -> Case {
    Case {
        sql_type,
        form: Some(form),
        values,
    }
}

const NUMBERS: &[&str] = &[
    "1", "1.0", "1.00", "100", "1e2", "0", "0.000", "-0.50", "-0.5", "NaN",
];
const TEXTS: &[&str] = &["Bob", "BOB", "bob", "Ä", "ä", "a\u{308}", "bob ", "", "é"];
const SPANS: &[&str] = &[
    "1 day",
    "24:00",
    "1 mon",
    "30 days",
    "1 mon -1 day",
    "29 days",
    "-1 day",
    "-178000000 years",
    "178000000 years",
    "0",
    "1 year",
    "12 mons",
    "360 days",
    "-24:00:00.000001",
    "1 day -00:00:00.000001",
    "23:59:59.999999",
];

const CASES: &[Case] = &[
    by("numeric", "numeric", NUMBERS),
    by("amount", "numeric", NUMBERS),
    by("positive", "numeric", &["1", "1.0", "2"]),
    by_text("numeric(10,2)", &["1", "1.0", "2"]),
    by_text("numeric(50,3)", &["1", "1.0", "2"]),
    by("citext", "citext", TEXTS),
    by("email", "citext", TEXTS),
    by_text("text", TEXTS),
    by_text("text COLLATE \"C\"", TEXTS),
    by_text("varchar(9)", TEXTS),
    by(
        "text COLLATE caseless",
        "collated \"public\".\"caseless\"",
        TEXTS,
    ),
    by(
        "varchar(9) COLLATE caseless",
        "collated \"public\".\"caseless\"",
        TEXTS,
    ),
    by("name_of", "collated \"public\".\"caseless\"", TEXTS),
    by_text("char(3)", &["a", "a  ", "b"]),
    by("bpchar", "blanks", &["a", "a  ", "b", "  a"]),
    by("interval", "interval", SPANS),
    by("span", "interval", SPANS),
    by(
        "jsonb",
        "jsonb",
        &[
            r#"{"a":1.0}"#,
            r#"{"a":1.00}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"b":2,"a":1}"#,
            "1",
            "1.0",
            r#""1""#,
            "null",
            "[]",
            "[[]]",
            "[[[]]]",
            "[1]",
            "[1.0]",
            "[[[1]]]",
            "{}",
            r#""1.00""#,
            r#""1.0""#,
            r#"{"1.00":"\"1.00\\"}"#,
            r#"{"1.0":"\"1.00\\"}"#,
            "10",
            "10.50",
            "10.5",
            "10.05",
            "-0.0500",
            "1e3",
            "1000",
            "0.0",
            "-0",
        ],
    ),
    by("document", "jsonb", &["1", "1.0", "2"]),
    by(
        "numrange",
        "range(numeric)",
        &["[1,2]", "[1.0,2.00]", "(1,2]", "empty", "(2,2)", "(,)"],
    ),
    by(
        "note_range",
        "range(collated \"public\".\"caseless\")",
        &["[a,b]", "[A,B]", "[a,c]"],
    ),
    by_text("int4range", &["[1,2]", "[1,3)", "[1,4)"]),
    by_text(
        "tstzrange",
        &[
            "[2026-11-20 12:00+00,)",
            "[2026-11-20 13:00+01,)",
            "[2026-11-20 12:00+00,infinity)",
        ],
    ),
    by(
        "numeric[]",
        "array(numeric)",
        &[
            "{1,2}",
            "{1.0,2}",
            "{1,NULL}",
            "[0:1]={1,2}",
            "{{1,2}}",
            "{}",
        ],
    ),
    by("amounts", "array(numeric)", &["{1}", "{1.0}", "{2}"]),
    by(
        "double precision[]",
        "array(float)",
        &["{0}", "{-0}", "{1}", "{NaN}"],
    ),
    by(
        "interval[]",
        "array(interval)",
        &["{1 day}", "{24:00}", "{25:00}"],
    ),
    by("citext[]", "array(citext)", &["{a}", "{A}", "{b}"]),
    by_text("integer[]", &["{1,2}", "{1,3}", "{1,NULL}"]),
    by_text("text[]", &["{a}", "{A}", "{NULL}", "{\"NULL\"}"]),
    by_text(
        "timestamptz[]",
        &["{2026-11-20 12:00+00}", "{2026-11-20 13:00+01}"],
    ),
    by_text("mood[]", &["{happy}", "{Happy}"]),
    by_text(
        "plain_pair",
        &["(1,a,{happy})", "(1.0,a,{happy})", "(1,A,{})"],
    ),
    by_text("double precision", &["0", "-0", "1", "NaN", "1e-300"]),
    by_text("real", &["0", "-0", "1.5", "-Infinity"]),
    by_text("boolean", &["true", "false"]),
    by_text("bigint", &["1", "01", "-1"]),
    by_text(
        "uuid",
        &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        ],
    ),
    by_text("bytea", &["\\x00", "\\000", "a"]),
    by_text("date", &["2026-11-20", "20 Nov 2026", "0044-03-15 BC"]),
    by_text("time", &["12:00", "12:00:00.000000", "12:00:01"]),
    by_text("timetz", &["12:00+00", "13:00+01", "12:00:00+00:00"]),
    by_text(
        "timestamptz",
        &["2026-11-20 12:00+00", "2026-11-20 13:00+01"],
    ),
    by_text("inet", &["10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "::1"]),
    by_text("cidr", &["10.0.0.0/8", "10/8"]),
    by_text("macaddr", &["08:00:2b:01:02:03", "08002b010203"]),
    by_text("money", &["1", "1.00", "-1"]),
    by_text("bit varying", &["1", "01", "10"]),
    by_text("mood", &["happy", "Happy"]),
    by_text("name", &["a", "A"]),
    by_text("\"char\"", &["a", "b"]),
    by_text("tsvector", &["b a", "a b", "a:1"]),
    by_text("pg_lsn", &["0/1", "0/01"]),
    by_text("hstore", &["a=>1, b=>2", "b=>2, a=>1", "a=>NULL"]),
    by(
        "pair",
        "composite(numeric,text)",
        &["(1,a)", "(1.0,a)", "(1,A)", "(,a)", "(,)", "(,\"\")"],
    ),
    by(
        "nested",
        "composite(array(composite(numeric,text)),array(citext),jsonb)",
        &[
            r#"("{""(1,a)"",NULL}",{a},1)"#,
            r#"("{""(1.00,a)"",NULL}",{A},1.0)"#,
            r#"("{""(1,a)"",""(,)""}",{a},1)"#,
            r#"("{""(1,a)"",NULL}",{a},[1])"#,
            r#"(,{a},1)"#,
            r#"({},{a},1)"#,
        ],
    ),
];

/// Types since PostgreSQL 14.
const SINCE_14: &[Case] = &[by(
    "nummultirange",
    "multirange(range(numeric))",
    &["{[1,2]}", "{[1.0,2]}", "{[1,3]}", "{}", "{[1,2],[4,5)}"],
)];

async fn captured(database: &Database, table: &str) -> Captured {
    let config = TableConfig {
        key: vec!["k".to_owned()],
        ..TableConfig::named(TableReference::parse(table).unwrap())
    };
    let mut connection = database.connect().await.unwrap();
    capture(&mut connection, &config).await.unwrap()
}

/// The keys of a table's records, in the order of its ids.
async fn keys(database: &Database, captured: &Captured) -> Vec<Vec<u8>> {
    let sql = format!(
        "SELECT {} FROM {} ORDER BY id",
        captured.select_list(),
        captured.schema.table.quoted()
    );
    let mut connection = database.connect().await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut decoder = RowDecoder::new(Arc::clone(&captured.schema), rows.len());
    for row in &rows {
        decoder
            .append(row, Xid(u64::from(xmin(row))), UPSERT)
            .unwrap();
    }
    let batch = decoder.finish(0);
    let (mut values, mut keys) = (Rows::default(), Rows::default());
    encode_values(&batch, &mut values);
    encode_keys(&batch, &values, &mut keys);
    (0..keys.len())
        .map(|row| keys.get(row).unwrap().to_vec())
        .collect()
}

#[tokio::test]
async fn two_values_have_one_key_exactly_when_postgresql_takes_them_for_equal() {
    let database = shared_database().await;
    let is_old = database.rows("SHOW server_version_num").await.unwrap()[0][0].starts_with("13");
    let cases: Vec<&Case> = if is_old {
        CASES.iter().collect()
    } else {
        CASES.iter().chain(SINCE_14).collect()
    };
    let mut sql = TYPES.to_owned();
    for (at, case) in cases.iter().enumerate() {
        write!(sql, "CREATE TABLE t{at} (id serial, k {});", case.sql_type).unwrap();
        for value in case.values {
            let value = value.replace('\'', "''");
            write!(sql, "INSERT INTO t{at} (k) VALUES ('{value}');").unwrap();
        }
    }
    database.sql(&sql).await.unwrap();
    let mut wrong = String::new();
    for (at, case) in cases.iter().enumerate() {
        let captured = captured(&database, &format!("t{at}")).await;
        let form = captured.identities.first().map(|form| form.form.as_str());
        assert_eq!(form, case.form, "{}", case.sql_type);
        assert_eq!(
            captured.unknown_equalities().count(),
            0,
            "{}",
            case.sql_type
        );
        let keys = keys(&database, &captured).await;
        let equal = database
            .rows(&format!(
                "SELECT a.id - 1, b.id - 1, a.k = b.k FROM t{at} a, t{at} b WHERE a.id < b.id"
            ))
            .await
            .unwrap();
        for pair in equal {
            let [a, b] = [&pair[0], &pair[1]].map(|id| id.parse::<usize>().unwrap());
            if (keys[a] == keys[b]) != (pair[2] == "t") {
                writeln!(
                    wrong,
                    "{}: {} and {} are equal: {}, their keys: {} and {}",
                    case.sql_type,
                    case.values[a],
                    case.values[b],
                    pair[2],
                    String::from_utf8_lossy(&keys[a]),
                    String::from_utf8_lossy(&keys[b])
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn an_identity_is_a_column_of_its_own_at_the_end() {
    let database = shared_database().await;
    database
        .sql(
            "CREATE TABLE t (\"_KEY_k\" integer, k numeric NOT NULL, note text); \
                CREATE TABLE u (k text, n interval, PRIMARY KEY (k, n))",
        )
        .await
        .unwrap();
    let t = captured(&database, "t").await;
    let names = |captured: &Captured| {
        let columns = captured.schema.columns.iter();
        columns
            .map(|column| column.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&t), ["_KEY_k", "k", "note", "_key_k_"]);
    assert!(t.schema.columns[3].not_null, "as its column");
    assert_eq!((&*t.key, &*t.schema.key), (&[1][..], &[3][..]));
    assert!(t.schema.is_identity(3) && !t.schema.is_identity(0));
    let config = TableConfig::named(TableReference::parse("u").unwrap());
    let mut connection = database.connect().await.unwrap();
    let u = capture(&mut connection, &config).await.unwrap();
    assert_eq!(names(&u), ["k", "n", "_key_n"]);
    assert_eq!((&*u.key, &*u.schema.key), (&[0, 1][..], &[0, 2][..]));
}

#[tokio::test]
async fn a_type_with_another_equality_is_known_by_its_text() {
    let database = shared_database().await;
    database
        .sql("CREATE TABLE t (id serial, k tsquery)")
        .await
        .unwrap();
    let captured = captured(&database, "t").await;
    assert!(captured.identities.is_empty());
    let names: Vec<_> = captured
        .unknown_equalities()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["k"]);
}
