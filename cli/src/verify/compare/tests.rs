use super::*;

/// Sees xids below 100; 90 runs.
fn sight() -> Sight {
    Sight::parse("90:100:90").unwrap()
}

fn hash(number: u64) -> Hash {
    Hash::of(&number.to_be_bytes())
}

fn row(key: u64, values: u64, xmin: u32) -> Row {
    Row {
        key: hash(key),
        values: hash(values),
        xmin,
        has_left: false,
    }
}

fn version(key: u64, values: u64, xid: u64, offset: i64) -> Version {
    Version {
        key: hash(key),
        values: hash(values),
        xid,
        position: Position {
            offset,
            ..Position::default()
        },
        columns: 0,
        deleted: false,
        settled: false,
        earlier_key: false,
    }
}

fn compared(rows: &[Row], versions: &[Version]) -> Findings {
    with_quarantine(true, rows, versions, &HashMap::new())
}

fn with_quarantine(
    keyed: bool,
    rows: &[Row],
    versions: &[Version],
    quarantined: &HashMap<Hash, Quarantined>,
) -> Findings {
    let (mut rows, mut versions) = (rows.to_vec(), versions.to_vec());
    rows.sort_by_key(|row| row.key);
    versions.sort_by_key(|version| (version.key, version.position.order(false)));
    compare(keyed, &rows, &versions, quarantined, &sight(), &[])
}

#[test]
fn a_snapshot_tells_what_it_sees() {
    let sight = sight();
    assert_eq!(
        [89, 90, 95, 100].map(|xid| sight.seen_by_xid(xid)),
        [Seen::Yes, Seen::No, Seen::Perhaps, Seen::No]
    );
    assert_eq!(Sight::parse("90:100:").unwrap().seen_by_xid(95), Seen::Yes);
    assert_eq!(Sight::parse("90"), None);
}

#[test]
fn the_latest_version_counts() {
    let found = compared(
        &[row(1, 20, 12), row(2, 30, 13)],
        &[
            version(1, 10, 11, 0),
            version(2, 30, 13, 1),
            version(1, 20, 12, 2),
        ],
    );
    assert!(found.is_equal());
    assert_eq!(found.rows, 2);
}

#[test]
fn a_stale_version_is_a_difference_and_may_be_late() {
    let found = compared(&[row(1, 20, 12)], &[version(1, 10, 11, 0)]);
    assert_eq!(
        found.different,
        Finding {
            rows: 1,
            first: vec![(hash(1), 0)]
        }
    );
    assert!(found.may_be_late());
}

#[test]
fn an_older_version_behind_the_right_one_is_a_difference() {
    assert_eq!(
        compared(
            &[row(1, 20, 12)],
            &[version(1, 20, 12, 0), version(1, 10, 11, 1)]
        )
        .different
        .rows,
        1
    );
}

#[test]
fn a_row_that_changed_later_is_compared_by_its_version_of_the_snapshot() {
    assert!(
        compared(
            &[row(1, 20, 12)],
            &[version(1, 20, 12, 0), version(1, 30, 101, 1)]
        )
        .is_equal()
    );
    assert_eq!(
        compared(
            &[row(1, 20, 12)],
            &[version(1, 21, 12, 0), version(1, 30, 101, 1)]
        )
        .different
        .rows,
        1
    );
}

#[test]
fn a_version_that_was_overtaken_before_the_poll_is_not_asked_for() {
    let found = compared(
        &[row(1, 20, 12)],
        &[version(1, 10, 11, 0), version(1, 30, 101, 1)],
    );
    assert!(found.is_equal());
    assert_eq!(found.changed_since, 1);
}

#[test]
fn a_version_that_may_be_seen_does_not_excuse_a_stale_lake() {
    assert_eq!(
        compared(&[row(1, 20, 96)], &[version(1, 10, 95, 0)])
            .different
            .rows,
        1
    );
}

#[test]
fn a_row_that_was_deleted_in_postgresql_is_only_in_the_lake_unless_it_is_newer() {
    let mut gone = version(3, 1, 14, 3);
    gone.deleted = true;
    let found = compared(
        &[],
        &[
            version(1, 10, 11, 0),
            version(2, 10, 101, 1),
            version(3, 1, 12, 2),
            gone,
        ],
    );
    assert_eq!(found.only_in_lake.rows, 1);
    assert!(!found.may_be_late() && !found.is_equal());
}

#[test]
fn a_duplicate_version_is_reported_also_if_the_latest_one_is_equal() {
    let found = compared(
        &[row(1, 20, 12)],
        &[
            version(1, 10, 11, 0),
            version(1, 10, 11, 0),
            version(1, 20, 12, 1),
        ],
    );
    assert_eq!(
        found.duplicates,
        Finding {
            rows: 1,
            first: vec![(hash(1), 11)]
        }
    );
}

#[test]
fn quarantine_accounts_for_what_the_lake_did_not_take() {
    let quarantined = HashMap::from([
        (
            hash(1),
            Quarantined {
                versions: 1,
                offset: 5,
            },
        ),
        (
            hash(2),
            Quarantined {
                versions: 1,
                offset: 1,
            },
        ),
    ]);
    let rows = [row(1, 20, 12), row(2, 20, 12)];
    let found = with_quarantine(
        true,
        &rows,
        &[version(1, 10, 11, 4), version(2, 10, 11, 4)],
        &quarantined,
    );
    assert_eq!((found.quarantined, found.different.rows), (1, 1));
    let found = with_quarantine(true, &rows, &[], &quarantined);
    assert_eq!((found.quarantined, found.missing.rows), (2, 0));
}

#[test]
fn rows_without_a_key_are_counted() {
    let rows = [row(1, 10, 11), row(1, 10, 11), row(2, 20, 11)];
    let versions = [
        version(1, 10, 11, 0),
        version(1, 10, 11, 1),
        version(3, 30, 11, 2),
    ];
    let found = with_quarantine(false, &rows, &versions, &HashMap::new());
    assert_eq!(
        (
            found.missing.rows,
            found.only_in_lake.rows,
            found.duplicates.rows
        ),
        (1, 1, 0)
    );
    assert!(with_quarantine(false, &rows[..2], &versions[..2], &HashMap::new()).is_equal());
}

#[test]
fn rows_are_remembered_up_to_a_bound_and_all_are_counted() {
    let mut finding = Finding::default();
    for key in 0..REMEMBERED_MAX as u64 {
        finding.add(1, Hash::of(&key.to_be_bytes()), 0);
    }
    let mut both = finding.clone();
    both.join(finding);
    let max = REMEMBERED_MAX;
    assert_eq!((both.rows, both.first.len()), (2 * max as u64, max));
}

#[test]
fn what_was_in_a_file_before_the_snapshot_is_seen_by_it_whatever_runs() {
    let later = version(1, 10, 95, 0);
    let before = Version {
        settled: true,
        ..later
    };
    assert!(compared(&[], &[later]).is_equal());
    assert_eq!(compared(&[], &[before]).only_in_lake.rows, 1);
}

#[test]
fn a_version_that_arrives_again_with_another_column_is_no_duplicate() {
    let (first, again) = (version(1, 10, 12, 0), version(1, 20, 12, 1));
    assert_eq!(
        compared(&[row(1, 20, 12)], &[first, again]).duplicates.rows,
        1
    );
    let wider = Version {
        columns: 1,
        ..again
    };
    assert!(compared(&[row(1, 20, 12)], &[first, wider]).is_equal());
}

#[test]
fn a_row_under_an_earlier_key_is_not_called_deleted() {
    let mut version = version(1, 10, 11, 0);
    version.earlier_key = true;
    let found = compared(&[], &[version]);
    assert_eq!((found.only_in_lake.rows, found.earlier_key.rows), (0, 1));
    assert!(!found.is_equal());
}

#[test]
fn versions_of_several_kafka_partitions_are_ordered_by_the_time_they_were_found() {
    let at = |kafka_partition, offset, detected_at| Position {
        kafka_partition,
        offset,
        detected_at,
    };
    let (earlier, later) = (at(0, 90, 5), at(1, 7, 6));
    assert!(earlier.order(true) < later.order(true));
    assert!(earlier.order(false) > later.order(false));
    let mut versions = [version(1, 10, 11, 90), version(1, 20, 12, 7)];
    (versions[0].position, versions[1].position) = (earlier, later);
    let row = [row(1, 20, 12)];
    let found = compare(true, &row, &versions, &HashMap::new(), &sight(), &[]);
    assert!(found.is_equal());
    assert_eq!(found.moved_keys, 1);
}

#[test]
fn a_version_that_a_load_brought_again_is_no_duplicate() {
    let mut versions = [version(1, 10, 11, 0), version(1, 10, 11, 1)];
    versions[1].position.detected_at = 7;
    let duplicates = |loads: &[i64]| {
        let row = [row(1, 10, 11)];
        compare(true, &row, &versions, &HashMap::new(), &sight(), loads)
            .duplicates
            .rows
    };
    assert_eq!(
        [duplicates(&[]), duplicates(&[8]), duplicates(&[5])],
        [1, 1, 0]
    );
}
