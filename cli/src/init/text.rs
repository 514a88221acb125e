//! The words of the file, and of the list on the screen. Pure.

use inlet_model::written_part;
use inlet_postgres::Captured;
use url::Url;

use super::Found;

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
    // YAML would take a double quote at the start of a key as its own.
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
    captured
        .schema
        .columns
        .iter()
        .filter(|column| column.column_type.is_time())
        .map(|column| column.name.clone())
        .collect()
}

fn remark(captured: &Captured) -> String {
    match (
        captured.key.is_empty(),
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

/// A column's name as a value of YAML.
fn column_text(name: &str) -> String {
    let name = written_part(name);
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

/// Returns whether the address holds a password, before the host or among the parameters.
pub fn has_password(url: &str) -> bool {
    let (_, rest) = split_jdbc(url);
    Url::parse(rest).is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    })
}

/// Returns the address without a password.
fn without_password(url: &str) -> String {
    let (prefix, rest) = split_jdbc(url);
    let Ok(mut parsed) = Url::parse(rest) else {
        // Whatever it holds, a password may be part of it.
        return "postgresql://".to_owned();
    };
    if parsed.password().is_some() {
        parsed
            .set_password(None)
            .expect("an address that has a password can lose it");
    }
    let parameters = parsed.query().unwrap_or_default();
    let kept: Vec<_> = parameters
        .split('&')
        // libpq also accepts the password as a parameter.
        .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("password="))
        .collect();
    let kept = kept.join("&");
    parsed.set_query((!kept.is_empty()).then_some(&kept));
    format!("{prefix}{parsed}")
}

/// Java's addresses are PostgreSQL's with a prefix.
fn split_jdbc(url: &str) -> (&str, &str) {
    match url.strip_prefix("jdbc:") {
        Some(rest) => ("jdbc:", rest),
        None => ("", url),
    }
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
        assert_eq!(
            without_password("jdbc:postgresql://me:x@db/shop?ssl=true&password=y"),
            "jdbc:postgresql://me@db/shop?ssl=true"
        );
        assert!(!has_password("postgresql://me@db/shop?sslmode=require"));
        assert!(has_password("postgresql://db/shop?password=x"));
    }

    #[test]
    fn a_quote_is_doubled_in_yaml() {
        assert_eq!(quoted("it's"), "'it''s'");
    }
}
