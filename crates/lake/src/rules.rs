//! A table's rules: which rows the lake accepts, and why it rejects a row.
//!
//! A rule is one line of SQL's own words, parsed once: `order_id is not null`, `amount >= 0`,
//! `status in ('new', 'paid')`, `created_at between '2020-01-01' and '2030-01-01'`, `email ~
//! '^[^@]+@[^@]+$'`. [`Rules`] are bound to a table's schema, where every literal becomes exactly
//! one value of its column's type, and then validate whole batches, column by column.
//!
//! Like SQL's `CHECK`, a rule is broken only where it is false: null fulfils every rule but `is not
//! null`. Deletes have no values and fulfil every rule. Text compares byte by byte (collation `C`);
//! NaN equals NaN and is greater than every number, as in PostgreSQL.

mod bind;
mod parse;

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt8Type;
use inlet_model::change::{ChangeBatch, OP, UPSERT};
use inlet_model::{Fingerprint, TableName, TableSchema};
use inlet_service::error::{Explain, Hint, Kind, Section};

use bind::BoundRule;
use parse::Rule;

/// A table's rules as written; not bound to columns yet.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

/// Rules whose columns and literals are those of one schema.
#[derive(Debug)]
struct BoundRules(Vec<BoundRule>);

/// A table's rules, bound to each schema as it arrives.
#[derive(Debug)]
pub struct Validator {
    rules: Rules,
    bound: HashMap<Fingerprint, BoundRules>,
}

/// Why a rule cannot be used.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// The rule is not a sentence of the grammar.
    #[error("rule `{rule}` is not understood at `{at}`: {expected} expected")]
    Syntax {
        rule: String,
        at: String,
        expected: &'static str,
    },
    /// The pattern is not a regular expression.
    #[error("rule `{rule}` holds a pattern that is no regular expression: {why}")]
    Pattern { rule: String, why: String },
    /// The table has no such column.
    #[error("rule `{rule}` names column `{column}`, table `{table}` has {columns}")]
    Column {
        rule: String,
        column: String,
        table: TableName,
        columns: String,
    },
    /// The literal is not an exact value of the column's type.
    #[error("rule `{rule}` compares column `{column}` of type {postgres_type} with {literal}")]
    Literal {
        rule: String,
        column: String,
        postgres_type: String,
        literal: String,
    },
}

impl Explain for RuleError {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Syntax { .. } => Hint::text(
                "a rule is `<column> is not null`, `<column> = | <> | < | <= | > | >= <value>`, \
                 `<column> [not] between <value> and <value>`, \
                 `<column> [not] in (<value>, ..)` or `<column> ~ '<pattern>'`; see the key \
                 `tables.<name>.rules`",
            )
            .see(Section::Rule),
            Self::Literal { .. } => Hint::text(
                "write a value that the column can hold exactly (text, dates and times in \
                 quotes); see the key `tables.<name>.rules`",
            ),
            Self::Pattern { .. } | Self::Column { .. } => Hint::key("tables.<name>.rules"),
        })
    }
}

impl Rules {
    /// Parses rules, each one a sentence of the grammar.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, RuleError> {
        let rules = texts.iter().map(|text| parse::rule(text.as_ref()));
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// Checks that the rules fit a schema: their columns exist, and their literals are values of
    /// the columns' types.
    pub fn check(&self, schema: &TableSchema) -> Result<(), RuleError> {
        self.bind(schema).map(drop)
    }

    fn bind(&self, schema: &TableSchema) -> Result<BoundRules, RuleError> {
        let rules = self.0.iter().map(|rule| BoundRule::new(rule, schema));
        rules.collect::<Result<_, _>>().map(BoundRules)
    }
}

impl Validator {
    /// A validator for these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            bound: HashMap::new(),
        }
    }

    /// Splits a batch into the accepted rows and the rejected ones, each with the reason. `unfit`
    /// are rows that are rejected whatever the rules say.
    pub fn split(
        &mut self,
        mut batch: ChangeBatch,
        unfit: Vec<(usize, String)>,
    ) -> Result<(ChangeBatch, Vec<(usize, String)>), RuleError> {
        let fingerprint = batch.schema.fingerprint();
        if !self.bound.contains_key(&fingerprint) {
            // Binding resolves names and parses literals, so it is done once for each schema.
            let bound = self.rules.bind(&batch.schema)?;
            self.bound.insert(fingerprint, bound);
        }
        let broken = self.bound[&fingerprint].broken(&batch.rows);
        if broken.is_empty() && unfit.is_empty() {
            return Ok((batch, broken));
        }
        // A value that does not fit is null in the batch, so its own reason explains more than that
        // of a rule, and replaces it.
        let rejected: BTreeMap<usize, String> = broken.into_iter().chain(unfit).collect();
        let count = batch.rows.num_rows();
        let mut flags = vec![true; count];
        for row in rejected.keys() {
            flags[*row] = false;
        }
        let accepted = BooleanArray::from(flags);
        batch.rows = filter_record_batch(&batch.rows, &accepted).expect("a flag for each row");
        assert_eq!(
            batch.rows.num_rows() + rejected.len(),
            count,
            "every row is accepted or rejected"
        );
        Ok((batch, rejected.into_iter().collect()))
    }
}

impl BoundRules {
    /// The rows that break a rule, in order, with the texts of the rules they break, joined by `;
    /// `. Table columns come first in `rows`, [`OP`] is among the change columns.
    fn broken(&self, rows: &RecordBatch) -> Vec<(usize, String)> {
        // A delete has nulls in place of values, which `is not null` must not reject.
        let upserts = upserts(rows);
        let broken: Vec<BooleanBuffer> = self
            .0
            .iter()
            .map(|rule| &rule.broken(rows.column(rule.column)) & &upserts)
            .collect();
        let none = BooleanBuffer::new_unset(rows.num_rows());
        let any = broken.iter().fold(none, |any, one| &any | one);
        any.set_indices()
            .map(|row| (row, self.reason(&broken, row)))
            .collect()
    }

    fn reason(&self, broken: &[BooleanBuffer], row: usize) -> String {
        let texts: Vec<&str> = self
            .0
            .iter()
            .zip(broken)
            .filter(|(_, broken)| broken.value(row))
            .map(|(rule, _)| rule.text.as_str())
            .collect();
        texts.join("; ")
    }
}

fn upserts(rows: &RecordBatch) -> BooleanBuffer {
    let op = rows
        .column_by_name(OP)
        .expect("a change batch has its operation")
        .as_primitive::<UInt8Type>();
    assert_eq!(op.null_count(), 0, "every change has an operation");
    BooleanBuffer::from_iter(op.values().iter().map(|op| *op == UPSERT))
}

#[cfg(test)]
mod tests;
