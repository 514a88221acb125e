//! The shipped files of the orders scenario, with this machine's hosts and paths in the
//! configuration.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The table and its first rows.
pub const SCHEMA: &str = include_str!("../../../dev/scenarios/orders/schema.sql");
const QUERIES: &str = include_str!("../../../dev/scenarios/orders/queries.sql");
const RULES: &str = include_str!("../../../dev/scenarios/orders/rules.yml");
const STREAM: &str = include_str!("../../../configs/orders_stream.yml");

/// The configuration's topic here.
pub const TOPIC: &str = "food_orders_raw";
pub const DATABASE: &str = "food_delivery_db";
/// Creates the configuration's role with the rights that it needs.
pub const ROLE: &str = "CREATE ROLE student LOGIN PASSWORD 'student123';
GRANT pg_read_all_stats TO student;
GRANT SELECT ON orders TO student;";
/// Where the lake is, below the demo's folder.
const LAKE: &str = "datalake/food/output/orders";
/// The lake in the shipped queries.
const SHIPPED_GLOB: &str = "datalake/**/*.parquet";

/// One of the shipped queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub title: String,
    /// The statement, without its semicolon.
    pub sql: String,
}

/// The configuration files and the lake in the demo's folder.
pub struct Scenario {
    folder: PathBuf,
    /// The configuration file, with this machine's servers and paths.
    pub stream: String,
}

impl Scenario {
    /// Writes the configuration; without a broker it has no `kafka:` section.
    pub fn write(folder: &Path, postgres_port: u16, brokers: Option<&str>) -> Result<Self> {
        let stream = stream(folder, postgres_port, brokers)?;
        fs::write(folder.join("orders_stream.yml"), &stream)?;
        fs::write(folder.join("rules.yml"), RULES)?;
        Ok(Self {
            folder: folder.to_owned(),
            stream,
        })
    }

    /// The arguments of a verb, as a person would type them in the folder; the producer needs no
    /// rules.
    pub fn typed(verb: &str) -> Vec<&str> {
        let rules: &[&str] = if verb == "producer" {
            &[]
        } else {
            &["--config", "rules.yml"]
        };
        [verb, "--config", "orders_stream.yml"]
            .iter()
            .chain(rules)
            .copied()
            .collect()
    }

    /// The same with absolute paths.
    pub fn arguments(&self, verb: &str) -> Vec<String> {
        let absolute = |word: &str| {
            if word.ends_with(".yml") {
                self.folder.join(word).display().to_string()
            } else {
                word.to_owned()
            }
        };
        Self::typed(verb).into_iter().map(absolute).collect()
    }

    pub fn lake(&self) -> PathBuf {
        self.folder.join(LAKE)
    }

    /// Returns the quarantine's files as an SQL string.
    pub fn quarantine(&self) -> String {
        quoted(self.lake().join("_quarantine/*.jsonl"))
    }

    /// Returns the statements that create the views, and the questions about them.
    pub fn queries(&self) -> (String, Vec<Question>) {
        let sql = QUERIES.replace(
            &format!("'{SHIPPED_GLOB}'"),
            &quoted(self.lake().join("**/*.parquet")),
        );
        let (mut views, mut questions) = (String::new(), Vec::new());
        for statement in sql.split(';') {
            let title = statement
                .lines()
                .rfind(|line| line.starts_with("-- "))
                .unwrap_or_default();
            let code: Vec<&str> = statement
                .lines()
                .filter(|line| !line.starts_with("--") && !line.trim().is_empty())
                .collect();
            match code.join("\n") {
                code if code.is_empty() => {}
                code if code.starts_with("CREATE") => views.push_str(&format!("{code};\n")),
                code => questions.push(Question {
                    title: title.trim_start_matches("-- ").to_owned(),
                    sql: code,
                }),
            }
        }
        (views, questions)
    }
}

/// The rules as one condition in SQL; like a rule, and unlike `WHERE` alone, it lets null pass.
pub fn keeps_the_rules() -> String {
    let rules = RULES
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- "));
    rules
        .map(|rule| format!("({rule}) IS NOT FALSE"))
        .collect::<Vec<_>>()
        .join(" AND ")
}

fn quoted(path: PathBuf) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

fn stream(folder: &Path, postgres_port: u16, brokers: Option<&str>) -> Result<String> {
    let replacements = [
        ("postgres:5432/", format!("127.0.0.1:{postgres_port}/")),
        ("host: \"postgres\"", "host: \"127.0.0.1\"".to_owned()),
        ("port: 5432", format!("port: {postgres_port}")),
        ("ROLL001_orders", "orders".to_owned()),
        ("kafka:29092", brokers.unwrap_or_default().to_owned()),
        ("ROLL001_food_orders_raw", TOPIC.to_owned()),
        (
            "/opt/spark-apps/datalake/food/ROLL001",
            folder.join("datalake/food").display().to_string(),
        ),
        ("batch_interval: 5", "batch_interval: 200ms".to_owned()),
    ];
    let mut text = STREAM.to_owned();
    for (shipped, here) in replacements {
        ensure!(
            text.contains(shipped),
            "configs/orders_stream.yml does not hold `{shipped}`"
        );
        text = text.replace(shipped, &here);
    }
    if brokers.is_some() {
        return Ok(text);
    }
    let (before, section) = text
        .split_once("kafka:\n")
        .context("the configuration has a section `kafka:`")?;
    let (_, after) = section
        .split_once("\n\n")
        .context("an empty line ends a section")?;
    Ok(format!("{before}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_is_turned_to_this_machine() {
        let text = stream(Path::new("/tmp/demo"), 5000, Some("127.0.0.1:9000")).unwrap();
        for shipped in ["5432", "29092", "ROLL001", "/opt"] {
            assert!(!text.contains(shipped), "{text}");
        }
        assert!(
            text.contains("path: \"/tmp/demo/datalake/food/output/orders\""),
            "{text}"
        );
        let sections = |text: &str| {
            text.lines()
                .filter(|line| line.ends_with(':'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(sections(&text), sections(STREAM));
        assert_eq!(
            sections(&stream(Path::new("/tmp/demo"), 5000, None).unwrap()),
            ["postgres:", "datalake:", "streaming:"]
        );
    }

    #[test]
    fn the_shipped_queries_are_views_and_four_questions() {
        let (views, questions) = Scenario {
            folder: PathBuf::from("/tmp/it's"),
            stream: String::new(),
        }
        .queries();
        assert!(
            views.contains("'/tmp/it''s/datalake/food/output/orders/**/*.parquet'"),
            "{views}"
        );
        let titles: Vec<_> = questions
            .iter()
            .map(|question| question.title.as_str())
            .collect();
        assert_eq!(
            titles,
            ["Total", "By date", "Duplicates", "Negative amounts"]
        );
        assert!(
            questions
                .iter()
                .all(|question| question.sql.starts_with("SELECT"))
        );
    }

    #[test]
    fn the_rules_are_a_condition_in_sql() {
        assert!(keeps_the_rules().starts_with(
            "(order_id is not null) IS NOT FALSE AND (amount >= 0) IS NOT FALSE AND ("
        ));
    }
}
