//! `jdbc:postgresql://host:port/db?..` and `postgresql://user:password@host:port/db?..` into their
//! parts.
//!
//! No message holds the address itself: it may contain a password.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::SslMode;
use crate::config::file::{Problem, Problems, Text};

/// The parts an address gives.
#[derive(Default)]
pub(super) struct Address {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub db: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub sslmode: Option<SslMode>,
    pub sslrootcert: Option<PathBuf>,
}

/// Parses either form, whatever the key is called.
pub(super) fn parse(key: &str, text: &Text, problems: &mut Problems) -> Option<Address> {
    let problem = |what: &str| {
        let problem = Problem::at(
            &text.place,
            format!("`{key}` is not an address of PostgreSQL: {what}"),
        );
        problem.hint(
            "write `jdbc:postgresql://host:5432/db` or `postgresql://user@host:5432/db`; \
            give the password with `password`",
        )
    };
    let bare = text.value.strip_prefix("jdbc:").unwrap_or(&text.value);
    if !bare.starts_with("postgresql:") && !bare.starts_with("postgres:") {
        problems.add(problem(
            "it does not start with `jdbc:postgresql://` or `postgresql://`",
        ));
        return None;
    }
    if !bare.contains("://") {
        problems.add(problem("`//` is missing before the host"));
        return None;
    }
    // libpq accepts several hosts, `Url` does not; this message explains more than a parse error.
    let authority = bare
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split(['/', '?']).next())
        .unwrap_or_default();
    if authority
        .rsplit('@')
        .next()
        .is_some_and(|hosts| hosts.contains(','))
    {
        problems.add(several_hosts(key, text));
        return None;
    }
    let Ok(url) = Url::parse(bare) else {
        problems.add(problem(
            "its host, port or password has a character that must be percent-encoded",
        ));
        return None;
    };
    let mut address = Address {
        host: url
            .host_str()
            .filter(|host| !host.is_empty())
            // The brackets of an IPv6 address belong to the URL, not to the address.
            .map(|host| decode(host.trim_matches(['[', ']']))),
        port: url.port(),
        db: Some(decode(url.path().trim_start_matches('/').trim_end()))
            .map(|db| db.trim().to_owned())
            .filter(|db| !db.is_empty()),
        user: Some(decode(url.username())).filter(|user| !user.is_empty()),
        password: url.password().map(decode),
        ..Address::default()
    };
    // Java programs write a blank as `+`; for libpq a plus sign is itself.
    let query = url.query().unwrap_or_default();
    let query = match text.value.starts_with("jdbc:") {
        true => query.to_owned(),
        false => query.replace('+', "%2B"),
    };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        // A blank may belong to a password.
        let value = match name.trim() {
            "password" => &value,
            _ => value.trim(),
        };
        parameter(&mut address, key, text, (name.trim(), value), problems);
    }
    Some(address)
}

/// Reads one `name=value` after the `?`. As in libpq, a parameter wins over the same part of the
/// address before it.
fn parameter(
    address: &mut Address,
    key: &str,
    text: &Text,
    (name, value): (&str, &str),
    problems: &mut Problems,
) {
    match name {
        "user" => address.user = Some(value.to_owned()),
        "password" => address.password = Some(value.to_owned()),
        "host" if value.contains(',') => problems.add(several_hosts(key, text)),
        "host" => address.host = Some(value.to_owned()),
        "port" => match value.parse::<u16>() {
            Ok(port @ 1..) => address.port = Some(port),
            _ => {
                let what = format!("`{key}` has a port that is not one: `{value}`");
                problems.add(
                    Problem::at(&text.place, what)
                        .hint("write one whole number from 1 to 65535, for example `?port=5432`"),
                );
            }
        },
        "dbname" => address.db = Some(value.to_owned()),
        "sslrootcert" => address.sslrootcert = Some(text.place.beside(value)),
        // pgJDBC: `ssl=true` alone means verify-full.
        "ssl" if address.sslmode.is_none() && value != "false" => {
            address.sslmode = Some(SslMode::VerifyFull)
        }
        "ssl" => {}
        "sslmode" => {
            match sslmode(value) {
                Some(mode) => address.sslmode = Some(mode),
                None => {
                    let problem = Problem::at(
                        &text.place,
                        format!("`{key}` has an unknown sslmode: `{value}`"),
                    );
                    problems.add(problem.hint(
                        "the modes are disable, allow, prefer, require, verify-ca, verify-full",
                    ));
                }
            }
        }
        _ => problems.warn(Problem::at(
            &text.place,
            format!("the parameter `{name}` of `{key}` is ignored"),
        )),
    }
}

fn several_hosts(key: &str, text: &Text) -> Problem {
    let what = format!("`{key}` is not an address of PostgreSQL: it names several hosts");
    Problem::at(&text.place, what)
        .hint("name the primary alone; a hot standby belongs in `read_url`")
}

fn sslmode(word: &str) -> Option<SslMode> {
    Some(match word {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return None,
    })
}

/// Percent-decoding (RFC 3986); a `%` without two hex digits stays as it is.
fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
