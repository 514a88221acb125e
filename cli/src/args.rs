//! The command line: verbs, options and the help that a user reads first.

mod capture;
mod compare;
mod lake;
mod look;
mod query;
mod set_up;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use inlet_service::log::{Level, LogFormat};

use crate::check::report::Detail;
#[cfg(feature = "demo")]
use crate::demo::DemoArguments;

pub use capture::{CaptureArguments, CaptureChange, CaptureVerb};
pub use compare::{RestoreArguments, VerifyArguments};
pub use lake::{CompactArguments, ExportArguments, LakeArguments, LakeVerb};
pub use look::{ControlArguments, ReloadArguments, StatusArguments, TopArguments, WhereArguments};
pub use query::{
    ConfiguredTables, Moment, QueryArguments, QueryFormat, TailArguments, ViewsArguments,
};
pub use set_up::{CheckArguments, CompletionsArguments, GrantsArguments, InitArguments};

/// Exit codes, at the end of the general help.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 `verify` or \
    `lake fsck` found a difference, 75 another instance \
took over, 78 configuration, 141 the reader of stdout has ended.
Data goes to stdout, everything else to stderr. INLET_LOG filters the log: error, warn, info, \
    debug, trace.

Start here:
  inlet demo
  inlet run --config configs/quickstart.yml";

/// PostgreSQL tables into a Parquet lake: polled without losing a row, delivered exactly once.
#[derive(Debug, Parser)]
#[command(name = "inlet", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    /// How log lines look.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        env = "INLET_LOG_FORMAT"
    )]
    pub log_format: LogFormatName,
    /// Only warnings and errors in the log; of `check`, only its errors and warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More of the log, as INLET_LOG=info,inlet=debug; of `check`, each finding for itself, also
    /// where many tables have the same one
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

impl Arguments {
    /// Which lines the log has, where the command line tells it.
    pub fn level(&self) -> Option<Level> {
        match (&self.verb, self.quiet, self.verbose) {
            // There it chooses the findings, which are no log.
            (Verb::Check(_), _, true) => None,
            (_, true, _) => Some(Level::Quiet),
            (_, _, true) => Some(Level::Verbose),
            _ => None,
        }
    }

    /// The verb, with what the options of every verb mean for it.
    pub fn into_verb(self) -> Verb {
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Problems,
            (false, true) => Detail::Each,
            (false, false) => Detail::Grouped,
        };
        match self.verb {
            Verb::Check(arguments) => Verb::Check(CheckArguments {
                detail,
                ..arguments
            }),
            verb => verb,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Publish every change of the tables to Kafka
    #[command(after_help = "Example:\n  inlet producer --config configs/orders_stream.yml")]
    Producer(ServiceArguments),
    /// Carry the topics into the lake, with their offsets in the same commit
    #[command(
        after_help = "Example:\n  inlet consumer --config configs/orders_stream.yml --config \
            configs/orders_rules.yml"
    )]
    Consumer(CarryArguments),
    /// Do both in one process; without a `kafka:` section no broker is needed
    #[command(after_help = "Example:\n  inlet run --config configs/quickstart.yml")]
    Run(CarryArguments),
    /// Compare the tables in PostgreSQL with the lake; exit 3 when they differ
    #[command(after_help = "Example:\n  inlet verify --config configs/orders_stream.yml --json")]
    Verify(VerifyArguments),
    /// Rebuild a table in PostgreSQL from the lake, as it is now or as it was known at a moment
    #[command(
        after_help = "Example:\n  inlet restore orders --config inlet.yml --as-of '2026-11-27 \
            18:00' --to postgres://me@localhost/shop --as orders_before"
    )]
    Restore(RestoreArguments),
    /// Ask the lake in SQL; every table is a view of its latest state
    #[command(
        after_help = "Example:\n  inlet query --config configs/quickstart.yml 'SELECT count(*) \
            FROM orders'"
    )]
    Query(QueryArguments),
    /// Show the changes of a table as they become readable in the lake, until Ctrl-C
    #[command(after_help = "Example:\n  inlet tail --config inlet.yml orders")]
    Tail(TailArguments),
    /// Print the SQL of the lake's views, for DuckDB in any program
    #[command(
        after_help = "Example:\n  inlet views --config configs/quickstart.yml > views.sql && \
            duckdb -init views.sql"
    )]
    Views(ViewsArguments),
    /// Merge the small files of each date into few large ones now, and let rows leave that are
    /// older than `keep`; the services do it by themselves
    #[command(after_help = "Example:\n  inlet compact --config inlet.yml orders")]
    Compact(CompactArguments),
    /// Describe the tables of the lake for readers of DuckLake or Delta now; the services do it by
    /// themselves
    #[command(after_help = "Example:\n  inlet export --config inlet.yml orders")]
    Export(ExportArguments),
    /// Look at the files and the log of the lake, and find what is wrong with them; changes nothing
    #[command(after_help = "Example:\n  inlet lake fsck --config inlet.yml orders")]
    Lake(LakeArguments),
    /// Show how far producer and consumer are, and how fresh the lake is
    #[command(after_help = "Example:\n  inlet status --config configs/orders_stream.yml --watch")]
    Status(StatusArguments),
    /// Show the status on one screen, again each second, until q or Ctrl-C
    #[command(after_help = "Example:\n  inlet top --config inlet.yml")]
    Top(TopArguments),
    /// Leave a table out of the polls of the running service; its changes wait in PostgreSQL
    #[command(after_help = "Example:\n  inlet pause --config inlet.yml orders")]
    Pause(ControlArguments),
    /// Poll a paused table again, from where it was
    #[command(after_help = "Example:\n  inlet resume --config inlet.yml orders")]
    Resume(ControlArguments),
    /// Read all rows of a table again, or some, beside its new changes
    #[command(
        after_help = "Example:\n  inlet reload --config inlet.yml orders --where \"status = \
            'paid'\""
    )]
    Reload(ReloadArguments),
    /// Look through all rows and keys of a table now, instead of at the next sweep
    #[command(after_help = "Example:\n  inlet sweep --config inlet.yml orders")]
    Sweep(ControlArguments),
    /// Record the changes of tables with triggers, or stop it; shows every statement first
    #[command(
        after_help = "Example:\n  inlet capture install --config inlet.yml orders\n  inlet capture \
            install --config inlet.yml orders --yes"
    )]
    Capture(CaptureArguments),
    /// Show where one row is: in PostgreSQL, in the lake with its versions, in quarantine
    #[command(after_help = "Example:\n  inlet where --config inlet.yml orders 7")]
    Where(WhereArguments),
    /// Write a configuration for the tables of a database, with what the catalog tells of them
    #[command(
        after_help = "Example:\n  inlet init --url postgres://me@localhost:5432/shop --output \
            inlet.yml"
    )]
    Init(InitArguments),
    /// Print the SQL that makes a role with the rights that a poll needs, and no more
    #[command(
        after_help = "Example:\n  inlet grants --config inlet.yml --role inlet | psql \
            postgres://owner@localhost:5432/shop"
    )]
    Grants(GrantsArguments),
    /// Look at every hop of the data's way and say what is missing, with the statement that fixes
    /// it
    #[command(after_help = "Example:\n  inlet check --config configs/orders_stream.yml")]
    Check(CheckArguments),
    /// Show it all on this machine, in a temporary folder, with every command it runs
    #[command(after_help = "Example:\n  inlet demo --mode direct")]
    #[cfg(feature = "demo")]
    Demo(DemoArguments),
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  inlet completions bash > /etc/bash_completion.d/inlet")]
    Completions(CompletionsArguments),
    /// Print the JSON Schema of the configuration: editors complete and check the file with it
    #[command(
        after_help = "Example:\n  inlet schema > inlet.schema.json\nThe first line of the file: # \
            yaml-language-server: $schema=inlet.schema.json"
    )]
    Schema,
    /// Print the manual page
    #[command(after_help = "Example:\n  inlet man > /usr/local/share/man/man1/inlet.1")]
    Man,
}

impl Verb {
    /// Where the configuration is, of the verbs that need one.
    pub fn files(&self) -> Option<&ConfigFiles> {
        match self {
            Self::Producer(arguments) => Some(&arguments.files),
            Self::Consumer(arguments) | Self::Run(arguments) => Some(&arguments.service.files),
            Self::Verify(arguments) => Some(&arguments.files),
            Self::Query(arguments) => Some(&arguments.files),
            Self::Tail(arguments) => Some(&arguments.files),
            Self::Restore(arguments) => Some(&arguments.files),
            Self::Views(arguments) => Some(&arguments.of.files),
            Self::Compact(arguments) => Some(&arguments.of.files),
            Self::Export(arguments) => Some(&arguments.of.files),
            Self::Lake(arguments) => Some(&arguments.verb.asked().of.files),
            Self::Status(arguments) => Some(&arguments.files),
            Self::Top(arguments) => Some(&arguments.files),
            Self::Grants(arguments) => Some(&arguments.files),
            Self::Check(arguments) => Some(&arguments.files),
            Self::Pause(arguments) | Self::Resume(arguments) | Self::Sweep(arguments) => {
                Some(&arguments.files)
            }
            Self::Reload(arguments) => Some(&arguments.of.files),
            Self::Where(arguments) => Some(&arguments.of.files),
            Self::Capture(arguments) => Some(arguments.verb.files()),
            _ => None,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigFiles {
    /// The YAML file; given several times, later files add to and override earlier ones
    #[arg(
        short,
        long = "config",
        value_name = "FILE",
        env = "INLET_CONFIG",
        default_value = "inlet.yml"
    )]
    pub config: Vec<PathBuf>,
}

/// Of `inlet producer`, `inlet consumer` and `inlet run`.
#[derive(Debug, Clone, Args)]
pub struct ServiceArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Serve /livez, /readyz and /metrics there, as 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", env = "INLET_HTTP")]
    pub http: Option<SocketAddr>,
}

/// Of the services that write the lake.
#[derive(Debug, Clone, Args)]
pub struct CarryArguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Fill a new lake from the topics, although the consumer's group has filled one before that is
    /// not there any more
    #[arg(long)]
    pub new_lake: bool,
}

/// The words for [`LogFormat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatName {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormatName> for LogFormat {
    fn from(name: LogFormatName) -> Self {
        match name {
            LogFormatName::Text => Self::Text,
            LogFormatName::Json => Self::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn several_files_keep_their_order() {
        let arguments =
            Arguments::try_parse_from(["inlet", "consumer", "-c", "a.yml", "--config", "b.yml"])
                .unwrap();
        let Verb::Consumer(arguments) = arguments.verb else {
            panic!("the verb is consumer")
        };
        assert_eq!(
            arguments.service.files.config,
            [PathBuf::from("a.yml"), PathBuf::from("b.yml")]
        );
    }

    #[test]
    fn a_verb_without_its_configuration_takes_that_of_the_folder() {
        let arguments = Arguments::try_parse_from(["inlet", "check"]).unwrap();
        let files = &arguments.verb.files().unwrap().config;
        assert_eq!(files, &[PathBuf::from("inlet.yml")]);
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in Arguments::command().get_subcommands() {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains(&format!("inlet {}", verb.get_name())),
                "{}",
                verb.get_name()
            );
        }
    }
}
