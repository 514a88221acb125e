//! When a table was loaded again: each load brings every version once more.

use std::time::Duration;

use inlet_lake::Head;
use inlet_model::{Progress, TableName};
use inlet_producer::settings::kafka_sink;
use inlet_producer::sink::kafka::{KafkaSinkSettings, stored_progress};
use inlet_producer::source::progress::Stored;
use inlet_service::config::Config;

/// A running broker answers sooner.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The times at which loads after the first one started, in microseconds since 1970-01-01 UTC. A
/// progress that cannot be read has none.
pub async fn of_table(config: &Config, table: &TableName, head: Option<&Head>) -> Vec<i64> {
    let progress = match &config.kafka {
        Some(kafka) => {
            let sink = KafkaSinkSettings {
                deadline: ANSWER_TIME_MAX,
                ..kafka_sink(config, kafka, &[])
            };
            let asked = tokio::task::spawn_blocking(move || stored_progress(&sink));
            let stored = asked.await.expect("the look at Kafka does not panic");
            stored.ok().and_then(|mut stored| stored.remove(table))
        }
        None => head.map(|head| head.progress.clone()),
    };
    let decoded = |progress: &Progress| Stored::decode(progress).ok().flatten();
    let stored = progress.as_ref().and_then(decoded);
    let loads = stored.map(|stored| stored.loads).unwrap_or_default();
    loads.into_iter().map(|load| load.0).collect()
}
