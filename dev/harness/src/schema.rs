//! Validates files of other tools against the schemas of those tools.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::programs;

/// Validates a YAML or JSON file against a schema that `check-jsonschema` contains, as
/// `vendor.compose-spec`. The error names each problem and its place.
pub fn check_file(schema: &str, file: &Path) -> Result<()> {
    check(&["--builtin-schema".as_ref(), schema.as_ref()], file)
}

/// Validates a file against the schema in another file.
pub fn check_file_by(schema: &Path, file: &Path) -> Result<()> {
    check(&["--schemafile".as_ref(), schema.as_os_str()], file)
}

fn check(schema: &[&OsStr], file: &Path) -> Result<()> {
    let mut command = Command::new(programs::system("python3")?);
    command
        .args(["-m", "check_jsonschema"])
        .args(schema)
        .arg(file)
        .env("PYTHONPATH", programs::checker()?);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
