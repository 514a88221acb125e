//! `tables:` and `postgres.table`: which tables are captured, and what is special about each.

use chrono_tz::Tz;
use inlet_model::{Column, TableReference};
use secrecy::SecretString;

use super::exports::{self, Export};
use super::file::{Problem, Problems, Text, Texts, Word, value_from_file};
use super::raw::{RawConfig, RawTable};
use super::records::{self, RecordFormat};
use super::value;

/// Characters of the secret of hashes, at least: 64 bits where they are hexadecimal.
const HASH_KEY_LEAST: usize = 16;
/// The size at which a journal is full: hours of a busy table.
const JOURNAL_MAX: u64 = 1 << 30;

/// A captured table as the configuration names it. Whether it exists, and how its name is cased,
/// the catalog knows.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// Its name, or the pattern of several tables, as the user wrote it.
    pub table: TableReference,
    /// The column by which new rows are found; the catalog's choice when absent.
    pub cursor: Option<String>,
    /// The key columns in order; the primary key when empty.
    pub key: Vec<String>,
    /// The column whose date chooses the folder; when absent `created_at` and its like, else the
    /// first timestamp, else the first date.
    pub date_column: Option<String>,
    /// The zone in which its days begin.
    pub timezone: Tz,
    /// Its topic, where it was given; see [`super::KafkaConfig::topic_for`].
    pub topic: Option<String>,
    /// The format of its records, where it was given; see [`super::KafkaConfig::records_of`].
    pub format: Option<RecordFormat>,
    /// The columns of the keys of its messages, where they were given.
    pub topic_key: Vec<String>,
    /// The columns that the user declares, of a topic that another program writes.
    pub columns: Vec<Column>,
    /// Which of its columns are read, and how.
    pub choice: ColumnChoice,
    /// Which of its rows exist for readers.
    pub membership: Membership,
    /// Conditions that a row must meet to enter the lake, as text: `amount >= 0`.
    pub rules: Vec<String>,
    /// What becomes of values that the lake's type cannot hold.
    pub impossible_values: ImpossibleValues,
    /// How its deletes are found.
    pub deletes: Deletes,
    /// What triggers record of it.
    pub capture: Capture,
    /// The bytes at which its journal is full.
    pub journal_max: u64,
    /// The table whose changes this one holds, if it is a journal.
    pub journal_of: Option<TableReference>,
    /// The days before today whose rows stay in the lake; `None`: all do.
    pub keep: Option<u32>,
    /// The days before today whose rejected rows stay; `None`: all do.
    pub keep_quarantine: Option<u32>,
    /// The formats under which it is exported.
    pub exports: Vec<Export>,
    /// True for a table, or a pattern, that no other pattern captures.
    pub skip: bool,
}

/// Which columns of a table are read, and which of them only as a hash or a mask; by the names that
/// the user wrote.
#[derive(Debug, Clone, Default)]
pub struct ColumnChoice {
    /// The only columns that are read; all when empty.
    pub include: Vec<String>,
    /// Columns that are not read.
    pub exclude: Vec<String>,
    /// Columns of which readers get a keyed hash.
    pub hash: Vec<String>,
    /// Columns of which readers get a mask.
    pub mask: Vec<String>,
    /// The secret of the hashes.
    pub hash_key: Option<SecretString>,
}

impl ColumnChoice {
    /// True when columns of the table may be left unread, so that the role may lack the right to
    /// read them.
    pub fn leaves_out(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }
}

/// Which rows of a table exist for readers: those that fulfil one condition, and not the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// A condition of SQL that a row must fulfil.
    pub only: Option<String>,
    /// A condition of SQL under which a row counts as deleted.
    pub deleted_when: Option<String>,
}

impl Membership {
    /// The keys that have a condition, each with its condition.
    pub fn conditions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let only = self.only.as_deref().map(|sql| ("where", sql));
        let deleted = self.deleted_when.as_deref();
        only.into_iter()
            .chain(deleted.map(|sql| ("deleted_when", sql)))
    }

    /// The SQL that is true for a row that exists, and false for every other one; `None` where
    /// every row exists.
    ///
    /// Each condition is in brackets, and ends with its line: a comment at its end takes nothing
    /// away.
    pub fn sql(&self) -> Option<String> {
        let parts = self.conditions().map(|(key, sql)| {
            let not = if key == "where" { "" } else { "NOT " };
            // A condition on a null is null, which is neither.
            format!("({sql}\n) IS {not}TRUE")
        });
        let parts: Vec<_> = parts.collect();
        (!parts.is_empty()).then(|| format!("({})", parts.join(" AND ")))
    }
}

/// How the deletes of a table are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deletes {
    /// Its keys are compared with those that are published.
    #[default]
    Census,
    /// They are not looked for.
    Ignored,
}

impl Deletes {
    const ALL: [(&str, Self); 2] = [("census", Self::Census), ("ignore", Self::Ignored)];
}

/// What triggers record of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capture {
    /// There are no triggers.
    #[default]
    None,
    /// The key of each change.
    Keys,
    /// Each change with its values and its author.
    Audit,
}

impl Capture {
    const ALL: [(&str, Self); 3] = [
        ("none", Self::None),
        ("keys", Self::Keys),
        ("audit", Self::Audit),
    ];

    /// The word of the configuration for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Keys => "keys",
            Self::Audit => "audit",
        }
    }
}

/// What becomes of a value that the lake's type cannot hold: `infinity` in a date or timestamp,
/// `NaN` in a `numeric(p,s)`, an array of two dimensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImpossibleValues {
    /// Its row goes to quarantine, whole.
    #[default]
    Quarantine,
    /// Null is written in its place, and counted.
    Null,
    /// Every column that can have one is text, with all its values.
    Text,
}

impl ImpossibleValues {
    const ALL: [(&str, Self); 3] = [
        ("quarantine", Self::Quarantine),
        ("null", Self::Null),
        ("text", Self::Text),
    ];
}

impl TableConfig {
    /// A table without settings of its own.
    pub fn named(table: TableReference) -> Self {
        Self {
            table,
            cursor: None,
            key: Vec::new(),
            date_column: None,
            timezone: Tz::UTC,
            topic: None,
            format: None,
            topic_key: Vec::new(),
            columns: Vec::new(),
            choice: ColumnChoice::default(),
            membership: Membership::default(),
            rules: Vec::new(),
            impossible_values: ImpossibleValues::default(),
            deletes: Deletes::default(),
            capture: Capture::default(),
            journal_max: JOURNAL_MAX,
            journal_of: None,
            keep: None,
            keep_quarantine: None,
            exports: Vec::new(),
            skip: false,
        }
    }

    /// The journal of this table, which Inlet polls as another table.
    fn journal(&self) -> Self {
        Self {
            timezone: self.timezone,
            exports: self.exports.clone(),
            topic: self.topic.as_ref().map(|topic| format!("{topic}_changes")),
            format: self.format,
            ..Self::named(self.table.journal())
        }
        .into_journal_of(self.table.clone())
    }

    /// What Inlet knows of a journal, where the user has not written something else.
    fn into_journal_of(self, table: TableReference) -> Self {
        let or = |own: Option<String>, ours: &str| own.or_else(|| Some(ours.to_owned()));
        let or_list = |own: Vec<String>, ours: &[&str]| match own.is_empty() {
            true => ours.iter().map(ToString::to_string).collect(),
            false => own,
        };
        Self {
            cursor: or(self.cursor, "changed_at"),
            // The columns of the journal's index, in its order.
            key: or_list(self.key, &["changed_at", "change_id"]),
            date_column: or(self.date_column, "transaction_at"),
            // The changes of one row stay in their order.
            topic_key: or_list(self.topic_key, &["key"]),
            // Only Inlet deletes from it, what the lake has.
            deletes: Deletes::Ignored,
            journal_of: Some(table),
            ..self
        }
    }

    /// The name as a user knows it: `orders`, or `sales.orders`.
    pub fn written(&self) -> String {
        self.table.written()
    }
}

/// Adds the journals of the tables that have one. A journal that the configuration names keeps what
/// is written there.
pub(super) fn add_journals(tables: &mut Vec<TableConfig>) {
    let captured = tables.iter().filter(|table| {
        table.capture != Capture::None && !table.is_pattern() && table.journal_of.is_none()
    });
    for table in captured.cloned().collect::<Vec<_>>() {
        let journal = table.journal();
        let named = tables
            .iter_mut()
            .find(|other| other.table.may_be(&journal.table));
        match named {
            Some(named) => *named = named.clone().into_journal_of(table.table),
            None => tables.push(journal),
        }
    }
}

/// All tables of `tables:`, and the one of `postgres.table` unless it is among them.
pub(super) fn check(
    raw: &RawConfig,
    timezone: Tz,
    exports: &[Export],
    problems: &mut Problems,
) -> Vec<TableConfig> {
    let mut tables: Vec<TableConfig> = Vec::new();
    let hash_key = hash_key(raw, problems);
    for (name, settings) in raw.tables.iter().flatten() {
        let settings = settings.clone().unwrap_or_default();
        tables.extend(table(name, &settings, (timezone, exports), problems));
    }
    if let Some(text) = raw
        .postgres
        .as_ref()
        .and_then(|postgres| postgres.table.as_ref())
    {
        match TableReference::parse(&text.value) {
            Ok(named) if tables.iter().any(|table| table.table.may_be(&named)) => {}
            _ => tables.extend(table(
                text,
                &RawTable::default(),
                (timezone, exports),
                problems,
            )),
        }
    }
    for table in &mut tables {
        table.choice.hash_key.clone_from(&hash_key);
    }
    // Beside a pattern it tells what not to take; alone it would only be in the way.
    if !tables.iter().any(TableConfig::is_pattern) {
        tables.retain(|table| !table.skip);
    }
    if tables.is_empty() && problems.len() == 0 {
        let hint = "name one with `postgres: { table: orders }`, or several with `tables: { \
            orders: {}, customers: {} }`";
        problems.add(Problem::new("no table is named").hint(hint));
    }
    tables
}

/// Refuses DuckLake over a bucket: its catalog is a file that a database program changes in place.
pub(super) fn refuse_catalog_in_bucket(tables: &[TableConfig], problems: &mut Problems) {
    let exported = |table: &&TableConfig| table.exports.contains(&Export::DuckLake);
    if let Some(table) = tables.iter().find(exported) {
        let what = format!(
            "table `{}` is exported as DuckLake, and `datalake.path` is in a bucket",
            table.written()
        );
        let hint = "the catalog of DuckLake needs a disk: write `exports: delta`, which a bucket \
            can hold";
        problems.add(Problem::new(what).hint(hint));
    }
}

/// The secret of the hashes. Only the process that reads the tables needs it, so its absence shows
/// where a column is to be hashed.
fn hash_key(raw: &RawConfig, problems: &mut Problems) -> Option<SecretString> {
    let postgres = raw.postgres.as_ref()?;
    let (own, file) = (postgres.hash_key.as_ref(), postgres.hash_key_file.as_ref());
    let key = value_from_file("postgres.hash_key", own, file, problems)?;
    if key.value.chars().count() < HASH_KEY_LEAST {
        let what = format!("`postgres.hash_key` has fewer than {HASH_KEY_LEAST} characters");
        let hint = "a short secret can be guessed; make one with `openssl rand -hex 32`";
        problems.add(Problem::at(&key.place, what).hint(hint));
        return None;
    }
    Some(SecretString::from(key.value))
}

fn table(
    written: &Text,
    settings: &RawTable,
    (timezone, exports): (Tz, &[Export]),
    problems: &mut Problems,
) -> Option<TableConfig> {
    let name = name(written);
    let zone_key = format!("tables.{}.timezone", written.value);
    let timezone = settings
        .timezone
        .as_ref()
        .map_or(Ok(timezone), |text| value::timezone(&zone_key, text));
    let impossible = &settings.impossible_values;
    let impossible = chosen(
        written,
        "impossible_values",
        impossible,
        &ImpossibleValues::ALL,
    );
    let deletes = chosen(written, "deletes", &settings.deletes, &Deletes::ALL);
    let format_key = format!("tables.{}.format", written.value);
    let format = records::format(&format_key, settings.format.as_ref());
    let columns_key = format!("tables.{}.columns", written.value);
    let columns = records::columns(&columns_key, settings.columns.as_ref(), problems);
    let choice = choice(written, settings, problems);
    let recorded = recorded(written, settings, problems);
    let kept = kept(written, settings, problems);
    let exports = exported(written, settings, exports);
    let skip_key = format!("tables.{}.skip", written.value);
    let skip = settings
        .skip
        .as_ref()
        .map_or(Ok(false), |text| value::boolean(&skip_key, text));
    let (name, timezone, impossible, deletes, format, exports, skip) = (
        problems.take(name),
        problems.take(timezone),
        problems.take(impossible),
        problems.take(deletes),
        problems.take(format),
        problems.take(exports),
        problems.take(skip),
    );
    let (table, timezone, impossible_values) = (name?, timezone?, impossible?);
    let (deletes, format, columns, skip) = (deletes?, format?, columns?, skip?);
    let (keep, keep_quarantine) = kept?;
    let (capture, journal_max) = recorded?;
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.value.clone());
    let texts = |texts: &Option<Texts>| texts.as_ref().map(Texts::values).unwrap_or_default();
    Some(TableConfig {
        table,
        cursor: text(&settings.cursor),
        key: texts(&settings.key),
        date_column: text(&settings.date_column),
        timezone,
        topic: text(&settings.topic),
        format,
        columns,
        choice,
        membership: Membership {
            only: text(&settings.r#where),
            deleted_when: text(&settings.deleted_when),
        },
        topic_key: texts(&settings.topic_key),
        rules: texts(&settings.rules),
        impossible_values,
        keep,
        keep_quarantine,
        deletes,
        capture,
        journal_max,
        journal_of: None,
        exports: exports?,
        skip,
    })
}

/// The formats of a table: its own, else those of the lake.
fn exported(
    written: &Text,
    settings: &RawTable,
    of_lake: &[Export],
) -> Result<Vec<Export>, Problem> {
    let key = format!("tables.{}.exports", written.value);
    let own = settings.exports.as_ref();
    own.map_or(Ok(of_lake.to_vec()), |texts| exports::check(&key, texts))
}

fn name(written: &Text) -> Result<TableReference, Problem> {
    TableReference::parse(&written.value).map_err(|what| {
        let problem = Problem::at(
            &written.place,
            format!("`{}` does not name a table: {what}", written.value),
        );
        problem.hint(
            "write `orders` or `schema.orders`; a part that holds a dot goes in double \
            quotes: 'sales.\"a.b\"'",
        )
    })
}

/// The columns to read, with a problem where a column is named in two ways that exclude each other.
fn choice(written: &Text, settings: &RawTable, problems: &mut Problems) -> ColumnChoice {
    let texts = |texts: &Option<Texts>| texts.as_ref().map(Texts::values).unwrap_or_default();
    if settings.include_columns.is_some() && settings.exclude_columns.is_some() {
        let table = &written.value;
        let what = format!("table `{table}` has `include_columns` and `exclude_columns`");
        problems.add(Problem::at(&written.place, what).hint("write one of both"));
    }
    ColumnChoice {
        include: texts(&settings.include_columns),
        exclude: texts(&settings.exclude_columns),
        hash: texts(&settings.hash_columns),
        mask: texts(&settings.mask_columns),
        hash_key: None,
    }
}

/// What is recorded of the table, and the size of its journal; `None` where one of both is wrong.
fn recorded(
    written: &Text,
    settings: &RawTable,
    problems: &mut Problems,
) -> Option<(Capture, u64)> {
    let capture = chosen(written, "capture", &settings.capture, &Capture::ALL);
    let size_key = format!("tables.{}.journal_max", written.value);
    let size = settings.journal_max.as_ref();
    let size = size.map_or(Ok(JOURNAL_MAX), |text| value::size(&size_key, text));
    let (capture, size) = (problems.take(capture), problems.take(size));
    if capture? != Capture::None && settings.r#where.is_some() {
        let table = &written.value;
        let what = format!("table `{table}` has `capture` and `where`");
        let hint = "triggers record the changes of every row: leave one of both out";
        problems.add(Problem::at(&written.place, what).hint(hint));
    }
    Some((capture?, size?))
}

/// The days for which rows and rejected rows stay; `None` where one of both is wrong.
fn kept(
    written: &Text,
    settings: &RawTable,
    problems: &mut Problems,
) -> Option<(Option<u32>, Option<u32>)> {
    let days = |name: &str, text: &Option<Text>| {
        let key = format!("tables.{}.{name}", written.value);
        text.as_ref()
            .map(|text| value::days(&key, text))
            .transpose()
    };
    let keep = problems.take(days("keep", &settings.keep));
    let keep_quarantine = problems.take(days("keep_quarantine", &settings.keep_quarantine));
    Some((keep?, keep_quarantine?))
}

/// The word of a table's key; the default where it is not given.
fn chosen<T: Copy + Default>(
    table: &Text,
    key: &str,
    word: &Option<Word>,
    all: &[(&str, T)],
) -> Result<T, Problem> {
    let text = word.as_ref().and_then(|word| word.0.as_ref());
    let key = format!("tables.{}.{key}", table.value);
    text.map_or(Ok(T::default()), |text| value::choice(&key, text, all))
}
