//! Errors of the sink.

use inlet_service::error::{Hint, Kind};
use inlet_service::sink::SinkError;

/// A configuration that cannot work.
pub(super) fn config(act: impl Into<String>, hint: impl Into<String>) -> SinkError {
    SinkError {
        hint: Some(Hint::text(hint)),
        ..of(Kind::Config, act)
    }
}

/// A broken invariant of the sink or of its caller.
pub(super) fn bug(act: impl Into<String>) -> SinkError {
    of(Kind::Bug, act)
}

pub(super) fn of(kind: Kind, act: impl Into<String>) -> SinkError {
    SinkError {
        kind,
        act: act.into(),
        hint: None,
        table: None,
        source: None,
    }
}
