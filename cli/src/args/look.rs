//! The arguments of verbs that look at a pipeline, or ask it for something: status, top, where,
//! pause and its like.

use std::time::Duration;

use clap::Args;
use inlet_service::config::parse_duration;

use super::ConfigFiles;

#[derive(Debug, Clone, Args)]
pub struct StatusArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Repeat after this many seconds, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// End with exit code 1 if the lake is further behind, as 10s, or how far it is is unknown
    #[arg(long, value_name = "DURATION", conflicts_with = "watch", value_parser = parse_duration)]
    pub max_lag: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct TopArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Print one screen and end, as without a terminal
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ControlArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The table, as SQL writes its name
    #[arg(value_name = "TABLE")]
    pub table: String,
}

#[derive(Debug, Clone, Args)]
pub struct ReloadArguments {
    #[command(flatten)]
    pub of: ControlArguments,
    /// Only rows that fulfil this condition of SQL
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct WhereArguments {
    #[command(flatten)]
    pub of: ControlArguments,
    /// The values of the row's key, one for each column
    #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
    pub key: Vec<String>,
}
