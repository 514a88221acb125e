//! Which dates leave the lake of a table that keeps its rows for a time.
//!
//! The latest state is the latest version of each key that the lake has. A date_partition may leave
//! once that does not bring back what was before: as long as the latest version of a key is in the
//! date, and an older one is in a file that stays, the date waits for the other one. Where rows have
//! the date of an event, such as `created_at`, all versions of a key are in one date, and no date
//! waits.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use inlet_model::TableSchema;
use inlet_model::change::{DETECTED_AT, KAFKA_PARTITION, OFFSET};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use xxhash_rust::xxh3::xxh3_128;

use super::pace::Throttle;
use super::{check_swap, in_a_pause};
use crate::commit::{self, Head, Leaving, Listed};
use crate::error::{LakeError, READING};
use crate::files::names::is_data;
use crate::files::{Pace, Store};
use crate::metrics;
use crate::reader::TableReader;
use crate::writer::Lake;

/// Keys of a leaving date in memory at once: about 200 MB.
const KEYS_MAX: u64 = 2 << 20;
const BATCH_ROWS: usize = 8192;

/// How long a table keeps its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The days before today whose date_partitions stay; `None`: all do.
    pub history: Option<u32>,
    /// The days before today whose rejected rows stay; `None`: all do.
    pub quarantine: Option<u32>,
    /// The zone in which a day of the table begins.
    pub timezone: Tz,
    /// The column whose date chooses a row's date_partition; see [`crate::LakeOptions`].
    pub date_column: Option<String>,
}

/// What left, and what could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The date_partitions that left.
    pub dates: Vec<String>,
    /// Their files, and files of rejected rows.
    pub files: u64,
    /// The rows of these files.
    pub rows: u64,
    /// Date_partitions that stay although they are too old, with the number of keys whose older
    /// version would be the latest one without them.
    pub waiting: Vec<(String, u64)>,
    /// True where files could not leave because readers came all the time.
    pub deferred: bool,
}

/// Lets leave what is too old; the caller holds the lock of merging. A date that cannot leave yet
/// waits for the next call.
pub(super) fn expire(
    lake: &Lake,
    retention: &Retention,
    now: DateTime<Utc>,
    throttle: &mut Throttle,
) -> Result<Expired, LakeError> {
    let mut expired = Expired::default();
    let folder = &lake.folder;
    let head = lake.published_head()?;
    let files: Vec<Listed> = commit::live(&folder.store, head.seq, |entry, reason| {
        Err(LakeError::Corrupt { entry, reason })
    })?
    .into_files()
    .collect();
    let today = now.with_timezone(&retention.timezone).date_naive();
    let is_rejected = |of: &&Listed| !is_data(&of.file.path);
    let (rejected, data): (Vec<_>, Vec<_>) = files.iter().partition(is_rejected);
    let mut dates = too_old(&data, retention.history, today);
    let rejected = too_old(&rejected, retention.quarantine, now.date_naive());
    if dates.is_empty() && rejected.is_empty() {
        return Ok(expired);
    }
    check_swap(folder)?;
    let rejected: Vec<&Listed> = rejected.into_values().flatten().collect();
    if !rejected.is_empty() {
        let left = leave(lake, None, &rejected, throttle)?;
        expired.deferred |= left.is_none();
        expired.add(left);
    }
    if dates.is_empty() {
        return Ok(expired);
    }
    let reader = TableReader::new(folder.store.root());
    let schema = reader.latest_schema(&head);
    let schema = schema.expect("a lake with data files has a schema");
    if retention.date_column.is_none() && schema.event_time().is_none() {
        return Err(LakeError::Undated {
            table: schema.table.clone(),
        });
    }
    // A date that waits for another one that is too old as well leaves in a later turn.
    let mut staying = data;
    loop {
        let (mut has_left, mut waiting) = (false, Vec::new());
        for (date, files) in std::mem::take(&mut dates) {
            let others: Vec<&Listed> = staying
                .iter()
                .copied()
                .filter(|of| of.file.date.as_deref() != Some(date))
                .collect();
            let store = &folder.store;
            let revived = revived(store, &head, &schema, &files, &others, throttle)?;
            if throttle.is_stopped() {
                return Ok(expired);
            }
            if revived > 0 {
                waiting.push((date.to_owned(), revived));
                dates.insert(date, files);
                continue;
            }
            let Some(left) = leave(lake, Some(date), &files, throttle)? else {
                // The next call tries again.
                expired.deferred = true;
                return Ok(expired);
            };
            expired.add(Some(left));
            expired.dates.push(date.to_owned());
            staying = others;
            has_left = true;
        }
        if !has_left || dates.is_empty() {
            expired.waiting = waiting;
            warn_of_waiting(lake, &expired);
            return Ok(expired);
        }
    }
}

fn warn_of_waiting(lake: &Lake, expired: &Expired) {
    let table = &lake.folder.options.table;
    for (date, keys) in &expired.waiting {
        tracing::warn!(
            %table, date, keys,
            "a date that is older than the table keeps stays: it has the latest version of keys \
             whose older version is in a later date; name a column that never changes in \
             `tables.<name>.date_column`"
        );
    }
}

/// Lets files of one folder leave in a moment without readers; `None` without such a moment.
fn leave(
    lake: &Lake,
    date: Option<&str>,
    files: &[&Listed],
    throttle: &Throttle,
) -> Result<Option<(u64, u64)>, LakeError> {
    let leaving = Leaving {
        date: date.map(str::to_owned),
        files: files.iter().map(|of| of.file.clone()).collect(),
    };
    let visible = commit::folder_of(&leaving.files[0].path);
    let entry = in_a_pause(lake, visible, throttle, |log, readers| {
        let is_quiet = || readers.is_quiet();
        let settle = || readers.settle();
        commit::expire(&lake.folder, log, &leaving, is_quiet, settle)
    })?;
    let Some(entry) = entry else {
        return Ok(None);
    };
    let left = (
        leaving.files.len() as u64,
        leaving.files.iter().map(|file| file.rows).sum(),
    );
    let table = &lake.folder.options.table;
    metrics::expired(&table.to_string(), left.1);
    let (seq, files, rows) = (entry.seq, left.0, left.1);
    tracing::info!(%table, seq, date, files, rows, "rows left that are older than the table keeps");
    Ok(Some(left))
}

impl Expired {
    /// True if something was too old, and all of it has left or waits for later versions.
    pub(super) fn is_complete(&self) -> bool {
        !self.deferred && (self.files > 0 || !self.waiting.is_empty())
    }

    fn add(&mut self, left: Option<(u64, u64)>) {
        let (files, rows) = left.unwrap_or_default();
        self.files += files;
        self.rows += rows;
    }
}

/// The dates that are too old, with their files.
fn too_old<'a>(
    files: &[&'a Listed],
    days: Option<u32>,
    today: NaiveDate,
) -> BTreeMap<&'a str, Vec<&'a Listed>> {
    let mut dates: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
    let first = days.and_then(|days| today.checked_sub_days(Days::new(days.into())));
    let Some(first) = first else {
        return dates;
    };
    for listed in files.iter().copied() {
        // Rows without a date have no age: among them are the deletes of rows that left.
        let Some(date) = listed.file.date.as_deref() else {
            continue;
        };
        let is_before = date.parse::<NaiveDate>().is_ok_and(|date| date < first);
        if is_before {
            dates.entry(date).or_default().push(listed);
        }
    }
    dates
}

/// Where a version is in the order of the versions of its key, as in the views.
type Place = (i64, i64, i32);

/// A key whose latest version in a leaving date is at `place`.
struct Known {
    place: Place,
    has_older: bool,
    has_later: bool,
}

/// The number of keys whose latest version would be an older one without the files of `leaving`.
fn revived(
    store: &Store,
    head: &Head,
    schema: &TableSchema,
    leaving: &[&Listed],
    staying: &[&Listed],
    throttle: &mut Throttle,
) -> Result<u64, LakeError> {
    if schema.key.is_empty() {
        return Ok(0);
    }
    let rows: u64 = leaving.iter().map(|of| of.file.rows).sum();
    let parts = rows.div_ceil(KEYS_MAX).max(1);
    let mut revived = 0;
    for part in 0..parts {
        let keys = Keys {
            store,
            head,
            schema,
            is_spread: head.offsets.len() > 1,
            part: (part, parts),
        };
        revived += keys.revived(leaving, staying, throttle)?;
    }
    Ok(revived)
}

struct Keys<'a> {
    store: &'a Store,
    head: &'a Head,
    schema: &'a TableSchema,
    /// True when the rows are of more than one kafka_partition.
    is_spread: bool,
    /// Which part of the keys, of how many.
    part: (u64, u64),
}

impl Keys<'_> {
    fn revived(
        &self,
        leaving: &[&Listed],
        staying: &[&Listed],
        throttle: &mut Throttle,
    ) -> Result<u64, LakeError> {
        let mut keys: HashMap<u128, Known> = HashMap::new();
        for listed in leaving {
            self.read(listed, throttle, |key, place| {
                let known = keys.entry(key).or_insert(Known {
                    place,
                    has_older: false,
                    has_later: false,
                });
                known.place = known.place.max(place);
            })?;
        }
        let latest = keys.values().map(|known| known.place).max();
        let Some(latest) = latest else {
            return Ok(0);
        };
        // A file whose first offset is after all of these has no older version of any key.
        let is_later = |of: &&&Listed| {
            let first = of.file.columns.get(OFFSET).and_then(|of| of.min.as_ref());
            let first = first.and_then(|first| first.parse::<i64>().ok());
            !self.is_spread && first.is_some_and(|first| first > latest.1)
        };
        let (later, others): (Vec<_>, Vec<_>) = staying.iter().partition(is_later);
        for listed in others {
            self.mark(&mut keys, listed, throttle)?;
        }
        let is_revived = |known: &Known| known.has_older && !known.has_later;
        if keys.values().any(is_revived) {
            for listed in later {
                self.mark(&mut keys, listed, throttle)?;
            }
        }
        Ok(keys.values().filter(|known| is_revived(known)).count() as u64)
    }

    fn mark(
        &self,
        keys: &mut HashMap<u128, Known>,
        listed: &Listed,
        throttle: &mut Throttle,
    ) -> Result<(), LakeError> {
        self.read(listed, throttle, |key, place| {
            if let Some(known) = keys.get_mut(&key) {
                known.has_older |= place < known.place;
                known.has_later |= place > known.place;
            }
        })
    }

    /// Hands over the key and the place of each row of a file.
    fn read(
        &self,
        listed: &Listed,
        throttle: &mut Throttle,
        mut take: impl FnMut(u128, Place),
    ) -> Result<(), LakeError> {
        let path = self.store.path(&listed.file.path);
        let failed = |source: ParquetError| LakeError::Damaged {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            // People remove files by hand.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(LakeError::io(READING, path, source)),
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        let names: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let Some(key) = self.key_in(&names) else {
            return Ok(());
        };
        let wanted = [OFFSET, DETECTED_AT, KAFKA_PARTITION];
        let wanted = names.iter().enumerate().filter(|(at, name)| {
            key.iter().flatten().any(|(_, key)| key == at) || wanted.contains(&name.as_str())
        });
        let wanted: Vec<usize> = wanted.map(|(at, _)| at).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(failed)?;
        for rows in reader {
            let rows = rows.map_err(|error| failed(error.into()))?;
            self.rows(&rows, &names, &key, &mut take)
                .map_err(|error| failed(error.into()))?;
        }
        throttle.after(listed.file.bytes / 4);
        Ok(())
    }

    /// The column of each key column in a file, with the position in the schema. `None` for a file
    /// whose rows are older than the present key: the views leave them out.
    fn key_in(&self, names: &[String]) -> Option<Vec<Option<(usize, usize)>>> {
        let key = self.schema.key.iter().map(|at| {
            let known = self.head.names_of_column(self.schema, *at);
            let found = known.iter().find_map(|of| {
                let position = names.iter().position(|name| *name == of.name)?;
                Some((*at, position))
            });
            match found {
                None if self.schema.columns[*at].not_null => None,
                found => Some(found),
            }
        });
        key.collect()
    }

    fn rows(
        &self,
        rows: &RecordBatch,
        names: &[String],
        key: &[Option<(usize, usize)>],
        take: &mut impl FnMut(u128, Place),
    ) -> Result<(), arrow::error::ArrowError> {
        let options = FormatOptions::default();
        let mut columns = Vec::new();
        for of in key {
            let Some((at, position)) = of else {
                columns.push(None);
                continue;
            };
            let column = rows.column_by_name(&names[*position]);
            let column = column.expect("the column is in the projection");
            let of_type = self.schema.columns[*at].postgres_type.as_str();
            let is_padded = of_type == "character" || of_type.starts_with("character(");
            let is_decimal = matches!(column.data_type(), DataType::Decimal128(..))
                || of_type.starts_with("numeric");
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            columns.push(Some((column, formatter, is_padded, is_decimal)));
        }
        let places = self.places(rows);
        let (mut text, mut bytes) = (String::new(), Vec::new());
        for (at, place) in places.into_iter().enumerate() {
            bytes.clear();
            for column in &columns {
                text.clear();
                match column {
                    Some((column, formatter, is_padded, is_decimal)) if column.is_valid(at) => {
                        formatter.value(at).write(&mut text)?;
                        // Equal values of other types, and of PostgreSQL, have one text.
                        if *is_padded {
                            text.truncate(text.trim_end_matches(' ').len());
                        }
                        if *is_decimal && text.contains('.') {
                            let end = text.trim_end_matches('0').trim_end_matches('.').len();
                            text.truncate(end);
                        }
                        bytes.push(1);
                        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                        bytes.extend_from_slice(text.as_bytes());
                    }
                    _ => bytes.push(0),
                }
            }
            let key = xxh3_128(&bytes);
            let (part, parts) = self.part;
            if parts == 1 || key % u128::from(parts) == u128::from(part) {
                take(key, place);
            }
        }
        Ok(())
    }

    fn places(&self, rows: &RecordBatch) -> Vec<Place> {
        let column = |name| {
            let column = rows.column_by_name(name);
            column.expect("a data file has the change columns")
        };
        let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
        let partitions = column(KAFKA_PARTITION).as_primitive::<Int32Type>().values();
        let times = column(DETECTED_AT)
            .as_primitive::<TimestampMicrosecondType>()
            .values();
        (0..rows.num_rows())
            .map(|at| match self.is_spread {
                true => (times[at], offsets[at], partitions[at]),
                false => (0, offsets[at], 0),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::commit::DataFile;

    use super::*;

    fn listed(path: &str, date: Option<&str>) -> Listed {
        Listed {
            seq: 1,
            file: DataFile {
                path: path.to_owned(),
                date: date.map(str::to_owned),
                ..DataFile::default()
            },
        }
    }

    #[test]
    fn whole_days_before_the_kept_ones_are_too_old_in_the_zone_of_the_table() {
        let files = [
            listed("date=2026-11-18/a.parquet", Some("2026-11-18")),
            listed("date=2026-11-19/a.parquet", Some("2026-11-19")),
            listed("date=2026-11-20/a.parquet", Some("2026-11-20")),
            listed("date=__HIVE_DEFAULT_PARTITION__/a.parquet", None),
        ];
        let now: DateTime<Utc> = "2026-11-20T23:00:00Z".parse().unwrap();
        let files: Vec<&Listed> = files.iter().collect();
        let dates = |days: Option<u32>, zone: Tz| -> Vec<&str> {
            let today = now.with_timezone(&zone).date_naive();
            too_old(&files, days, today).into_keys().collect()
        };
        assert_eq!(dates(Some(1), Tz::UTC), ["2026-11-18"]);
        assert_eq!(
            dates(Some(1), Tz::Asia__Kolkata),
            ["2026-11-18", "2026-11-19"]
        );
        assert_eq!(dates(Some(2), Tz::UTC), Vec::<&str>::new());
        assert_eq!(dates(None, Tz::UTC), Vec::<&str>::new());
    }
}
