//! `/livez`, `/readyz` and `/metrics` of a running service over HTTP, if the user asks for them,
//! and what the binary adds to them.
//!
//! Promises: a number moves only when what it counts is durable; a request changes nothing; a
//! server that cannot be opened is an error at the start. Leaves to others: which numbers there are
//! (`metrics.rs` of each service).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{Explain, Hint, Kind, Section};
use crate::{output, process};

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The time between two clean-ups of the recorder's buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long an address may be in use at the start.
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(2);
const ADDRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Whether a service works: it has reached its servers, and its last step succeeded.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns the present time as a metric shows it: seconds since 1970-01-01 UTC.
pub fn timestamp_seconds() -> f64 {
    // A clock before 1970 shows as 0.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Why the HTTP server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Another process uses the address, or this machine does not have it.
    #[error("the HTTP server cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// A process has one recorder.
    #[error("the metrics of this process are recorded already")]
    Recorder,
}

impl Explain for ObserveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Listen { .. } => Kind::Config,
            Self::Recorder => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Listen { .. } => {
                let hint = Hint::text("give `--http` a free address of this machine");
                Some(hint.see(Section::HttpAddress))
            }
            Self::Recorder => None,
        }
    }
}

/// The HTTP server; ends when it is dropped.
#[derive(Debug)]
pub struct Observer {
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Observer {
    /// Records the process's metrics from here on, and serves them, and more. It is ready while all
    /// of `parts` are.
    pub async fn start(
        address: SocketAddr,
        parts: Vec<Readiness>,
        more: Router,
    ) -> Result<Self, ObserveError> {
        let failed = |source| ObserveError::Listen { address, source };
        let listener = bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|_| ObserveError::Recorder)?;
        output::describe_metrics();
        process::describe_metrics();
        tracing::info!(%address, "serving /, /status.json, /livez, /readyz and /metrics");
        let server = async move {
            let upkeep = metrics.clone();
            let served = axum::serve(listener, routes(metrics, parts).merge(more)).into_future();
            tokio::select! {
                ended = served => tracing::warn!(reason = ?ended.err(), "the HTTP server ended"),
                () = keep_up(upkeep) => {}
            }
        };
        Ok(Self {
            task: tokio::spawn(server),
            address,
        })
    }

    /// Where it listens; the port is a number even where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens, for which a process that was killed a moment ago may still hold the address.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + ADDRESS_WAIT_MAX;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(ADDRESS_INTERVAL).await;
            }
            bound => return bound,
        }
    }
}

fn routes(metrics: PrometheusHandle, parts: Vec<Readiness>) -> Router {
    let ready = move || async move {
        match parts.iter().all(Readiness::get) {
            true => (StatusCode::OK, "ready\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(move || async move { ([(header::CONTENT_TYPE, TEXT_FORMAT)], metrics.render()) }),
        )
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut clock = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        clock.tick().await;
        metrics.run_upkeep();
        process::measure();
    }
}
