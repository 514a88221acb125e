//! The arguments of verbs around a configuration: init, grants, check, completions.

use std::path::PathBuf;

use clap::Args;

use super::ConfigFiles;
use crate::check::report::Detail;

#[derive(Debug, Clone, Args)]
pub struct InitArguments {
    /// Where the database is; asked for when it is not given
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// The file to write; it must not exist yet
    #[arg(short, long, value_name = "FILE", default_value = "inlet.yml")]
    pub output: PathBuf,
    /// The tables to capture; all that can be captured when none is given
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct GrantsArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The role to make, or to give what it lacks; `postgres.user` when none is given
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// How long a transaction may be open before it is named
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub open_max: u32,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// End with exit code 1 for a warning, too
    #[arg(long)]
    pub strict: bool,
    /// Set by the options of every verb
    #[arg(skip)]
    pub detail: Detail,
}

#[derive(Debug, Clone, Args)]
pub struct CompletionsArguments {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
