//! The one binary, `inlet`: verbs over producer, consumer and lake.
//!
//! Promises: data on stdout, everything else on stderr; an error explains what, why and what to
//! do; the exit code follows from its kind. Leaves to others: what a verb does (one file each).
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod args;
mod capture;
mod check;
mod compact;
mod consumer;
mod control;
#[cfg(feature = "demo")]
mod demo;
mod discover;
mod duckdb;
mod export;
mod failure;
mod grants;
mod init;
mod lake;
mod locate;
mod manual;
mod producer;
mod query;
mod restore;
mod run;
mod service_start;
mod status;
mod tables;
mod tail;
mod text_table;
mod verify;
mod views;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use inlet_service::config::Config;
use inlet_service::stop::Stop;
use inlet_service::{log, output};
use tokio_util::sync::CancellationToken;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use args::{Arguments, CarryArguments, Verb};
use control::Act;
use failure::{Failure, Outcome, SystemError};
use service_start::{Role, Start};

/// How long calls that were given up may still take when the process ends.
const LAST_CALLS_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Dropped last, so that the lines that were logged are written, also after a panic.
    let _output = output::start();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are errors for the parser, too.
        Err(shown) => return failure::usage(&shown),
    };
    let outcome = log::start(arguments.log_format.into(), arguments.level())
        .map_err(Failure::from)
        .and_then(|()| {
            let runtime = tokio::runtime::Runtime::new().map_err(|source| SystemError {
                act: "start the threads",
                source,
            })?;
            let outcome = runtime.block_on(dispatch(arguments.into_verb()));
            // A blocking call that no task waits for any more, such as a reading of the control
            // topic, must not delay the end. All that is durable has been awaited.
            runtime.shutdown_timeout(LAST_CALLS_TIME);
            outcome
        });
    outcome.unwrap_or_else(|failure| failure.show())
}

async fn dispatch(verb: Verb) -> Outcome {
    let is_service = matches!(verb, Verb::Producer(_) | Verb::Consumer(_) | Verb::Run(_));
    let stop = Stop::on_signal(is_service).map_err(|source| SystemError {
        act: "listen for signals",
        source,
    })?;
    let token = stop.token();
    match verb {
        Verb::Init(arguments) => init::run(arguments, token).await,
        #[cfg(feature = "demo")]
        Verb::Demo(arguments) => demo::run(arguments, token).await,
        Verb::Grants(arguments) => grants::run(&arguments),
        Verb::Completions(arguments) => manual::completions(arguments.shell),
        Verb::Schema => manual::schema(),
        Verb::Man => manual::page(),
        verb => of_pipeline(verb, token).await,
    }
}

async fn start(
    role: Role,
    arguments: CarryArguments,
    config: Config,
    stop: CancellationToken,
) -> Outcome {
    Start::new(role, arguments).run(config, stop).await
}

/// The verbs that need a configuration. A pattern among its tables is replaced by what the catalog
/// has, by the services again and again.
async fn of_pipeline(verb: Verb, token: CancellationToken) -> Outcome {
    let files = verb
        .files()
        .expect("`dispatch` runs the verbs without a configuration");
    let new_lake = match &verb {
        Verb::Consumer(arguments) | Verb::Run(arguments) => arguments.new_lake,
        _ => false,
    };
    let config = service_start::load(&files.config, new_lake)?;
    match verb {
        Verb::Producer(service) => {
            let new_lake = false;
            let arguments = CarryArguments { service, new_lake };
            start(Role::Producer, arguments, config, token).await
        }
        Verb::Consumer(arguments) => start(Role::Consumer, arguments, config, token).await,
        Verb::Run(arguments) => start(Role::Run, arguments, config, token).await,
        Verb::Query(arguments) => {
            query::run(arguments, tables::resolve_by_lake(config)?, token).await
        }
        Verb::Restore(arguments) => {
            restore::run(arguments, tables::resolve_by_lake(config)?, token).await
        }
        Verb::Views(arguments) => {
            query::print_views(&arguments, tables::resolve_by_lake(config)?).await
        }
        Verb::Compact(arguments) => {
            compact::run(&arguments, tables::resolve_by_lake(config)?, token).await
        }
        Verb::Export(arguments) => export::run(&arguments, tables::resolve_by_lake(config)?).await,
        Verb::Lake(arguments) => {
            lake::run(arguments, tables::resolve_by_lake(config)?, token).await
        }
        Verb::Status(arguments) => status::run(arguments, config, token).await,
        Verb::Top(arguments) => status::top::run(arguments, config, token).await,
        Verb::Check(arguments) => check::run(arguments, config, token).await,
        Verb::Verify(arguments) => verify::run(arguments, config, token).await,
        Verb::Pause(arguments) => control::run(Act::Pause, &arguments, config, token).await,
        Verb::Resume(arguments) => control::run(Act::Resume, &arguments, config, token).await,
        Verb::Capture(arguments) => capture::run(arguments, config).await,
        Verb::Where(arguments) => locate::run(&arguments, config, token).await,
        Verb::Tail(arguments) => {
            tail::run(arguments, tables::resolve_by_lake(config)?, token).await
        }
        Verb::Sweep(arguments) => control::run(Act::Sweep, &arguments, config, token).await,
        Verb::Reload(arguments) => {
            let act = Act::Reload(arguments.condition);
            control::run(act, &arguments.of, config, token).await
        }
        _ => unreachable!("`dispatch` runs the verbs without a configuration"),
    }
}
