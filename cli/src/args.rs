//! The command line: verbs, options and the help that a user reads first.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use inlet_service::config::parse_duration;
use inlet_service::log::{Level, LogFormat};

use crate::check::report::Detail;
#[cfg(feature = "demo")]
use crate::demo::DemoArguments;

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
    /// Merge the small files of each date into few large ones now, and let rows leave that are older
    /// than `keep`; the services do it by themselves
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
    /// Let the service publish the rows that differ again, as PostgreSQL has them, and compare again
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

#[derive(Debug, Clone, Args)]
pub struct QueryArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The statement; `-` reads it from stdin. Without one DuckDB starts on the terminal, with the
    /// views of every table
    #[arg(value_name = "SQL", conflicts_with = "file")]
    pub sql: Option<String>,
    /// The file that holds the statement
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How the answer looks
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<QueryFormat>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The same as --format csv
    #[arg(long, conflicts_with_all = ["json", "format"])]
    pub csv: bool,
    #[command(flatten)]
    pub moment: Moment,
}

/// Which moment of the lake the views show.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Moment {
    /// Show the rows as they were known at this time, as `2026-11-27T18:00:00Z`, `2026-11-27
    /// 18:00` or `2026-11-27`; a time without a zone is in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<DateTime<Utc>>,
}

/// Reads a moment, with or without a zone.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let zoned = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    if let Ok(moment) = zoned {
        return Ok(moment.to_utc());
    }
    let formats = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ];
    let mut naive = formats
        .iter()
        .map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let midnight = || {
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()?
            .and_hms_opt(0, 0, 0)
    };
    let found = naive.find_map(|found| found).or_else(midnight);
    found.map(|moment| moment.and_utc()).ok_or_else(|| {
        "write it as `2026-11-27T18:00:00Z`, `2026-11-27 18:00` or `2026-11-27`".to_owned()
    })
}

/// How the answer of a query looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryFormat {
    /// For people
    Table,
    /// With a line of names
    Csv,
    /// An array of one object a row
    Json,
    /// A file for other programs
    Parquet,
}

impl QueryArguments {
    pub fn format(&self) -> QueryFormat {
        match self.format {
            Some(format) => format,
            None if self.json => QueryFormat::Json,
            None if self.csv => QueryFormat::Csv,
            None => QueryFormat::Table,
        }
    }
}

impl QueryFormat {
    /// DuckDB's own options for it.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["-json"],
            Self::Csv => &["-csv"],
            Self::Table | Self::Parquet => &[],
        }
    }
}

/// Tables of a configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfiguredTables {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The tables, as the configuration names them; all when none is given
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct TailArguments {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// The table, as the configuration names it
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Start with this many changes that are in the lake already
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub last: usize,
    /// Start with the first change that the lake has
    #[arg(long, conflicts_with = "last")]
    pub from_start: bool,
    /// Only the row whose key has this value; given once for each column of the key
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub key: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

impl TailArguments {
    /// How many changes are shown before new ones; `None`: all of them.
    pub fn last(&self) -> Option<usize> {
        (!self.from_start).then_some(self.last)
    }
}

#[derive(Debug, Clone, Args)]
pub struct ViewsArguments {
    #[command(flatten)]
    pub of: ConfiguredTables,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, Clone, Args)]
pub struct CompactArguments {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct LakeArguments {
    #[command(subcommand)]
    pub verb: LakeVerb,
}

#[derive(Debug, Clone, Subcommand)]
pub enum LakeVerb {
    /// What the lake of a table has: rows, files, dates, offsets, schemas, the last commit
    Show(LakeTables),
    /// The data files that readers see
    Files(LakeTables),
    /// The last entries of the log, in words
    Log(LakeLogArguments),
    /// Read every file and entry, and explain what is wrong; exit 3 when something is
    Fsck(LakeTables),
}

impl LakeVerb {
    pub fn asked(&self) -> &LakeTables {
        match self {
            Self::Show(of) | Self::Files(of) | Self::Fsck(of) => of,
            Self::Log(arguments) => &arguments.of,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct LakeTables {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct LakeLogArguments {
    #[command(flatten)]
    pub of: LakeTables,
    /// How many entries of each table are shown
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub last: usize,
}

#[derive(Debug, Clone, Args)]
pub struct CaptureArguments {
    #[command(subcommand)]
    pub verb: CaptureVerb,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CaptureVerb {
    /// Create what records the changes of the tables that have `capture`
    Install(CaptureChange),
    /// Remove it, once the lake has what was recorded
    Remove(CaptureRemoval),
    /// What is recorded, and what the journals hold
    Status(LakeTables),
}

impl CaptureVerb {
    fn files(&self) -> &ConfigFiles {
        match self {
            Self::Install(change) => &change.of.files,
            Self::Remove(removal) => &removal.change.of.files,
            Self::Status(of) => &of.of.files,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct CaptureChange {
    #[command(flatten)]
    pub of: ConfiguredTables,
    /// Run the statements; without it they are only printed
    #[arg(short, long)]
    pub yes: bool,
    /// The role that polls and trims the journal; `postgres.user` when none is given
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct CaptureRemoval {
    #[command(flatten)]
    pub change: CaptureChange,
    /// Also drop changes that the lake does not have
    #[arg(long)]
    pub discard: bool,
}

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
    fn a_moment_is_read_with_or_without_a_zone() {
        let same = [
            "2026-11-27T18:00:00Z",
            "2026-11-27T20:00:00+02:00",
            "2026-11-27 20:00:00+02",
            "2026-11-27 18:00:00.000",
            "2026-11-27T18:00:00",
            "2026-11-27 18:00",
        ];
        for text in same {
            assert_eq!(moment(text).unwrap().timestamp(), 1_795_802_400, "{text}");
        }
        assert_eq!(moment("2026-11-27").unwrap().timestamp(), 1_795_737_600);
        assert!(moment("yesterday").is_err());
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
