//! Everything that can be wrong with a lake, planted one by one: `inlet lake fsck` finds each and
//! explains it, as docs/lake.md shows, and finds nothing while services run.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt8Array,
    UInt64Array,
};
use inlet_harness::{Finished, Inlet, eventually};
use inlet_lake::{Compactor, LakeOptions, Limits, Numbering, Rejected, TableReader, TableWriter};
use inlet_model::change::{ChangeBatch, Origin, UPSERT, positioned_schema};
use inlet_model::{Column, KafkaPartition, Offset, OffsetRange, Scalar, TableName, TableSchema};
use serde_json::{Value, json};

use crate::case::{Case, INLET, PATIENCE};

const DOCS: &str = include_str!("../../../docs/lake.md");
/// What to do where only a copy helps, as the page shows it once.
const RESTORE: &str = "restore it from a copy of the lake; without one, move the table's folder \
    away and start under a new `pipeline` name to load the table again";
/// 2026-11-20T00:00:00Z.
const NOV_20: i64 = 1_795_132_800_000_000;
const DAY: i64 = 24 * 3_600_000_000;
const P0: KafkaPartition = KafkaPartition(0);
/// Rows of a commit: half of them on each of two dates.
const ROWS: i64 = 6;
/// Enough for two checkpoints and two parts of the list of files.
const COMMITS: i64 = 135;
const ENDED: &str = "4711-1795132800-0123456789abcdef0123456789abcdef";

/// A lake of two dates: a merged file and three of single commits for each, a file of rejected
/// rows, and files that were merged kept aside.
struct Lake {
    folder: tempfile::TempDir,
}

fn schema_of(name: &str) -> Arc<TableSchema> {
    let column = |name: &str, scalar, postgres_type: &str| Column {
        name: name.to_owned(),
        column_type: Scalar::into(scalar),
        postgres_type: postgres_type.to_owned(),
        as_text: false,
        not_null: true,
        generated: false,
        number: None,
    };
    let columns = vec![
        column("order_id", Scalar::Int64, "bigint"),
        column("created_at", Scalar::TimestampTz, "timestamptz"),
    ];
    let table = TableName::new("public", name);
    Arc::new(TableSchema::new(table, columns, vec![0]))
}

/// Orders at these offsets, by turns of two dates. Their ids are those of no other table's.
fn orders(schema: &Arc<TableSchema>, offsets: &[i64], id: impl Fn(i64) -> i64) -> ChangeBatch {
    let times = |of: &dyn Fn(i64) -> i64| -> ArrayRef {
        let times = offsets.iter().map(|offset| of(*offset));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let xids = offsets.iter().map(|offset| 1000 + offset.cast_unsigned());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            offsets.iter().map(|of| id(*of)),
        )),
        times(&|offset| NOV_20 + offset % 2 * DAY),
        Arc::new(UInt8Array::from(vec![UPSERT; offsets.len()])),
        Arc::new(UInt64Array::from_iter_values(xids)),
        Arc::new(Int32Array::from(vec![P0.0; offsets.len()])),
        Arc::new(Int64Array::from(offsets.to_vec())),
        times(&|_| NOV_20),
    ];
    ChangeBatch {
        schema: schema.clone(),
        rows: RecordBatch::try_new(positioned_schema(schema), columns).unwrap(),
        detected_at: NOV_20,
        origin: Origin::Poll,
    }
}

async fn open(path: &Path, schema: &TableSchema) -> TableWriter {
    let options = LakeOptions {
        table: schema.table.clone(),
        timezone: chrono_tz::Tz::UTC,
        date_column: Some("created_at".to_owned()),
        numbering: Numbering::Topic,
        compaction: None,
        retention: None,
    };
    let limits = Limits {
        rows: u64::MAX,
        bytes: u64::MAX,
        age: Duration::MAX,
    };
    let mut writer = TableWriter::open(path, options, limits).await.unwrap();
    writer.take_over([P0]).await.unwrap();
    writer
}

/// Commits [`ROWS`] orders, the last one to quarantine if asked for.
async fn commit(
    writer: &mut TableWriter,
    schema: &Arc<TableSchema>,
    number: i64,
    rejects: bool,
    id: impl Fn(i64) -> i64,
) {
    let mut offsets: Vec<i64> = (number * ROWS..(number + 1) * ROWS).collect();
    let range = OffsetRange {
        from: Offset(offsets[0]),
        next: Offset(offsets[0] + ROWS),
    };
    if rejects {
        let offset = offsets.pop().unwrap();
        let rejected = Rejected {
            reason: "amount >= 0".to_owned(),
            topic: "orders".to_owned(),
            kafka_partition: P0,
            offset: Offset(offset),
            key: Some(b"{\"order_id\":5}".to_vec().into()),
            value: Some(b"{\"order_id\":5,\"amount\":-1}".to_vec().into()),
        };
        writer.reject(vec![rejected]).await.unwrap();
    }
    writer.append(orders(schema, &offsets, id)).await.unwrap();
    writer
        .cover(P0, range, range.next.0.cast_unsigned())
        .unwrap();
    writer.commit(None).await.unwrap();
}

impl Lake {
    async fn new() -> Self {
        let folder = in_memory();
        let schema = schema_of("orders");
        let path = folder.path().join("lake");
        let mut writer = open(&path, &schema).await;
        for number in 0..COMMITS {
            commit(&mut writer, &schema, number, number == 130, |offset| offset).await;
        }
        // A file that is merged next, and one of another table of the same shape.
        let date = path.join("date=2026-11-20");
        let former = file_names(&date)[7].clone();
        fs::copy(date.join(&former), folder.path().join(&former)).unwrap();
        let compactor = Compactor::open(&path, Duration::from_millis(200))
            .await
            .unwrap();
        // A moment without readers may take a few attempts on a busy machine.
        let compactor = compactor.unwrap();
        eventually(PATIENCE, "files are merged", async || {
            compactor.merge_small(Arc::default()).await?;
            Ok(file_names(&date).len() == 1)
        })
        .await;
        drop(compactor);
        for number in COMMITS..COMMITS + 3 {
            commit(&mut writer, &schema, number, false, |offset| offset).await;
        }
        let items = schema_of("items");
        let other = folder.path().join("items");
        let mut writer = open(&other, &items).await;
        commit(&mut writer, &items, COMMITS + 2, false, |offset| {
            offset + 500
        })
        .await;
        Self { folder }
    }

    /// A copy of the lake, to plant something in.
    fn copy(&self) -> Planted {
        let folder = in_memory();
        let from = format!("{}/.", self.folder.path().display());
        let copied = std::process::Command::new("cp")
            .args(["-a", &from, folder.path().to_str().unwrap()])
            .status();
        assert!(copied.unwrap().success());
        let lake = folder.path().join("lake");
        let config = format!(
            "postgres:\n  url: postgres://me@127.0.0.1:1/shop\n  table: orders\n\
             datalake:\n  path: {}\n",
            lake.display()
        );
        fs::write(folder.path().join("inlet.yml"), config).unwrap();
        let entries = file_names(&lake.join("_log"));
        let entries = entries.iter().filter(|name| !name.starts_with('_'));
        let last = entries.max().unwrap().trim_end_matches(".json").parse();
        Planted {
            folder,
            lake,
            last: last.unwrap(),
        }
    }
}

/// A folder without a disk, where there is one.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The files of a folder, sorted.
fn file_names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<_> = files
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A copy of the lake with something wrong.
struct Planted {
    folder: tempfile::TempDir,
    lake: PathBuf,
    /// The number of the last entry.
    last: u64,
}

impl Planted {
    /// A file of the last commit on a date.
    fn file(&self, date: &str) -> PathBuf {
        let folder = self.lake.join(date);
        folder.join(file_names(&folder).pop().unwrap())
    }

    fn entry(&self, seq: u64) -> PathBuf {
        self.lake.join(format!("_log/{seq:020}.json"))
    }

    fn edit(&self, path: &Path, act: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        act(&mut value);
        fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
    }

    fn edit_last(&self, act: impl FnOnce(&mut Value)) {
        self.edit(&self.entry(self.last), act);
    }

    fn rejected(&self) -> PathBuf {
        let folder = self.lake.join("_quarantine");
        folder.join(&file_names(&folder)[0])
    }

    fn staged(&self, ending: &str) -> PathBuf {
        self.lake.join(format!("_staging/{ENDED}{ending}"))
    }

    async fn run(&self, verb: &[&str]) -> Finished {
        let config = self.folder.path().join("inlet.yml");
        let config = ["--config", config.to_str().unwrap()];
        let arguments = [&["lake"], verb, &config].concat();
        Inlet::run(INLET, &arguments, &[]).await.unwrap()
    }

    async fn fsck(&self) -> (i32, Vec<Value>) {
        let finished = self.run(&["fsck", "--json"]).await;
        let found: Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        (finished.code, found["findings"].as_array().unwrap().clone())
    }
}

/// What is planted, how, and the severity and the end of the path of what is found.
struct Flaw {
    planted: &'static str,
    plant: fn(&Planted),
    severity: &'static str,
    object: &'static str,
}

const TODAY: &str = "date=2026-11-20";
const TOMORROW: &str = "date=2026-11-21";

const fn case(
    planted: &'static str,
    severity: &'static str,
    object: &'static str,
    plant: fn(&Planted),
) -> Flaw {
    Flaw {
        planted,
        plant,
        severity,
        object,
    }
}

const CASES: &[Flaw] = &[
    case("a data file that is missing", "error", ".parquet", |lake| {
        fs::remove_file(lake.file(TODAY)).unwrap();
    }),
    case(
        "a data file that was cut off",
        "error",
        ".parquet",
        |lake| {
            let path = lake.file(TODAY);
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..100]).unwrap();
        },
    ),
    case(
        "a file of another program in a date's folder",
        "warning",
        "/other.parquet",
        |lake| {
            // A Parquet file whose footer names another program, in the same number of bytes.
            let bytes = fs::read(lake.file(TODAY)).unwrap();
            let at = find(&bytes, b"inlet ");
            let other = [&bytes[..at], b"duckdb", &bytes[at + 6..]].concat();
            fs::write(lake.lake.join(TODAY).join("other.parquet"), other).unwrap();
        },
    ),
    case(
        "a copy of a data file under another name",
        "warning",
        "/copy.parquet",
        |lake| {
            let path = lake.file(TODAY);
            fs::copy(&path, path.with_file_name("copy.parquet")).unwrap();
        },
    ),
    case(
        "a data file in the folder of another date",
        "warning",
        ".parquet",
        |lake| {
            let path = lake.file(TODAY);
            fs::rename(
                &path,
                lake.lake.join(TOMORROW).join(path.file_name().unwrap()),
            )
            .unwrap();
        },
    ),
    case(
        "the rows of another date under the name of a data file",
        "error",
        ".parquet",
        |lake| {
            fs::copy(lake.file(TOMORROW), lake.file(TODAY)).unwrap();
        },
    ),
    case(
        "the rows of another table under the name of a data file",
        "error",
        ".parquet",
        |lake| {
            let other = lake.folder.path().join("items").join(TODAY);
            let other = other.join(&file_names(&other)[0]);
            fs::copy(other, lake.file(TODAY)).unwrap();
        },
    ),
    case(
        "a merged file's source that came back",
        "warning",
        ".parquet",
        |lake| {
            let names = file_names(lake.folder.path());
            let name = names
                .iter()
                .find(|name| name.ends_with(".parquet"))
                .unwrap();
            let place = lake.lake.join(TODAY).join(name);
            fs::copy(lake.folder.path().join(name), place).unwrap();
        },
    ),
    case(
        "a changed byte in a row group",
        "error",
        ".parquet",
        |lake| {
            let file = fs::File::options()
                .read(true)
                .write(true)
                .open(lake.file(TODAY))
                .unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 50).unwrap();
            file.write_all_at(&[!byte[0]], 50).unwrap();
        },
    ),
    case(
        "a data file that no user may read",
        "error",
        ".parquet",
        |lake| {
            fs::set_permissions(lake.file(TODAY), fs::Permissions::from_mode(0o000)).unwrap();
        },
    ),
    case(
        "a file of rejected rows that was cut off",
        "error",
        ".jsonl",
        |lake| {
            let bytes = fs::read(lake.rejected()).unwrap();
            fs::write(lake.rejected(), &bytes[..bytes.len() / 2]).unwrap();
        },
    ),
    case(
        "a changed byte in a file of rejected rows",
        "error",
        ".jsonl",
        |lake| {
            let mut bytes = fs::read(lake.rejected()).unwrap();
            bytes[0] = b'[';
            fs::write(lake.rejected(), bytes).unwrap();
        },
    ),
    case(
        "an entry in the middle of the log that is missing",
        "error",
        "0070.json",
        |lake| {
            fs::remove_file(lake.entry(70)).unwrap();
        },
    ),
    case(
        "an entry in the middle of the log that is no JSON",
        "error",
        "0070.json",
        |lake| {
            fs::write(lake.entry(70), b"\0\0\0\0").unwrap();
        },
    ),
    case("an incomplete last entry", "info", ".json", |lake| {
        fs::write(lake.entry(lake.last + 1), "{\"seq\":").unwrap();
    }),
    case(
        "a wrong number of rows of a file in the log",
        "error",
        ".parquet",
        |lake| {
            lake.edit_last(|entry| entry["files"][0]["rows"] = json!(4));
        },
    ),
    case(
        "a wrong number of rows of an entry",
        "error",
        ".json",
        |lake| {
            lake.edit_last(|entry| entry["rows"] = json!(7));
        },
    ),
    case("offsets with a hole", "error", ".json", |lake| {
        lake.edit_last(|entry| add(&mut entry["offsets"]["0"]["from"], 2));
    }),
    case("offsets that go back", "error", ".json", |lake| {
        lake.edit_last(|entry| add(&mut entry["offsets"]["0"]["from"], -2));
    }),
    case("a file that two entries add", "error", ".json", |lake| {
        let before = fs::read(lake.entry(lake.last - 1)).unwrap();
        let before: Value = serde_json::from_slice(&before).unwrap();
        lake.edit_last(|entry| {
            let files = entry["files"].as_array_mut().unwrap();
            files.push(before["files"][0].clone());
            add(&mut entry["rows"], 3);
        });
    }),
    case("an entry of another table", "error", ".json", |lake| {
        lake.edit_last(|entry| entry["table"]["name"] = json!("items"));
    }),
    case("a schema that no entry has", "error", ".json", |lake| {
        lake.edit_last(|entry| entry["files"][0]["schema"] = json!("00000000000000ff"));
    }),
    case(
        "a damaged checkpoint",
        "warning",
        "_checkpoint.json",
        |lake| {
            fs::write(lake.lake.join("_log/_checkpoint.json"), "{").unwrap();
        },
    ),
    case(
        "a checkpoint that is missing",
        "warning",
        "_checkpoint.json",
        |lake| {
            fs::remove_file(lake.lake.join("_log/_checkpoint.json")).unwrap();
        },
    ),
    case(
        "a checkpoint with other offsets than the entries",
        "error",
        "_checkpoint.json",
        |lake| {
            let path = lake.lake.join("_log/_checkpoint.json");
            lake.edit(&path, |head| add(&mut head["offsets"]["0"]["next"], 6));
        },
    ),
    case(
        "progress ahead of the log",
        "error",
        "_checkpoint.json",
        |lake| {
            for seq in 120..=lake.last {
                fs::remove_file(lake.entry(seq)).unwrap();
            }
        },
    ),
    case(
        "a damaged part of the list of files",
        "warning",
        "0064.json",
        |lake| {
            fs::write(
                lake.lake
                    .join(format!("_log/_files/{:020}-{:020}.json", 1, 64)),
                "[",
            )
            .unwrap();
        },
    ),
    case(
        "a missing part of the list of files",
        "warning",
        "0064.json",
        |lake| {
            let path = format!("_log/_files/{:020}-{:020}.json", 1, 64);
            fs::remove_file(lake.lake.join(path)).unwrap();
        },
    ),
    case(
        "invisible files of a writer that was killed",
        "info",
        ".lock",
        |lake| {
            fs::write(lake.staged(".lock"), "").unwrap();
            fs::write(lake.staged(".0.staged"), "PAR1").unwrap();
        },
    ),
    case(
        "a second folder of a date, from a merge that was killed",
        "info",
        ".hidden",
        |lake| {
            fs::write(lake.staged(".lock"), "").unwrap();
            fs::create_dir(lake.staged(".1.hidden")).unwrap();
        },
    ),
    case("a lock of a process that ended", "info", ".lock", |lake| {
        fs::write(lake.staged(".lock"), "").unwrap();
    }),
    case(
        "a committed file that its writer did not show",
        "warning",
        ".staged",
        |lake| {
            let entry = fs::read(lake.entry(lake.last)).unwrap();
            let entry: Value = serde_json::from_slice(&entry).unwrap();
            let file = &entry["files"][0];
            let [staged, place] = ["staged", "path"].map(|name| file[name].as_str().unwrap());
            fs::rename(lake.lake.join(place), lake.lake.join(staged)).unwrap();
        },
    ),
];

fn add(number: &mut Value, more: i64) {
    *number = json!(number.as_i64().unwrap() + more);
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    let mut windows = bytes.windows(part.len());
    windows.position(|window| window == part).unwrap()
}

/// Text without its numbers and paths, which differ from run to run.
fn shape(text: &str, lake: &Path) -> String {
    let text = text.replace(&lake.display().to_string(), "/lake");
    let mut shape = String::new();
    for part in text.split_inclusive(|of: char| !of.is_ascii_digit()) {
        let rest = part.trim_start_matches(|of: char| of.is_ascii_digit());
        if rest.len() < part.len() {
            shape.push('9');
        }
        shape.push_str(rest);
    }
    shape
}

fn is_wrong(finding: &Value) -> bool {
    finding["severity"] == "error" || finding["severity"] == "warning"
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flaw_of_a_lake_is_found_and_explained() {
    let lake = Lake::new().await;
    let whole = lake.copy();
    let (code, findings) = whole.fsck().await;
    assert_eq!(code, 0, "{findings:#?}");
    assert!(
        findings.iter().all(|of| of["severity"] == "ok"),
        "{findings:#?}"
    );
    let rows: Vec<String> = DOCS
        .lines()
        .map(|line| shape(line, Path::new("/lake")))
        .collect();
    assert!(DOCS.contains(RESTORE), "the page has the advice once");
    let mut absent = Vec::new();
    for case in CASES {
        let planted = lake.copy();
        (case.plant)(&planted);
        let (code, findings) = planted.fsck().await;
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or("").to_owned();
        let found = findings.iter().find(|finding| {
            finding["severity"] == case.severity && text(finding, "object").ends_with(case.object)
        });
        let found = found.unwrap_or_else(|| panic!("{}: {findings:#?}", case.planted));
        assert!(found["effect"].is_string(), "{}: {found:#}", case.planted);
        assert_eq!(
            is_wrong(found),
            found["fix"].is_string(),
            "{}: {found:#}",
            case.planted
        );
        assert_eq!(code == 3, findings.iter().any(is_wrong), "{}", case.planted);
        let row = format!(
            "| {} | {} | {} | {} |",
            case.planted,
            case.severity,
            text(found, "evidence"),
            text(found, "fix")
                .replace(RESTORE, "restore")
                .replace('\n', "<br>")
        );
        if !rows.contains(&shape(&row, &planted.lake)) {
            absent.push(row.replace(&planted.lake.display().to_string(), "/lake"));
        }
    }
    assert!(
        absent.is_empty(),
        "docs/lake.md has no row\n{}",
        absent.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lake_is_shown_in_words_and_for_programs() {
    let lake = Lake::new().await.copy();
    let rows = COMMITS * ROWS + 3 * ROWS - 1;
    let shown = lake.run(&["show"]).await.stdout;
    for part in [
        "orders  ",
        "rows       827, and 1 in quarantine",
        "2 of them merged",
        "2026-11-20 to 2026-11-21 (2)",
        "next offset 828, epoch 1",
        "the offsets of a topic",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = json(&lake.run(&["show", "--json"]).await);
    assert_eq!(shown["tables"][0]["rows"], rows);
    assert_eq!(shown["tables"][0]["entries"], lake.last);
    let files = json(&lake.run(&["files", "--json"]).await);
    let files = files["files"].as_array().unwrap();
    let of_files: i64 = files
        .iter()
        .map(|file| file["rows"].as_i64().unwrap())
        .sum();
    assert_eq!((files.len(), of_files), (8, rows));
    let text = lake.run(&["files"]).await.stdout;
    assert_eq!(text.lines().count(), 9, "{text}");
    let log = lake.run(&["log", "--last", "6"]).await.stdout;
    assert_eq!(log.lines().count(), 6, "{log}");
    assert!(log.contains(" files merged into 1 file of "), "{log}");
    assert!(
        log.contains("6 rows in 2 files; offsets 822..828 of kafka_partition 0"),
        "{log}"
    );
    // The folder of a table that was never written.
    fs::remove_dir_all(&lake.lake).unwrap();
    for verb in ["show", "files", "log", "fsck"] {
        let finished = lake.run(&[verb]).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(!lake.lake.exists(), "{verb} only reads");
    }
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_a_service_writes_and_merges() {
    let mut case = Case::new().await;
    case.replace_rest("flush_interval: 100ms", "flush_interval: 20ms");
    case.replace_rest("datalake:\n", "datalake:\n  compaction_interval: 100ms\n");
    let config = case.config();
    let mut inlet = Inlet::start(INLET, &["run", "--config", &config], &[]).unwrap();
    let reader = TableReader::new(case.folder.join("lake"));
    let mut checked = 0;
    eventually(PATIENCE, "many commits", async || {
        let more = "INSERT INTO orders (customer, amount) VALUES ('Ada', 1)";
        for _ in 0..10 {
            case.database.sql(more).await?;
        }
        let arguments = ["lake", "fsck", "--config", &config, "--json"];
        let finished = Inlet::run(INLET, &arguments, &[]).await?;
        let found: Value = serde_json::from_str(&finished.stdout)?;
        let findings = found["findings"].as_array().unwrap();
        let is_fine = |finding: &Value| finding["severity"] == "ok" || checked == 0;
        assert!(
            findings.iter().all(is_fine) && finished.code == 0,
            "{findings:#?}"
        );
        checked += 1;
        Ok(reader.head().await?.is_some_and(|head| head.seq > 130))
    })
    .await;
    assert!(checked > 3);
    inlet.terminate().unwrap();
    inlet.wait_exit(Duration::from_secs(20)).await.unwrap();
}
