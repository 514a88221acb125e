//! A rule on the column of one schema: its literals are values of the column's type, and it runs
//! over whole columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Datum, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{Float32Type, Float64Type, i256};
use arrow::error::ArrowError;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use inlet_model::{Column, ColumnType, Scalar, TableSchema};
use regex::Regex;

use super::RuleError;
use super::parse::{Comparison, Literal, Rule, Test};

type Value = arrow::array::Scalar<ArrayRef>;

/// A rule bound to a column.
#[derive(Debug)]
pub(super) struct BoundRule {
    /// The rule as written.
    pub text: String,
    pub column: usize,
    form: Form,
    test: BoundTest,
}

/// The form in which values are compared.
#[derive(Debug, Clone, Copy)]
enum Form {
    AsIs,
    /// One zero and one NaN, as PostgreSQL compares.
    Float32,
    Float64,
    /// `char(n)`: trailing spaces do not count.
    Padded,
}

#[derive(Debug)]
enum BoundTest {
    NotNull,
    Compare(Comparison, Value),
    Between {
        low: Value,
        high: Value,
        negated: bool,
    },
    In {
        values: Vec<Value>,
        negated: bool,
    },
    Matches(Regex),
}

impl BoundRule {
    pub fn new(rule: &Rule, schema: &TableSchema) -> Result<Self, RuleError> {
        let names = schema.columns.iter().map(|column| column.name.as_str());
        let position = rule.column.resolve(names);
        let position = position.ok_or_else(|| unknown_column(rule, schema))?;
        let column = &schema.columns[position];
        let binder = Binder {
            rule,
            column,
            form: form(column),
        };
        Ok(Self {
            text: rule.text.clone(),
            column: position,
            form: binder.form,
            test: binder.test()?,
        })
    }

    /// The rows where the rule is false.
    pub fn broken(&self, column: &ArrayRef) -> BooleanBuffer {
        if matches!(self.test, BoundTest::NotNull) {
            return column.nulls().map_or_else(
                || BooleanBuffer::new_unset(column.len()),
                |nulls| !nulls.inner(),
            );
        }
        let holds = self
            .holds(&self.form.apply(column))
            .expect("a literal has its column's type");
        let (values, nulls) = holds.into_parts();
        match nulls {
            // A comparison with null is neither true nor false in SQL, and a CHECK constraint
            // accepts it. So does a rule.
            Some(nulls) => &!&values & nulls.inner(),
            None => !&values,
        }
    }

    fn holds(&self, column: &ArrayRef) -> Result<BooleanArray, ArrowError> {
        match &self.test {
            BoundTest::NotNull => unreachable!("answered by the null buffer"),
            BoundTest::Compare(comparison, value) => compare(*comparison, column, value),
            BoundTest::Between { low, high, negated } => {
                // Nulls have arbitrary values here; `negate` restores them as null.
                let within = cmp::gt_eq(column, low)?.values() & cmp::lt_eq(column, high)?.values();
                Ok(negate(within, *negated, column.logical_nulls()))
            }
            BoundTest::In { values, negated } => {
                // A list of literals is short: one vectorized pass per literal needs no hash table.
                let mut found = BooleanBuffer::new_unset(column.len());
                for value in values {
                    found = &found | cmp::eq(column, value)?.values();
                }
                Ok(negate(found, *negated, column.logical_nulls()))
            }
            BoundTest::Matches(pattern) => {
                let texts = column.as_string::<i32>();
                let found = BooleanBuffer::collect_bool(texts.len(), |row| {
                    texts.is_valid(row) && pattern.is_match(texts.value(row))
                });
                Ok(BooleanArray::new(found, texts.nulls().cloned()))
            }
        }
    }
}

fn compare(
    comparison: Comparison,
    column: &dyn Datum,
    value: &Value,
) -> Result<BooleanArray, ArrowError> {
    match comparison {
        Comparison::Equal => cmp::eq(column, value),
        Comparison::NotEqual => cmp::neq(column, value),
        Comparison::Less => cmp::lt(column, value),
        Comparison::LessOrEqual => cmp::lt_eq(column, value),
        Comparison::Greater => cmp::gt(column, value),
        Comparison::GreaterOrEqual => cmp::gt_eq(column, value),
    }
}

fn negate(values: BooleanBuffer, negated: bool, nulls: Option<NullBuffer>) -> BooleanArray {
    BooleanArray::new(if negated { !&values } else { values }, nulls)
}

fn unknown_column(rule: &Rule, schema: &TableSchema) -> RuleError {
    let columns: Vec<_> = schema
        .columns
        .iter()
        .map(|column| format!("`{}`", column.name))
        .collect();
    RuleError::Column {
        rule: rule.text.clone(),
        column: rule.column.text().to_owned(),
        table: schema.table.clone(),
        columns: columns.join(", "),
    }
}

fn form(column: &Column) -> Form {
    match column.column_type {
        ColumnType::Scalar(Scalar::Float32) => Form::Float32,
        ColumnType::Scalar(Scalar::Float64) => Form::Float64,
        ColumnType::Scalar(Scalar::Text) if column.postgres_type.starts_with("character(") => {
            Form::Padded
        }
        _ => Form::AsIs,
    }
}

impl Form {
    fn apply(self, column: &ArrayRef) -> ArrayRef {
        match self {
            Self::AsIs => Arc::clone(column),
            Self::Float32 => Arc::new(
                column
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(|x| if x.is_nan() { f32::NAN } else { x + 0.0 }),
            ),
            Self::Float64 => Arc::new(
                column
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(|x| if x.is_nan() { f64::NAN } else { x + 0.0 }),
            ),
            Self::Padded => Arc::new(
                column
                    .as_string::<i32>()
                    .iter()
                    .map(|text| text.map(|text| text.trim_end_matches(' ')))
                    .collect::<StringArray>(),
            ),
        }
    }
}

struct Binder<'a> {
    rule: &'a Rule,
    column: &'a Column,
    form: Form,
}

impl Binder<'_> {
    fn test(&self) -> Result<BoundTest, RuleError> {
        Ok(match &self.rule.test {
            Test::NotNull => BoundTest::NotNull,
            Test::Compare(comparison, literal) => {
                // A column that is read as text compares by its text: equality holds, the order of
                // its type does not.
                if !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
                    self.ordered(literal)?;
                }
                BoundTest::Compare(*comparison, self.value(literal)?)
            }
            Test::Between { low, high, negated } => {
                self.ordered(low)?;
                BoundTest::Between {
                    low: self.value(low)?,
                    high: self.value(high)?,
                    negated: *negated,
                }
            }
            Test::In { values, negated } => BoundTest::In {
                values: values
                    .iter()
                    .map(|value| self.value(value))
                    .collect::<Result<_, _>>()?,
                negated: *negated,
            },
            Test::Matches(pattern)
                if self.column.column_type.arrow() == arrow::datatypes::DataType::Utf8 =>
            {
                BoundTest::Matches(pattern.clone())
            }
            Test::Matches(pattern) => {
                return Err(self.refused(&Literal::Text(pattern.as_str().to_owned())));
            }
        })
    }

    /// Refuses an order on a type that is stored as text: its text sorts differently from its
    /// values.
    fn ordered(&self, literal: &Literal) -> Result<(), RuleError> {
        let text_of_other_type =
            self.column.as_text || self.column.column_type == ColumnType::Scalar(Scalar::Json);
        if text_of_other_type {
            Err(self.refused(literal))
        } else {
            Ok(())
        }
    }

    fn value(&self, literal: &Literal) -> Result<Value, RuleError> {
        let array = value(self.column.column_type, literal).ok_or_else(|| self.refused(literal))?;
        Ok(Value::new(self.form.apply(&array)))
    }

    fn refused(&self, literal: &Literal) -> RuleError {
        RuleError::Literal {
            rule: self.rule.text.clone(),
            column: self.column.name.clone(),
            postgres_type: self.column.postgres_type.clone(),
            literal: literal.to_string(),
        }
    }
}

/// A literal as an array of one value of the type; `None` when the type has no value that equals it
/// exactly.
fn value(column_type: ColumnType, literal: &Literal) -> Option<ArrayRef> {
    let text = literal.text();
    Some(match column_type {
        ColumnType::Scalar(Scalar::Bool) => Arc::new(BooleanArray::from(vec![
            text.to_ascii_lowercase().parse::<bool>().ok()?,
        ])),
        ColumnType::Scalar(Scalar::Int16) => {
            Arc::new(Int16Array::from(vec![text.parse::<i16>().ok()?]))
        }
        ColumnType::Scalar(Scalar::Int32) => {
            Arc::new(Int32Array::from(vec![text.parse::<i32>().ok()?]))
        }
        ColumnType::Scalar(Scalar::Int64) => {
            Arc::new(Int64Array::from(vec![text.parse::<i64>().ok()?]))
        }
        ColumnType::Scalar(Scalar::Float32) => {
            let number = text.parse::<f32>().ok();
            let number = number.filter(|number| is_in_range(text, f64::from(*number)))?;
            Arc::new(Float32Array::from(vec![number]))
        }
        ColumnType::Scalar(Scalar::Float64) => {
            let number = text.parse::<f64>().ok();
            let number = number.filter(|number| is_in_range(text, *number))?;
            Arc::new(Float64Array::from(vec![number]))
        }
        ColumnType::Scalar(Scalar::Decimal { precision, scale }) => {
            decimal(text, precision, scale)?
        }
        ColumnType::Scalar(Scalar::Text | Scalar::Json) => {
            let Literal::Text(text) = literal else {
                return None;
            };
            Arc::new(StringArray::from(vec![text.as_str()]))
        }
        ColumnType::Scalar(Scalar::Uuid) => {
            let bytes = uuid::Uuid::parse_str(text).ok()?.into_bytes();
            Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes)).ok()?)
        }
        ColumnType::Scalar(Scalar::Oid) => {
            Arc::new(Int64Array::from(vec![i64::from(text.parse::<u32>().ok()?)]))
        }
        ColumnType::Scalar(Scalar::Bytes) | ColumnType::List(_) => return None,
        ColumnType::Scalar(Scalar::Date) => {
            let days = text
                .parse::<NaiveDate>()
                .ok()?
                .signed_duration_since(NaiveDate::default())
                .num_days();
            Arc::new(Date32Array::from(vec![i32::try_from(days).ok()?]))
        }
        ColumnType::Scalar(Scalar::Time) => {
            Arc::new(Time64MicrosecondArray::from(vec![time(text)?]))
        }
        ColumnType::Scalar(Scalar::Timestamp) => {
            Arc::new(TimestampMicrosecondArray::from(vec![micros(wall_clock(
                text,
            )?)?]))
        }
        ColumnType::Scalar(Scalar::TimestampTz) => {
            let with_zone =
                DateTime::parse_from_str(&text.replacen('T', " ", 1), "%Y-%m-%d %H:%M:%S%.f%#z")
                    .ok();
            let utc = with_zone
                .map(|time| time.naive_utc())
                .or_else(|| wall_clock(text.trim_end_matches(['Z', 'z'])))?;
            Arc::new(TimestampMicrosecondArray::from(vec![micros(utc)?]).with_timezone("UTC"))
        }
    })
}

/// True unless the number as written is too large or too small for the type. Parsing then gives
/// infinity or zero; PostgreSQL refuses such a literal.
fn is_in_range(text: &str, number: f64) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.contains(|c: char| ('1'..='9').contains(&c));
    is_zero || (number.is_finite() && number != 0.0)
}

fn decimal(text: &str, precision: u8, scale: i8) -> Option<ArrayRef> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let clean = whole.len() + fraction.len() > 0
        && whole
            .bytes()
            .chain(fraction.bytes())
            .all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    let scale_digits = usize::try_from(scale).ok()?;
    if !clean || fraction.len() > scale_digits {
        return None;
    }
    let unscaled = format!("{whole}{fraction:0<scale_digits$}");
    let unscaled = unscaled.trim_start_matches('0');
    if unscaled.len() > usize::from(precision) {
        return None;
    }
    let signed = format!(
        "{}{}",
        if negative { "-" } else { "" },
        if unscaled.is_empty() { "0" } else { unscaled }
    );
    Some(if precision <= 38 {
        Arc::new(
            Decimal128Array::from(vec![signed.parse::<i128>().ok()?])
                .with_precision_and_scale(precision, scale)
                .ok()?,
        )
    } else {
        Arc::new(
            Decimal256Array::from(vec![i256::from_string(&signed)?])
                .with_precision_and_scale(precision, scale)
                .ok()?,
        )
    })
}

fn wall_clock(text: &str) -> Option<NaiveDateTime> {
    let text = text.replacen('T', " ", 1);
    let with_time = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok());
    with_time.or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0))
}

fn micros(time: NaiveDateTime) -> Option<i64> {
    let exact = time.nanosecond().is_multiple_of(1_000);
    exact.then(|| time.and_utc().timestamp_micros())
}

fn time(text: &str) -> Option<i64> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f")
        .or_else(|_| NaiveTime::parse_from_str(text, "%H:%M"))
        .ok()?;
    let exact = time.nanosecond().is_multiple_of(1_000);
    exact.then(|| {
        i64::from(time.num_seconds_from_midnight()) * 1_000_000
            + i64::from(time.nanosecond() / 1_000)
    })
}
