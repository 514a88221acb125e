//! Whether and when to try again: one decision for the start and for a service that runs.

use std::time::Duration;

use inlet_service::error::{Explain, Kind, chain};
use inlet_service::retry::{Backoff, Reach};
use tracing::{info, warn};

use crate::source::error::PollError;

/// The failures since the start.
#[derive(Debug)]
pub struct Retry {
    backoff: Backoff,
    /// Whether PostgreSQL and the sink were reached.
    reach: Reach,
}

impl Retry {
    /// Starts the time in which a server must be reached.
    pub fn new() -> Self {
        Self {
            backoff: Backoff::new(),
            reach: Reach::new(),
        }
    }

    /// Decides about an error: how long to wait before the next attempt, or the error itself when
    /// it is final. Logs an error that passes.
    pub fn after(&mut self, error: PollError) -> Result<Duration, PollError> {
        // A role that was let in before will be let in again: its password was changed, or the
        // server is being set up from scratch.
        let reached = self.reach.is_reached();
        let passes = error.kind() == Kind::Unavailable || (reached && error.is_refused_login());
        if !passes {
            return Err(error);
        }
        if self.reach.is_overdue() {
            warn!("PostgreSQL or the sink was not reached since the start, ending");
            return Err(error);
        }
        let delay = self.backoff.next_delay();
        // A lock or a changed table ends a cycle in normal operation; a warning for it would train
        // people to ignore warnings.
        if error.is_everyday() {
            info!(reason = %error, "cycle is repeated");
            return Ok(delay);
        }
        let what = if reached {
            "polling failed, resuming from the last durable progress"
        } else {
            "PostgreSQL or the sink was not reached, trying again"
        };
        warn!(
            retry_ms = delay.as_millis(),
            reason = chain(&error),
            hint = error.hint().map(tracing::field::display),
            "{what}"
        );
        Ok(delay)
    }

    /// PostgreSQL and the sink were reached: from now on the service waits for them however long
    /// they are down.
    pub fn reached(&mut self) {
        self.reach.set();
    }

    /// Something was found: the next failure waits the shortest time again.
    pub fn succeeded(&mut self) {
        self.backoff.reset();
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}
