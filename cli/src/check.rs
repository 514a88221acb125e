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
mod cursor;
mod finding;
mod kafka;
mod lake;
mod postgres;
mod progress;
mod report;
mod settings;
mod standby;
mod tables;
mod topics;

use std::process::ExitCode;
use std::time::Duration;

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use self::finding::{Finding, Severity};
use crate::args::CheckArguments;
use crate::failure::Outcome;

/// Checks every hop and prints the findings; exit code 1 if one of them is an error.
pub async fn run(arguments: CheckArguments, config: Config, stop: CancellationToken) -> Outcome {
    let open_max = Duration::from_secs(arguments.open_max.into());
    let Some(findings) = stop.run_until_cancelled(findings(&config, open_max)).await else {
        return Ok(ExitCode::FAILURE);
    };
    if arguments.json {
        println!("{}", report::json(&findings));
    } else {
        print!("{}", report::text(&findings));
    }
    let failed = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn findings(config: &Config, open_max: Duration) -> Vec<Finding> {
    let mut findings = settings::check(config);
    let mut server = postgres::check(config, open_max, &mut findings).await;
    let tables = tables::check(config, server.as_mut(), &mut findings).await;
    let stored = kafka::check(config, &mut findings).await;
    let heads = lake::check(config, &tables, &mut findings).await;
    progress::check(
        config,
        server.as_ref(),
        &tables,
        stored.as_ref(),
        &heads,
        &mut findings,
    );
    findings
}
