//! A change as a line: for people, or as JSON.
//!
//! The rows of an update that follows another one of the same key show what has changed, as far as
//! this process has seen the version before.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use inlet_model::printable;
use serde_json::json;

use super::changes::{Change, fields, plain};

/// Keys whose last version is kept, to show what changed.
const KEPT_KEYS_MAX: usize = 10_000;
/// Characters of a value that are shown to people.
const VALUE_CHARS_MAX: usize = 60;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// How changes of one table are shown.
pub struct Show {
    table: String,
    is_json: bool,
    is_colored: bool,
    /// The last row of each key, as JSON.
    before: HashMap<String, String>,
}

/// The names of the columns that have other values than before, each with both; `None` where the
/// version before is unknown.
type Changed = Option<Vec<(String, String, String)>>;

impl Show {
    pub fn new(table: String, is_json: bool, is_colored: bool) -> Self {
        Self {
            table,
            is_json,
            is_colored,
            before: HashMap::new(),
        }
    }

    /// The line of a change, with its end.
    pub fn line(&mut self, change: &Change) -> String {
        let changed = self.changed(change);
        let mut line = match self.is_json {
            true => self.json(change, &changed),
            false => self.text(change, &changed),
        };
        line.push('\n');
        line
    }

    /// Compares a change with the version of its key before, and keeps it for the next one.
    fn changed(&mut self, change: &Change) -> Changed {
        let key = change.key.as_ref()?;
        let Some(row) = &change.row else {
            self.before.remove(key);
            return None;
        };
        if self.before.len() >= KEPT_KEYS_MAX && !self.before.contains_key(key) {
            self.before.clear();
        }
        let before = self.before.insert(key.clone(), row.clone())?;
        let before: HashMap<_, _> = fields(&before).into_iter().collect();
        let now = fields(row).into_iter();
        let changed = now.filter_map(|(name, value)| {
            let other = before.get(&name).filter(|other| **other != value)?;
            Some((name, other.clone(), value))
        });
        Some(changed.collect())
    }

    fn json(&self, change: &Change, changed: &Changed) -> String {
        let raw = |text: &Option<String>| match text {
            Some(text) => text.clone(),
            None => "null".to_owned(),
        };
        let names = changed.as_ref().map(|changed| {
            let names = changed.iter().map(|(name, ..)| name);
            names.collect::<Vec<_>>()
        });
        // Rows are JSON already, with exact numbers.
        format!(
            "{{\"table\":{},\"op\":\"{}\",\"key\":{},\"row\":{},\"changed\":{},\"detected_at\":{},\
             \"committed_at\":{},\"seq\":{},\"kafka_partition\":{},\"offset\":{}}}",
            json!(self.table),
            op(change),
            raw(&change.key),
            raw(&change.row),
            json!(names),
            json!(time(detected_at(change))),
            json!(time(change.committed_at)),
            change.seq,
            change.position.kafka_partition,
            change.position.offset,
        )
    }

    fn text(&self, change: &Change, changed: &Changed) -> String {
        let at = detected_at(change).format("%Y-%m-%d %H:%M:%S%.3f");
        let (color, op) = match (op(change), changed) {
            ("d", _) => (RED, "d"),
            (op, Some(_)) => (YELLOW, op),
            (op, None) => (GREEN, op),
        };
        let mut parts = vec![self.paint(DIM, &at.to_string()), self.paint(color, op)];
        let key = change.key.as_deref().map(fields).unwrap_or_default();
        let is_key = |name: &str| key.iter().any(|(own, _)| own == name);
        parts.extend(key.iter().map(|(name, value)| pair(name, value)));
        if let Some(changed) = changed {
            let values = changed.iter().filter(|(name, ..)| !is_key(name));
            parts.extend(values.map(|(name, before, now)| {
                format!("{}: {} -> {}", printable(name), shown(before), shown(now))
            }));
        } else if let Some(row) = &change.row {
            let values = fields(row);
            let values = values.iter().filter(|(name, _)| !is_key(name));
            parts.extend(values.map(|(name, value)| pair(name, value)));
        }
        parts.push(self.paint(DIM, &format!("#{}", change.seq)));
        parts.join("  ")
    }

    fn paint(&self, color: &str, text: &str) -> String {
        match self.is_colored {
            true => format!("{color}{text}{RESET}"),
            false => text.to_owned(),
        }
    }
}

fn op(change: &Change) -> &'static str {
    match change.row {
        Some(_) => "u",
        None => "d",
    }
}

fn detected_at(change: &Change) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(change.position.detected_at).unwrap_or_default()
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn pair(name: &str, value: &str) -> String {
    format!("{}={}", printable(name), shown(value))
}

/// A value for people: a simple text without quotes, and a long one cut.
fn shown(value: &str) -> String {
    let text = plain(value);
    let is_simple = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=');
    let text = match !text.is_empty() && text.chars().all(is_simple) {
        true => text,
        // JSON's quotes, and its escapes of control characters.
        false => value.to_owned(),
    };
    let text = printable(&text);
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use inlet_model::TableName;

    use super::*;
    use crate::verify::Position;

    fn change(seq: u64, row: Option<&str>) -> Change {
        Change {
            seq,
            committed_at: DateTime::from_timestamp(1_795_802_400, 0).unwrap(),
            position: Position {
                kafka_partition: 0,
                offset: 7,
                detected_at: 1_795_802_399_500_000,
            },
            key: Some(r#"{"id":7}"#.to_owned()),
            row: row.map(str::to_owned),
        }
    }

    fn show(is_json: bool, is_colored: bool) -> Show {
        let table = TableName::new("public", "orders").to_string();
        Show::new(table, is_json, is_colored)
    }

    #[test]
    fn an_update_of_a_version_that_was_shown_has_its_changed_columns_alone() {
        let mut show = show(false, false);
        let first = show.line(&change(1, Some(r#"{"id":7,"paid":"1.50","note":"a b\n"}"#)));
        assert_eq!(
            first,
            "2026-11-27 17:59:59.500  u  id=7  paid=1.50  note=\"a b\\n\"  #1\n"
        );
        let second = show.line(&change(2, Some(r#"{"id":7,"paid":"2.00","note":"a b\n"}"#)));
        assert_eq!(
            second,
            "2026-11-27 17:59:59.500  u  id=7  paid: 1.50 -> 2.00  #2\n"
        );
        assert_eq!(
            show.line(&change(3, None)),
            "2026-11-27 17:59:59.500  d  id=7  #3\n"
        );
        let again = show.line(&change(4, Some(r#"{"id":7,"paid":null}"#)));
        assert!(again.contains("paid=null"), "{again}");
    }

    #[test]
    fn json_has_the_row_as_the_topic_has_it() {
        let mut show = show(true, true);
        let row = r#"{"id":7,"n":123456789012345678901234567890}"#;
        show.line(&change(1, Some(r#"{"id":7,"n":0}"#)));
        let line = show.line(&change(2, Some(row)));
        assert!(
            line.contains(&format!("\"row\":{row},\"changed\":[\"n\"]")),
            "{line}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(&line).is_ok(),
            "{line}"
        );
        let deleted = show.line(&change(3, None));
        assert!(
            deleted.contains("\"op\":\"d\",\"key\":{\"id\":7},\"row\":null,"),
            "{deleted}"
        );
    }

    #[test]
    fn a_line_has_colors_only_where_they_are_wanted() {
        let row = Some(r#"{"id":7}"#);
        assert!(show(false, true).line(&change(1, row)).contains(GREEN));
        assert!(!show(false, false).line(&change(1, row)).contains('\x1b'));
    }

    #[test]
    fn a_long_value_is_cut_and_a_value_moves_no_cursor() {
        let long = format!(r#"{{"id":7,"t":"{}"}}"#, "ä".repeat(100));
        let line = show(false, false).line(&change(1, Some(&long)));
        assert!(line.contains(&format!("t={}…", "ä".repeat(60))), "{line}");
        let odd = r#"{"id":7,"t":"\u001b[2Jx"}"#;
        assert!(
            !show(false, false)
                .line(&change(1, Some(odd)))
                .contains('\x1b')
        );
    }
}
