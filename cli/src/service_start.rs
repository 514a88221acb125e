//! What every service does around its work: it states what it carries and where to look, serves
//! health and metrics, and starts again with another configuration when it is asked to (SIGHUP).
//!
//! A reload, step by step:
//! 1. The files are read again and checked, and PostgreSQL is asked for the tables that they name.
//!    A mistake is logged, and the service goes on as before.
//! 2. The pipeline ends in order, as with SIGTERM: everything that it has found is durable.
//! 3. A new one starts in the same process, from where the last one ended. The HTTP server stays.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use inlet_lake::Rules;
use inlet_postgres::Known;
use inlet_producer::session::Source;
use inlet_service::config::{Config, TableConfig};
use inlet_service::error::{Explain, Hint, Kind};
use inlet_service::observe::{Observer, Readiness};
use inlet_service::stop::{Hangup, Hangups};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::CarryArguments;
use crate::failure::{Failure, Outcome, SystemError};
use crate::status::Served;
use crate::{consumer, producer, run, tables};

/// Names of tables that the first line of the log has.
const NAMED_MAX: usize = 3;

/// Which service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    Run,
}

/// What a service is started with, beside its configuration.
#[derive(Debug, Clone)]
pub struct Start {
    pub role: Role,
    pub files: Vec<PathBuf>,
    pub http: Option<SocketAddr>,
    pub new_lake: bool,
}

/// Why a running service cannot have a configuration.
#[derive(Debug, thiserror::Error)]
#[error("a running service cannot get or lose its section `kafka`")]
struct OtherWay;

impl Explain for OtherWay {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::text("restart it, with another lake folder"))
    }
}

impl Start {
    pub fn new(role: Role, arguments: CarryArguments) -> Self {
        let CarryArguments { service, new_lake } = arguments;
        Self {
            role,
            files: service.files.config,
            http: service.http,
            new_lake,
        }
    }

    /// Runs the service until it is stopped.
    pub async fn run(self, mut config: Config, stop: CancellationToken) -> Outcome {
        self.role.check(&config)?;
        let mut hangups = Hangups::on_signal().map_err(|source| SystemError {
            act: "listen for signals",
            source,
        })?;
        let is_both = self.role == Role::Run && config.kafka.is_some();
        // Clones share their state, so each part is a new one.
        let count = if is_both { 2 } else { 1 };
        let parts: Vec<_> = (0..count).map(|_| Readiness::default()).collect();
        let served = Served::new(config.clone());
        let _observer = observe(self.http, parts.clone(), served.clone()).await?;
        loop {
            served.set(&config);
            self.announce(&config);
            let next = self.next_config(&config, &mut hangups, &stop);
            let carry = async |session| self.role.run(config.clone(), &parts, session).await;
            match run_until(&stop, carry, next).await? {
                Ended::Replaced(next) => config = next,
                Ended::Itself(code) => return Ok(code),
            }
        }
    }

    /// States what is carried, and where to look.
    fn announce(&self, config: &Config) {
        let from = |config: &Config| {
            let postgres = config.postgres.as_ref()?;
            let server = &postgres.primary;
            Some(format!("{}:{}/{}", server.host, server.port, server.db))
        };
        let kafka = config.kafka.as_ref().map(|kafka| kafka.brokers.clone());
        let lake = config.datalake.as_ref();
        let lake = lake.map(|lake| tables::absolute(&lake.path).display().to_string());
        let (from, via, to) = match self.role {
            Role::Producer => (from(config), None, kafka),
            Role::Consumer => (kafka, None, lake),
            Role::Run => (from(config), kafka, lake),
        };
        let tables = named(&config.tables);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            tables, from, via, to, "starting"
        );
        let files: Vec<_> = self.files.iter().map(|file| shown(file)).collect();
        let status = format!("inlet status --config {}", files.join(" --config "));
        info!(status, "to see how far it is, run this");
    }

    /// Waits for a reload with another configuration that a service can run with.
    async fn next_config(
        &self,
        config: &Config,
        hangups: &mut Hangups,
        stop: &CancellationToken,
    ) -> Config {
        loop {
            match hangups.next().await {
                Hangup::Reload => {}
                Hangup::Closed => {
                    info!("the terminal was closed: stopping");
                    stop.cancel();
                    // The service ends first, which ends this wait.
                    std::future::pending::<()>().await;
                }
            }
            match self.reload(config).await {
                Ok(next) => {
                    let (added, removed) = differing(&config.tables, &next.tables);
                    info!(
                        added,
                        removed, "the configuration is loaded again: restarting with it"
                    );
                    return next;
                }
                Err(error) => {
                    let reason = error.reason().replace('\n', " ");
                    let hint = error.hint().map(|hint| hint.to_string());
                    warn!(
                        reason,
                        hint,
                        "the configuration is not loaded again: the service continues with the \
                         former one"
                    );
                }
            }
        }
    }

    /// The configuration as its files have it now, if the service can run with it.
    async fn reload(&self, before: &Config) -> Result<Config, Failure> {
        let config = load(&self.files, self.new_lake)?;
        self.role.check(&config)?;
        if config.kafka.is_some() != before.kafka.is_some() {
            return Err(OtherWay.into());
        }
        if self.role != Role::Consumer {
            // What a start refuses would end the service, and the tables with it that it has.
            let source = Source::look(&config, &Known::new()).await?;
            source.tables.strict()?;
        } else if config.has_patterns() {
            Source::look(&config, &Known::new()).await?;
        }
        Ok(config)
    }
}

impl Role {
    /// Refuses a configuration that the service cannot start with, before any server is asked.
    fn check(self, config: &Config) -> Result<(), Failure> {
        if let Some(shared) = tables::shared_folders(config).next() {
            return Err(shared.into());
        }
        match self {
            Self::Producer => {
                config.require_kafka()?;
                config.require_own_topics()?;
                return Ok(());
            }
            Self::Consumer => {
                config.require_kafka()?;
                config.require_datalake()?;
            }
            Self::Run => {
                config.require_datalake()?;
                config.require_own_topics()?;
            }
        }
        for table in &config.tables {
            Rules::parse(&table.rules)?;
        }
        Ok(())
    }

    async fn run(self, config: Config, parts: &[Readiness], stop: CancellationToken) -> Outcome {
        match self {
            Self::Producer => producer::run(config, parts[0].clone(), stop).await,
            Self::Consumer => consumer::run(config, parts[0].clone(), stop).await,
            Self::Run => run::run(config, parts, stop).await,
        }
    }
}

/// Reads the configuration of a service.
pub fn load(files: &[PathBuf], new_lake: bool) -> Result<Config, Failure> {
    let mut config = Config::load(files)?;
    if let Some(datalake) = &mut config.datalake {
        tables::use_bucket(datalake);
        datalake.may_be_new = new_lake;
    }
    Ok(config)
}

/// How a run of a pipeline has ended.
pub enum Ended<T> {
    /// By itself, or because it was stopped.
    Itself(std::process::ExitCode),
    /// In order, because there is something to run next.
    Replaced(T),
}

/// Runs a pipeline until it ends, or until there is something to run in its place: it is then
/// stopped in order first.
pub async fn run_until<T>(
    stop: &CancellationToken,
    run: impl AsyncFnOnce(CancellationToken) -> Outcome,
    next: impl Future<Output = T>,
) -> Result<Ended<T>, Failure> {
    // Whichever of the two ends first stops the other: the pipeline because it failed, or the wait
    // because there is something new.
    let session = stop.child_token();
    let running = async {
        let outcome = run(session.clone()).await;
        session.cancel();
        outcome
    };
    let waiting = async {
        let next = session.run_until_cancelled(next).await;
        session.cancel();
        next
    };
    let (outcome, next) = futures::join!(running, waiting);
    Ok(match (outcome?, next) {
        (_, Some(next)) if !stop.is_cancelled() => Ended::Replaced(next),
        (code, _) => Ended::Itself(code),
    })
}

/// Serves health, metrics and the status if an address is given, until the observer is dropped.
async fn observe(
    http: Option<SocketAddr>,
    parts: Vec<Readiness>,
    served: Served,
) -> Result<Option<Observer>, Failure> {
    let Some(address) = http else {
        return Ok(None);
    };
    let status = served.routes(address.ip());
    Ok(Some(Observer::start(address, parts, status).await?))
}

/// `orders, customers and 5 more`.
fn named(tables: &[TableConfig]) -> String {
    let names: Vec<_> = tables.iter().map(TableConfig::written).collect();
    match names.len().checked_sub(NAMED_MAX) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMED_MAX].join(", ")),
    }
}

/// The tables that only the second one has, and those that only the first one has.
fn differing(before: &[TableConfig], after: &[TableConfig]) -> (Option<String>, Option<String>) {
    let names = |tables: &[TableConfig]| -> BTreeSet<String> {
        tables.iter().map(TableConfig::written).collect()
    };
    let (before, after) = (names(before), names(after));
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        let names: Vec<_> = one.difference(other).cloned().collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    (only(&after, &before), only(&before, &after))
}

fn shown(file: &Path) -> String {
    let text = file.display().to_string();
    match text.contains(char::is_whitespace) {
        true => format!("'{text}'"),
        false => text,
    }
}
