//! DuckDB's program: where it is, and what it answers.
//!
//! A statement goes to its standard input. `INLET_DUCKDB` names another program, which is then the
//! only one that is tried.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use inlet_service::error::{Explain, Hint, Kind};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// The version that `dev/scripts/setup.sh` installs.
const CACHED: &str = "duckdb-1.5.6/duckdb";
const VARIABLE: &str = "INLET_DUCKDB";
/// Ends at the first error, and reads no file of the user's.
const ARGUMENTS: [&str; 3] = ["-no-init", "-batch", "-bail"];

/// How to get it.
pub const INSTALL: &str = "pip install duckdb-cli";

/// Why DuckDB has not answered.
#[derive(Debug, thiserror::Error)]
pub enum DuckDbError {
    #[error("duckdb could not be started, or ended without an answer")]
    Lost { source: std::io::Error },
    #[error("duckdb refuses the statement: {reason}")]
    Refused { reason: String },
}

impl Explain for DuckDbError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lost { .. } => Kind::Unavailable,
            Self::Refused { .. } => Kind::Data,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Lost { .. } => Some(Hint::text(format!(
                "Inlet takes the program that {VARIABLE} names, else `duckdb` on PATH, else that \
                 of `dev/scripts/setup.sh`: get it with {INSTALL}"
            ))),
            Self::Refused { .. } => None,
        }
    }
}

/// A text as a literal of DuckDB's SQL, in which a backslash means nothing.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The programs to try, in this order.
fn programs() -> Vec<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(named) if !named.is_empty() => vec![PathBuf::from(named)],
        _ => [Some(PathBuf::from("duckdb")), cached()]
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn cached() -> Option<PathBuf> {
    let cache = std::env::var_os("INLET_CACHE").map(PathBuf::from);
    Some(
        cache
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/inlet")))?
            .join(CACHED),
    )
}

/// Starts DuckDB with its standard input open; `None` when it is not installed. What it writes goes
/// where ours goes (`Stdio::inherit`), or into pipes.
pub fn start(
    more: &[&str],
    stdout: fn() -> Stdio,
    stderr: fn() -> Stdio,
) -> Result<Option<Child>, DuckDbError> {
    for program in programs() {
        let mut command = Command::new(program);
        command.args(ARGUMENTS).args(more).kill_on_drop(true);
        command
            .stdin(Stdio::piped())
            .stdout(stdout())
            .stderr(stderr());
        match command.spawn() {
            Ok(child) => return Ok(Some(child)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(DuckDbError::Lost { source }),
        }
    }
    Ok(None)
}

/// Becomes DuckDB on this terminal, which first runs the statements of an open file. Returns only
/// the error, and `None` when DuckDB is not installed.
pub fn replace_process(statements: &File) -> Option<std::io::Error> {
    // Without this the file would be closed when the program starts.
    if let Err(error) = rustix::io::fcntl_setfd(statements, rustix::io::FdFlags::empty()) {
        return Some(error.into());
    }
    let path = format!("/dev/fd/{}", statements.as_raw_fd());
    for program in programs() {
        let error = std::process::Command::new(program)
            .args(["-init", &path])
            .exec();
        if error.kind() != ErrorKind::NotFound {
            return Some(error);
        }
    }
    None
}

/// The place and version of DuckDB; `None` when it cannot be started.
pub async fn installed() -> Option<(PathBuf, String)> {
    for program in programs() {
        if let Some(version) = version(&program).await {
            return Some((program, version));
        }
    }
    None
}

async fn version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What a script writes to standard output; `None` when DuckDB is not installed.
pub async fn answer(script: &str) -> Result<Option<Vec<u8>>, DuckDbError> {
    let Some(mut child) = start(&[], Stdio::piped, Stdio::piped)? else {
        return Ok(None);
    };
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let write = async {
        // DuckDB stops reading at its first error, so a failed write means little.
        let _ = stdin.write_all(script.as_bytes()).await;
        // DuckDB runs until the end of its input.
        drop(stdin);
    };
    // Both at once: DuckDB may fill the pipe of its answer before it has read the whole script.
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output.map_err(|source| DuckDbError::Lost { source })?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(DuckDbError::Refused {
        reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}
