//! docs/configuration.md and configs/inlet.schema.json agree with the code: both are rendered
//! from the declared keys, and compared with the files.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use inlet_service::config::{Absent, Form, Key, REFUSED_PROPERTIES, keys, schema};

const INTRODUCTION: &str = "\
# Configuration

One YAML file serves every verb.
It needs a table and the sections of the verb: `inlet run` reads `postgres` and `datalake` (and \
`kafka` if there is a broker), `inlet producer` reads `postgres` and `kafka`, `inlet consumer` \
reads \
`kafka` and `datalake`.
[configs/reference.yml](../configs/reference.yml) shows every key, \
[configs/quickstart.yml](../configs/quickstart.yml) is the smallest file.

A test renders this page from `crates/service/src/config/raw.rs` and compares it \
(`crates/service/tests/configuration_page.rs`).
After a change of a key, run `UPDATE_DOCS=1 cargo test --release --workspace --test \
configuration_page`.
Another test checks that each default has the effect of leaving the key out.

## Rules

* **Where it is**: `--config FILE`, else the file that the environment variable `INLET_CONFIG` \
    names, else `inlet.yml` in the folder in which `inlet` is started.
* **Several files**: with `--config a.yml --config b.yml` a later file adds to and overrides the \
earlier ones, key by key.
* **Variables**: `${VAR}` is the environment variable, `${VAR:-default}` has a default, and \
`${VAR:?what to do}` explains to the user what to set.
  Inlet replaces variables after it parsed the YAML, so a value cannot break the file.
  Write them without quotes, and outside `{ .. }`; a literal `${` is written `$${`.
* **Secrets from files**: `password`, `user`, `url` and `read_url` also exist with `_file` at the \
end, and so does every property of `kafka.properties` (`sasl.password_file: /run/secrets/kafka`).
  The file holds only the value; Inlet removes one line end after it.
  If both forms are given, the later configuration file wins.
  Logs and errors never show a secret; below, **Secret** marks the keys that may hold one.
* **Durations and sizes** are a whole number and a unit: `500ms`, `2s`, `10m`, `1h`, `1d`; \
`512KiB`, `64MiB`, `1GiB`.
* **Paths** in a file are relative to the folder of this file, wherever `inlet` is started: the lake, files with secrets, certificates (`sslrootcert`, `ssl.ca.location`) and copies of the progress.
  Paths on the command line are relative to the folder in which `inlet` is started, as everywhere.
* **Mistakes**, such as an unknown key, are reported all at once, each with file, line, column and \
what to do.
  The exit code is then 78.

## In an editor

`inlet schema` prints a JSON Schema of this page.
An editor with a YAML language server (VS Code with the YAML extension, Neovim and others) \
    completes \
and checks keys and shows their meaning, if the first line of the file names the schema:

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
        if section.name == "kafka" {
            refused(&mut page);
        }
    }
    page
}

/// The properties that `kafka.properties` refuses.
fn refused(page: &mut String) {
    page.push_str(
        "\n### Properties that cannot be set\n\n\
         `kafka.properties` refuses these, because a guarantee or another key decides them:\n\n\
         | property | reason | use instead |\n|---|---|---|\n",
    );
    for property in REFUSED_PROPERTIES {
        let (name, reason) = (property.name, property.reason);
        let instead = property
            .instead
            .map_or_else(String::new, |key| format!("`{key}`"));
        writeln!(page, "| `{name}` | {reason} | {instead} |").unwrap();
    }
}

fn table<'a>(page: &mut String, keys: impl IntoIterator<Item = &'a Key>) {
    page.push_str("| key | value | default | example | decides |\n|---|---|---|---|---|\n");
    for key in keys {
        let default = match key.default {
            Absent::Value(value) => format!("`{value}`"),
            Absent::Words(words) => words.to_owned(),
            Absent::Off => String::new(),
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
        "{name} differs from the code; render it again: {again}"
    );
}

#[test]
fn the_page_agrees_with_the_code() {
    is_what_the_code_says("docs/configuration.md", &page());
}

#[test]
fn the_schema_agrees_with_the_code() {
    is_what_the_code_says("configs/inlet.schema.json", &schema());
}
