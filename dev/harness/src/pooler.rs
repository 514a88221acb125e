//! PgBouncer in front of a server, as users run it.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;

use crate::process::{Launch, Process, User};
use crate::{Database, Folder, PASSWORD, Port, Postgres, USER, eventually, programs};

const DEADLINE: Duration = Duration::from_secs(30);

/// A PgBouncer on a free port of 127.0.0.1. It accepts every client, and connects to one server as
/// its superuser.
#[derive(Debug)]
pub struct Pooler {
    _process: Process,
    port: Port,
    folder: Folder,
}

impl Pooler {
    /// Starts a PgBouncer with this `pool_mode`: `session`, `transaction` or `statement`.
    pub async fn start(server: &Postgres, mode: &str) -> Result<Self> {
        let (folder, port, user) = (
            Folder::new("pooler")?,
            Port::claim()?,
            User::unprivileged()?,
        );
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type \
             = any\npool_mode = {mode}\n",
            server.port(),
            port.number()
        );
        fs::write(folder.join("pgbouncer.ini"), text)?;
        if let Some(user) = user {
            user.own(&folder)?;
            user.own(&folder.join("pgbouncer.ini"))?;
        }
        let program =
            programs::system("pgbouncer").or_else(|_| programs::existing("/usr/sbin/pgbouncer"))?;
        let process = Launch::new("pgbouncer", program, &folder)
            .user(user)
            .args(["pgbouncer.ini"])
            .start()?;
        let address = ("127.0.0.1", port.number());
        eventually(DEADLINE, "PgBouncer answers", async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        Ok(Self {
            _process: process,
            port,
            folder,
        })
    }

    /// A database of the server, through the pooler.
    pub fn named(&self, database: &str) -> Database {
        let url = format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port.number()
        );
        Database {
            url,
            name: database.to_owned(),
            log: self.folder.join("log"),
        }
    }
}
