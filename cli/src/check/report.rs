//! The findings as text for people and as JSON for programs.

use inlet_model::printable;
use serde_json::{Value, json};

use super::finding::{Finding, Hop, Severity};

/// The column after the severity and its gap.
const INDENT: &str = "           ";

/// Prints the findings by hop, the worst first, and a summary line.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for hop in Hop::ALL {
        let mut of_hop: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.hop == hop)
            .collect();
        if of_hop.is_empty() {
            continue;
        }
        // Errors come first; the sort is stable, so the order of the checks stays within a
        // severity.
        of_hop.sort_by_key(|finding| finding.severity);
        let width = of_hop
            .iter()
            .map(|finding| printable(&finding.object).chars().count())
            .max()
            .unwrap_or_default();
        text.push_str(&format!("{}\n", hop.heading()));
        of_hop
            .iter()
            .for_each(|finding| text.push_str(&lines(finding, width)));
        text.push('\n');
    }
    text.push_str(&summary(findings));
    text
}

pub fn json(findings: &[Finding]) -> Value {
    json!({ "errors": count(findings, Severity::Error), "warnings": count(findings, Severity::Warning), "findings": findings })
}

fn lines(finding: &Finding, width: usize) -> String {
    // A name may hold a line feed; only a fix has lines of its own.
    let mut text = format!(
        "  {:<7}  {:<width$}  {}\n",
        finding.severity.name(),
        printable(&finding.object),
        printable(&finding.evidence)
    );
    if let Some(effect) = &finding.effect {
        text.push_str(&format!("{INDENT}effect: {}\n", printable(effect)));
    }
    if let Some(fix) = &finding.fix {
        let fix = fix.replace('\n', &format!("\n{INDENT}        "));
        text.push_str(&format!("{INDENT}fix:    {fix}\n"));
    }
    text
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
        assert_eq!(text(&findings), expected);
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
        assert_eq!(text(&findings), expected);
        assert_eq!(json(&findings)["warnings"], 1);
        assert_eq!(json(&findings)["findings"][2]["fix"], "CREATE INDEX");
    }
}
