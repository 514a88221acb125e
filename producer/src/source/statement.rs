//! The statements that read rows. Pure.

use inlet_model::Xid;
use inlet_model::quote;
use inlet_postgres::Captured;
use inlet_postgres::Floor;
use inlet_postgres::{literal, text_of};

use super::keys::values;

/// Ages are compared modulo 2^32: a bound that is further back asks for every row.
const AGE_MAX: u64 = 1 << 31;

/// The rows that a statement reads.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Rows with `cursor >= floor` and `xmin >= xid`.
    Since {
        /// In the cursor's unit; `None` reads rows with any cursor.
        floor: Option<Floor>,
        xid: Xid,
        /// A condition of a user, in SQL.
        only: Option<String>,
    },
    /// Rows of a key range with `xmin < before`: `after` is exclusive, `until` inclusive, and
    /// `None` unbounded.
    Chunk {
        /// Text per key column.
        after: Option<Vec<String>>,
        /// Text per key column.
        until: Option<Vec<String>>,
        /// The xid at which the load began.
        before: Xid,
        /// A condition of a user, in SQL.
        only: Option<String>,
    },
    /// Rows of a range of blocks of a table that is one heap, with `xmin < before`.
    Blocks {
        from: u32,
        /// Exclusive; `None` is the table's end, wherever it is by then.
        until: Option<u32>,
        /// The xid at which the load began.
        before: Xid,
        /// A condition of a user, in SQL.
        only: Option<String>,
    },
    /// Every row of the tables that were attached and not read yet; the other conditions exclude
    /// these.
    Attached,
    /// Rows with these keys: for each column of the schema's key an array of texts, as PostgreSQL
    /// writes one.
    Keys { columns: Vec<String> },
    /// Any one row.
    One,
}

impl Condition {
    /// True for a statement that reads rows outside the membership too, each with whether it
    /// belongs: a row that has left is a delete. A load has no use for these rows.
    pub fn reads_outside(&self) -> bool {
        match self {
            Self::Since { .. } | Self::Attached => true,
            Self::Chunk { .. } | Self::Blocks { .. } | Self::Keys { .. } | Self::One => false,
        }
    }
}

/// The statement that reads the rows of a condition, and its values. They are bound as text and
/// cast in the server, once a statement.
pub fn statement(
    captured: &Captured,
    condition: &Condition,
    attached: &[u32],
    xid_end: Xid,
) -> (String, Vec<String>) {
    let (filter, values) = filter(captured, condition, attached, xid_end);
    (select(captured, condition, &filter), values)
}

/// The same statement with the values written into it, because COPY takes no parameters.
pub fn statement_of_copy(
    captured: &Captured,
    condition: &Condition,
    attached: &[u32],
    xid_end: Xid,
) -> String {
    let mut bind = |value: String, sql_type: &str| format!("{}::text::{sql_type}", literal(&value));
    let filter = clauses(captured, condition, attached, xid_end, &mut bind);
    select(captured, condition, &filter)
}

fn select(captured: &Captured, condition: &Condition, filter: &str) -> String {
    let list = match condition.reads_outside() {
        true => captured.select_list_with_membership(),
        false => captured.select_list(),
    };
    format!(
        "SELECT {list} FROM {}{filter}",
        captured.schema.table.quoted()
    )
}

/// What of a condition follows the table's name, empty where it is every row, and its values.
///
/// `attached` are the tables that only [`Condition::Attached`] reads.
pub fn filter(
    captured: &Captured,
    condition: &Condition,
    attached: &[u32],
    xid_end: Xid,
) -> (String, Vec<String>) {
    let mut values = Vec::new();
    let mut bind = |value: String, sql_type: &str| {
        values.push(value);
        format!("${}::text::{sql_type}", values.len())
    };
    let filter = clauses(captured, condition, attached, xid_end, &mut bind);
    (filter, values)
}

/// What follows the table's name; `bind` takes a value and the type that it is cast to, and gives
/// its SQL.
fn clauses(
    captured: &Captured,
    condition: &Condition,
    attached: &[u32],
    xid_end: Xid,
    bind: &mut impl FnMut(String, &str) -> String,
) -> String {
    let mut clauses = Vec::new();
    match condition {
        Condition::Since { floor, xid, only } => {
            clauses.extend(only.as_deref().map(bracketed));
            if let (Some(cursor), Some(floor)) = (&captured.cursor, floor)
                && let Some(text) = cursor.kind.text(*floor)
            {
                let column = quote(&captured.schema.columns[cursor.column].name);
                clauses.push(format!(
                    "{column} >= {}",
                    bind(text, cursor.kind.sql_type())
                ));
            }
            // xids have no order of their own in SQL. `age` counts back from the current one,
            // modulo 2^32. The subselect makes it a constant for the whole scan.
            if xid.0 + AGE_MAX > xid_end.0 {
                clauses.push(format!(
                    "age(xmin) BETWEEN 0 AND (SELECT age({}))",
                    bind(xid.low().to_string(), "xid")
                ));
            }
        }
        Condition::Chunk {
            after,
            until,
            before,
            only,
        } => {
            for (edge, operator) in [(after, ">"), (until, "<=")] {
                if let Some(key) = edge {
                    clauses.push(format!(
                        "{} {operator} {}",
                        key_columns(captured),
                        key_values(captured, key, bind)
                    ));
                }
            }
            clauses.push(settled(*before, bind));
            clauses.extend(only.as_deref().map(bracketed));
        }
        Condition::Blocks {
            from,
            until,
            before,
            only,
        } => {
            // A scan of a range of blocks, which reads no index and no other block.
            clauses.push(format!("ctid >= {}", bind(format!("({from},0)"), "tid")));
            let until = until.map(|until| bind(format!("({until},0)"), "tid"));
            clauses.extend(until.map(|until| format!("ctid < {until}")));
            clauses.push(settled(*before, bind));
            clauses.extend(only.as_deref().map(bracketed));
        }
        Condition::Keys { columns } => clauses.push(one_of(captured, columns, bind)),
        Condition::Attached | Condition::One => {}
    }
    clauses.extend(of_attached(condition, attached));
    if !condition.reads_outside() {
        clauses.extend(captured.membership.as_deref().map(str::to_owned));
    }
    let one = match condition {
        Condition::One => " LIMIT 1",
        _ => "",
    };
    if clauses.is_empty() {
        one.to_owned()
    } else {
        format!(" WHERE {}{one}", clauses.join(" AND "))
    }
}

/// Keys that a statement gets as one array of texts for each column of the schema's key.
pub struct BoundKeys {
    /// What stands after FROM: a relation with a number `n` for each key, from 1 on.
    pub relation: String,
    /// True for a row of the table with such a key.
    pub equal: String,
}

/// The name of the bound keys in a statement that also has the table's own name.
pub const KEYS: &str = "_inlet_keys";

impl BoundKeys {
    /// `arrays` are the SQL of the arrays.
    pub fn of(captured: &Captured, arrays: &[String]) -> Self {
        // A condition of the configuration may name the table, so the table has no other name.
        let table = quote(&captured.schema.table.name);
        let (mut names, mut equal) = (Vec::new(), Vec::new());
        for place in 0..arrays.len() {
            let column_type = captured.schema.columns[captured.schema.key[place]].column_type;
            let value = |text: &str| values::value(column_type, text);
            names.push(format!("v{place}"));
            equal.push(captured.key_equals(place, &table, &format!("{KEYS}.v{place}"), value));
        }
        Self {
            relation: format!(
                "unnest({}) WITH ORDINALITY AS {KEYS}({}, n)",
                arrays.join(", "),
                names.join(", ")
            ),
            equal: equal.join(" AND "),
        }
    }
}

/// An array of texts, as PostgreSQL writes one.
pub fn array_text(values: &[Option<String>]) -> String {
    let value = |value: &Option<String>| match value {
        None => "NULL".to_owned(),
        Some(text) => {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{escaped}\"")
        }
    };
    let values: Vec<_> = values.iter().map(value).collect();
    format!("{{{}}}", values.join(","))
}

/// The rows that have one of these keys.
fn one_of(
    captured: &Captured,
    columns: &[String],
    bind: &mut impl FnMut(String, &str) -> String,
) -> String {
    let columns = columns.iter().cloned();
    let arrays: Vec<_> = columns.map(|array| bind(array, "text[]")).collect();
    let keys = BoundKeys::of(captured, &arrays);
    format!(
        "EXISTS (SELECT FROM {} WHERE {})",
        keys.relation, keys.equal
    )
}

/// Which side of the attached tables a condition reads.
fn of_attached(condition: &Condition, attached: &[u32]) -> Option<String> {
    let not = match condition {
        Condition::Attached => "",
        Condition::Since { .. }
        | Condition::Chunk { .. }
        | Condition::Blocks { .. }
        | Condition::Keys { .. }
        | Condition::One => "NOT ",
    };
    let oids: Vec<_> = attached.iter().map(u32::to_string).collect();
    (!oids.is_empty()).then(|| format!("tableoid {not}IN ({})", oids.join(", ")))
}

/// The rows that were settled when a load began: the complement of what the joining scan asks for.
/// Each row is in exactly one of the two, also a frozen one of an older epoch.
fn settled(before: Xid, bind: &mut impl FnMut(String, &str) -> String) -> String {
    let before = bind(before.low().to_string(), "xid");
    format!("age(xmin) NOT BETWEEN 0 AND (SELECT age({before}))")
}

/// A user's condition as a part of ours.
fn bracketed(condition: &str) -> String {
    // The line ends before the bracket, so that a comment at the condition's end does not take it
    // away.
    format!("({condition}\n)")
}

/// The statement that finds where a chunk of this many rows ends, and its values.
pub fn chunk_end(
    captured: &Captured,
    after: Option<&[String]>,
    rows: u32,
) -> (String, Vec<String>) {
    let mut values = Vec::new();
    let mut bind = |value: String, sql_type: &str| {
        values.push(value);
        format!("${}::text::{sql_type}", values.len())
    };
    let columns: Vec<_> = captured
        .key
        .iter()
        .map(|at| quote(&captured.schema.columns[*at].name))
        .collect();
    let texts: Vec<_> = columns.iter().map(|column| text_of(column)).collect();
    let mut clauses: Vec<_> = after
        .map(|key| {
            format!(
                "{} > {}",
                key_columns(captured),
                key_values(captured, key, &mut bind)
            )
        })
        .into_iter()
        .collect();
    if captured.any_bytes {
        // The progress stores the key as text, so a chunk must end at a key of ASCII characters.
        clauses.extend(texts.iter().map(|text| format!("{text} ~ '^[ -~]*$'")));
    }
    let filter = if clauses.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", clauses.join(" AND "))
    };
    let table = captured.schema.table.quoted();
    // A bare name in ORDER BY means the output column, which is text here and in the order of no
    // index.
    let order: Vec<_> = columns.iter().map(|column| format!("t.{column}")).collect();
    let sql = format!(
        "SELECT {} FROM {table} AS t{filter} ORDER BY {} OFFSET {rows} LIMIT 1",
        texts.join(", "),
        order.join(", ")
    );
    (sql, values)
}

fn key_columns(captured: &Captured) -> String {
    let columns: Vec<_> = captured
        .key
        .iter()
        .map(|at| quote(&captured.schema.columns[*at].name))
        .collect();
    format!("({})", columns.join(", "))
}

fn key_values(
    captured: &Captured,
    key: &[String],
    bind: &mut impl FnMut(String, &str) -> String,
) -> String {
    let columns = captured.key.iter();
    let values: Vec<_> = key
        .iter()
        .zip(columns)
        .map(|(text, column)| captured.input(*column).value(text, bind))
        .collect();
    format!("({})", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_keeps_null_apart_from_its_name_and_escapes_what_would_end_a_value() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            array_text(&[value("a"), None, value("NULL"), value(r#"\","#), value("")]),
            r#"{"a",NULL,"NULL","\\\",",""}"#
        );
    }
}
