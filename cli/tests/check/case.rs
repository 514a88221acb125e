//! One test's own database, folder and configuration, and what `inlet check` reports about them.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use inlet_harness::{
    Database, Finished, Folder, Inlet, PASSWORD, USER, eventually, shared_database,
};
use serde_json::Value;

pub const INLET: &str = env!("CARGO_BIN_EXE_inlet");
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The rows are here.
pub const DOCS: &str = include_str!("../../../docs/check.md");

pub struct Case {
    pub folder: Folder,
    pub database: Database,
    /// What differs from run to run, and what the documentation shows in its place.
    pub shown: Vec<(String, &'static str)>,
    postgres: String,
    rest: String,
    /// Keys that fixes have set, laid over the configuration.
    keys: Vec<String>,
    /// More options of the check.
    options: Vec<&'static str>,
}

impl Case {
    /// A table `orders` as it should be, and a configuration that fits it, without a broker.
    pub async fn new() -> Self {
        let database = shared_database().await;
        let schema = "CREATE TABLE orders (order_id serial PRIMARY KEY, customer text, amount \
            numeric(10,2), created_at timestamptz NOT NULL DEFAULT now());
                      CREATE INDEX ON orders (created_at); INSERT INTO orders (customer, amount) \
            VALUES ('Ada', 1), ('Ada', 2);";
        database.sql(schema).await.unwrap();
        Self::over(database)
    }

    /// A configuration over a database that exists.
    pub fn over(database: Database) -> Self {
        let folder = Folder::new("check").unwrap();
        let postgres = format!("  url: {}\n  table: orders\n", database.url());
        let rest = format!(
            "datalake:\n  path: {}\nstreaming:\n  flush_interval: 100ms\n",
            folder.join("lake").display()
        );
        let mut case = Self {
            folder,
            database,
            shown: Vec::new(),
            postgres,
            rest,
            keys: Vec::new(),
            options: Vec::new(),
        };
        case.show(case.folder.display().to_string(), "/data");
        case.show(port(case.database.url()), "127.0.0.1:5432");
        case.show(case.database.name().to_owned(), "shop");
        case
    }

    /// A second table, `items`, as it should be.
    pub async fn items(&self) {
        let schema = "CREATE TABLE items (id int PRIMARY KEY, created_at timestamptz NOT NULL); \
            CREATE INDEX ON items (created_at)";
        self.database.sql(schema).await.unwrap();
    }

    pub fn show(&mut self, found: impl Into<String>, shown: &'static str) {
        self.shown.push((found.into(), shown));
    }

    /// The same with other words under `postgres:`.
    pub fn replace(&mut self, from: &str, to: &str) -> &mut Self {
        assert!(self.postgres.contains(from), "{}", self.postgres);
        self.postgres = self.postgres.replace(from, to);
        self
    }

    /// The same with more at the end.
    pub fn add(&mut self, rest: &str) -> &mut Self {
        self.rest.push_str(rest);
        self
    }

    /// The same with other words after `postgres:`.
    pub fn replace_rest(&mut self, from: &str, to: &str) {
        assert!(self.rest.contains(from), "{}", self.rest);
        self.rest = self.rest.replace(from, to);
    }

    /// The same with another name in every place.
    pub fn rename(&mut self, from: &str, to: &str) {
        assert!(self.postgres.contains(from) || self.rest.contains(from));
        self.postgres = self.postgres.replace(from, to);
        self.rest = self.rest.replace(from, to);
    }

    /// The same without some words.
    pub fn forget(&mut self, words: &str) {
        assert!(self.rest.contains(words), "{}", self.rest);
        self.rest = self.rest.replace(words, "");
    }

    /// The same as another role, which may log in and nothing else.
    pub async fn as_role(&mut self) -> String {
        let role = format!("reader_{}", self.database.name());
        self.database
            .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
            .await
            .unwrap();
        self.replace(&format!("{USER}:{PASSWORD}@"), &format!("{role}:secret@"));
        self.shown.insert(0, (role.clone(), "reader"));
        role
    }

    pub fn config(&self) -> String {
        let path = self.folder.join("inlet.yml");
        fs::write(&path, format!("postgres:\n{}{}", self.postgres, self.rest)).unwrap();
        path.display().to_string()
    }

    pub async fn run(&self, more: &[&str], env: &[(&str, &str)]) -> Finished {
        let config = self.config();
        let mut arguments = vec!["check", "--json", "--config", &config];
        let overlays = self.overlays();
        arguments.extend(overlays.iter().flat_map(|path| ["--config", path]));
        arguments.extend(self.options.iter().chain(more));
        Inlet::run(INLET, &arguments, env).await.unwrap()
    }

    /// Options of every check of this case.
    pub fn options(&mut self, options: &[&'static str]) {
        self.options.extend_from_slice(options);
    }

    /// Sets a key of the configuration, as in `tables.orders.cursor: created_at`.
    pub fn set(&mut self, key: &str) {
        self.keys.push(key.to_owned());
    }

    fn overlays(&self) -> Vec<String> {
        let write = |(at, key): (usize, &String)| {
            let path = self.folder.join(format!("fix{at}.yml"));
            fs::write(&path, nested(key)).unwrap();
            path.display().to_string()
        };
        self.keys.iter().enumerate().map(write).collect()
    }

    pub async fn check(&self) -> Checked<'_> {
        self.check_with(&[], &[]).await
    }

    pub async fn check_with(&self, more: &[&str], env: &[(&str, &str)]) -> Checked<'_> {
        let finished = self.run(more, env).await;
        let json: Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        let failed = json["errors"].as_u64().unwrap() > 0;
        assert_eq!(finished.code, i32::from(failed), "{finished:?}");
        Checked {
            case: self,
            findings: json["findings"].as_array().unwrap().clone(),
        }
    }

    /// Runs `inlet run` or another service until something is true, then ends it.
    pub async fn service(
        &self,
        verb: &str,
        what: &str,
        until: impl AsyncFn(&Inlet) -> anyhow::Result<bool>,
    ) {
        let mut inlet = Inlet::start(INLET, &[verb, "--config", &self.config()], &[]).unwrap();
        eventually(PATIENCE, what, async || until(&inlet).await).await;
        inlet.terminate().unwrap();
        inlet.wait_exit(Duration::from_secs(20)).await.unwrap();
    }

    /// The rows are in the lake.
    pub async fn load(&self) {
        self.service("run", "rows are committed", async |inlet| {
            Ok(inlet.stderr()?.contains("batch committed"))
        })
        .await;
    }

    fn shown(&self, text: &str) -> String {
        self.shown
            .iter()
            .fold(text.to_owned(), |text, (found, shown)| {
                text.replace(found, shown)
            })
    }
}

/// What `inlet check` found.
pub struct Checked<'a> {
    case: &'a Case,
    pub findings: Vec<Value>,
}

impl Checked<'_> {
    /// What stops or warns.
    pub fn problems(&self) -> Vec<&Value> {
        let is_bad =
            |finding: &&Value| finding["severity"] == "error" || finding["severity"] == "warning";
        self.findings.iter().filter(is_bad).collect()
    }

    pub fn complaints(&self) -> Vec<String> {
        let problems = self.problems().into_iter();
        problems.map(|finding| format!("{finding}")).collect()
    }

    /// The planted mistake is named with this severity, for this object, with these words in what
    /// fixes it, as docs/check.md shows it.
    pub fn names(&self, planted: &str, severity: &str, object: &str, fix: &str) -> &Value {
        self.names_with(planted, severity, object, fix, &[])
    }

    /// The same, where times and ids stand between two marks: (before, behind, shown).
    pub fn names_with(
        &self,
        planted: &str,
        severity: &str,
        object: &str,
        fix: &str,
        masks: &[(&str, &str, &str)],
    ) -> &Value {
        let field = |finding: &Value, name: &str| {
            let text = self.case.shown(finding[name].as_str().unwrap_or_default());
            masks.iter().fold(text, |text, (before, behind, shown)| {
                mask(&text, before, behind, shown)
            })
        };
        let found = self.findings.iter().find(|finding| {
            finding["severity"] == severity
                && field(finding, "object") == object
                && field(finding, "fix").contains(fix)
        });
        let found = found.unwrap_or_else(|| {
            panic!(
                "{severity} of {object} with {fix} is missing in {:#?}",
                self.findings
            )
        });
        let cell = |name: &str| field(found, name).replace('|', "\\|").replace('\n', "<br>");
        let evidence = cell("evidence");
        let row = format!(
            "| {planted} | {severity} | {object} | {evidence} | {} |",
            cell("fix")
        );
        match std::env::var_os("INLET_CHECK_ROWS") {
            Some(rows) => {
                let hop = found["hop"].as_str().unwrap();
                File::options()
                    .create(true)
                    .append(true)
                    .open(rows)
                    .unwrap()
                    .write_all(format!("{hop}\t{row}\n").as_bytes())
                    .unwrap();
            }
            None => assert!(
                DOCS.lines().any(|line| line == row),
                "docs/check.md has no row\n{row}"
            ),
        }
        found
    }
}

/// `a.b.c: value` as YAML. A table's name may hold dots: `tables.sales.orders.key` is a key of
/// `sales.orders`.
fn nested(key: &str) -> String {
    let (path, value) = key.split_once(": ").unwrap();
    let parts: Vec<&str> = match path.strip_prefix("tables.") {
        Some(rest) => {
            let (table, last) = rest.rsplit_once('.').unwrap();
            vec!["tables", table, last]
        }
        None => path.split('.').collect(),
    };
    let lines = parts.iter().enumerate();
    let lines = lines.map(|(depth, part)| format!("{}'{part}':", "  ".repeat(depth)));
    format!("{} {value}\n", lines.collect::<Vec<_>>().join("\n"))
}

fn mask(text: &str, before: &str, behind: &str, shown: &str) -> String {
    let Some((head, rest)) = text.split_once(before) else {
        return text.to_owned();
    };
    let end = if behind.is_empty() {
        Some(rest.len())
    } else {
        rest.find(behind)
    };
    end.map_or_else(
        || text.to_owned(),
        |end| format!("{head}{before}{shown}{}", &rest[end..]),
    )
}

/// `host:port` of a URL.
pub fn port(url: &str) -> String {
    url.split('@')
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap()
        .to_owned()
}
