//! Rows a second that the `json` format writes and reads on one core: a million rows of an orders
//! table with 8 columns.
//!
//! `cargo run --release -p inlet-model --example json_speed`
#![allow(clippy::print_stdout)] // An example, not a service.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use inlet_model::change::{ChangeBatch, Origin, UPSERT, polled_schema};
use inlet_model::record::Rows;
use inlet_model::record::json::{Decoder, encode_keys, encode_values};
use inlet_model::{Column, TableName, TableSchema};
use inlet_model::{ColumnType, Scalar};

const BATCH_ROWS: i64 = 10_000;
const BATCHES: u32 = 100;

fn main() {
    let batch = orders();
    let (mut keys, mut values) = (Rows::default(), Rows::default());
    let mut decoder = Decoder::new(batch.schema.clone(), batch.rows.num_rows());
    let (mut encoding, mut keying, mut decoding) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES {
        let start = Instant::now();
        encode_values(black_box(&batch), &mut values);
        encoding += start.elapsed();

        let start = Instant::now();
        encode_keys(black_box(&batch), &values, &mut keys);
        keying += start.elapsed();

        let start = Instant::now();
        for row in 0..values.len() {
            let value = values.get(row).expect("an upsert has a value");
            decoder
                .decode_value(black_box(value))
                .expect("what was encoded can be decoded");
        }
        black_box(decoder.finish());
        decoding += start.elapsed();
    }
    println!("{} bytes a value", values.bytes() / values.len());
    for (step, time) in [
        ("encode values", encoding),
        ("encode keys", keying),
        ("decode values", decoding),
    ] {
        let rows = f64::from(BATCHES) * values.len() as f64;
        println!(
            "{step}: {:.2} M rows/s, {:.0} ns a row",
            rows / time.as_secs_f64() / 1e6,
            time.as_secs_f64() * 1e9 / rows
        );
    }
}

fn orders() -> ChangeBatch {
    let column = |name: &str, column_type, postgres_type: &str| Column {
        name: name.to_owned(),
        column_type,
        postgres_type: postgres_type.to_owned(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    };
    let columns = vec![
        column("order_id", ColumnType::Scalar(Scalar::Int64), "bigint"),
        column("customer_name", ColumnType::Scalar(Scalar::Text), "text"),
        column("product", ColumnType::Scalar(Scalar::Text), "text"),
        column("quantity", ColumnType::Scalar(Scalar::Int32), "integer"),
        column(
            "amount",
            ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2,
            }),
            "numeric(10,2)",
        ),
        column("status", ColumnType::Scalar(Scalar::Text), "text"),
        column(
            "created_at",
            ColumnType::Scalar(Scalar::Timestamp),
            "timestamp without time zone",
        ),
        column(
            "updated_at",
            ColumnType::Scalar(Scalar::TimestampTz),
            "timestamp with time zone",
        ),
    ];
    let schema = Arc::new(TableSchema::new(
        TableName::new("public", "orders"),
        columns,
        vec![0],
    ));
    let ids = || 0..BATCH_ROWS;
    let stamp = |id: i64| 1_795_000_000_000_000 + id * 1_234_567;
    let amounts =
        Decimal128Array::from_iter_values(ids().map(|id| i128::from(id * 7919 % 1_000_000)));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids().map(|id| id + 5_000_000))),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| format!("Customer {}", id * 31 % 100_000)),
        )),
        Arc::new(
            (0..BATCH_ROWS)
                .map(|id| (id % 11 != 0).then(|| format!("product-{}", id % 500)))
                .collect::<StringArray>(),
        ),
        Arc::new(Int32Array::from_iter_values(
            (0..10_000).map(|id| id % 9 + 1),
        )),
        Arc::new(
            amounts
                .with_precision_and_scale(10, 2)
                .expect("numeric(10,2) is a decimal"),
        ),
        Arc::new(StringArray::from_iter_values(ids().map(|id| {
            ["new", "paid", "shipped", "delivered"][usize::try_from(id % 4).unwrap_or(0)]
        }))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            ids().map(stamp),
        )),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(ids().map(|id| stamp(id) + 1))
                .with_timezone("UTC"),
        ),
        Arc::new(UInt8Array::from_iter_values(ids().map(|_| UPSERT))),
        Arc::new(UInt64Array::from_iter_values(
            ids().map(|id| id.unsigned_abs()),
        )),
        arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, ids().count()),
    ];
    let rows = RecordBatch::try_new(polled_schema(&schema), arrays)
        .expect("the columns are those of the schema");
    ChangeBatch {
        schema,
        rows,
        detected_at: 0,
        origin: Origin::Poll,
    }
}
