//! Whether a broker has answered since the start of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use inlet_service::retry::START_DEADLINE;

/// The time in which a broker must answer for the first time. Later outages have no end: the
/// consumer waits however long they are.
#[derive(Debug, Clone)]
pub struct Reach {
    by: Instant,
    reached: Arc<AtomicBool>,
}

impl Reach {
    /// Starts the time.
    pub fn new() -> Self {
        Self {
            by: Instant::now() + START_DEADLINE,
            reached: Arc::default(),
        }
    }

    /// A broker has answered.
    pub(super) fn set(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// True when the time is over, and no broker has answered.
    pub(super) fn is_overdue(&self) -> bool {
        !self.reached.load(Ordering::Relaxed) && Instant::now() >= self.by
    }
}
