//! How the value of a record is encoded, as its header stores it.

/// How the value of a record is encoded: one byte of the header.
///
/// | byte | value |
/// |---|---|
/// | 0 | [`super::json`] |
/// | 1 | [`super::ipc`] |
/// | 2 | [`super::json`], in the style `plain` |
/// | 64 + 16 * schemas + 4 * times + decimals | [`super::debezium`], with these [`DebeziumModes`] |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A flat object, see [`super::json`].
    #[default]
    Json,
    /// Many rows as a batch of Arrow, see [`super::ipc`].
    Arrow,
    /// A flat object as other producers write it, see [`super::json::Style::Plain`].
    Plain,
    /// Debezium's envelope, see [`super::debezium`].
    Debezium(DebeziumModes),
}

/// How Debezium's envelope is written, by the names of Debezium's own settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DebeziumModes {
    /// True when each message has its schema, as of `JsonConverter` with `schemas.enable`.
    pub schemas: bool,
    /// `decimal.handling.mode`.
    pub decimals: DecimalMode,
    /// `time.precision.mode`.
    pub times: TimeMode,
}

/// How a numeric is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum DecimalMode {
    /// As base64 of its unscaled integer.
    #[default]
    Precise,
    /// As text.
    String,
    /// As the nearest double: exact up to 15 digits.
    Double,
}

/// In which units dates and times are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TimeMode {
    /// Milliseconds for types of up to three decimals, else microseconds.
    #[default]
    Adaptive,
    /// The same for timestamps; microseconds for every `time`.
    AdaptiveTimeMicroseconds,
    /// Milliseconds.
    Connect,
}

const DEBEZIUM: u8 = 64;
const DECIMALS: [DecimalMode; 3] = [
    DecimalMode::Precise,
    DecimalMode::String,
    DecimalMode::Double,
];
const TIMES: [TimeMode; 3] = [
    TimeMode::Adaptive,
    TimeMode::AdaptiveTimeMicroseconds,
    TimeMode::Connect,
];

impl Encoding {
    /// Returns the byte that a header stores.
    pub fn byte(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Arrow => 1,
            Self::Plain => 2,
            // The numbers are the places in the lists above.
            Self::Debezium(modes) => {
                DEBEZIUM
                    + 16 * u8::from(modes.schemas)
                    + 4 * (modes.times as u8)
                    + modes.decimals as u8
            }
        }
    }

    /// Returns whether a record may have several rows.
    pub fn has_many_rows(self) -> bool {
        self == Self::Arrow
    }

    /// Reads the byte back; `None` for an encoding of a later version.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Json),
            1 => Some(Self::Arrow),
            2 => Some(Self::Plain),
            64..=95 => Some(Self::Debezium(DebeziumModes {
                schemas: byte & 16 != 0,
                decimals: *DECIMALS.get(usize::from(byte & 3))?,
                times: *TIMES.get(usize::from(byte >> 2 & 3))?,
            })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_reads_back_from_its_byte() {
        let known: Vec<u8> = (0..=255)
            .filter(|byte| {
                let encoding = Encoding::from_byte(*byte);
                assert!(encoding.is_none_or(|encoding| encoding.byte() == *byte));
                encoding.is_some()
            })
            .collect();
        let expected = [
            0, 1, 2, 64, 65, 66, 68, 69, 70, 72, 73, 74, 80, 81, 82, 84, 85, 86, 88, 89, 90,
        ];
        assert_eq!(known, expected, "bytes are stored and keep their meaning");
    }
}
