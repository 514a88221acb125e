//! The one binary, `inlet`: verbs over producer, consumer and lake.
//!
//! Promises: data on stdout, everything else on stderr; an error says what, why and what to do; the exit code follows from its kind.
//! Leaves to others: what a verb does (one file each).

mod args;
mod check;
mod consumer;
mod demo;
mod failure;
mod init;
mod producer;
mod query;
mod run;
mod status;
mod tables;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use inlet_service::config::Config;
use inlet_service::log;
use inlet_service::stop::Stop;

use args::{Arguments, ConfigFiles, Verb};
use failure::{Failure, Outcome, SystemError};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = log::start(arguments.log_format.into()).map_err(Failure::from).and_then(|()| {
        let runtime = tokio::runtime::Runtime::new().map_err(|source| SystemError { act: "start the threads", source })?;
        runtime.block_on(dispatch(arguments.verb))
    });
    outcome.unwrap_or_else(|failure| failure.show())
}

async fn dispatch(verb: Verb) -> Outcome {
    let stop = Stop::on_signal().map_err(|source| SystemError { act: "listen for signals", source })?;
    let token = stop.token();
    match verb {
        Verb::Producer(files) => producer::run(load(&files)?, token).await,
        Verb::Consumer(files) => consumer::run(load(&files)?, token).await,
        Verb::Run(files) => run::run(load(&files)?, token).await,
        Verb::Verify(arguments) => {
            let config = load(&arguments.files)?;
            verify::run(arguments, config, token).await
        }
        Verb::Query(arguments) => {
            let config = load(&arguments.files)?;
            query::run(arguments, config, token).await
        }
        Verb::Status(arguments) => {
            let config = load(&arguments.files)?;
            status::run(arguments, config, token).await
        }
        Verb::Init(arguments) => init::run(arguments, token).await,
        Verb::Check(arguments) => {
            let config = load(&arguments.files)?;
            check::run(arguments, config, token).await
        }
        Verb::Demo(arguments) => demo::run(arguments, token).await,
    }
}

fn load(files: &ConfigFiles) -> Result<Config, Failure> {
    Ok(Config::load(&files.config)?)
}
