//! The PostgreSQL and the Kafka of the demo.

use std::time::Duration;

use anyhow::Result;
use inlet_harness::{Kafka, Postgres};
use tokio::time::Instant;

use super::DemoMode;

/// The demo's servers; they stop when dropped.
pub struct Servers {
    pub postgres: Postgres,
    pub kafka: Option<Kafka>,
    /// How long each took to answer.
    pub started: Vec<(String, Duration)>,
}

impl Servers {
    /// Starts the servers of this mode at the same time.
    pub async fn start(mode: DemoMode) -> Result<Self> {
        let begin = Instant::now();
        let kafka = async {
            match mode {
                DemoMode::Kafka => Kafka::start()
                    .await
                    .map(|kafka| Some((kafka, begin.elapsed()))),
                DemoMode::Direct => Ok(None),
            }
        };
        let postgres = async {
            Postgres::start()
                .await
                .map(|postgres| (postgres, begin.elapsed()))
        };
        let ((postgres, elapsed), kafka) = tokio::try_join!(postgres, kafka)?;
        let mut started = vec![(
            format!("PostgreSQL on 127.0.0.1:{}", postgres.port()),
            elapsed,
        )];
        started.extend(
            kafka
                .iter()
                .map(|(kafka, elapsed)| (format!("Kafka on {}", kafka.bootstrap()), *elapsed)),
        );
        Ok(Self {
            postgres,
            kafka: kafka.map(|(kafka, _)| kafka),
            started,
        })
    }
}
