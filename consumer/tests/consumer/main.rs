//! The consumer against a real Kafka; DuckDB reads the result.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

mod fixture;
mod publisher;

use std::time::{Duration, Instant};

use anyhow::Result;
use inlet_consumer::{ConsumerError, SourceError};
use inlet_harness::eventually;
use inlet_kafka::{Isolation, all_watermarks, watermarks};
use inlet_model::KafkaPartition;
use inlet_service::error::{Explain, Kind};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::groups::GroupInfo;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use fixture::{DEADLINE, Fixture};
use publisher::{key, value};

/// A session that ends long after every deadline of a test.
const LONG_SESSION_MS: &str = "300000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_arrive_once_with_every_value_and_aborted_transactions_never() -> Result<()> {
    let fixture = Fixture::new("once", 4).await?;
    let mut publisher = fixture.publisher()?;
    let consumer = fixture.start();
    publisher.abort(5_000..5_010, 4)?;
    publisher.publish(0..1_000, 4)?;
    publisher.abort(5_000..5_010, 4)?;
    publisher.publish(1_000..1_500, 4)?;
    fixture.holds(1_500).await;
    publisher.publish_records(&[(3, key(7), None)])?;
    let deletes = async || {
        Ok(fixture
            .query("order_id", &fixture.rows(), "WHERE _op = 'd'")
            .await?
            == [["7"]])
    };
    eventually(DEADLINE, "the delete in the lake", deletes).await;
    consumer.stop().await;
    let exact = "WHERE _op = 'u' AND amount = order_id + 0.25 AND note = 'row ' || order_id AND \
        _kafka_partition = order_id % 4 \
                 AND created_at = TIMESTAMP '2026-11-01 12:34:56.000001' + INTERVAL 1 DAY * \
                 (order_id % 3) AND date = created_at::DATE AND _xid = 1000";
    assert_eq!(
        fixture.query("count(*)", &fixture.rows(), exact).await?,
        [["1500"]]
    );
    assert_eq!(
        fixture.query("count(*)", &fixture.rows(), "").await?,
        [["1501"]]
    );
    assert!(std::fs::read_to_string(fixture.checkpoint())?.contains("offsets"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_quarantined_whole_and_the_other_rows_arrive() -> Result<()> {
    let mut fixture = Fixture::new("garbage", 1).await?;
    fixture.settings.tables[0].rules = vec!["amount >= 5".to_owned(), "note ~ '^row'".to_owned()];
    let mut publisher = fixture.publisher()?;
    publisher.publish(5..10, 1)?;
    fixture
        .kafka
        .produce(
            &fixture.topic,
            &[(0, Some(b"k"), Some(b"\xff\x00 no json")), (0, None, None)],
        )
        .await?;
    publisher.publish_records(&[
        (0, key(10), Some(value(10))),
        (0, key(11), Some("{\"order_id\":11".to_owned())),
        (0, key(1), Some(value(1).replace("row", "wor"))),
        (0, key(12), Some(value(12).replace("12.25", "12.255"))),
        (0, key(12), Some(value(12))),
    ])?;
    let consumer = fixture.start();
    let arrived = async || Ok(fixture.counts().await? == (7, 7, 5 + 6 + 7 + 8 + 9 + 10 + 12));
    eventually(DEADLINE, "the good rows", arrived).await;
    consumer.stop().await;
    let lines = fixture
        .query(
            "\"offset\", key, value_base64, reason",
            &fixture.quarantine(),
            "ORDER BY ALL",
        )
        .await?;
    // The marker of the first transaction may be after the records without a transaction, so the
    // test compares the order of the offsets only.
    let found: Vec<_> = lines
        .iter()
        .map(|line| (line[1].as_str(), line[2].as_str()))
        .collect();
    assert_eq!(found[..2], [("k", "/wAgbm8ganNvbg=="), ("NULL", "NULL")]);
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0][3].contains("header"), "{lines:?}");
    assert_eq!(lines[3][3], "amount >= 5; note ~ '^row'");
    assert!(lines[4][3].contains("amount"), "{lines:?}");
    let whole = fixture
        .query(
            "value",
            &fixture.quarantine(),
            &format!("WHERE \"offset\" = {}", lines[2][0]),
        )
        .await?;
    assert_eq!(whole, [["{\"order_id\":11"]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_join_and_leave_and_every_row_arrives_once() -> Result<()> {
    let fixture = Fixture::new("members", 4).await?;
    let mut publisher = fixture.publisher()?;
    let mut published = 0;
    let mut publish = |rows: i64| {
        publisher.publish(published..published + rows, 4)?;
        published += rows;
        anyhow::Ok(published)
    };
    let mut stays = fixture.start();
    for round in 0..6 {
        publish(400)?;
        let comes = fixture.start();
        // Each half is published while the group rebalances.
        let arrived = publish(400)?;
        if round % 2 == 0 {
            fixture.holds(arrived).await;
        }
        let goes = if round % 3 == 0 {
            comes
        } else {
            std::mem::replace(&mut stays, comes)
        };
        if round % 2 == 0 {
            goes.stop().await
        } else {
            goes.kill().await
        }
    }
    fixture.holds(publish(400)?).await;
    stays.stop().await;
    assert_eq!(fixture.counts().await?.0, 5_200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_from_the_log_whatever_the_group_stores() -> Result<()> {
    let fixture = Fixture::new("resume", 2).await?;
    let mut publisher = fixture.publisher()?;
    publisher.publish(0..1_000, 2)?;
    for (restart, moved_to) in [Offset::Beginning, Offset::End, Offset::Offset(100)]
        .into_iter()
        .enumerate()
    {
        let rows = 1_000 + 100 * i64::try_from(restart)?;
        let consumer = fixture.start();
        fixture.holds(rows).await;
        consumer.stop().await;
        publisher.publish(rows..rows + 100, 2)?;
        move_group(&fixture, moved_to)?;
    }
    let consumer = fixture.start();
    fixture.holds(1_300).await;
    consumer.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_sequence_is_an_error_and_a_duplicate_is_dropped() -> Result<()> {
    let fixture = Fixture::new("hole", 1).await?;
    let mut publisher = fixture.publisher()?;
    let consumer = fixture.start();
    publisher.publish(0..10, 1)?;
    publisher.shift_sequence(0, -3);
    publisher.publish(7..12, 1)?;
    fixture.holds(12).await;
    publisher.shift_sequence(0, 2);
    publisher.publish(12..20, 1)?;
    let error = consumer.failure().await;
    assert_eq!(error.kind(), Kind::Data);
    let ConsumerError::Hole {
        topic,
        partition,
        expected,
        got,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (topic.as_str(), partition.0, *expected, *got),
        (fixture.topic.as_str(), 0, 12, 14)
    );
    fixture.holds(12).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_expired_unread_are_an_error() -> Result<()> {
    let fixture = Fixture::new("truncated", 1).await?;
    let mut publisher = fixture.publisher()?;
    publisher.publish(0..10, 1)?;
    let consumer = fixture.start();
    fixture.holds(10).await;
    consumer.stop().await;
    publisher.publish(10..20, 1)?;
    let admin: AdminClient<DefaultClientContext> = fixture.kafka.client().create()?;
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&fixture.topic, 0, Offset::Offset(15))?;
    admin
        .delete_records(
            &until,
            &AdminOptions::new().operation_timeout(Some(DEADLINE)),
        )
        .await?;
    let error = fixture.start().failure().await;
    assert_eq!(error.kind(), Kind::Data);
    let ConsumerError::Source(SourceError::Missing { marks, next, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!((marks.low.0, marks.end.0, next.0), (15, 22, 10));
    assert!(error.hint().is_some());
    fixture.holds(10).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_created_again_is_an_error() -> Result<()> {
    let fixture = Fixture::new("again", 1).await?;
    let mut publisher = fixture.publisher()?;
    publisher.publish(0..50, 1)?;
    let consumer = fixture.start();
    fixture.holds(50).await;
    consumer.stop().await;
    fixture.kafka.delete_topic(&fixture.topic).await?;
    eventually(DEADLINE, "the topic again", async || {
        fixture
            .kafka
            .create_topic(&fixture.topic, 1, &[])
            .await
            .map(|()| true)
    })
    .await;
    let error = fixture.start().failure().await;
    let ConsumerError::Source(SourceError::Missing { marks, next, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!((marks.end.0, next.0), (0, 50));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_and_schema_may_be_created_after_the_consumer_starts() -> Result<()> {
    let fixture = Fixture::without_topics("later").await?;
    let consumer = fixture.start();
    fixture.create_topics(2).await?;
    fixture
        .kafka
        .produce(&fixture.topic, &[(0, None, Some(b"early garbage"))])
        .await?;
    // The group has the topic before its first schema is published.
    eventually(DEADLINE, "the group has members", async || {
        let probe: BaseConsumer = fixture.kafka.client().create()?;
        let groups = tokio::task::block_in_place(|| {
            probe.fetch_group_list(Some(&fixture.settings.group), Duration::from_secs(5))
        })?;
        Ok(groups
            .groups()
            .iter()
            .any(|group| group.state() == "Stable"))
    })
    .await;
    fixture.publisher()?.publish(0..100, 2)?;
    fixture.holds(100).await;
    consumer.stop().await;
    assert_eq!(
        fixture.query("value", &fixture.quarantine(), "").await?,
        [["early garbage"]]
    );
    // The restarted consumer joined in the same place. With a second place, the group would wait
    // for the first one's session to end.
    let places = std::fs::read_dir(fixture.settings.tables[0].path.join("_members"))?.count();
    assert_eq!(places, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_is_replaced_before_its_session_ends() -> Result<()> {
    let mut fixture = Fixture::new("leaves", 2).await?;
    fixture.set_property("session.timeout.ms", LONG_SESSION_MS)?;
    let mut publisher = fixture.publisher()?;
    let (goes, stays) = (fixture.start(), fixture.start());
    publisher.publish(0..100, 2)?;
    fixture.holds(100).await;
    goes.stop().await;
    publisher.publish(100..200, 2)?;
    fixture.holds(200).await;
    stays.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_before_its_join_is_answered_is_replaced() -> Result<()> {
    let mut fixture = Fixture::new("unanswered", 2).await?;
    fixture.set_property("session.timeout.ms", LONG_SESSION_MS)?;
    let group = fixture.settings.group.clone();
    let mut config = fixture.kafka.client();
    config
        .set("group.id", &group)
        .set("session.timeout.ms", LONG_SESSION_MS)
        .set("partition.assignment.strategy", "range");
    let other: BaseConsumer = config.create()?;
    other.subscribe(&[&fixture.topic])?;
    let holds_both = async || {
        tokio::task::block_in_place(|| other.poll(Duration::from_millis(10)));
        Ok(other
            .assignment()
            .is_ok_and(|assignment| assignment.count() == 2))
    };
    eventually(DEADLINE, "a member with all kafka_partitions", holds_both).await;
    // The group answers the join of the second member when the first one polls.
    let consumer = fixture.start();
    let probe: BaseConsumer = fixture.kafka.client().create()?;
    let listed = || {
        let groups = tokio::task::block_in_place(|| {
            probe.fetch_group_list(Some(&group), Duration::from_secs(5))
        })?;
        let members = groups.groups().iter().map(|group| group.members().len());
        anyhow::Ok(members.sum::<usize>())
    };
    eventually(DEADLINE, "two members", async || Ok(listed()? == 2)).await;
    let mut stop = tokio::spawn(consumer.stop());
    // It unsubscribes without the id that it needs to leave, and waits for the answer.
    let waits = tokio::time::timeout(Duration::from_secs(1), &mut stop).await;
    assert!(waits.is_err(), "the member has not left, and does not wait");
    eventually(DEADLINE, "the only member has all", async || {
        Ok(holds_both().await? && listed()? == 1)
    })
    .await;
    Ok(stop.await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_member_is_replaced_before_its_session_ends() -> Result<()> {
    let mut fixture = Fixture::new("died", 2).await?;
    fixture.set_property("session.timeout.ms", LONG_SESSION_MS)?;
    let group = &fixture.settings.group;
    let mut config = fixture.kafka.client();
    config
        .set("group.id", group)
        .set("group.instance.id", format!("{group}-0"))
        .set("session.timeout.ms", LONG_SESSION_MS);
    // This member holds all kafka_partitions, and never reads, leaves or returns.
    let died: BaseConsumer = config
        .set("partition.assignment.strategy", "range")
        .create()?;
    died.subscribe(&[&fixture.topic])?;
    eventually(DEADLINE, "a member with kafka_partitions", async || {
        tokio::task::block_in_place(|| died.poll(Duration::from_millis(10)));
        died.assignment()
            .is_ok_and(|assignment| assignment.count() == 2)
    })
    .await;
    fixture.publisher()?.publish(0..100, 2)?;
    let consumer = fixture.start();
    fixture.holds(100).await;
    consumer.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_does_not_wait_for_an_open_transaction_in_the_control_topic() -> Result<()> {
    let fixture = Fixture::new("stopping", 1).await?;
    let mut publisher = fixture.publisher()?;
    publisher.open_transaction()?;
    let consumer = fixture.start();
    let observer: BaseConsumer = fixture
        .kafka
        .client()
        .set("group.id", "observer")
        .create()?;
    // From the assignment on the consumer reads the control topic, and waits there.
    let assigned = async || {
        let groups = tokio::task::block_in_place(|| {
            observer.fetch_group_list(Some(&fixture.settings.group), DEADLINE)
        })?;
        let is_stable = |group: &GroupInfo| group.state() == "Stable";
        Ok(groups.groups().iter().any(is_stable))
    };
    eventually(DEADLINE, "the group has its member", assigned).await;
    // The transaction stays open for longer than this.
    tokio::time::timeout(Duration::from_secs(20), consumer.stop())
        .await
        .expect("the consumer stops while the transaction is open");
    publisher.abort_open()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offsets_of_many_kafka_partitions_are_those_of_each() -> Result<()> {
    let fixture = Fixture::new("offsets", 50).await?;
    let mut publisher = fixture.publisher()?;
    publisher.publish(0..30, 50)?;
    publisher.abort(30..40, 50)?;
    let names: Vec<_> = (0..50)
        .map(|partition| (fixture.topic.clone(), KafkaPartition(partition)))
        .collect();
    let readers = [Isolation::Committed, Isolation::Uncommitted]
        .map(|isolation| fixture.settings.connection.reader(isolation).unwrap());
    let deadline = || Instant::now() + DEADLINE;
    let all = |reader| tokio::task::block_in_place(|| all_watermarks(reader, &names, deadline()));
    // The broker confirms the end of a transaction a moment before it writes all markers.
    let has_ended = async || Ok(all(&readers[0])? == all(&readers[1])?);
    eventually(DEADLINE, "the transactions have ended", has_ended).await;
    tokio::task::block_in_place(|| {
        for reader in &readers {
            let found = all(reader)?;
            for ((topic, partition), found) in names.iter().zip(found) {
                let one = watermarks(reader, topic, *partition, deadline())?;
                assert_eq!(found, one, "{partition:?}");
            }
        }
        let missing = [(format!("{}-missing", fixture.topic), KafkaPartition(0))];
        let error = all_watermarks(&readers[0], &missing, Instant::now()).unwrap_err();
        assert!(error.to_string().contains("-missing"), "{error}");
        Ok(())
    })
}

/// Changes the offsets of the group, as a tool would.
fn move_group(fixture: &Fixture, to: Offset) -> Result<()> {
    tokio::task::block_in_place(|| {
        let group: BaseConsumer = fixture
            .kafka
            .client()
            .set("group.id", &fixture.settings.group)
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..2 {
            let (low, end) = group.fetch_watermarks(&fixture.topic, partition, DEADLINE)?;
            let offset = match to {
                Offset::Beginning => low,
                Offset::End => end,
                Offset::Offset(offset) => offset,
                other => anyhow::bail!("{other:?}"),
            };
            list.add_partition_offset(&fixture.topic, partition, Offset::Offset(offset))?;
        }
        group.commit(&list, CommitMode::Sync)?;
        Ok(())
    })
}
