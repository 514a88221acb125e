//! The status over HTTP: `/` for people, `/status.json` for programs. Both only read.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::get;
use inlet_service::config::Config;
use tokio::runtime::Handle;

use super::look::look;
use super::{page, show};

/// A look at every hop serves all requests for this long: however many browsers are open, the
/// servers are asked once.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The status of the running service's configuration.
#[derive(Clone)]
pub struct Served {
    config: Arc<Mutex<Config>>,
    last: Arc<tokio::sync::Mutex<Option<(Instant, Shown)>>>,
}

#[derive(Clone)]
struct Shown {
    status: StatusCode,
    page: Arc<str>,
    json: Arc<str>,
}

impl Served {
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(Mutex::new(config)),
            last: Arc::default(),
        }
    }

    /// The service has another configuration from now on.
    pub fn set(&self, config: &Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config.clone();
    }

    /// The routes of the page, for a server that listens on this address.
    pub fn routes(self, address: IpAddr) -> Router {
        let page = |State(served): State<Self>| async move {
            let shown = served.shown().await;
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, page::POLICY),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (shown.status, headers, shown.page.to_string()).into_response()
        };
        let json = |State(served): State<Self>| async move {
            let shown = served.shown().await;
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (shown.status, headers, shown.json.to_string()).into_response()
        };
        let guard = move |request: Request, next: Next| async move {
            match is_for_us(address, request.headers()) {
                true => next.run(request).await,
                false => StatusCode::FORBIDDEN.into_response(),
            }
        };
        Router::new()
            .route("/", get(page))
            .route("/status.json", get(json))
            .layer(middleware::from_fn(guard))
            .with_state(self)
    }

    fn config(&self) -> Config {
        let config = self.config.lock();
        config.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn shown(&self) -> Shown {
        // Requests that arrive meanwhile wait here, and find the same look.
        let mut last = self.last.lock().await;
        if let Some((at, shown)) = &*last
            && at.elapsed() < LOOK_INTERVAL
        {
            return shown.clone();
        }
        let config = self.config();
        let runtime = Handle::current();
        // A look reads files of the lake, which would hold up the tasks that share its thread.
        let looking = tokio::task::spawn_blocking(move || Shown::of(&runtime, &config));
        let shown = looking
            .await
            .unwrap_or_else(|_| Shown::error("the look has ended early"));
        *last = Some((Instant::now(), shown.clone()));
        shown
    }
}

impl Shown {
    fn of(runtime: &Handle, config: &Config) -> Self {
        if config.datalake.is_none() {
            return Self::error(
                "The configuration of this service names no lake: its status is served by \
                 `inlet consumer`.",
            );
        }
        match runtime.block_on(look(config)) {
            Ok(looked) => Self {
                status: StatusCode::OK,
                page: page::page(&looked).into(),
                json: format!("{}\n", show::json(&looked)).into(),
            },
            Err(failure) => Self::error(&failure.reason()),
        }
    }

    fn error(reason: &str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            page: page::reason(reason).into(),
            json: format!("{}\n", serde_json::json!({ "error": reason })).into(),
        }
    }
}

/// False for a request to a server of this machine alone that names another host: a page of that
/// name in a browser here must not read the status.
fn is_for_us(address: IpAddr, headers: &HeaderMap) -> bool {
    if !address.is_loopback() {
        return true;
    }
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name == "localhost"
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_this_machine_answers_to_its_own_names() {
        let of = |address: &str, host: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, host.parse().unwrap());
            }
            is_for_us(address.parse().unwrap(), &headers)
        };
        for host in [
            "localhost:9464",
            "127.0.0.1:9464",
            "[::1]:9464",
            "localhost",
        ] {
            assert!(of("127.0.0.1", Some(host)), "{host}");
        }
        assert!(of("127.0.0.1", None));
        assert!(!of("127.0.0.1", Some("evil.example:9464")));
        assert!(of("0.0.0.0", Some("inlet.example:9464")));
    }
}
