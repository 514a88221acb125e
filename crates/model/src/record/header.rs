//! The one header of a record: operation, version, sequence, schema and time of detection.
//!
//! Layout 1, big endian, 34 bytes: version of the layout `u8` = 1 | operation `u8` (`u`, `d`) | xid
//! `u64` | sequence `u64` | schema fingerprint `u64` | detected at, microseconds since 1970-01-01
//! UTC, `i64`.
//!
//! Layout 2, 39 bytes: the same with version 2, then | rows `u32` | encoding `u8`, see
//! [`Encoding`]. A record of one row in the format `json` has layout 1, which 0.1.0 reads; every
//! other one has layout 2.
//!
//! A record of a repair has a second header, [`REPAIR_HEADER`].

use std::ops::Deref;

use super::encoding::Encoding;
use crate::Fingerprint;
use crate::Xid;

/// The header's key in Kafka.
pub const HEADER: &str = "inlet";
/// The key of one more header, without a value, of the records of a repair. Readers that do not
/// know it take the record for any other.
pub const REPAIR_HEADER: &str = "inlet-repair";
/// Bytes of a header of layout 1, with which a longer one begins.
const BYTES: usize = 34;
/// Bytes of a header of layout 2.
const BYTES_LONG: usize = 39;
const LAYOUT: u8 = 1;
const LAYOUT_LONG: u8 = 2;

/// The facts of a record that are in neither its key nor its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// [`crate::change::UPSERT`] or [`crate::change::DELETE`].
    pub op: u8,
    /// The xid that wrote the version.
    pub xid: Xid,
    /// The number of the record's first row in its kafka_partition, counted by the producer from 0.
    pub sequence: u64,
    /// The schema that the value was encoded with.
    pub fingerprint: Fingerprint,
    /// Server time of the snapshot, microseconds since 1970-01-01 UTC.
    pub detected_at: i64,
    /// How many rows the record holds, at least one.
    pub rows: u32,
    /// How the value is encoded.
    pub encoding: Encoding,
}

/// An encoded header.
#[derive(Debug, Clone, Copy)]
pub struct HeaderBytes {
    bytes: [u8; BYTES_LONG],
    length: usize,
}

impl Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Explains why bytes are not a header.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    /// The length is different.
    #[error("header has {0} bytes instead of {BYTES} or {BYTES_LONG}")]
    Length(usize),
    /// A layout or operation that this version does not know.
    #[error("header of layout {layout} with operation {op} is unknown")]
    Unknown { layout: u8, op: u8 },
    /// An encoding that this version does not know.
    #[error("the value has encoding {0}, which a later version of Inlet wrote")]
    Encoding(u8),
    /// A record without rows.
    #[error("header of a record without rows")]
    NoRows,
}

impl Header {
    /// Returns the header's bytes.
    pub fn encode(&self) -> HeaderBytes {
        let mut bytes = [0; BYTES_LONG];
        let is_short = self.rows == 1 && self.encoding == Encoding::Json;
        bytes[0] = if is_short { LAYOUT } else { LAYOUT_LONG };
        bytes[1] = self.op;
        bytes[2..10].copy_from_slice(&self.xid.0.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.fingerprint.0.to_be_bytes());
        bytes[26..34].copy_from_slice(&self.detected_at.to_be_bytes());
        bytes[34..38].copy_from_slice(&self.rows.to_be_bytes());
        bytes[38] = self.encoding.byte();
        HeaderBytes {
            bytes,
            length: if is_short { BYTES } else { BYTES_LONG },
        }
    }

    /// Reads a header back.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let length = HeaderError::Length(bytes.len());
        let (first, more) = bytes.split_first_chunk::<BYTES>().ok_or(length)?;
        let word = |at: usize| {
            u64::from_be_bytes(
                first[at..at + 8]
                    .try_into()
                    .expect("eight bytes inside the header"),
            )
        };
        let (layout, op) = (first[0], first[1]);
        // An unknown layout is refused, never guessed: a wrong sequence would hide a loss.
        let (rows, encoding) = match (layout, more) {
            (LAYOUT, []) => (1, Encoding::Json),
            (LAYOUT_LONG, &[r1, r2, r3, r4, encoding]) => {
                let encoding =
                    Encoding::from_byte(encoding).ok_or(HeaderError::Encoding(encoding))?;
                (u32::from_be_bytes([r1, r2, r3, r4]), encoding)
            }
            (LAYOUT | LAYOUT_LONG, _) => return Err(length),
            _ => return Err(HeaderError::Unknown { layout, op }),
        };
        if ![crate::change::UPSERT, crate::change::DELETE].contains(&op) {
            return Err(HeaderError::Unknown { layout, op });
        }
        if rows == 0 {
            return Err(HeaderError::NoRows);
        }
        Ok(Self {
            op,
            xid: Xid(word(2)),
            sequence: word(10),
            fingerprint: Fingerprint(word(18)),
            detected_at: word(26) as i64,
            rows,
            encoding,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::*;
    use crate::change::{DELETE, UPSERT};

    fn header() -> impl Strategy<Value = Header> {
        let numbers = (
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<i64>(),
            1..=u32::MAX,
        );
        let encoding = (0_u8..=255).prop_filter_map("a known encoding", Encoding::from_byte);
        (any::<bool>(), numbers, encoding).prop_map(|(is_delete, numbers, encoding)| {
            let (xid, sequence, fingerprint, detected_at, rows) = numbers;
            Header {
                op: if is_delete { DELETE } else { UPSERT },
                xid: Xid(xid),
                sequence,
                fingerprint: Fingerprint(fingerprint),
                detected_at,
                rows,
                encoding,
            }
        })
    }

    proptest! {
        #[test]
        fn a_header_reads_back(header in header(), is_single in any::<bool>()) {
            let rows = if is_single { 1 } else { header.rows };
            let header = Header { rows, ..header };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..50), layout in 0_u8..4) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = layout;
            }
            let _ = Header::decode(&bytes);
        }
    }

    const FIRST: Header = Header {
        op: UPSERT,
        xid: Xid(0x0102),
        sequence: 3,
        fingerprint: Fingerprint(0xabcd_0000_0000_0001),
        detected_at: -1,
        rows: 1,
        encoding: Encoding::Json,
    };

    #[test]
    fn the_layout_is_the_one_of_the_first_release() {
        let mut expected = vec![1, b'u'];
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend([0xab, 0xcd, 0, 0, 0, 0, 0, 1]);
        expected.extend([0xff; 8]);
        assert_eq!(FIRST.encode().to_vec(), expected);
    }

    #[test]
    fn another_format_and_several_rows_are_at_the_end() {
        let plain = Header {
            encoding: Encoding::Plain,
            ..FIRST
        };
        let several = Header { rows: 258, ..FIRST };
        for (header, end) in [(plain, [0, 0, 0, 1, 2]), (several, [0, 0, 1, 2, 0])] {
            let bytes = header.encode();
            assert_eq!(bytes[..2], [2, b'u']);
            assert_eq!(bytes[2..34], FIRST.encode()[2..]);
            assert_eq!(bytes[34..], end);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let unknown = |error: HeaderError, bytes: &[u8]| {
            assert_eq!(Header::decode(bytes), Err(error));
        };
        unknown(HeaderError::Length(3), b"abc");
        unknown(HeaderError::Unknown { layout: 9, op: 9 }, &[9; BYTES]);
        let long = Header { rows: 2, ..FIRST }.encode().to_vec();
        unknown(HeaderError::Length(38), &long[..38]);
        let changed = |at: usize, byte: u8| {
            let mut bytes = long.clone();
            bytes[at] = byte;
            bytes
        };
        unknown(HeaderError::Encoding(255), &changed(38, 255));
        unknown(HeaderError::NoRows, &changed(37, 0));
        unknown(
            HeaderError::Unknown {
                layout: 2,
                op: b'x',
            },
            &changed(1, b'x'),
        );
    }
}
