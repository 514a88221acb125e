//! Progress bars on a terminal. Without a terminal only the log is written.
//!
//! Promises: log lines and bars never mix ([`print_above`]); work that ends within a moment shows
//! no bar.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that ends earlier shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// The time between two pictures of a bar while no row arrives.
const TICK: Duration = Duration::from_millis(200);

/// All bars of the process, on stderr; hidden where that is no terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How many bars are on the terminal.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// Hides all bars from here on, because a machine reads the log.
pub fn hide() {
    BARS.set_draw_target(ProgressDrawTarget::hidden());
}

/// True where a bar would be seen.
pub fn is_visible() -> bool {
    !BARS.is_hidden()
}

/// True while a bar is on the terminal.
pub(crate) fn is_shown() -> bool {
    SHOWN.load(Ordering::Relaxed) > 0
}

/// Prints lines above the bars. Unlike `MultiProgress::suspend` it returns an error of the
/// terminal, which would panic there.
pub(crate) fn print_above(text: &str) -> io::Result<()> {
    BARS.println(text)
}

/// Counts the rows of one reading; dropping it removes the bar.
#[derive(Debug, Default)]
pub struct Bar {
    what: String,
    total: Option<u64>,
    /// `None` for a bar that is never shown.
    started: Option<Instant>,
    shown: OnceLock<ProgressBar>,
    rows: AtomicU64,
}

impl Bar {
    /// A bar for `what`, as `load public.orders`; `total` is about how many rows it will have.
    pub fn new(what: impl Into<String>, total: Option<u64>) -> Self {
        Self {
            what: what.into(),
            total,
            started: Some(Instant::now()),
            shown: OnceLock::new(),
            rows: AtomicU64::new(0),
        }
    }

    /// Adds rows that were read.
    pub fn add(&self, rows: u64) {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let Some(elapsed) = self
            .started
            .map(|started| started.elapsed())
            .filter(|elapsed| *elapsed >= PATIENCE && is_visible())
        else {
            return;
        };
        let shown = self.shown.get_or_init(|| {
            let (bar, template) = match self.total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{prefix}  {bar:30} {percent:>3} %  {msg}",
                ),
                None => (ProgressBar::new_spinner(), "{prefix}  {spinner} {msg}"),
            };
            // The bar is drawn for the first time only here, after PATIENCE.
            let bar = BARS.add(bar.with_prefix(self.what.clone()));
            bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
            bar.enable_steady_tick(TICK);
            SHOWN.fetch_add(1, Ordering::Relaxed);
            bar
        });
        // The total is a guess: a bar that is full stays at its end.
        if shown.length().is_some_and(|length| length < rows) {
            shown.set_length(rows);
        }
        shown.set_message(pace(rows, self.total, elapsed));
        shown.set_position(rows);
    }
}

/// `2,000,000 of about 8,000,000 rows, 500,000 rows/s, 12 s left`
fn pace(rows: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = rows as f64 / elapsed.as_secs_f64();
    let (read, per_second) = (HumanCount(rows), HumanCount(rate as u64));
    match total {
        Some(total) => {
            let left = total.saturating_sub(rows) as f64 / rate;
            format!(
                "{read} of about {} rows, {per_second} rows/s, {left:.0} s left",
                HumanCount(total)
            )
        }
        None => format!(
            "{read} rows, {per_second} rows/s, {:.0} s",
            elapsed.as_secs_f64()
        ),
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
            SHOWN.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_counted_from_the_beginning() {
        let (rows, elapsed) = (2_000_000, Duration::from_secs(4));
        assert_eq!(
            pace(rows, Some(8_000_000), elapsed),
            "2,000,000 of about 8,000,000 rows, 500,000 rows/s, 12 s left"
        );
        assert_eq!(
            pace(rows, Some(1_000_000), elapsed),
            "2,000,000 of about 1,000,000 rows, 500,000 rows/s, 0 s left"
        );
        assert_eq!(
            pace(rows, None, elapsed),
            "2,000,000 rows, 500,000 rows/s, 4 s"
        );
    }
}
