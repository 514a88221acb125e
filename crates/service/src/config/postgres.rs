//! `postgres:` where the database is, and as whom we come.
//!
//! An address may be given as `jdbc_url`, as `url`, or as host, port and db, also in several of
//! these ways at once as long as they agree. Where files differ, the later one wins part by part.

mod address;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::file::{Place, Problem, Problems, Text, value_from_file};
use super::raw::RawPostgres;
use super::value;
use address::Address;

/// The databases that we read.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The primary: where changes are found.
    pub primary: PostgresAddress,
    /// A hot standby to read rows from, where one was given.
    pub read: Option<PostgresAddress>,
}

/// Everything a connection needs.
#[derive(Debug, Clone)]
pub struct PostgresAddress {
    /// The host's name or address, or the folder of a Unix socket when it starts with `/`.
    pub host: String,
    pub port: u16,
    pub db: String,
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<SecretString>,
    /// Whether the connection is encrypted, and what is verified.
    pub sslmode: SslMode,
    /// The file of certificates that are trusted; the usual authorities when absent.
    pub sslrootcert: Option<PathBuf>,
}

impl PostgresAddress {
    /// The password in clear, for the connection alone.
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(ExposeSecret::expose_secret)
    }
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.db)
    }
}

/// PostgreSQL's `sslmode`, with its words (PostgreSQL manual, "SSL Support").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    Disable,
    /// Encrypted if the server insists.
    Allow,
    /// Encrypted if the server can.
    #[default]
    Prefer,
    /// Always encrypted, nothing verified.
    Require,
    /// Encrypted, the certificate's authority verified.
    VerifyCa,
    /// Encrypted, authority and host name verified.
    VerifyFull,
}

pub(super) fn check(raw: &RawPostgres, problems: &mut Problems) -> Option<PostgresConfig> {
    let found = problems.len();
    let mut read = |key, own: &Option<Text>, file: &Option<Text>| {
        value_from_file(key, own.as_ref(), file.as_ref(), problems)
    };
    let url = read("postgres.url", &raw.url, &raw.url_file);
    let user = read("postgres.user", &raw.user, &raw.user_file);
    let password = read("postgres.password", &raw.password, &raw.password_file);
    let read_url = read("postgres.read_url", &raw.read_url, &raw.read_url_file);
    let urls = addresses(
        [("postgres.jdbc_url", &raw.jdbc_url), ("postgres.url", &url)],
        problems,
    );
    let port = raw
        .port
        .as_ref()
        .and_then(|text| Some((problems.take(value::port("postgres.port", text))?, text)));
    let mut part = Part {
        urls: &urls,
        problems,
    };
    let host = part.agree("host", |url| url.host.clone(), text_of(&raw.host));
    let port = part.agree(
        "port",
        |url| url.port,
        port.map(|(port, text)| (port, &text.place)),
    );
    let db = part.agree("db", |url| url.db.clone(), text_of(&raw.db));
    let user = part.agree("user", |url| url.user.clone(), text_of(&user));
    let password = part.agree("password", |url| url.password.clone(), text_of(&password));
    let sslmode = urls
        .iter()
        .find_map(|(_, url, _)| url.sslmode)
        .unwrap_or_default();
    let sslrootcert = urls.iter().find_map(|(_, url, _)| url.sslrootcert.clone());
    if problems.len() > found {
        return None;
    }
    report_missing(host.is_some(), db.is_some(), user.is_some(), problems);
    let primary = PostgresAddress {
        host: host?,
        port: port.unwrap_or(5432),
        db: db?,
        user: user?,
        password: password.map(SecretString::from),
        sslmode,
        sslrootcert,
    };
    let read = read_url
        .as_ref()
        .and_then(|text| read_address(text, &primary, problems));
    Some(PostgresConfig { primary, read })
}

/// Reports each part that a connection cannot do without.
fn report_missing(has_host: bool, has_db: bool, has_user: bool, problems: &mut Problems) {
    let mut missing = |key: &str, hint: &str| {
        problems.add(Problem::new(format!("`postgres.{key}` is missing")).hint(hint))
    };
    if !has_host {
        missing(
            "host",
            "say where the database is: `jdbc_url: \"jdbc:postgresql://host:5432/db\"`, or `host`, \
                `port` and `db`",
        );
    } else if !has_db {
        missing(
            "db",
            "name the database, as `db` or at the end of the address",
        );
    }
    if !has_user {
        missing(
            "user",
            "name the role to connect as; it needs SELECT on the tables",
        );
    }
}

/// The addresses given as one text, with their keys and places.
fn addresses<'a>(
    given: [(&'static str, &'a Option<Text>); 2],
    problems: &mut Problems,
) -> Vec<(&'static str, Address, &'a Place)> {
    let parsed = given.into_iter().filter_map(|(key, text)| {
        let text = text.as_ref()?;
        Some((key, address::parse(key, text, problems)?, &text.place))
    });
    parsed.collect()
}

/// What is not in the standby's address is as at the primary.
fn read_address(
    text: &Text,
    primary: &PostgresAddress,
    problems: &mut Problems,
) -> Option<PostgresAddress> {
    let url = address::parse("postgres.read_url", text, problems)?;
    Some(PostgresAddress {
        host: url.host?,
        port: url.port.unwrap_or(5432),
        db: url.db.unwrap_or_else(|| primary.db.clone()),
        user: url.user.unwrap_or_else(|| primary.user.clone()),
        password: url
            .password
            .map(SecretString::from)
            .or_else(|| primary.password.clone()),
        sslmode: url.sslmode.unwrap_or(primary.sslmode),
        sslrootcert: url.sslrootcert.or_else(|| primary.sslrootcert.clone()),
    })
}

fn text_of(text: &Option<Text>) -> Option<(String, &Place)> {
    text.as_ref().map(|text| (text.value.clone(), &text.place))
}

/// Finds the one value of a part of the address among all that give it.
struct Part<'a> {
    urls: &'a [(&'static str, Address, &'a Place)],
    problems: &'a mut Problems,
}

impl Part<'_> {
    /// The value of the latest file; in one file all must say the same.
    fn agree<T: Clone + PartialEq>(
        &mut self,
        key: &'static str,
        of_url: impl Fn(&Address) -> Option<T>,
        own: Option<(T, &Place)>,
    ) -> Option<T> {
        let of_urls = self
            .urls
            .iter()
            .filter_map(|(key, url, place)| Some((of_url(url)?, *key, *place)));
        let given: Vec<(T, String, &Place)> = of_urls
            .map(|(value, key, place)| (value, key.to_owned(), place))
            .chain(own.map(|(value, place)| (value, format!("postgres.{key}"), place)))
            .collect();
        let last = given.iter().map(|(_, _, place)| place.layer).max()?;
        let latest: Vec<_> = given
            .iter()
            .filter(|(_, _, place)| place.layer == last)
            .collect();
        let (value, first, _) = latest.first()?;
        if let Some((_, second, place)) = latest.iter().find(|(other, _, _)| other != value) {
            let problem = Problem::at(
                place,
                format!("`{first}` and `{second}` give a different {key}"),
            );
            self.problems
                .add(problem.hint("keep one of them, or make them equal"));
        }
        Some(value.clone())
    }
}
