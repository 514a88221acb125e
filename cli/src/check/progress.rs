//! What an earlier run stored: whether the next one can resume from there.

use std::collections::BTreeMap;

use inlet_consumer::{LostLake, SourceError, start};
use inlet_kafka::Marks;
use inlet_lake::Head;
use inlet_model::Progress;
use inlet_model::record::sequences::{PART, Sequences, former_topic};
use inlet_model::{KafkaPartition, Offset};
use inlet_postgres::Captured;
use inlet_producer::source::phase::Phase;
use inlet_producer::source::progress::Stored as StoredProgress;
use inlet_producer::source::resume::lineage_broken;
use inlet_service::config::{Config, KafkaConfig, TableConfig};

use super::finding::{Finding, Hop};
use super::kafka::Stored;
use super::postgres::Server;
use crate::status::lag;
use crate::tables;

/// Looks at every table's progress: the poller's, and the offsets of the lake against those of the
/// topic.
pub fn check(
    config: &Config,
    server: Option<&Server>,
    captured: &[Option<Captured>],
    stored: Option<&Stored>,
    heads: &[Option<Head>],
    findings: &mut Vec<Finding>,
) {
    for (at, table) in config.tables.iter().enumerate() {
        let (captured, head) = (
            captured.get(at).and_then(Option::as_ref),
            heads.get(at).and_then(Option::as_ref),
        );
        let name = captured
            .map(|captured| &captured.schema.table)
            .or(head.map(|head| &head.table));
        // With a broker the progress is in the control topic, without one in the lake's log.
        let progress = match (&config.kafka, name) {
            (Some(_), Some(name)) => stored.and_then(|stored| stored.progress.get(name)),
            _ => head.map(|head| &head.progress),
        };
        let known = stored.is_some() || (config.kafka.is_none() && config.datalake.is_some());
        if known {
            findings.push(of_poller(config, table, server, captured, progress));
        }
        let marks = stored.and_then(|stored| stored.marks.get(at));
        if let (Some(kafka), Some(marks)) = (&config.kafka, marks) {
            let topic = kafka.topic_for(table);
            let read = stored.and_then(|stored| stored.read.get(at));
            // What follows compares the table's own topic with what it had.
            if let Some(another) = progress.and_then(|of| another_topic(table, &topic, of)) {
                let of_topic = format!("topic {topic}");
                findings.retain(|finding| finding.object != of_topic);
                findings.push(another);
                continue;
            }
            findings.extend(read.and_then(|read| missing_lake(config, kafka, table, read)));
            findings.extend(progress.and_then(|progress| sequences(&topic, progress, marks)));
            findings.extend(
                head.map(|head| offsets(&topic, head, marks))
                    .into_iter()
                    .flatten(),
            );
        }
    }
}

/// A lake that the consumer's group has filled before, and that is missing now.
fn missing_lake(
    config: &Config,
    kafka: &KafkaConfig,
    table: &TableConfig,
    read: &BTreeMap<KafkaPartition, Offset>,
) -> Option<Finding> {
    let path = tables::folder(config, config.datalake.as_ref()?, table);
    let offset = read.values().max().copied()?;
    // A lake that cannot be read exists, and has a finding of its own.
    if path.join("_log").exists() || offset == Offset::ZERO {
        return None;
    }
    let lost = LostLake {
        path,
        topic: kafka.topic_for(table),
        group: kafka.group.clone(),
        offset,
    };
    let finding = Finding::error(Hop::Progress, table.written(), lost.to_string());
    Some(
        finding
            .effect("the consumer does not start")
            .fix(lost.fix()),
    )
}

fn of_poller(
    config: &Config,
    table: &TableConfig,
    server: Option<&Server>,
    captured: Option<&Captured>,
    progress: Option<&Progress>,
) -> Finding {
    let object = table.written();
    let restored = match progress.map(StoredProgress::decode).transpose() {
        Ok(restored) => restored.flatten(),
        Err(damaged) => {
            let finding = Finding::error(Hop::Progress, object, damaged.to_string());
            return finding
                .fix("start again under another `pipeline` name and another `datalake.path`");
        }
    };
    let Some(restored) = restored else {
        return Finding::ok(
            Hop::Progress,
            object,
            "none stored: the first start loads the table",
        );
    };
    if let (Some(server), Some(captured)) = (server, captured) {
        match lineage_broken(
            &captured.schema.table,
            restored.identity.as_ref(),
            &server.greeting.identity,
        ) {
            Err(error) => return Finding::of(Hop::Progress, object, &error),
            Ok(true) => {
                return timeline_changed(object, &restored.phase);
            }
            Ok(false) => {}
        }
    }
    let ours = captured.and_then(Captured::cursor_name);
    if let (Some(theirs), Some(ours)) = (restored.cursor.as_deref(), ours)
        && ours != theirs
    {
        return another_cursor(&object, theirs, ours, table.cursor.is_some());
    }
    let place = if config.kafka.is_some() {
        "in the control topic"
    } else {
        "in the lake's log"
    };
    match restored.phase {
        Phase::Loading(load) => {
            let after = load.after.map_or_else(
                || "at the beginning".to_owned(),
                |after| format!("after key {}", after.values.join(", ")),
            );
            Finding::info(
                Hop::Progress,
                object,
                format!("the initial load resumes {after}, stored {place}"),
            )
        }
        phase => Finding::ok(
            Hop::Progress,
            object,
            format!("of this database, {}, stored {place}", phase.name()),
        ),
    }
}

/// The poll goes on by the cursor that it had, unless the configuration names another one.
fn another_cursor(object: &str, theirs: &str, ours: &str, configured: bool) -> Finding {
    let polled = format!("polled by `{theirs}` so far");
    if configured {
        let finding = Finding::info(Hop::Progress, object, polled);
        return finding.effect(format!(
            "the next start sweeps the table once, and polls it by `{ours}` from then on"
        ));
    }
    let finding = Finding::info(Hop::Progress, object, polled);
    finding
        .effect(format!(
            "it stays so, although a new table would be polled by `{ours}`"
        ))
        .fix(format!("tables.{object}.cursor: {ours}"))
}

fn timeline_changed(object: String, phase: &Phase) -> Finding {
    let finding = Finding::warning(
        Hop::Progress,
        object,
        "the server's timeline has changed: a promotion or a restore",
    );
    finding.effect(match phase {
        Phase::Loading(_) | Phase::Joining(_) => {
            "the table is loaded again from the beginning; rows may be duplicated, each as a new \
                version"
        }
        Phase::Tailing(_) => {
            "the last hour is read again, and then the whole table is swept; rows may be \
                duplicated, each as a new version"
        }
    })
}

/// The rows of before are in another topic.
fn another_topic(table: &TableConfig, topic: &str, progress: &Progress) -> Option<Finding> {
    let former = former_topic(progress, topic)?;
    let evidence = format!("published into topic `{former}` so far, and now `{topic}` is given");
    let finding = Finding::error(Hop::Progress, table.written(), evidence);
    let fix = format!(
        "tables.{}.topic: {former}\nor a new `pipeline` name and a new `datalake.path`, to publish \
         every row into `{topic}`",
        table.written()
    );
    let means = "the new topic would have the later changes alone: the producer refuses to start";
    Some(finding.effect(means).fix(fix))
}

/// With another number of partitions keys would move to other kafka_partitions, and lose the order
/// of their versions.
fn sequences(
    topic: &str,
    progress: &Progress,
    marks: &BTreeMap<KafkaPartition, Marks>,
) -> Option<Finding> {
    let Sequences(stored) = Sequences::decode(progress.0.get(PART)?)?;
    if stored.len() == marks.len() {
        return None;
    }
    let evidence = format!(
        "it has {} partitions, and had {} when it was last written",
        marks.len(),
        stored.len()
    );
    let finding = Finding::error(Hop::Progress, format!("topic {topic}"), evidence);
    let means = "the versions of a key would lie in two partitions, without an order between them: \
        the producer refuses to start";
    Some(
        finding
            .effect(means)
            .fix("a new topic (`kafka.topic`) and a new `pipeline` name"),
    )
}

/// A topic that was deleted and created again may have offsets that fit, and other records there.
pub async fn recreated(config: &Config, heads: &[Option<Head>]) -> Vec<Finding> {
    let Some(kafka) = config.kafka.clone() else {
        return Vec::new();
    };
    let tables = config.tables.iter().zip(heads);
    let topics: Vec<_> = tables
        .map(|(table, head)| (kafka.topic_for(table), head.clone()))
        .collect();
    let asked = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        // What cannot be asked is a finding of the broker already.
        let lags = lag::of_topics(&kafka, &topics).unwrap_or_default();
        for ((topic, _), lag) in topics.iter().zip(lags) {
            if let Err(error @ SourceError::Recreated { .. }) = lag {
                findings.push(Finding::of(Hop::Progress, format!("topic {topic}"), &error));
            }
        }
        findings
    });
    asked.await.expect("the look at Kafka does not panic")
}

/// The offsets that the lake needs next must still be in the topic, or still be to come.
fn offsets(topic: &str, head: &Head, marks: &BTreeMap<KafkaPartition, Marks>) -> Vec<Finding> {
    let missing = head.offsets.iter().filter_map(|(partition, at)| {
        let next = at.next?;
        // A kafka_partition that the topic does not have counts as empty: what the lake waits for
        // is missing.
        let none = Marks {
            low: Offset::ZERO,
            end: Offset::ZERO,
        };
        let marks = marks.get(partition).copied().unwrap_or(none);
        start(Some(next), marks).err()?;
        let error = SourceError::Missing {
            topic: topic.to_owned(),
            partition: *partition,
            marks,
            next,
        };
        Some(Finding::of(Hop::Progress, format!("topic {topic}"), &error))
    });
    missing.collect()
}
