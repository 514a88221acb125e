//! Which rows of the latest state differ from the snapshot. Pure.

use std::collections::HashMap;

use super::super::compare::{Quarantined, Sight};
use super::super::hash::Hash;

/// A row of the snapshot, by PostgreSQL's hashes.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub key: Hash,
    pub values: Hash,
    /// The low half of the xid that wrote the row.
    pub xmin: u32,
    /// The key as in the quarantine.
    pub record_key: Hash,
    /// True if the lake holds null for a value that its types cannot hold.
    pub is_nulled: bool,
}

/// A row of the latest state, by DuckDB's hashes.
#[derive(Debug, Clone, Copy)]
pub struct Latest {
    pub key: Hash,
    pub values: Hash,
    pub xid: u64,
    pub offset: i64,
}

/// The keys that differ, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differing {
    pub missing: Vec<Hash>,
    pub different: Vec<Hash>,
    pub only_in_lake: Vec<Hash>,
    /// Keys of which the reader gets more than one row.
    pub repeated: Vec<Hash>,
}

/// Compares rows of the same buckets of keys.
pub fn differ(
    mut rows: Vec<Row>,
    mut latest: Vec<Latest>,
    quarantined: &HashMap<Hash, Quarantined>,
    sight: &Sight,
) -> Differing {
    rows.sort_unstable_by_key(|row| row.key);
    latest.sort_unstable_by_key(|row| row.key);
    let mut found = Differing::default();
    let repeated = latest.windows(2).filter(|pair| pair[0].key == pair[1].key);
    found.repeated = repeated.map(|pair| pair[0].key).collect();
    found.repeated.dedup();
    latest.dedup_by_key(|row| row.key);
    let mut latest = latest.into_iter().peekable();
    // A snapshot does not list subtransactions: of a row that it may not see, the comparison of the
    // files has checked the version before it.
    let is_newer = |row: &Latest| !sight.is_seen(row.xid);
    for row in rows {
        while let Some(only) = latest.next_if(|latest| latest.key < row.key) {
            if !is_newer(&only) {
                found.only_in_lake.push(only.key);
            }
        }
        let latest = latest.next_if(|latest| latest.key == row.key);
        let quarantined = quarantined.get(&row.record_key);
        let is_excused = match latest {
            Some(latest) => {
                let is_own = inlet_model::Xid(latest.xid).low() == row.xmin;
                latest.values == row.values
                    || row.is_nulled
                    || (is_newer(&latest) && !is_own)
                    || quarantined.is_some_and(|rejected| rejected.offset > latest.offset)
            }
            None => quarantined.is_some(),
        };
        if !is_excused {
            match latest {
                Some(_) => found.different.push(row.key),
                None => found.missing.push(row.key),
            }
        }
    }
    found
        .only_in_lake
        .extend(latest.filter(|row| !is_newer(row)).map(|row| row.key));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> Hash {
        Hash::of(&number.to_be_bytes())
    }

    fn row(key: u64, values: u64, xmin: u32) -> Row {
        Row {
            key: hash(key),
            values: hash(values),
            xmin,
            record_key: hash(1000 + key),
            is_nulled: false,
        }
    }

    fn latest(key: u64, values: u64, xid: u64) -> Latest {
        Latest {
            key: hash(key),
            values: hash(values),
            xid,
            offset: 5,
        }
    }

    fn differing(rows: &[Row], latest: &[Latest], rejected: &[(u64, i64)]) -> Differing {
        let quarantined = |(key, offset): &(u64, i64)| {
            let quarantined = Quarantined {
                versions: 1,
                offset: *offset,
            };
            (hash(1000 + key), quarantined)
        };
        let sight = Sight::parse("90:100:90").unwrap();
        let quarantined = rejected.iter().map(quarantined).collect();
        differ(rows.to_vec(), latest.to_vec(), &quarantined, &sight)
    }

    #[test]
    fn a_row_differs_is_missing_or_is_only_in_the_lake() {
        let rows = [row(1, 10, 11), row(2, 20, 12), row(3, 30, 13)];
        let found = differing(
            &rows,
            &[latest(1, 10, 11), latest(2, 21, 12), latest(4, 1, 14)],
            &[],
        );
        let expected = Differing {
            missing: vec![hash(3)],
            different: vec![hash(2)],
            only_in_lake: vec![hash(4)],
            repeated: vec![],
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_snapshot_does_not_see_is_no_difference_unless_it_is_the_same_version() {
        let found = differing(
            &[row(1, 10, 11)],
            &[latest(1, 11, 101), latest(2, 1, 95)],
            &[],
        );
        assert_eq!(found, Differing::default());
        let found = differing(&[row(1, 10, 95)], &[latest(1, 11, 95)], &[]);
        assert_eq!(found.different, [hash(1)]);
    }

    #[test]
    fn a_rejected_row_is_no_difference_as_long_as_it_is_the_latest_one() {
        let rows = [row(1, 10, 11), row(2, 20, 12)];
        assert_eq!(
            differing(&rows, &[latest(2, 1, 9)], &[(1, 3), (2, 6)]),
            Differing::default()
        );
        assert_eq!(
            differing(&rows, &[latest(2, 1, 9)], &[(1, 3), (2, 4)]).different,
            [hash(2)]
        );
    }

    #[test]
    fn a_key_that_the_reader_gets_twice_is_found() {
        let found = differing(
            &[row(1, 10, 11)],
            &[latest(1, 10, 11), latest(1, 10, 11)],
            &[],
        );
        assert_eq!(found.repeated, [hash(1)]);
    }
}
