//! The findings as text for people and as JSON for programs.

use inlet_model::printable;
use serde_json::{Value, json};

use super::finding::{Finding, Hop, Severity};
use super::group::{self, Group};

/// The column after the severity and its gap.
const INDENT: &str = "           ";

/// How many objects of a group are named.
const NAMED_MAX: usize = 5;

/// How much of the findings is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Errors and warnings.
    Problems,
    /// All, with those of one kind together.
    #[default]
    Grouped,
    /// Each for itself.
    Each,
}

impl Detail {
    pub fn shows(self, finding: &Finding) -> bool {
        self != Self::Problems || finding.severity <= Severity::Warning
    }
}

/// Prints the findings by hop, the worst first, and a summary line.
pub fn text(findings: &[Finding], detail: Detail) -> String {
    let mut text = String::new();
    let mut are_grouped = false;
    for hop in Hop::ALL {
        let mut of_hop: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.hop == hop && detail.shows(finding))
            .collect();
        if of_hop.is_empty() {
            continue;
        }
        // Errors come first; the sort is stable, so the order of the checks stays within a
        // severity.
        of_hop.sort_by_key(|finding| finding.severity);
        let groups = match detail {
            Detail::Each => group::apart(&of_hop),
            Detail::Problems | Detail::Grouped => group::by_kind(&of_hop),
        };
        are_grouped |= groups.iter().any(|group| group.count() > 1);
        let entries: Vec<Entry> = groups.iter().map(Entry::of).collect();
        let width = entries.iter().map(|entry| entry.object.chars().count());
        let width = width.max().unwrap_or_default();
        text.push_str(&format!("{}\n", hop.heading()));
        entries
            .iter()
            .for_each(|entry| text.push_str(&entry.lines(width)));
        text.push('\n');
    }
    text.push_str(&summary(findings));
    if are_grouped {
        text.push_str("`-v` shows each of the findings that are together here\n");
    }
    text
}

/// The findings for programs; they are never grouped.
pub fn json(findings: &[Finding], detail: Detail) -> Value {
    let shown: Vec<&Finding> = findings
        .iter()
        .filter(|finding| detail.shows(finding))
        .collect();
    json!({
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "findings": shown,
    })
}

/// One entry of the text: a finding, or several of one kind.
struct Entry {
    severity: Severity,
    object: String,
    evidence: String,
    effect: Option<String>,
    fix: Option<String>,
    /// What a group is about.
    members: Option<String>,
}

impl Entry {
    // A name may hold a line feed; only a fix has lines of its own.
    fn of(group: &Group<'_>) -> Self {
        let first = group.first;
        let one = Self {
            severity: first.severity,
            object: printable(&first.object).into_owned(),
            evidence: printable(&first.evidence).into_owned(),
            effect: first
                .effect
                .as_deref()
                .map(|text| printable(text).into_owned()),
            fix: first.fix.clone(),
            members: None,
        };
        if group.count() == 1 {
            return one;
        }
        let names: Vec<_> = group
            .members()
            .take(NAMED_MAX)
            .map(|member| printable(&member.object))
            .collect();
        let mut members = names.join(", ");
        if let Some(more @ 1..) = group.count().checked_sub(NAMED_MAX) {
            members.push_str(&format!(" and {more} more"));
        }
        let fix = match &one.fix {
            Some(fix) if !group.is_same(|member| &member.fix) => {
                Some(format!("{fix}\nand likewise for the others"))
            }
            fix => fix.clone(),
        };
        Self {
            evidence: match group.is_same(|member| &member.evidence) {
                true => one.evidence,
                false => format!("{}: {}", one.object, one.evidence),
            },
            object: format!("{} {}", group.count(), noun(first)),
            // The objects of passed checks are those of the configuration.
            members: (first.severity < Severity::Ok).then_some(members),
            fix,
            ..one
        }
    }

    fn lines(&self, width: usize) -> String {
        let mut text = format!(
            "  {:<7}  {:<width$}  {}\n",
            self.severity.name(),
            self.object,
            self.evidence
        );
        if let Some(effect) = &self.effect {
            text.push_str(&format!("{INDENT}effect: {effect}\n"));
        }
        if let Some(fix) = &self.fix {
            let fix = fix.replace('\n', &format!("\n{INDENT}        "));
            text.push_str(&format!("{INDENT}fix:    {fix}\n"));
        }
        if let Some(members) = &self.members {
            text.push_str(&format!("{INDENT}on:     {members}\n"));
        }
        text
    }
}

/// What several objects of this finding's kind are called.
fn noun(finding: &Finding) -> &'static str {
    match finding.hop {
        Hop::Table => "tables",
        _ if finding.object.starts_with("topic ") => "topics",
        Hop::Progress => "tables",
        Hop::Lake => "folders",
        Hop::Configuration | Hop::Postgres | Hop::Kafka => "objects",
    }
}

fn summary(findings: &[Finding]) -> String {
    let counted = |severity, one: &str, many: &str| match count(findings, severity) {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let errors = counted(Severity::Error, "error", "errors");
    let warnings = counted(Severity::Warning, "warning", "warnings");
    format!(
        "{errors}, {warnings}; {} other findings\n",
        count(findings, Severity::Info) + count(findings, Severity::Ok)
    )
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_feed_breaks_no_line() {
        let findings = [
            Finding::ok(Hop::Table, "a\nb", "key: id"),
            Finding::ok(Hop::Table, "c", "table `a\nb`"),
        ];
        let expected = "\
Tables
  ok       a\\nb  key: id
  ok       c     table `a\\nb`

0 errors, 0 warnings; 2 other findings
";
        assert_eq!(text(&findings, Detail::Grouped), expected);
    }

    #[test]
    fn hops_come_in_the_order_of_the_data_and_the_worst_first() {
        let findings = [
            Finding::ok(Hop::Lake, "/lake", "writable"),
            Finding::ok(Hop::Table, "orders", "key: id"),
            Finding::warning(Hop::Table, "orders.at", "no index")
                .effect("slow")
                .fix("CREATE INDEX"),
        ];
        let expected = "\
Tables
  warning  orders.at  no index
           effect: slow
           fix:    CREATE INDEX
  ok       orders     key: id

Lake
  ok       /lake  writable

0 errors, 1 warning; 2 other findings
";
        assert_eq!(text(&findings, Detail::Grouped), expected);
        assert_eq!(json(&findings, Detail::Grouped)["warnings"], 1);
        assert_eq!(
            json(&findings, Detail::Grouped)["findings"][2]["fix"],
            "CREATE INDEX"
        );
    }

    #[test]
    fn many_tables_with_one_trait_are_one_entry_with_the_first_names() {
        let finding = |at: usize| {
            Finding::warning(Hop::Table, format!("t{at}.at"), "no index")
                .effect("slow")
                .fix(format!("CREATE INDEX ON t{at}"))
        };
        let findings: Vec<_> = (1..=7).map(finding).collect();
        let expected = "\
Tables
  warning  7 tables  no index
           effect: slow
           fix:    CREATE INDEX ON t1
                   and likewise for the others
           on:     t1.at, t2.at, t3.at, t4.at, t5.at and 2 more

0 errors, 7 warnings; 0 other findings
`-v` shows each of the findings that are together here
";
        assert_eq!(text(&findings, Detail::Grouped), expected);
        assert!(text(&findings, Detail::Each).contains("CREATE INDEX ON t7"));
    }

    #[test]
    fn quiet_shows_problems_alone() {
        let findings = [
            Finding::ok(Hop::Lake, "/lake", "writable"),
            Finding::info(Hop::Table, "orders", "read as text"),
            Finding::warning(Hop::Table, "orders", "no key"),
        ];
        let expected = "\
Tables
  warning  orders  no key

0 errors, 1 warning; 2 other findings
";
        assert_eq!(text(&findings, Detail::Problems), expected);
    }
}
