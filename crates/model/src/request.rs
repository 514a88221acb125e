//! What a user asks of the poll of one table: stored beside the table's progress, and answered in
//! it.
//!
//! A request is a state and not a command: the last one counts, and reading it again changes
//! nothing. It is JSON: `{"id":"..","paused":false,"reload":{"id":"..",
//! "where":"id > 7"},"sweep":"..","repair":{"id":"..","keys":["{\"id\":7}"]}}`.

use serde::{Deserialize, Serialize};

/// What a user asks of the poll of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Names this request; the poll stores it once it has been followed.
    pub id: String,
    /// Whether the table is left out of the polls.
    #[serde(default)]
    pub paused: bool,
    /// The last load that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<ReloadRequest>,
    /// Names the last sweep that was asked for; the poll makes it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<String>,
    /// The last repair that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairRequest>,
}

/// A load of a table beside its polls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadRequest {
    /// Names this load; the poll starts it once.
    pub id: String,
    /// Only rows that fulfil this condition of SQL; `None` reads all.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// Rows that are published another time, because a comparison has found them different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairRequest {
    /// Names this repair; the poll makes it once.
    pub id: String,
    /// The rows by their keys, each as the key of its record: JSON.
    pub keys: Vec<String>,
}

impl Request {
    /// The stored text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings are JSON")
    }

    /// Reads a stored text, which may have fields that this version does not know.
    pub fn decode(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back() {
        let request = Request {
            id: "7".to_owned(),
            paused: true,
            reload: Some(ReloadRequest {
                id: "6".to_owned(),
                condition: Some("id > '7'".to_owned()),
            }),
            sweep: Some("5".to_owned()),
            repair: Some(RepairRequest {
                id: "4".to_owned(),
                keys: vec![r#"{"id":7}"#.to_owned()],
            }),
        };
        let text = request.encode();
        assert_eq!(
            text,
            r#"{"id":"7","paused":true,"reload":{"id":"6","where":"id > '7'"},"sweep":"5","repair":{"id":"4","keys":["{\"id\":7}"]}}"#
        );
        assert_eq!(Request::decode(text.as_bytes()).unwrap(), request);
    }

    #[test]
    fn fields_of_a_later_version_are_left_out() {
        let request = Request::decode(br#"{"id":"7","rate":5}"#).unwrap();
        assert_eq!((request.id.as_str(), request.paused), ("7", false));
    }
}
