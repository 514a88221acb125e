//! pyarrow, the independent reader of messages that hold batches of Arrow.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::programs;

/// Prints the rows of each stream on standard input as a line of JSON. A decimal is its text.
const SCRIPT: &str = "
import json, sys
import pyarrow
streams = sys.stdin.buffer
while length := streams.read(4):
    stream = streams.read(int.from_bytes(length, 'little'))
    rows = pyarrow.ipc.open_stream(stream).read_all()
    print(json.dumps(rows.to_pylist(), default=str))
";

/// The folder of Python packages with pyarrow, for tests that run what a user types.
pub fn packages() -> Result<PathBuf> {
    programs::pyarrow()
}

/// The rows of each message.
pub async fn rows(messages: &[&[u8]]) -> Result<Vec<Vec<Value>>> {
    let mut child = Command::new(programs::system("python3")?)
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", packages()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting python3")?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let mut framed = Vec::new();
    for message in messages {
        framed.extend(u32::try_from(message.len())?.to_le_bytes());
        framed.extend_from_slice(message);
    }
    // It answers while it reads, so both pipes are served at once.
    let write = async move {
        // It stops reading at its first error, and then explains it.
        let _ = stdin.write_all(&framed).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    let output = output.context("waiting for python3")?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pyarrow: {problem}");
    let lines = String::from_utf8(output.stdout)?;
    let rows = lines.lines().map(|line| Ok(serde_json::from_str(line)?));
    rows.collect()
}
