//! The pure steps on one slab: sequence, decode, validate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::compute::filter_record_batch;
use inlet_model::change::ChangeBatch;
use inlet_model::{Fingerprint, TableName, TableSchema};
use inlet_model::{KafkaPartition, OffsetRange};

use crate::decode::{DecodedBatch, Decoders, rejected};
use crate::error::ConsumerError;
use crate::sequence::Positions;
use crate::source::Slab;
use inlet_lake::Rejected;
use inlet_lake::validate::{BoundRules, Rules};

/// What the steps keep from slab to slab.
#[derive(Debug)]
pub(super) struct Work {
    pub positions: Positions,
    decoders: Decoders,
    rules: Rules,
    bound: HashMap<Fingerprint, BoundRules>,
}

/// What a slab brings to the open batch.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub batches: Vec<ChangeBatch>,
    pub rejected: Vec<Rejected>,
    pub covered: BTreeMap<KafkaPartition, (OffsetRange, u64)>,
    pub doubles: u64,
}

impl Work {
    pub fn new(table: TableName, rules: Rules) -> Self {
        Self {
            positions: Positions::default(),
            decoders: Decoders::new(table),
            rules,
            bound: HashMap::new(),
        }
    }

    /// Runs the steps.
    pub fn run(
        &mut self,
        slab: &Slab,
        known: &HashMap<Fingerprint, Arc<TableSchema>>,
    ) -> Result<Taken, ConsumerError> {
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
        });
        let mut taken = Taken {
            rejected: decoded.rejected,
            covered: checked.covered,
            doubles: checked.doubles,
            ..Taken::default()
        };
        for batch in decoded.batches {
            self.validate(slab, batch, &mut taken)?;
        }
        let rows: usize = taken
            .batches
            .iter()
            .map(|batch| batch.rows.num_rows())
            .sum();
        assert_eq!(
            rows + taken.rejected.len(),
            checked.kept.len(),
            "every message is accepted or rejected"
        );
        Ok(taken)
    }

    fn validate(
        &mut self,
        slab: &Slab,
        batch: DecodedBatch,
        taken: &mut Taken,
    ) -> Result<(), ConsumerError> {
        let DecodedBatch {
            mut changes,
            messages,
        } = batch;
        let fingerprint = changes.schema.fingerprint();
        let rules = match self.bound.entry(fingerprint) {
            std::collections::hash_map::Entry::Occupied(bound) => bound.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.rules.bind(&changes.schema)?)
            }
        };
        let verdict = rules.judge(&changes.rows);
        if !verdict.rejected.is_empty() {
            changes.rows = filter_record_batch(&changes.rows, &verdict.accepted)
                .expect("the verdict has a flag for each row");
        }
        for (row, reason) in verdict.rejected {
            taken.rejected.push(rejected(
                slab,
                &slab.message(messages[row] as usize),
                reason,
            ));
        }
        if changes.rows.num_rows() > 0 {
            taken.batches.push(changes);
        }
        Ok(())
    }
}
