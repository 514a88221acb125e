//! A lake in a bucket of an S3 server: written through kills, checked, inspected and read.

use std::time::Duration;

use anyhow::Result;
use inlet_harness::{
    Finished, Folder, Inlet, Kafka, Postgres, S3, duckdb, eventually, shared_postgres,
};

use crate::orders::{INLET, PATIENCE};

const TABLE: &str = "CREATE TABLE orders (order_id bigint PRIMARY KEY, note text, updated_at \
    timestamptz NOT NULL DEFAULT clock_timestamp()); CREATE INDEX ON orders (updated_at);";
/// Commits that follow each other without a pause, so that a kill hits every step.
const FAST: &str = "streaming: { poll_interval: 20ms, flush_interval: 50ms, flush_rows: 500 }\n";
const ROUNDS: usize = 8;
const ROUND_ROWS: usize = 200;

/// Path, endpoint and environment, what the check finds and a part of its fix.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);

/// A table, a bucket, and the configuration between them.
struct Shop {
    s3: S3,
    database: inlet_harness::Database,
    folder: Folder,
}

impl Shop {
    async fn new(postgres: &Postgres, kafka: Option<&Kafka>) -> Result<Self> {
        let (s3, folder) = (S3::start().await?, Folder::new("bucket")?);
        let database = postgres.database().await?;
        database.sql(TABLE).await?;
        let shop = Self {
            s3,
            database,
            folder,
        };
        let kafka = kafka.map_or(String::new(), |kafka| {
            format!("kafka: {{ brokers: \"{}\" }}\n", kafka.bootstrap())
        });
        shop.configure(&shop.s3.url("shop"), &shop.s3.endpoint(), &kafka)?;
        Ok(shop)
    }

    fn configure(&self, path: &str, endpoint: &str, kafka: &str) -> Result<()> {
        let text = format!(
            "pipeline: shop\npostgres: {{ url: \"{}\" }}\ntables: {{ orders: {{}} }}\n{kafka}\
             datalake: {{ path: \"{path}\", endpoint: \"{endpoint}\", allow_http: true }}\n{FAST}",
            self.database.url()
        );
        Ok(std::fs::write(self.folder.join("inlet.yml"), text)?)
    }

    fn arguments(&self, verb: &[&str]) -> Vec<String> {
        let config = self.folder.join("inlet.yml").display().to_string();
        let words = verb.iter().map(|word| (*word).to_owned());
        words.chain(["--config".to_owned(), config]).collect()
    }

    fn start(&self, verb: &str) -> Result<Inlet> {
        Inlet::start(INLET, &self.arguments(&[verb]), &S3::environment())
    }

    async fn run(&self, verb: &[&str]) -> Result<Finished> {
        Inlet::run(INLET, &self.arguments(verb), &S3::environment()).await
    }

    async fn insert(&self, first: usize, rows: usize) -> Result<()> {
        let last = first + rows - 1;
        let sql = format!(
            "INSERT INTO orders SELECT i, 'n' || i FROM generate_series({first}, {last}) i"
        );
        self.database.sql(&sql).await
    }

    /// Rows and keys, as a plain reader of the files finds them that the server keeps.
    async fn found(&self) -> Result<(u64, u64)> {
        let glob = format!("{}/**/*.parquet", self.s3.files("shop").display());
        if duckdb::count_glob(&glob).await? == 0 {
            return Ok((0, 0));
        }
        let sql = format!("SELECT count(*), count(DISTINCT order_id) FROM read_parquet('{glob}')");
        let row = duckdb::query(&sql).await?.concat();
        Ok((row[0].parse()?, row[1].parse()?))
    }

    /// Waits until each key is in the lake, once.
    async fn expect(&self, rows: u64) {
        eventually(PATIENCE, "every row is in the bucket", async || {
            anyhow::Ok(self.found().await?.1 == rows)
        })
        .await;
        assert_eq!(
            self.found().await.unwrap(),
            (rows, rows),
            "none is a duplicate"
        );
    }
}

/// Loads, kills the services again and again while rows arrive, and compares what is left.
async fn through_kills(shop: &Shop, verbs: &[&str]) -> Result<()> {
    shop.insert(0, ROUND_ROWS).await?;
    let mut services = Vec::new();
    for verb in verbs {
        services.push(shop.start(verb)?);
    }
    shop.expect(ROUND_ROWS as u64).await;
    for round in 1..=ROUNDS {
        shop.insert(round * ROUND_ROWS, ROUND_ROWS / 2).await?;
        // At another point of a commit each time.
        tokio::time::sleep(Duration::from_millis(20 + 37 * round as u64)).await;
        for (service, verb) in services.iter_mut().zip(verbs) {
            service.kill_9()?;
            *service = shop.start(verb)?;
        }
        shop.insert(round * ROUND_ROWS + ROUND_ROWS / 2, ROUND_ROWS / 2)
            .await?;
    }
    shop.expect(((ROUNDS + 1) * ROUND_ROWS) as u64).await;
    for mut service in services {
        service.terminate()?;
        service.wait_exit(PATIENCE).await?;
    }
    let fsck = shop.run(&["lake", "fsck"]).await?;
    assert_eq!(fsck.code, 0, "{fsck:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_written_without_a_broker_through_kills() {
    let postgres = Postgres::start().await.unwrap();
    let shop = Shop::new(&postgres, None).await.unwrap();
    through_kills(&shop, &["run"]).await.unwrap();
    // What a user asks of it then.
    let checked = shop.run(&["check"]).await.unwrap();
    let is_checked = checked.stdout.contains("objects can be created once");
    assert!(is_checked && checked.code == 0, "{checked:?}");
    for (verb, expected) in [
        (&["lake", "show"][..], "1800"),
        (&["lake", "files"], "date="),
        (&["lake", "log"], " rows in "),
        (&["status"], "orders"),
        (&["views"], "CREATE OR REPLACE SECRET inlet_lake"),
        (&["views"], "s3://lake-"),
    ] {
        let finished = shop.run(verb).await.unwrap();
        let shown = finished.stdout.replace([',', '_'], "");
        let expected = expected.replace('_', "");
        assert!(
            shown.contains(&expected) && finished.code == 0,
            "{verb:?} {finished:?}"
        );
        for word in ["harness-secret", "harnesssecret"] {
            assert!(!shown.contains(word) && !finished.stderr.contains(word));
        }
    }
    through_duckdb(&shop).await;
    let refused = shop.run(&["compact"]).await.unwrap();
    assert!(refused.code != 0, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("are not merged, because they are in a bucket"),
        "{refused:?}"
    );
}

/// Reads the bucket as a user does: with `inlet query`, and with the views in DuckDB itself.
async fn through_duckdb(shop: &Shop) {
    let (program, home) = duckdb::extended().unwrap();
    let [program, home] = [program, home].map(|path| path.display().to_string());
    let with_home = |home: &str| {
        let ours = [("INLET_DUCKDB", program.as_str()), ("HOME", home)];
        let environment: Vec<_> = S3::environment().into_iter().collect();
        let all = environment.into_iter().chain(ours);
        all.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Vec<_>>()
    };
    let asked = async |home: &str, program: &str, arguments: &[String]| {
        let environment = with_home(home);
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Inlet::run(program, arguments, &environment).await.unwrap()
    };
    let sum = "SELECT count(*) AS n, max(order_id) AS most FROM orders";
    let query = shop.arguments(&["query", "--format", "csv", sum]);
    let answer = asked(&home, INLET, &query).await;
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (0, "n,most\n1800,1799\n"),
        "{answer:?}"
    );
    // The printed views, in a DuckDB of the user's own.
    let config = shop.arguments(&[])[1].clone();
    let script = format!(
        "\"$0\" views --config \"$1\" > \"$1.sql\" && \"$INLET_DUCKDB\" -csv -init \"$1.sql\" -c '{sum}'"
    );
    let arguments = ["-c", &script, INLET, &config].map(str::to_owned);
    let answer = asked(&home, "/bin/sh", &arguments).await;
    assert!(
        answer.code == 0 && answer.stdout.ends_with("1800,1799\n"),
        "{answer:?}"
    );
    // Without extensions, and without a place to install them.
    let refused = asked("/dev/null", INLET, &query).await;
    assert!(
        refused.code == 1 && refused.stderr.contains("docs/buckets.md"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_writes_a_bucket_through_kills() {
    let postgres = Postgres::start().await.unwrap();
    let kafka = Kafka::start().await.unwrap();
    let shop = Shop::new(&postgres, Some(&kafka)).await.unwrap();
    through_kills(&shop, &["producer", "consumer"])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_is_wrong_with_a_bucket_and_its_fix() {
    let postgres = Postgres::start().await.unwrap();
    let shop = Shop::new(&postgres, None).await.unwrap();
    let check = async |environment: &[(&str, &str)]| {
        let arguments = shop.arguments(&["check"]);
        let finished = Inlet::run(INLET, &arguments, environment).await.unwrap();
        assert!(!finished.stdout.contains("harness-secret"), "{finished:?}");
        finished
    };
    let endpoint = shop.s3.endpoint();
    let environment = S3::environment();
    let good = check(&environment).await;
    assert_eq!(good.code, 0, "{good:?}");
    // The credentials are those of this process alone, not those of the machine.
    let none = [
        ("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_REGION", "us-east-1"),
    ];
    let wrong = [
        ("AWS_ACCESS_KEY_ID", "harness"),
        ("AWS_SECRET_ACCESS_KEY", "another"),
    ];
    let cases: [Case<'_>; 4] = [
        (
            &shop.s3.url("shop"),
            "http://127.0.0.1:1",
            &environment,
            "refused",
            "`datalake.endpoint`",
        ),
        (
            "s3://missing-bucket/shop",
            &endpoint,
            &environment,
            "NoSuchBucket",
            "create the bucket",
        ),
        (
            &shop.s3.url("shop"),
            &endpoint,
            &none,
            "no credentials were found",
            "AWS_ACCESS_KEY_ID",
        ),
        (
            &shop.s3.url("shop"),
            &endpoint,
            &wrong,
            "SignatureDoesNotMatch",
            "right",
        ),
    ];
    for (path, endpoint, environment, evidence, fix) in cases {
        shop.configure(path, endpoint, "").unwrap();
        let found = check(environment).await;
        let has = |text: &str| found.stdout.replace('\n', " ").contains(text);
        assert!(
            found.code != 0 && has(evidence) && has(fix),
            "{evidence}: {found:?}"
        );
    }
}

#[tokio::test]
async fn changes_are_shown_as_they_become_readable_in_the_bucket() {
    let shop = Shop::new(shared_postgres().await, None).await.unwrap();
    shop.insert(0, 50).await.unwrap();
    let _service = shop.start("run").unwrap();
    shop.expect(50).await;
    let arguments = shop.arguments(&["tail", "orders", "--from-start", "--json"]);
    let tail = Inlet::start(INLET, &arguments, &S3::environment()).unwrap();
    for (first, rows, all) in [(50, 5, 55), (55, 1, 56)] {
        shop.insert(first, rows).await.unwrap();
        eventually(PATIENCE, "every change is shown", async || {
            Ok(tail.stdout()?.lines().count() >= all)
        })
        .await;
        assert_eq!(tail.stdout().unwrap().lines().count(), all, "each once");
    }
}
