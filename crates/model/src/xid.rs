//! 64-bit transaction ids.

use serde::{Deserialize, Serialize};

/// A transaction id with its epoch: it never wraps, and means something only within one lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Xid(pub u64);

impl Xid {
    /// The first id that PostgreSQL gives to a transaction of a user (`FirstNormalTransactionId`).
    pub const FIRST_NORMAL: Self = Self(3);
    /// A bound above every id that a server assigns.
    pub const MAX: Self = Self(u64::MAX);

    /// Widens a row's 32-bit `xmin` to the newest 64-bit id that is below `end` and has these low
    /// bits.
    ///
    /// Exact for every id less than 2^32 below `end`; `end` is the `xmax` of a snapshot that sees
    /// the row, or a little more. Ids older than one epoch (frozen rows) alias into the newest
    /// epoch. Source: PostgreSQL manual, "Routine Vacuuming".
    pub fn widen(low: u32, end: Self) -> Self {
        let below = end.0.wrapping_sub(1);
        // The subtraction wraps on purpose: it yields how far `low` is below the end, also across
        // an epoch.
        let distance = u64::from((below as u32).wrapping_sub(low));
        Self(below.saturating_sub(distance))
    }

    /// The 32 bits that a row's `xmin` holds.
    pub fn low(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }
}

impl std::fmt::Display for Xid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_this_epoch_keeps_its_epoch() {
        assert_eq!(Xid::widen(7, Xid((1 << 32) + 8)), Xid((1 << 32) + 7));
    }

    #[test]
    fn a_row_from_before_the_wrap_belongs_to_the_epoch_before() {
        assert_eq!(
            Xid::widen(u32::MAX, Xid((1 << 32) + 8)),
            Xid(u64::from(u32::MAX))
        );
    }

    #[test]
    fn the_end_itself_is_not_below_the_end() {
        assert_eq!(Xid::widen(8, Xid((2 << 32) + 8)), Xid((1 << 32) + 8));
    }
}
