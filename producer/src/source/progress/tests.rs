use std::collections::BTreeMap;
use std::sync::Arc;

use inlet_model::Progress;
use inlet_model::Xid;
use inlet_postgres::ServerTime;
use inlet_postgres::server::Identity;
use proptest::prelude::*;

use super::{Parts, Relation, Stored};
use crate::source::activity::{Activity, Holder, HolderId};
use crate::source::bounds::ScanBounds;
use crate::source::coverage::Coverage;
use crate::source::phase::{Joined, Load, Phase};

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

fn phases() -> impl Strategy<Value = Phase> {
    let key = prop::option::of(prop::collection::vec(".*", 1..3));
    let activity = (any::<i64>(), any::<u64>(), ".*", holders());
    prop_oneof![
        (any::<u64>(), key).prop_map(|(begin, after)| Phase::Loading(Load {
            begin: Xid(begin),
            after
        })),
        any::<u64>().prop_map(|begin| Phase::Joining(Joined { begin: Xid(begin) })),
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

fn pending() -> impl Strategy<Value = Vec<ScanBounds>> {
    let bounds = (any::<i64>(), any::<u64>()).prop_map(|(floor, xid)| ScanBounds {
        floor: ServerTime(floor),
        xid: Xid(xid),
    });
    prop::collection::vec(bounds, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_stored_is_read_back(
        phase in phases(),
        pending in pending(),
        cursor in prop::option::of(".*"),
        (system, database, timeline) in (any::<i64>(), ".*", any::<i64>()),
        (oid, below, columns) in (
            any::<u32>(),
            prop::collection::vec(any::<u32>(), 0..3),
            prop::collection::btree_map(any::<i16>(), ".*", 0..3),
        ),
        xids in prop::collection::vec(any::<u64>(), 0..5),
        floor in any::<i64>(),
    ) {
        let identity = Identity { system, database, timeline };
        let relation = Relation { oid, descendants: below, columns };
        let mut coverage = Coverage::default();
        coverage.add(floor, &xids.into_iter().collect());
        let parts = Parts {
            identity: &identity,
            relation: Some(&relation),
            phase: &phase,
            pending: pending.clone(),
            cursor: cursor.as_deref(),
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
            pending: if tailing { pending } else { Vec::new() },
            coverage,
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
    assert_eq!(stored.polled_at(), Some(ServerTime(5)));
    assert_eq!(stored.cursor.as_deref(), Some("updated_at"));
    assert_eq!(stored.relation.unwrap().oid, 16384);
}

#[test]
fn a_damaged_part_is_named() {
    let progress = Progress([("load".to_owned(), "{".to_owned())].into());
    let error = Stored::decode(&progress).unwrap_err();
    assert_eq!(error.to_string(), "part `load` of the progress is damaged");
}
