//! Kafka Connect with Debezium's connector, in one process beside a broker.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::process::Launch;
use crate::server::Server;
use crate::{Folder, Kafka, Port, programs};

const DEADLINE: Duration = Duration::from_secs(60);

/// A connector: its name, and its settings as Debezium documents them.
#[derive(Debug, Clone)]
pub struct Connector {
    pub name: String,
    pub settings: Vec<(String, String)>,
}

impl Connector {
    /// A connector of this name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            settings: Vec::new(),
        }
    }

    /// With one more setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }
}

/// A worker of Kafka Connect; killed and removed when dropped.
#[derive(Debug)]
pub struct Connect {
    server: Server,
    _port: Port,
}

impl Connect {
    /// Starts a worker that runs these connectors against a broker. It answers a few seconds later:
    /// wait for what the connectors write.
    pub fn start(kafka: &Kafka, connectors: &[Connector]) -> Result<Self> {
        let folder = Folder::new("connect")?;
        let port = Port::claim()?;
        let plugins = programs::debezium()?;
        let worker = format!(
            "bootstrap.servers={}
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.storage.file.filename={}
offset.flush.interval.ms=500
listeners=HTTP://127.0.0.1:{}
plugin.path={}
plugin.discovery=only_scan
topic.creation.enable=true
",
            kafka.bootstrap(),
            folder.join("offsets").display(),
            port.number(),
            plugins.display(),
        );
        fs::write(folder.join("worker.properties"), worker)?;
        fs::create_dir(folder.join("tmp"))?;
        let mut args = vec!["worker.properties".to_owned()];
        for connector in connectors {
            let settings = connector.settings.iter();
            let lines: String = settings
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect();
            let file = format!("{}.properties", connector.name);
            fs::write(
                folder.join(&file),
                format!("name={}\n{lines}", connector.name),
            )?;
            args.push(file);
        }
        let tmp = folder.join("tmp");
        let java = Launch::new("connect", programs::system("java")?, &folder)
            .args(["-Xms64m", "-Xmx512m", "-XX:-UsePerfData"])
            .args([format!("-Djava.io.tmpdir={}", tmp.display())])
            .args(["org.apache.kafka.connect.cli.ConnectStandalone"])
            .args(args)
            .env("CLASSPATH", programs::kafka_classes()?);
        let mut server = Server::new(folder, Signal::TERM);
        server.start(java)?;
        Ok(Self {
            server,
            _port: port,
        })
    }

    /// Fails when the worker has ended or a connector has failed, with what was logged.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.server.ensure_alive()?;
        let log = self.server.log()?;
        let is_failed = log.contains("Task threw an uncaught and unrecoverable exception");
        ensure!(!is_failed, "a connector has failed:\n{log}");
        Ok(())
    }

    /// The worker's log until now.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }

    /// Stops the worker in order.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop(DEADLINE).await
    }
}
