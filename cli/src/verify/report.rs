//! A comparison for people, one line a table, one line for each way and the first rows that differ,
//! and as one JSON object.

use std::fmt;
use std::path::Path;

use inlet_lake::{Head, Inspection};
use inlet_model::{TableName, TableSchema, printable};
use serde_json::{Value, json};

use super::as_read::{AsRead, Compared};
use super::compare::Findings;
use super::examples::{Difference, Example, Wrong};
use super::lake::has_same_key;
use super::outcome::Outcome;
use crate::duckdb::INSTALL;

/// Longer values are cut where a person reads them.
const VALUE_CHARS_MAX: usize = 80;
/// Files of one kind that are named.
const FILES_MAX: usize = 10;

#[derive(Debug)]
pub struct Report {
    /// True if the table has a key, which identifies its rows.
    pub keyed: bool,
    pub table: TableName,
    /// The present key first, then those that rows of the lake were written under.
    pub keys: Vec<String>,
    pub findings: Findings,
    pub examples: Vec<Example>,
    pub inspection: Inspection,
    pub as_read: AsRead,
    /// The keys of rows that differ, where they were asked for.
    pub keys_to_repair: Vec<String>,
    /// What became of the repair before this comparison, or of one that still waits.
    pub repair: Option<Outcome>,
}

const ONLY_IN_LAKE: &str = "only in the lake (deleted in PostgreSQL, or given another key there, \
    and not compared yet)";
const ONLY_IN_LAKE_WITHOUT_KEY: &str = "only in the lake (deleted in PostgreSQL, or versions from \
    before an update: the table has no key)";

/// The keys of a table as text: the present one, then the others that the lake's log knows.
pub fn keys(schema: &TableSchema, head: Option<&Head>) -> Vec<String> {
    let text = |schema: &TableSchema| {
        let column = |at: usize| {
            let column = &schema.columns[at];
            format!("{} {}", column.name, column.postgres_type)
        };
        let columns: Vec<_> = schema.own_key().map(column).collect();
        format!("({})", columns.join(", "))
    };
    let known = head.into_iter().flat_map(|head| head.schemas.values());
    let mut keys = vec![text(schema)];
    for earlier in known.filter(|known| !has_same_key(known, schema)) {
        let earlier = text(earlier);
        if !keys.contains(&earlier) {
            keys.push(earlier);
        }
    }
    keys
}

impl Report {
    pub fn is_equal(&self) -> bool {
        self.files_are_equal() && self.as_read.is_equal()
    }

    fn files_are_equal(&self) -> bool {
        self.findings.is_equal() && self.inspection.is_clean()
    }

    fn json(&self) -> Value {
        let found = &self.findings;
        let paths = |paths: &mut dyn Iterator<Item = &std::path::PathBuf>| {
            paths
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        let as_read = match &self.as_read {
            AsRead::NotInstalled => Value::Null,
            AsRead::Compared(compared) => {
                let mut value = json!(compared);
                value["equal"] = compared.is_equal().into();
                value
            }
        };
        let mut table = json!({
            "table": self.table.to_string(),
            "equal": self.is_equal(),
            "rows": found.rows,
            "in_quarantine": found.quarantined,
            "changed_since": found.changed_since,
            "left": found.left,
            "missing": found.missing.rows,
            "different": found.different.rows,
            "only_in_lake": found.only_in_lake.rows,
            "only_under_earlier_key": found.earlier_key.rows,
            "duplicates": found.duplicates.rows,
            "examples": self.examples,
            "files_equal": self.files_are_equal(),
            "foreign_files": paths(&mut self.inspection.foreign.iter()),
            "missing_files": paths(&mut self.inspection.missing.iter()),
            "damaged_files": paths(&mut self.inspection.damaged.keys()),
            "forbidden_files": paths(&mut self.inspection.forbidden.keys()),
            "unreadable_entries": paths(&mut self.inspection.unreadable.keys()),
            "as_duckdb_reads_it": as_read,
        });
        if let Some(repair) = &self.repair {
            table["repair"] = json!(repair);
        }
        table
    }

    /// The counts of the comparison by files.
    fn counts(&self) -> Vec<(u64, String)> {
        let found = &self.findings;
        let only_in_lake = match self.keyed {
            true => ONLY_IN_LAKE,
            false => ONLY_IN_LAKE_WITHOUT_KEY,
        };
        let (now, earlier) = self
            .keys
            .split_first()
            .map_or(("", &[][..]), |(now, earlier)| (now.as_str(), earlier));
        let earlier = format!(
            "only in the lake, under an earlier key (the key was {} and is {now})",
            earlier.join(", ")
        );
        let parts = [
            (found.quarantined, "in quarantine".to_owned()),
            (found.changed_since, "changed since".to_owned()),
            (
                found.left,
                "of dates that left the lake (`keep`)".to_owned(),
            ),
            (found.missing.rows, "missing in the lake".to_owned()),
            (found.different.rows, "with other values".to_owned()),
            (found.only_in_lake.rows, only_in_lake.to_owned()),
            (found.earlier_key.rows, earlier),
            (found.duplicates.rows, "duplicates in the lake".to_owned()),
        ];
        parts.into_iter().filter(|(rows, _)| *rows > 0).collect()
    }

    fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  files: {}", verdict(self.files_are_equal()))?;
        let found = &self.inspection;
        let line = |f: &mut fmt::Formatter<'_>, what: &str, path: &Path, advice: &str| {
            let path = path.display().to_string();
            writeln!(f, "    {what}: `{}`: {advice}", printable(&path))
        };
        for (path, reason) in found.unreadable.iter().take(FILES_MAX) {
            let advice = format!("{reason}; restore it from a copy of the lake");
            line(f, "entry of the log that cannot be read", path, &advice)?;
        }
        for path in found.missing.iter().take(FILES_MAX) {
            let advice = "it was committed, and readers lack its rows; restore it from a copy";
            line(f, "missing file", path, advice)?;
        }
        for (path, reason) in found.forbidden.iter().take(FILES_MAX) {
            line(f, "forbidden file", path, reason)?;
        }
        for (path, reason) in found.damaged.iter().take(FILES_MAX) {
            let advice = format!("{reason}; restore it from a copy");
            line(f, "damaged file", path, &advice)?;
        }
        for path in found.foreign.iter().take(FILES_MAX) {
            let advice =
                "the log does not name it, and readers of the folder read it; move it away";
            line(f, "foreign file", path, advice)?;
        }
        if self.findings.moved_keys > 0 {
            let keys = self.findings.moved_keys;
            writeln!(
                f,
                "    versions of {keys} keys are in several kafka_partitions: the time at which \
                 they were found orders them"
            )?;
        }
        Ok(())
    }
}

fn verdict(is_equal: bool) -> &'static str {
    if is_equal { "equal" } else { "different" }
}

/// All tables as one object.
pub fn json(reports: &[Report]) -> Value {
    json!({ "equal": reports.iter().all(Report::is_equal), "tables": reports.iter().map(Report::json).collect::<Vec<_>>() })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = verdict(self.is_equal());
        write!(f, "{}: {verdict}, {} rows", self.table, self.findings.rows)?;
        for (rows, what) in self.counts() {
            write!(f, ", {rows} {what}")?;
        }
        writeln!(f)?;
        for example in &self.examples {
            writeln!(f, "  {example}")?;
        }
        self.write_files(f)?;
        match &self.as_read {
            AsRead::NotInstalled => writeln!(
                f,
                "  as DuckDB reads it: not compared, because DuckDB is not installed ({INSTALL})"
            ),
            AsRead::Compared(compared) => self.write_as_read(f, compared),
        }
    }
}

impl Report {
    fn write_as_read(&self, f: &mut fmt::Formatter<'_>, compared: &Compared) -> fmt::Result {
        let counts = [
            (compared.missing, "missing"),
            (compared.different, "with other values"),
            (compared.only_in_lake, "only in the lake"),
            (compared.repeated, "with a key that another row has"),
        ];
        write!(f, "  as DuckDB reads it: {}", verdict(compared.is_equal()))?;
        for (rows, what) in counts.iter().filter(|(rows, _)| *rows > 0) {
            write!(f, ", {rows} {what}")?;
        }
        if let Some(expected) = compared.expected_rows {
            write!(f, ", {} rows instead of {expected}", compared.rows)?;
        }
        writeln!(f)?;
        if let Some(reason) = &compared.refused {
            writeln!(f, "    it cannot be read: {}", printable(reason))?;
        }
        for line in compared.columns.iter().chain(&compared.notes) {
            writeln!(f, "    {}", printable(line))?;
        }
        // What both ways have found is shown once.
        let is_new = |example: &&Example| {
            let same =
                |other: &Example| other.finding == example.finding && example.key == other.key;
            !self.examples.iter().any(same)
        };
        compared
            .examples
            .iter()
            .filter(is_new)
            .try_for_each(|example| writeln!(f, "    {example}"))
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = printable(&self.key);
        match self.finding {
            Wrong::Missing => write!(f, "missing in the lake: {key}"),
            Wrong::Different if self.columns.is_empty() => {
                write!(f, "other values: {key}: a newer version has arrived since")
            }
            Wrong::Different => {
                let columns: Vec<_> = self.columns.iter().map(ToString::to_string).collect();
                write!(f, "other values: {key}: {}", columns.join("; "))
            }
            Wrong::OnlyInLake => write!(f, "only in the lake: {key}"),
            Wrong::EarlierKey => write!(f, "only in the lake, under an earlier key: {key}"),
            Wrong::Duplicate => match self.xid {
                Some(xid) => write!(f, "duplicate in the lake: {key}, xid {xid}"),
                None => write!(f, "more than one row: {key}"),
            },
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {} in PostgreSQL, {} in the lake",
            self.column,
            shown(self.postgres.as_deref()),
            shown(self.lake.as_deref())
        )
    }
}

fn shown(value: Option<&str>) -> String {
    match value {
        None => "null".to_owned(),
        Some(value) if value.chars().count() > VALUE_CHARS_MAX => {
            format!(
                "`{}..`",
                value.chars().take(VALUE_CHARS_MAX).collect::<String>()
            )
        }
        Some(value) => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::Finding;
    use super::*;

    fn report(findings: Findings, examples: Vec<Example>) -> Report {
        Report {
            table: TableName::new("public", "orders"),
            keyed: true,
            keys: vec!["(id text)".into(), "(id integer)".into()],
            findings,
            examples,
            inspection: Inspection::default(),
            as_read: AsRead::Compared(Compared::default()),
            keys_to_repair: Vec::new(),
            repair: None,
        }
    }

    #[test]
    fn an_equal_table_is_one_line_and_one_for_each_way() {
        let findings = Findings {
            rows: 1_000_000,
            quarantined: 5,
            ..Findings::default()
        };
        assert_eq!(
            report(findings, vec![]).to_string(),
            "public.orders: equal, 1000000 rows, 5 in quarantine\n  files: equal\n  as DuckDB reads \
             it: equal\n"
        );
    }

    #[test]
    fn a_difference_names_key_column_and_both_values() {
        let different = Finding {
            rows: 1,
            first: vec![],
        };
        let columns = vec![Difference {
            column: "city".into(),
            postgres: Some("Oslo".into()),
            lake: None,
        }];
        let example = Example {
            finding: Wrong::Different,
            key: "{\"order_id\":42}".into(),
            xid: None,
            columns,
        };
        let report = report(
            Findings {
                rows: 3,
                different,
                ..Findings::default()
            },
            vec![example],
        );
        let expected = "public.orders: different, 3 rows, 1 with other values\n  other values: \
            {\"order_id\":42}: city is `Oslo` in PostgreSQL, null in the lake\n  files: \
            different\n  as DuckDB reads it: equal\n";
        assert_eq!(report.to_string(), expected);
        assert_eq!(
            json(&[report])["tables"][0]["examples"][0]["columns"][0]["column"],
            "city"
        );
    }

    #[test]
    fn without_duckdb_the_report_states_what_was_compared() {
        let mut report = report(Findings::default(), vec![]);
        report.as_read = AsRead::NotInstalled;
        assert!(report.is_equal());
        assert_eq!(
            report.to_string(),
            "public.orders: equal, 0 rows\n  files: equal\n  as DuckDB reads it: not compared, \
             because DuckDB is not installed (pip install duckdb-cli)\n"
        );
        assert!(json(&[report])["tables"][0]["as_duckdb_reads_it"].is_null());
    }

    #[test]
    fn a_lake_that_a_reader_cannot_read_is_different_though_its_files_are_equal() {
        let mut report = report(Findings::default(), vec![]);
        report.as_read = AsRead::Compared(Compared {
            refused: Some("failed to cast column \"note\"".into()),
            ..Compared::default()
        });
        assert_eq!(
            report.to_string(),
            "public.orders: different, 0 rows\n  files: equal\n  as DuckDB reads it: different\n    \
             it cannot be read: failed to cast column \"note\"\n"
        );
    }

    #[test]
    fn a_row_under_an_earlier_key_names_both_keys() {
        let earlier_key = Finding {
            rows: 2,
            first: vec![],
        };
        let findings = Findings {
            earlier_key,
            ..Findings::default()
        };
        let text = report(findings, vec![]).to_string();
        let expected = "2 only in the lake, under an earlier key (the key was (id integer) and is \
            (id text))\n";
        assert!(text.contains(expected), "{text}");
    }
}
