//! Rows whose date_partition has left the lake, as `commit/expire` lets it: PostgreSQL still has
//! them.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use chrono::NaiveDate;
use chrono_tz::Tz;
use inlet_model::TableSchema;

use crate::commit::Head;
use crate::files::{Calendar, Day};

/// Finds the rows whose date has left.
#[derive(Debug)]
pub struct LeftDates {
    calendar: Calendar,
    column: usize,
    days: BTreeSet<Day>,
}

impl LeftDates {
    /// The dates that left until this head, for rows of this schema; `None` where no date did, or
    /// where the rows have no date of their own. The column and the zone are those of
    /// [`crate::LakeOptions`].
    pub fn of(
        head: &Head,
        schema: &TableSchema,
        date_column: Option<&str>,
        timezone: Tz,
    ) -> Option<Self> {
        let column = match date_column {
            Some(name) => schema.resolve(name),
            None => schema.event_time(),
        }?;
        let dates = head.expired_dates.iter();
        let dates = dates.filter_map(|date| date.parse::<NaiveDate>().ok());
        let day = |date: NaiveDate| Day::try_from((date - NaiveDate::default()).num_days()).ok();
        let days: BTreeSet<Day> = dates.filter_map(day).collect();
        (!days.is_empty()).then(|| Self {
            calendar: Calendar::new(timezone),
            column,
            days,
        })
    }

    /// The position of the column that dates the rows.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Whether the date of each row has left.
    pub fn holds(&mut self, rows: &RecordBatch) -> Vec<bool> {
        let days = self.calendar.days(rows.column(self.column));
        let days = days.unwrap_or_default();
        let held = days.iter().map(|day| self.days.contains(day));
        let mut held: Vec<bool> = held.collect();
        held.resize(rows.num_rows(), false);
        held
    }
}
