//! `inlet verify --repair`: the rows that differ, as requests to the service that polls the table.
//!
//! The request names the rows by their keys and holds none of their values: the service reads them
//! itself when it publishes them, so a change since the comparison is never undone. See
//! `producer/src/source/repair.rs`.

use std::time::Duration;

use inlet_model::{RepairRequest, Request};
use inlet_producer::source::control::Control;

use super::as_read::OfTable;
use super::outcome::Outcome;
use super::report::Report;
use crate::control::{Asked, Store, new_id};
use crate::failure::Failure;

/// Keys of one request, which is one record of the control topic.
const KEYS_MAX: usize = 10_000;
const KEY_BYTES_MAX: usize = 256 << 10;

/// Lets the service publish the rows that differ, some thousands at a time.
pub async fn ask(
    of: &OfTable<'_>,
    report: &mut Report,
    time_max: Duration,
) -> Result<Outcome, Failure> {
    if !report.keyed {
        return Ok(Outcome::NoKey);
    }
    let keys = std::mem::take(&mut report.keys_to_repair);
    if keys.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let differ = report.findings.to_repair();
    let asked = Asked {
        table: report.table.clone(),
        config: of.table.clone(),
    };
    let store = Store::of(of.config, &asked)?;
    let left = differ.saturating_sub(keys.len() as u64);
    let (mut rows, mut found, mut deletes) = (0, 0, 0);
    for keys in requests(keys) {
        let (id, requested) = (new_id(), keys.len());
        store_repair(
            &store,
            Some(RepairRequest {
                id: id.clone(),
                keys,
            }),
        )
        .await?;
        let is_made = |control: &Control| {
            let made = control.repair.as_ref();
            made.is_some_and(|repaired| repaired.id == id)
        };
        let Some(control) = store.followed(time_max, is_made).await? else {
            // The other requests would only take the place of this one.
            return Ok(Outcome::Waiting {
                requested,
                of: differ,
            });
        };
        let made = control.repair.expect("it was just found");
        if made.refused {
            store_repair(&store, None).await?;
            return Ok(Outcome::Refused);
        }
        rows += made.rows;
        found += made.found;
        deletes += made.deletes;
    }
    // The keys are not needed any more, and the service would read them again and again.
    store_repair(&store, None).await?;
    Ok(Outcome::Made {
        rows,
        found,
        deletes,
        left,
    })
}

/// Stores a repair beside what else is asked of the table.
async fn store_repair(store: &Store, repair: Option<RepairRequest>) -> Result<(), Failure> {
    let before = store.request().await?.unwrap_or_default();
    let request = Request {
        id: new_id(),
        repair,
        ..before
    };
    store.write(&request).await
}

/// The keys of each request.
fn requests(keys: Vec<String>) -> Vec<Vec<String>> {
    let mut requests: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for key in keys {
        let is_full =
            |last: &Vec<String>| last.len() >= KEYS_MAX || bytes + key.len() > KEY_BYTES_MAX;
        match requests.last_mut() {
            Some(last) if !is_full(last) => {
                bytes += key.len();
                last.push(key);
            }
            _ => {
                bytes = key.len();
                requests.push(vec![key]);
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_bounded_by_keys_and_by_bytes() {
        let short = |n: usize| format!("{{\"id\":{n}}}");
        let sizes =
            |keys: Vec<String>| -> Vec<usize> { requests(keys).iter().map(Vec::len).collect() };
        assert_eq!(
            sizes((0..25_000).map(short).collect()),
            [10_000, 10_000, 5_000]
        );
        let long = "x".repeat(KEY_BYTES_MAX / 2);
        assert_eq!(sizes(vec![long; 5]), [2, 2, 1]);
        assert_eq!(sizes(vec!["x".repeat(2 * KEY_BYTES_MAX); 2]), [1, 1]);
        assert!(requests(Vec::new()).is_empty());
    }
}
