//! The arguments of verify and restore.

use clap::Args;

use super::{ConfigFiles, Moment};

#[derive(Debug, Clone, Args)]
pub struct VerifyArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The tables to compare, as the configuration names them; all when none is given
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// How long the lake may take to catch up with the snapshot
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    /// Let the service publish the rows that differ again, as PostgreSQL has them, and compare
    /// again
    #[arg(long)]
    pub repair: bool,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The table of the lake, as the configuration names it
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// The database that gets the table, as postgres://user@host:5432/database; PGPASSWORD may have
    /// the password
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// Its name there; the same name when absent
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub moment: Moment,
    /// Replace the rows of a table that exists there
    #[arg(long)]
    pub truncate: bool,
    /// Take columns as text whose types that database lacks, such as enums
    #[arg(long)]
    pub missing_types_as_text: bool,
    /// One JSON object instead of words
    #[arg(long)]
    pub json: bool,
}
