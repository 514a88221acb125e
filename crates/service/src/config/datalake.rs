//! `datalake:` where the tables land.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use super::exports::{self, Export};
use super::file::{Problem, Problems, Text};
use super::raw::RawDatalake;
use super::value;

const COMPACTION_INTERVAL: Duration = Duration::from_secs(60);
const COMPACTION_RATE: u64 = 8 << 20;
/// What the addresses of buckets begin with.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// The lake's place and shape.
#[derive(Debug, Clone)]
pub struct DatalakeConfig {
    /// A folder, or the address of one in a bucket.
    pub path: PathBuf,
    /// How the bucket is reached; `None` for a folder.
    pub bucket: Option<BucketConfig>,
    /// The format of data files.
    pub format: Format,
    /// The zone in which a day begins and ends, for the folders `date=..`; a table may have its
    /// own.
    pub timezone: Tz,
    /// The pause between two looks for small files to merge; nothing: only by `inlet compact`.
    pub compaction_interval: Duration,
    /// Bytes that merging reads a second, at most.
    pub compaction_rate: u64,
    /// The formats under which its tables are exported; a table may have its own.
    pub exports: Vec<Export>,
    /// True when a new lake may be filled where an earlier one is missing; the command line sets
    /// it.
    pub may_be_new: bool,
}

/// How a bucket is reached, beside its address. Credentials are never in a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketConfig {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub allow_http: bool,
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
        if text.value.contains("://") {
            return address(text);
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
    let exports = raw.exports.as_ref();
    let exports = exports.map_or(Ok(Vec::new()), |texts| {
        exports::check("datalake.exports", texts)
    });
    let is_address = path.as_ref().is_ok_and(|path| is_address(path));
    let bucket = bucket(raw, is_address);
    let (path, bucket, format, timezone) = (
        problems.take(path),
        problems.take(bucket),
        problems.take(format),
        problems.take(timezone),
    );
    let (compaction_interval, compaction_rate, exports) = (
        problems.take(compaction_interval),
        problems.take(compaction_rate),
        problems.take(exports),
    );
    Some(DatalakeConfig {
        path: path?,
        bucket: bucket?,
        format: format?,
        timezone: timezone?,
        compaction_interval: compaction_interval?,
        compaction_rate: compaction_rate?,
        exports: exports?,
        may_be_new: false,
    })
}

fn is_address(path: &Path) -> bool {
    path.to_string_lossy().contains("://")
}

/// The address of a folder in a bucket.
fn address(text: &Text) -> Result<PathBuf, Problem> {
    let problem = |what: &str| {
        let what = format!("`datalake.path` {what}: `{}`", text.value);
        Problem::at(&text.place, what).hint("write s3://bucket/folder, gs://.. or az://..")
    };
    let (scheme, rest) = text.value.split_once("://").unwrap_or_default();
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    if !SCHEMES.contains(&scheme) {
        return Err(problem("is an address of another kind than a bucket's"));
    }
    // A part before `@` would be a credential, and `?` or `#` the options of another program.
    if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
        return Err(problem("does not begin with the name of a bucket"));
    }
    let is_plain = |part: &str| {
        let is_allowed = |sign: char| sign.is_ascii_alphanumeric() || "-_.=+~".contains(sign);
        !part.is_empty() && part != "." && part != ".." && part.chars().all(is_allowed)
    };
    let folder = folder.trim_end_matches('/');
    // DuckDB would read other signs as a pattern, or servers encode them in different ways.
    if !folder.is_empty() && !folder.split('/').all(is_plain) {
        return Err(problem(
            "has a part with other signs than letters, digits and - _ . = + ~",
        ));
    }
    let address = format!("{scheme}://{bucket}/{folder}");
    Ok(PathBuf::from(address.trim_end_matches('/')))
}

fn bucket(raw: &RawDatalake, is_address: bool) -> Result<Option<BucketConfig>, Problem> {
    let keys = [
        ("endpoint", &raw.endpoint),
        ("region", &raw.region),
        ("allow_http", &raw.allow_http),
    ];
    if !is_address {
        let given = keys
            .iter()
            .find_map(|(key, text)| Some((key, text.as_ref()?)));
        return match given {
            Some((key, text)) => {
                let what = format!("`datalake.{key}` is of a bucket, and `datalake.path` is none");
                Err(Problem::at(&text.place, what).hint("remove it, or write s3://bucket/folder"))
            }
            None => Ok(None),
        };
    }
    let allow_http = match &raw.allow_http {
        Some(text) => value::boolean("datalake.allow_http", text)?,
        None => false,
    };
    if let Some(text) = &raw.endpoint {
        let place = &text.place;
        // The message leaves the value out: it may have a password in it.
        if text.value.contains('@') {
            let problem = Problem::at(place, "`datalake.endpoint` has a user or a password");
            return Err(problem.hint("credentials are taken from the environment"));
        }
        let is_http = text.value.starts_with("http://");
        if !is_http && !text.value.starts_with("https://") {
            let what = format!("`datalake.endpoint` is not an address: `{}`", text.value);
            return Err(Problem::at(place, what).hint("write https://host:port"));
        }
        if is_http && !allow_http {
            let what = format!("`datalake.endpoint` is without TLS: `{}`", text.value);
            let hint = "use https://, or set `datalake.allow_http: true` on a network of your own";
            return Err(Problem::at(place, what).hint(hint));
        }
    }
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.value.clone());
    Ok(Some(BucketConfig {
        endpoint: text(&raw.endpoint),
        region: text(&raw.region),
        allow_http,
    }))
}
