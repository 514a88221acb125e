//! `datalake:` where the tables land.

use std::path::PathBuf;

use chrono_tz::Tz;

use super::file::{Problem, Problems};
use super::raw::RawDatalake;
use super::value;

/// The lake's place and shape.
#[derive(Debug, Clone)]
pub struct DatalakeConfig {
    pub path: PathBuf,
    /// The format of data files.
    pub format: Format,
    /// The zone in which a day begins and ends, for the folders `date=..`; a table may have its
    /// own.
    pub timezone: Tz,
}

/// The format of data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Parquet,
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
        text.path("datalake.path")
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
    let (path, format, timezone) = (
        problems.take(path),
        problems.take(format),
        problems.take(timezone),
    );
    Some(DatalakeConfig {
        path: path?,
        format: format?,
        timezone: timezone?,
    })
}
