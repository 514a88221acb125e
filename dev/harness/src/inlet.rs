//! The binary `inlet` as a process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::Folder;
use crate::eventually::eventually;
use crate::process::{Launch, Process};

/// How long a verb that ends by itself may take: `verify` starts DuckDB for each of 200 tables.
const RUN_DEADLINE: Duration = Duration::from_secs(300);

/// A running `inlet`, in a working directory of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Inlet {
    process: Process,
    folder: Folder,
}

/// How an `inlet` ended, and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; after a signal 128 plus its number, as in a shell.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Inlet {
    /// Starts `binary` (in tests of `cli`: `env!("CARGO_BIN_EXE_inlet")`) with the environment of
    /// the test and `env` on top.
    pub fn start<A: AsRef<str>>(
        binary: impl AsRef<Path>,
        args: &[A],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = Folder::new("inlet")?;
        let mut launch = Launch::new("inlet", binary.as_ref(), &folder)
            .args(args.iter().map(|arg| OsString::from(arg.as_ref())));
        launch.stdout = Some(folder.join("stdout"));
        for (name, value) in env {
            launch = launch.env(name, value);
        }
        Ok(Self {
            process: launch.start()?,
            folder,
        })
    }

    /// Runs a verb that ends by itself, as `check` or `verify`.
    pub async fn run<A: AsRef<str>>(
        binary: impl AsRef<Path>,
        args: &[A],
        env: &[(&str, &str)],
    ) -> Result<Finished> {
        let mut inlet = Self::start(binary, args, env)?;
        let status = inlet.wait_exit(RUN_DEADLINE).await?;
        Ok(Finished {
            code: code(status),
            stdout: inlet.stdout()?,
            stderr: inlet.stderr()?,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it, and waits until it has ended.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.kill_9()
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hang_up(&mut self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Suspends it (SIGSTOP), as a long pause of its machine would.
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Continues it after [`Inlet::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Waits until it ends. After `deadline` the error contains its last output.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.exit(deadline).await
    }

    /// Its standard error until now.
    pub fn stderr(&self) -> Result<String> {
        self.read("log")
    }

    /// Waits until its standard error contains `text`, and panics with all of it after `deadline`.
    pub async fn logs(&self, text: &str, deadline: Duration) {
        let logged = async || {
            let log = self.stderr()?;
            anyhow::ensure!(log.contains(text), "the log is\n{log}");
            Ok(true)
        };
        eventually(deadline, &format!("the log contains `{text}`"), logged).await;
    }

    /// Its standard output until now.
    pub fn stdout(&self) -> Result<String> {
        self.read("stdout")
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_verb_that_ends_brings_its_code_and_both_outputs() {
        let finished = Inlet::run(
            "/bin/sh",
            &["-c", "echo $NAME; echo why >&2; exit 75"],
            &[("NAME", "lake")],
        )
        .await
        .unwrap();
        assert_eq!(
            finished,
            Finished {
                code: 75,
                stdout: "lake\n".to_owned(),
                stderr: "why\n".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn a_terminated_process_may_say_goodbye_and_a_killed_one_not() {
        let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        for (ask, expected) in [
            (Inlet::terminate as fn(&mut Inlet) -> Result<()>, 0),
            (Inlet::kill_9, 137),
        ] {
            let mut inlet = Inlet::start("/bin/sh", &["-c", script], &[]).unwrap();
            crate::eventually(Duration::from_secs(20), "the script is ready", async || {
                Ok(inlet.stdout()?.contains("ready"))
            })
            .await;
            ask(&mut inlet).unwrap();
            assert_eq!(
                code(inlet.wait_exit(Duration::from_secs(20)).await.unwrap()),
                expected
            );
            assert_eq!(inlet.stdout().unwrap().contains("bye"), expected == 0);
        }
    }
}
