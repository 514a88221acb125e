//! `streaming:` how often and how much at once.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use super::file::{Problems, Text};
use super::raw::RawStreaming;
use super::value;

/// More connections bring little, because the encoder of the lake is busy with four.
const LOAD_CONNECTIONS_MAX: usize = 4;

/// Intervals, sizes, and where readable copies of the progress go.
#[derive(Debug, Clone)]
pub struct StreamingConfig {
    /// The file or folder that receives a readable copy of the consumer's offsets; the truth is in
    /// the lake's log.
    pub checkpoint_location: Option<PathBuf>,
    /// The file or folder that receives a readable copy of the producer's position; the truth is in
    /// the sink.
    pub last_processed_timestamp_location: Option<PathBuf>,
    /// The longest pause between two polls when nothing changes.
    pub poll_interval: Duration,
    /// The longest time a row waits in memory before it is committed to the lake.
    pub flush_interval: Duration,
    /// How often a whole table is read for rows that their timestamps hide.
    pub sweep_interval: Duration,
    /// How deletes are found.
    pub census: CensusConfig,
    /// How often the catalog is asked for new tables that a pattern means; nothing: only at the
    /// start.
    pub discover_interval: Duration,
    /// Connections that read a table side by side while it is loaded.
    pub load_connections: usize,
    /// Rows in memory that are committed before the interval is over.
    pub flush_rows: u64,
    /// Bytes in memory that are committed before the interval is over.
    pub flush_bytes: u64,
}

/// How the keys of tables are compared with those that are published, to find deletes.
#[derive(Debug, Clone, Copy)]
pub struct CensusConfig {
    /// How often keys are compared also when PostgreSQL has counted no delete.
    pub interval: Duration,
    /// Percent of a core that the comparisons may take, from 1 to 100.
    pub percent: u8,
    /// Bytes that the keys of one table may take.
    pub memory: u64,
}

impl Default for CensusConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3600),
            percent: 2,
            memory: 128 << 20,
        }
    }
}

impl Default for StreamingConfig {
    fn default() -> Self {
        Self {
            checkpoint_location: None,
            last_processed_timestamp_location: None,
            poll_interval: Duration::from_millis(250),
            flush_interval: Duration::from_secs(1),
            sweep_interval: Duration::from_secs(3600),
            census: CensusConfig::default(),
            discover_interval: Duration::from_secs(60),
            load_connections: std::thread::available_parallelism()
                .map_or(1, NonZero::get)
                .min(LOAD_CONNECTIONS_MAX),
            flush_rows: 1_000_000,
            flush_bytes: 128 << 20,
        }
    }
}

pub(super) fn check(
    raw: Option<&RawStreaming>,
    problems: &mut Problems,
) -> Option<StreamingConfig> {
    let default = StreamingConfig::default();
    let Some(raw) = raw else {
        return Some(default);
    };
    let mut duration = |key: &str, text: &Option<Text>, default| {
        let checked = text.as_ref().map_or(Ok(default), |text| {
            value::duration(&format!("streaming.{key}"), text)
        });
        problems.take(checked)
    };
    let batch = raw.batch_interval.as_ref().map(in_seconds);
    let batch_interval = duration("batch_interval", &batch, Duration::ZERO);
    let both = batch_interval.filter(|interval| !interval.is_zero());
    let poll_interval = duration(
        "poll_interval",
        &raw.poll_interval,
        both.unwrap_or(default.poll_interval),
    );
    let flush_interval = duration(
        "flush_interval",
        &raw.flush_interval,
        both.unwrap_or(default.flush_interval),
    );
    let sweep_interval = duration(
        "sweep_interval",
        &raw.sweep_interval,
        default.sweep_interval,
    );
    let discover_interval = match &raw.discover_interval {
        Some(text) if ["0", "0s"].contains(&text.value.as_str()) => Some(Duration::ZERO),
        text => duration("discover_interval", text, default.discover_interval),
    };
    let census = census(raw, problems);
    let mut count = |key: &str, text: &Option<Text>, default| {
        let checked = text.as_ref().map_or(Ok(default), |text| {
            value::count(&format!("streaming.{key}"), text, 1)
        });
        problems.take(checked)
    };
    let flush_rows = count("flush_rows", &raw.flush_rows, default.flush_rows);
    let connections = default.load_connections as u64;
    let load_connections = count("load_connections", &raw.load_connections, connections);
    let flush_bytes = raw
        .flush_bytes
        .as_ref()
        .map_or(Ok(default.flush_bytes), |text| {
            value::size("streaming.flush_bytes", text)
        });
    let flush_bytes = problems.take(flush_bytes);
    let checkpoint_location = path("checkpoint_location", &raw.checkpoint_location, problems);
    let position = &raw.last_processed_timestamp_location;
    let last_processed_timestamp_location =
        path("last_processed_timestamp_location", position, problems);
    Some(StreamingConfig {
        checkpoint_location: checkpoint_location?,
        last_processed_timestamp_location: last_processed_timestamp_location?,
        poll_interval: poll_interval?,
        flush_interval: flush_interval?,
        sweep_interval: sweep_interval?,
        census: census?,
        discover_interval: discover_interval?,
        load_connections: usize::try_from(load_connections?).unwrap_or(usize::MAX),
        flush_rows: flush_rows?,
        flush_bytes: flush_bytes?,
    })
}

fn path(key: &str, text: &Option<Text>, problems: &mut Problems) -> Option<Option<PathBuf>> {
    let checked = text
        .as_ref()
        .map(|text| text.path(&format!("streaming.{key}")));
    problems.take(checked.transpose())
}

fn census(raw: &RawStreaming, problems: &mut Problems) -> Option<CensusConfig> {
    let default = CensusConfig::default();
    let interval = raw.census_interval.as_ref();
    let interval = problems.take(interval.map_or(Ok(default.interval), |text| {
        value::duration("streaming.census_interval", text)
    }));
    let percent = raw.census_percent.as_ref();
    let percent = problems.take(percent.map_or(Ok(default.percent), |text| {
        value::percent("streaming.census_percent", text)
    }));
    let memory = raw.census_memory.as_ref();
    let memory = problems.take(memory.map_or(Ok(default.memory), |text| {
        value::size("streaming.census_memory", text)
    }));
    Some(CensusConfig {
        interval: interval?,
        percent: percent?,
        memory: memory?,
    })
}

/// `batch_interval` alone takes a bare number: its unit was always the second.
fn in_seconds(text: &Text) -> Text {
    let bare = text.value.chars().all(|c| c.is_ascii_digit());
    Text {
        value: if bare {
            format!("{}s", text.value)
        } else {
            text.value.clone()
        },
        place: text.place.clone(),
    }
}
