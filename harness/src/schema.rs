//! Judges files of other tools' formats by those formats' own schemas.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::programs;

/// Checks a YAML or JSON file against a schema that `check-jsonschema` brings along, as `vendor.compose-spec`; the error says what is wrong where.
pub fn check_file(schema: &str, file: &Path) -> Result<()> {
    let mut command = Command::new(programs::system("python3")?);
    command.args(["-m", "check_jsonschema", "--builtin-schema", schema]).arg(file).env("PYTHONPATH", programs::checker()?);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
