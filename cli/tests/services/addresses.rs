//! Addresses that lead to another program than the configuration expects there: every verb that
//! connects ends in time, with the address and what to do about it, and none panics.

use std::fs;
use std::net::SocketAddr;

use anyhow::Result;
use futures::future::join_all;
use inlet_harness::{
    Database, Finished, Folder, Inlet, shared_database, shared_kafka, shared_postgres,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::orders::{INLET, PATIENCE};

/// What answers at the address.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    /// Accepts connections and answers nothing.
    Silent,
    /// Ends every connection at once.
    Closing,
    /// Answers as a web server, and keeps the connection.
    Http,
    /// Answers as a server of TLS that was not asked for TLS: with an alert.
    Tls,
    /// Greets first, as SSH does.
    Greeting,
    /// The other server of the configuration: Kafka for PostgreSQL, and the reverse.
    Crossed,
}

const ALL: [Wrong; 6] = [
    Wrong::Silent,
    Wrong::Closing,
    Wrong::Http,
    Wrong::Tls,
    Wrong::Greeting,
    Wrong::Crossed,
];

impl Wrong {
    /// Starts it; it ends with the test.
    async fn start(self, other: SocketAddr) -> SocketAddr {
        if matches!(self, Self::Crossed) {
            return other;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.answer(stream));
            }
        });
        address
    }

    async fn answer(self, mut stream: TcpStream) -> Result<()> {
        let mut question = [0; 1024];
        match self {
            Self::Silent => {}
            Self::Closing | Self::Crossed => return Ok(()),
            Self::Http => {
                // The length of the question, which every client sends first.
                stream.read_exact(&mut question[..4]).await?;
                let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await?;
            }
            Self::Tls => {
                stream.read_exact(&mut question[..4]).await?;
                // RFC 8446, section 6: a fatal alert, "handshake failure".
                return Ok(stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await?);
            }
            Self::Greeting => stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await?,
        }
        // The connection stays open until the client closes it.
        while stream.read(&mut question).await? > 0 {}
        Ok(())
    }
}

/// A table to capture, and a folder for what is written.
struct Case {
    folder: Folder,
    database: Database,
    postgres: SocketAddr,
    kafka: SocketAddr,
    /// Places for processes that run at the same time.
    places: Semaphore,
}

impl Case {
    async fn new() -> Self {
        let database = shared_database().await;
        let table = "CREATE TABLE orders (order_id serial PRIMARY KEY, created_at timestamptz \
            DEFAULT now()); CREATE INDEX ON orders (created_at)";
        database.sql(table).await.unwrap();
        Self {
            folder: Folder::new("addresses").unwrap(),
            database,
            postgres: ([127, 0, 0, 1], shared_postgres().await.port()).into(),
            kafka: shared_kafka().await.bootstrap().parse().unwrap(),
            places: Semaphore::new(16),
        }
    }

    /// Runs a verb that has to end by itself.
    async fn run(&self, arguments: &[&str]) -> Finished {
        let _place = self.places.acquire().await.unwrap();
        let mut inlet = Inlet::start(INLET, arguments, &[]).unwrap();
        let status = inlet.wait_exit(PATIENCE).await.unwrap();
        Finished {
            code: status.code().unwrap_or(-1),
            stdout: inlet.stdout().unwrap(),
            stderr: inlet.stderr().unwrap(),
        }
    }

    /// Writes a configuration whose lake is its own.
    fn config(&self, name: &str, postgres: &str, kafka: Option<SocketAddr>) -> String {
        let kafka = kafka.map_or_else(String::new, |address| {
            format!(
                "kafka: {{ brokers: \"{address}\", topic: {} }}\n",
                self.database.name()
            )
        });
        let path = self.folder.join(format!("{name}.yml"));
        let lake = self.folder.join(name);
        let text = format!(
            "postgres: {{ url: \"{postgres}\", table: orders }}\n{kafka}datalake: {{ path: {} }}\n",
            lake.display()
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// The verb has ended in order, and shows the address and what to do. `status` succeeds with what
/// it knows, and shows the state of every server instead of what to do.
fn shows(what: &str, verb: &str, finished: &Finished, address: &str, advice: &str) {
    let text = format!("{what} {verb}: {}{}", finished.stdout, finished.stderr);
    let is_status = verb == "status";
    assert_eq!(finished.code, i32::from(!is_status), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(text.contains(address), "`{address}` is missing: {text}");
    assert!(
        is_status || text.contains(advice),
        "`{advice}` is missing: {text}"
    );
}

#[tokio::test]
async fn what_is_not_postgresql_at_its_address_is_named_by_every_verb() {
    let case = Case::new().await;
    let case = &case;
    let checks = ALL.into_iter().flat_map(|wrong| {
        ["prefer", "disable"].map(|sslmode| async move {
            let address = wrong.start(case.kafka).await;
            let name = format!("{wrong:?}-{sslmode}");
            let url = case
                .database
                .url()
                .replace(&case.postgres.to_string(), &address.to_string());
            let url = format!("{url}?sslmode={sslmode}");
            let config = case.config(&name, &url, None);
            let file = case
                .folder
                .join(format!("{name}-init.yml"))
                .display()
                .to_string();
            let verbs: [&[&str]; 6] = [
                &["run", "--config", &config],
                &["check", "--config", &config],
                &["status", "--config", &config],
                &["verify", "--config", &config],
                &["pause", "--config", &config, "orders"],
                &["init", "--url", &url, "--output", &file],
            ];
            join_all(verbs.map(|verb| async {
                let finished = case.run(verb).await;
                let address = format!("PostgreSQL at {address}");
                let advice = "check host and port in `postgres`";
                shows(&name, verb[0], &finished, &address, advice);
            }))
            .await;
        })
    });
    join_all(checks).await;
}

#[tokio::test]
async fn what_is_no_broker_at_its_address_is_named_by_every_verb() {
    let case = Case::new().await;
    let case = &case;
    join_all(ALL.map(|wrong| async move {
        let address = wrong.start(case.postgres).await;
        let name = format!("{wrong:?}");
        let config = case.config(&name, case.database.url(), Some(address));
        let verbs: [&[&str]; 6] = [
            &["run", "--config", &config],
            &["producer", "--config", &config],
            &["consumer", "--config", &config],
            &["check", "--config", &config],
            &["status", "--config", &config],
            &["pause", "--config", &config, "orders"],
        ];
        join_all(verbs.map(|verb| async {
            let finished = case.run(verb).await;
            shows(
                &name,
                verb[0],
                &finished,
                &address.to_string(),
                "kafka.brokers",
            );
        }))
        .await;
    }))
    .await;
}
