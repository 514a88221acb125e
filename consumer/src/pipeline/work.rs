//! The pure steps on one slab: sequence, decode, validate. They run on a blocking thread.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use inlet_lake::{Rejected, Rules, Validator};
use inlet_model::change::ChangeBatch;
use inlet_model::record::debezium::Declared;
use inlet_model::{Fingerprint, KafkaPartition, OffsetRange, TableName, TableSchema};

use crate::decode::{DecodedBatch, Decoders, rejected, rejected_rows};
use crate::error::ConsumerError;
use crate::sequence::Positions;
use crate::source::Slab;

/// The state of the steps between two slabs.
#[derive(Debug)]
pub(super) struct Work {
    pub positions: Positions,
    decoders: Decoders,
    validator: Validator,
}

/// What a slab adds to the open batch.
#[derive(Debug, Default)]
pub(super) struct Validated {
    pub batches: Vec<ChangeBatch>,
    pub rejected: Vec<Rejected>,
    pub covered: BTreeMap<KafkaPartition, (OffsetRange, u64)>,
    pub duplicates: u64,
}

impl Work {
    pub fn new(table: TableName, rules: Rules, debezium: Option<Declared>) -> Self {
        Self {
            positions: Positions::default(),
            decoders: Decoders::new(table, debezium),
            validator: Validator::new(rules),
        }
    }

    pub fn run(
        &mut self,
        slab: &Slab,
        known: &HashMap<Fingerprint, Arc<TableSchema>>,
    ) -> Result<Validated, ConsumerError> {
        let checked = self
            .positions
            .advance(slab)
            .map_err(|hole| ConsumerError::Hole {
                topic: slab.topic().to_string(),
                partition: hole.partition,
                offset: hole.offset,
                expected: hole.expected,
                got: hole.got,
            })?;
        let decoded = self.decoders.decode(slab, &checked.kept, |fingerprint| {
            known.get(&fingerprint).cloned()
        })?;
        let mut validated = Validated {
            rejected: decoded.rejected,
            covered: checked.covered,
            duplicates: checked.duplicates,
            ..Validated::default()
        };
        for batch in decoded.batches {
            self.validate(slab, batch, &mut validated)?;
        }
        Ok(validated)
    }

    fn validate(
        &mut self,
        slab: &Slab,
        batch: DecodedBatch,
        validated: &mut Validated,
    ) -> Result<(), ConsumerError> {
        let rows = batch.messages.len();
        // The decoder has already rejected the values that the lake's type cannot hold.
        let (accepted, broken) = self.validator.split(batch.changes.clone(), Vec::new())?;
        assert_eq!(
            accepted.rows.num_rows() + broken.len(),
            rows,
            "every row is accepted or rejected"
        );
        let (several, single): (Vec<_>, Vec<_>) = broken.into_iter().partition(|(row, _)| {
            let message = slab.message(batch.messages[*row] as usize);
            message.headed.has_many_rows()
        });
        for (row, reason) in single {
            let message = slab.message(batch.messages[row] as usize);
            validated.rejected.push(rejected(slab, &message, reason));
        }
        if !several.is_empty() {
            let rows = rejected_rows(slab, &batch, several);
            validated.rejected.extend(rows);
        }
        if accepted.rows.num_rows() > 0 {
            validated.batches.push(accepted);
        }
        Ok(())
    }
}
