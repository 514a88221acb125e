//! `inlet pause`, `inlet resume`, `inlet reload` and `inlet sweep`: what a user asks of the poll of one table,
//! while the service runs.
//!
//! Promises: the service is not restarted; each load happens once; a request survives a restart of
//! either side. It is stored beside the poll's progress, in the control topic or in the table's
//! folder, and the poll answers in the progress. Leaves to others: the poll (`inlet_producer`), the
//! stored format (`inlet_model::Request`).

mod table;

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use inlet_lake::{TableReader, read_request, write_request};
use inlet_model::{Progress, ReloadRequest, Request, TableName};
use inlet_producer::settings;
use inlet_producer::sink::kafka::{
    KafkaSinkSettings, store_request, stored_progress, stored_requests,
};
use inlet_producer::source::control::Control;
use inlet_service::config::Config;
use inlet_service::output;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::table::find_table;
use self::table::{Asked, ControlError, find};
use crate::args::ControlArguments;
use crate::failure::Outcome;
use crate::tables;

/// A service looks at its requests every second, and a commit may take a while longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// A running broker answers sooner.
const BROKER_TIME_MAX: Duration = Duration::from_secs(15);

/// What is asked of the table.
#[derive(Debug, Clone)]
pub enum Act {
    Pause,
    Resume,
    /// Load it again, or those of its rows that fulfil a condition.
    Reload(Option<String>),
    /// Compare all its rows and keys now.
    Sweep,
}

/// Stores the request, and waits a while for the service to follow it.
pub async fn run(
    act: Act,
    arguments: &ControlArguments,
    config: Config,
    stop: CancellationToken,
) -> Outcome {
    let asked = find(&config, &arguments.table, &act).await?;
    let store = Store::of(&config, &asked)?;
    let before = store.request().await?;
    // Two requests of one process are never a microsecond apart.
    let id = format!("{}-{}", Utc::now().timestamp_micros(), std::process::id());
    let request = next(before.unwrap_or_default(), &act, &id);
    store.write(&request).await?;
    let followed = stop.run_until_cancelled(store.followed(&request, &act));
    let table = &asked.table;
    let answer = match followed.await {
        Some(Ok(true)) => done(&act),
        Some(Err(error)) => return Err(error),
        Some(Ok(false)) | None => {
            "requested. No service has answered yet; the request is stored, and a service follows \
             it as soon as it polls the table"
        }
    };
    output::stdout(format!("{table}: {answer}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The request after an act: what was asked before and is not changed by it stays.
fn next(before: Request, act: &Act, id: &str) -> Request {
    let id = id.to_owned();
    match act {
        Act::Pause => Request {
            id,
            paused: true,
            ..before
        },
        Act::Resume => Request {
            id,
            paused: false,
            ..before
        },
        Act::Reload(condition) => Request {
            reload: Some(ReloadRequest {
                id: id.clone(),
                condition: condition.clone(),
            }),
            id,
            ..before
        },
        Act::Sweep => Request {
            sweep: Some(id.clone()),
            id,
            ..before
        },
    }
}

fn done(act: &Act) -> &'static str {
    match act {
        Act::Pause => "paused. Its changes wait in PostgreSQL until `inlet resume`",
        Act::Resume => "resumed",
        Act::Reload(None) => "the load has started. `inlet status` shows when it has ended",
        Act::Reload(Some(_)) => {
            "the load of these rows has started. `inlet status` shows when it has ended"
        }
        Act::Sweep => {
            "the sweep has started. Updates that left the cursor as it was, and deletes, are in the \
             lake when it has ended"
        }
    }
}

/// Where requests and progress of a table are stored.
enum Store {
    /// Without a broker.
    Lake(std::path::PathBuf),
    Kafka(Box<KafkaSinkSettings>, TableName),
}

impl Store {
    fn of(config: &Config, asked: &Asked) -> Result<Self, crate::failure::Failure> {
        if let Some(kafka) = &config.kafka {
            let settings = KafkaSinkSettings {
                deadline: BROKER_TIME_MAX,
                ..settings::kafka_sink(config, kafka, &[])
            };
            return Ok(Self::Kafka(Box::new(settings), asked.table.clone()));
        }
        let folder = tables::folder(config, config.require_datalake()?, &asked.config);
        Ok(Self::Lake(folder))
    }

    async fn request(&self) -> Result<Option<Request>, crate::failure::Failure> {
        match self {
            Self::Lake(folder) => {
                // Without a log the table was never loaded, and a file would be the first thing in
                // its folder.
                if TableReader::new(folder).head().await?.is_none() {
                    return Err(ControlError::NeverLoaded(folder.clone()).into());
                }
                Ok(read_request(folder))
            }
            Self::Kafka(settings, table) => {
                let requests = blocking(settings, stored_requests).await?;
                Ok(requests.get(table).cloned())
            }
        }
    }

    async fn write(&self, request: &Request) -> Result<(), crate::failure::Failure> {
        match self {
            Self::Lake(folder) => Ok(write_request(folder, request)?),
            Self::Kafka(settings, table) => {
                let (table, request) = (table.clone(), request.clone());
                blocking(settings, move |settings| {
                    store_request(settings, &table, &request)
                })
                .await
            }
        }
    }

    async fn progress(&self) -> Result<Progress, crate::failure::Failure> {
        match self {
            Self::Lake(folder) => {
                let head = TableReader::new(folder).head().await?;
                Ok(head.map(|head| head.progress.clone()).unwrap_or_default())
            }
            Self::Kafka(settings, table) => {
                let mut progress = blocking(settings, stored_progress).await?;
                Ok(progress.remove(table).unwrap_or_default())
            }
        }
    }

    /// Waits until the service has followed the request; false when it has not in time.
    async fn followed(
        &self,
        request: &Request,
        act: &Act,
    ) -> Result<bool, crate::failure::Failure> {
        let end = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let control = Control::decode(&self.progress().await?);
            let is_followed = match act {
                Act::Pause | Act::Resume => control.paused == request.paused,
                Act::Reload(_) => control.reload.as_ref() == Some(&request.id),
                Act::Sweep => control.sweep.as_ref() == Some(&request.id),
            };
            if is_followed {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }
}

/// Runs a question to the broker on a thread of its own, because librdkafka's calls block.
async fn blocking<T: Send + 'static>(
    settings: &KafkaSinkSettings,
    ask: impl FnOnce(&KafkaSinkSettings) -> Result<T, inlet_service::sink::SinkError> + Send + 'static,
) -> Result<T, crate::failure::Failure> {
    let settings = settings.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&settings)).await;
    Ok(asked.expect("the question to the broker does not panic")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_changes_what_it_is_about_and_keeps_the_rest() {
        let paused = next(Request::default(), &Act::Pause, "1");
        let reload = next(paused, &Act::Reload(Some("id > 7".to_owned())), "2");
        assert!(reload.paused);
        let resumed = next(reload, &Act::Resume, "3");
        assert!(!resumed.paused);
        let load = resumed.reload.expect("the load stays");
        assert_eq!(
            (load.id.as_str(), load.condition.as_deref()),
            ("2", Some("id > 7"))
        );
        assert_eq!(resumed.id, "3");
    }
}
