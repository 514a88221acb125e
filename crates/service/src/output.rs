//! The one place that writes to standard output and standard error.
//!
//! `print!` and `eprint!` panic when the reader of a pipe has ended, and whoever writes into a pipe
//! that is not read waits. A service must do neither because of its log, so the lints forbid both
//! macros.
//!
//! Promises: a reader that has ended, or that does not read, neither ends nor delays a service.
//! Lines for stderr wait in a queue with a bound, which a thread of its own writes. A line that
//! finds no room, or that cannot be written, is dropped and counted, and the count is logged once
//! lines are written again. What stdout does not take is an error of the verb. Leaves to others:
//! how a line looks ([`crate::log`]).

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::termios::tcgetwinsize;

use crate::bar;
use crate::error::{Explain, Hint, Kind};
use crate::retry::pause;

/// Bytes of the lines that wait for a slow reader.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// How long the last lines may take when the process ends.
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// The wait before the next attempt at a full pipe that another process has made non-blocking.
const FULL_PAUSE: Duration = Duration::from_millis(10);
const DROPPED: &str = "inlet_log_dropped_lines_total";

static LOG: Log = Log {
    queue: Mutex::new(Queue {
        lines: VecDeque::new(),
        bytes: 0,
        dropped: 0,
        has_writer: false,
        is_writing: false,
    }),
    changed: Condvar::new(),
};

/// Why standard output did not take everything.
#[derive(Debug, thiserror::Error)]
pub enum StdoutError {
    /// The reader of a pipe, such as `head`, has read enough. This is no failure of ours.
    #[error("the reader of standard output has ended")]
    Closed,
    #[error("standard output cannot be written")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for StdoutError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

impl Explain for StdoutError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Closed => None,
            Self::Failed(_) => Some(Hint::text(
                "look at the file or device behind `>`: it may be full, or read-only",
            )),
        }
    }
}

/// Writes to stdout, at once and whole.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn stdout(text: impl AsRef<[u8]>) -> Result<(), StdoutError> {
    Ok(write_whole(&mut io::stdout(), text.as_ref())?)
}

/// Writes to stderr, after the lines that wait. Without a reader the text is dropped.
pub fn stderr(text: impl Into<Vec<u8>>) {
    LOG.push(text.into());
}

#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn is_stdout_terminal() -> bool {
    io::stdout().is_terminal()
}

#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn is_stderr_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Columns and lines of the terminal, if stdout is one.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn stdout_size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some((size.ws_col.into(), size.ws_row.into()))
}

/// Whether colors are shown there: only on a terminal, and not where a user does without them
/// (<https://no-color.org>).
pub fn has_colors(is_terminal: bool) -> bool {
    let no_color = std::env::var_os("NO_COLOR");
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

/// Fails once the reader of a pipe has ended, also while there is nothing to write.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn check_stdout() -> Result<(), StdoutError> {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    // What cannot be asked shows itself with the next line.
    let _ = event::poll(&mut polled, Some(&Timespec::default()));
    match polled[0].revents().contains(PollFlags::ERR) {
        true => Err(StdoutError::Closed),
        false => Ok(()),
    }
}

/// The thread that writes to stderr. Its end waits for the lines that were logged before.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct Output(());

/// Starts the thread that writes to stderr; before that every line is written by whoever logs it.
pub fn start() -> Output {
    let writer = thread::Builder::new().name("inlet-log".to_owned());
    // Without the thread the lines are written as before.
    LOG.lock().has_writer = writer.spawn(|| LOG.write()).is_ok();
    Output(())
}

impl Drop for Output {
    fn drop(&mut self) {
        flush(END_TIME_MAX);
    }
}

/// Waits until the lines that were logged are written, at most for this time.
pub fn flush(time_max: Duration) {
    let deadline = Instant::now() + time_max;
    let mut queue = LOG.lock();
    while queue.is_writing || !queue.lines.is_empty() {
        let time_left = deadline.saturating_duration_since(Instant::now());
        if time_left.is_zero() {
            return;
        }
        let waited = LOG.changed.wait_timeout(queue, time_left);
        queue = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Describes the metric of lines that were dropped.
pub(crate) fn describe_metrics() {
    describe_counter!(DROPPED, "lines of the log that standard error did not take");
    // A counter that exists from the start shows its first step as an increase.
    counter!(DROPPED).increment(0);
}

/// Where the log writes its lines, each with one call.
#[derive(Debug, Default)]
pub(crate) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LOG.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Log {
    queue: Mutex<Queue>,
    /// A line was added, or was written.
    changed: Condvar,
}

struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were dropped since one was written.
    dropped: u64,
    has_writer: bool,
    /// True while the thread writes a line that the queue does not hold any more.
    is_writing: bool,
}

impl Log {
    fn push(&self, line: Vec<u8>) {
        let mut queue = self.lock();
        if !queue.has_writer {
            drop(queue);
            // Without stderr there is no place that could report this.
            let _ = write_stderr(&line);
            return;
        }
        // A line that is larger than the queue fits into an empty one.
        if queue.bytes > 0 && queue.bytes + line.len() > QUEUE_BYTES_MAX {
            queue.dropped += 1;
            counter!(DROPPED).increment(1);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Writes the lines in their order as long as the process lives.
    fn write(&self) {
        loop {
            let line = self.next();
            // No lock is held: a reader that does not read stops this thread alone.
            let written = write_stderr(&line);
            let dropped = self.written(written.is_ok());
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    "lines of the log were dropped: standard error did not take them"
                );
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut queue = self.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.is_writing = true;
                return line;
            }
            let waited = self.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns how many lines were dropped before one that was written.
    fn written(&self, is_written: bool) -> u64 {
        let mut queue = self.lock();
        queue.is_writing = false;
        self.changed.notify_all();
        if is_written {
            return std::mem::take(&mut queue.dropped);
        }
        queue.dropped += 1;
        counter!(DROPPED).increment(1);
        0
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every step leaves the queue whole, also one that panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place")]
fn write_stderr(text: &[u8]) -> io::Result<()> {
    if bar::is_shown() {
        return bar::print_above(&String::from_utf8_lossy(text));
    }
    write_whole(&mut io::stderr(), text)
}

fn write_whole(to: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => wait_for(error)?,
        }
    }
    loop {
        match to.flush() {
            Ok(()) => return Ok(()),
            Err(error) => wait_for(error)?,
        }
    }
}

/// Waits until a write may succeed; returns an error that does not pass.
fn wait_for(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        // Programs that share a pipe or terminal share this setting, too.
        ErrorKind::WouldBlock => {
            pause(FULL_PAUSE);
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one byte at a time, and answers every other call with an error.
    struct Slow {
        taken: Vec<u8>,
        calls: usize,
        error: ErrorKind,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return Err(self.error.into());
            }
            self.taken.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write_to(error: ErrorKind) -> (Vec<u8>, io::Result<()>) {
        let mut slow = Slow {
            taken: Vec::new(),
            calls: 0,
            error,
        };
        let written = write_whole(&mut slow, b"row");
        (slow.taken, written)
    }

    #[test]
    fn a_pipe_that_is_full_for_a_moment_gets_the_whole_text() {
        for error in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
            let (taken, written) = write_to(error);
            written.unwrap();
            assert_eq!(taken, b"row");
        }
    }

    #[test]
    fn an_error_that_stays_ends_the_writing() {
        let (taken, written) = write_to(ErrorKind::BrokenPipe);
        assert_eq!(taken, b"r");
        let error = StdoutError::from(written.unwrap_err());
        assert!(matches!(error, StdoutError::Closed), "{error:?}");
    }

    #[test]
    fn a_queue_that_is_full_drops_lines_and_counts_them() {
        let log = Log {
            queue: Mutex::new(Queue {
                lines: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                has_writer: true,
                is_writing: false,
            }),
            changed: Condvar::new(),
        };
        for _ in 0..3 {
            log.push(vec![b'x'; QUEUE_BYTES_MAX / 2]);
        }
        assert_eq!(log.next().len(), QUEUE_BYTES_MAX / 2);
        assert_eq!(log.written(true), 1, "the third line");
        log.push(b"short".to_vec());
        log.next();
        assert_eq!(log.written(false), 0, "nothing was written");
        log.next();
        assert_eq!(log.written(true), 1, "the line before");
    }
}
