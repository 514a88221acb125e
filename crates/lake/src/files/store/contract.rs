//! What the lake relies on, claim by claim, of every storage: a disk, a bucket in memory, and a
//! bucket of a real S3 server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use inlet_harness::S3;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;

use super::super::bucket::use_client;
use super::*;

/// A storage, and what keeps it alive.
struct Storage {
    store: Store,
    _disk: Option<tempfile::TempDir>,
    _server: Option<S3>,
}

async fn disk() -> Storage {
    let folder = tempfile::tempdir().unwrap();
    Storage {
        store: Store::create(&folder.path().join("orders")).unwrap(),
        _disk: Some(folder),
        _server: None,
    }
}

async fn memory() -> Storage {
    let address = PathBuf::from(format!("s3://{}/orders", uuid::Uuid::new_v4()));
    use_client(&address, Arc::new(InMemory::new()));
    Storage {
        store: Store::create(&address).unwrap(),
        _disk: None,
        _server: None,
    }
}

/// Held while a process is started: until it runs its own program, it has every file of ours open,
/// and with them the locks of writers that have ended. A test of such writers holds it to read.
pub(crate) static STARTING_PROCESSES: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

async fn s3() -> Storage {
    let _others_wait = STARTING_PROCESSES.write().await;
    let server = S3::start().await.unwrap();
    let address = server.url("shop/orders");
    use_client(Path::new(&address), client(&server));
    Storage {
        store: Store::create(Path::new(&address)).unwrap(),
        _disk: None,
        _server: Some(server),
    }
}

fn client(server: &S3) -> Arc<dyn object_store::ObjectStore> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let [(_, key), (_, secret), _] = S3::environment();
    let address = server.url("");
    let bucket = address.trim_start_matches("s3://").trim_end_matches('/');
    let built = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_endpoint(server.endpoint())
        .with_allow_http(true)
        .with_access_key_id(key)
        .with_secret_access_key(secret)
        .with_disable_bulk_delete(true)
        .build();
    Arc::new(built.unwrap())
}

macro_rules! contract {
    ($($claim:ident),+ $(,)?) => {
        mod on_disk { $(#[tokio::test] async fn $claim() {
            super::$claim(&super::disk().await.store);
        })+ }
        mod in_memory { $(#[tokio::test] async fn $claim() {
            super::$claim(&super::memory().await.store);
        })+ }
        mod on_s3 { $(#[tokio::test] async fn $claim() {
            super::$claim(&super::s3().await.store);
        })+ }
    };
}

contract!(
    a_name_is_given_once,
    one_of_many_writers_gets_a_name,
    a_replaced_file_is_the_new_one_as_a_whole,
    a_renamed_file_has_one_name_and_a_missing_one_is_no_error,
    a_listing_has_the_names_of_the_folder_alone,
    staged_rows_of_any_size_are_read_back,
    staged_rows_that_are_dropped_leave,
    a_probe_leaves_nothing,
);

fn read(store: &Store, name: &str) -> Option<String> {
    let bytes = store.read(name).unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

fn a_name_is_given_once(store: &Store) {
    assert_eq!(read(store, "_log/1.json"), None);
    assert_eq!(store.size("_log/1.json").unwrap(), None);
    let put = |bytes: &[u8]| store.put_if_absent("_log/1.json", "_staging/a", bytes);
    assert!(matches!(put(b"first"), Ok(Put::Created)));
    assert!(matches!(put(b"second"), Ok(Put::Exists)));
    assert_eq!(read(store, "_log/1.json").as_deref(), Some("first"));
    assert_eq!(store.size("_log/1.json").unwrap(), Some(5));
}

fn one_of_many_writers_gets_a_name(store: &Store) {
    let won = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for writer in 0..8 {
            let won = &won;
            threads.spawn(move || {
                let (bytes, temporary) = (writer.to_string(), format!("_staging/{writer}"));
                let put = store.put_if_absent("_log/1.json", &temporary, bytes.as_bytes());
                let is_ours = matches!(put.unwrap(), Put::Created);
                won.fetch_add(usize::from(is_ours), Ordering::Relaxed);
                let found = read(store, "_log/1.json").unwrap();
                assert_eq!(found == bytes, is_ours, "who has created it finds it");
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
}

fn a_replaced_file_is_the_new_one_as_a_whole(store: &Store) {
    for text in ["a longer first text", "short"] {
        store
            .replace("_log/c.json", "_staging/a", text.as_bytes())
            .unwrap();
        assert_eq!(read(store, "_log/c.json").as_deref(), Some(text));
    }
}

fn a_renamed_file_has_one_name_and_a_missing_one_is_no_error(store: &Store) {
    store.replace("_staging/a", "_staging/b", b"rows").unwrap();
    store.create_folders(&["date=2026-11-20"]).unwrap();
    let place = "date=2026-11-20/a.parquet";
    assert!(store.rename("_staging/a", place).unwrap());
    assert!(!store.rename("_staging/a", place).unwrap());
    assert_eq!(read(store, place).as_deref(), Some("rows"));
    assert_eq!(read(store, "_staging/a"), None);
    store.remove_unused(place);
    store.remove_unused(place);
    assert_eq!(store.size(place).unwrap(), None);
}

fn a_listing_has_the_names_of_the_folder_alone(store: &Store) {
    assert_eq!(store.list("missing").unwrap(), Vec::<String>::new());
    store.create_folders(&["date=2026-11-20"]).unwrap();
    for name in ["_log/1.json", "_log/2.json", "date=2026-11-20/a.parquet"] {
        store.replace(name, "_staging/a", b"1").unwrap();
    }
    let sorted = |folder| {
        let mut names = store.list(folder).unwrap();
        names.sort();
        names
    };
    assert_eq!(sorted("_log"), ["1.json", "2.json"]);
    assert_eq!(sorted("date=2026-11-20"), ["a.parquet"]);
    assert!(sorted("").contains(&"date=2026-11-20".to_owned()));
    assert!(!sorted("").contains(&"a.parquet".to_owned()));
}

/// Of a bucket the larger ones are sent in parts.
fn staged_rows_of_any_size_are_read_back(store: &Store) {
    let sizes = [0, 1, 8 << 20, (8 << 20) + 1, 30 << 20];
    let byte = |at: usize| (at.wrapping_mul(31) >> 3) as u8;
    let mut files = Vec::new();
    let mut paths = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let name = format!("_staging/w.{number}.staged");
        let (mut file, path) = store.stage(&name).unwrap();
        let bytes: Vec<u8> = (0..size).map(byte).collect();
        file.write_all(&bytes).unwrap();
        files.push((name, file));
        paths.push(path);
    }
    let named = files
        .iter()
        .map(|(name, file)| (name.as_str(), file.try_clone().unwrap()));
    store.make_durable(&named.collect::<Vec<_>>()).unwrap();
    paths.into_iter().for_each(StagedPath::keep);
    for (number, size) in sizes.into_iter().enumerate() {
        let name = format!("_staging/w.{number}.staged");
        let found = store.read(&name).unwrap().unwrap();
        assert_eq!(found.len(), size);
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(at, found)| *found == byte(at))
        );
    }
}

fn staged_rows_that_are_dropped_leave(store: &Store) {
    let (file, path) = store.stage("_staging/w.0.staged").unwrap();
    store
        .make_durable(&[("_staging/w.0.staged", file)])
        .unwrap();
    assert_eq!(store.size("_staging/w.0.staged").unwrap(), Some(0));
    drop(path);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store.size("_staging/w.0.staged").unwrap().is_some() {
        assert!(std::time::Instant::now() < deadline, "it stays");
        std::thread::yield_now();
    }
}

fn a_probe_leaves_nothing(store: &Store) {
    store.probe().unwrap();
    assert_eq!(store.list(STAGING).unwrap(), Vec::<String>::new());
}
