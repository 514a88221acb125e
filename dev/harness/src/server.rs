//! What every server of the harness has: a process over a folder, its log, and the ways to end it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::Folder;
use crate::process::{Launch, Process};

/// A server's process and the folder with its data. Dropping it ends the process first.
#[derive(Debug)]
pub(crate) struct Server {
    process: Option<Process>,
    pub(crate) folder: Folder,
    /// The signal that makes the server stop in order.
    stop_signal: Signal,
}

impl Server {
    pub(crate) fn new(folder: Folder, stop_signal: Signal) -> Self {
        Self {
            process: None,
            folder,
            stop_signal,
        }
    }

    pub(crate) fn start(&mut self, launch: Launch) -> Result<()> {
        self.process = Some(launch.start()?);
        Ok(())
    }

    /// Fails when the process has ended, with what it logged.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        self.process
            .as_mut()
            .context("the server was not started")?
            .ensure_alive()
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.folder.join("log"))?).into_owned())
    }

    /// Kills all its processes, and waits until they have ended.
    pub(crate) fn kill_9(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::kill_9)
    }

    /// Stops it in order; does nothing when it does not run.
    pub(crate) async fn stop(&mut self, time_max: Duration) -> Result<()> {
        self.stop_by(self.stop_signal, time_max).await
    }

    /// The same by another signal.
    pub(crate) async fn stop_by(&mut self, signal: Signal, time_max: Duration) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(signal)?;
            process.exit(time_max).await?;
        }
        Ok(())
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process
            .as_mut()
            .map_or(Ok(()), |process| process.signal(signal))
    }

    /// The same to all processes of the server.
    pub(crate) fn signal_all(&mut self, signal: Signal) -> Result<()> {
        self.process
            .as_mut()
            .map_or(Ok(()), |process| process.signal_all(signal))
    }

    /// Ends the process without a chance to clean up.
    pub(crate) fn end(&mut self) {
        self.process = None;
    }
}
