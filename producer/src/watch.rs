//! Notices that a server does not answer any more while a step waits for it.
//!
//! A statement may run for long: a sweep of a large table shows no row for minutes. So its length
//! proves nothing, and a deadline for it would end it over and over. Instead a second connection
//! asks the server, while a step takes long, whether it still works and still has our session. A
//! server that is stopped, a network that drops everything and a session that the other end has
//! forgotten show in the same way, within [`SILENCE_MAX`].

use std::time::Duration;

use inlet_postgres::is_alive;
use inlet_service::config::PostgresAddress;

/// A step that is shorter is not looked at.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How long one question may take, its connection included.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// A server that is slow for once answers the second question.
const QUESTIONS: usize = 2;
/// A server that was stopped is noticed within this time.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A session of a server: where it is, and the process that serves it.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) address: PostgresAddress,
    pub(crate) backend: Option<i32>,
}

/// Ends when one of the servers does not answer, or has no such session.
pub(crate) async fn until_silent(watched: &[Watched]) {
    loop {
        tokio::time::sleep(ASK_INTERVAL).await;
        for server in watched {
            let mut silent = 0;
            while silent < QUESTIONS && !server.answers().await {
                silent += 1;
            }
            if silent == QUESTIONS {
                return;
            }
        }
    }
}

impl Watched {
    async fn answers(&self) -> bool {
        let alive = is_alive(&self.address, self.backend);
        matches!(tokio::time::timeout(ANSWER_TIME_MAX, alive).await, Ok(true))
    }
}
