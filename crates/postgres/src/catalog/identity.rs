//! What makes two values of a key column equal, where it is not their text.
//!
//! PostgreSQL takes `Bob` and `BOB` of a `citext` for one key, `1.0` and `1.00` of a `numeric`, and
//! `1 day` and `24:00` of an `interval`. A row with such a key gets one more column: a text that is
//! the same for equal values, and another one for all others. It is made along the parts of the
//! type, because an array, a range or a composite compares its parts by their own equality.
//!
//! A hash would be shorter, but PostgreSQL's hash functions give different values one hash: that of
//! an array ignores its dimensions, and that of `jsonb` is the same for `1` and `[1]`. Two keys
//! would become one. Only text of a nondeterministic collation is identified by a hash, whose input
//! is the collation's sort key: no other function of the server shows it.

use inlet_model::{Column, ColumnType, Scalar, quote};
use sqlx::postgres::PgRow;
use sqlx::postgres::types::Oid;
use sqlx::{FromRow, PgConnection, Row as _};

use super::columns::Ordered;
use super::error::CatalogError;
use crate::text::text_of;

/// Collations whose equality is that of the bytes, whatever the database: none, the default, `C`
/// and `POSIX`.
const BYTEWISE: [u32; 4] = [0, 100, 950, 951];

/// PostgreSQL numbers the columns of a table, dropped ones included, from 1 to this.
const COLUMNS_MAX: i16 = 1600;
/// Numbers from here on are no columns of PostgreSQL's.
const FIRST_NUMBER: i16 = 16_000;

/// A key column's equality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Equality {
    /// Equal values have equal texts.
    Text,
    /// Equal values have equal texts of this form.
    Form(Form),
    /// A part of the type has an equality that this build does not know.
    Unknown,
}

/// How the text that identifies a value is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form(Part);

/// A type, down to the parts that have no parts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Leaf(Leaf),
    /// The base type's name in SQL, and the base type.
    Domain(String, Box<Part>),
    Array(Box<Part>),
    Range(Box<Part>),
    Multirange(Box<Part>),
    /// The fields with their names.
    Composite(Vec<(String, Part)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    /// Its values are equal exactly when their texts are.
    Text,
    /// Its values have an order of its own, which this build does not know.
    Unknown,
    Citext,
    Jsonb,
    Interval,
    /// Without a scale.
    Numeric,
    /// `real` and `double precision`: two zeros are equal.
    Float(&'static str),
    /// `bpchar` without a length: blanks at its end do not count.
    Blanks,
    /// Text of a nondeterministic collation: the collation's name in SQL, and the hash function.
    Collated(String, &'static str),
}

impl Form {
    /// The SQL of the text; null for NULL alone.
    pub(super) fn sql(&self, column: &str) -> String {
        self.0.sql(column, 0)
    }

    /// A name that tells whether stored texts are made in the same way. It is stored.
    pub(super) fn name(&self) -> String {
        self.0.name()
    }

    /// The number of the column with the texts, as [`Column::number`]: it differs from that of
    /// every column of the table, and for another form it is another one.
    pub(super) fn number(&self, of: i16) -> Option<i16> {
        FIRST_NUMBER
            .checked_add(self.0.form_number().checked_mul(COLUMNS_MAX)?)?
            .checked_add(of)
    }
}

impl Part {
    /// True when equal values of the whole type have equal texts.
    fn is_text(&self) -> bool {
        match self {
            Self::Leaf(leaf) => *leaf == Leaf::Text,
            Self::Domain(_, inner)
            | Self::Array(inner)
            | Self::Range(inner)
            | Self::Multirange(inner) => inner.is_text(),
            Self::Composite(fields) => fields.iter().all(|(_, field)| field.is_text()),
        }
    }

    /// The number of the form. It is stored as a part of the column's number.
    fn form_number(&self) -> i16 {
        match self {
            Self::Domain(_, inner) => inner.form_number(),
            Self::Leaf(Leaf::Citext) => 0,
            Self::Leaf(Leaf::Jsonb) => 1,
            Self::Leaf(Leaf::Interval) => 2,
            Self::Leaf(Leaf::Numeric) => 3,
            Self::Leaf(Leaf::Blanks) => 4,
            Self::Leaf(Leaf::Collated(..)) => 5,
            Self::Leaf(_) => 6,
            _ => 7,
        }
    }

    fn is_known(&self) -> bool {
        match self {
            Self::Leaf(leaf) => *leaf != Leaf::Unknown,
            Self::Domain(_, inner)
            | Self::Array(inner)
            | Self::Range(inner)
            | Self::Multirange(inner) => inner.is_known(),
            Self::Composite(fields) => fields.iter().all(|(_, field)| field.is_known()),
        }
    }

    /// The SQL of the text that identifies a value; `depth` keeps the names of nested subqueries
    /// apart.
    fn sql(&self, value: &str, depth: usize) -> String {
        let next = depth + 1;
        let made = match self {
            Self::Leaf(leaf) => return leaf.sql(value),
            Self::Domain(base, inner) => return inner.sql(&format!("({value})::{base}"), depth),
            // `unnest` among the columns of a SELECT gives a composite element as one value; in
            // FROM it would give the element's fields.
            Self::Array(element) => format!(
                "(SELECT pg_catalog.concat(pg_catalog.array_dims({value}), \
                 pg_catalog.array_agg({} ORDER BY _inlet_number)) FROM (SELECT \
                 pg_catalog.unnest({value}) AS _inlet_value, pg_catalog.generate_series(1, \
                 pg_catalog.cardinality({value})) AS _inlet_number) AS e{depth})",
                element.sql(&format!("e{depth}._inlet_value"), next)
            ),
            Self::Range(bound) => {
                let of = |function: &str| format!("pg_catalog.{function}({value})");
                format!(
                    "pg_catalog.concat(ARRAY[pg_catalog.concat({}, {}, {}, {}, {}), {}, {}])",
                    of("isempty"),
                    of("lower_inc"),
                    of("upper_inc"),
                    of("lower_inf"),
                    of("upper_inf"),
                    bound.sql(&of("lower"), next),
                    bound.sql(&of("upper"), next)
                )
            }
            Self::Multirange(range) => format!(
                "(SELECT pg_catalog.concat(pg_catalog.array_agg({} ORDER BY _inlet_number)) FROM \
                 pg_catalog.unnest({value}) WITH ORDINALITY AS e{depth}(_inlet_value, \
                 _inlet_number))",
                range.sql(&format!("e{depth}._inlet_value"), next)
            ),
            Self::Composite(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, field)| field.sql(&format!("({value}).{}", quote(name)), next))
                    .collect();
                format!(
                    "pg_catalog.concat(ARRAY[{}]::pg_catalog.text[])",
                    fields.join(", ")
                )
            }
        };
        // A text of several parts always has characters, so it must be made null for NULL.
        format!("CASE WHEN {value} IS DISTINCT FROM NULL THEN {made} END")
    }

    fn name(&self) -> String {
        match self {
            Self::Leaf(leaf) => leaf.name(),
            Self::Domain(_, inner) => inner.name(),
            Self::Array(inner) => format!("array({})", inner.name()),
            Self::Range(inner) => format!("range({})", inner.name()),
            Self::Multirange(inner) => format!("multirange({})", inner.name()),
            Self::Composite(fields) => {
                let fields: Vec<_> = fields.iter().map(|(_, field)| field.name()).collect();
                format!("composite({})", fields.join(","))
            }
        }
    }
}

impl Leaf {
    fn sql(&self, value: &str) -> String {
        match self {
            Self::Text | Self::Unknown => text_of(value),
            // The comparison of `citext` uses the database's collation, whatever the column's is.
            Self::Citext => format!("pg_catalog.lower(({value})::text COLLATE \"default\")"),
            // The text of a `jsonb` has no spaces to choose from, sorted keys and no exponents. Its
            // numbers keep zeros at the end of their decimals, which do not count. The pattern also
            // matches strings, and leaves them as they are: a point in them is no decimal point.
            Self::Jsonb => format!(
                "pg_catalog.regexp_replace({}, \
                 '(\"(?:[^\"\\\\]|\\\\.)*\")|(\\.[0-9]*[1-9])0+|\\.0+(?![0-9])', '\\1\\2', 'g')",
                text_of(value)
            ),
            // Its order is that of microseconds, with days of 24 hours and months of 30 days.
            Self::Interval => {
                let part = |name: &str| format!("extract({name} FROM {value})::numeric");
                format!(
                    "CASE WHEN pg_catalog.isfinite({value}) THEN pg_catalog.trim_scale((((({} * 12 \
                     + {}) * 30 + {}) * 24 + {}) * 60 + {}) * 60000000 + {})::text ELSE {} END",
                    part("year"),
                    part("month"),
                    part("day"),
                    part("hour"),
                    part("minute"),
                    part("microseconds"),
                    text_of(value)
                )
            }
            Self::Numeric => text_of(&format!("pg_catalog.trim_scale({value})")),
            // The sum of -0 and 0 is 0; it changes no other value.
            Self::Float(name) => text_of(&format!("({value} + 0::{name})")),
            Self::Blanks => format!("pg_catalog.rtrim(({value})::text, ' ')"),
            // With 64 bits, two of a billion keys would be the same with a chance of one in forty.
            Self::Collated(collation, function) => format!(
                "pg_catalog.encode(pg_catalog.int8send(pg_catalog.{function}({value} COLLATE \
                 {collation}, 0::bigint)) || pg_catalog.int8send(pg_catalog.{function}({value} \
                 COLLATE {collation}, 7046029254386353131::bigint)), 'hex')"
            ),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Text | Self::Unknown => "text".to_owned(),
            Self::Citext => "citext".to_owned(),
            Self::Jsonb => "jsonb".to_owned(),
            Self::Interval => "interval".to_owned(),
            Self::Numeric => "numeric".to_owned(),
            Self::Float(_) => "float".to_owned(),
            Self::Blanks => "blanks".to_owned(),
            Self::Collated(collation, _) => format!("collated {collation}"),
        }
    }
}

/// The types that key columns consist of, each with its place: base types of domains, elements of
/// arrays and ranges, fields of composites.
///
/// `rngmultitypid` exists since PostgreSQL 14. A type without a btree operator class has no
/// equality that an index could rely on.
const PARTS: &str = "\
WITH RECURSIVE parts (attnum, place, field, oid, modifier, coll) AS (
    SELECT a.attnum, ARRAY[]::integer[], NULL::name, a.atttypid, a.atttypmod, a.attcollation
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = $1 AND a.attnum = ANY($2)
    UNION ALL
    SELECT p.attnum, p.place || i.place, i.field, i.oid, i.modifier, i.coll
    FROM parts p
    JOIN pg_catalog.pg_type t ON t.oid = p.oid
    CROSS JOIN LATERAL (
        SELECT 1 AS place, NULL::name AS field, t.typbasetype AS oid, t.typtypmod AS modifier,
               p.coll AS coll
        WHERE t.typtype = 'd'
        UNION ALL
        SELECT 1, NULL, t.typelem, p.modifier, p.coll
        WHERE EXISTS (SELECT FROM pg_catalog.pg_type e
                      WHERE e.oid = t.typelem AND e.typarray = t.oid)
        UNION ALL
        SELECT 1, NULL, r.rngsubtype, -1, r.rngcollation FROM pg_catalog.pg_range r
        WHERE r.rngtypid = t.oid
        UNION ALL
        SELECT 1, NULL, r.rngtypid, -1, 0 FROM pg_catalog.pg_range r
        WHERE (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
        UNION ALL
        SELECT b.attnum, b.attname, b.atttypid, b.atttypmod, b.attcollation
        FROM pg_catalog.pg_attribute b
        WHERE t.typtype = 'c' AND b.attrelid = t.typrelid AND b.attnum > 0 AND NOT \
    b.attisdropped) i)
SELECT p.attnum AS number, p.place, p.field::text,
       CASE WHEN e.oid IS NOT NULL THEN 'a' ELSE t.typtype::text END AS kind,
       t.typname::text AS name, t.typnamespace = 'pg_catalog'::regnamespace AS is_builtin,
       x.extname::text AS extension, p.modifier, format_type(nullif(t.typbasetype, 0), -1) AS base,
       n.nspname::text AS coll_schema, l.collname::text AS coll_name,
       EXISTS (SELECT FROM pg_catalog.pg_opclass o
               JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
               WHERE m.amname = 'btree' AND o.opcdefault AND o.opcintype = t.oid) AS has_order
FROM parts p
JOIN pg_catalog.pg_type t ON t.oid = p.oid
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
LEFT JOIN pg_catalog.pg_collation l ON l.oid = p.coll AND NOT l.collisdeterministic
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
     AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
ORDER BY p.attnum, p.place";

/// Types of `pg_catalog` whose values are equal exactly when their texts are. `numeric` and
/// `bpchar` have a modifier then, and text has a deterministic collation.
const TEXTS: [&str; 44] = [
    "bool",
    "int2",
    "int4",
    "int8",
    "oid",
    "numeric",
    "money",
    "uuid",
    "bytea",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "varbit",
    "text",
    "varchar",
    "bpchar",
    "char",
    "name",
    "tsvector",
    "pg_lsn",
    "xid",
    "xid8",
    "cid",
    "tid",
    "int2vector",
    "oidvector",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Extensions whose types are equal exactly when their texts are.
const TEXT_EXTENSIONS: [&str; 3] = ["hstore", "isn", "ltree"];

/// A part of a key column's type.
struct Row {
    /// The column's number.
    number: i16,
    /// The numbers of the parts around it, from the outside, and its own.
    place: Vec<i32>,
    /// Its name, if it is a field of a composite.
    field: Option<String>,
    /// `pg_type.typtype`, or `a` for an array.
    kind: String,
    name: String,
    is_builtin: bool,
    extension: Option<String>,
    modifier: i32,
    /// A domain's base type in SQL.
    base: Option<String>,
    /// Schema and name of a nondeterministic collation.
    collation: Option<(String, String)>,
    has_order: bool,
}

impl<'r> FromRow<'r, PgRow> for Row {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let schema: Option<String> = row.try_get("coll_schema")?;
        Ok(Self {
            number: row.try_get("number")?,
            place: row.try_get("place")?,
            field: row.try_get("field")?,
            kind: row.try_get("kind")?,
            name: row.try_get("name")?,
            is_builtin: row.try_get("is_builtin")?,
            extension: row.try_get("extension")?,
            modifier: row.try_get("modifier")?,
            base: row.try_get("base")?,
            collation: schema.zip(row.try_get("coll_name")?),
            has_order: row.try_get("has_order")?,
        })
    }
}

/// Reads what makes the values of key columns equal, in the order of the key.
pub(super) async fn read(
    conn: &mut PgConnection,
    table: Oid,
    key: &[(&Column, Ordered)],
) -> Result<Vec<Equality>, CatalogError> {
    let asked: Vec<i16> = key
        .iter()
        .filter(|(column, ordered)| !is_plain(column, *ordered))
        .map(|(_, ordered)| ordered.number)
        .collect();
    // Nearly every key is of integers, texts or uuids, and needs no question.
    if asked.is_empty() {
        return Ok(vec![Equality::Text; key.len()]);
    }
    let rows: Vec<Row> = sqlx::query_as(PARTS)
        .bind(table)
        .bind(asked)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("key columns"))?;
    let of = |(_, ordered): &(&Column, Ordered)| {
        let rows: Vec<_> = rows
            .iter()
            .filter(|row| row.number == ordered.number)
            .collect();
        part(&rows, &[]).map_or(Equality::Text, equality)
    };
    Ok(key.iter().map(of).collect())
}

/// True for a column whose equality follows from its description.
fn is_plain(column: &Column, ordered: Ordered) -> bool {
    match column.column_type {
        ColumnType::List(_) | ColumnType::Scalar(Scalar::Json) => false,
        ColumnType::Scalar(Scalar::Text) => {
            let of_length = column.postgres_type.starts_with("character(");
            let is_text = column.postgres_type == "text"
                || column.postgres_type.starts_with("character varying");
            (is_text || of_length) && BYTEWISE.contains(&ordered.collation)
        }
        // The key in the topic writes the two zeros of a float alike, and readers compare them by
        // value.
        ColumnType::Scalar(_) => true,
    }
}

fn equality(part: Part) -> Equality {
    if part.is_text() {
        Equality::Text
    } else if part.is_known() {
        Equality::Form(Form(part))
    } else {
        Equality::Unknown
    }
}

/// The type at a place, with all its parts; `None` where the catalog has none, because it was
/// altered meanwhile.
fn part(rows: &[&Row], place: &[i32]) -> Option<Part> {
    let row = rows.iter().find(|row| row.place == place)?;
    let is_inside = |inner: &&&Row| {
        let split = inner.place.split_last();
        split.is_some_and(|(_, outer)| outer == place)
    };
    let mut inside = rows.iter().filter(is_inside);
    let mut only = || Some(Box::new(part(rows, &inside.next()?.place)?));
    Some(match row.kind.as_str() {
        "d" => Part::Domain(row.base.clone()?, only()?),
        "a" => Part::Array(only()?),
        "r" => Part::Range(only()?),
        "m" => Part::Multirange(only()?),
        "c" => {
            let field = |inner: &&Row| Some((inner.field.clone()?, part(rows, &inner.place)?));
            Part::Composite(inside.map(field).collect::<Option<_>>()?)
        }
        _ => Part::Leaf(leaf(row)),
    })
}

fn leaf(row: &Row) -> Leaf {
    let name = row.name.as_str();
    let extension = row.extension.as_deref();
    // Labels of an enum are unique, and without an order there is no equality to follow.
    if row.kind == "e" || !row.has_order && !matches!(name, "varchar" | "cidr") {
        return Leaf::Text;
    }
    if !row.is_builtin {
        return match extension {
            Some("citext") if name == "citext" => Leaf::Citext,
            Some(extension) if TEXT_EXTENSIONS.contains(&extension) => Leaf::Text,
            _ => Leaf::Unknown,
        };
    }
    if let (Some((schema, collation)), true) = (
        &row.collation,
        matches!(name, "text" | "varchar" | "bpchar"),
    ) {
        let function = match name {
            "bpchar" => "hashbpcharextended",
            _ => "hashtextextended",
        };
        return Leaf::Collated(format!("{}.{}", quote(schema), quote(collation)), function);
    }
    match name {
        "numeric" if row.modifier == -1 => Leaf::Numeric,
        "bpchar" if row.modifier == -1 => Leaf::Blanks,
        "interval" => Leaf::Interval,
        "jsonb" => Leaf::Jsonb,
        "float4" => Leaf::Float("float4"),
        "float8" => Leaf::Float("float8"),
        name if TEXTS.contains(&name) => Leaf::Text,
        _ => Leaf::Unknown,
    }
}
