//! Pollers that are wrong, each in one way: the runs in which ours loses nothing have to show what
//! these lose.
//!
//! Every one is given more than such pollers have: what it emitted once it never emits again, so
//! that it may look back as far as it likes.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Row};

use super::script::Session;

/// What a poller asks for, with the values of its last poll.
pub struct Naive {
    /// What it gets wrong.
    pub name: &'static str,
    condition: &'static str,
    /// Every (id, ver) that it has found.
    pub found: BTreeSet<(i64, i32)>,
    last: Option<[String; 5]>,
}

/// `$max`: the greatest stamp found; `$at`: the time of the last poll; `$xmin`, `$xmax`,
/// `$snapshot`: its snapshot.
const WRONG: [(&str, &str); 5] = [
    ("stamps above the last one", "updated_at > '$max'"),
    (
        "stamps of the last second",
        "updated_at >= '$at'::timestamptz - interval '1 second'",
    ),
    (
        "holders ignored",
        "updated_at >= '$at'::timestamptz - interval '1 second' AND age(xmin) <= (SELECT \
            age('$xmax'::xid))",
    ),
    (
        "floor ignored",
        "updated_at >= '$at'::timestamptz - interval '1 second' AND age(xmin) <= (SELECT \
            age('$xmin'::xid))",
    ),
    (
        "difference of snapshots",
        "NOT pg_visible_in_snapshot(xmin::text::xid8, '$snapshot')",
    ),
];

impl Naive {
    pub fn all() -> Vec<Self> {
        WRONG
            .iter()
            .map(|(name, condition)| Self {
                name,
                condition,
                found: BTreeSet::new(),
                last: None,
            })
            .collect()
    }

    /// Polls once, each statement for itself as such pollers do.
    pub async fn poll(&mut self, session: &mut Session) {
        let mut condition = self.condition.to_owned();
        match &self.last {
            None => condition = "true".to_owned(),
            Some(values) => {
                for (name, value) in ["$max", "$at", "$xmin", "$xmax", "$snapshot"]
                    .iter()
                    .zip(values)
                {
                    condition = condition.replace(name, value);
                }
            }
        }
        // The whole result with its bounds in one statement: bounds and rows are of the same
        // snapshot.
        let sql = format!(
            "SELECT coalesce(array_agg(id), '{{}}'), coalesce(array_agg(ver), '{{}}'),
                    coalesce(max(updated_at) FILTER (WHERE isfinite(updated_at) AND updated_at <= \
                now()), '-infinity')::text, now()::text,
                    pg_snapshot_xmin(pg_current_snapshot())::text, \
                pg_snapshot_xmax(pg_current_snapshot())::text, pg_current_snapshot()::text
             FROM t WHERE {condition}"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_one(&mut session.0)
            .await
            .unwrap();
        let (ids, vers): (Vec<i64>, Vec<i32>) = (row.get(0), row.get(1));
        self.found.extend(ids.into_iter().zip(vers));
        let mut values: [String; 5] = [row.get(2), row.get(3), row.get(4), row.get(5), row.get(6)];
        if let Some(last) = self.last.take().filter(|_| values[0] == "-infinity") {
            values[0].clone_from(&last[0]);
        }
        self.last = Some(values);
    }
}
