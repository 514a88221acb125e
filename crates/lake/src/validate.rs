//! A table's rules: which rows are taken, and why a row is not.
//!
//! A rule is one line of SQL's own words, parsed once: `order_id is not null`, `amount >= 0`,
//! `status in ('new', 'paid')`, `created_at between '2020-01-01' and '2030-01-01'`, `email ~
//! '^[^@]+@[^@]+$'`. [`Rules`] are bound to a table's schema, where every literal becomes exactly
//! one value of its column's type, and then judge whole batches, column by column.
//!
//! Promises: like SQL's `CHECK`, a rule is broken only where it is false: null passes everything
//! but `is not null`. Deletes have no values and are never judged. Every row of a batch is accepted
//! or rejected. Text compares byte by byte (collation `C`); NaN equals NaN and is greater than
//! every number, as in PostgreSQL. Leaves to others: where rejected rows go.

mod bind;
mod parse;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::UInt8Type;
use inlet_model::change::{OP, UPSERT};
use inlet_model::{TableName, TableSchema};
use inlet_service::error::{Explain, Hint, Kind};

use bind::BoundRule;
use parse::Rule;

/// A table's rules as written; not bound to columns yet.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

/// Rules whose columns and literals are those of one schema.
#[derive(Debug)]
pub struct BoundRules(Vec<BoundRule>);

/// What the rules say of a batch.
#[derive(Debug)]
pub struct Verdict {
    /// One flag a row: true when it is accepted.
    pub accepted: BooleanArray,
    /// The rejected rows in order: row, and the texts of the rules it breaks, joined by `; `.
    pub rejected: Vec<(usize, String)>,
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// Not a sentence of the grammar.
    #[error("rule `{rule}` is not understood at `{at}`: {expected} expected")]
    Syntax {
        /// The rule.
        rule: String,
        /// Where reading stopped.
        at: String,
        /// What would have been right there.
        expected: &'static str,
    },
    /// A regular expression that does not compile.
    #[error("rule `{rule}` holds a pattern that is no regular expression: {why}")]
    Pattern {
        /// The rule.
        rule: String,
        /// The compiler's words.
        why: String,
    },
    /// A column that the table does not have.
    #[error("rule `{rule}` names column `{column}`, table `{table}` has {columns}")]
    Column {
        /// The rule.
        rule: String,
        /// The unknown column.
        column: String,
        /// The table.
        table: TableName,
        /// The columns it has.
        columns: String,
    },
    /// A literal that is no exact value of the column's type.
    #[error("rule `{rule}` compares column `{column}` of type {postgres_type} with {literal}")]
    Literal {
        /// The rule.
        rule: String,
        /// The column.
        column: String,
        /// Its type in PostgreSQL.
        postgres_type: String,
        /// The literal as written.
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
                "a rule is `<column> is not null`, `<column> = | <> | < | <= | > | >= <value>`, `<column> [not] between <value> and <value>`, \
                 `<column> [not] in (<value>, ..)` or `<column> ~ '<pattern>'`; see the key `tables.<name>.rules`",
            ),
            Self::Literal { .. } => Hint::text(
                "write a value that the column can hold exactly (text, dates and times in quotes); see the key `tables.<name>.rules`",
            ),
            Self::Pattern { .. } | Self::Column { .. } => Hint::key("tables.<name>.rules"),
        })
    }
}

impl Rules {
    /// Parses rules.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, RuleError> {
        texts
            .iter()
            .map(|text| parse::rule(text.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Binds the rules to a schema.
    pub fn bind(&self, schema: &TableSchema) -> Result<BoundRules, RuleError> {
        self.0
            .iter()
            .map(|rule| BoundRule::new(rule, schema))
            .collect::<Result<_, _>>()
            .map(BoundRules)
    }
}

impl BoundRules {
    /// Judges a batch of the schema the rules were bound to: table columns first, [`OP`] among the
    /// change columns.
    pub fn judge(&self, rows: &RecordBatch) -> Verdict {
        let upserts = upserts(rows);
        let broken: Vec<BooleanBuffer> = self
            .0
            .iter()
            .map(|rule| &rule.broken(rows.column(rule.column)) & &upserts)
            .collect();
        let any = broken
            .iter()
            .fold(BooleanBuffer::new_unset(rows.num_rows()), |any, one| {
                &any | one
            });
        let rejected: Vec<_> = any
            .set_indices()
            .map(|row| (row, self.reason(&broken, row)))
            .collect();
        let accepted = BooleanArray::new(!&any, None);
        assert_eq!(
            accepted.true_count() + rejected.len(),
            rows.num_rows(),
            "every row is accepted or rejected"
        );
        Verdict { accepted, rejected }
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
