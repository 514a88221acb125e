//! The lake's folders: writable, on a file system that a commit can use, with free space, without
//! another writer, and with the committed files and no others.

use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use inlet_lake::{Head, Inspection, LakeError, Numbering, TableReader, Writer};
use inlet_model::{PUBLIC, TableName};
use inlet_postgres::Captured;
use inlet_service::config::{Config, DatalakeConfig, Export, TableConfig};

use super::finding::{Finding, Hop};
use crate::{duckdb, export, tables, views};

/// With less free space than this the disk is full within minutes at the pace of a busy table.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// The first release of DuckDB that the tests read a lake with.
const DUCKDB_MIN: (u32, u32) = (1, 5);

/// How many files of one kind are named.
const NAMED_MAX: usize = 5;
/// What to do about a committed file that is missing or damaged.
pub const RESTORE: &str = "restore it from a copy of the lake; without one, move the table's folder \
    away and start under a new `pipeline` name to load the table again";

/// Checks the folder of every table; returns the heads of their logs, in the order of the
/// configuration.
pub async fn check(
    config: &Config,
    captured: &[Option<Captured>],
    findings: &mut Vec<Finding>,
) -> Vec<Option<Head>> {
    let Some(datalake) = &config.datalake else {
        return config.tables.iter().map(|_| None).collect();
    };
    findings.extend(disk(config, datalake).await);
    findings.extend(moved(config, datalake).await);
    let mut heads = Vec::new();
    for (table, captured) in config.tables.iter().zip(captured) {
        let path = tables::folder(config, datalake, table);
        let ours = Expected::of(config, captured.as_ref());
        heads.push(of_table(table, ours, &path, findings).await);
    }
    findings.extend(exports(config, captured));
    findings.extend(view_names(config, datalake));
    findings.push(reader().await);
    heads
}

/// Tables with columns that a format of their `exports` has no type for.
fn exports(config: &Config, captured: &[Option<Captured>]) -> Vec<Finding> {
    let tables = config.tables.iter().zip(captured);
    let refused = tables.filter_map(|(table, captured)| {
        let refused = export::refuse_table(table, &captured.as_ref()?.schema).err()?;
        let others = table
            .exports
            .iter()
            .filter(|other| **other != Export::Delta);
        let others: Vec<_> = others.map(|other| other.name()).collect();
        let others = if others.is_empty() {
            "none".to_owned()
        } else {
            others.join(", ")
        };
        let fix = format!("tables.{}.exports: {others}", table.written());
        Some(Finding::error(Hop::Lake, table.written(), refused.to_string()).fix(fix))
    });
    refused.collect()
}

/// Checks the folder, or the nearest existing one above it, in which it would be created.
async fn disk(config: &Config, datalake: &DatalakeConfig) -> Vec<Finding> {
    let object = datalake.path.display().to_string();
    if datalake.bucket.is_some() {
        let probed = TableReader::new(&datalake.path).probe().await;
        return vec![match probed {
            Ok(()) => Finding::ok(
                Hop::Lake,
                object,
                "objects can be created once, copied, read, listed and removed",
            ),
            Err(error) => Finding::of(Hop::Lake, object, &error),
        }];
    }
    // The lake's folder may not exist yet; then the nearest folder above it shows the disk and the
    // rights.
    let absolute = std::path::absolute(&datalake.path).unwrap_or_else(|_| datalake.path.clone());
    if let Some(error) = LakeError::dangling(&absolute) {
        return vec![Finding::of(Hop::Lake, object, &error)];
    }
    let Some(existing) = absolute.ancestors().find(|path| path.exists()) else {
        return vec![
            Finding::error(Hop::Lake, object, "no folder above it exists")
                .fix("see the key `datalake.path`"),
        ];
    };
    if !existing.is_dir() {
        let finding = Finding::error(
            Hop::Lake,
            object,
            format!("`{}` is no folder", existing.display()),
        );
        return vec![finding.fix("see the key `datalake.path`")];
    }
    let mut findings = Vec::new();
    match TableReader::new(existing).probe().await {
        Ok(()) if existing == absolute => findings.push(Finding::ok(
            Hop::Lake,
            &object,
            "writable, with locks, hard links and renames",
        )),
        Ok(()) => {
            let evidence = format!(
                "does not exist yet; `{}` is writable, with locks, hard links and renames",
                existing.display()
            );
            findings.push(Finding::ok(Hop::Lake, &object, evidence));
        }
        Err(error) => findings.push(Finding::of(Hop::Lake, &object, &error)),
    }
    findings.extend(room(&object, existing, config.streaming.flush_bytes));
    findings
}

fn room(object: &str, existing: &Path, flush_bytes: u64) -> Option<Finding> {
    let system = rustix::fs::statvfs(existing).ok()?;
    Some(weigh_room(
        object,
        system.f_bavail.saturating_mul(system.f_frsize),
        flush_bytes,
    ))
}

fn weigh_room(object: &str, free: u64, flush_bytes: u64) -> Finding {
    let evidence = format!("{} free", HumanBytes(free));
    let fix = "free space, or another `datalake.path`";
    if free < flush_bytes {
        let means = format!(
            "one batch may have {} (`streaming.flush_bytes`)",
            HumanBytes(flush_bytes)
        );
        return Finding::error(Hop::Lake, object, evidence)
            .effect(means)
            .fix(fix);
    }
    if free < FREE_BYTES_MIN {
        return Finding::warning(Hop::Lake, object, evidence)
            .effect("a full disk stops the commits until there is room")
            .fix(fix);
    }
    Finding::ok(Hop::Lake, object, evidence)
}

/// Finds a lake of one table that has become one of several, or the reverse. One table has its log
/// in the lake's folder itself, several have a folder each.
async fn moved(config: &Config, datalake: &DatalakeConfig) -> Option<Finding> {
    // The folder of a table depends on whether there is one table or several. Going from one to the
    // other would start an empty lake beside the full one.
    let tables = config.tables.iter();
    // A journal is no table of its own here: it is beside the lake of a single one.
    let counted: Vec<_> = tables.filter(|table| table.journal_of.is_none()).collect();
    if let [only] = counted.as_slice() {
        if config.has_folders {
            return None;
        }
        let own = tables::own_folder(datalake, &only.table);
        let head = TableReader::new(&own).head().await.ok().flatten()?;
        let evidence = format!(
            "`{}` holds table `{}`, and the configuration has one table",
            own.display(),
            head.table
        );
        let finding = Finding::error(Hop::Lake, datalake.path.display().to_string(), evidence);
        let means = "a single table lands in the lake's folder itself: it would be loaded again, \
                     and read twice";
        return Some(
            finding
                .effect(means)
                .fix(format!("datalake.path: {}", own.display())),
        );
    }
    let table = TableReader::new(&datalake.path)
        .head()
        .await
        .ok()
        .flatten()?
        .table;
    let object = datalake.path.display().to_string();
    let finding = Finding::error(
        Hop::Lake,
        object,
        format!(
            "it holds table `{table}` itself, and the configuration has {} tables",
            counted.len()
        ),
    );
    let means = "several tables have a folder each below it: this one would be loaded again, and \
                 read twice";
    let fix = "a configuration and a `datalake.path` of its own for the new tables, or a new \
                `datalake.path` for all";
    Some(finding.effect(means).fix(fix))
}

/// What a service of this configuration expects of a table's lake.
struct Expected<'a> {
    /// `None` while PostgreSQL does not answer.
    table: Option<&'a TableName>,
    numbering: Numbering,
}

impl<'a> Expected<'a> {
    fn of(config: &Config, captured: Option<&'a Captured>) -> Self {
        let is_by_kafka = config.kafka.is_some();
        Self {
            table: captured.map(|captured| &captured.schema.table),
            numbering: match is_by_kafka {
                true => Numbering::Topic,
                false => Numbering::Local,
            },
        }
    }
}

async fn of_table(
    table: &TableConfig,
    ours: Expected<'_>,
    path: &Path,
    findings: &mut Vec<Finding>,
) -> Option<Head> {
    let object = path.display().to_string();
    let reader = TableReader::new(path);
    let head = match reader.head().await {
        Ok(head) => head,
        Err(error) => {
            findings.push(Finding::of(Hop::Lake, object, &error));
            return None;
        }
    };
    match reader.writers() {
        Ok(found) => findings.extend(found.iter().filter_map(|writer| of_writer(&object, writer))),
        Err(error) => findings.push(Finding::of(Hop::Lake, &object, &error)),
    }
    match reader.inspect().await {
        Ok(found) => findings.extend(of_files(&found, NAMED_MAX)),
        Err(error) => findings.push(Finding::of(Hop::Lake, &object, &error)),
    }
    let found = head.as_ref()?;
    match found.check_writer(path, ours.table.unwrap_or(&found.table), ours.numbering) {
        Err(error) => {
            findings.push(Finding::of(Hop::Lake, object, &error));
            None
        }
        Ok(()) => {
            let evidence = format!(
                "table `{}`: {} rows in {} files, commit {}",
                table.written(),
                found.rows,
                found.files,
                found.seq
            );
            findings.push(Finding::ok(Hop::Lake, object, evidence));
            head
        }
    }
}

fn of_writer(object: &str, writer: &Writer) -> Option<Finding> {
    let process = writer.process();
    // A running service is no problem: the check is made to run beside it.
    if writer.alive {
        let evidence = format!("process {process} writes there: a service runs");
        let finding = Finding::info(Hop::Lake, object, evidence);
        let means =
            "another writer of the same rows takes over, and this one ends with exit code 75";
        return Some(finding.effect(means));
    }
    let evidence = format!(
        "process {process} ended without tidying up, {} staging files are left",
        writer.files
    );
    let finding = Finding::info(Hop::Lake, object, evidence);
    (writer.files > 0)
        .then(|| finding.effect("invisible to readers; the next writer publishes or removes them"))
}

/// Files that differ from what the log names: a finding for each of the first ones of a kind, and
/// one for the others.
pub fn of_files(found: &Inspection, named_max: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let object = |path: &Path| path.display().to_string();
    for (path, reason) in found.unreadable.iter().take(named_max) {
        let evidence = format!("an entry of the log cannot be read: {reason}");
        let finding = Finding::error(Hop::Lake, object(path), evidence);
        let means = "which files it committed is unknown: foreign and missing ones stay unnoticed";
        findings.push(
            finding
                .effect(means)
                .fix("restore it from a copy of the lake"),
        );
    }
    for path in found.missing.iter().take(named_max) {
        let evidence = "a committed file is missing";
        let finding = Finding::error(Hop::Lake, object(path), evidence);
        findings.push(finding.effect("readers lack its rows").fix(RESTORE));
    }
    for (path, reason) in found.damaged.iter().take(named_max) {
        let evidence = format!("a committed file is damaged: {reason}");
        let finding = Finding::error(Hop::Lake, object(path), evidence);
        let means = "readers lack its rows, or fail";
        findings.push(finding.effect(means).fix(RESTORE));
    }
    for (path, reason) in found.forbidden.iter().take(named_max) {
        let finding = Finding::error(Hop::Lake, object(path), reason);
        let fix = format!("chmod a+r {}\nor change its owner", quoted(path));
        findings.push(finding.effect("readers lack its rows, or fail").fix(fix));
    }
    for path in found.foreign.iter().take(named_max) {
        let evidence = "the log does not name this file: Inlet did not write it";
        let finding = Finding::warning(Hop::Lake, object(path), evidence);
        let means = "readers of the folder take its rows for rows of the table";
        let aside = aside(path);
        let fix = format!(
            "mkdir -p {aside} && mv {} {aside}",
            quoted(path),
            aside = quoted(&aside)
        );
        findings.push(finding.effect(means).fix(fix));
    }
    if let Some(path) = &found.torn {
        let evidence = "the last entry of the log is incomplete, as a power cut leaves it";
        let finding = Finding::info(Hop::Lake, object(path), evidence);
        let means = "it was never committed; the next writer sets it aside";
        findings.push(finding.effect(means));
    }
    let rest = [
        (
            found.unreadable.len(),
            "entries of the log that cannot be read",
        ),
        (found.missing.len(), "committed files that are missing"),
        (found.damaged.len(), "committed files that are damaged"),
        (
            found.forbidden.len(),
            "committed files without the right to read them",
        ),
        (found.foreign.len(), "files that the log does not name"),
    ];
    for (count, what) in rest {
        if let Some(more @ 1..) = count.checked_sub(named_max) {
            findings.push(Finding::info(
                Hop::Lake,
                "the lake's files",
                format!("{more} more {what}"),
            ));
        }
    }
    findings
}

/// A folder beside the lake of a table, for files that are not part of it.
pub fn aside(file: &Path) -> PathBuf {
    let is_lake = |folder: &&Path| folder.join("_log").is_dir();
    let lake = file.ancestors().skip(1).find(is_lake);
    let lake = lake.or(file.parent()).unwrap_or(file);
    let mut name = lake.file_name().unwrap_or_default().to_owned();
    name.push("-foreign");
    lake.with_file_name(name)
}

/// A path as a shell reads it.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Finds the tables whose views have another name, because DuckDB reads theirs as that of something
/// else.
fn view_names(config: &Config, datalake: &DatalakeConfig) -> Vec<Finding> {
    let tables = views::exact_names(config, datalake);
    let mut findings = Vec::new();
    for (table, names) in tables.iter().zip(views::of_tables(&tables)) {
        let schema = names.latest.schema.as_deref().unwrap_or(PUBLIC);
        let means = if schema != table.schema {
            "DuckDB has something of its own, or another schema, under this name without case"
        } else if names.latest.name != table.name {
            "DuckDB compares names without case, so it cannot tell this table from another one"
        } else {
            continue;
        };
        let evidence = format!("its view is {}", names.latest);
        let finding = Finding::warning(Hop::Lake, table.short(), evidence);
        findings.push(finding.effect(means).fix(format!(
            "write it so in a query: SELECT * FROM {}",
            names.latest
        )));
    }
    findings
}

/// Checks the program that reads the lake.
async fn reader() -> Finding {
    match duckdb::installed().await {
        Some((path, version)) => of_duckdb(&format!("{version} ({})", path.display())),
        None => {
            let finding = Finding::warning(Hop::Lake, "duckdb", "neither on PATH nor in the cache");
            finding
                .effect("`inlet query` cannot answer, and `inlet verify` compares the files only")
                .fix(duckdb::INSTALL)
        }
    }
}

fn of_duckdb(shown: &str) -> Finding {
    let (major, minor) = DUCKDB_MIN;
    if release(shown).is_some_and(|found| found < DUCKDB_MIN) {
        let finding = Finding::warning(Hop::Lake, "duckdb", shown);
        return finding
            .effect(format!(
                "older than {major}.{minor}, the first one that our tests run on: views may fail"
            ))
            .fix(format!("{} --upgrade", duckdb::INSTALL));
    }
    Finding::ok(Hop::Lake, "duckdb", shown)
}

/// The first two numbers of `v1.5.6 (name) commit`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v')?.split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn room_for_less_than_a_batch_is_an_error_and_for_less_than_a_gigabyte_a_warning() {
        let severity = |free| weigh_room("/lake", free, 128 << 20).severity;
        assert_eq!(
            [127 << 20, 128 << 20, 2 << 30].map(severity),
            [Severity::Error, Severity::Warning, Severity::Ok]
        );
    }
}
