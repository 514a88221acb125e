//! Random rules over random rows, against a small interpreter that goes row by row.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, RecordBatch,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use chrono::{DateTime, Duration, FixedOffset, NaiveDate};
use inlet_model::change::{ChangeBatch, DELETE, Origin, UPSERT, polled_schema};
use inlet_model::{Column, ColumnType, Scalar, TableName, TableSchema};
use inlet_service::error::Explain;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::{RuleError, Rules, Validator};
use super::column;

/// A value of one of the columns, and so of a literal.
#[derive(Debug, Clone)]
enum Value {
    Int(i32),
    /// Hundredths.
    Decimal(i64),
    Text(String),
    Padded(String),
    Float(f64),
    Bool(bool),
    Day(i32),
    Moment(i64),
    Time(i64),
}

/// The columns: name, type, and PostgreSQL's name of the type.
const COLUMNS: [(&str, Scalar, &str); 9] = [
    ("n", Scalar::Int32, "integer"),
    (
        "amount",
        Scalar::Decimal {
            precision: 6,
            scale: 2,
        },
        "numeric(6,2)",
    ),
    ("between", Scalar::Text, "text"),
    ("Code", Scalar::Text, "character(3)"),
    ("weight", Scalar::Float64, "double precision"),
    ("is", Scalar::Bool, "boolean"),
    ("day", Scalar::Date, "date"),
    ("at", Scalar::TimestampTz, "timestamp with time zone"),
    ("a \"b", Scalar::Time, "time"),
];

/// Values of a column. They are few, so that literals and rows often meet.
fn value(at: usize) -> BoxedStrategy<Value> {
    const DAY: i64 = 86_400_000_000;
    let texts = || select(vec!["", "a", "A", "b", "it's", "é", "and", "a b"]);
    let floats = vec![
        0.0,
        -0.0,
        1.5,
        -1.5,
        1e300,
        5e-324,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -f64::NAN,
    ];
    match at {
        0 => prop_oneof![-3..3_i32, Just(i32::MAX), Just(i32::MIN)]
            .prop_map(Value::Int)
            .boxed(),
        1 => prop_oneof![-3..3_i64, -300..300_i64, Just(999_999_i64)]
            .prop_map(Value::Decimal)
            .boxed(),
        2 => texts().prop_map(|text| Value::Text(text.into())).boxed(),
        3 => texts().prop_map(|text| Value::Padded(text.into())).boxed(),
        4 => select(floats).prop_map(Value::Float).boxed(),
        5 => any::<bool>().prop_map(Value::Bool).boxed(),
        6 => prop_oneof![-2..3_i32, Just(-719_162_i32)]
            .prop_map(Value::Day)
            .boxed(),
        7 => prop_oneof![
            -2..3_i64,
            (-40..40_i64).prop_map(|hours| hours * 3_600_000_000)
        ]
        .prop_map(Value::Moment)
        .boxed(),
        _ => prop_oneof![
            0..3_i64,
            (0..24_i64).prop_map(|hour| hour * 3_600_000_000),
            Just(DAY - 1)
        ]
        .prop_map(Value::Time)
        .boxed(),
    }
}

/// SQL's order: NaN equals itself and is the greatest, zero has no sign, and `char(n)` has no
/// trailing blanks.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Decimal(one), Value::Decimal(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Value::Padded(one), Value::Padded(other)) => {
            let trimmed = |text: &str| text.trim_end_matches(' ').to_owned();
            trimmed(one).cmp(&trimmed(other))
        }
        (Value::Float(one), Value::Float(other)) => match (one.is_nan(), other.is_nan()) {
            (false, false) => one.partial_cmp(other).expect("numbers have an order"),
            (one, other) => one.cmp(&other),
        },
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Day(one), Value::Day(other)) => one.cmp(other),
        (Value::Moment(one), Value::Moment(other)) => one.cmp(other),
        (Value::Time(one), Value::Time(other)) => one.cmp(other),
        _ => panic!("a literal is of its column's type"),
    }
}

#[derive(Debug, Clone)]
enum Condition {
    NotNull,
    Compare(usize, Value),
    Between(Value, Value, bool),
    In(Vec<Value>, bool),
}

type Comparison = (&'static str, fn(Ordering) -> bool);

const COMPARISONS: [Comparison; 7] = [
    ("=", Ordering::is_eq),
    ("<>", Ordering::is_ne),
    ("!=", Ordering::is_ne),
    ("<", Ordering::is_lt),
    ("<=", Ordering::is_le),
    (">", Ordering::is_gt),
    (">=", Ordering::is_ge),
];

impl Condition {
    fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else {
            return !matches!(self, Self::NotNull);
        };
        match self {
            Self::NotNull => true,
            Self::Compare(at, literal) => COMPARISONS[*at].1(order(value, literal)),
            Self::Between(low, high, negated) => {
                (order(value, low).is_ge() && order(value, high).is_le()) != *negated
            }
            Self::In(literals, negated) => {
                let equals = |literal| order(value, literal).is_eq();
                literals.iter().any(equals) != *negated
            }
        }
    }

    /// The rule as a person may write it; `style` chooses among the ways.
    fn text(&self, column: &str, style: u32) -> String {
        let pick =
            |words: &[&str], shift: u32| words[(style >> shift) as usize % words.len()].to_owned();
        let blank = pick(&[" ", "  ", "\t"], 0);
        let not = |negated: bool| {
            if negated {
                pick(&["not ", "NOT  "], 1)
            } else {
                "".into()
            }
        };
        let literal = |value: &Value| literal(value, style >> 4);
        let is_plain = column.bytes().all(|byte| byte.is_ascii_lowercase());
        let name = match pick(&["plain", "quoted", "upper"], 2).as_str() {
            "plain" if is_plain => column.to_owned(),
            "upper" if is_plain => column.to_uppercase(),
            _ => format!("\"{}\"", column.replace('"', "\"\"")),
        };
        let condition = match self {
            Self::NotNull => pick(&["is not null", "IS NOT NULL", "is  not\tNull"], 3),
            Self::Compare(at, value) => {
                let gap = pick(&["", " "], 5);
                format!("{}{gap}{}", COMPARISONS[*at].0, literal(value))
            }
            Self::Between(low, high, negated) => {
                let (between, and) = (pick(&["between", "BETWEEN"], 3), pick(&["and", "AND"], 6));
                let (low, high) = (literal(low), literal(high));
                format!("{}{between} {low} {and} {high}", not(*negated))
            }
            Self::In(values, negated) => {
                let values: Vec<_> = values.iter().map(literal).collect();
                let list = values.join(&pick(&[",", ", ", " , "], 7));
                format!(
                    "{}{}{list})",
                    not(*negated),
                    pick(&["in (", "IN(", "in  ( "], 3)
                )
            }
        };
        format!("{name}{blank}{condition}")
    }
}

/// A literal in one of its forms.
fn literal(value: &Value, style: u32) -> String {
    let style = style as usize;
    let quoted = |text: String| format!("'{}'", text.replace('\'', "''"));
    match value {
        Value::Int(number) => match style % 3 {
            0 => number.to_string(),
            1 => format!("{number:+}"),
            _ => format!("'{number}'"),
        },
        Value::Decimal(hundredths) => {
            let sign = if *hundredths < 0 {
                "-"
            } else {
                ["", "+"][style % 2]
            };
            let (whole, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
            match style / 2 % 4 {
                0 if whole == 0 => format!("{sign}.{rest:02}"),
                1 if rest == 0 => format!("{sign}{whole}"),
                2 => format!("{sign}0{whole}.{rest:02}000"),
                _ => format!("{sign}{whole}.{rest:02}"),
            }
        }
        Value::Text(text) => quoted(text.clone()),
        Value::Padded(text) => quoted(format!("{text}{}", " ".repeat(style % 4))),
        Value::Float(number) if number.is_nan() => quoted(["NaN", "nan"][style % 2].into()),
        Value::Float(number) if number.is_infinite() => {
            let infinity = ["Infinity", "inf"][style % 2];
            quoted(if *number < 0.0 {
                format!("-{infinity}")
            } else {
                infinity.into()
            })
        }
        Value::Float(number) => match style % 2 {
            0 => format!("{number:?}"),
            _ => format!("{number:e}"),
        },
        Value::Bool(value) => match style % 3 {
            0 => value.to_string(),
            1 => value.to_string().to_uppercase(),
            _ => format!("'{value}'"),
        },
        Value::Day(days) => {
            let day = NaiveDate::default() + Duration::days(i64::from(*days));
            quoted(day.format("%Y-%m-%d").to_string())
        }
        Value::Moment(micros) => {
            let utc = DateTime::from_timestamp_micros(*micros).expect("a moment of a year");
            let minutes = [0, 90, -330][style % 3];
            let zone = FixedOffset::east_opt(minutes * 60).expect("an offset of a zone");
            let local = utc.with_timezone(&zone);
            let (t, z) = (["T", " "][style / 3 % 2], ["%:z", "%z"][style / 6 % 2]);
            let form = format!("%Y-%m-%d{t}%H:%M:%S%.6f{z}");
            match style / 12 % 3 {
                0 if minutes == 0 => quoted(local.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
                1 if minutes == 0 => quoted(local.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string()),
                _ => quoted(local.format(&form).to_string()),
            }
        }
        Value::Time(micros) => {
            let time = DateTime::from_timestamp_micros(*micros)
                .expect("a time of a day")
                .time();
            let is_minute = micros % 60_000_000 == 0;
            match style % 2 {
                0 if is_minute => quoted(time.format("%H:%M").to_string()),
                _ => quoted(time.format("%H:%M:%S%.6f").to_string()),
            }
        }
    }
}

fn condition(column: usize) -> impl Strategy<Value = Condition> {
    let value = || value(column);
    prop_oneof![
        1 => Just(Condition::NotNull),
        4 => (0..COMPARISONS.len(), value()).prop_map(|(at, value)| Condition::Compare(at, value)),
        2 => (value(), value(), any::<bool>())
            .prop_map(|(low, high, negated)| Condition::Between(low, high, negated)),
        2 => (vec(value(), 1..4), any::<bool>())
            .prop_map(|(values, negated)| Condition::In(values, negated)),
    ]
}

/// A column's position, the condition on it, and its text.
fn rule() -> impl Strategy<Value = (usize, Condition, String)> {
    (0..COLUMNS.len()).prop_flat_map(|at| {
        (condition(at), any::<u32>()).prop_map(move |(condition, style)| {
            let text = condition.text(COLUMNS[at].0, style);
            (at, condition, text)
        })
    })
}

fn row() -> impl Strategy<Value = (bool, Vec<Option<Value>>)> {
    let values: Vec<_> = (0..COLUMNS.len())
        .map(|at| option::weighted(0.8, value(at)))
        .collect();
    (prop::bool::weighted(0.9), values)
}

fn table() -> TableSchema {
    let columns: Vec<Column> = COLUMNS
        .iter()
        .map(|(name, scalar, postgres)| column(name, ColumnType::Scalar(*scalar), postgres))
        .collect();
    TableSchema::new(TableName::new("public", "t"), columns, vec![0])
}

/// Every value of a column, null for a delete.
macro_rules! values {
    ($rows:expr, $at:expr, $kind:path) => {
        $rows.iter().map(|(upsert, row)| match &row[$at] {
            Some($kind(value)) if *upsert => Some(value.clone()),
            _ => None,
        })
    };
}

fn batch(rows: &[(bool, Vec<Option<Value>>)]) -> ChangeBatch {
    let decimals: Decimal128Array = values!(rows, 1, Value::Decimal)
        .map(|value| value.map(i128::from))
        .collect();
    // PostgreSQL sends `char(n)` with its blanks.
    let padded = values!(rows, 3, Value::Padded).map(|text| text.map(|text| format!("{text:<3}")));
    let ops = rows
        .iter()
        .map(|(upsert, _)| if *upsert { UPSERT } else { DELETE });
    let moments: TimestampMicrosecondArray = values!(rows, 7, Value::Moment).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(values!(rows, 0, Value::Int).collect::<Int32Array>()),
        Arc::new(decimals.with_precision_and_scale(6, 2).expect("it fits")),
        Arc::new(values!(rows, 2, Value::Text).collect::<StringArray>()),
        Arc::new(padded.collect::<StringArray>()),
        Arc::new(values!(rows, 4, Value::Float).collect::<Float64Array>()),
        Arc::new(values!(rows, 5, Value::Bool).collect::<BooleanArray>()),
        Arc::new(values!(rows, 6, Value::Day).collect::<Date32Array>()),
        Arc::new(moments.with_timezone("UTC")),
        Arc::new(values!(rows, 8, Value::Time).collect::<Time64MicrosecondArray>()),
        Arc::new(ops.collect::<UInt8Array>()),
        Arc::new(UInt64Array::from_iter_values(0..rows.len() as u64)),
        Arc::new(StringArray::from(vec![None::<&str>; rows.len()])),
    ];
    let schema = Arc::new(table());
    ChangeBatch {
        rows: RecordBatch::try_new(polled_schema(&schema), columns).expect("a batch of the table"),
        schema,
        detected_at: 0,
        origin: Origin::Poll,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_row_is_rejected_exactly_when_a_rule_is_false_for_it(
        rules in vec(rule(), 0..4), rows in vec(row(), 0..12)
    ) {
        let expected: Vec<(usize, String)> = rows
            .iter()
            .enumerate()
            .filter(|(_, (upsert, _))| *upsert)
            .filter_map(|(at, (_, row))| {
                let broken: Vec<&str> = rules
                    .iter()
                    .filter(|(column, condition, _)| !condition.holds(row[*column].as_ref()))
                    .map(|(.., text)| text.as_str())
                    .collect();
                (!broken.is_empty()).then(|| (at, broken.join("; ")))
            })
            .collect();
        let texts: Vec<&str> = rules.iter().map(|(.., text)| text.as_str()).collect();
        let parsed = Rules::parse(&texts).unwrap();
        let (accepted, rejected) = Validator::new(parsed).split(batch(&rows), vec![]).unwrap();
        prop_assert_eq!(&rejected, &expected, "{:?}", texts);
        // The accepted rows are the others, in their order: `_xid` numbers the rows here.
        let numbers = accepted.rows.column_by_name("_xid").unwrap();
        let others = (0..rows.len()).filter(|at| expected.iter().all(|(row, _)| row != at));
        let others: ArrayRef = Arc::new(UInt64Array::from_iter_values(others.map(|at| at as u64)));
        prop_assert_eq!(numbers, &others);
    }

    /// Edits of a rule, as a person mistypes it.
    #[test]
    fn a_rule_that_is_refused_says_where_and_what_is_valid(
        (_, _, text) in rule(),
        edits in vec((any::<Index>(), option::of("[a-z0-9 '\"()~<>=!,.é%_-]|not|and|in")), 1..4),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, insert) in edits {
            let at = at.index(chars.len() + 1);
            match insert {
                Some(piece) => _ = chars.splice(at..at, piece.chars()),
                None if at < chars.len() => _ = chars.remove(at),
                None => {}
            }
        }
        let text: String = chars.into_iter().collect();
        let refused = Rules::parse(&[&text]).and_then(|rules| rules.check(&table()));
        if let Err(error) = refused {
            if let RuleError::Syntax { at, rule, .. } = &error {
                prop_assert!(at == "the end" || rule.ends_with(at.as_str()), "{}", error);
            }
            prop_assert!(error.to_string().contains(text.trim()), "{}", error);
            prop_assert!(error.hint().is_some(), "{}", error);
        }
    }
}

#[test]
fn a_number_that_a_float_cannot_hold_is_refused() {
    // PostgreSQL: "1e999" is out of range for type double precision.
    for literal in ["1e999", "-1e999", "'1e309'", "1e-400"] {
        let rules = Rules::parse(&[format!("weight < {literal}")]).unwrap();
        let refused = rules.check(&table());
        assert!(
            matches!(refused, Err(RuleError::Literal { .. })),
            "{literal}: {refused:?}"
        );
    }
    for literal in [
        "'Infinity'",
        "'-inf'",
        "1.7976931348623157e308",
        "5e-324",
        "0e-400",
        "-0",
    ] {
        let rules = Rules::parse(&[format!("weight < {literal}")]).unwrap();
        assert_eq!(rules.check(&table()), Ok(()), "{literal}");
    }
}
