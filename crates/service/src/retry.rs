//! How long to wait before the next attempt.
//!
//! Leaves to others: whether to try again ([`crate::error::Kind`] decides), and how often or until
//! when (the pipeline's deadline).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first wait, without its random part.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest wait, with its random part.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// A server that was never reached since the start is given up after this time; who supervises the
/// service starts it again.
const START_DEADLINE: Duration = Duration::from_secs(15);

/// Blocks this thread between two looks at something that sends no event, such as librdkafka's
/// queues.
///
/// Only threads of their own and loops with a deadline may call it. A task of the runtime awaits an
/// event instead.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The time in which a server must be reached for the first time. Later outages have no end: the
/// service waits however long they are. Clones share what they know.
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

    /// The server has answered.
    pub fn set(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// True once the server has answered.
    pub fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// True when the time is over, and the server has not answered.
    pub fn is_overdue(&self) -> bool {
        !self.is_reached() && Instant::now() >= self.by
    }
}

impl Default for Reach {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits that grow by a factor of two from 50 ms to 5 s, each with a random part, so that several
/// processes do not retry at the same moment.
///
/// ```
/// let mut backoff = inlet_service::retry::Backoff::new();
/// let wait = backoff.next_delay(); // after a failure
/// backoff.reset(); // after a success
/// ```
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    attempts: u32,
}

impl Backoff {
    /// Starts with the shortest wait.
    pub fn new() -> Self {
        // backon adds a random part that is as long as the wait itself at most, so half of the
        // limit keeps every wait within the limit.
        Self::of(
            ExponentialBuilder::new()
                .with_min_delay(DELAY_MIN)
                .with_max_delay(DELAY_MAX / 2)
                .without_max_times()
                .with_jitter(),
        )
    }

    /// Starts with a fixed seed, for tests.
    pub fn seeded(seed: u64) -> Self {
        Self::of(Self::new().builder.with_jitter_seed(seed))
    }

    fn of(builder: ExponentialBuilder) -> Self {
        Self {
            builder,
            delays: builder.build(),
            attempts: 0,
        }
    }

    /// How long to wait after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        self.delays
            .next()
            .expect("a backoff without a limit of times never ends")
            .min(DELAY_MAX)
    }

    /// Failures since the start or the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After a success the next failure waits the shortest time again.
    pub fn reset(&mut self) {
        self.delays = self.builder.build();
        self.attempts = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_never_beyond() {
        let mut backoff = Backoff::seeded(7);
        let delays: Vec<Duration> = (0..100).map(|_| backoff.next_delay()).collect();
        assert!(
            delays[0] >= DELAY_MIN && delays[0] <= DELAY_MIN * 2,
            "{:?}",
            delays[0]
        );
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX));
        assert!(delays[20..].iter().all(|delay| *delay >= DELAY_MAX / 2));
    }

    #[test]
    fn after_a_success_the_shortest_wait_comes_again() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.next_delay();
        }
        assert_eq!(backoff.attempts(), 20);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert!(backoff.next_delay() <= DELAY_MIN * 2);
    }
}
