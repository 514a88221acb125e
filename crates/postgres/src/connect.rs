//! How a connection to PostgreSQL is made, and the pair of connections that a poll reads from.

use std::io::ErrorKind;
use std::time::Duration;

use inlet_service::config::{PostgresAddress, PostgresConfig, SslMode};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};

use crate::error::Error;
use crate::reading::Reading;
use crate::server::{self, Greeting, Replayed};
use crate::session;

/// A server that gives no session in this time could not serve a poll either. A firewall that drops
/// packets, and a program that waits for another protocol, would keep us waiting for ever.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The primary, and the hot standby that rows are read from, if one is configured.
#[derive(Debug)]
pub struct Postgres {
    primary: PgConnection,
    standby: Option<PgConnection>,
    /// The standby's process that answers us.
    standby_backend: Option<i32>,
    greeting: Greeting,
    /// Where rows are read from.
    reading: PostgresAddress,
    /// Connections to it that read in the snapshot of the reader.
    helpers: Vec<PgConnection>,
    host: String,
    port: u16,
}

impl Postgres {
    /// Connects to the configured servers. Refuses a standby in the place of the primary, because a
    /// standby does not know which transactions are open.
    pub async fn connect(config: &PostgresConfig) -> Result<Self, Error> {
        let mut primary = connect(&config.primary).await?;
        let greeting = server::greet(&mut primary)
            .await
            .map_err(Error::server("identity of the server could not be read"))?;
        // A standby does not know the open transactions of its primary, and these decide what a
        // poll reads.
        if greeting.standby {
            return Err(Error::Standby);
        }
        let mut standby = None;
        let mut standby_backend = None;
        if let Some(address) = &config.read {
            let (connection, backend) = connect_standby(address, &greeting).await?;
            (standby, standby_backend) = (Some(connection), Some(backend));
        }
        Ok(Self {
            primary,
            standby,
            standby_backend,
            greeting,
            reading: config.read.as_ref().unwrap_or(&config.primary).clone(),
            helpers: Vec::new(),
            host: config.primary.host.clone(),
            port: config.primary.port,
        })
    }

    /// What the primary said about itself and about our role.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// The servers' processes that answer us: the primary's, and the standby's where rows are read
    /// from one.
    pub fn backends(&self) -> (i32, Option<i32>) {
        (self.greeting.backend, self.standby_backend)
    }

    /// Gives the session of the primary a name that others find it by.
    pub async fn name_session(&mut self, name: &str) -> Result<(), Error> {
        let named = server::name_session(&mut self.primary, name).await;
        named.map_err(Error::server("session could not be named"))
    }

    /// The connection to the primary.
    pub fn primary(&mut self) -> &mut PgConnection {
        &mut self.primary
    }

    /// The connection that rows are read from.
    pub fn reader(&mut self) -> &mut PgConnection {
        self.standby.as_mut().unwrap_or(&mut self.primary)
    }

    /// Takes out connections to the server of [`Self::reader`], of which each can join the
    /// snapshot of a block there. There are fewer when the server gives no more.
    pub async fn take_helpers(&mut self, count: usize) -> Vec<PgConnection> {
        let mut helpers = std::mem::take(&mut self.helpers);
        let missing = count.saturating_sub(helpers.len());
        let options = options(&self.reading);
        let connect = || async {
            let mut connection = options.connect().await?;
            session::set_up(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        for connected in futures::future::join_all((0..missing).map(|_| connect())).await {
            match connected {
                Ok(connection) => helpers.push(connection),
                // A role or a server may allow few connections; then the load is slower.
                Err(error) => tracing::debug!(%error, "a connection for the load was refused"),
            }
        }
        helpers
    }

    /// Takes connections back for the next [`Self::take_helpers`].
    pub fn return_helpers(&mut self, helpers: Vec<PgConnection>) {
        self.helpers = helpers;
    }

    /// Closes the connections of [`Self::take_helpers`].
    pub async fn close_helpers(&mut self) {
        for helper in std::mem::take(&mut self.helpers) {
            // The server notices a connection that was not closed in order, too.
            let _ = helper.close().await;
        }
    }

    /// Reads the primary's activity. Fails when another server session answers than the one that
    /// was greeted: a pooler shares sessions, although none was detected at the start.
    pub async fn read_activity(&mut self) -> Result<Reading, Error> {
        let reading = server::read_activity(&mut self.primary)
            .await
            .map_err(Error::server("activity could not be read"))?;
        // A pooler in transaction mode hands out another backend sooner or later, without what we
        // set and prepared.
        if reading.backend == self.greeting.backend {
            Ok(reading)
        } else {
            Err(Error::Pooled {
                host: self.host.clone(),
                port: self.port,
            })
        }
    }

    /// Waits until the standby that rows are read from shows everything that the primary had
    /// committed.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        let Some(standby) = &mut self.standby else {
            return Ok(());
        };
        let act = || Error::server("standby could not be awaited");
        // The position is taken after the activity was read, so everything that the activity showed
        // as ended is below it.
        let position = server::insert_position(&mut self.primary)
            .await
            .map_err(act())?;
        match server::replayed(standby, &position).await.map_err(act())? {
            Replayed::Reached => Ok(()),
            Replayed::Stuck => Err(Error::StandbyStuck { position }),
            Replayed::Promoted => Err(Error::StandbyPromoted),
        }
    }
}

/// Connects to the server that rows are read from, and makes sure that it is a standby of the
/// primary; returns its process that answers us, too.
async fn connect_standby(
    address: &PostgresAddress,
    primary: &Greeting,
) -> Result<(PgConnection, i32), Error> {
    let mut standby = connect(address).await?;
    let greeting = server::greet(&mut standby)
        .await
        .map_err(Error::server("identity of the standby could not be read"))?;
    if !greeting.standby {
        return Err(Error::StandbyPromoted);
    }
    // A clone of the same backup has the same identifier too; it shows later, because it does not
    // replay what the primary writes.
    let of = |greeting: &Greeting| (greeting.identity.system, greeting.identity.database.clone());
    if of(&greeting) != of(primary) {
        return Err(Error::StandbyForeign);
    }
    Ok((standby, greeting.backend))
}

/// Connects, and makes sure that the connection has a server session of its own. What answers
/// nothing at the address is an error after [`CONNECT_TIME_MAX`].
pub async fn connect(address: &PostgresAddress) -> Result<PgConnection, Error> {
    let act = format!(
        "connection to PostgreSQL at {}:{} failed",
        address.host, address.port
    );
    let late = |_| {
        let text = format!("no answer within {} s", CONNECT_TIME_MAX.as_secs());
        Error::server(&act)(std::io::Error::new(ErrorKind::TimedOut, text).into())
    };
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, own_session(address, &act));
    connected.await.map_err(late)?
}

async fn own_session(address: &PostgresAddress, act: &str) -> Result<PgConnection, Error> {
    let options = options(address);
    let mut connection = options.connect().await.map_err(Error::server(act))?;
    // A shared session is detected before anything is set or prepared in it: what we leave behind
    // there would reach other clients of the pooler.
    if session::is_shared(&mut connection, &options)
        .await
        .map_err(Error::server(act))?
    {
        return Err(Error::Pooled {
            host: address.host.clone(),
            port: address.port,
        });
    }
    session::set_up(&mut connection)
        .await
        .map_err(Error::server(act))?;
    Ok(connection)
}

/// Asks a server over a connection of its own whether it answers, and whether it still has a
/// session of this process id. A server that refuses the connection has answered.
pub async fn is_alive(address: &PostgresAddress, backend: Option<i32>) -> bool {
    const HAS: &str =
        "SELECT $1::int IS NULL OR EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
    let connected = options(address).connect().await;
    let asked = async {
        let mut connection = connected?;
        let alive = sqlx::query_scalar(HAS)
            .bind(backend)
            .fetch_one(&mut connection)
            .await?;
        // The answer is known, so a failure to close in order changes nothing.
        let _ = connection.close().await;
        Ok::<bool, sqlx::Error>(alive)
    };
    match asked.await {
        Ok(alive) => alive,
        Err(sqlx::Error::Database(_)) => true,
        Err(_) => false,
    }
}

/// Translates a configured address into the driver's options.
fn options(address: &PostgresAddress) -> PgConnectOptions {
    let mode = match address.sslmode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Allow => PgSslMode::Allow,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&address.host)
        .port(address.port)
        .database(&address.db)
        .username(&address.user)
        .ssl_mode(mode)
        .application_name("inlet")
        // A pooler refuses this startup parameter, and the session sets it itself.
        .extra_float_digits(None)
        // The driver warns about slow statements, and a scan of a whole table is slow by design.
        .disable_statement_logging();
    let options = match &address.sslrootcert {
        Some(file) => options.ssl_root_cert(file),
        None => options,
    };
    match address.password() {
        Some(password) => options.password(password),
        None => options,
    }
}
