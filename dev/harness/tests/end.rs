//! However a process ends, its servers and folders end with it.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use inlet_harness::{Folder, eventually};

#[tokio::test]
async fn a_killed_process_leaves_no_server_and_no_folder() -> Result<()> {
    let temp = Folder::new("temp")?;
    // The folders of a killed process are in its own TMPDIR, which PostgreSQL's user must reach.
    let mut servers = Command::new(env!("CARGO_BIN_EXE_servers"))
        .env("TMPDIR", &*temp)
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(servers.stdout.take().context("stdout was asked for")?)
        .lines()
        .take(2)
        .collect::<Result<Vec<_>, _>>()?;
    let ports = lines
        .iter()
        .map(|line| port(line).context("a line ends with a port"))
        .collect::<Result<Vec<u16>>>()?;
    assert!(
        ports.len() == 2
            && ports
                .iter()
                .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()),
        "both servers answer: {lines:?}"
    );
    assert_eq!(fs::read_dir(&*temp)?.count(), 1);

    servers.kill()?;
    servers.wait()?;
    eventually(
        Duration::from_secs(30),
        "nothing listens and no folder is left",
        async || {
            Ok(ports
                .iter()
                .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err())
                && fs::read_dir(&*temp)?.next().is_none())
        },
    )
    .await;
    assert!(
        users_of(&temp).is_empty(),
        "still running: {:?}",
        users_of(&temp)
    );
    Ok(())
}

/// The port in `.. 127.0.0.1:port` or `.. 127.0.0.1:port/..`.
fn port(line: &str) -> Option<u16> {
    line.rsplit_once(':')?.1.split('/').next()?.parse().ok()
}

/// The processes that work in a folder.
fn users_of(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = processes.filter(|entry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    });
    inside
        .map(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
        .collect()
}
