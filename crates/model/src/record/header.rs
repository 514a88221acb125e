//! The one header of a record: operation, version, sequence, schema and time of detection.
//!
//! Layout, big endian, 34 bytes: version of the layout `u8` = 1 | operation `u8` (`u`, `d`) | xid
//! `u64` | sequence `u64` | schema fingerprint `u64` | detected at, microseconds since 1970-01-01
//! UTC, `i64`.

use crate::Fingerprint;
use crate::Xid;

/// The header's key in Kafka.
pub const HEADER: &str = "inlet";
/// Bytes of an encoded header.
pub const HEADER_BYTES: usize = 34;
const LAYOUT: u8 = 1;

/// The facts of a record that are in neither its key nor its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// [`crate::change::UPSERT`] or [`crate::change::DELETE`].
    pub op: u8,
    /// The xid that wrote the version.
    pub xid: Xid,
    /// The number of the record in its kafka_partition, counted by the producer from 0.
    pub sequence: u64,
    /// The schema that the value was encoded with.
    pub fingerprint: Fingerprint,
    /// Server time of the snapshot, microseconds since 1970-01-01 UTC.
    pub detected_at: i64,
}

/// Explains why bytes are not a header.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    /// The length is different.
    #[error("header has {0} bytes instead of {HEADER_BYTES}")]
    Length(usize),
    /// A layout or operation that this version does not know.
    #[error("header of layout {layout} with operation {op} is unknown")]
    Unknown { layout: u8, op: u8 },
}

impl Header {
    /// Returns the header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = LAYOUT;
        bytes[1] = self.op;
        bytes[2..10].copy_from_slice(&self.xid.0.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.fingerprint.0.to_be_bytes());
        bytes[26..34].copy_from_slice(&self.detected_at.to_be_bytes());
        bytes
    }

    /// Reads a header back.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .try_into()
            .map_err(|_| HeaderError::Length(bytes.len()))?;
        let word = |at: usize| {
            u64::from_be_bytes(
                bytes[at..at + 8]
                    .try_into()
                    .expect("eight bytes inside the header"),
            )
        };
        let (layout, op) = (bytes[0], bytes[1]);
        // An unknown layout is refused, never guessed: a wrong sequence would hide a loss.
        if layout != LAYOUT || ![crate::change::UPSERT, crate::change::DELETE].contains(&op) {
            return Err(HeaderError::Unknown { layout, op });
        }
        Ok(Self {
            op,
            xid: Xid(word(2)),
            sequence: word(10),
            fingerprint: Fingerprint(word(18)),
            detected_at: word(26) as i64,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::change::{DELETE, UPSERT};

    proptest! {
        #[test]
        fn a_header_reads_back(
            is_delete in any::<bool>(), xid in any::<u64>(), sequence in any::<u64>(),
            fingerprint in any::<u64>(), detected_at in any::<i64>()
        ) {
            let header = Header {
                op: if is_delete { DELETE } else { UPSERT },
                xid: Xid(xid),
                sequence,
                fingerprint: Fingerprint(fingerprint),
                detected_at,
            };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn whatever_is_read_is_written_the_same(bytes in any::<[u8; HEADER_BYTES]>(), op in 0_u8..=255) {
            let mut bytes = bytes;
            (bytes[0], bytes[1]) = (LAYOUT, op);
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_first_release() {
        let header = Header {
            op: UPSERT,
            xid: Xid(0x0102),
            sequence: 3,
            fingerprint: Fingerprint(0xabcd_0000_0000_0001),
            detected_at: -1,
        };
        let mut expected = vec![1, b'u'];
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend([0xab, 0xcd, 0, 0, 0, 0, 0, 1]);
        expected.extend([0xff; 8]);
        assert_eq!(header.encode().to_vec(), expected);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(Header::decode(b"abc"), Err(HeaderError::Length(3)));
        assert!(matches!(
            Header::decode(&[9; HEADER_BYTES]),
            Err(HeaderError::Unknown { layout: 9, op: 9 })
        ));
    }
}
