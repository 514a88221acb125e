//! Records of the control topic: compacted, one kafka_partition, the last record of a key counts
//! and a null value removes it.
//!
//! | key | value |
//! |---|---|
//! | `schema/<fingerprint, 16 hex digits>` | the schema's text, see [`crate::TableSchema`] |
//! | `progress/<schema>.<table>/<part>` | the part's text, see [`crate::progress`]; the part `sequences` is [`super::sequences`] |
//! | `request/<schema>.<table>` | what a user asks of the poll, see [`crate::Request`] |
//! | `owner` | `{"generation":<n>,"instance":"<name>"}`: the process that publishes |
//!
//! In a name of a table `%` is written as `%25` and `/` as `%2F`, in the name of its schema `.` as
//! `%2E`, too.

use serde::{Deserialize, Serialize};

use crate::{Fingerprint, TableName};

const OWNER: &str = "owner";
const SCHEMA: &str = "schema";
const PROGRESS: &str = "progress";
const REQUEST: &str = "request";

/// One record of the control topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord {
    /// The schema that records of rows refer to by its fingerprint.
    Schema {
        /// The hash in the header of every row.
        fingerprint: Fingerprint,
        /// The schema's stored text; `None` removes it.
        text: Option<Vec<u8>>,
    },
    /// One part of a table's progress.
    Progress {
        /// The table whose poll continues there.
        table: TableName,
        /// The part's name, which may hold slashes.
        part: String,
        /// The part's text; `None` removes it.
        text: Option<String>,
    },
    /// What a user asks of the poll of a table.
    Request {
        /// The table that it is about.
        table: TableName,
        /// The request's text; `None` removes it.
        text: Option<String>,
    },
    /// The process that owns the pipeline; `None` when the record has no valid name.
    Owner(Option<Owner>),
}

/// The claim of a process to a pipeline.
///
/// A reader may miss the latest claim for a moment. The generation tells an older claim, which has
/// no meaning any more, from a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// One more than that of the owner before.
    pub generation: u64,
    /// A name that only this process has.
    pub instance: String,
}

impl ControlRecord {
    /// The record's key and value.
    pub fn encode(self) -> (String, Option<Vec<u8>>) {
        match self {
            Self::Schema { fingerprint, text } => (format!("{SCHEMA}/{fingerprint}"), text),
            Self::Progress { table, part, text } => {
                let key = format!("{PROGRESS}/{}/{part}", written(&table));
                (key, text.map(String::into_bytes))
            }
            Self::Request { table, text } => {
                let key = format!("{REQUEST}/{}", written(&table));
                (key, text.map(String::into_bytes))
            }
            Self::Owner(owner) => {
                let json =
                    |owner| serde_json::to_vec(&owner).expect("numbers and strings are JSON");
                (OWNER.to_owned(), owner.map(json))
            }
        }
    }

    /// Reads a record; `None` when it is not one of ours.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let key = std::str::from_utf8(key?).ok()?;
        if key == OWNER {
            let owner = value.and_then(|value| serde_json::from_slice(value).ok());
            return Some(Self::Owner(owner));
        }
        let (kind, rest) = key.split_once('/')?;
        match kind {
            SCHEMA => Some(Self::Schema {
                // Other records in the topic are ignored: `None` means that the key is not one of
                // ours.
                fingerprint: Fingerprint(u64::from_str_radix(rest, 16).ok()?),
                text: value.map(<[u8]>::to_vec),
            }),
            PROGRESS => {
                let (table, part) = rest.split_once('/')?;
                let text = value.and_then(|value| std::str::from_utf8(value).ok());
                Some(Self::Progress {
                    table: read(table)?,
                    part: part.to_owned(),
                    text: text.map(str::to_owned),
                })
            }
            REQUEST => {
                let text = value.and_then(|value| std::str::from_utf8(value).ok());
                Some(Self::Request {
                    table: read(rest)?,
                    text: text.map(str::to_owned),
                })
            }
            _ => None,
        }
    }
}

/// A table's name in a key.
fn written(table: &TableName) -> String {
    // The first dot separates schema and table, so a dot in the schema is escaped; one in the table
    // needs no escape.
    let schema = escape(&table.schema).replace('.', "%2E");
    format!("{schema}.{}", escape(&table.name))
}

fn read(written: &str) -> Option<TableName> {
    let (schema, name) = written.split_once('.')?;
    Some(TableName::new(unescape(schema), unescape(name)))
}

// The crate `percent-encoding` would also encode every letter outside ASCII, and a table whose name
// has one would lose the progress that is stored under its key.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> String {
    // `%25` is last: what it yields is not the start of another escape.
    name.replace("%2E", ".")
        .replace("%2F", "/")
        .replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = ControlRecord> {
        let name = || "[a-zA-Zäß./% \"2EF5]{1,12}";
        let progress = (
            name(),
            name(),
            "[a-z/0-9]{1,12}",
            proptest::option::of(".{0,20}"),
        );
        let owner = (any::<u64>(), ".{0,20}");
        prop_oneof![
            (any::<u64>(), proptest::option::of(any::<Vec<u8>>())).prop_map(|(hash, text)| {
                ControlRecord::Schema {
                    fingerprint: Fingerprint(hash),
                    text,
                }
            }),
            progress.prop_map(|(schema, table, part, text)| ControlRecord::Progress {
                table: TableName::new(schema, table),
                part,
                text,
            }),
            (name(), name(), proptest::option::of(".{0,20}")).prop_map(|(schema, table, text)| {
                ControlRecord::Request {
                    table: TableName::new(schema, table),
                    text,
                }
            }),
            proptest::option::of(owner).prop_map(|owner| {
                let owner = owner.map(|(generation, instance)| Owner {
                    generation,
                    instance,
                });
                ControlRecord::Owner(owner)
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_record_reads_back_whatever_the_table_is_called(record in record()) {
            let (key, value) = record.clone().encode();
            let read = ControlRecord::decode(Some(key.as_bytes()), value.as_deref());
            prop_assert_eq!(read, Some(record));
        }

        #[test]
        fn any_bytes_are_read_or_skipped(key: Vec<u8>, value: Option<Vec<u8>>) {
            let _ = ControlRecord::decode(Some(&key), value.as_deref());
        }
    }

    #[test]
    fn the_stored_format_stays_as_it_is() {
        let encoded = |record: ControlRecord| {
            let (key, value) = record.encode();
            (key, value.map(|value| String::from_utf8(value).unwrap()))
        };
        let part = ControlRecord::Progress {
            table: TableName::new("a.b/%", "größe.d/e"),
            part: "covered/12".to_owned(),
            text: Some("1".to_owned()),
        };
        assert_eq!(
            encoded(part),
            (
                "progress/a%2Eb%2F%25.größe.d%2Fe/covered/12".to_owned(),
                Some("1".to_owned())
            )
        );
        let request = ControlRecord::Request {
            table: TableName::new("a.b/%", "größe.d/e"),
            text: None,
        };
        assert_eq!(
            encoded(request),
            ("request/a%2Eb%2F%25.größe.d%2Fe".to_owned(), None)
        );
        let owner = Owner {
            generation: 2,
            instance: "process 1".to_owned(),
        };
        assert_eq!(
            encoded(ControlRecord::Owner(Some(owner))),
            (
                "owner".to_owned(),
                Some(r#"{"generation":2,"instance":"process 1"}"#.to_owned())
            )
        );
        let schema = ControlRecord::Schema {
            fingerprint: Fingerprint(0xabc),
            text: None,
        };
        assert_eq!(
            encoded(schema),
            ("schema/0000000000000abc".to_owned(), None)
        );
        assert_eq!(ControlRecord::decode(Some(b"of someone else"), None), None);
        assert_eq!(ControlRecord::decode(None, Some(b"x")), None);
    }
}
