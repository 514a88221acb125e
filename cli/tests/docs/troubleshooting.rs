//! docs/troubleshooting.md: each message is provoked and compared, or, where that would take a
//! broken disk or broker, found in the source.

use std::fs;
use std::path::{Path, PathBuf};

use inlet_harness::{
    Database, Finished, Folder, Inlet, Kafka, PASSWORD, Port, USER, eventually, shared_database,
};

use inlet_service::error::Section;

use crate::page::{blocks, shows};
use crate::schema::root;
use crate::session::{PATIENCE, read};

const INLET: &str = env!("CARGO_BIN_EXE_inlet");

/// Headings whose messages are not provoked here, and words of each message in the sources.
const IN_THE_SOURCE: &[(&str, &str)] = &[
    (
        "Another program answers at PostgreSQL's address",
        "what answers there is not PostgreSQL",
    ),
    (
        "Another program answers at the broker's address",
        "is no broker, or one that expects TLS",
    ),
    ("The topic may not be created", "was not created"),
    (
        "Rows left the topic before they reached the lake",
        "rows have left the topic before they reached the lake",
    ),
    (
        "The topic was deleted and created again",
        "the topic was deleted and created again, or lost its end",
    ),
    (
        "The lake's folder is not writable",
        "of the lake is not writable",
    ),
    ("The lake is missing", "has no rows of topic"),
    ("No space is left", "no space is left for"),
    (
        "The log of the lake is damaged",
        "of the lake's log is corrupt",
    ),
    (
        "The file system has no hard links or no file locks",
        ", which a commit needs",
    ),
    (
        "The server is a hot standby",
        "is a hot standby: it does not know what is open on its primary",
    ),
    (
        "DuckDB is not installed",
        "is not installed; with it, this is the line to type",
    ),
    (
        "The broker did not end a transaction",
        "the broker did not end a transaction",
    ),
];

/// A table, a configuration that fits it, and what was compared so far.
struct Case {
    folder: Folder,
    database: Database,
    page: String,
    provoked: Vec<&'static str>,
    differences: Vec<String>,
}

impl Case {
    async fn new() -> Self {
        let database = shared_database().await;
        let schema = "CREATE TABLE orders (order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY \
            KEY, amount numeric(10,2) NOT NULL,
                          created_at timestamptz NOT NULL DEFAULT now(), paid_at timestamptz);
                      CREATE INDEX ON orders (created_at); CREATE INDEX ON orders (paid_at);
                      INSERT INTO orders (amount) VALUES (12.50), (8.00);";
        database.sql(schema).await.unwrap();
        let page = read(&root().join("docs/troubleshooting.md"));
        Self {
            folder: Folder::new("troubles").unwrap(),
            database,
            page,
            provoked: Vec::new(),
            differences: Vec::new(),
        }
    }

    /// A configuration of the table, with a lake of this name.
    fn right(&self, lake: &str) -> String {
        let lake = self.folder.join(lake);
        format!(
            "postgres:\n  url: {}\n  table: orders\ndatalake:\n  path: {}\nstreaming:\n  \
                flush_interval: 100ms\n",
            self.database.url(),
            lake.display()
        )
    }

    /// Runs a verb with this text as its configuration, which the arguments call `FILE`.
    async fn run(&self, arguments: &str, text: &str) -> Finished {
        let path = self.file(text);
        let arguments: Vec<&str> = arguments
            .split(' ')
            .map(|word| if word == "FILE" { path.as_str() } else { word })
            .collect();
        Inlet::run(INLET, &arguments, &[]).await.unwrap()
    }

    fn file(&self, text: &str) -> String {
        let path = self.folder.join("inlet.yml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Starts a service, and waits until it has committed something.
    async fn start(&self, verb: &str, text: &str) -> Inlet {
        let inlet = Inlet::start(INLET, &[verb, "--config", &self.file(text)], &[]).unwrap();
        let begun = async || {
            Ok([
                "batch committed",
                "the initial load begins",
                "progress found",
            ]
            .iter()
            .any(|word| inlet.stderr().unwrap().contains(word)))
        };
        eventually(PATIENCE, "the service works", begun).await;
        inlet
    }

    /// What a service wrote when it ended by itself.
    async fn end(&self, mut inlet: Inlet) -> Finished {
        let code = inlet.wait_exit(PATIENCE).await.unwrap().code().unwrap();
        Finished {
            code,
            stdout: inlet.stdout().unwrap(),
            stderr: inlet.stderr().unwrap(),
        }
    }

    /// Compares what was written with the page: the error, or what stood on stdout where there is
    /// none. Where the error leads to a section, that is this one.
    fn shows(&mut self, heading: &'static str, finished: &Finished, code: i32) {
        self.provoked.push(heading);
        let (more, error): (Vec<_>, Vec<_>) = finished
            .stderr
            .lines()
            .skip_while(|line| !line.starts_with("error: "))
            .partition(|line| line.starts_with("  more: "));
        let has_section = |section: &&Section| section.heading() == heading;
        let section = Section::ALL.iter().find(has_section);
        if let Some(section) = section.filter(|_| !error.is_empty()) {
            assert_eq!(more, [format!("  more: {section}")], "{heading}");
        }
        let error: String = error.iter().map(|line| format!("{line}\n")).collect();
        let written = if error.is_empty() {
            finished.stdout.clone()
        } else {
            error
        };
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let written = written
            .replace(&format!("{}/", self.folder.display()), "")
            .replace(self.database.name(), "shop");
        let written = written
            .replace("inlet_shop", "inlet")
            .replace(USER, "inlet");
        let written = written.replace(&format!(" on {} since", host.trim()), " on db since");
        // What librdkafka counts differs from run to run.
        let written: String = written
            .lines()
            .map(|line| format!("{}\n", line.split(" (after ").next().unwrap()))
            .collect();
        let section = self
            .page
            .split("\n### ")
            .find_map(|section| section.strip_prefix(&format!("{heading}\n")));
        let shown = section.and_then(|section| {
            blocks(section)
                .into_iter()
                .find(|block| block.language == "text")
        });
        let is_shown = shown.is_some_and(|block| shows(&block.text, &written));
        let has_code =
            section.is_some_and(|section| section.contains(&format!("Exit code {code}.")));
        if !is_shown || !has_code || finished.code != code {
            self.differences.push(format!(
                "### {heading}\n\n```text\n{written}```\n\nExit code {}.\n",
                finished.code
            ));
        }
    }
}

#[tokio::test]
async fn every_message_of_the_page_is_printed() {
    let mut case = Case::new().await;
    configuration(&mut case).await;
    database(&mut case).await;
    lake(&mut case).await;
    broker(&mut case).await;
    others(&mut case).await;
    assert!(
        case.differences.is_empty(),
        "docs/troubleshooting.md does not show what is said:\n\n{}",
        case.differences.join("\n")
    );
    let listed: Vec<&str> = IN_THE_SOURCE.iter().map(|(heading, _)| *heading).collect();
    for section in case.page.split("\n### ").skip(1) {
        let heading = section.lines().next().unwrap();
        assert!(
            case.provoked.contains(&heading) || listed.contains(&heading),
            "nothing keeps the section `{heading}` true"
        );
    }
}

#[test]
fn every_section_that_an_error_leads_to_is_in_the_page() {
    let page = read(&root().join("docs/troubleshooting.md"));
    for section in Section::ALL {
        let heading = section.heading();
        let is_heading = |line: &str| line.trim_start_matches('#').trim() == heading;
        let found = page.lines().filter(|line| line.starts_with('#'));
        assert!(found.clone().any(is_heading), "the page has no `{heading}`");
    }
}

#[test]
fn every_message_that_is_not_provoked_is_in_the_source() {
    let page = read(&root().join("docs/troubleshooting.md"));
    let sources = all_sources();
    for (heading, words) in IN_THE_SOURCE {
        let section = page
            .split("\n### ")
            .find(|section| section.starts_with(&format!("{heading}\n")));
        let section = section.unwrap_or_else(|| panic!("the page has no section `{heading}`"));
        assert!(
            section.contains(words),
            "`{heading}` does not show `{words}`"
        );
        assert!(
            sources.iter().any(|text| text.contains(words)),
            "the sources lack `{words}`"
        );
    }
}

#[test]
fn every_warning_of_the_page_is_in_the_source() {
    let page = read(&root().join("docs/troubleshooting.md"));
    let table = page
        .split("| message |")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let sources = all_sources();
    let warnings: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert!(!warnings.is_empty());
    for warning in warnings {
        assert!(
            sources.iter().any(|text| text.contains(warning)),
            "the sources lack `{warning}`"
        );
    }
}

/// The text of every source file.
fn all_sources() -> Vec<String> {
    ["producer/src", "consumer/src", "crates", "cli/src"]
        .iter()
        .flat_map(|name| sources(&root().join(name)))
        .collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(joined(&read(&path)));
        }
    }
    texts
}

/// A source text with every string in one line: a long message is broken by a backslash.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut continues = false;
    for line in text.lines() {
        let line = if continues { line.trim_start() } else { line };
        continues = line.ends_with('\\');
        joined.push_str(line.strip_suffix('\\').unwrap_or(line));
        if !continues {
            joined.push('\n');
        }
    }
    joined
}

async fn configuration(case: &mut Case) {
    let text = "postgres:\n  url: postgres://me@localhost:5432/shop\n  tabel: orders\ndatalake: \
        ./lake\nstreaming:\n  flush_interval: 5\n";
    let finished = case.run("run --config FILE", text).await;
    case.shows("The configuration has problems", &finished, 78);
    let missing = case.folder.join("nothing.yml").display().to_string();
    let finished = Inlet::run(INLET, &["run", "--config", &missing], &[])
        .await
        .unwrap();
    case.shows("The configuration file cannot be read", &finished, 78);
    let properties = "kafka:\n  brokers: localhost:9092\n  properties:\n    acks: 1\n";
    let text = format!("{}{properties}", case.right("lake"));
    let finished = case.run("run --config FILE", &text).await;
    case.shows("A property of Kafka cannot be set", &finished, 78);
    let text = case.right("lake").replace(
        "  table",
        "  password: ${SHOP_PASSWORD:?the password of the role inlet}\n  table",
    );
    let finished = case.run("run --config FILE", &text).await;
    case.shows("A variable is not set", &finished, 78);
    let text = case
        .right("lake")
        .replace("  table", "  password: \"${SHOP_PASSWORD}\"\n  table");
    let finished = case.run("run --config FILE", &text).await;
    case.shows("A variable is in quotes", &finished, 78);
    let text = case
        .right("lake")
        .replace("  table", "  password_file: /run/secrets/shop\n  table");
    let finished = case.run("run --config FILE", &text).await;
    case.shows("A secret's file cannot be read", &finished, 78);
    let finished = case
        .run(
            "run --config FILE",
            &case.right("lake").replace("  table: orders\n", ""),
        )
        .await;
    case.shows("No table is named", &finished, 78);
    let finished = case
        .run("producer --config FILE", &case.right("lake"))
        .await;
    case.shows("A section is missing", &finished, 78);
}

async fn database(case: &mut Case) {
    let right = case.right("lake");
    let port = Port::claim().unwrap();
    let server = case
        .database
        .url()
        .split(['@', '/'])
        .nth(3)
        .unwrap()
        .to_owned();
    let finished = case
        .run(
            "run --config FILE",
            &right.replace(&server, &format!("127.0.0.1:{}", port.number())),
        )
        .await;
    case.shows("PostgreSQL does not answer", &finished, 1);
    let finished = case
        .run(
            "run --config FILE",
            &right.replace(&format!(":{PASSWORD}@"), ":wrong@"),
        )
        .await;
    case.shows("PostgreSQL refuses the password", &finished, 78);
    let finished = case
        .run(
            "run --config FILE",
            &right.replace(&format!("/{}\n", case.database.name()), "/shopx\n"),
        )
        .await;
    case.shows("The database does not exist", &finished, 78);
    let finished = case
        .run(
            "run --config FILE",
            &right.replace("table: orders", "table: ordres"),
        )
        .await;
    case.shows("The table does not exist", &finished, 78);
    let role = format!("inlet_{}", case.database.name());
    case.database
        .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
        .await
        .unwrap();
    let finished = case
        .run(
            "run --config FILE",
            &right.replace(&format!("{USER}:{PASSWORD}@"), &format!("{role}:secret@")),
        )
        .await;
    case.shows("The role may not read the table", &finished, 78);
    let finished = case
        .run(
            "run --config FILE",
            &format!("{right}tables:\n  orders:\n    cursor: order_id\n"),
        )
        .await;
    case.shows("The cursor is no timestamp", &finished, 78);
    let finished = case
        .run(
            "run --config FILE",
            &format!("{right}tables:\n  orders:\n    rules: [amount is positive]\n"),
        )
        .await;
    case.shows("A rule is not understood", &finished, 78);
}

async fn lake(case: &mut Case) {
    let right = case.right("filled");
    // The deleted row below must not leave the lake before it is shown.
    let ignoring = format!("{right}tables:\n  orders:\n    deletes: ignore\n");
    let mut inlet = case.start("run", &ignoring).await;
    let finished = case.run("verify --config FILE", &right).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    case.database
        .sql("INSERT INTO orders (amount) VALUES (3)")
        .await
        .unwrap();
    let is_followed = async || {
        Ok(case
            .run("status --config FILE --json", &right)
            .await
            .stdout
            .contains("\"phase\":\"tailing\""))
    };
    eventually(PATIENCE, "the table is followed by its cursor", is_followed).await;
    case.database
        .sql("DELETE FROM orders WHERE order_id = 2")
        .await
        .unwrap();
    let finished = case.run("verify --config FILE", &right).await;
    case.shows("The lake has a row that PostgreSQL lacks", &finished, 3);
    let again = "INSERT INTO orders OVERRIDING SYSTEM VALUE SELECT 2, 8, now()";
    case.database.sql(again).await.unwrap();
    let finished = case.run("verify --config FILE", &right).await;
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    inlet.terminate().unwrap();
    inlet.wait_exit(PATIENCE).await.unwrap();
    let file = data_file(&case.folder.join("filled"));
    let copy = file.with_file_name("copy.parquet");
    fs::copy(&file, &copy).unwrap();
    let finished = case.run("verify --config FILE", &right).await;
    let title = "A file of the lake is foreign, missing or damaged";
    case.shows(title, &finished, 3);
    fs::remove_file(copy).unwrap();
    case.database
        .sql(
            "CREATE TABLE items (item_id bigint PRIMARY KEY, created_at timestamptz); CREATE \
            INDEX ON items (created_at)",
        )
        .await
        .unwrap();
    let finished = case
        .run(
            "run --config FILE",
            &right.replace("table: orders", "table: items"),
        )
        .await;
    case.shows("The folder holds another table", &finished, 78);
    let elsewhere = shared_database().await;
    elsewhere
        .sql(
            "CREATE TABLE orders (order_id bigint PRIMARY KEY, created_at timestamptz); CREATE \
            INDEX ON orders (created_at)",
        )
        .await
        .unwrap();
    let mut finished = case
        .run(
            "run --config FILE",
            &right.replace(case.database.name(), elsewhere.name()),
        )
        .await;
    finished.stderr = finished.stderr.replace(elsewhere.name(), "billing");
    case.shows("The progress belongs to another database", &finished, 78);
    fs::write(case.folder.join("file"), "").unwrap();
    let finished = case
        .run("run --config FILE", &case.right("file/lake"))
        .await;
    case.shows("The lake's path is not a folder", &finished, 78);
    std::os::unix::fs::symlink("/mnt/disk", case.folder.join("link")).unwrap();
    let finished = case.run("run --config FILE", &case.right("link")).await;
    case.shows("The lake's path leads nowhere", &finished, 78);
}

/// The path of the first data file below a lake.
fn data_file(lake: &Path) -> PathBuf {
    let folders = fs::read_dir(lake)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_date = |path: &PathBuf| path.to_str().unwrap().contains("/date=");
    let date = folders.into_iter().find(is_date).unwrap();
    fs::read_dir(date).unwrap().next().unwrap().unwrap().path()
}

async fn broker(case: &mut Case) {
    let port = Port::claim().unwrap();
    let section = |address: &str| format!("kafka:\n  brokers: {address}\n  topic: shop\n");
    let text = format!(
        "{}{}",
        case.right("by-kafka"),
        section(&format!("127.0.0.1:{}", port.number()))
    );
    let finished = case.run("producer --config FILE", &text).await;
    case.shows("Kafka does not answer", &finished, 1);
    let kafka = Kafka::start().await.unwrap();
    let text = format!("{}{}", case.right("by-kafka"), section(&kafka.bootstrap()));
    let first = case.start("producer", &text).await;
    let mut second = case.start("producer", &text).await;
    // An idle producer has nothing to say to the broker, and does not hear that another one has its
    // place.
    case.database
        .sql("INSERT INTO orders (amount) VALUES (3)")
        .await
        .unwrap();
    let finished = case.end(first).await;
    case.shows("Another instance has taken over", &finished, 75);
    second.terminate().unwrap();
    second.wait_exit(PATIENCE).await.unwrap();
    let with_a_broker = format!("{}{}", case.right("filled"), section(&kafka.bootstrap()));
    let finished = case.run("consumer --config FILE", &with_a_broker).await;
    case.shows("The lake was written without a broker", &finished, 78);
    let mut consumer = case.start("consumer", &text).await;
    let finished = case.run("run --config FILE", &case.right("by-kafka")).await;
    case.shows("The lake was written by a consumer", &finished, 78);
    consumer.terminate().unwrap();
    consumer.wait_exit(PATIENCE).await.unwrap();
}

async fn others(case: &mut Case) {
    let right = case.right("filled");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let finished = case
        .run(
            &format!("run --config FILE --http {}", taken.local_addr().unwrap()),
            &right,
        )
        .await;
    case.shows("The HTTP address is taken", &finished, 78);
    let finished = case.run("run --confg FILE", &right).await;
    case.shows("The command line is wrong", &finished, 2);
    let finished = case.run("verify --config FILE items", &right).await;
    case.shows("The table is not in the configuration", &finished, 78);
    let finished = case.run("pause --config FILE ordrs", &right).await;
    case.shows("The table is not known", &finished, 78);
    let asked = "reload --config FILE orders --where stat>1";
    let finished = case.run(asked, &right).await;
    case.shows("The condition is refused", &finished, 78);
    let url = case.database.url().to_owned();
    let finished = case
        .run(&format!("init --url {url} --output FILE"), &right)
        .await;
    case.shows("The file exists already", &finished, 78);
}
