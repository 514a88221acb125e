//! Which dates leave the lake of a table that keeps its rows for a time.
//!
//! The latest state is the latest version of each key that the lake has. A date_partition may leave
//! once that does not bring back what was before: as long as the latest version of a key is in the
//! date, and an older one is in a file that stays, the date waits for the other one. Where rows
//! have the date of an event, such as `created_at`, all versions of a key are in one date, and no
//! date waits.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::pace::Throttle;
use super::revived::revived;
use super::{check_swap, in_a_pause, visible};
use crate::commit::{self, Leaving, Listed};
use crate::error::LakeError;
use crate::files::names::is_data;
use crate::metrics;
use crate::reader::TableReader;
use crate::writer::Lake;

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
    let files: Vec<Listed> = visible(&folder.store, &head)?.collect();
    let today = now.with_timezone(&retention.timezone).date_naive();
    let is_rejected = |of: &&Listed| !is_data(&of.file.path);
    let (rejected, data): (Vec<_>, Vec<_>) = files.iter().partition(is_rejected);
    let mut dates = too_old(&data, retention.history, today);
    let rejected = too_old(&rejected, retention.quarantine, now.date_naive());
    if dates.is_empty() && rejected.is_empty() {
        return Ok(expired);
    }
    if !folder.store.is_bucket() {
        check_swap(folder)?;
    }
    let rejected: Vec<&Listed> = rejected.into_values().flatten().collect();
    if !rejected.is_empty() {
        let left = leave(lake, head.seq, None, &rejected, throttle)?;
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
            let Some(left) = leave(lake, head.seq, Some(date), &files, throttle)? else {
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
    seq: u64,
    date: Option<&str>,
    files: &[&Listed],
    throttle: &Throttle,
) -> Result<Option<(u64, u64)>, LakeError> {
    let leaving = Leaving {
        date: date.map(str::to_owned),
        files: files.iter().map(|of| of.file.clone()).collect(),
        seq,
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
