//! Mistakes that were planted on real servers: `inlet check` names each with its severity, its
//! object and what fixes it.
//!
//! docs/check.md shows each finding as a row; a test fails if the text differs from its row.
//! To write the rows again: `INLET_CHECK_ROWS=rows.md cargo test --test check`.

#![allow(clippy::unwrap_used, missing_docs)]

mod case;
mod cursor;
mod fixes;
mod fsck;
mod healthy;
mod init;
mod kafka;
mod lake;
mod many;
mod postgres;
mod progress;
mod settings;
mod tables;

/// The calls that compare a finding with its row.
const MARKS: [&str; 5] = [
    ".names(",
    ".names_with(",
    ".fixed(",
    ".fixed_with(",
    ".fixed_by(",
];

/// Every row has a test, so that the page stays true.
#[test]
fn every_row_of_the_documentation_is_planted() {
    let tests = [
        include_str!("cursor.rs"),
        include_str!("kafka.rs"),
        include_str!("lake.rs"),
        include_str!("postgres.rs"),
    ];
    let more = [
        include_str!("progress.rs"),
        include_str!("settings.rs"),
        include_str!("tables.rs"),
    ];
    let planted: usize = tests
        .iter()
        .chain(&more)
        .map(|text| MARKS.map(|mark| text.matches(mark).count()))
        .map(|counts| counts.iter().sum::<usize>())
        .sum();
    let shown = case::DOCS.lines().filter(|line| {
        line.contains(" | error | ")
            || line.contains(" | warning | ")
            || line.contains(" | info | ")
    });
    assert_eq!(shown.count(), planted);
}
