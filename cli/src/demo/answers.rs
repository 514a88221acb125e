//! Answers of DuckDB and PostgreSQL, as rows of text.

use anyhow::{Result, bail};
use inlet_harness::duckdb;

/// Asks DuckDB several questions in one run; each answer has the columns' names and the rows.
pub async fn ask(
    views: &str,
    statements: &[String],
) -> Result<Vec<(Vec<String>, Vec<Vec<String>>)>> {
    const END: &str = "--end--";
    let marked: String = statements
        .iter()
        .map(|sql| format!("DESCRIBE {sql}; SELECT '{END}'; {sql}; SELECT '{END}';\n"))
        .collect();
    let rows = duckdb::query(&format!("{views}{marked}")).await?;
    let mut parts = rows.split(|row| row == &[END]);
    let mut answers = Vec::new();
    for _ in statements {
        let (Some(columns), Some(rows)) = (parts.next(), parts.next()) else {
            bail!("duckdb answered fewer questions than it got")
        };
        answers.push((
            columns
                .iter()
                .filter_map(|column| column.first().cloned())
                .collect(),
            rows.to_vec(),
        ));
    }
    Ok(answers)
}

/// Returns the only row of an answer.
pub fn one(mut rows: Vec<Vec<String>>) -> Result<Vec<String>> {
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(row),
        _ => bail!("one row was expected"),
    }
}
