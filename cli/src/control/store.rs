//! Where requests of users are stored, and the progress in which the poll answers them.

use std::path::PathBuf;
use std::time::Duration;

use inlet_lake::{TableReader, read_request, write_request};
use inlet_model::{Progress, Request, TableName};
use inlet_producer::settings;
use inlet_producer::sink::kafka::{
    KafkaSinkSettings, store_request, stored_progress, stored_requests,
};
use inlet_producer::source::control::Control;
use inlet_service::config::Config;
use tokio::time::Instant;

use super::table::{Asked, ControlError};
use crate::failure::Failure;
use crate::tables;

const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// A running broker answers sooner.
const BROKER_TIME_MAX: Duration = Duration::from_secs(15);

/// Where requests and progress of a table are stored.
pub enum Store {
    /// Without a broker.
    Lake(PathBuf),
    Kafka(Box<KafkaSinkSettings>, TableName),
}

impl Store {
    pub fn of(config: &Config, asked: &Asked) -> Result<Self, Failure> {
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

    /// The last request for the table.
    pub async fn request(&self) -> Result<Option<Request>, Failure> {
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

    /// Stores a request in place of the one before.
    pub async fn write(&self, request: &Request) -> Result<(), Failure> {
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

    async fn progress(&self) -> Result<Progress, Failure> {
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

    /// Waits until a service has followed a request; `None` when none has in this time.
    pub async fn followed(
        &self,
        time_max: Duration,
        is_followed: impl Fn(&Control) -> bool,
    ) -> Result<Option<Control>, Failure> {
        let end = Instant::now() + time_max;
        loop {
            let control = Control::decode(&self.progress().await?);
            if is_followed(&control) {
                return Ok(Some(control));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }
}

/// Runs a question to the broker on a thread of its own, because librdkafka's calls block.
async fn blocking<T: Send + 'static>(
    settings: &KafkaSinkSettings,
    ask: impl FnOnce(&KafkaSinkSettings) -> Result<T, inlet_service::sink::SinkError> + Send + 'static,
) -> Result<T, Failure> {
    let settings = settings.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&settings)).await;
    Ok(asked.expect("the question to the broker does not panic")?)
}
