//! How fast files are merged: bytes a second, and a share of a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inlet_service::retry::pause;

use super::CompactionOptions;
use crate::files::Pace;

/// Pauses are this many times as long as the work before them.
const REST: u32 = 3;
/// The longest pause before it looks whether it was stopped.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The pace of one round.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes a second; `None` without a bound.
    rate: Option<u64>,
    pause: Duration,
    stop: Arc<AtomicBool>,
    since: Instant,
}

impl Throttle {
    pub fn new(options: CompactionOptions, stop: Arc<AtomicBool>) -> Self {
        Self {
            rate: Some(options.rate),
            ..Self::unbounded(options.pause, stop)
        }
    }

    pub fn unbounded(pause: Duration, stop: Arc<AtomicBool>) -> Self {
        Self {
            rate: None,
            pause,
            stop,
            since: Instant::now(),
        }
    }

    /// The pause without readers that merged files wait for.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    pub fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits a moment for another process.
    pub fn rest(&self) {
        pause(PAUSE_MAX);
    }
}

impl Pace for Throttle {
    fn after(&mut self, bytes: u64) -> bool {
        let worked = self.since.elapsed();
        if let Some(rate) = self.rate {
            let by_bytes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            let end = Instant::now() + by_bytes.saturating_sub(worked).max(worked * REST);
            while Instant::now() < end && !self.is_stopped() {
                pause(end.saturating_duration_since(Instant::now()).min(PAUSE_MAX));
            }
        }
        self.since = Instant::now();
        !self.is_stopped()
    }
}
