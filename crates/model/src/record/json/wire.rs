//! How the values of a column are written in JSON, where the formats differ.

use crate::record::encoding::{DebeziumModes, DecimalMode, TimeMode};
use crate::{Column, Scalar};

/// How the values of a column are written, where that is not the way of the format `json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Same,
    /// A timestamp without zone as one of UTC.
    Utc,
    /// Days since 1970-01-01.
    Days,
    Millis,
    Micros,
    Nanos,
    /// Base64 of an integer, to be divided by `10^scale`.
    Unscaled(i32),
    /// An object of the scale and the integer.
    Variable,
    /// A number, which may have an exponent.
    Number,
    /// A number or a text, to be kept as its text.
    NumberText,
    /// Any JSON, to be kept as its text.
    Raw,
}

impl Wire {
    /// How a connector with these settings writes a column.
    pub fn of(column: &Column, modes: DebeziumModes) -> Self {
        // `time(3) without time zone` has three decimals, `time without time zone` six.
        let is_short = ["(0)", "(1)", "(2)", "(3)"]
            .iter()
            .any(|decimals| column.postgres_type.contains(decimals));
        let millis_if = |is_millis| {
            if is_millis {
                Self::Millis
            } else {
                Self::Micros
            }
        };
        match (column.column_type.scalar(), modes.decimals) {
            (Scalar::Decimal { scale, .. }, DecimalMode::Precise) => Self::Unscaled(scale.into()),
            (Scalar::Decimal { .. }, DecimalMode::Double) => Self::Number,
            (Scalar::Text, DecimalMode::Precise) if is_numeric(column) => Self::Variable,
            (Scalar::Text, DecimalMode::Double) if is_numeric(column) => Self::NumberText,
            (Scalar::Date, _) => Self::Days,
            (Scalar::Time, _) => match modes.times {
                TimeMode::Adaptive => millis_if(is_short),
                TimeMode::AdaptiveTimeMicroseconds => Self::Micros,
                TimeMode::Connect => Self::Millis,
            },
            (Scalar::Timestamp, _) => millis_if(is_short || modes.times == TimeMode::Connect),
            _ => Self::Same,
        }
    }
}

/// True for a numeric without a lasting scale, or with more digits than a decimal type has.
pub(super) fn is_numeric(column: &Column) -> bool {
    let is_text = column.column_type.scalar() == Scalar::Text;
    is_text
        && column
            .postgres_type
            .trim_end_matches("[]")
            .starts_with("numeric")
}
