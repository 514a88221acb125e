//! The arguments of capture.

use clap::{Args, Subcommand};

use super::lake::LakeTables;
use super::{ConfigFiles, ConfiguredTables};

#[derive(Debug, Clone, Args)]
pub struct CaptureArguments {
    #[command(subcommand)]
    pub verb: CaptureVerb,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CaptureVerb {
    /// Create what records the changes of the tables that have `capture`
    Install(CaptureChange),
    /// Remove it, once the lake has what was recorded
    Remove(CaptureRemoval),
    /// What is recorded, and what the journals hold
    Status(LakeTables),
}

impl CaptureVerb {
    pub fn files(&self) -> &ConfigFiles {
        match self {
            Self::Install(change) => &change.of.files,
            Self::Remove(removal) => &removal.change.of.files,
            Self::Status(of) => &of.of.files,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct CaptureChange {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// Run the statements; without it they are only printed
    #[arg(short, long)]
    pub yes: bool,
    /// The role that polls and trims the journal; `postgres.user` when none is given
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct CaptureRemoval {
    #[command(flatten)]
    pub change: CaptureChange,
    /// Also drop changes that the lake does not have
    #[arg(long)]
    pub discard: bool,
}
