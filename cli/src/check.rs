//! `inlet check`: every hop of the data's way looked at before the data goes it, and what mends
//! each thing that is wrong.
//!
//! Promises: every hop is looked at, also when another one fails; each finding states the measured
//! fact, what follows from it, and the statement or key that mends it. Nothing is written but a
//! file in the lake's folder, which is removed again, and a throw-away transactional id that the
//! broker forgets by itself; no group is joined, no record sent. Leaves to others: whether the lake
//! holds the right rows (`verify`), how far it is behind (`status`).
//!
//! Read in the order of the data's way: [`settings`], [`postgres`], [`tables`], [`kafka`],
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

/// Looks at every hop and prints what it found; exit code 1 when there is an error.
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
