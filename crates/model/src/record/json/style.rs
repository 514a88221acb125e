//! The two styles of the format.

use super::wire::Wire;
use crate::{ColumnType, Scalar};

/// How values are written where programs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The format's own way: the type follows from the text alone.
    Json,
    /// Numeric as a number, a timestamp without zone with `Z`.
    Plain,
}

impl Style {
    /// How the values of a column are written.
    pub(super) fn wire(self, column_type: ColumnType) -> Wire {
        match (self, column_type.scalar()) {
            (Self::Plain, Scalar::Decimal { .. }) => Wire::Number,
            (Self::Plain, Scalar::Timestamp) => Wire::Utc,
            _ => Wire::Same,
        }
    }
}
