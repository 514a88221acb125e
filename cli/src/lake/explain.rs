//! What each flaw of a lake means, and what to do about it.

use std::path::Path;

use inlet_lake::{Audit, ContentFlaw, Derived, Inspection, Left, LogFlaw, Origin};

use crate::check::finding::{Finding, Hop};
use crate::check::lake::{RESTORE, aside, of_files, quoted};

/// A finding for each flaw.
pub fn explain(audit: &Audit) -> Vec<Finding> {
    // Foreign files are explained by where they come from, and with them files that were moved.
    let mut inspection = Inspection {
        foreign: Default::default(),
        ..audit.inspection.clone()
    };
    for origin in audit.origins.values() {
        if let Origin::Misplaced(place) = origin {
            inspection.missing.remove(place);
        }
    }
    let mut findings = of_files(&inspection, usize::MAX);
    findings.extend(audit.origins.iter().map(|(path, of)| of_origin(path, of)));
    findings.extend(audit.log.iter().map(|(path, flaw)| of_log(path, flaw)));
    let contents = audit.contents.iter();
    findings.extend(contents.map(|(path, flaw)| of_contents(path, flaw)));
    findings.extend(audit.left.iter().map(|(path, left)| of_left(path, left)));
    findings
}

fn error(path: &Path, evidence: impl Into<String>) -> Finding {
    Finding::error(Hop::Lake, path.display().to_string(), evidence)
}

fn warning(path: &Path, evidence: impl Into<String>) -> Finding {
    Finding::warning(Hop::Lake, path.display().to_string(), evidence)
}

fn info(path: &Path, evidence: impl Into<String>) -> Finding {
    Finding::info(Hop::Lake, path.display().to_string(), evidence)
}

fn of_origin(path: &Path, origin: &Origin) -> Finding {
    const REPEATED: &str = "readers of the folder find its rows more than once";
    let remove = || format!("rm {}", quoted(path));
    let away = || {
        format!(
            "mkdir -p {aside} && mv {} {aside}",
            quoted(path),
            aside = quoted(&aside(path))
        )
    };
    match origin {
        Origin::CopyOf(other) => {
            let evidence = format!("a copy of the committed file `{}`", other.display());
            warning(path, evidence).effect(REPEATED).fix(remove())
        }
        Origin::Misplaced(place) => {
            let evidence = format!("the committed file `{}` in another place", place.display());
            warning(path, evidence)
                .effect("readers of the folder take its rows for rows of another date")
                .fix(format!("mv {} {}", quoted(path), quoted(place)))
        }
        Origin::Former(seq) => {
            let evidence = format!("entry {seq} of the log removed this file, and it came back");
            warning(path, evidence).effect(REPEATED).fix(remove())
        }
        Origin::OtherLog => warning(
            path,
            "Inlet wrote it, and the log of this folder does not name it",
        )
        .effect("readers of the folder take its rows for rows of the table")
        .fix(away()),
        Origin::OtherProgram(writer) => {
            warning(path, format!("another program wrote it: `{writer}`"))
                .effect("readers of the folder take its rows for rows of the table")
                .fix(away())
        }
        Origin::Unknown => warning(path, "the log does not name it, and its format is unknown")
            .effect("readers of the folder fail, or take its rows for rows of the table")
            .fix(away()),
    }
}

fn of_log(path: &Path, flaw: &LogFlaw) -> Finding {
    const UNKNOWN: &str =
        "which files and offsets it committed is unknown, and a service may refuse to start";
    match flaw {
        LogFlaw::Missing => error(path, "an entry of the log is missing, and later ones exist")
            .effect(UNKNOWN)
            .fix(RESTORE),
        LogFlaw::Unreadable(reason) => error(
            path,
            format!("an entry of the log cannot be read: {reason}"),
        )
        .effect(UNKNOWN)
        .fix(RESTORE),
        LogFlaw::Torn => info(
            path,
            "the last entry of the log is incomplete, as a power cut leaves it",
        )
        .effect("it was never committed; the next writer sets it aside"),
        LogFlaw::SetAside => info(path, "an incomplete entry that a writer has set aside")
            .effect("it was never committed, and readers ignore it"),
        LogFlaw::CheckpointAhead { checkpoint, last } => {
            let evidence = format!(
                "the checkpoint has the progress of entry {checkpoint}, and the log ends with entry \
                 {last}"
            );
            error(path, evidence)
                .effect("a service would go on after the checkpoint, without the rows between")
                .fix(RESTORE)
        }
        LogFlaw::Checkpoint(derived) => of_derived(path, "the log's checkpoint", derived),
        LogFlaw::Segment(derived) => of_derived(path, "a part of the list of files", derived),
        flaw => of_entry(path, flaw),
    }
}

/// An entry that can be read, and does not fit the others.
fn of_entry(path: &Path, flaw: &LogFlaw) -> Finding {
    match flaw {
        LogFlaw::Hole {
            partition,
            from,
            next,
        } => {
            let evidence = format!(
                "offsets {from}..{next} of kafka_partition {} are in no entry before it",
                partition.0
            );
            error(path, evidence)
                .effect("the lake lacks the rows of these offsets")
                .fix(RESTORE)
        }
        LogFlaw::Overlap {
            partition,
            from,
            next,
        } => {
            let evidence = format!(
                "offsets {from}..{next} of kafka_partition {} go back: an earlier entry has them",
                partition.0
            );
            error(path, evidence)
                .effect("the rows of these offsets may be in the lake more than once")
                .fix(RESTORE)
        }
        LogFlaw::DoesNotFollow(reason) => error(
            path,
            format!("the entry does not follow the one before it: {reason}"),
        )
        .effect("a service that reads it refuses to start")
        .fix(RESTORE),
        LogFlaw::Repeated { file, seq } => error(
            path,
            format!("it adds `{file}`, which entry {seq} has added"),
        )
        .effect("the log counts its rows more than once")
        .fix(RESTORE),
        LogFlaw::Unlisted { file } => error(
            path,
            format!("it replaces `{file}`, which no earlier entry has added"),
        )
        .effect("rows of the file may be in the lake more than once")
        .fix(RESTORE),
        LogFlaw::Counts {
            counted,
            files,
            rejected,
        } => {
            let rows = if *rejected { "rejected rows" } else { "rows" };
            error(
                path,
                format!("it counts {counted} {rows}, and its files have {files}"),
            )
            .effect("`inlet status` and `inlet lake show` count wrong")
            .fix(RESTORE)
        }
        LogFlaw::UnknownSchema { file } => error(
            path,
            format!("the schema of `{file}` is in no entry of the log"),
        )
        .effect("columns of the file that were renamed stay unknown, and it is not merged")
        .fix(RESTORE),
        _ => unreachable!("`of_log` explains the flaws of other files"),
    }
}

/// A file that is derived from the entries: it can be removed.
fn of_derived(path: &Path, what: &str, derived: &Derived) -> Finding {
    let remove = || {
        let path = quoted(path);
        format!("stop the service that writes the table, then: rm {path}")
    };
    match derived {
        Derived::Missing => warning(path, format!("{what} is missing"))
            .effect("reading the log takes longer; a service writes it again within 64 commits")
            .fix("start the service that writes the table"),
        Derived::Unreadable => warning(path, format!("{what} cannot be read"))
            .effect("reading the log takes longer: it is read from the entries")
            .fix(remove()),
        Derived::Differs(reason) => error(
            path,
            format!("{what} differs from the entries of the log: {reason}"),
        )
        .effect("services and readers go on with wrong facts")
        .fix(remove()),
    }
}

fn of_contents(path: &Path, flaw: &ContentFlaw) -> Finding {
    match flaw {
        ContentFlaw::Unreadable(reason) => error(
            path,
            format!("a committed file is damaged inside: {reason}"),
        )
        .effect("readers lack its rows, get wrong ones, or fail")
        .fix(RESTORE),
        ContentFlaw::Repeated { rows, first } => {
            let evidence = format!(
                "{rows} of its rows have positions that other rows have, the first one offset {first}"
            );
            error(path, evidence)
                .effect("readers find these rows more than once")
                .fix(RESTORE)
        }
        ContentFlaw::Beyond { partition, offset } => {
            let evidence = format!(
                "it has a row of offset {offset} of kafka_partition {}, and the log ends before it",
                partition.0
            );
            error(path, evidence)
                .effect("a service would read the row from the topic again")
                .fix(RESTORE)
        }
    }
}

fn of_left(path: &Path, left: &Left) -> Finding {
    const TIDIED: &str = "invisible to readers; the next writer removes it";
    let process = |writer: &str| writer.split('-').next().unwrap_or_default().to_owned();
    match left {
        Left::Files { writer, files } => info(
            path,
            format!(
                "process {} ended and left {files} invisible files",
                process(writer)
            ),
        )
        .effect("the next writer removes them"),
        Left::Folder { writer } => info(
            path,
            format!(
                "process {} ended while it put merged files in their place, and left a folder",
                process(writer)
            ),
        )
        .effect(TIDIED),
        Left::Lock { writer } => info(
            path,
            format!("process {} ended and left its lock", process(writer)),
        )
        .effect(TIDIED),
        Left::Unpublished { place } => {
            let evidence = format!(
                "a committed file whose writer ended before it could show it as `{}`",
                place.display()
            );
            warning(path, evidence)
                .effect("readers lack its rows until a writer opens the folder")
                .fix("start the service that writes the table, or run `inlet compact`")
        }
    }
}
