//! The judge reads what others wrote, exactly.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

use anyhow::Result;
use inlet_harness::{Folder, duckdb};

#[tokio::test]
async fn the_judge_counts_and_reads_parquet_files() -> Result<()> {
    let folder = Folder::new("judge")?;
    let day = folder.join("date=2026-11-20");
    std::fs::create_dir(&day)?;
    let glob = format!("{}/**/*.parquet", folder.display());
    assert_eq!(duckdb::count_glob(&glob).await?, 0);
    for part in 0..2 {
        let file = day.join(format!("{part}.parquet"));
        duckdb::query(&format!(
            "COPY (SELECT range AS id, (range * 1.1)::DECIMAL(10,2) AS amount \
            FROM range(5)) TO '{}'",
            file.display()
        ))
        .await?;
    }
    assert_eq!(duckdb::count_glob(&glob).await?, 10);
    let rows = duckdb::query(&format!(
        "SELECT id, amount, date, NULL, '' FROM '{glob}' WHERE id = 2"
    ))
    .await?;
    assert_eq!(
        rows,
        [
            ["2", "2.20", "2026-11-20", "NULL", ""],
            ["2", "2.20", "2026-11-20", "NULL", ""]
        ]
    );
    Ok(())
}

#[tokio::test]
async fn the_judge_shows_times_in_utc_and_numbers_in_full() -> Result<()> {
    let sql = "SELECT TIMESTAMPTZ '2026-01-01 12:00:00.000001+02', \
        12345678901234567890.123456789::DECIMAL(38,9), '\"a\",\n'";
    for version in duckdb::Version::ALL {
        assert_eq!(
            duckdb::query_by(version, sql).await?,
            [[
                "2026-01-01 10:00:00.000001+00",
                "12345678901234567890.123456789",
                "\"a\",\n"
            ]],
            "{version:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_query_is_an_error_that_shows_it() {
    for version in duckdb::Version::ALL {
        let error = duckdb::query_by(version, "SELECT nothing FROM nowhere")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("nowhere does not exist") && error.contains("SELECT nothing"),
            "{error}"
        );
    }
}
