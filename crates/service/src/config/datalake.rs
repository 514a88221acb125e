//! `datalake:` where the tables land.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use super::file::{Problem, Problems, Text};
use super::raw::RawDatalake;
use super::value;

const COMPACTION_INTERVAL: Duration = Duration::from_secs(60);
const COMPACTION_RATE: u64 = 8 << 20;

/// The lake's place and shape.
#[derive(Debug, Clone)]
pub struct DatalakeConfig {
    pub path: PathBuf,
    /// The format of data files.
    pub format: Format,
    /// The zone in which a day begins and ends, for the folders `date=..`; a table may have its
    /// own.
    pub timezone: Tz,
    /// The pause between two looks for small files to merge; nothing: only by `inlet compact`.
    pub compaction_interval: Duration,
    /// Bytes that merging reads a second, at most.
    pub compaction_rate: u64,
}

/// The format of data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Parquet,
}

/// Refuses a path that 0.1.0 took relative to the folder in which it was started, if the lake is
/// still there: a second lake would be started elsewhere without a warning.
fn not_left_behind(text: &Text, path: PathBuf) -> Result<PathBuf, Problem> {
    let before = Path::new(&text.value);
    if path == before || path.exists() || !holds_a_lake(before) {
        return Ok(path);
    }
    let what = format!(
        "`datalake.path` is relative to the folder of this file, which makes it `{}`, and a lake is \
         at `{}` in the folder in which inlet was started",
        path.display(),
        before.display()
    );
    let whole = std::path::absolute(before).unwrap_or_else(|_| before.to_owned());
    let hint = format!("write the whole path: `path: {}`", whole.display());
    Err(Problem::at(&text.place, what).hint(hint))
}

/// True for the folder of one table's lake, and for one with such folders.
fn holds_a_lake(folder: &Path) -> bool {
    let is_table = |folder: &Path| folder.join("_log").is_dir();
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    is_table(folder) || below.into_iter().any(|entry| is_table(&entry.path()))
}

pub(super) fn check(raw: &RawDatalake, problems: &mut Problems) -> Option<DatalakeConfig> {
    let path = raw.path.as_ref().ok_or_else(|| {
        Problem::new("`datalake.path` is missing")
            .hint("add the lake's folder, for example `path: ./datalake`")
    });
    let path = path.and_then(|text| {
        // An address of an object store would otherwise be created as a folder of this name.
        if text.value.contains("://") {
            let problem = Problem::at(
                &text.place,
                format!(
                    "`datalake.path` must be a folder, not an address: `{}`",
                    text.value
                ),
            );
            return Err(problem.hint("give the path of a local or mounted folder"));
        }
        // DuckDB reads it as another separator in a pattern, and then finds no file.
        if text.value.contains('\\') {
            let problem = Problem::at(
                &text.place,
                format!("`datalake.path` contains a backslash: `{}`", text.value),
            );
            return Err(problem.hint("readers take it for a separator: name the folder without it"));
        }
        not_left_behind(text, text.path("datalake.path")?)
    });
    let format = match &raw.format {
        Some(text) if !text.value.eq_ignore_ascii_case("parquet") => Err(Problem::at(
            &text.place,
            format!("`datalake.format` is not known: `{}`", text.value),
        )
        .hint("the formats are: parquet")),
        _ => Ok(Format::Parquet),
    };
    let timezone = raw.timezone.as_ref().map_or(Ok(Tz::UTC), |text| {
        value::timezone("datalake.timezone", text)
    });
    let compaction_interval = match &raw.compaction_interval {
        None => Ok(COMPACTION_INTERVAL),
        Some(text) if ["0", "0s"].contains(&text.value.as_str()) => Ok(Duration::ZERO),
        Some(text) => value::duration("datalake.compaction_interval", text),
    };
    let compaction_rate = raw
        .compaction_rate
        .as_ref()
        .map_or(Ok(COMPACTION_RATE), |text| {
            value::size("datalake.compaction_rate", text)
        });
    let (path, format, timezone) = (
        problems.take(path),
        problems.take(format),
        problems.take(timezone),
    );
    let (compaction_interval, compaction_rate) = (
        problems.take(compaction_interval),
        problems.take(compaction_rate),
    );
    Some(DatalakeConfig {
        path: path?,
        format: format?,
        timezone: timezone?,
        compaction_interval: compaction_interval?,
        compaction_rate: compaction_rate?,
    })
}
