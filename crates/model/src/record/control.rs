//! Records of the control topic (compacted, one kafka_partition): schemas by fingerprint, and the
//! poller's progress.
//!
//! Key `schema/<fingerprint>`: the value is a [`TableSchema`] as JSON. Key
//! `progress/<schema>.<table>/<part>`: the value is the part's JSON text, null when it was removed.
//! Key [`OWNER`]: which process publishes; of no interest to readers.

use crate::{Fingerprint, TableName};

/// The key of the record that names the process which publishes; [`ControlKey`] does not know it.
pub const OWNER: &str = "owner";

/// What a control record's key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlKey {
    /// A schema; the value is a [`crate::TableSchema`].
    Schema(Fingerprint),
    /// A part of a table's progress.
    Progress(TableName, String),
}

impl ControlKey {
    /// The key's text. Slashes and percent signs in names are percent-encoded, and dots in a
    /// schema's name.
    pub fn encode(&self) -> String {
        match self {
            Self::Schema(fingerprint) => format!("schema/{fingerprint}"),
            Self::Progress(table, part) => {
                format!(
                    "progress/{}.{}/{part}",
                    escape(&table.schema).replace('.', "%2E"),
                    escape(&table.name)
                )
            }
        }
    }

    /// Reads a key; `None` for a key that is not ours.
    pub fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('/')?;
        match kind {
            "schema" => u64::from_str_radix(rest, 16)
                .ok()
                .map(|hash| Self::Schema(Fingerprint(hash))),
            "progress" => {
                let (table, part) = rest.split_once('/')?;
                let (schema, name) = table.split_once('.')?;
                Some(Self::Progress(
                    TableName::new(unescape(schema), unescape(name)),
                    part.to_owned(),
                ))
            }
            _ => None,
        }
    }
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> String {
    name.replace("%2E", ".")
        .replace("%2F", "/")
        .replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_whatever_the_table_is_called() {
        for key in [
            ControlKey::Schema(Fingerprint(0xabc)),
            ControlKey::Progress(TableName::new("a.b/%2E", "c.d/e"), "covered/12".to_owned()),
        ] {
            assert_eq!(ControlKey::decode(&key.encode()), Some(key));
        }
        assert_eq!(ControlKey::decode("something else"), None);
    }
}
