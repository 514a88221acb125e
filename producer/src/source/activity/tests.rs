use super::{Activity, Holder, HolderId, Reading, Seen, ServerTime};
use inlet_model::Xid;
use inlet_postgres::Session;
use proptest::prelude::*;

fn reading(read_at: i64, xid_end: u64, sessions: Vec<Session>) -> Reading {
    Reading {
        read_at: ServerTime(read_at),
        xid_end: Xid(xid_end),
        snapshot: String::new(),
        backend: 1,
        sessions,
        prepared: Vec::new(),
    }
}

fn open(xact_start: Option<i64>, query_start: i64, running: bool, xid: Option<u32>) -> Session {
    let xact_start = xact_start.map(ServerTime);
    Session {
        pid: 1,
        seen: Seen::Open {
            backend_start: ServerTime(0),
            xact_start,
            query_start: Some(ServerTime(query_start)),
            running,
        },
        xid,
    }
}

fn only(activity: &Activity) -> Holder {
    assert_eq!(activity.holders.len(), 1, "{activity:?}");
    *activity.holders.values().next().expect("one holder")
}

#[test]
fn a_writers_bound_is_its_own_xid_and_stays_so() {
    let first = Activity::next(
        None,
        &reading(100, 50, vec![open(Some(90), 90, false, Some(40))]),
    );
    assert_eq!(only(&first).xid_bound, Xid(40));
    let later = Activity::next(
        Some(&first),
        &reading(200, 80, vec![open(Some(90), 150, false, Some(40))]),
    );
    assert_eq!(
        only(&later),
        Holder {
            start: ServerTime(90),
            xid_bound: Xid(40),
            xidless: false
        }
    );
}

#[test]
fn an_xid_that_was_given_out_after_the_snapshot_does_not_raise_the_bound() {
    let activity = Activity::next(
        None,
        &reading(100, 50, vec![open(Some(90), 90, false, Some(55))]),
    );
    assert_eq!(only(&activity).xid_bound, Xid(50));
}

#[test]
fn a_reader_without_xid_in_two_readings_after_its_first_message_is_raised() {
    let sessions = vec![open(Some(90), 95, false, None)];
    let first = Activity::next(None, &reading(100, 50, sessions.clone()));
    let second = Activity::next(Some(&first), &reading(200, 80, sessions.clone()));
    assert_eq!(
        (only(&first).xid_bound, only(&second).xid_bound),
        (Xid(50), Xid(80))
    );
}

#[test]
fn a_transaction_in_its_first_message_is_never_raised() {
    let sessions = vec![open(Some(90), 90, false, None)];
    let first = Activity::next(None, &reading(100, 50, sessions.clone()));
    let second = Activity::next(Some(&first), &reading(200, 80, sessions.clone()));
    let third = Activity::next(Some(&second), &reading(300, 90, sessions));
    assert_eq!(only(&third).xid_bound, Xid(50));
}

#[test]
fn a_running_message_is_a_holder_of_its_own() {
    let activity = Activity::next(None, &reading(100, 50, vec![open(None, 60, true, None)]));
    assert_eq!(
        only(&activity),
        Holder {
            start: ServerTime(60),
            xid_bound: Xid(50),
            xidless: false
        }
    );
    let idle = Activity::next(None, &reading(100, 50, vec![open(None, 60, false, None)]));
    assert!(idle.holders.is_empty());
}

#[test]
fn a_prepared_transaction_began_no_earlier_than_the_oldest_holder_before() {
    let first = Activity::next(
        None,
        &reading(100, 50, vec![open(Some(70), 70, false, Some(45))]),
    );
    let second = Activity::next(
        Some(&first),
        &Reading {
            prepared: vec![45],
            ..reading(200, 60, vec![])
        },
    );
    assert_eq!(
        only(&second),
        Holder {
            start: ServerTime(70),
            xid_bound: Xid(45),
            xidless: false
        }
    );
}

#[test]
fn a_prepared_transaction_of_the_first_reading_may_be_of_any_age() {
    let first = Activity::next(
        None,
        &Reading {
            prepared: vec![45],
            ..reading(200, 60, vec![])
        },
    );
    assert_eq!(only(&first).start, ServerTime::MIN);
    let later = Activity::next(
        Some(&first),
        &Reading {
            prepared: vec![45],
            ..reading(300, 70, vec![])
        },
    );
    assert_eq!(only(&later).start, ServerTime::MIN);
}

#[test]
fn a_hidden_transaction_inherits_the_start_of_its_sessions_last_one() {
    let hidden = |local_xid| {
        vec![Session {
            pid: 1,
            seen: Seen::Hidden {
                local_xid: Some(local_xid),
            },
            xid: None,
        }]
    };
    let idle = Activity::next(None, &reading(100, 50, vec![]));
    let first = Activity::next(Some(&idle), &reading(200, 60, hidden(1)));
    assert_eq!(only(&first).start, ServerTime(100));
    let follower = Activity::next(Some(&first), &reading(300, 70, hidden(2)));
    assert_eq!(only(&follower).start, ServerTime(100));
}

#[test]
fn a_transaction_that_ceases_to_show_its_times_keeps_its_start() {
    let first = Activity::next(
        None,
        &reading(100, 50, vec![open(Some(70), 70, false, Some(45))]),
    );
    let hidden = vec![Session {
        pid: 1,
        seen: Seen::Hidden { local_xid: Some(8) },
        xid: Some(45),
    }];
    let second = Activity::next(Some(&first), &reading(200, 60, hidden));
    assert_eq!(
        only(&second),
        Holder {
            start: ServerTime(70),
            xid_bound: Xid(45),
            xidless: false
        }
    );
}

#[test]
fn holders_of_before_the_wrap_are_widened_into_their_epoch() {
    let activity = Activity::next(
        None,
        &reading(
            100,
            (1 << 32) + 10,
            vec![open(Some(90), 90, false, Some(u32::MAX))],
        ),
    );
    assert_eq!(only(&activity).xid_bound, Xid(u64::from(u32::MAX)));
}

#[test]
fn an_activity_reads_back_from_its_text() {
    let activity = Activity::next(
        None,
        &Reading {
            prepared: vec![45],
            ..reading(200, 60, vec![open(Some(70), 80, true, Some(45))])
        },
    );
    assert_eq!(activity.holders.len(), 3);
    let text = serde_json::to_string(&activity).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Activity>(&text).expect("an activity"),
        activity
    );
    assert!(
        activity
            .holders
            .contains_key(&HolderId::Prepared { xid: Xid(45) })
    );
}

#[test]
fn a_session_that_is_starting_holds_back_like_one_whose_times_are_hidden() {
    let session = |seen| Session {
        pid: 1,
        seen,
        xid: None,
    };
    let local_xid = Some(7);
    let [starting, hidden] = [Seen::Starting { local_xid }, Seen::Hidden { local_xid }]
        .map(|seen| Activity::next(None, &reading(100, 50, vec![session(seen)])));
    assert_eq!(starting, hidden);
    assert_eq!(only(&starting).start, ServerTime::MIN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn a_known_transaction_keeps_its_start_and_its_bound_never_falls(
        readings in prop::collection::vec((1..100_i64, 1..100_u64, any::<bool>(), any::<bool>()), 1..10),
        xid in prop::option::of(3..1000_u32),
    ) {
        let (mut now, mut end) = (1000, 1000);
        let mut last: Option<Activity> = None;
        for (pause, given, later, assigned) in readings {
            (now, end) = (now + pause, end + given);
            let query_start = if later { now } else { 500 };
            let session = open(Some(500), query_start, false, xid.filter(|_| assigned));
            let next = Activity::next(last.as_ref(), &reading(now, end, vec![session]));
            let holder = only(&next);
            prop_assert_eq!(holder.start, ServerTime(500));
            prop_assert!(holder.xid_bound <= Xid(end));
            prop_assert_eq!(next.xid_bound(), holder.xid_bound);
            if let Some(last) = &last {
                let before = only(last);
                prop_assert!(holder.xid_bound >= before.xid_bound);
                let raised = holder.xid_bound > before.xid_bound;
                prop_assert!(!raised || before.xidless && holder.xidless);
            }
            last = Some(next);
        }
    }
}
