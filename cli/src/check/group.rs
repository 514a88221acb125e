//! Findings of one kind become one entry, so that many tables with the same trait take a few lines.
//!
//! Two findings are of one kind if they differ only in names and numbers: their texts are compared
//! by their [`Shape`].

use super::finding::{Finding, Severity};

/// Up to this many findings of a kind are shown each for itself.
const APART_MAX: usize = 3;

/// Findings of one kind, in their order.
pub struct Group<'a> {
    pub first: &'a Finding,
    pub others: Vec<&'a Finding>,
}

impl<'a> Group<'a> {
    fn new(first: &'a Finding) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }

    pub fn members(&self) -> impl Iterator<Item = &'a Finding> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// True if all members have the same value there.
    pub fn is_same<T: PartialEq>(&self, field: impl Fn(&'a Finding) -> T) -> bool {
        let first = field(self.first);
        self.others.iter().all(|other| field(other) == first)
    }

    /// Every member as a group of its own.
    fn split(self) -> Vec<Self> {
        self.members().map(Self::new).collect()
    }
}

/// Every finding for itself, in their order.
pub fn apart<'a>(findings: &[&'a Finding]) -> Vec<Group<'a>> {
    findings.iter().copied().map(Group::new).collect()
}

/// Puts findings of one kind together where there are many; a group is in the place of its first
/// member.
pub fn by_kind<'a>(findings: &[&'a Finding]) -> Vec<Group<'a>> {
    let mut groups: Vec<(Shape, Group<'a>)> = Vec::new();
    for finding in findings.iter().copied() {
        let shape = Shape::of(finding);
        match groups.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, group)) => group.others.push(finding),
            None => groups.push((shape, Group::new(finding))),
        }
    }
    let groups = groups.into_iter().flat_map(|(_, group)| {
        if group.count() > APART_MAX {
            vec![group]
        } else {
            group.split()
        }
    });
    groups.collect()
}

/// What findings of one kind have in common.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    severity: Severity,
    evidence: String,
    effect: String,
}

impl Shape {
    fn of(finding: &Finding) -> Self {
        // The cause of an error comes after a colon; in other findings details of the object do.
        let evidence = match finding.severity {
            Severity::Error => finding.evidence.as_str(),
            _ => finding
                .evidence
                .split_once(": ")
                .map_or(finding.evidence.as_str(), |(evidence, _)| evidence),
        };
        Self {
            severity: finding.severity,
            evidence: without_names(evidence),
            effect: without_names(finding.effect.as_deref().unwrap_or_default()),
        }
    }
}

/// The text without what is quoted, without numbers and their units, and with "rows" as "row".
fn without_names(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '`' | '"' => {
                rest.by_ref()
                    .take_while(|other| *other != character)
                    .count();
                shape.push(character);
            }
            '0'..='9' => {
                let number = |other: &char| other.is_ascii_digit() || matches!(other, '.' | ',');
                while rest.next_if(number).is_some() {}
                rest.next_if_eq(&' ');
                let mut word = String::new();
                while let Some(letter) = rest.next_if(char::is_ascii_alphabetic) {
                    word.push(letter);
                }
                let word = word.trim_end_matches('s');
                let is_unit = matches!(word, "B" | "KiB" | "MiB" | "GiB" | "TiB");
                shape.push('#');
                shape.push_str(if is_unit { "" } else { word });
            }
            other => shape.push(other),
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::super::finding::Hop;
    use super::*;

    #[test]
    fn names_and_numbers_make_no_other_kind() {
        let same = [
            (
                "table, 4 columns, about 2 rows, 48.0 KiB, readable",
                "table, 12 columns, about 1 row, 8 B, readable",
            ),
            ("role `a` may not read `b`", "role `a` may not read `c`"),
        ];
        for (one, other) in same {
            assert_eq!(without_names(one), without_names(other));
        }
        assert_ne!(without_names("a view"), without_names("a table"));
    }

    #[test]
    fn many_of_a_kind_are_one_group_and_few_stay_apart() {
        let key = |table: &str| Finding::ok(Hop::Table, table, format!("key: {table}_id"));
        let mut all: Vec<Finding> = ["a", "b", "c", "d"].map(key).into();
        all.insert(1, Finding::warning(Hop::Table, "a", "an unlogged table"));
        let all: Vec<&Finding> = all.iter().collect();
        let counts = |groups: Vec<Group<'_>>| groups.iter().map(Group::count).collect::<Vec<_>>();
        assert_eq!(counts(by_kind(&all)), [4, 1]);
        assert_eq!(counts(by_kind(&all[..4])), [1, 1, 1, 1]);
        assert_eq!(counts(apart(&all)), [1; 5]);
    }

    #[test]
    fn causes_of_errors_stay_apart() {
        let failed = |cause| Finding::error(Hop::Postgres, "s", format!("failed: {cause}"));
        assert_ne!(
            Shape::of(&failed("no route")),
            Shape::of(&failed("refused"))
        );
    }
}
