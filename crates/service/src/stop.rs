//! How a process is asked to leave.
//!
//! The first SIGINT or SIGTERM cancels a token: the pipeline stops its intake, commits and ends.
//! The second ends the process at once, which is safe as well: only a commit makes anything
//! visible. SIGHUP asks a service to read its configuration again, unless it means that the
//! terminal was closed on which the service runs.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::output;

/// The exit code after a second signal, as shells show an interrupt.
const EXIT_INTERRUPTED: i32 = 130;
/// A reader of the log that reads takes the last lines sooner.
const LAST_LINES_TIME: Duration = Duration::from_millis(200);

/// Listens for signals as long as it lives.
#[derive(Debug)]
pub struct Stop {
    token: CancellationToken,
    listener: JoinHandle<()>,
}

impl Stop {
    /// Starts to listen; must be called inside a tokio runtime. Only a service logs it. Fails when
    /// the system refuses a signal handler.
    pub fn on_signal(is_service: bool) -> io::Result<Self> {
        let (interrupt, terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let token = CancellationToken::new();
        let listener = tokio::spawn(listen(interrupt, terminate, token.clone(), is_service));
        Ok(Self { token, listener })
    }

    /// The token that the first signal cancels.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(
    mut interrupt: Signal,
    mut terminate: Signal,
    token: CancellationToken,
    is_service: bool,
) {
    either(&mut interrupt, &mut terminate).await;
    // The stop goes first: it must not depend on the log.
    token.cancel();
    if is_service {
        tracing::info!("stopping: what is open is committed first; a second signal leaves at once");
    }
    either(&mut interrupt, &mut terminate).await;
    if is_service {
        tracing::warn!("left at once; the next start resumes from the last commit");
    }
    output::flush(LAST_LINES_TIME);
    std::process::exit(EXIT_INTERRUPTED);
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// The configuration may have changed.
    Reload,
    /// The terminal of the process was closed.
    Closed,
}

/// Listens for SIGHUP.
#[derive(Debug)]
pub struct Hangups {
    signal: Signal,
    /// True for a process that was started on a terminal.
    had_terminal: bool,
}

impl Hangups {
    /// Starts to listen; must be called inside a tokio runtime.
    pub fn on_signal() -> io::Result<Self> {
        Ok(Self {
            signal: signal(SignalKind::hangup())?,
            had_terminal: io::stdin().is_terminal(),
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Hangup {
        if self.signal.recv().await.is_none() {
            // The runtime ends.
            std::future::pending::<()>().await;
        }
        // A terminal that was closed answers no more.
        match self.had_terminal && !io::stdin().is_terminal() {
            true => Hangup::Closed,
            false => Hangup::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_cancels_the_token() {
        let stop = Stop::on_signal(true).unwrap();
        let token = stop.token();
        assert!(!token.is_cancelled());
        let status = std::process::Command::new("kill")
            .args(["-TERM", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        tokio::time::timeout(Duration::from_secs(10), token.cancelled())
            .await
            .unwrap();
    }
}
