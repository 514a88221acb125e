//! The words of the file, and of the list on the screen. Pure.

use inlet_model::{ColumnType, Scalar};
use inlet_model::{TableName, quote};
use inlet_postgres::Captured;

use super::Found;

/// Of [`cells`].
pub const HEADINGS: [&str; 4] = ["TABLE", "KEY", "CURSOR", "REMARK"];

/// A line of the list.
pub fn cells(found: &Found) -> Vec<String> {
    match &found.captured {
        Ok(captured) => vec![
            found.written.clone(),
            key(captured),
            cursor(captured).unwrap_or_else(|| "-".to_owned()),
            remark(captured),
        ],
        Err(error) => vec![
            found.written.clone(),
            "-".to_owned(),
            "-".to_owned(),
            format!("left out: {error}"),
        ],
    }
}

/// The file.
pub fn configuration(url: &str, with_password: bool, found: &[Found]) -> String {
    let absent = if with_password {
        "?the password of the role, or write password_file"
    } else {
        "-"
    };
    let mut text = format!(
        "# Written by `inlet init`. Look at it with `inlet check --config FILE`, start it with \
            `inlet run --config FILE`.\n\
         # A role that may read these tables and nothing else: inlet grants --config FILE --role \
         NAME | psql ..\n\
         postgres:\n  url: {}\n  password: ${{PGPASSWORD:{absent}}}   # from the environment; \
         password_file takes it from a file\n\n\
         datalake:\n  path: ./datalake            # {}\n\n\
         # With a broker between, as two services: inlet producer and inlet consumer.\n\
         # kafka:\n#   brokers: localhost:9092\n\n\
         streaming:\n  flush_interval: 1s          # the longest time that a row waits for its \
         commit\n\n\
         tables:\n",
        quoted(&without_password(url)),
        if found.iter().filter(|table| table.captured.is_ok()).count() == 1 {
            "the table's folder"
        } else {
            "a folder for each table below it"
        },
    );
    found
        .iter()
        .for_each(|table| text.push_str(&section(table)));
    text
}

fn section(found: &Found) -> String {
    let name = if found.written.contains('"') {
        quoted(&found.written)
    } else {
        found.written.clone()
    };
    let captured = match &found.captured {
        Ok(captured) => captured,
        Err(error) => return format!("  # {name}: {{}}   # left out: {error}\n"),
    };
    let mut text = format!("  {name}:");
    let Some(chosen) = cursor(captured) else {
        let times = times(captured).into_iter().map(|time| {
            format!(
                "  #   cursor: {}   # once it has an index\n",
                column_text(&time)
            )
        });
        let times: String = times.collect();
        return format!(
            "{text} {{}}   # key: {}; {}\n{times}",
            key(captured),
            remark(captured)
        );
    };
    text.push_str(&format!(
        "   # key: {}\n    cursor: {}",
        key(captured),
        column_text(&chosen)
    ));
    if let Some(index) = captured.missing_index() {
        text.push_str(&format!(
            "   # without an index every poll reads the whole table: {index};"
        ));
    }
    text.push('\n');
    for other in times(captured).into_iter().filter(|other| *other != chosen) {
        text.push_str(&format!("    # cursor: {}\n", column_text(&other)));
    }
    text
}

fn key(captured: &Captured) -> String {
    let columns: Vec<_> = captured
        .schema
        .key
        .iter()
        .map(|at| captured.schema.columns[*at].name.as_str())
        .collect();
    if columns.is_empty() {
        "none".to_owned()
    } else {
        columns.join(", ")
    }
}

fn cursor(captured: &Captured) -> Option<String> {
    captured
        .cursor
        .map(|cursor| captured.schema.columns[cursor.column].name.clone())
}

fn times(captured: &Captured) -> Vec<String> {
    let is_time = |column_type| {
        matches!(
            column_type,
            ColumnType::Scalar(Scalar::Date | Scalar::Timestamp | Scalar::TimestampTz)
        )
    };
    captured
        .schema
        .columns
        .iter()
        .filter(|column| is_time(column.column_type))
        .map(|column| column.name.clone())
        .collect()
}

fn remark(captured: &Captured) -> String {
    match (
        captured.schema.key.is_empty(),
        &captured.cursor,
        captured.missing_index(),
    ) {
        (_, None, _) if times(captured).is_empty() => {
            "no timestamp column: every poll reads the whole table".to_owned()
        }
        (_, None, _) => {
            "no index on a timestamp column: every poll reads the whole table".to_owned()
        }
        (_, _, Some(_)) => "no index on the cursor: every poll reads the whole table".to_owned(),
        (true, ..) => "no key: an update is one more row".to_owned(),
        _ => String::new(),
    }
}

/// A table's name for the configuration: in double quotes where folding would change it, the schema
/// where it is not `public`.
pub fn name(table: &TableName) -> String {
    let name = part(&table.name);
    if table.schema == "public" {
        name
    } else {
        format!("{}.{name}", part(&table.schema))
    }
}

fn part(name: &str) -> String {
    let folds = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if folds { name.to_owned() } else { quote(name) }
}

/// A column's name as a value of YAML.
fn column_text(name: &str) -> String {
    let name = part(name);
    if name.contains('"') {
        quoted(&name)
    } else {
        name
    }
}

/// A text in YAML's single quotes, where nothing but a quote means anything.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// True when the address holds a password.
pub fn has_password(url: &str) -> bool {
    without_password(url) != url
}

/// The address without a password, neither before the host nor among the parameters.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let place = match place.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => place.to_owned(),
    };
    let kept: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("password="))
        .collect();
    let parameters = if kept.is_empty() {
        String::new()
    } else {
        format!("?{}", kept.join("&"))
    };
    let scheme = if scheme.is_empty() {
        String::new()
    } else {
        format!("{scheme}://")
    };
    format!("{scheme}{place}{path}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_wherever_it_stands() {
        assert_eq!(
            without_password("postgres://me:se:c@ret@db:5432/shop"),
            "postgres://me@db:5432/shop"
        );
        assert_eq!(
            without_password("postgresql://db/shop?password=x&sslmode=require"),
            "postgresql://db/shop?sslmode=require"
        );
        assert!(!has_password("postgresql://me@db/shop?sslmode=require"));
    }

    #[test]
    fn names_are_quoted_where_folding_would_change_them() {
        assert_eq!(name(&TableName::new("public", "orders_2")), "orders_2");
        assert_eq!(
            name(&TableName::new("Sales", "a.\"b")),
            "\"Sales\".\"a.\"\"b\""
        );
        assert_eq!(quoted("it's"), "'it''s'");
    }
}
