//! What every service starts before its work.

use std::net::SocketAddr;

use inlet_service::observe::{Observer, Readiness};

use crate::failure::Failure;

/// Serves health and metrics if an address is given, until the observer is dropped.
pub async fn observe(
    http: Option<SocketAddr>,
    parts: Vec<Readiness>,
) -> Result<Option<Observer>, Failure> {
    match http {
        Some(address) => Ok(Some(Observer::start(address, parts).await?)),
        None => Ok(None),
    }
}
