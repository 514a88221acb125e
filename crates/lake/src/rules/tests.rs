mod random;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use inlet_model::change::{ChangeBatch, DELETE, Origin, UPSERT, polled_schema};
use inlet_model::{Column, TableName, TableSchema};
use inlet_model::{ColumnType, Scalar};
use inlet_service::error::{Explain, Kind};

use super::{RuleError, Rules, Validator};

fn column(name: &str, column_type: ColumnType, postgres_type: &str) -> Column {
    Column {
        name: name.into(),
        column_type,
        postgres_type: postgres_type.into(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    }
}

fn orders() -> TableSchema {
    let columns = vec![
        column("order_id", ColumnType::Scalar(Scalar::Int64), "bigint"),
        column(
            "amount",
            ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2,
            }),
            "numeric(10,2)",
        ),
        column("status", ColumnType::Scalar(Scalar::Text), "text"),
        column("Code", ColumnType::Scalar(Scalar::Text), "character(4)"),
        column(
            "weight",
            ColumnType::Scalar(Scalar::Float64),
            "double precision",
        ),
        column("paid", ColumnType::Scalar(Scalar::Bool), "boolean"),
        column("day", ColumnType::Scalar(Scalar::Date), "date"),
        column(
            "at",
            ColumnType::Scalar(Scalar::TimestampTz),
            "timestamp with time zone",
        ),
    ];
    TableSchema::new(TableName::new("public", "orders"), columns, vec![0])
}

/// Three rows: a good one, one of odd values, one of nulls; and a delete.
fn rows() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), Some(-2), None, Some(4)])),
        Arc::new(
            Decimal128Array::from(vec![Some(22_000), Some(-1), None, None])
                .with_precision_and_scale(10, 2)
                .expect("fits"),
        ),
        Arc::new(StringArray::from(vec![
            Some("new"),
            Some("it's odd"),
            None,
            None,
        ])),
        Arc::new(StringArray::from(vec![
            Some("AB  "),
            Some("XY  "),
            None,
            None,
        ])),
        Arc::new(Float64Array::from(vec![
            Some(-0.0),
            Some(f64::NAN),
            None,
            None,
        ])),
        Arc::new(BooleanArray::from(vec![
            Some(true),
            Some(false),
            None,
            None,
        ])),
        Arc::new(Date32Array::from(vec![Some(20_000), Some(-1), None, None])),
        Arc::new(
            TimestampMicrosecondArray::from(vec![Some(1_700_000_000_000_000), Some(0), None, None])
                .with_timezone("UTC"),
        ),
        Arc::new(UInt8Array::from(vec![UPSERT, UPSERT, UPSERT, DELETE])),
        Arc::new(UInt64Array::from(vec![9, 9, 9, 9])),
        Arc::new(StringArray::from(vec![None::<&str>; 4])),
    ];
    RecordBatch::try_new(polled_schema(&orders()), columns).expect("columns of the schema")
}

fn rejected(rules: &[&str]) -> Vec<(usize, String)> {
    Rules::parse(rules)
        .expect("parses")
        .bind(&orders())
        .expect("binds")
        .broken(&rows())
}

fn broken_rows(rule: &str) -> Vec<usize> {
    rejected(&[rule])
        .into_iter()
        .map(|(row, reason)| (row, assert_eq!(reason, rule)).0)
        .collect()
}

fn refusal(rule: &str) -> RuleError {
    Rules::parse(&[rule])
        .and_then(|rules| rules.bind(&orders()).map(drop))
        .expect_err(rule)
}

#[test]
fn null_breaks_only_is_not_null_and_a_delete_breaks_nothing() {
    assert_eq!(broken_rows("order_id is not null"), [2]);
    assert_eq!(broken_rows("amount IS NOT NULL"), [2]);
    for rule in [
        "order_id < -100",
        "status = 'none'",
        "amount not between -9 and 999",
        "paid in (true) ",
        "status ~ '^z'",
    ] {
        let rows: Vec<_> = rejected(&[rule]).into_iter().map(|(row, _)| row).collect();
        assert!(!rows.contains(&2) && !rows.contains(&3), "{rule}: {rows:?}");
    }
}

#[test]
fn comparisons_are_exact_in_the_columns_type() {
    assert_eq!(broken_rows("amount >= 0"), [1]);
    assert_eq!(broken_rows("amount = 220.000"), [1]);
    assert_eq!(broken_rows("amount <> -.01"), [1]);
    assert_eq!(broken_rows("amount between -0.01 and 220"), [0_usize; 0]);
    assert_eq!(broken_rows("amount not between 0 and 220"), [0]);
    assert_eq!(broken_rows("order_id > -2"), [1]);
    assert_eq!(broken_rows("order_id <= 1"), [0_usize; 0]);
    assert_eq!(broken_rows("order_id != 1"), [0]);
    assert_eq!(broken_rows("day >= '1970-01-01'"), [1]);
    assert_eq!(broken_rows("at > '1970-01-01T02:00:00+02:00'"), [1]);
    assert_eq!(broken_rows("at >= '1970-01-01 00:00:00'"), [0_usize; 0]);
    assert_eq!(broken_rows("paid = true"), [1]);
}

#[test]
fn floats_compare_as_in_postgresql() {
    assert_eq!(broken_rows("weight = 0"), [1]);
    assert_eq!(broken_rows("weight >= 0"), [0_usize; 0]);
    assert_eq!(broken_rows("weight = 'NaN'"), [0]);
    assert_eq!(broken_rows("weight < 1e308"), [1]);
}

#[test]
fn texts_lists_patterns_and_padding() {
    assert_eq!(broken_rows("status = 'it''s odd'"), [0]);
    assert_eq!(broken_rows("status in ('new', 'paid')"), [1]);
    assert_eq!(broken_rows("status not in ('new')"), [0]);
    assert_eq!(broken_rows("Status ~ '^[a-z]+$'"), [1]);
    assert_eq!(broken_rows("\"Code\" = 'AB'"), [1]);
    assert_eq!(broken_rows("Code in ('AB', 'XY   ')"), [0_usize; 0]);
}

#[test]
fn all_broken_rules_are_the_reason() {
    let rejected = rejected(&["order_id >= 0", "status in ('new')", "amount >= -1"]);
    assert_eq!(
        rejected,
        [(1, "order_id >= 0; status in ('new')".to_owned())]
    );
}

#[test]
fn no_rules_accept_everything() {
    let (accepted, rejected) = split(&[], vec![]);
    assert_eq!((accepted, rejected), (vec![0, 1, 2, 3], vec![]));
}

fn split(rules: &[&str], unfit: Vec<(usize, String)>) -> (Vec<i64>, Vec<(usize, String)>) {
    let rules = Rules::parse(rules).expect("parses");
    let batch = ChangeBatch {
        schema: Arc::new(orders()),
        rows: rows(),
        detected_at: 0,
        origin: Origin::Poll,
    };
    let numbered: Vec<i64> = (0..4).collect();
    let ids = batch.rows.column(0).clone();
    let (accepted, rejected) = Validator::new(rules).split(batch, unfit).expect("binds");
    let kept = accepted.rows.column(0);
    let number = |at: usize| {
        let same =
            |row: &&i64| ids.slice(**row as usize, 1).to_data() == kept.slice(at, 1).to_data();
        *numbered
            .iter()
            .find(same)
            .expect("an accepted row is one of the batch")
    };
    ((0..kept.len()).map(number).collect(), rejected)
}

#[test]
fn a_row_that_does_not_fit_is_rejected_for_that_reason_whatever_the_rules_say() {
    let unfit = vec![(0, "too wide".to_owned()), (1, "too wide".to_owned())];
    let (accepted, rejected) = split(&["order_id >= 0"], unfit.clone());
    assert_eq!((accepted, rejected), (vec![2, 3], unfit));
}

#[test]
fn what_is_no_rule_is_refused_where_it_stops() {
    for rule in [
        "",
        "amount",
        "amount >",
        "amount > 0 and 1",
        "amount is null",
        "1 > amount",
        "status = 'open",
        "status in ('a' 'b')",
        "status in ()",
        "\"Code = 'x'",
        "amount not > 1",
        "status ~ ab",
        "amount between 1",
        "status = new",
    ] {
        assert!(matches!(refusal(rule), RuleError::Syntax { .. }), "{rule}");
    }
    assert!(matches!(refusal("status ~ '('"), RuleError::Pattern { .. }));
    assert_eq!(
        refusal("amount > 0 or 1").to_string(),
        "rule `amount > 0 or 1` is not understood at `or 1`: the end of the rule expected"
    );
}

#[test]
fn a_literal_or_column_that_cannot_be_is_a_configuration_error() {
    for rule in [
        "amount >= 0.005",
        "amount > 123456789",
        "amount > 'x'",
        "amount > 1e2",
        "order_id > 1.5",
        "order_id > 99999999999999999999",
        "status > 5",
        "paid > 3",
        "day = '2026-02-30'",
        "at > 'noon'",
        "order_id ~ 'x'",
        "weight = 'heavy'",
        "amount = .",
        "amount > --1",
    ] {
        let refusal = refusal(rule);
        assert!(
            matches!(refusal, RuleError::Literal { .. }),
            "{rule}: {refusal}"
        );
        assert_eq!(refusal.kind(), Kind::Config);
    }
    assert!(matches!(refusal("total > 1"), RuleError::Column { .. }));
    assert!(matches!(
        refusal("\"code\" = 'x'"),
        RuleError::Column { .. }
    ));
}
