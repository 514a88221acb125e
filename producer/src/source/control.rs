//! What users ask of a table's poll, and what the poll has followed of it.
//!
//! Pure. A request is a state that the sink shows again and again; what was followed is a part of
//! the progress, so each load is started once, also through a restart.

use inlet_model::{Progress, ReloadRequest, RepairRequest, Request};
use serde::{Deserialize, Serialize};

/// The part of the progress.
pub(super) const CONTROL: &str = "control";

/// What the poll of a table has followed of its users' requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The last request that was seen.
    pub request: String,
    /// True while the table is left out of the polls.
    pub paused: bool,
    /// The last load that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
    /// The last sweep that was asked for and was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<String>,
    /// The last repair that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repaired>,
}

/// What became of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// The request.
    pub id: String,
    /// Rows that were published another time.
    pub rows: u64,
    /// New versions that the sweep has found, which the repair begins with.
    pub found: u64,
    /// Keys without a row in the table, whose deletes were published.
    pub deletes: u64,
    /// True when its keys are none of the table as it is now.
    #[serde(default)]
    pub refused: bool,
}

/// What a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Pause,
    Resume,
    /// Load every row again, or those that fulfil a condition.
    Reload(ReloadRequest),
    /// Compare every row and every key now.
    Sweep(String),
    /// Publish some rows another time.
    Repair(RepairRequest),
}

impl Control {
    /// What was followed, as the progress has it.
    pub fn decode(progress: &Progress) -> Self {
        let text = progress.0.get(CONTROL);
        // A part that cannot be read counts as none: the request is then followed another time.
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// What a request asks beyond what was followed.
    pub fn asked(&self, request: &Request) -> Vec<Asked> {
        let mut asked = Vec::new();
        if request.paused != self.paused {
            asked.push(if request.paused {
                Asked::Pause
            } else {
                Asked::Resume
            });
        }
        let reload = request.reload.as_ref();
        let new = reload.filter(|reload| self.reload.as_ref() != Some(&reload.id));
        asked.extend(new.cloned().map(Asked::Reload));
        let sweep = request
            .sweep
            .clone()
            .filter(|_| request.sweep != self.sweep);
        asked.extend(sweep.map(Asked::Sweep));
        let repair = request.repair.as_ref();
        let made = self.repair.as_ref().map(|repaired| &repaired.id);
        let new = repair.filter(|repair| made != Some(&repair.id));
        asked.extend(new.cloned().map(Asked::Repair));
        asked
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn reload(id: &str, condition: Option<&str>) -> Request {
        Request {
            id: format!("request {id}"),
            paused: false,
            reload: Some(ReloadRequest {
                id: id.to_owned(),
                condition: condition.map(str::to_owned),
            }),
            sweep: None,
            repair: None,
        }
    }

    #[test]
    fn a_repair_is_made_once() {
        let repair = RepairRequest {
            id: "1".to_owned(),
            keys: vec![r#"{"id":7}"#.to_owned()],
        };
        let request = Request {
            repair: Some(repair.clone()),
            ..Request::default()
        };
        let mut control = Control::default();
        assert_eq!(control.asked(&request), [Asked::Repair(repair)]);
        control.repair = Some(Repaired {
            id: "1".to_owned(),
            ..Repaired::default()
        });
        assert_eq!(control.asked(&request), []);
    }

    #[test]
    fn a_sweep_is_made_once() {
        let request = Request {
            sweep: Some("1".to_owned()),
            ..Request::default()
        };
        let mut control = Control::default();
        assert_eq!(control.asked(&request), [Asked::Sweep("1".to_owned())]);
        control.sweep = Some("1".to_owned());
        assert_eq!(control.asked(&request), []);
        assert_eq!(control.asked(&Request::default()), []);
    }

    #[test]
    fn a_load_is_started_once_and_a_pause_ends_with_the_next_request() {
        let mut control = Control::default();
        assert_eq!(
            control.asked(&reload("1", None)),
            [Asked::Reload(reload("1", None).reload.unwrap())]
        );
        control.reload = Some("1".to_owned());
        assert_eq!(control.asked(&reload("1", None)), []);
        let paused = Request {
            paused: true,
            ..reload("1", None)
        };
        assert_eq!(control.asked(&paused), [Asked::Pause]);
        control.paused = true;
        assert_eq!(control.asked(&reload("1", None)), [Asked::Resume]);
    }

    #[test]
    fn what_is_stored_is_read_back_and_a_damaged_part_is_none() {
        let control = Control {
            request: "7".to_owned(),
            paused: true,
            reload: Some("6".to_owned()),
            sweep: Some("5".to_owned()),
            repair: Some(Repaired {
                id: "4".to_owned(),
                rows: 3,
                found: 1,
                deletes: 2,
                refused: false,
            }),
        };
        let text = serde_json::to_string(&control).unwrap();
        let stored = |text: &str| Progress(BTreeMap::from([(CONTROL.to_owned(), text.to_owned())]));
        assert_eq!(Control::decode(&stored(&text)), control);
        assert_eq!(Control::decode(&stored("{")), Control::default());
    }
}
