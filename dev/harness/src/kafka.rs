//! An Apache Kafka for one test: broker and controller in one process (KRaft).
//!
//! The broker never creates topics by itself: a test, or what it tests, creates them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::process::Launch;
use crate::server::Server;
use crate::{Folder, Port, programs};

const DEADLINE: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(50);
/// How `kcat` prints a record: the numbers end with a line, key and value follow by their lengths.
const FORMAT: &str = "%p %o %T %K %S\\n%k%s";

/// Settings of a broker that applies access rules. Without a rule everything is allowed.
pub const AUTHORIZED: &[(&str, &str)] = &[
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("allow.everyone.if.no.acl.found", "true"),
];

/// A broker on a free port of 127.0.0.1; killed and removed when dropped.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    port: Port,
    controller: Port,
    heap: String,
}

/// A record of a topic, as a foreign client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kafka_partition: i32,
    pub offset: i64,
    /// Its time in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key; `None` for none.
    pub key: Option<Vec<u8>>,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// A record to put into a topic: kafka_partition, key and value.
pub type NewRecord<'a> = (i32, Option<&'a [u8]>, Option<&'a [u8]>);

impl Record {
    /// The key as text; empty for none.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value as text; empty for a tombstone.
    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

impl Kafka {
    /// Starts a new broker with 512 MB of heap.
    pub async fn start() -> Result<Self> {
        Self::start_with("512m", &[]).await
    }

    /// Starts a new broker with this heap (Java's notation) and more settings, as
    /// `("message.max.bytes", "2000")`.
    pub async fn start_with(heap: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut broker = Self {
            server: Server::new(Folder::new("kafka")?, Signal::TERM),
            port: Port::claim()?,
            controller: Port::claim()?,
            heap: heap.to_owned(),
        };
        fs::create_dir(broker.server.folder.join("tmp"))?;
        fs::write(
            broker.server.folder.join("server.properties"),
            broker.properties(settings),
        )?;
        let cluster = cluster_id();
        // The optimizing compiler only delays a program that ends at once.
        let format = broker.java()?.args(["-XX:TieredStopAtLevel=1"]).args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            &cluster,
            "-c",
            "server.properties",
        ]);
        format.finish(DEADLINE).await?;
        broker.serve().await?;
        Ok(broker)
    }

    /// `127.0.0.1:port`; it stays the same over restarts.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The configuration of a client of this broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap())
            .set("reconnect.backoff.max.ms", "200");
        config
    }

    /// Creates a topic with settings, as `("cleanup.policy", "compact")`.
    pub async fn create_topic(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        new.config.extend_from_slice(settings);
        let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
        for result in admin.create_topics([&new], &options).await? {
            result.map_err(|(topic, code)| anyhow!("creating topic `{topic}`: {code}"))?;
        }
        Ok(())
    }

    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
        for result in admin.delete_topics(&[topic], &options).await? {
            result.map_err(|(topic, code)| anyhow!("deleting topic `{topic}`: {code}"))?;
        }
        Ok(())
    }

    /// Denies every client the right to create topics. The broker must be started with
    /// [`AUTHORIZED`].
    pub async fn deny_topic_creation(&self) -> Result<()> {
        let bootstrap = self.bootstrap();
        // As soon as one rule exists, everything without a rule is denied, so the first rule allows
        // everything.
        for (rule, operation) in [("--allow-principal", "All"), ("--deny-principal", "Create")] {
            let rule = [
                "--add",
                rule,
                "User:ANONYMOUS",
                "--operation",
                operation,
                "--cluster",
                "--topic",
                "*",
            ];
            let tool = self
                .java()?
                .args([
                    "org.apache.kafka.tools.AclCommand",
                    "--bootstrap-server",
                    &bootstrap,
                ])
                .args(rule);
            tool.finish(DEADLINE).await?;
        }
        Ok(())
    }

    /// Writes Kafka's own tools (`kafka-configs.sh`, ..) into a folder, for commands that a user
    /// would type.
    pub fn write_tools(folder: &Path) -> Result<()> {
        let tools = [
            ("kafka-acls.sh", "org.apache.kafka.tools.AclCommand"),
            ("kafka-configs.sh", "kafka.admin.ConfigCommand"),
            ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
        ];
        let (java, classes) = (programs::system("java")?, programs::kafka_classes()?);
        for (name, class) in tools {
            let path = folder.join(name);
            let script = format!(
                "#!/bin/sh\nexec '{}' -XX:TieredStopAtLevel=1 -XX:-UsePerfData -cp '{classes}' \
                 {class} \"$@\"\n",
                java.display()
            );
            fs::write(&path, script)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Publishes records as a foreign producer would, without a transaction.
    pub async fn produce(&self, topic: &str, records: &[NewRecord<'_>]) -> Result<()> {
        let producer: BaseProducer = self.client().create()?;
        for (partition, key, value) in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(*partition);
            record.key = *key;
            record.payload = *value;
            producer.send(record).map_err(|(error, _)| error)?;
        }
        // `flush` blocks. A failed delivery shows in what the test reads back.
        spawn_blocking(move || producer.flush(DEADLINE)).await??;
        Ok(())
    }

    /// All records of committed transactions, by kafka_partition and offset, read by `kcat`.
    pub async fn read(&self, topic: &str) -> Result<Vec<Record>> {
        let mut command = Command::new(programs::system("kcat")?);
        command.args([
            "-b",
            &self.bootstrap(),
            "-t",
            topic,
            "-C",
            "-e",
            "-q",
            "-o",
            "beginning",
            "-f",
            FORMAT,
        ]);
        command.args([
            "-X",
            "isolation.level=read_committed",
            "-X",
            "check.crcs=true",
            "-X",
            "fetch.wait.max.ms=10",
        ]);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = timeout(DEADLINE, output)
            .await
            .with_context(|| format!("reading topic `{topic}`"))??;
        ensure!(
            output.status.success(),
            "kcat, topic `{topic}`: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut records = parse(&output.stdout)?;
        // kcat reads the kafka_partitions side by side, in any order.
        records.sort_by_key(|record| (record.kafka_partition, record.offset));
        Ok(records)
    }

    /// The broker's log until now.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }

    /// Kills the broker, and waits until it has ended.
    pub fn kill_9(&mut self) -> Result<()> {
        self.server.kill_9()
    }

    /// Stops the broker in order.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop(DEADLINE).await
    }

    /// Starts the broker again with its data, on the same port; stops it first when it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.serve().await
    }

    /// Suspends the broker (SIGSTOP).
    pub fn pause(&mut self) -> Result<()> {
        self.server.signal(Signal::STOP)
    }

    /// Continues it after [`Kafka::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.server.signal(Signal::CONT)
    }

    /// Java with Kafka's classes; the caller adds the name of a class and its arguments.
    fn java(&self) -> Result<Launch> {
        let tmp = self.server.folder.join("tmp");
        let java = Launch::new("kafka", programs::system("java")?, &self.server.folder)
            .args(["-Xms64m".to_owned(), format!("-Xmx{}", self.heap)]);
        // Without performance data in /tmp, and with unpacked libraries in our folder, a killed
        // broker leaves nothing there.
        let java = java.args([
            "-XX:-UsePerfData".to_owned(),
            format!("-Djava.io.tmpdir={}", tmp.display()),
        ]);
        let java = java.args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]);
        Ok(java.env("CLASSPATH", programs::kafka_classes()?))
    }

    fn properties(&self, settings: &[(&str, &str)]) -> String {
        let (broker, controller) = (self.port.number(), self.controller.number());
        let mut text = format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.cleaner.dedupe.buffer.size=8388608
",
            self.server.folder.join("data").display()
        );
        // Of two lines with the same name the last one counts.
        settings
            .iter()
            .for_each(|(name, value)| text.push_str(&format!("{name}={value}\n")));
        text
    }

    /// Starts the broker over its data and waits until it answers.
    async fn serve(&mut self) -> Result<()> {
        let launch = self.java()?.args(["kafka.Kafka", "server.properties"]);
        self.server.start(launch)?;
        // A broker accepts connections before it answers, so the first answer is what counts.
        let probe: Arc<BaseConsumer> = Arc::new(self.client().create()?);
        let end = Instant::now() + DEADLINE;
        loop {
            self.server.ensure_alive()?;
            let asked = probe.clone();
            let answer = spawn_blocking(move || {
                asked
                    .fetch_metadata(None, Duration::from_secs(1))
                    .map(|metadata| metadata.brokers().len())
            })
            .await?;
            match answer {
                Ok(1..) => return Ok(()),
                other => ensure!(
                    Instant::now() < end,
                    "Kafka does not answer after {DEADLINE:?}: {other:?}\n{}",
                    self.log()?
                ),
            }
            sleep(STEP).await;
        }
    }
}

/// 16 random bytes as URL-safe base64 without padding, as Kafka names its clusters.
fn cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 22 digits of 6 bits hold 132 bits: the last digit keeps two of them. A leading `-` would read
    // as an option.
    let digit =
        |bits: u128| char::from(ALPHABET[usize::try_from(bits & 63).expect("six bits fit")]);
    let random = rand::random::<u128>() >> 1;
    (0..21)
        .map(|at| digit(random >> (122 - 6 * at)))
        .chain([digit((random & 3) << 4)])
        .collect()
}

/// The records in the output of `kcat` with [`FORMAT`].
fn parse(mut output: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while !output.is_empty() {
        let line_end = output
            .iter()
            .position(|byte| *byte == b'\n')
            .context("kcat's output ends within a record")?;
        let numbers = std::str::from_utf8(&output[..line_end])?
            .split(' ')
            .map(str::parse)
            .collect::<Result<Vec<i64>, _>>()?;
        let &[partition, offset, timestamp_ms, key_bytes, value_bytes] = numbers.as_slice() else {
            bail!("kcat's numbers are {numbers:?}")
        };
        output = &output[line_end + 1..];
        // A length of -1 stands for null.
        let mut take = |bytes: i64| -> Result<Option<Vec<u8>>> {
            let Ok(bytes) = usize::try_from(bytes) else {
                return Ok(None);
            };
            let (taken, rest) = output
                .split_at_checked(bytes)
                .context("kcat's output ends within a record")?;
            output = rest;
            Ok(Some(taken.to_owned()))
        };
        let (key, value) = (take(key_bytes)?, take(value_bytes)?);
        records.push(Record {
            kafka_partition: i32::try_from(partition)?,
            offset,
            timestamp_ms,
            key,
            value,
        });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_by_their_lengths() {
        let records = parse(b"0 7 1000 2 3\nk\nv\nv1 0 1001 -1 0\n1 1 1002 1 -1\nx").unwrap();
        let shown: Vec<_> = records
            .iter()
            .map(|r| {
                (
                    r.kafka_partition,
                    r.offset,
                    r.key.as_deref(),
                    r.value.as_deref(),
                )
            })
            .collect();
        let first = (0, 7, Some(&b"k\n"[..]), Some(&b"v\nv"[..]));
        assert_eq!(
            shown,
            [first, (1, 0, None, Some(b"")), (1, 1, Some(b"x"), None)]
        );
    }

    #[test]
    fn a_cluster_has_an_id_of_22_digits() {
        assert_eq!(cluster_id().len(), 22);
        assert!((0..1_000).all(|_| !cluster_id().starts_with('-')));
    }
}
