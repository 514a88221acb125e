//! A comparison for people, one line a table and the first rows that differ, and as one JSON
//! object.

use std::fmt;

use inlet_model::TableName;
use serde_json::{Value, json};

use super::compare::Findings;
use super::examples::{Difference, Example, Wrong};

/// Longer values are cut where a person reads them.
const VALUE_CHARS_MAX: usize = 80;

#[derive(Debug)]
pub struct Report {
    /// True if the table has a key, which identifies its rows.
    pub keyed: bool,
    pub table: TableName,
    pub findings: Findings,
    pub examples: Vec<Example>,
}

const ONLY_IN_LAKE: &str = "only in the lake (deleted in PostgreSQL; deletes are not carried yet)";
const ONLY_IN_LAKE_WITHOUT_KEY: &str = "only in the lake (deleted in PostgreSQL, or versions from \
    before an update: the table has no key)";

impl Report {
    pub fn is_equal(&self) -> bool {
        self.findings.is_equal()
    }

    fn json(&self) -> Value {
        let found = &self.findings;
        json!({
            "table": self.table.to_string(),
            "equal": self.is_equal(),
            "rows": found.rows,
            "in_quarantine": found.quarantined,
            "changed_since": found.changed_since,
            "missing": found.missing.rows,
            "different": found.different.rows,
            "only_in_lake": found.only_in_lake.rows,
            "duplicates": found.duplicates.rows,
            "examples": self.examples,
        })
    }
}

/// All tables as one object.
pub fn json(reports: &[Report]) -> Value {
    json!({ "equal": reports.iter().all(Report::is_equal), "tables": reports.iter().map(Report::json).collect::<Vec<_>>() })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        let verdict = if self.is_equal() {
            "equal"
        } else {
            "different"
        };
        write!(f, "{}: {verdict}, {} rows", self.table, found.rows)?;
        let parts = [
            (found.quarantined, "in quarantine"),
            (found.changed_since, "changed since"),
            (found.missing.rows, "missing in the lake"),
            (found.different.rows, "with other values"),
            (
                found.only_in_lake.rows,
                if self.keyed {
                    ONLY_IN_LAKE
                } else {
                    ONLY_IN_LAKE_WITHOUT_KEY
                },
            ),
            (found.duplicates.rows, "duplicates in the lake"),
        ];
        for (rows, what) in parts.iter().filter(|(rows, _)| *rows > 0) {
            write!(f, ", {rows} {what}")?;
        }
        writeln!(f)?;
        self.examples
            .iter()
            .try_for_each(|example| writeln!(f, "  {example}"))
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.finding {
            Wrong::Missing => write!(f, "missing in the lake: {}", self.key),
            Wrong::Different => {
                let columns: Vec<_> = self.columns.iter().map(ToString::to_string).collect();
                write!(f, "other values: {}: {}", self.key, columns.join("; "))
            }
            Wrong::OnlyInLake => write!(f, "only in the lake: {}", self.key),
            Wrong::Duplicate => write!(
                f,
                "duplicate in the lake: {}, xid {}",
                self.key,
                self.xid.unwrap_or_default()
            ),
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
            findings,
            examples,
        }
    }

    #[test]
    fn an_equal_table_is_one_line() {
        let findings = Findings {
            rows: 1_000_000,
            quarantined: 5,
            ..Findings::default()
        };
        assert_eq!(
            report(findings, vec![]).to_string(),
            "public.orders: equal, 1000000 rows, 5 in quarantine\n"
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
            {\"order_id\":42}: city is `Oslo` in PostgreSQL, null in the lake\n";
        assert_eq!(report.to_string(), expected);
        assert_eq!(
            json(&[report])["tables"][0]["examples"][0]["columns"][0]["column"],
            "city"
        );
    }
}
