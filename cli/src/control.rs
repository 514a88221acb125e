//! `inlet pause`, `inlet resume`, `inlet reload` and `inlet sweep`: what a user asks of the poll of one table,
//! while the service runs.
//!
//! Promises: the service is not restarted; each load happens once; a request survives a restart of
//! either side. It is stored beside the poll's progress, in the control topic or in the table's
//! folder, and the poll answers in the progress. Leaves to others: the poll (`inlet_producer`), the
//! stored format (`inlet_model::Request`).

mod store;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use inlet_model::{ReloadRequest, Request};
use inlet_producer::source::control::Control;
use inlet_service::config::Config;
use inlet_service::output;
use tokio_util::sync::CancellationToken;

pub use self::store::Store;
use self::table::find;
pub use self::table::{Asked, find_table};
use crate::args::ControlArguments;
use crate::failure::Outcome;

/// A service looks at its requests every second, and a commit may take a while longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// What is asked of the table.
#[derive(Debug, Clone)]
pub enum Act {
    Pause,
    Resume,
    /// Load it again, or those of its rows that fulfil a condition.
    Reload(Option<String>),
    /// Compare all its rows and keys now.
    Sweep,
}

/// Stores the request, and waits a while for the service to follow it.
pub async fn run(
    act: Act,
    arguments: &ControlArguments,
    config: Config,
    stop: CancellationToken,
) -> Outcome {
    let asked = find(&config, &arguments.table, &act).await?;
    let store = Store::of(&config, &asked)?;
    let before = store.request().await?;
    let request = next(before.unwrap_or_default(), &act, &new_id());
    store.write(&request).await?;
    let is_followed = |control: &Control| is_followed(control, &request, &act);
    let followed = stop.run_until_cancelled(store.followed(ANSWER_TIME_MAX, is_followed));
    let table = &asked.table;
    let answer = match followed.await {
        Some(Ok(Some(_))) => done(&act),
        Some(Err(error)) => return Err(error),
        Some(Ok(None)) | None => {
            "requested. No service has answered yet; the request is stored, and a service follows \
             it as soon as it polls the table"
        }
    };
    output::stdout(format!("{table}: {answer}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The name of a new request. Two requests of one process are never a microsecond apart.
pub fn new_id() -> String {
    format!("{}-{}", Utc::now().timestamp_micros(), std::process::id())
}

fn is_followed(control: &Control, request: &Request, act: &Act) -> bool {
    match act {
        Act::Pause | Act::Resume => control.paused == request.paused,
        Act::Reload(_) => control.reload.as_ref() == Some(&request.id),
        Act::Sweep => control.sweep.as_ref() == Some(&request.id),
    }
}

/// The request after an act: what was asked before and is not changed by it stays.
fn next(before: Request, act: &Act, id: &str) -> Request {
    let id = id.to_owned();
    match act {
        Act::Pause => Request {
            id,
            paused: true,
            ..before
        },
        Act::Resume => Request {
            id,
            paused: false,
            ..before
        },
        Act::Reload(condition) => Request {
            reload: Some(ReloadRequest {
                id: id.clone(),
                condition: condition.clone(),
            }),
            id,
            ..before
        },
        Act::Sweep => Request {
            sweep: Some(id.clone()),
            id,
            ..before
        },
    }
}

fn done(act: &Act) -> &'static str {
    match act {
        Act::Pause => "paused. Its changes wait in PostgreSQL until `inlet resume`",
        Act::Resume => "resumed",
        Act::Reload(None) => "the load has started. `inlet status` shows when it has ended",
        Act::Reload(Some(_)) => {
            "the load of these rows has started. `inlet status` shows when it has ended"
        }
        Act::Sweep => {
            "the sweep has started. Updates that left the cursor as it was, and deletes, are in the \
             lake when it has ended"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_changes_what_it_is_about_and_keeps_the_rest() {
        let paused = next(Request::default(), &Act::Pause, "1");
        let reload = next(paused, &Act::Reload(Some("id > 7".to_owned())), "2");
        assert!(reload.paused);
        let resumed = next(reload, &Act::Resume, "3");
        assert!(!resumed.paused);
        let load = resumed.reload.expect("the load stays");
        assert_eq!(
            (load.id.as_str(), load.condition.as_deref()),
            ("2", Some("id > 7"))
        );
        assert_eq!(resumed.id, "3");
    }
}
