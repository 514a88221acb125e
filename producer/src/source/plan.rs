//! What one cycle reads of one table. Pure.

use std::sync::Arc;

use inlet_model::Xid;
use inlet_postgres::Floor;

use super::activity::Activity;
use super::tiers::{TierId, Tiers};

/// The rows of a scan: those with `cursor >= floor` and `xmin >= xid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In the cursor's unit; `None` reads rows whatever their cursor contains.
    pub floor: Option<Floor>,
    pub xid: Xid,
}

/// What one cycle reads of one table.
#[derive(Debug, Clone)]
pub enum Plan {
    /// Joins a loaded table to the cycles: reads every row that was written since the load began.
    Join {
        /// The rows to read.
        bounds: Bounds,
        /// The activity after the cycle's reading.
        activity: Arc<Activity>,
    },
    /// Scans at the depth of a tier.
    Tier {
        depth: TierId,
        /// The rows to read.
        bounds: Bounds,
        /// Rows with a timestamp below are older than their transactions: a shallower scan missed
        /// them.
        late_below: Floor,
        /// Every tier with what this reading added.
        tiers: Tiers,
        /// The activity after the cycle's reading.
        activity: Arc<Activity>,
    },
}

impl Plan {
    /// The rows to read.
    pub fn bounds(&self) -> Bounds {
        match self {
            Self::Join { bounds, .. } | Self::Tier { bounds, .. } => *bounds,
        }
    }

    /// Rows with a timestamp below count as late.
    pub fn late_below(&self) -> Floor {
        match self {
            Self::Join { .. } => Floor::MIN,
            Self::Tier { late_below, .. } => *late_below,
        }
    }

    /// True for a scan that reads every row above its xid bound. Only together with such a scan can
    /// all rows of an attached table count as emitted.
    pub fn reads_attached(&self) -> bool {
        self.bounds().floor.is_none()
    }
}
