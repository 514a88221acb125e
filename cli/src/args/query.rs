//! The arguments of verbs that show rows: query, tail, views.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use clap::{Args, ValueEnum};

use super::ConfigFiles;

#[derive(Debug, Clone, Args)]
pub struct QueryArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The statement; `-` reads it from stdin. Without one DuckDB starts on the terminal, with the
    /// views of every table
    #[arg(value_name = "SQL", conflicts_with = "file")]
    pub sql: Option<String>,
    /// The file that holds the statement
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How the answer looks
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<QueryFormat>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The same as --format csv
    #[arg(long, conflicts_with_all = ["json", "format"])]
    pub csv: bool,
    #[command(flatten)]
    pub moment: Moment,
}

/// Which moment of the lake the views show.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Moment {
    /// Show the rows as they were known at this time, as `2026-11-27T18:00:00Z`, `2026-11-27
    /// 18:00` or `2026-11-27`; a time without a zone is in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<DateTime<Utc>>,
}

/// Reads a moment, with or without a zone.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let zoned = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    if let Ok(moment) = zoned {
        return Ok(moment.to_utc());
    }
    let formats = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ];
    let mut naive = formats
        .iter()
        .map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let midnight = || {
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()?
            .and_hms_opt(0, 0, 0)
    };
    let found = naive.find_map(|found| found).or_else(midnight);
    found.map(|moment| moment.and_utc()).ok_or_else(|| {
        "write it as `2026-11-27T18:00:00Z`, `2026-11-27 18:00` or `2026-11-27`".to_owned()
    })
}

/// How the answer of a query looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryFormat {
    /// For people
    Table,
    /// With a line of names
    Csv,
    /// An array of one object a row
    Json,
    /// A file for other programs
    Parquet,
}

impl QueryArguments {
    pub fn format(&self) -> QueryFormat {
        match self.format {
            Some(format) => format,
            None if self.json => QueryFormat::Json,
            None if self.csv => QueryFormat::Csv,
            None => QueryFormat::Table,
        }
    }
}

impl QueryFormat {
    /// DuckDB's own options for it.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["-json"],
            Self::Csv => &["-csv"],
            Self::Table | Self::Parquet => &[],
        }
    }
}

/// Tables of a configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfiguredTables {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The tables, as the configuration names them; all when none is given
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct TailArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The table, as the configuration names it
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Start with this many changes that are in the lake already
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub last: usize,
    /// Start with the first change that the lake has
    #[arg(long, conflicts_with = "last")]
    pub from_start: bool,
    /// Only the row whose key has this value; given once for each column of the key
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub key: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

impl TailArguments {
    /// How many changes are shown before new ones; `None`: all of them.
    pub fn last(&self) -> Option<usize> {
        (!self.from_start).then_some(self.last)
    }
}

#[derive(Debug, Clone, Args)]
pub struct ViewsArguments {
    #[command(flatten)]
    pub of: ConfiguredTables,
    #[command(flatten)]
    pub moment: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_with_or_without_a_zone() {
        let same = [
            "2026-11-27T18:00:00Z",
            "2026-11-27T20:00:00+02:00",
            "2026-11-27 20:00:00+02",
            "2026-11-27 18:00:00.000",
            "2026-11-27T18:00:00",
            "2026-11-27 18:00",
        ];
        for text in same {
            assert_eq!(moment(text).unwrap().timestamp(), 1_795_802_400, "{text}");
        }
        assert_eq!(moment("2026-11-27").unwrap().timestamp(), 1_795_737_600);
        assert!(moment("yesterday").is_err());
    }
}
