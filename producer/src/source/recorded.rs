//! Deletes that a journal has recorded: their keys are compared with the table in the same cycle.
//!
//! A record is only a hint. The census decides whether a row was deleted, by a snapshot that is
//! younger than the scan which emitted the row; so the proof of the census holds, and a key whose
//! text differs from that of the published one is found by the next pass.

use std::collections::BTreeSet;

use inlet_model::change::ChangeBatch;
use inlet_service::sink::SinkError;
use serde_json::{Map, Value};

use arrow::array::{AsArray, StringArray};

use super::census::compare_recorded;
use super::error::PollError;
use super::out::{Event, Out};
use super::poll::{Poll, Step};

/// More keys than this are compared by a pass over all of them.
const KEYS_MAX: usize = 4096;

/// What a scan of a journal has read of deletes.
#[derive(Debug, Default)]
pub(super) struct Gone {
    keys: Vec<Map<String, Value>>,
    /// True when any row may have been deleted.
    all: bool,
}

/// Hands rows of a journal on, and remembers their deletes.
pub(super) struct Recorded<'a, O> {
    pub(super) out: &'a mut O,
    pub(super) gone: &'a mut Gone,
}

impl<O: Out> Out for Recorded<'_, O> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.gone.collect(&batch);
        self.out.write(batch).await
    }

    fn observe(&mut self, event: Event<'_>) {
        self.out.observe(event);
    }
}

impl Gone {
    fn collect(&mut self, batch: &ChangeBatch) {
        let texts = |name: &str| -> Option<&StringArray> {
            batch.rows.column_by_name(name)?.as_string_opt::<i32>()
        };
        let (Some(ops), Some(keys)) = (texts("op"), texts("key")) else {
            return;
        };
        for (op, key) in ops.iter().zip(keys) {
            match (op, key.map(serde_json::from_str)) {
                (Some("delete"), Some(Ok(Value::Object(key)))) if self.keys.len() < KEYS_MAX => {
                    self.keys.push(key);
                }
                (Some("delete" | "truncate"), _) => self.all = true,
                _ => {}
            }
        }
    }

    /// The texts of the keys, each as the topic has it.
    pub(super) fn texts(&self, columns: &[&str]) -> BTreeSet<Vec<u8>> {
        let text = |key: &Map<String, Value>| {
            let pairs = columns.iter().map(|name| {
                let value = key.get(*name)?;
                Some(format!("{}:{value}", Value::from(*name)))
            });
            let pairs: Option<Vec<_>> = pairs.collect();
            Some(format!("{{{}}}", pairs?.join(",")).into_bytes())
        };
        self.keys.iter().filter_map(text).collect()
    }

    /// The values of this column, as far as they are integers.
    pub(super) fn integers(&self, column: &str) -> impl Iterator<Item = i64> {
        self.keys
            .iter()
            .filter_map(move |key| key.get(column)?.as_i64())
    }
}

impl Poll {
    /// Looks for the rows whose deletes were read from journals, each given with its place.
    pub(super) async fn look_for_recorded(
        &mut self,
        gone: Vec<(usize, Gone)>,
        step: &mut Step,
        out: &mut impl Out,
    ) -> Result<(), PollError> {
        for (journal, gone) in gone {
            let of = self.tables[journal].table.config.journal_of.as_ref();
            let is_its = |table: &super::table::PolledTable| Some(&table.table.config.table) == of;
            let Some(at) = self.tables.iter().position(is_its) else {
                continue;
            };
            let table = &mut self.tables[at];
            if gone.all {
                table.compare_at_once();
            }
            let Some(keys) = table.held.keys.as_ref().filter(|_| table.is_comparable()) else {
                continue;
            };
            let chunk = keys.recorded(&gone);
            if chunk.is_empty() {
                continue;
            }
            let compared = compare_recorded(&mut self.postgres, table, &chunk, out).await?;
            step.rows += compared.deletes;
            step.deletes += compared.deletes;
            self.gate = Some(compared.gate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_key_has_the_text_of_the_published_one() {
        let key = |text: &str| serde_json::from_str(text).unwrap();
        let gone = Gone {
            keys: vec![key(r#"{"b": "x \" y", "aa": 7}"#), key(r#"{"b": "alone"}"#)],
            all: false,
        };
        let texts: Vec<_> = gone.texts(&["aa", "b"]).into_iter().collect();
        assert_eq!(texts, [br#"{"aa":7,"b":"x \" y"}"#.to_vec()]);
        assert_eq!(gone.integers("aa").collect::<Vec<_>>(), [7]);
    }
}
