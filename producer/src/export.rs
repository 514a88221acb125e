//! A readable copy of the progress, for people and scripts. The poll resumes from the sink alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::DateTime;
use inlet_service::file::replace;
use tracing::warn;

use crate::source::phase::Phase;
use crate::source::table::PolledTable;

/// Copies are written at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file of the copy, if one is configured.
pub struct Export {
    file: Option<PathBuf>,
    written: Option<Instant>,
}

impl Export {
    /// A location is a file; one that is a folder, or ends like one, gets the file
    /// `last_processed_timestamp.json`.
    pub fn new(location: Option<PathBuf>) -> Self {
        let folder =
            |path: &Path| path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/');
        let file = location.map(|path| {
            if folder(&path) {
                path.join("last_processed_timestamp.json")
            } else {
                path
            }
        });
        Self {
            file,
            written: None,
        }
    }

    /// Writes the copy when one is due. A failure is only logged, because the copy is never read
    /// back.
    pub fn write(&mut self, tables: &[PolledTable]) {
        let Some(file) = &self.file else { return };
        if self
            .written
            .is_some_and(|written| written.elapsed() < INTERVAL)
        {
            return;
        }
        // A failed attempt counts as well, so that a full disk is not asked again with every poll.
        self.written = Some(Instant::now());
        let table = |table: &PolledTable| {
            let read_at = match &table.phase {
                Phase::Tailing(activity) => DateTime::from_timestamp_micros(activity.read_at.0),
                Phase::Loading(_) | Phase::Joining(_) => None,
            };
            let until =
                read_at.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
            let state = serde_json::json!({ "phase": table.phase.name(), "read_until": until });
            (table.name().to_string(), state)
        };
        let text = serde_json::Value::Object(tables.iter().map(table).collect()).to_string();
        if let Err(error) = replace(file, text.as_bytes()) {
            warn!(file = %file.display(), %error, "readable copy of the progress could not be \
                written");
        }
    }
}
