//! What became of a repair, in words and for programs.

use std::fmt;

use serde::Serialize;

/// What became of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The rows were published again.
    Made {
        /// Rows that were published another time.
        rows: u64,
        /// New versions that no poll had seen.
        found: u64,
        deletes: u64,
        /// Rows that differ and were not asked for.
        left: u64,
    },
    /// The request is stored, and no service has followed it yet.
    Waiting { requested: usize, of: u64 },
    /// The table has another key than it had when the rows were compared.
    Refused,
    /// The table has no key.
    NoKey,
    /// No row of the files differs.
    Nothing,
}

impl Outcome {
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Made { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made {
                rows,
                found,
                deletes,
                left,
            } => {
                write!(
                    f,
                    "repair: {rows} rows were published again, {found} new versions were found, \
                     {deletes} rows were deleted"
                )?;
                match left {
                    0 => Ok(()),
                    left => write!(
                        f,
                        "; {left} more rows differ: run it again, or `inlet reload`"
                    ),
                }
            }
            Self::Waiting { requested, of } => write!(
                f,
                "repair: requested for {requested} of {of} rows. No service has answered yet; the \
                 request is stored, and a service follows it as soon as it polls the table"
            ),
            Self::Refused => write!(
                f,
                "repair: refused, because the table got another key meanwhile; compare again"
            ),
            Self::NoKey => write!(f, "repair: the table has no key, which would name its rows"),
            Self::Nothing => write!(
                f,
                "repair: nothing to publish, because no row differs that a key names"
            ),
        }
    }
}
