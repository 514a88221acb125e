//! Every page: which commands run, where they find their servers, and which cannot run here.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use inlet_service::config::Config;

use crate::page::{Block, blocks, shows, unfenced_commands};
use crate::schema::root;
use crate::session::{World, read};

/// Commands that nothing here runs: how their lines begin, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("make ", "the CI runs it itself: .ci/run"),
    ("docker ", "no machine of the checks has a container engine"),
    (
        "POSTGRES_WAL_LEVEL=logical docker ",
        "no machine of the checks has a container engine",
    ),
    ("curl ", "it speaks with a container of the Compose file"),
    ("install ", "it writes to the machine's own folders"),
    ("useradd ", "it makes a user of the machine"),
    ("systemctl ", "no machine of the checks is run by systemd"),
    ("kill -HUP ", "cli/tests/services/reload.rs sends it"),
    (
        "inlet tail ",
        "it ends with Ctrl-C: cli/tests/services/tail.rs runs it",
    ),
];

/// The table of the pages that create none.
const SHOP: &str = "CREATE ROLE me LOGIN PASSWORD 'inlet_test';
GRANT pg_read_all_stats TO me;
CREATE TABLE orders (order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, \
    amount numeric(10,2) NOT NULL,
                     created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON orders (created_at);
GRANT SELECT ON orders TO me;
GRANT CREATE ON SCHEMA public TO me;
INSERT INTO orders (customer, amount) VALUES ('Ada', 12.50), ('Grace', 8.00);";

fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    let mut pages: Vec<String> = docs.filter(|name| name.ends_with(".md")).collect();
    pages.extend(
        [
            "README.md",
            "CONTRIBUTING.md",
            "ARCHITECTURE.md",
            "dev/scenarios/orders/README.md",
        ]
        .map(str::to_owned),
    );
    pages
}

/// The commands of a page that run, in order.
fn commands(all: &[Block]) -> Vec<&Block> {
    all.iter()
        .filter(|block| block.language == "sh" && !is_left_out(block))
        .collect()
}

/// True where every line begins as one of [`NOT_RUN`], or is a remark.
fn is_left_out(block: &Block) -> bool {
    let mut lines = block
        .text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#') && !line.starts_with(' '));
    lines.all(|line| NOT_RUN.iter().any(|(begin, _)| line.starts_with(begin)))
}

/// Runs a page's commands, and compares their output with the block after them.
async fn holds(name: &str, world: &World) {
    let all = blocks(&read(&root().join(name)));
    let commands = commands(&all);
    assert!(!commands.is_empty(), "{name} has no commands to run");
    let written = world.run(&commands).await;
    for (block, written) in commands.iter().zip(&written) {
        let behind = all
            .iter()
            .skip_while(|other| other.line <= block.line)
            .take(1)
            .find(|other| other.language == "text");
        if let Some(shown) = behind {
            assert!(
                shows(&shown.text, &written.stdout),
                "{name}:{}: the page shows\n{}\nand the command wrote\n{}\n{}",
                shown.line,
                shown.text,
                written.stdout,
                written.stderr
            );
        }
    }
}

async fn shop(needs_kafka: bool) -> World {
    let world = World::new(needs_kafka).await;
    world.sql("postgres", "CREATE DATABASE shop").await;
    world.sql("shop", SHOP).await;
    world
}

/// The configuration of which the pages of the reference speak.
const INLET_YML: &str = "postgres:
  url: postgres://me@localhost:5432/shop
  password: ${PGPASSWORD}
  table: orders
datalake:
  path: ./datalake
";

/// The pages whose commands run, each by a test below.
const RUN: &[&str] = &[
    "README.md",
    "docs/quickstart.md",
    "docs/configuration.md",
    "docs/check.md",
    "docs/operations.md",
    "docs/compaction.md",
    "docs/lake.md",
    "docs/retention.md",
    "docs/comparison.md",
    "docs/formats.md",
    "docs/exports.md",
    "dev/scenarios/orders/README.md",
];

#[tokio::test]
async fn the_quick_start_holds() {
    holds("docs/quickstart.md", &World::new(true).await).await;
}

#[tokio::test]
async fn the_readme_holds() {
    holds("README.md", &shop(false).await).await;
}

#[tokio::test]
async fn the_pages_of_the_reference_hold() {
    let world = shop(false).await;
    for name in [
        "docs/configuration.md",
        "docs/check.md",
        "docs/operations.md",
        "docs/compaction.md",
        "docs/lake.md",
        "docs/retention.md",
    ] {
        world.put("inlet.yml", &world.here(INLET_YML));
        holds(name, &world).await;
    }
}

#[tokio::test]
async fn the_scenario_holds() {
    let world = World::new(false).await;
    world.link("configs");
    world.link("dev");
    holds("dev/scenarios/orders/README.md", &world).await;
}

/// Starts a service, and waits for its first commit.
const FILL: &str = "inlet run --config inlet.yml &
until find datalake -name '*.parquet' | grep -q .; do sleep 0.2; done
";

#[tokio::test]
async fn the_exports_hold() {
    let world = shop(false).await;
    let config = format!("{INLET_YML}  exports: [ducklake, delta]\n");
    world.put("inlet.yml", &world.here(&config));
    world.run(&[&fill()]).await;
    holds("docs/exports.md", &world).await;
}

#[tokio::test]
async fn the_formats_hold() {
    let world = shop(true).await;
    let page = blocks(&read(&root().join("docs/formats.md")));
    let config = page.iter().find(|block| block.language == "yaml").unwrap();
    world.put("inlet.yml", &world.here(&config.text));
    world.run(&[&fill()]).await;
    holds("docs/formats.md", &world).await;
}

fn fill() -> Block {
    Block {
        language: "sh".to_owned(),
        line: 0,
        text: FILL.to_owned(),
    }
}

#[tokio::test]
async fn the_comparison_holds() {
    holds("docs/comparison.md", &shop(true).await).await;
}

/// The text of every source below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &read(&path);
        }
    }
    text
}

#[test]
fn every_test_that_shows_a_promise_exists() {
    let page = read(&root().join("docs/guarantees.md"));
    let (_, section) = page
        .split_once("## What is promised, and which test shows it\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let folders = ["cli", "consumer", "crates", "dev/harness", "producer"];
    let all: String = folders
        .iter()
        .map(|folder| sources(&root().join(folder)))
        .collect();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let mut count = 0;
    for tests in rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next()) {
        for name in tests.split('`').skip(1).step_by(2) {
            count += 1;
            assert!(
                all.contains(&format!("fn {name}(")),
                "no test is called {name}"
            );
        }
    }
    assert!(count > 30, "{count} tests");
}

#[test]
fn every_command_is_run_or_marked_as_not_run() {
    let mut used = BTreeSet::new();
    for name in pages() {
        let text = read(&root().join(&name));
        let unfenced = unfenced_commands(&text);
        assert!(
            unfenced.is_empty(),
            "{name} shows commands that nothing runs; begin their block with ```sh: {unfenced:?}"
        );
        let all = blocks(&text);
        for block in &all {
            let known = ["sh", "text", "yaml", "sql", "json"].contains(&block.language.as_str());
            assert!(
                known,
                "{name}:{}: a block of `{}`: say what it is",
                block.line, block.language
            );
            used.extend(
                NOT_RUN
                    .iter()
                    .map(|(begin, _)| *begin)
                    .filter(|begin| block.text.lines().any(|line| line.starts_with(begin))),
            );
        }
        let run = commands(&all);
        assert!(
            run.is_empty() || RUN.contains(&name.as_str()),
            "{name}:{}: nothing runs this block; add the page to RUN, or its commands to NOT_RUN \
                with the reason",
            run[0].line
        );
    }
    let unused: Vec<_> = NOT_RUN
        .iter()
        .filter(|(begin, _)| !used.contains(begin))
        .collect();
    assert!(
        unused.is_empty(),
        "no page has such a command any more: {unused:?}"
    );
}

#[test]
fn every_configuration_of_a_page_is_valid() {
    let environment = HashMap::from([("PGPASSWORD".to_owned(), "x".to_owned())]);
    for name in pages() {
        for block in blocks(&read(&root().join(&name)))
            .iter()
            .filter(|block| block.language == "yaml")
        {
            let place = format!("{name}:{}", block.line);
            Config::from_texts(&[(&place, &block.text)], &environment)
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for name in pages() {
        let text = read(&root().join(&name));
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .filter(|link| !link.contains("://"))
        {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = root().join(&name).parent().unwrap().join(file);
            let target = if file.is_empty() {
                root().join(&name)
            } else {
                target
            };
            assert!(target.exists(), "{name} links to `{link}`");
            assert!(
                anchor.is_empty() || has_heading(&target, anchor),
                "{name} links to `{link}`, which has no such heading"
            );
        }
    }
}

/// A heading becomes an anchor: lower case, blanks as `-`, the rest of the signs left out.
fn has_heading(page: &Path, anchor: &str) -> bool {
    let text = read(page);
    let mut headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase());
    headings.any(|heading| {
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c })
            .collect::<String>()
            == anchor
    })
}
