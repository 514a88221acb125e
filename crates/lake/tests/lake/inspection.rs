//! What `TableReader::inspect` finds in a folder.

use std::fs;
use std::path::Path;

use inlet_harness::duckdb;
use inlet_lake::{Inspection, TableReader};

use crate::fixture::{P0, commit, files, open};

const FILE: &str = "date=2026-11-20/0-00000000000000000000-1.parquet";

/// A lake of two commits with two files each, without its writer.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0]).await;
    commit(&mut lake, P0, 0..10).await.unwrap();
    commit(&mut lake, P0, 10..20).await.unwrap();
    folder
}

async fn inspect(folder: &Path) -> Inspection {
    TableReader::new(folder).inspect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_files_alone_are_a_clean_folder() {
    let folder = filled().await;
    assert_eq!(inspect(folder.path()).await, Inspection::default());
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(inspect(empty.path()).await, Inspection::default());
    assert_eq!(
        inspect(&empty.path().join("nowhere")).await,
        Inspection::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_program_is_foreign_wherever_readers_find_it() {
    let folder = filled().await;
    let copies = [
        "copy.parquet",
        "date=2026-11-20/0-00000000000000000777-1.parquet",
        "deep/er/copy.parquet",
    ];
    for copy in copies {
        let path = folder.path().join(copy);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(folder.path().join(FILE), path).unwrap();
    }
    fs::write(folder.path().join("_quarantine/more.jsonl"), "{}\n").unwrap();
    fs::write(folder.path().join("README.md"), "not read by anybody").unwrap();
    let found = inspect(folder.path()).await;
    let foreign = copies.iter().chain(&["_quarantine/more.jsonl"]);
    assert_eq!(
        found.foreign,
        foreign.map(|name| folder.path().join(name)).collect()
    );
    assert!(!found.is_clean() && found.missing.is_empty() && found.damaged.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_deleted_is_missing() {
    let folder = filled().await;
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let found = inspect(folder.path()).await;
    assert_eq!(found.missing, [folder.path().join(FILE)].into());
    assert!(!found.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_was_committed_is_damaged_in_words() {
    let folder = filled().await;
    let path = folder.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    let reason = async || {
        let found = inspect(folder.path()).await;
        assert!(!found.is_clean());
        found.damaged[&path].clone()
    };
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let cut_off = reason().await;
    let expected = format!(
        "it has {} bytes, and {} were committed: ",
        whole.len() / 2,
        whole.len()
    );
    assert!(cut_off.starts_with(&expected), "{cut_off}");
    fs::write(&path, vec![0; whole.len()]).unwrap();
    assert!(reason().await.contains("footer"), "{}", reason().await);
    // DuckDB compresses with Snappy.
    let sql = format!("COPY (SELECT 1 AS order_id) TO '{}'", path.display());
    duckdb::query(&sql).await.unwrap();
    let replaced = reason().await;
    assert!(
        replaced.starts_with("another program wrote it: `DuckDB"),
        "{replaced}"
    );
    let other = folder
        .path()
        .join("date=2026-11-20/0-00000000000000000010-1.parquet");
    fs::copy(&other, &path).unwrap();
    assert!(!inspect(folder.path()).await.damaged.contains_key(&other));
    fs::write(&path, &whole).unwrap();
    assert!(inspect(folder.path()).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writers_compression_is_named_and_no_feature_of_this_program() {
    let folder = filled().await;
    let path = folder.path().join(FILE);
    let sql = format!(
        "COPY (SELECT * REPLACE (_op || '' AS _op) FROM read_parquet('{0}', \
         hive_partitioning = false)) TO '{0}.new' (FORMAT parquet, COMPRESSION snappy)",
        path.display()
    );
    duckdb::query(&sql).await.unwrap();
    fs::rename(path.with_extension("parquet.new"), &path).unwrap();
    let error = TableReader::rows(&path, |_| {}).unwrap_err();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(
        text.contains("it is not compressed with Zstd: another program wrote it")
            && !text.contains("compile"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_makes_no_file_of_it_foreign() {
    let folder = filled().await;
    let entries = files(&folder.path().join("_log"), ".json");
    let entry = &entries[1];
    // With the checkpoint the log can be read, and so its writers go on.
    let mut lake = open(folder.path(), [P0]).await;
    for n in 2..70 {
        commit(&mut lake, P0, n * 10..n * 10 + 10).await.unwrap();
    }
    drop(lake);
    assert!(folder.path().join("_log/_checkpoint.json").exists());
    fs::write(entry, "").unwrap();
    // The list of files has what the entry named, as long as it exists.
    assert!(inspect(folder.path()).await.is_clean());
    fs::remove_dir_all(folder.path().join("_log/_files")).unwrap();
    let found = inspect(folder.path()).await;
    assert_eq!(found.unreadable.keys().collect::<Vec<_>>(), [entry]);
    assert!(!found.is_clean() && found.foreign.is_empty() && found.missing.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_last_entry_is_torn_and_one_that_was_set_aside_is_shown() {
    let folder = filled().await;
    let last = files(&folder.path().join("_log"), ".json").pop().unwrap();
    let next = last.with_file_name(format!("{:020}.json", 4));
    fs::write(&next, "{\"seq\":").unwrap();
    let found = inspect(folder.path()).await;
    assert_eq!(found.torn, Some(next.clone()), "{found:?}");
    assert!(found.is_clean());
    drop(open(folder.path(), [P0]).await);
    let found = inspect(folder.path()).await;
    assert_eq!((found.torn, found.set_aside.len()), (None, 1));
}
