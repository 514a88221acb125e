//! The arguments of verbs for the files of the lake: compact, export, lake.

use clap::{Args, Subcommand};

use super::ConfiguredTables;

#[derive(Debug, Clone, Args)]
pub struct CompactArguments {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct LakeArguments {
    #[command(subcommand)]
    pub verb: LakeVerb,
}

#[derive(Debug, Clone, Subcommand)]
pub enum LakeVerb {
    /// What the lake of a table has: rows, files, dates, offsets, schemas, the last commit
    Show(LakeTables),
    /// The data files that readers see
    Files(LakeTables),
    /// The last entries of the log, in words
    Log(LakeLogArguments),
    /// Read every file and entry, and explain what is wrong; exit 3 when something is
    Fsck(LakeTables),
}

impl LakeVerb {
    pub fn asked(&self) -> &LakeTables {
        match self {
            Self::Show(of) | Self::Files(of) | Self::Fsck(of) => of,
            Self::Log(arguments) => &arguments.of,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct LakeTables {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct LakeLogArguments {
    #[command(flatten)]
    pub of: LakeTables,
    /// How many entries of each table are shown
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub last: usize,
}
