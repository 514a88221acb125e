//! How the records of topics are written, and by whom: `kafka.format` and its like.

use inlet_model::Column;
use inlet_model::record::encoding::{DebeziumModes, DecimalMode, Encoding, TimeMode};

use super::file::{Problem, Problems, Text, Texts, Word};
use super::raw::{RawDebezium, RawKafka};
use super::value;

/// The format of records, without its settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordFormat {
    #[default]
    Json,
    Arrow,
    Plain,
    Debezium,
}

/// How the records of a pipeline are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordDefaults {
    pub format: RecordFormat,
    /// The columns of the keys of the messages; the key of the row when empty.
    pub topic_key: Vec<String>,
    pub debezium: DebeziumModes,
    pub writer: Writer,
}

/// How the records of a table are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordConfig {
    pub encoding: Encoding,
    /// The columns of the keys of the messages; the key of the row when empty.
    pub topic_key: Vec<String>,
}

/// The program that writes the topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writer {
    #[default]
    Inlet,
    Debezium,
}

impl RecordDefaults {
    /// The encoding of this format, or of the one for all tables.
    pub fn encoding(&self, own: Option<RecordFormat>) -> Encoding {
        match own.unwrap_or(self.format) {
            RecordFormat::Json => Encoding::Json,
            RecordFormat::Arrow => Encoding::Arrow,
            RecordFormat::Plain => Encoding::Plain,
            RecordFormat::Debezium => Encoding::Debezium(self.debezium),
        }
    }
}

pub(super) fn check(
    raw: &RawKafka,
    debezium: Option<&RawDebezium>,
    problems: &mut Problems,
) -> Option<RecordDefaults> {
    let format = problems.take(format("kafka.format", raw.format.as_ref()));
    let debezium = modes(debezium.unwrap_or(&RawDebezium::default()), problems);
    let writers = [("inlet", Writer::Inlet), ("debezium", Writer::Debezium)];
    let writer = problems.take(word("kafka.written_by", raw.written_by.as_ref(), &writers));
    Some(RecordDefaults {
        format: format?.unwrap_or_default(),
        topic_key: raw
            .topic_key
            .as_ref()
            .map(Texts::values)
            .unwrap_or_default(),
        debezium: debezium?,
        writer: writer?.unwrap_or_default(),
    })
}

/// The value of a key `format`, where it was given.
pub(super) fn format(key: &str, text: Option<&Word>) -> Result<Option<RecordFormat>, Problem> {
    let formats = [
        ("json", RecordFormat::Json),
        ("arrow", RecordFormat::Arrow),
        ("plain", RecordFormat::Plain),
        ("debezium", RecordFormat::Debezium),
    ];
    word(key, text, &formats)
}

/// The columns that a user declares.
pub(super) fn columns(
    key: &str,
    raw: Option<&Texts>,
    problems: &mut Problems,
) -> Option<Vec<Column>> {
    let texts = raw.map(|texts| texts.0.as_slice()).unwrap_or_default();
    let column = |text: &Text| {
        Column::declared(&text.value).map_err(|error| {
            Problem::at(&text.place, format!("`{key}`: {error}"))
                .hint("write name and type as in CREATE TABLE: `amount numeric(10,2) not null`")
        })
    };
    let columns: Vec<_> = texts
        .iter()
        .map(|text| problems.take(column(text)))
        .collect();
    columns.into_iter().collect()
}

fn modes(raw: &RawDebezium, problems: &mut Problems) -> Option<DebeziumModes> {
    let decimals = [
        ("precise", DecimalMode::Precise),
        ("string", DecimalMode::String),
        ("double", DecimalMode::Double),
    ];
    let times = [
        ("adaptive", TimeMode::Adaptive),
        (
            "adaptive_time_microseconds",
            TimeMode::AdaptiveTimeMicroseconds,
        ),
        ("connect", TimeMode::Connect),
    ];
    let schemas = raw
        .schemas
        .as_ref()
        .map_or(Ok(false), |text| value::boolean("debezium.schemas", text));
    let schemas = problems.take(schemas);
    let decimals = word("debezium.decimals", raw.decimals.as_ref(), &decimals);
    let decimals = problems.take(decimals);
    let times = problems.take(word("debezium.times", raw.times.as_ref(), &times));
    Some(DebeziumModes {
        schemas: schemas?,
        decimals: decimals?.unwrap_or_default(),
        times: times?.unwrap_or_default(),
    })
}

pub(super) fn word<T: Copy>(
    key: &str,
    word: Option<&Word>,
    all: &[(&str, T)],
) -> Result<Option<T>, Problem> {
    let text = word.and_then(|word| word.0.as_ref());
    text.map(|text| value::choice(key, text, all)).transpose()
}
