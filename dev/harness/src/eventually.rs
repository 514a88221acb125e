//! Waits for a condition instead of for a time.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

const STEP: Duration = Duration::from_millis(25);

/// What a condition may return: `bool`, `Option<T>`, or a `Result` of one of them, whose error
/// means "not yet".
pub trait Met {
    /// The value of a condition that is met.
    type Value;
    /// The value, or the reason why the condition is not met.
    fn met(self) -> Result<Self::Value, String>;
}

impl Met for bool {
    type Value = ();
    fn met(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("false".to_owned())
        }
    }
}

impl<T> Met for Option<T> {
    type Value = T;
    fn met(self) -> Result<T, String> {
        self.ok_or_else(|| "none".to_owned())
    }
}

impl<M: Met> Met for anyhow::Result<M> {
    type Value = M::Value;
    fn met(self) -> Result<M::Value, String> {
        self.map_err(|error| format!("{error:#}"))?.met()
    }
}

/// Evaluates `condition` every 25 ms until it is met, and returns its value. Panics after
/// `deadline` with `what` was awaited.
///
/// ```text
/// eventually(Duration::from_secs(10), "the lake holds 3 rows", async || {
///     Ok(duckdb::count_glob(&glob).await? == 3)
/// }).await;
/// ```
pub async fn eventually<M: Met>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> M,
) -> M::Value {
    let end = Instant::now() + deadline;
    let mut last = "never answered".to_owned();
    // The timeout only fires when the condition waits. So the clock is checked as well.
    while Instant::now() < end {
        match timeout(end.saturating_duration_since(Instant::now()), condition())
            .await
            .map(Met::met)
        {
            Ok(Ok(value)) => return value,
            Ok(Err(why)) => last = why,
            Err(_elapsed) => break,
        }
        sleep(STEP).await;
    }
    panic!("not within {deadline:?}: {what} (last answer: {last})");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_is_met_brings_its_value() {
        let mut asked = 0;
        let value = eventually(Duration::from_secs(10), "three questions", async || {
            asked += 1;
            anyhow::ensure!(asked > 1, "first");
            Ok((asked == 3).then_some("yes"))
        });
        assert_eq!(value.await, "yes");
    }

    #[tokio::test]
    #[should_panic(expected = "not within 60ms: the sea is dry (last answer: still wet)")]
    async fn a_condition_that_is_not_met_is_named() {
        eventually(Duration::from_millis(60), "the sea is dry", async || {
            anyhow::Result::<bool>::Err(anyhow::anyhow!("still wet"))
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "never answered")]
    async fn a_condition_that_hangs_ends_with_the_deadline() {
        eventually(Duration::from_millis(60), "an answer", async || {
            std::future::pending::<bool>().await
        })
        .await;
    }
}
