//! The paths of the programs that `dev/scripts/setup.sh` installs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder with PostgreSQL's server programs: `INLET_TEST_PG_BIN`, else the latest version of
/// the system.
pub(crate) fn postgres_bin() -> Result<PathBuf> {
    if let Some(given) = env::var_os("INLET_TEST_PG_BIN") {
        let given = PathBuf::from(given);
        return if given.join("initdb").exists() {
            Ok(given)
        } else {
            bail!("INLET_TEST_PG_BIN={} has no `initdb`", given.display())
        };
    }
    system_postgres_bin()
}

/// The folder with the server programs of the latest version of the system.
pub(crate) fn system_postgres_bin() -> Result<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = installed
        .filter(|entry| entry.path().join("bin/initdb").exists())
        .max_by_key(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .parse::<u32>()
                .unwrap_or(0)
        });
    match newest {
        Some(version) => Ok(version.path().join("bin")),
        None => on_path("initdb")
            .and_then(|found| Some(found.parent()?.to_owned()))
            .context(missing("PostgreSQL's server (`initdb`)")),
    }
}

/// `psql`: the server's own, else the system's, which works with every version.
pub(crate) fn psql() -> Result<PathBuf> {
    let own = postgres_bin()?.join("psql");
    if own.exists() {
        Ok(own)
    } else {
        system("psql")
    }
}

/// Kafka's jars, as a class path.
pub(crate) fn kafka_classes() -> Result<String> {
    Ok(format!("{}/*", cached("kafka/libs")?.display()))
}

/// The S3 server.
pub(crate) fn versitygw() -> Result<PathBuf> {
    cached("versitygw/versitygw")
}

/// The folder of plugins for Kafka Connect, with Debezium's connector.
pub(crate) fn debezium() -> Result<PathBuf> {
    cached("debezium/plugins").context("run dev/scripts/setup.sh --debezium")
}

/// The folder of Python packages with a client of Kafka, for programs that read a topic as a user's
/// would.
pub fn kafka_python() -> Result<PathBuf> {
    cached("kafka-python").context("run dev/scripts/setup.sh --debezium")
}

pub(crate) fn duckdb() -> Result<PathBuf> {
    cached("duckdb/duckdb")
}

pub(crate) fn duckdb2() -> Result<PathBuf> {
    cached("duckdb2/duckdb2")
}

/// The folder of a DuckDB with extensions: the program, and a home below which it finds them.
pub(crate) fn duckdb_extended() -> Result<PathBuf> {
    cached("duckdb-extended")
}

/// The folder of Python packages with readers of Delta tables.
pub(crate) fn deltalake() -> Result<PathBuf> {
    cached("deltalake")
}

/// The folder of Python packages with pyarrow.
pub(crate) fn pyarrow() -> Result<PathBuf> {
    cached("pyarrow")
}

/// The folder of Python packages that hold the checker of YAML and JSON files.
pub(crate) fn checker() -> Result<PathBuf> {
    cached("check-jsonschema")
}

/// A program of the system, as `kcat` or `java`.
pub(crate) fn system(name: &str) -> Result<PathBuf> {
    on_path(name).with_context(|| missing(&format!("`{name}`")))
}

/// A program that is not in every user's `PATH`.
pub(crate) fn existing(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_file() {
        Ok(path)
    } else {
        bail!(missing(&format!("{}", path.display())))
    }
}

fn cached(name: &str) -> Result<PathBuf> {
    let cache = match (env::var_os("INLET_CACHE"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache/inlet"),
        (None, None) => bail!("neither INLET_CACHE nor HOME is set"),
    };
    let path = cache.join(name);
    if path.exists() {
        Ok(path)
    } else {
        bail!(missing(&format!("{}", path.display())))
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn missing(what: &str) -> String {
    format!("{what} is missing on this machine: run dev/scripts/setup.sh")
}
