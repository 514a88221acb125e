//! docs/configuration.md and configs/inlet.schema.json are what the code says: both are rendered
//! from the declared keys, and compared with the files.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use inlet_service::config::{Absent, Form, Key, keys, schema};

const INTRODUCTION: &str = "\
# Configuration

One YAML file for every verb. Needed are a table, and the sections of the verb: `inlet run` reads `postgres` and `datalake` (and `kafka`, where there is a broker), `inlet producer`
`postgres` and `kafka`, `inlet consumer` `kafka` and `datalake`. A whole file with every key: [configs/reference.yml](../configs/reference.yml); the smallest:
[configs/quickstart.yml](../configs/quickstart.yml).

This page is rendered from `crates/service/src/config/raw.rs` by `crates/service/tests/configuration_page.rs`, which compares it; after a change of a key:
`UPDATE_DOCS=1 cargo test --release --workspace --test configuration_page`. Each default is tested to be what holds without the key.

## Rules

* **Several files**: with `--config a.yml --config b.yml` a later file adds to and overrides the earlier ones, key by key.
* **Variables**: `${VAR}` is the environment variable, `${VAR:-default}` has a default, `${VAR:?what to do}` an explanation for whoever forgot it. They are put in
  after parsing: no value can break the YAML. They stand without quotes, and not inside `{ .. }`; a literal `${` is written `$${`.
* **Secrets from files**: beside `password`, `user`, `url` and `read_url` there is the same name with `_file`, and so beside every property of `kafka.properties`
  (`sasl.password_file: /run/secrets/kafka`). The file holds the value alone; one line end behind it is left out. Of both, the later configuration file wins.
  No secret is printed, in no log and no error; below, **Secret** marks what may hold one.
* **Durations and sizes** are a whole number and a unit: `500ms`, `2s`, `10m`, `1h`, `1d`; `512KiB`, `64MiB`, `1GiB`.
* **Paths** are taken from the folder in which `inlet` is started.
* **Mistakes**: all of them are reported at once, each with file, line, column and what to do; the exit code is 78. An unknown key is one.

## In an editor

`inlet schema` prints a JSON Schema of this page. An editor with a YAML language server (VS Code with the YAML extension, Neovim and others) completes and checks keys, and
shows their meaning, once the first line of the file names it:

```sh
inlet schema > inlet.schema.json
```

```yaml
# yaml-language-server: $schema=inlet.schema.json
postgres:
  url: postgresql://me@localhost:5432/shop
  table: orders
datalake:
  path: ./datalake
```
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let (sections, single): (Vec<&Key>, Vec<&Key>) =
        keys().iter().partition(|key| !key.below().is_empty());
    page.push_str("\n## The top of the file\n\n");
    table(&mut page, single);
    for section in sections {
        let name = if matches!(section.form, Form::Tables(_)) {
            format!("{}.<name>", section.name)
        } else {
            section.name.to_owned()
        };
        write!(page, "\n## `{name}`\n\n{}\n\n", section.about.trim()).unwrap();
        table(&mut page, section.below());
    }
    page
}

fn table<'a>(page: &mut String, keys: impl IntoIterator<Item = &'a Key>) {
    page.push_str("| key | value | default | example | decides |\n|---|---|---|---|---|\n");
    for key in keys {
        let default = match key.default {
            Absent::Value(value) => format!("`{value}`"),
            Absent::Words(words) => words.to_owned(),
            Absent::Nothing => String::new(),
        };
        let example = if key.example.is_empty() {
            String::new()
        } else {
            format!("`{}`", key.example)
        };
        let secret = if key.is_secret { " **Secret.**" } else { "" };
        writeln!(
            page,
            "| `{}` | {} | {default} | {example} | {}{secret} |",
            key.name,
            key.form.words(),
            key.about.trim()
        )
        .unwrap();
    }
}

#[track_caller]
fn is_what_the_code_says(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    let again = "UPDATE_DOCS=1 cargo test --release --workspace --test configuration_page";
    assert!(
        file == text,
        "{name} is not what the code says; write it anew: {again}"
    );
}

#[test]
fn the_page_says_what_the_code_does() {
    is_what_the_code_says("docs/configuration.md", &page());
}

#[test]
fn the_schema_says_what_the_code_does() {
    is_what_the_code_says("configs/inlet.schema.json", &schema());
}
