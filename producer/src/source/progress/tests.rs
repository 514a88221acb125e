use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inlet_model::Progress;
use inlet_model::Xid;
use inlet_postgres::server::Identity;
use inlet_postgres::{IdentityForm, Ordered, ServerTime, Values};
use proptest::prelude::*;

use super::{Parts, Relation, Stored};
use crate::source::activity::{Activity, Holder, HolderId};
use crate::source::bounds::ScanBounds;
use crate::source::coverage::Coverage;
use crate::source::detection::Detection;
use crate::source::phase::{Joined, Load, Phase, Position, Reload};
use crate::source::tiers::LastScan;
use crate::source::unseen::Unseen;

fn holders() -> impl Strategy<Value = BTreeMap<HolderId, Holder>> {
    let id = prop_oneof![
        any::<u64>().prop_map(|xid| HolderId::Prepared { xid: Xid(xid) }),
        (any::<i32>(), any::<i64>(), any::<i64>()).prop_map(|(pid, backend, xact)| {
            HolderId::Transaction {
                pid,
                backend_start: ServerTime(backend),
                xact_start: ServerTime(xact),
            }
        }),
        (any::<i32>(), any::<u32>())
            .prop_map(|(pid, local_xid)| HolderId::Hidden { pid, local_xid }),
    ];
    let holder =
        (any::<i64>(), any::<u64>(), any::<bool>()).prop_map(|(start, xid, xidless)| Holder {
            start: ServerTime(start),
            xid_bound: Xid(xid),
            xidless,
        });
    prop::collection::btree_map(id, holder, 0..4)
}

fn ordered() -> impl Strategy<Value = Ordered> {
    let column = (any::<i16>(), any::<u32>(), any::<u32>());
    column.prop_map(|(number, type_oid, collation)| Ordered {
        number,
        type_oid,
        collation,
    })
}

fn identities() -> impl Strategy<Value = IdentityForm> {
    (ordered(), ".*").prop_map(|(of, form)| IdentityForm { of, form })
}

fn phases() -> impl Strategy<Value = Phase> {
    let key = prop::option::of(prop::collection::vec(ordered(), 1..3));
    let values = prop::collection::vec(".*", 1..3);
    let after = (key, values).prop_map(|(key, values)| Position { key, values });
    let (begin, xid_end) = (any::<u64>().prop_map(Xid), any::<u64>().prop_map(Xid));
    let load = (begin.clone(), xid_end.clone(), prop::option::of(after));
    let joined = (begin, xid_end).prop_map(|(begin, xid_end)| Joined { begin, xid_end });
    let activity = (any::<i64>(), any::<u64>(), ".*", holders());
    prop_oneof![
        load.prop_map(|(begin, xid_end, after)| Phase::Loading(Load {
            begin,
            xid_end,
            after
        })),
        joined.prop_map(Phase::Joining),
        activity.prop_map(|(read_at, xid_end, snapshot, holders)| {
            Phase::Tailing(Arc::new(Activity {
                read_at: ServerTime(read_at),
                xid_end: Xid(xid_end),
                snapshot,
                holders,
            }))
        }),
    ]
}

fn reloads() -> impl Strategy<Value = Reload> {
    let load = phases().prop_filter_map("a load", |phase| match phase {
        Phase::Loading(load) => Some(load),
        Phase::Joining(_) | Phase::Tailing(_) => None,
    });
    let without = prop::collection::vec(any::<u32>(), 0..3);
    let condition = prop::option::of(".*");
    let reload = (load, without, condition, any::<bool>());
    reload.prop_map(|(load, without, condition, started)| Reload {
        load,
        without,
        condition,
        started,
    })
}

fn times() -> impl Strategy<Value = Vec<ServerTime>> {
    prop::collection::vec(any::<i64>().prop_map(ServerTime), 0..3)
}

fn values() -> impl Strategy<Value = Values> {
    prop::collection::btree_map(any::<u32>(), any::<u32>(), 0..3).prop_map(|files| Values {
        files,
        ..Values::default()
    })
}

fn pending() -> impl Strategy<Value = Vec<ScanBounds>> {
    let bounds = (any::<i64>(), any::<u64>()).prop_map(|(floor, xid)| ScanBounds {
        floor: ServerTime(floor),
        xid: Xid(xid),
    });
    prop::collection::vec(bounds, 0..4)
}

fn scans() -> impl Strategy<Value = Vec<LastScan>> {
    let scan = (any::<i64>(), any::<u32>()).prop_map(|(at, took)| LastScan {
        at: ServerTime(at),
        took: Duration::from_micros(took.into()),
    });
    prop::collection::vec(scan, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_stored_is_read_back(
        phase in phases(),
        pending in pending(),
        scans in scans(),
        cursor in prop::option::of(".*"),
        (system, database, timeline) in (any::<i64>(), ".*", any::<i64>()),
        (oid, below, columns, key, values, identities, membership) in (
            any::<u32>(),
            prop::collection::vec(any::<u32>(), 0..3),
            prop::collection::btree_map(any::<i16>(), ".*", 0..3),
            prop::option::of(prop::collection::vec(any::<i16>(), 0..3)),
            prop::option::of(values()),
            prop::collection::vec(identities(), 0..3),
            prop::option::of(".*"),
        ),
        reload in prop::option::of(reloads()),
        (loads, loaded) in (times(), any::<u64>().prop_map(Xid)),
        xids in prop::collection::vec(any::<u64>(), 0..5),
        floor in any::<i64>(),
        detected in prop::option::of(any::<i64>()),
    ) {
        let identity = Identity { system, database, timeline };
        let detection = Detection(detected);
        let relation = Relation {
            oid,
            descendants: below,
            columns,
            key,
            values,
            identities,
            membership,
        };
        let mut unseen = Unseen::default();
        if let Some(counted) = detected {
            let never = LastScan { at: ServerTime(0), took: Duration::ZERO };
            unseen.look(counted, never, ServerTime(0), 2);
        }
        let mut coverage = Coverage::default();
        coverage.add(floor, &xids.into_iter().collect());
        let parts = Parts {
            identity: &identity,
            relation: Some(&relation),
            phase: &phase,
            reload: reload.as_ref(),
            had_reload: false,
            was_aside: false,
            control: None,
            census: None,
            loads: Some(&loads),
            loaded,
            pending: pending.clone(),
            scans: scans.clone(),
            cursor: cursor.as_deref(),
            detection,
            unseen: Some(&unseen),
        };
        let mut progress = Progress::default();
        progress.apply(parts.encode(coverage.take_delta()));
        let stored = Stored::decode(&progress).unwrap().unwrap();
        let tailing = matches!(phase, Phase::Tailing(_));
        if !tailing {
            coverage.forget();
        }
        prop_assert_eq!(stored, Stored {
            identity: Some(identity),
            relation: Some(relation),
            cursor: cursor.filter(|_| tailing),
            phase,
            reload: reload.filter(|_| tailing),
            loads,
            loaded: if tailing { loaded } else { Xid(0) },
            pending: if tailing { pending } else { Vec::new() },
            scans: if tailing { scans } else { Vec::new() },
            coverage,
            detection,
            unseen,
        });
    }
}

#[test]
fn a_progress_of_the_first_version_is_read() {
    let parts = [
        (
            "poll",
            r#"{"activity":{"read_at":5,"xid_end":9,"snapshot":"9:9:","holders":[[{"prepared":{"xid":7}},{"start":3,"xid_bound":7,"xidless":false}]]},"owed":[{"floor":1,"xid":2}],"cursor":"updated_at"}"#,
        ),
        ("identity", r#"{"system":1,"database":"shop","timeline":1}"#),
        ("relation", r#"{"oid":16384,"descendants":[]}"#),
    ];
    let progress = Progress(
        parts
            .map(|(part, text)| (part.to_owned(), text.to_owned()))
            .into(),
    );
    let stored = Stored::decode(&progress).unwrap().unwrap();
    assert_eq!(stored.scans, []);
    assert_eq!(stored.detection, Detection(None));
    assert_eq!(stored.polled_at(), Some(ServerTime(5)));
    assert_eq!(stored.cursor.as_deref(), Some("updated_at"));
    let relation = stored.relation.unwrap();
    assert_eq!((relation.oid, relation.identities), (16384, vec![]));
}

#[test]
fn a_load_of_the_first_version_resumes_at_its_key() {
    let load = r#"{"begin":7,"after":["42"],"finished":false}"#;
    let progress = Progress([("load".to_owned(), load.to_owned())].into());
    let stored = Stored::decode(&progress).unwrap().unwrap();
    let Phase::Loading(load) = stored.phase else {
        panic!("{:?}", stored.phase);
    };
    assert_eq!((load.begin, load.xid_end), (Xid(7), Xid(7)));
    assert!(load.follows(&[]), "the columns of its key are unknown");
    assert_eq!(load.after.unwrap().values, ["42"]);
}

#[test]
fn a_load_follows_only_the_key_that_its_last_chunk_ended_at() {
    let column = |number, type_oid, collation| Ordered {
        number,
        type_oid,
        collation,
    };
    let key = [column(1, 25, 100), column(2, 20, 0)];
    let mut load = Load::starting(Xid(7));
    assert!(load.follows(&key), "it has no position yet");
    load.after = Some(Position {
        key: Some(key.to_vec()),
        values: vec!["a".to_owned(), "1".to_owned()],
    });
    assert!(load.follows(&key));
    for other in [
        vec![key[1], key[0]],
        vec![key[0]],
        vec![column(1, 25, 950), key[1]],
        vec![column(1, 23, 0), key[1]],
        Vec::new(),
    ] {
        assert!(!load.follows(&other), "{other:?}");
    }
}

#[test]
fn a_damaged_part_is_named() {
    let progress = Progress([("load".to_owned(), "{".to_owned())].into());
    let error = Stored::decode(&progress).unwrap_err();
    assert_eq!(error.to_string(), "part `load` of the progress is damaged");
}
