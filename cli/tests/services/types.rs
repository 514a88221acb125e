//! Every type of PostgreSQL on every way into the lake: what DuckDB reads there against what
//! PostgreSQL prints.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Result, ensure};
use inlet_harness::{
    Database, Folder, Inlet, duckdb, eventually, judge, shared_database, shared_kafka,
};

use crate::orders::{INLET, PATIENCE};

/// How a column is compared: DuckDB's text of it (`$`) equals PostgreSQL's text.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// Both print the same text.
    Plain,
    /// PostgreSQL's output, which a cast to text may differ from: the spaces of a `char(n)`, the
    /// netmask of an `inet`, a cast of the type's owner.
    Output,
    /// DuckDB shows no zero before the point where there can be nothing else.
    Fraction,
    /// DuckDB marks years before Christ in another place.
    Calendar,
    /// DuckDB has its own names for what is no finite number, and its own zero below zero.
    Float,
    /// Hexadecimal.
    Bytes,
    /// JSON of the elements' texts.
    List,
}

impl Shown {
    fn in_postgres(self) -> &'static str {
        match self {
            Self::List => "array_to_json($::text[])::text",
            Self::Output => "$",
            _ => "$::text",
        }
    }

    fn in_duckdb(self) -> &'static str {
        match self {
            Self::Plain | Self::Output => "$::VARCHAR",
            Self::Fraction => r"regexp_replace($::VARCHAR, '^(-?)\.', '\10.')",
            Self::Calendar => r"regexp_replace($::VARCHAR, '^(\S+) \(BC\)(.*)', '\1\2 BC')",
            Self::Float => {
                "replace(replace(replace($::VARCHAR, 'nan', 'NaN'), 'inf', 'Infinity'), '-0.0', \
                    '-0')"
            }
            Self::Bytes => r"'\x' || lower(hex($))",
            Self::List => "CASE WHEN $ IS NOT NULL THEN to_json($::VARCHAR[])::VARCHAR END",
        }
    }
}

/// A type of PostgreSQL, DuckDB's type of its column, and values.
struct Case {
    sql_type: &'static str,
    duckdb_type: &'static str,
    shown: Shown,
    values: &'static [&'static str],
}

const fn case(
    sql_type: &'static str,
    duckdb_type: &'static str,
    shown: Shown,
    values: &'static [&'static str],
) -> Case {
    Case {
        sql_type,
        duckdb_type,
        shown,
        values,
    }
}

const fn text(sql_type: &'static str, values: &'static [&'static str]) -> Case {
    case(sql_type, "VARCHAR", Shown::Output, values)
}

pub const TYPES: &str = "CREATE TYPE mood AS ENUM ('happy', 'so so', 'ä\"''');
    CREATE TYPE pair AS (a integer, b text);
    CREATE DOMAIN amount AS numeric(10,2);
    CREATE DOMAIN small_amount AS amount CHECK (VALUE < 10);
    CREATE DOMAIN note AS text;
    CREATE DOMAIN prices AS numeric(10,2)[];
    CREATE TYPE shade AS ENUM ('dark', 'light');
    CREATE FUNCTION of_shade(shade) RETURNS text LANGUAGE sql AS $$ SELECT 'a shade' $$;
    CREATE CAST (shade AS text) WITH FUNCTION of_shade(shade) AS IMPLICIT;
    CREATE TYPE spot AS (x integer, y integer);
    CREATE FUNCTION of_spot(spot) RETURNS text LANGUAGE sql STRICT AS $$ SELECT 'a spot' $$;
    CREATE CAST (spot AS text) WITH FUNCTION of_spot(spot) AS ASSIGNMENT;
    CREATE FUNCTION concat(spot) RETURNS text LANGUAGE sql AS $$ SELECT 'one of ours' $$;
    CREATE DOMAIN dim AS shade;
    CREATE TYPE shades AS RANGE (subtype = shade);
    CREATE TYPE lamp AS (shade shade, spot spot, address inet, dims dim[]);";

/// Types with an Arrow type of their own.
const EXACT: &[Case] = &[
    case("boolean", "BOOLEAN", Shown::Plain, &["true", "false"]),
    case("smallint", "SMALLINT", Shown::Plain, &["-32768", "32767"]),
    case(
        "integer",
        "INTEGER",
        Shown::Plain,
        &["-2147483648", "2147483647"],
    ),
    case(
        "bigint",
        "BIGINT",
        Shown::Plain,
        &["-9223372036854775808", "9223372036854775807"],
    ),
    case("oid", "BIGINT", Shown::Plain, &["0", "4294967295"]),
    case(
        "real",
        "FLOAT",
        Shown::Float,
        &["1.1", "NaN", "Infinity", "-0"],
    ),
    case(
        "double precision",
        "DOUBLE",
        Shown::Float,
        &[
            "0.1",
            "5e-324",
            "1.7976931348623157e308",
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
        ],
    ),
    case(
        "numeric(10,2)",
        "DECIMAL(10,2)",
        Shown::Plain,
        &["220.00", "-99999999.99", "99999999.99", "1.01"],
    ),
    case(
        "numeric(38,0)",
        "DECIMAL(38,0)",
        Shown::Plain,
        &["99999999999999999999999999999999999999", "-1"],
    ),
    case(
        "numeric(76,10)",
        "VARCHAR",
        Shown::Plain,
        &[
            "-999999999999999999999999999999999999999999999999999999999999999999.9999999999",
            "0.0000000001",
        ],
    ),
    case("amount", "DECIMAL(10,2)", Shown::Plain, &["1.50", "-2.25"]),
    case("small_amount", "DECIMAL(10,2)", Shown::Plain, &["1.50"]),
    case(
        "text",
        "VARCHAR",
        Shown::Plain,
        &[
            "",
            "naïve 🐟 \"q\"\\ 'x'",
            "NULL",
            "\t\u{1}\n",
            "\u{feff}a",
            "\u{ffff}",
        ],
    ),
    case("varchar(3)", "VARCHAR", Shown::Plain, &["", "abc"]),
    case("char(5)", "VARCHAR", Shown::Output, &["ab", "abcde", ""]),
    case("note", "VARCHAR", Shown::Plain, &["a note"]),
    case(
        "json",
        "JSON",
        Shown::Plain,
        &[
            " {\"b\": 1,  \"a\":9007199254740993}",
            "null",
            r#""\u0000 \ud83d\ude00 \\ud800""#,
            r#"{"a":1,"a":-1E+400,"":[]}"#,
        ],
    ),
    case(
        "jsonb",
        "JSON",
        Shown::Plain,
        &[
            "{\"a\": 9007199254740993, \"b\": 1e400}",
            "[1.10, \"é\"]",
            "null",
        ],
    ),
    case(
        "uuid",
        "UUID",
        Shown::Plain,
        &[
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
    case("bytea", "BLOB", Shown::Bytes, &["", "\\x00ff6162"]),
    case(
        "date",
        "DATE",
        Shown::Calendar,
        &[
            "2026-11-20",
            "1582-10-10",
            "0044-03-15 BC",
            "4714-11-24 BC",
            "5874897-12-31",
        ],
    ),
    case(
        "time",
        "TIME",
        Shown::Plain,
        &["00:00:00", "12:34:56.000001", "23:59:59.999999"],
    ),
    case(
        "timestamp",
        "TIMESTAMP",
        Shown::Calendar,
        &[
            "2026-11-20 12:34:56.000001",
            "1969-12-31 23:59:59.999999",
            "0044-03-15 12:00:00 BC",
            "4714-11-24 00:00:00 BC",
            "294247-01-10 04:00:54.775806",
        ],
    ),
    case(
        "timestamptz",
        "TIMESTAMP WITH TIME ZONE",
        Shown::Calendar,
        &[
            "2026-11-20 12:34:56.7+02",
            "0001-01-01 00:00:00+00",
            "0044-03-15 12:00:00+00 BC",
            "4714-11-24 00:00:00+00 BC",
            "280000-01-10 04:00:54.775806+00",
        ],
    ),
    case("boolean[]", "BOOLEAN[]", Shown::List, &["{t,NULL,f}", "{}"]),
    case("smallint[]", "SMALLINT[]", Shown::List, &["{-32768,32767}"]),
    case(
        "integer[]",
        "INTEGER[]",
        Shown::List,
        &["{1,NULL,3}", "{}", "{NULL}", "{-2147483648}"],
    ),
    case(
        "bigint[]",
        "BIGINT[]",
        Shown::List,
        &["{9007199254740993,-9223372036854775808}"],
    ),
    case("oid[]", "BIGINT[]", Shown::List, &["{4294967295}"]),
    case(
        "double precision[]",
        "DOUBLE[]",
        Shown::List,
        &["{0.1,NULL,1.5}"],
    ),
    case(
        "numeric(10,2)[]",
        "DECIMAL(10,2)[]",
        Shown::List,
        &["{220.00,NULL,-1.50}", "{}"],
    ),
    case("prices", "DECIMAL(10,2)[]", Shown::List, &["{1.50}"]),
    case("amount[]", "DECIMAL(10,2)[]", Shown::List, &["{1.50,NULL}"]),
    case(
        "text[]",
        "VARCHAR[]",
        Shown::List,
        &["{a,NULL,\"\",\"null\",\"a \\\"b\\\", {c}\"}", "{}"],
    ),
    case("varchar(3)[]", "VARCHAR[]", Shown::List, &["{abc,é}"]),
    case(
        "jsonb[]",
        "JSON[]",
        Shown::List,
        &["{\"{\\\"a\\\": 9007199254740993}\",null}"],
    ),
    case(
        "uuid[]",
        "UUID[]",
        Shown::List,
        &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"],
    ),
    case(
        "date[]",
        "DATE[]",
        Shown::List,
        &["{2026-11-20,NULL,1582-10-10}"],
    ),
    case("time[]", "TIME[]", Shown::List, &["{12:34:56.000001}"]),
    case(
        "timestamp[]",
        "TIMESTAMP[]",
        Shown::List,
        &["{\"2026-11-20 12:34:56.000001\"}"],
    ),
    case(
        "timestamptz[]",
        "TIMESTAMP WITH TIME ZONE[]",
        Shown::List,
        &["{\"2026-11-20 12:34:56.7+02\",NULL}", "{}"],
    ),
];

/// Types that come as PostgreSQL's text.
const AS_TEXT: &[Case] = &[
    text(
        "numeric",
        &[
            "1234567890123456789012345678901234567890.5",
            "NaN",
            "1e-30",
            "1.2300",
        ],
    ),
    text("numeric(80,2)", &["1.50"]),
    text("\"char\"", &["x", ""]),
    text("name", &["orders", "Größe"]),
    text("money", &["-12.34", "92233720368547758.07"]),
    text(
        "interval",
        &[
            "1 year 2 mons -3 days 04:05:06.000007",
            "-178000000 years",
            "00:00:00",
        ],
    ),
    text("timetz", &["12:00:00.000001+02", "24:00:00-15:59"]),
    text("inet", &["10.0.0.1/8", "::1", "2001:db8::/32", "10.0.0.1"]),
    text("cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    text("macaddr", &["08:00:2b:01:02:03"]),
    text("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    text("bit(3)", &["101"]),
    text(
        "bit varying",
        &[
            "",
            "10110000000000000000000000000000000000000000000000000000000000000000001",
        ],
    ),
    text(
        "xml",
        &[
            "<a b=\"1\">é &amp; <c/></a>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a/>",
        ],
    ),
    text("tsvector", &["a:1A b:2,3 'it''s'"]),
    text("tsquery", &["'a' & !'b' <-> 'c':*"]),
    text("point", &["(1.5,-2)", "(NaN,Infinity)"]),
    text("line", &["{1,-1,0}"]),
    text("lseg", &["[(1,2),(3,4)]"]),
    text("box", &["(3,4),(1,2)"]),
    text("path", &["[(1,2),(3,4)]", "((1,2),(3,4))"]),
    text("polygon", &["((1,2),(3,4),(5,0))"]),
    text("circle", &["<(1,2),3.5>"]),
    text("regclass", &["pg_class", "4294967294"]),
    text("regtype", &["integer"]),
    text("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    text("xid", &["4294967295"]),
    text("tid", &["(1,2)"]),
    text("int4range", &["[1,5)", "empty", "(,)"]),
    text("numrange", &["[1.50,2]", "(,NaN)"]),
    text("tstzrange", &["[\"2026-11-20 12:00:00+00\",infinity)"]),
    text("daterange", &["[2026-11-20,2026-11-21)"]),
    text("mood", &["happy", "so so", "ä\"'"]),
    text("pair", &["(1,\"a \\\"b\\\"\")", "(,)"]),
    text("numeric[]", &["{1.20,NULL,NaN}", "{}"]),
    text("interval[]", &["{\"1 day\",NULL}"]),
    text("inet[]", &["{10.0.0.1,NULL}", "{{::1},{10.0.0.0/8}}"]),
    text("mood[]", &["{happy,\"so so\"}"]),
    text("pair[]", &["{\"(1,a)\"}"]),
    text("int2vector", &["1 2"]),
    text("shade", &["dark"]),
    text("shade[]", &["{dark,NULL}"]),
    text("dim", &["light"]),
    text("shades", &["[dark,light]", "empty"]),
    text("spot", &["(1,2)", "(,)"]),
    text("spot[]", &["{\"(1,2)\",NULL}"]),
    text(
        "lamp",
        &["(dark,\"(1,2)\",10.0.0.1,\"{light,NULL}\")", "(,,,)"],
    ),
];

/// Scales below 0 and above the precision.
const SCALES: &str =
    "SELECT FROM pg_settings WHERE name = 'server_version_num' AND setting::integer >= 150000";

/// What a server may lack: what must be there, what has to be done, and the case.
const PERHAPS: &[(&str, &str, Case)] = &[
    (
        SCALES,
        "SELECT 1",
        case(
            "numeric(5,-2)",
            "DECIMAL(7,0)",
            Shown::Plain,
            &["9999900", "-100", "1234567"],
        ),
    ),
    (
        SCALES,
        "SELECT 1",
        case(
            "numeric(3,5)",
            "DECIMAL(5,5)",
            Shown::Fraction,
            &["0.00999", "-0.00001"],
        ),
    ),
    (
        SCALES,
        "SELECT 1",
        case(
            "numeric(30,60)",
            "VARCHAR",
            Shown::Plain,
            &["-0.000000000000000000000000000000999999999999999999999999999999"],
        ),
    ),
    (
        "SELECT FROM pg_type WHERE typname = 'int4multirange'",
        "SELECT 1",
        text("int4multirange", &["{[1,3),[5,7)}", "{}"]),
    ),
    (
        "SELECT FROM pg_type WHERE typname = 'xid8'",
        "SELECT 1",
        text("xid8", &["18446744073709551615"]),
    ),
    (
        "SELECT FROM pg_available_extensions WHERE name = 'hstore'",
        "CREATE EXTENSION hstore",
        text("hstore", &["a=>1, \"b c\"=>NULL"]),
    ),
    (
        "SELECT FROM pg_available_extensions WHERE name = 'citext'",
        "CREATE EXTENSION citext",
        text("citext", &["MiXed"]),
    ),
];

/// The ways into the lake: without a broker, and through Kafka in two formats.
const WAYS: [&str; 3] = ["direct", "json", "arrow"];

/// A database with a table, and a lake for each way.
struct Scene {
    database: Database,
    folder: Folder,
}

impl Scene {
    async fn new(sql: &str) -> Result<Self> {
        let (database, folder) = (shared_database().await, Folder::new("types")?);
        database.sql(sql).await?;
        Ok(Self { database, folder })
    }

    async fn config(&self, way: &str, settings: &str) -> Result<String> {
        let kafka = match way {
            "direct" => String::new(),
            format => format!(
                "kafka:\n  brokers: {}\n  topic: {}_{way}\n  format: {format}\n",
                shared_kafka().await.bootstrap(),
                self.database.name()
            ),
        };
        let path = self.folder.join(format!("{way}.yml"));
        let postgres = format!(
            "pipeline: {}_{way}\npostgres:\n  url: \"{}\"\n",
            self.database.name(),
            self.database.url()
        );
        let lake = format!(
            "datalake:\n  path: {}\nstreaming:\n  flush_interval: 100ms\n",
            self.folder.join(way).display()
        );
        fs::write(
            &path,
            format!("{postgres}tables:\n  every: {{{settings}}}\n{kafka}{lake}"),
        )?;
        Ok(path.display().to_string())
    }

    fn glob(&self, way: &str) -> String {
        self.folder
            .join(way)
            .join("**/*.parquet")
            .display()
            .to_string()
    }

    /// Runs a pipeline until lake and quarantine hold these numbers of rows, then stops it;
    /// `verify` must find no difference. Brings the log.
    async fn fill(&self, way: &str, settings: &str, rows: u64, quarantined: u64) -> Result<String> {
        let config = self.config(way, settings).await?;
        let mut inlet = Inlet::start(INLET, &["run", "--config", &config], &[])?;
        let folder = self.folder.join(way).join("_quarantine");
        let lines = || -> Result<u64> {
            let mut lines = 0;
            for file in fs::read_dir(&folder).into_iter().flatten() {
                lines += fs::read_to_string(file?.path())?.lines().count() as u64;
            }
            Ok(lines)
        };
        let what = format!("the lake by {way} holds {rows} rows and {quarantined} in quarantine");
        eventually(PATIENCE, &what, async || {
            Ok(duckdb::count_glob(self.glob(way)).await? == rows && lines()? == quarantined)
        })
        .await;
        let verified = Inlet::run(INLET, &["verify", "--config", &config], &[]).await?;
        ensure!(verified.code == 0, "verify by {way}: {verified:?}");
        inlet.terminate()?;
        ensure!(
            inlet.wait_exit(PATIENCE).await?.success(),
            "{}",
            inlet.stderr()?
        );
        inlet.stderr()
    }

    async fn in_lake(&self, way: &str, columns: &str) -> Result<Vec<Vec<String>>> {
        let glob = self.glob(way);
        duckdb::query(&format!(
            "SET TimeZone = 'UTC'; SELECT {columns} FROM read_parquet('{glob}', \
            union_by_name = true) ORDER BY id"
        ))
        .await
    }
}

/// What makes the table `every` of the types that a server has, and the number of its rows.
pub async fn every_type(server: &Database) -> (String, u64) {
    let (sql, cases) = every(server).await;
    (sql, most(&cases) as u64 + 1)
}

async fn every(server: &Database) -> (String, Vec<&'static Case>) {
    let mut cases: Vec<&Case> = EXACT.iter().chain(AS_TEXT).collect();
    let mut sql = String::new();
    for (present, prepare, case) in PERHAPS {
        let present = format!("SELECT EXISTS ({present})");
        if server.rows(&present).await.unwrap() == [["t"]] {
            write!(sql, "{prepare};").expect("a string takes all");
            cases.push(case);
        }
    }
    (format!("{sql}{}", table(&cases)), cases)
}

/// A table with one column a case; row `n` holds the n-th value of each, or null, and the last row
/// nulls alone.
fn table(cases: &[&Case]) -> String {
    let columns: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| format!("c{at} {}", case.sql_type))
        .collect();
    let mut sql = format!(
        "{TYPES} CREATE TABLE every (id serial PRIMARY KEY, {});",
        columns.join(", ")
    );
    for row in 0..=most(cases) {
        let value = |case: &&Case| {
            case.values.get(row).map_or("NULL".to_owned(), |value| {
                format!("'{}'::{}", value.replace('\'', "''"), case.sql_type)
            })
        };
        let values: Vec<String> = cases.iter().map(value).collect();
        write!(
            sql,
            "INSERT INTO every VALUES (DEFAULT, {});",
            values.join(", ")
        )
        .expect("a string takes all");
    }
    sql
}

fn most(cases: &[&Case]) -> usize {
    cases
        .iter()
        .map(|case| case.values.len())
        .max()
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_in_the_lake_what_it_is_in_postgresql_on_every_way() {
    let server = shared_database().await;
    let (sql, cases) = every(&server).await;
    let scene = Scene::new(&sql).await.unwrap();
    let rows = most(&cases) as u64 + 1;
    for way in WAYS {
        scene.fill(way, "", rows, 0).await.unwrap();
        let config = scene
            .folder
            .join(format!("{way}.yml"))
            .display()
            .to_string();
        judge::equal(INLET, &config, &scene.database, "every").await;
    }
    let mut wrong = String::new();
    for (at, case) in cases.iter().enumerate() {
        let column = format!("\"c{at}\"");
        let said = format!(
            "SELECT {} FROM every ORDER BY id",
            case.shown.in_postgres().replace('$', &column)
        );
        let expected = scene.database.rows(&said).await.unwrap();
        for way in WAYS {
            let columns = format!(
                "{}, typeof({column})",
                case.shown.in_duckdb().replace('$', &column)
            );
            for (row, (read, expected)) in scene
                .in_lake(way, &columns)
                .await
                .unwrap()
                .iter()
                .zip(&expected)
                .enumerate()
            {
                if read[0] != expected[0] || read[1] != case.duckdb_type {
                    writeln!(
                        wrong,
                        "{} by {way}, row {row}: {read:?} is {expected:?}",
                        case.sql_type
                    )
                    .expect("a string takes all");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// One row that every type of the lake holds, and one that none does.
const IMPOSSIBLE: &str = "CREATE TABLE every (id serial PRIMARY KEY, amount numeric(10,2), due \
    date, happened timestamp, seen timestamptz, hour time,
        numbers integer[], moments timestamptz[], doc json, note text, created_at timestamptz NOT NULL \
    DEFAULT now());
    CREATE INDEX ON every (created_at);
    INSERT INTO every (amount, due, happened, seen, hour, numbers, moments, doc, note) VALUES
        (1.50, '2026-11-20', '2026-11-20 12:34:56', '2026-11-20 12:34:56.000001+00', '12:34', \
    '{1,NULL}', '{\"2026-11-20 12:34:56+00\"}', '{\"a\": \"\\ud83d\\ude00\"}', 'possible'),
        ('NaN', 'infinity', '-infinity', '294276-12-31 23:59:59.999999+00', '24:00', \
    '[0:1]={1,2}', '{infinity,NULL}', '{\"a\": \"\\ud83d\"}', 'impossible');";
const IMPOSSIBLE_COLUMNS: [&str; 8] = [
    "amount", "due", "happened", "seen", "hour", "numbers", "moments", "doc",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_impossible_values_goes_to_quarantine_by_default() {
    let scene = Scene::new(IMPOSSIBLE).await.unwrap();
    for way in WAYS {
        scene.fill(way, "", 1, 1).await.unwrap();
        assert_eq!(
            scene.in_lake(way, "note, numbers").await.unwrap(),
            [["possible", "[1, NULL]"]]
        );
        let quarantine = format!(
            "SELECT value FROM read_json('{}/_quarantine/*.jsonl')",
            scene.folder.join(way).display()
        );
        let value = duckdb::query(&quarantine).await.unwrap()[0].concat();
        for text in [
            r#""numbers":"[0:1]={1,2}""#,
            r#""moments":"{infinity,NULL}""#,
            r#""amount":"NaN""#,
            r#""hour":"24:00:00""#,
            r#""doc":{"unfit":"{\"a\": \"\\ud83d\"}"}"#,
        ] {
            assert!(value.contains(text), "{text} is not in {value}");
        }
    }
}

/// Impossible values, with their types.
const ALONE: &[(&str, &str)] = &[
    ("numeric(10,2)", "NaN"),
    ("numeric(50,2)", "NaN"),
    ("date", "infinity"),
    ("date", "-infinity"),
    ("timestamp", "infinity"),
    ("timestamp", "294247-01-10 04:00:54.775807"),
    ("timestamptz", "-infinity"),
    ("timestamptz", "294276-12-31 23:59:59.999999+00"),
    ("time", "24:00"),
    ("integer[]", "[0:1]={1,2}"),
    ("text[]", "{{a},{b}}"),
    ("date[]", "{infinity}"),
    ("time[]", "{24:00}"),
    ("json", r#""\ud800""#),
    ("json", r#"{"\udc00":1}"#),
    ("json", r#"["\ud83d\ud83d\ude00"]"#),
    ("json[]", r#"{"\"\\udbff\""}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_one_impossible_value_goes_to_quarantine_whichever_it_is() {
    let columns: String = ALONE
        .iter()
        .enumerate()
        .map(|(at, (sql_type, _))| format!(", c{at} {sql_type}"))
        .collect();
    let rows: String = ALONE
        .iter()
        .enumerate()
        .map(|(at, (_, value))| format!("INSERT INTO every (c{at}) VALUES ('{value}');"))
        .collect();
    let sql = format!(
        "CREATE TABLE every (id serial PRIMARY KEY{columns}); INSERT INTO every DEFAULT VALUES; \
            {rows} INSERT INTO every (c13) VALUES ((repeat('[', 5000) || repeat(']', 5000))::json)"
    );
    let scene = Scene::new(&sql).await.unwrap();
    for way in WAYS {
        let quarantined = ALONE.len() as u64;
        scene.fill(way, "", 2, quarantined).await.unwrap();
        let read = scene
            .in_lake(way, "length(c13::VARCHAR), COLUMNS('c[0-9]') IS NULL")
            .await
            .unwrap();
        assert_eq!((&*read[0][0], &*read[1][0]), ("NULL", "10000"), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_values_are_null_and_counted_where_that_is_asked_for() {
    let scene = Scene::new(IMPOSSIBLE).await.unwrap();
    for way in WAYS {
        let log = scene
            .fill(way, "impossible_values: null", 2, 0)
            .await
            .unwrap();
        assert!(log.contains("values=8"), "{log}");
        for column in IMPOSSIBLE_COLUMNS {
            let read = scene
                .in_lake(way, &format!("note, {column} IS NULL"))
                .await
                .unwrap();
            assert_eq!(
                read,
                [["possible", "false"], ["impossible", "true"]],
                "{column} by {way}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_can_be_impossible_are_text_where_that_is_asked_for() {
    let scene = Scene::new(IMPOSSIBLE).await.unwrap();
    for way in WAYS {
        scene
            .fill(way, "impossible_values: text", 2, 0)
            .await
            .unwrap();
        for column in IMPOSSIBLE_COLUMNS {
            let expected = scene
                .database
                .rows(&format!(
                    "SELECT {column}::text, 'VARCHAR' FROM every ORDER BY id"
                ))
                .await
                .unwrap();
            assert_eq!(
                scene
                    .in_lake(way, &format!("{column}, typeof({column})"))
                    .await
                    .unwrap(),
                expected,
                "{column} by {way}"
            );
        }
        let kept = scene
            .in_lake(way, "typeof(created_at), typeof(id)")
            .await
            .unwrap();
        assert_eq!(kept[0], ["TIMESTAMP WITH TIME ZONE", "INTEGER"]);
    }
}
