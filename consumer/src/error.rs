//! The errors after which the consumer stops or restarts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use inlet_model::record::debezium::OpenError;
use inlet_model::{KafkaPartition, Offset};
use inlet_service::error::{Explain, Hint, Kind, Section};

use crate::source::SourceError;
use inlet_lake::{Head, LakeError, RuleError};

/// Why the consumer stops or restarts.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The configuration lacks what the messages of another program do not tell.
    #[error(transparent)]
    Undeclared(OpenError),
    /// The group has read the topic into a lake that is not at its path any more.
    #[error("{lost}")]
    LakeMissing { lost: LostLake },
    /// Records are missing in the topic.
    #[error(
        "kafka_partition {} of topic `{topic}` has a hole at offset {}: sequence {expected} was \
         expected, {got} arrived",
        partition.0, offset.0
    )]
    Hole {
        topic: String,
        partition: KafkaPartition,
        offset: Offset,
        expected: u64,
        got: u64,
    },
}

/// A lake that had rows of a topic and is missing now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lake at `{}` has no rows of topic `{topic}`, and group `{group}` has read it to offset {} \
     into a lake",
    path.display(), offset.0
)]
pub struct LostLake {
    pub path: PathBuf,
    pub topic: String,
    pub group: String,
    /// Up to where the group has read.
    pub offset: Offset,
}

impl LostLake {
    /// How to go on: with the lake, or with a new one.
    pub fn fix(&self) -> String {
        "restore the lake, or correct `datalake.path`\n\
         or start once with `--new-lake`, which fills a new lake from the topic; where the topic's \
         beginning has expired, `inlet reload TABLE` then brings the other rows"
            .to_owned()
    }
}

/// The offset up to which the group has read, if the lake has nothing of the topic.
pub(crate) fn unfounded(head: &Head, read: &BTreeMap<KafkaPartition, Offset>) -> Option<Offset> {
    let is_empty = head.offsets.values().all(|at| at.next.is_none());
    let furthest = read.values().max().copied();
    furthest.filter(|offset| is_empty && *offset > Offset::ZERO)
}

impl ConsumerError {
    /// True when no broker has answered since the start: who supervises the service starts it
    /// again.
    pub(crate) fn is_unreached(&self) -> bool {
        matches!(self, Self::Source(SourceError::Unreached(_)))
    }

    /// True when another writer was first: a restart from the log then settles who writes.
    ///
    /// A request to join that a killed consumer left behind may be answered after that of its
    /// successor, and replaces it in the group; so that is one of them.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(
            self,
            Self::Lake(LakeError::Conflict { .. } | LakeError::Fenced { .. })
                | Self::Source(SourceError::Replaced { .. })
        )
    }
}

impl Explain for ConsumerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Lake(error) => error.kind(),
            Self::Rule(error) => error.kind(),
            Self::Undeclared(_) | Self::LakeMissing { .. } => Kind::Config,
            Self::Hole { .. } => Kind::Data,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Lake(error) => error.hint(),
            Self::Rule(error) => error.hint(),
            Self::Undeclared(OpenError::Key { .. }) => Some(Hint::key("tables.<name>.key")),
            Self::Undeclared(_) => Some(Hint::text(
                "declare them with `tables.<name>.columns`, or let the connector send schemas: \
                 `value.converter.schemas.enable=true`",
            )),
            Self::LakeMissing { lost } => Some(Hint::text(lost.fix()).see(Section::LakeMissing)),
            Self::Hole { .. } => Some(Hint::text(
                "records were removed from the topic (its `cleanup.policy` must be `delete`) or \
                 never arrived: let the producer publish into a new topic (`kafka.topic`) under a \
                 new name (`pipeline`), which publishes every row again, and the consumer write a \
                 new lake folder (`datalake.path`)",
            )),
        }
    }
}
