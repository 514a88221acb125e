//! How a connection to PostgreSQL is made.

use inlet_service::config::{PostgresAddress, SslMode};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::error::Error;
use crate::session;

/// Translates a configured address into the driver's options.
pub fn options(address: &PostgresAddress) -> PgConnectOptions {
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

/// Connects, and makes sure that the server session behind the connection is ours alone.
pub async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let act = format!(
        "connection to PostgreSQL at {}:{} failed",
        options.get_host(),
        options.get_port()
    );
    let mut connection = options.connect().await.map_err(Error::server(&act))?;
    // A shared session is detected before anything is set or prepared in it: whatever we leave
    // behind there would reach other clients of the pooler.
    if session::is_shared(&mut connection, options)
        .await
        .map_err(Error::server(&act))?
    {
        return Err(Error::Pooled {
            host: options.get_host().to_owned(),
            port: options.get_port(),
        });
    }
    session::set_up(&mut connection)
        .await
        .map_err(Error::server(&act))?;
    Ok(connection)
}
