//! Judges files of other tools' formats by those formats' own schemas.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::programs;

/// Checks a YAML or JSON file against a schema that `check-jsonschema` brings along, as
/// `vendor.compose-spec`; the error says what is wrong where.
pub fn check_file(schema: &str, file: &Path) -> Result<()> {
    check(&["--builtin-schema".as_ref(), schema.as_ref()], file)
}

/// The same against the schema in a file.
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
