//! Why the consumer stops or begins anew.

use inlet_model::{KafkaPartition, Offset};
use inlet_service::error::{Explain, Hint, Kind};

use crate::source::SourceError;
use inlet_lake::LakeError;
use inlet_lake::validate::RuleError;

/// Why the consumer stops or begins anew.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The topic.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Records are missing in the topic.
    #[error(
        "kafka_partition {} of topic `{topic}` has a hole at offset {}: sequence {expected} was expected, {got} came",
        partition.0, offset.0
    )]
    Hole {
        /// The topic.
        topic: String,
        /// Its kafka_partition.
        partition: KafkaPartition,
        /// Where the later record is.
        offset: Offset,
        /// The sequence that should have come.
        expected: u64,
        /// The sequence that came.
        got: u64,
    },
}

impl ConsumerError {
    /// True when another writer was there first: beginning anew from the log settles it.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(
            self,
            Self::Lake(LakeError::Conflict { .. } | LakeError::Fenced { .. })
        )
    }
}

impl Explain for ConsumerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Lake(error) => error.kind(),
            Self::Rule(error) => error.kind(),
            Self::Hole { .. } => Kind::Data,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Lake(error) => error.hint(),
            Self::Rule(error) => error.hint(),
            Self::Hole { .. } => Some(Hint::text(
                "records were removed from the topic (its `cleanup.policy` must be `delete`) or never arrived: let the producer load the table again \
                 into a new topic (`kafka.topic`) and the consumer write a new lake folder (`datalake.path`)",
            )),
        }
    }
}
