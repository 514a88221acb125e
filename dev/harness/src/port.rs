//! Free ports that stay reserved while a server is down.
//!
//! The system takes a port for "any" from the range that it also gives to clients. While a server
//! is down, a client could get its port, or even connect to itself. So our ports are below that
//! range. An abstract socket with the port's name reserves each of them among all test processes,
//! and vanishes with the process.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Result, bail};
use rand::Rng;

const LOWEST: u16 = 10_000;
const TRIES: usize = 1_000;

/// A claimed TCP port of 127.0.0.1. Dropping it frees it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UnixListener,
}

impl Port {
    /// Claims a port without a listener.
    pub fn claim() -> Result<Self> {
        let highest = clients_from()
            .filter(|first| *first > LOWEST + 1_000)
            .unwrap_or(u16::MAX);
        for _ in 0..TRIES {
            let number = rand::rng().random_range(LOWEST..highest);
            let name = SocketAddr::from_abstract_name(format!("inlet-harness-port-{number}"))?;
            let Ok(claim) = UnixListener::bind_addr(&name) else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _claim: claim,
                });
            }
        }
        bail!("no free port between {LOWEST} and {highest} in {TRIES} tries")
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// The first port that the system gives to clients.
fn clients_from() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_free_and_only_ours() {
        let ports: Vec<Port> = (0..50).map(|_| Port::claim().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        assert!(
            numbers
                .iter()
                .all(|number| TcpListener::bind((Ipv4Addr::LOCALHOST, *number)).is_ok())
        );
    }
}
