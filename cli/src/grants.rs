//! `inlet grants`: prints the SQL that creates a role with the rights of a poll, without running
//! it.
//!
//! Promises: it asks no server, because the role that it makes is the one to ask with; what it
//! prints holds no password. Leaves to others: the statements (`inlet_postgres::grants`), and
//! whether a role has its rights (`check`).

use std::process::ExitCode;

use inlet_postgres::grants;
use inlet_service::config::Config;
use inlet_service::output;

use crate::args::GrantsArguments;
use crate::failure::Outcome;

pub fn run(arguments: &GrantsArguments) -> Outcome {
    let config = Config::load(&arguments.files.config)?;
    let role = match &arguments.role {
        Some(role) => role.clone(),
        None => config.require_postgres()?.primary.user.clone(),
    };
    output::stdout(grants::statements(&config, &role)?)?;
    Ok(ExitCode::SUCCESS)
}
