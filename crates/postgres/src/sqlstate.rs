//! What an error of PostgreSQL means: the one table from SQLSTATE to meaning.
//!
//! Source: PostgreSQL manual, "PostgreSQL Error Codes".

use inlet_model::quote;
use inlet_service::error::{Hint, Kind, Section};
use sqlx::postgres::PgDatabaseError;

/// How to connect past a pooler that shares sessions.
pub(crate) const POOLED: &str = "\
connect to the server itself (`postgres.url` with the server's own host and port, usually 5432), \
or give the role a pool in session mode: PgBouncer's `pool_mode = session`";

/// What a failed statement means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The table has changed since its columns were read.
    Altered,
    /// Another transaction holds a lock on the table.
    Locked,
    /// Another session answers than the one that prepared the statement.
    Pooled,
    /// The database holds bytes that are no characters of its encoding.
    NoUtf8,
    /// The role does not exist, its password is wrong, or it may not log in from here.
    Login,
    /// The database does not exist.
    NoDatabase,
    /// The role lacks a right, or the connection cannot be made as configured.
    Refused,
    /// The statement ran into its time limit, or was cancelled.
    Canceled,
    /// The server does not know a function, column or clause that every supported version has.
    Unsupported,
    /// The driver could not read the answer.
    Unreadable,
    /// The server could not be reached.
    Unreachable,
    /// What answers does not use PostgreSQL's protocol.
    Foreign,
    /// Anything else may pass: a shutdown, a lost connection, too many clients.
    Passing,
}

impl Meaning {
    /// Classifies an error of the driver or the server.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                // PgBouncer reports an unknown startup parameter as a protocol violation.
                if code == "08P01" && error.message().contains("unsupported startup parameter") {
                    return Self::Pooled;
                }
                Self::of_code(&code)
            }
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => Self::Refused,
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => Self::Unreachable,
            sqlx::Error::Protocol(_) => Self::Foreign,
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_) => Self::Unreadable,
            _ => Self::Passing,
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            // Cached plan must not change result type; undefined column; undefined table; datatype
            // mismatch.
            "0A000" | "42703" | "42P01" | "42804" => Self::Altered,
            // Lock not available: `lock_timeout` has passed.
            "55P03" => Self::Locked,
            // Invalid statement name; duplicate prepared statement.
            "26000" | "42P05" => Self::Pooled,
            // Untranslatable character; character not in repertoire.
            "22P05" | "22021" => Self::NoUtf8,
            // Invalid authorization specification; invalid password.
            "28000" | "28P01" => Self::Login,
            // Invalid catalog name: a database, in the words of the SQL standard.
            "3D000" => Self::NoDatabase,
            // Insufficient privilege.
            "42501" => Self::Refused,
            // Query canceled: `statement_timeout` has passed.
            "57014" => Self::Canceled,
            code if code.starts_with("42") => Self::Unsupported,
            _ => Self::Passing,
        }
    }

    /// What it means for the process, where the statement reads a table of the user.
    pub fn kind(self) -> Kind {
        match self {
            Self::Pooled | Self::Login | Self::NoDatabase | Self::Refused => Kind::Config,
            Self::NoUtf8 => Kind::Data,
            Self::Altered
            | Self::Locked
            | Self::Canceled
            | Self::Unsupported
            | Self::Unreadable
            | Self::Unreachable
            // A proxy in front of the server may answer for it while it restarts.
            | Self::Foreign
            | Self::Passing => Kind::Unavailable,
        }
    }

    /// What it means for the process, where the statement reads only the catalog: there an unknown
    /// column is no altered table but a server that is not PostgreSQL, and an answer that cannot be
    /// read is a bug of ours.
    pub(crate) fn kind_of_catalog(self) -> Kind {
        match self {
            Self::Altered | Self::Unsupported => Kind::Config,
            Self::Unreadable => Kind::Bug,
            meaning => meaning.kind(),
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::Login => Some("check `postgres.user` and `postgres.password`"),
            Self::NoUtf8 => Some(
                "a byte of the database's encoding stands for no character: find its row with \
                 `WHERE column LIKE '%' || chr(129) || '%'` (the byte as a number) and correct it",
            ),
            Self::Pooled => Some(POOLED),
            Self::NoDatabase => Some(
                "check the database's name in `postgres.jdbc_url`, `postgres.url` or `postgres.db`",
            ),
            Self::Unreachable => Some(
                "check host and port in `postgres`, and that PostgreSQL is running and listens \
                 there",
            ),
            Self::Foreign => Some(
                "check host and port in `postgres`: what answers there is not PostgreSQL, or a \
                 proxy whose server is down",
            ),
            _ => None,
        }
    }

    fn section(self) -> Option<Section> {
        match self {
            Self::Login => Some(Section::Password),
            Self::NoDatabase => Some(Section::Database),
            Self::Unreachable => Some(Section::PostgresSilent),
            Self::Foreign => Some(Section::PostgresForeign),
            _ => None,
        }
    }
}

/// True for an error of the statement itself, false for one of the connection, the session or the
/// server: a statement about another table may then succeed.
pub(crate) fn is_own(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let of_session = matches!(Meaning::of(error), Meaning::Pooled | Meaning::Login);
            // Connection exception; transaction rollback, as a standby's conflict with its
            // recovery; shutdown; too many connections.
            let of_server = ["08", "40", "57P", "53300"]
                .iter()
                .any(|class| code.starts_with(class));
            !of_session && !of_server
        }
        _ => Meaning::of(error) == Meaning::Unreadable,
    }
}

/// What to do about an error: our own advice, then the server's own HINT and DETAIL.
pub(crate) fn hint(error: &sqlx::Error) -> Option<Hint> {
    let server = error
        .as_database_error()
        .and_then(|database| database.try_downcast_ref::<PgDatabaseError>());
    if let Some(fix) = server.and_then(of_refused_login) {
        return Some(Hint::text(fix));
    }
    let mut parts: Vec<String> = Meaning::of(error)
        .hint()
        .into_iter()
        .map(str::to_owned)
        .collect();
    if let Some(server) = server {
        parts.extend(
            server
                .hint()
                .map(|hint| format!("PostgreSQL's hint: {hint}")),
        );
        parts.extend(
            server
                .detail()
                .map(|detail| format!("PostgreSQL's detail: {detail}")),
        );
    }
    let hint = (!parts.is_empty()).then(|| Hint::text(parts.join("; ")))?;
    Some(match Meaning::of(error).section() {
        Some(section) => hint.see(section),
        None => hint,
    })
}

/// The fix for a login that was refused before the password was asked for. The server's routine
/// tells the cases apart in every language; its English message has the names in quotes.
fn of_refused_login(error: &PgDatabaseError) -> Option<String> {
    if error.code() != "28000" {
        return None;
    }
    let quoted: Vec<&str> = error.message().split('"').skip(1).step_by(2).collect();
    match (error.routine()?, quoted.as_slice()) {
        ("InitializeSessionUserId", [role, ..]) if error.message().ends_with("log in") => {
            Some(format!("ALTER ROLE {} LOGIN;", quote(role)))
        }
        ("InitializeSessionUserId", [role, ..]) => Some(format!(
            "check `postgres.user`: role {role} does not exist; `inlet grants --role` prints the \
             SQL that creates it"
        )),
        ("ClientAuthentication", [host, role, database, ..]) => {
            // An address of one host: 32 bits of IPv4, 128 of IPv6.
            let bits = if host.contains(':') { 128 } else { 32 };
            let line = format!(
                "host {} {} {host}/{bits} scram-sha-256",
                quote(database),
                quote(role)
            );
            let place = match error.message().contains("rejects") {
                true => "above the rule that rejects it",
                false => "at its end",
            };
            Some(format!(
                "pg_hba.conf does not let this role in from here, whatever its password: add this \
                 line to it, {place}; SHOW hba_file names the file, SELECT pg_reload_conf() reads \
                 it again:\n{line}"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_is_not_listed_may_pass() {
        assert_eq!(Meaning::of_code("57P01"), Meaning::Passing);
        assert_eq!(Meaning::of_code("57P01").kind(), Kind::Unavailable);
    }

    #[test]
    fn an_unknown_column_is_an_altered_table_for_rows_and_a_wrong_server_for_the_catalog() {
        let meaning = Meaning::of_code("42703");
        assert_eq!(meaning.kind(), Kind::Unavailable);
        assert_eq!(meaning.kind_of_catalog(), Kind::Config);
        assert_eq!(Meaning::of_code("42883").kind_of_catalog(), Kind::Config);
    }

    #[test]
    fn a_lost_connection_may_pass() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(Meaning::of(&lost).kind_of_catalog(), Kind::Unavailable);
    }
}
