//! The findings for people and for programs.

use serde_json::{Value, json};

use super::finding::{Finding, Hop, Severity};

/// Behind the severity and its gap.
const INDENT: &str = "           ";

/// The findings by hop, the worst first, and a line that sums them up.
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
        of_hop.sort_by_key(|finding| finding.severity);
        let width = of_hop
            .iter()
            .map(|finding| finding.object.chars().count())
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

/// One object with every finding.
pub fn json(findings: &[Finding]) -> Value {
    json!({ "errors": count(findings, Severity::Error), "warnings": count(findings, Severity::Warning), "findings": findings })
}

fn lines(finding: &Finding, width: usize) -> String {
    let mut text = format!(
        "  {:<7}  {:<width$}  {}\n",
        finding.severity.name(),
        finding.object,
        finding.evidence
    );
    if let Some(meaning) = &finding.meaning {
        text.push_str(&format!("{INDENT}so:   {meaning}\n"));
    }
    if let Some(mend) = &finding.mend {
        let mend = mend.replace('\n', &format!("\n{INDENT}      "));
        text.push_str(&format!("{INDENT}mend: {mend}\n"));
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
    fn hops_come_in_the_order_of_the_data_and_the_worst_first() {
        let findings = [
            Finding::ok(Hop::Lake, "/lake", "writable"),
            Finding::ok(Hop::Table, "orders", "key: id"),
            Finding::warning(Hop::Table, "orders.at", "no index")
                .means("slow")
                .mend("CREATE INDEX"),
        ];
        let expected = "\
Tables
  warning  orders.at  no index
           so:   slow
           mend: CREATE INDEX
  ok       orders     key: id

Lake
  ok       /lake  writable

0 errors, 1 warning; 2 other findings
";
        assert_eq!(text(&findings), expected);
        assert_eq!(json(&findings)["warnings"], 1);
        assert_eq!(json(&findings)["findings"][2]["mend"], "CREATE INDEX");
    }
}
