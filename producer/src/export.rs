//! A readable copy of the progress, for people and scripts; the truth is in the sink.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::DateTime;
use inlet_service::file::replace;
use tracing::warn;

use crate::source::poll::Source;

/// Copies are written at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where the copy goes, if anywhere.
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

    /// Writes the copy when one is due. A failure is a warning: nothing depends on it.
    pub fn write(&mut self, source: &Source) {
        let Some(file) = &self.file else { return };
        if self
            .written
            .is_some_and(|written| written.elapsed() < INTERVAL)
        {
            return;
        }
        self.written = Some(Instant::now());
        let table = |table: &crate::source::table::Table| {
            let read_at = table
                .activity
                .as_ref()
                .and_then(|activity| DateTime::from_timestamp_micros(activity.read_at.0));
            let until =
                read_at.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
            let state = serde_json::json!({ "phase": table.phase.name(), "read_until": until });
            (table.captured.schema.table.to_string(), state)
        };
        let text = serde_json::Value::Object(source.tables.iter().map(table).collect()).to_string();
        if let Err(error) = replace(file, text.as_bytes()) {
            warn!(file = %file.display(), %error, "readable copy of the progress could not be written");
        }
    }
}
