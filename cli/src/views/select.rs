//! The SELECT of each view. Pure.
//!
//! * The latest state has exactly the columns that the table has now, under their names and with
//!   their types: one row a key, the one that was found last.
//! * The history has every version as it was: the same columns, those of dropped columns, and the
//!   change columns.
//!
//! A column that was renamed has several names in the files, and each file has at most one of them.
//! A version without a value in a key column that is never null is older than the key's present
//! meaning; the load that followed the change brought its row again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use inlet_lake::{CHANGE_COLUMNS, QUARANTINE_COLUMNS};
use inlet_model::change::{DELETE, DETECTED_AT, KAFKA_PARTITION, OFFSET, OP};
use inlet_model::{ColumnType, Scalar, is_blank_padded, quote};

use super::columns::{Columns, Present};
use super::names::distinct;
use crate::duckdb::literal;

/// The column of a file's path, where the date has to be taken from it.
const PATH: &str = "_inlet_path";
/// The name of the files' rows. A name after it is a column of the files, also where a column of
/// the view has the same name.
const FILES: &str = "files";

/// The files that a view reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// Those that a pattern matches when the view is read.
    Matching(PathBuf, &'static str),
    /// These.
    Named(Vec<PathBuf>),
    /// Those of a table of another format, by the SQL that names it.
    Exported(String),
}

/// A table of the lake, as its views need it.
#[derive(Debug, Clone)]
pub struct Table {
    /// `None` before the first commit.
    pub columns: Option<Columns>,
    /// The data files; `None` without any.
    pub data: Option<Files>,
    /// The files of rejected rows; `None` without any.
    pub rejected: Option<Files>,
    /// The key of the folders by date.
    pub date_key: String,
    /// True when the log has rows of more than one kafka_partition.
    pub is_spread: bool,
    /// The views have the versions that were found until then; `None` for all.
    pub as_of: Option<DateTime<Utc>>,
}

impl Table {
    /// Leaves out files that are not read: those that the log does not name, and damaged ones.
    pub fn leave_out(&mut self, files: &BTreeSet<PathBuf>) {
        for read in [&mut self.data, &mut self.rejected] {
            if let Some(Files::Named(named)) = read {
                named.retain(|file| !files.contains(file));
                if named.is_empty() {
                    *read = None;
                }
            }
        }
    }

    /// The latest state: the table's columns alone.
    pub fn latest(&self) -> String {
        self.latest_with(&[])
    }

    /// The latest state without the rows whose files are in the folders of these dates, with change
    /// columns after the table's own.
    pub fn latest_without(&self, dates: &BTreeSet<String>, change: &[&str]) -> String {
        if self.columns.is_none() || self.data.is_none() {
            return self.latest_with(change);
        }
        let with_date = [change, &[self.date_key.as_str()]].concat();
        let key = quote(&self.date_key);
        let dates: Vec<_> = dates.iter().map(|date| format!("DATE '{date}'")).collect();
        format!(
            "SELECT * EXCLUDE ({key})\nFROM (\n{}\n)\nWHERE {key} IS NULL OR {key} NOT IN ({})",
            self.latest_with(&with_date),
            dates.join(", ")
        )
    }

    /// The latest state, with change columns after the table's own.
    pub fn latest_with(&self, change: &[&str]) -> String {
        let Some(columns) = &self.columns else {
            return "SELECT 0::BIGINT AS _offset WHERE false".to_owned();
        };
        let Some(data) = &self.data else {
            let more = CHANGE_COLUMNS.into_iter();
            let more = more.filter(|(name, _)| change.contains(name));
            return empty(
                &columns.present,
                more.map(|(name, of)| (name.to_owned(), of.to_owned())),
            );
        };
        let shown = columns.present.iter().map(|column| quote(&column.shown));
        let change_of_files = change.iter().map(|name| match *name == self.date_key {
            true => format!("{} AS {}", self.date(data), quote(name)),
            false => in_files(name),
        });
        let own = columns.present.iter().map(|column| {
            let value = column.typed();
            format!("{value} AS {}", quote(&column.shown))
        });
        let selected: Vec<_> = own.chain(change_of_files).collect();
        let rows = self.rows(columns, data);
        if columns.key.is_empty() {
            return format!("SELECT {}\nFROM {rows}", selected.join(", "));
        }
        let never_null = columns.key.iter().filter(|column| column.not_null);
        let never_null = never_null.map(|column| format!("{} IS NOT NULL", column.value()));
        // A version that has the key's value, and not the column that identifies it, is older than
        // the key's present meaning as well.
        let nullable = columns.identities.iter().filter(|id| !id.column.not_null);
        let nullable = nullable.map(|identity| {
            let (column, of) = (identity.column.value(), identity.of.value());
            format!("({column} IS NOT NULL OR {of} IS NULL)")
        });
        let known: Vec<_> = never_null.chain(nullable).collect();
        let known = if known.is_empty() {
            String::new()
        } else {
            format!("\n  WHERE {}", known.join(" AND "))
        };
        let newest = match data {
            Files::Matching(..) => self.newest_by_rank(columns, &known),
            // A table of another format shows one list of files to a statement.
            Files::Named(_) | Files::Exported(_) => self.newest_by_join(columns, &rows, &known),
        };
        format!(
            "SELECT {}\nFROM (\n  SELECT {}, {FILES}.{OP}\n  FROM {rows}{}{newest}\n)\nWHERE {OP} \
             <> '{}'",
            shown
                .chain(change.iter().map(|name| quote(name)))
                .collect::<Vec<_>>()
                .join(", "),
            selected.join(", "),
            self.without_rejected(&columns.key),
            char::from(DELETE),
        )
    }

    /// Leaves out the versions before one that was rejected: PostgreSQL has replaced them, and the
    /// row that it has now is in quarantine.
    fn without_rejected(&self, key: &[Present]) -> String {
        // A rejected row has no time at which it was found.
        let Some(_) = self.rejected.as_ref().filter(|_| self.as_of.is_none()) else {
            return String::new();
        };
        let of_record = |(at, column): (usize, &Present)| {
            let names = column.in_files.iter();
            let values: Vec<_> = names.map(|name| in_record_key(name)).collect();
            let value = format!("coalesce({})", values.join(", "));
            let sql_type = column.column_type.duckdb();
            let value = column.identity_of(format!("TRY_CAST({value} AS {sql_type})"));
            format!("{value} AS k{at}")
        };
        let same_key = |(at, column): (usize, &Present)| {
            format!("{} IS NOT DISTINCT FROM rejected.k{at}", column.identity())
        };
        let keys: Vec<_> = key.iter().enumerate().map(of_record).collect();
        let same: Vec<_> = key.iter().enumerate().map(same_key).collect();
        format!(
            "\n  ANTI JOIN (\n    SELECT {}, kafka_partition, max(\"offset\") AS place\n    FROM ({})\n    \
             WHERE json_valid(key) GROUP BY ALL\n  ) AS rejected ON {} AND {} = \
             rejected.kafka_partition AND {} < rejected.place",
            keys.join(", "),
            self.quarantine(),
            same.join(" AND "),
            in_files(KAFKA_PARTITION),
            in_files(OFFSET),
        )
    }

    /// What orders the versions of a key, the first one first. Offsets order those of one
    /// kafka_partition. A key whose text has changed may have versions in two: then the poll that
    /// found them decides, and the offset within a poll.
    fn order(&self) -> &'static [&'static str] {
        if self.is_spread {
            &[DETECTED_AT, OFFSET, KAFKA_PARTITION]
        } else {
            &[OFFSET]
        }
    }

    /// The newest version of each key in one reading of the files: a pattern read twice may match
    /// another file in between, and a key would then be missing.
    fn newest_by_rank(&self, columns: &Columns, known: &str) -> String {
        let key: Vec<_> = columns.key.iter().map(Present::identity).collect();
        let order: Vec<_> = self
            .order()
            .iter()
            .map(|name| format!("{} DESC", in_files(name)))
            .collect();
        format!(
            "{known}\n  QUALIFY row_number() OVER (PARTITION BY {} ORDER BY {}) = 1",
            key.join(", "),
            order.join(", ")
        )
    }

    /// The same in two readings: the first one has the columns of the key and the order alone, so
    /// that whole rows are not sorted. It takes a third of the memory and half of the time; see
    /// dev/benchmarks/README.md.
    fn newest_by_join(&self, columns: &Columns, rows: &str, known: &str) -> String {
        let key: Vec<_> = columns.key.iter().map(Present::identity).collect();
        let keys: Vec<_> = key
            .iter()
            .enumerate()
            .map(|(at, value)| format!("{value} AS k{at}"))
            .collect();
        // A key's newest place is unique: offsets are, in a kafka_partition.
        let order: Vec<_> = self.order().iter().map(|name| in_files(name)).collect();
        let place = match order.as_slice() {
            [offset] => offset.clone(),
            several => format!("row({})", several.join(", ")),
        };
        // A comparison with `=` lets DuckDB skip files in both readings; a null is equal to itself
        // in a key that may have one.
        let same_key = columns.key.iter().zip(&key).enumerate();
        let same_key = same_key.map(|(at, (column, value))| {
            let equals = if column.not_null {
                "="
            } else {
                "IS NOT DISTINCT FROM"
            };
            format!("{value} {equals} newest.k{at}")
        });
        let same_place = std::iter::once(format!("{place} = newest.place"));
        let same: Vec<_> = same_key.chain(same_place).collect();
        format!(
            "\n  SEMI JOIN (\n    SELECT {}, max({place}) AS place\n    FROM {rows}{known}\n    GROUP BY \
             {}\n  ) AS newest ON {}",
            keys.join(", "),
            key.join(", "),
            same.join(" AND ")
        )
    }

    /// Every version, with the change columns and the date of its folder.
    pub fn history(&self) -> String {
        let Some(columns) = &self.columns else {
            return "SELECT 0::BIGINT AS _offset WHERE false".to_owned();
        };
        let ours = CHANGE_COLUMNS.map(|(name, of)| (name.to_owned(), of.to_owned()));
        let date = (self.date_key.clone(), "DATE".to_owned());
        let identities = columns.identities.iter().map(|identity| &identity.column);
        let stored: Vec<_> = columns.present.iter().chain(identities).cloned().collect();
        let Some(data) = &self.data else {
            return empty(&stored, ours.into_iter().chain([date]));
        };
        let present = stored.iter().map(|column| column.shown.as_str());
        let former = columns.former.iter().map(String::as_str);
        let ours = ours.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = present.chain(former).chain(ours).collect();
        let values = stored.iter().map(Present::value);
        let values = values.chain(columns.former.iter().map(|name| in_files(name)));
        let values = values.chain(CHANGE_COLUMNS.iter().map(|(name, _)| in_files(name)));
        let selected: Vec<_> = values
            .zip(distinct(&names, &[]))
            .map(|(value, shown)| format!("{value} AS {}", quote(&shown)))
            .collect();
        format!(
            "SELECT {}, {} AS {}\nFROM {}",
            selected.join(", "),
            self.date(data),
            quote(&self.date_key),
            self.rows(columns, data)
        )
    }

    /// The rejected rows.
    pub fn quarantine(&self) -> String {
        let Some(files) = &self.rejected else {
            let columns = QUARANTINE_COLUMNS
                .iter()
                .map(|(name, of)| format!("NULL::{of} AS {}", quote(name)));
            let columns: Vec<_> = columns.collect();
            return format!("SELECT {} WHERE false", columns.join(", "));
        };
        let columns: Vec<_> = QUARANTINE_COLUMNS
            .iter()
            .map(|(name, sql_type)| format!("{}: '{sql_type}'", quote(name)))
            .collect();
        format!(
            "SELECT * FROM read_json({}, format = 'newline_delimited', hive_partitioning = false, \
             columns = {{{}}})",
            files.literal(),
            columns.join(", ")
        )
    }

    /// The versions of all files, with every name that a view asks for.
    fn rows(&self, columns: &Columns, data: &Files) -> String {
        if let Files::Exported(table) = data {
            return format!("{table} AS {FILES}");
        }
        let dates = if data.is_below_a_partition() {
            // The folders above the lake would become columns too, and hide those of the table.
            format!("hive_partitioning = false, filename = '{PATH}'")
        } else {
            // The type is in quotes: DuckDB would look for a column of this name in a join.
            let key = literal(&self.date_key);
            format!("hive_partitioning = true, hive_types = {{{key}: 'DATE'}}")
        };
        let files = data.literal();
        let read = format!("read_parquet({files}, union_by_name = true, {dates})");
        let read = match &self.as_of {
            Some(moment) => {
                let moment = moment.to_rfc3339_opts(SecondsFormat::Micros, true);
                format!("(FROM {read} WHERE {DETECTED_AT} <= TIMESTAMPTZ '{moment}')")
            }
            None => read,
        };
        if !columns.may_be_missing {
            return format!("{read} AS {FILES}");
        }
        // A column may be in none of the files yet: its first row was rejected, or the files with
        // it are not among these. A null without a type takes that of the file's column.
        let identities = columns.identities.iter().map(|identity| &identity.column);
        let stored = columns.present.iter().chain(identities);
        let names = stored.flat_map(|column| &column.in_files);
        let nulls: Vec<_> = names
            .chain(&columns.former)
            .map(|name| format!("NULL AS {}", quote(name)))
            .collect();
        format!(
            "(SELECT {} WHERE false UNION ALL BY NAME SELECT * FROM {read}) AS \
             {FILES}",
            nulls.join(", ")
        )
    }

    /// The date of the folder that a row's file is in.
    fn date(&self, data: &Files) -> String {
        if !data.is_below_a_partition() {
            return in_files(&self.date_key);
        }
        format!(
            "TRY_CAST(regexp_extract({FILES}.{PATH}, '/{}=([^/]*)/[^/]*$', 1) AS DATE)",
            self.date_key
        )
    }
}

impl Present {
    /// The value as the files have it, in the type that holds all of them.
    fn value(&self) -> String {
        match self.in_files.as_slice() {
            [name] => in_files(name),
            names => {
                let names: Vec<_> = names.iter().map(|name| in_files(name)).collect();
                format!("coalesce({})", names.join(", "))
            }
        }
    }

    /// The value in the type that the table has now.
    fn typed(&self) -> String {
        if self.is_uniform {
            return self.value();
        }
        // Every row of the table fits, since PostgreSQL has converted it. A row that PostgreSQL has
        // no more may not fit: it must not fail the others.
        format!(
            "TRY_CAST({} AS {})",
            self.value(),
            self.column_type.duckdb()
        )
    }

    /// What equal keys have in common.
    fn identity(&self) -> String {
        self.identity_of(self.value())
    }

    /// What equal keys have in common, of a value of the column's type.
    fn identity_of(&self, value: String) -> String {
        match self.column_type {
            ColumnType::Scalar(Scalar::Text) if is_blank_padded(&self.postgres_type) => {
                format!("rtrim({value}, ' ')")
            }
            // More than 38 digits are text in the lake, with the zeros of the column's scale.
            ColumnType::Scalar(Scalar::Decimal { scale, .. })
                if scale > 0 && self.column_type.duckdb() == "VARCHAR" =>
            {
                format!("rtrim(rtrim({value}, '0'), '.')")
            }
            _ => value,
        }
    }
}

impl Files {
    /// The argument of DuckDB's readers.
    fn literal(&self) -> String {
        match self {
            Self::Matching(folder, pattern) => literal(&format!("{}/{pattern}", escaped(folder))),
            Self::Named(files) => {
                let files: Vec<_> = files.iter().map(|file| literal(&escaped(file))).collect();
                format!("[{}]", files.join(", "))
            }
            Self::Exported(table) => table.clone(),
        }
    }

    /// Decides whether a folder above the table reads as a Hive partition, `customer=acme`.
    fn is_below_a_partition(&self) -> bool {
        let folder = match self {
            Self::Matching(folder, _) => Some(folder.as_path()),
            // A data file is in the folder of its date, and that one in the table's.
            Self::Named(files) => files.first().and_then(|file| file.parent()?.parent()),
            Self::Exported(_) => None,
        };
        folder.is_some_and(|folder| folder.to_string_lossy().contains('='))
    }
}

/// A path in which DuckDB finds no pattern.
pub fn escaped(path: &Path) -> String {
    let mut escaped = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, '*' | '?' | '[') {
            escaped.extend(['[', character, ']']);
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The text of a column in the key of a rejected record, which may be no JSON.
pub fn in_record_key(name: &str) -> String {
    // A JSON pointer names every key exactly; other paths have characters of their own.
    let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    let pointer = literal(&pointer);
    format!("CASE WHEN json_valid(key) THEN json_extract_string(key, {pointer}) END")
}

/// A column of the files.
fn in_files(name: &str) -> String {
    format!("{FILES}.{}", quote(name))
}

/// A view without rows: DuckDB's readers refuse a pattern that matches no file.
fn empty(columns: &[Present], more: impl Iterator<Item = (String, String)>) -> String {
    let own = columns
        .iter()
        .map(|column| (column.shown.clone(), column.column_type.duckdb()));
    let nulls: Vec<_> = own
        .chain(more)
        .map(|(name, sql_type)| format!("NULL::{sql_type} AS {}", quote(&name)))
        .collect();
    format!("SELECT {} WHERE false", nulls.join(", "))
}

#[cfg(test)]
mod tests;
