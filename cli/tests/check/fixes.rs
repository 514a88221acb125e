//! Fixes, applied word for word: afterwards the check has no complaint.
//!
//! A fix is a statement for `psql`, a command for a shell, a key of the configuration with its
//! value, or a name to write instead of another one; a line that starts with `or` begins another
//! way. Where only the user knows the value, as of a password, the fix names the key, and the test
//! sets it.

use inlet_harness::{Inlet, Kafka};
use serde_json::Value;

use crate::case::Case;

/// Following the fixes leads to an end; some fixes uncover another problem.
const ROUNDS_MAX: usize = 4;
const STATEMENTS: [&str; 8] = [
    "ALTER", "ANALYZE", "COMMIT", "CREATE", "DROP", "GRANT", "REINDEX", "SELECT",
];
const COMMANDS: [&str; 6] = ["chmod", "kafka-", "mkdir", "mv", "cp", "rm"];
const SECTIONS: [&str; 5] = ["datalake.", "kafka.", "postgres.", "streaming.", "tables."];

impl Case {
    /// The check names the mistake as docs/check.md shows it, and its fix works.
    pub async fn fixed(&mut self, planted: &str, severity: &str, object: &str, fix: &str) {
        self.fixed_with(planted, severity, object, fix, &[]).await;
    }

    /// The same, where times and ids stand between two marks.
    pub async fn fixed_with(
        &mut self,
        planted: &str,
        severity: &str,
        object: &str,
        fix: &str,
        masks: &[(&str, &str, &str)],
    ) {
        let found = self.check().await;
        let found = found.names_with(planted, severity, object, fix, masks);
        let fix = text_of(found, "fix");
        self.apply(&fix).await;
        self.follow_fixes().await;
    }

    /// The check names the key, and with the value that only the user knows all is well.
    pub async fn fixed_by(
        &mut self,
        planted: &str,
        severity: &str,
        object: &str,
        fix: &str,
        by_user: impl FnOnce(&mut Self),
    ) {
        self.check().await.names(planted, severity, object, fix);
        by_user(self);
        self.follow_fixes().await;
    }

    /// Applies the fixes of what is left, until there is no complaint.
    async fn follow_fixes(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let checked = self.check().await;
            let complaints = checked.problems();
            if complaints.is_empty() {
                return;
            }
            let fixes: Vec<String> = complaints
                .iter()
                .map(|found| text_of(found, "fix"))
                .collect();
            for fix in fixes {
                self.apply(&fix).await;
            }
        }
        let left = self.check().await.complaints();
        assert_eq!(left, [""; 0], "the fixes do not end it");
    }

    /// Does what a fix states.
    pub async fn apply(&mut self, fix: &str) {
        let lines: Vec<&str> = fix
            .lines()
            .take_while(|line| !line.starts_with("or "))
            .collect();
        let is = |marks: &[&str]| marks.iter().any(|mark| lines[0].starts_with(mark));
        if is(&STATEMENTS) {
            self.database.psql(&lines.join("\n")).await.unwrap();
        } else if is(&COMMANDS) {
            self.shell(&lines.join("\n")).await;
        } else if is(&SECTIONS) && lines[0].contains(": ") {
            lines.iter().for_each(|line| self.set(line));
        } else if let Some((new, old)) = replacement(lines[0]) {
            self.rename(old, new);
        } else {
            panic!("this fix cannot be applied as it is: {fix}");
        }
    }

    pub async fn shell(&self, script: &str) {
        Kafka::write_tools(&self.folder).unwrap();
        let path = format!(
            "{}:{}",
            self.folder.display(),
            std::env::var("PATH").unwrap()
        );
        let finished = Inlet::run("/bin/sh", &["-ec", script], &[("PATH", &path)])
            .await
            .unwrap();
        assert_eq!(finished.code, 0, "{script}: {finished:?}");
    }
}

fn text_of(finding: &Value, field: &str) -> String {
    finding[field].as_str().unwrap_or_default().to_owned()
}

/// The names in ``write `new` instead of `old` ``.
fn replacement(line: &str) -> Option<(&str, &str)> {
    let (new, rest) = line.strip_prefix("write `")?.split_once("` instead of `")?;
    Some((new, rest.split_once('`')?.0))
}
