//! `inlet check`: checks every hop before data flows, and prints each problem with its fix.
//!
//! Promises: it checks every hop even if another one fails; each finding states the measured fact,
//! its effect, and the statement or key that fixes it. It writes only a file in the lake's folder,
//! which it removes again, and a temporary transactional id that the broker expires by itself; it
//! joins no group and sends no record. Leaves to others: whether the lake holds the correct rows
//! (`verify`), how far it is behind (`status`).
//!
//! Read in the order in which data flows: [`settings`], [`postgres`], [`tables`], [`kafka`],
//! [`lake`], [`progress`].

mod activity;
mod broker;
mod capture;
mod cursor;
mod dates;
mod facts;
pub mod finding;
mod group;
mod kafka;
pub mod lake;
mod postgres;
mod progress;
pub mod report;
mod settings;
mod standby;
mod tables;
mod topics;
mod unique;

use std::process::ExitCode;
use std::time::Duration;

use inlet_postgres::{Error, Known, Tables};
use inlet_service::config::Config;
use inlet_service::output;
use tokio_util::sync::CancellationToken;

use self::finding::{Finding, Severity};
use crate::args::CheckArguments;
use crate::failure::{Failure, Outcome};
use crate::tables::resolve_without_postgres;

/// Checks every hop and prints the findings; exit code 1 if one of them is an error, with
/// `--strict` also if one is a warning.
pub async fn run(arguments: CheckArguments, config: Config, stop: CancellationToken) -> Outcome {
    let open_max = Duration::from_secs(arguments.open_max.into());
    let Some(findings) = stop.run_until_cancelled(findings(config, open_max)).await else {
        return Ok(ExitCode::FAILURE);
    };
    let findings = findings?;
    let detail = arguments.detail;
    if arguments.json {
        output::stdout(format!("{}\n", report::json(&findings, detail)))?;
    } else {
        output::stdout(report::text(&findings, detail))?;
    }
    let tolerated = match arguments.strict {
        true => Severity::Info,
        false => Severity::Warning,
    };
    let has_failed = findings.iter().any(|finding| finding.severity < tolerated);
    Ok(if has_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn findings(config: Config, open_max: Duration) -> Result<Vec<Finding>, Failure> {
    // PostgreSQL is asked first, because only the catalog knows which tables a pattern means; what
    // the files alone show is printed before its answers.
    let mut of_server = Vec::new();
    let mut server = postgres::check(&config, open_max, &mut of_server).await;
    let found = match &mut server {
        Some(server) => match Tables::find(&mut server.connection, &config, &Known::new()).await {
            Err(Error::Config(error)) => return Err(error.into()),
            found => Some(found),
        },
        None => None,
    };
    let config = match &found {
        Some(Ok(tables)) => tables.config.clone(),
        Some(Err(_)) | None => resolve_without_postgres(config)?,
    };
    let config = &config;
    let mut findings = settings::check(config);
    findings.append(&mut of_server);
    let tables = tables::check(config, server.as_mut(), &found, &mut findings).await;
    let stored = kafka::check(config, &mut findings).await;
    let heads = lake::check(config, &tables, &mut findings).await;
    if stored.is_some() {
        findings.extend(progress::recreated(config, &heads).await);
    }
    progress::check(
        config,
        server.as_ref(),
        &tables,
        stored.as_ref(),
        &heads,
        &mut findings,
    );
    Ok(findings)
}
