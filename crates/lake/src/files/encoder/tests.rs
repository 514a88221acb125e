//! Random rows of every type in random batches, through Parquet and back.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    UInt8Array, UInt32Array, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, i256};
use chrono::DateTime;
use chrono_tz::Tz;
use inlet_model::change::{DELETE, KAFKA_PARTITION, OFFSET, Origin, UPSERT, positioned_schema};
use inlet_model::{Column, ColumnType, Scalar, TableName};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::folder::in_memory;
use crate::options::LakeOptions;

const TYPES: [Scalar; 18] = [
    Scalar::TimestampTz,
    Scalar::Bool,
    Scalar::Int16,
    Scalar::Int32,
    Scalar::Int64,
    Scalar::Oid,
    Scalar::Float32,
    Scalar::Float64,
    Scalar::Decimal {
        precision: 10,
        scale: 2,
    },
    Scalar::Decimal {
        precision: 38,
        scale: 20,
    },
    Scalar::Decimal {
        precision: 60,
        scale: 3,
    },
    Scalar::Text,
    Scalar::Json,
    Scalar::Uuid,
    Scalar::Bytes,
    Scalar::Date,
    Scalar::Time,
    Scalar::Timestamp,
];
/// The position of the wide decimal among [`TYPES`].
const WIDE: usize = 10;
const DAY: u64 = 86_400_000_000;

/// Each seed is a value of the type; `None` is null.
fn array(scalar: Scalar, seeds: &[Option<u64>]) -> ArrayRef {
    let all = || seeds.iter().copied();
    let signed = |seed: u64| seed.cast_signed();
    // The days around 1970-01-01.
    let micros = |seed: u64| signed(seed % (8 * DAY)) - signed(4 * DAY);
    let text = |seed: u64| ["", "a", "é\0", "a longer text, \"quoted\""][(seed % 4) as usize];
    match scalar {
        Scalar::Bool => Arc::new(
            all()
                .map(|seed| seed.map(|seed| seed % 2 == 0))
                .collect::<BooleanArray>(),
        ),
        Scalar::Int16 => Arc::new(
            all()
                .map(|seed| seed.map(|seed| seed as i16))
                .collect::<Int16Array>(),
        ),
        Scalar::Int32 => Arc::new(
            all()
                .map(|seed| seed.map(|seed| seed as i32))
                .collect::<Int32Array>(),
        ),
        Scalar::Int64 => Arc::new(all().map(|seed| seed.map(signed)).collect::<Int64Array>()),
        Scalar::Oid => Arc::new(
            all()
                .map(|seed| seed.map(|seed| signed(seed >> 32)))
                .collect::<Int64Array>(),
        ),
        Scalar::Float32 => Arc::new(
            all()
                .map(|seed| seed.map(|seed| f32::from_bits(seed as u32)))
                .collect::<Float32Array>(),
        ),
        Scalar::Float64 => Arc::new(
            all()
                .map(|seed| seed.map(f64::from_bits))
                .collect::<Float64Array>(),
        ),
        Scalar::Decimal { precision, scale } if precision <= 38 => {
            let limit = 10_i128.pow(u32::from(precision));
            let number = |seed: u64| i128::from(signed(seed)).pow(2) % limit;
            let array: Decimal128Array = all().map(|seed| seed.map(number)).collect();
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        }
        Scalar::Decimal { precision, scale } => {
            let number = |seed: u64| i256::from_i128(i128::from(signed(seed)).pow(2) / 7);
            let array: Decimal256Array = all().map(|seed| seed.map(number)).collect();
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        }
        Scalar::Text | Scalar::Json => {
            Arc::new(all().map(|seed| seed.map(text)).collect::<StringArray>())
        }
        Scalar::Uuid => {
            let uuid = |seed: u64| u128::from(seed).pow(2).to_be_bytes();
            let uuids = all().map(|seed| seed.map(uuid));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap())
        }
        Scalar::Bytes => Arc::new(
            all()
                .map(|seed| seed.map(|seed| seed.to_be_bytes()[..(seed % 9) as usize].to_vec()))
                .collect::<BinaryArray>(),
        ),
        Scalar::Date => Arc::new(
            all()
                .map(|seed| seed.map(|seed| seed as i32 / 1000))
                .collect::<Date32Array>(),
        ),
        Scalar::Time => Arc::new(
            all()
                .map(|seed| seed.map(|seed| signed(seed % DAY)))
                .collect::<Time64MicrosecondArray>(),
        ),
        Scalar::Timestamp => Arc::new(
            all()
                .map(|seed| seed.map(signed))
                .collect::<TimestampMicrosecondArray>(),
        ),
        Scalar::TimestampTz => {
            let moments = all().map(|seed| seed.map(micros));
            Arc::new(
                moments
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            )
        }
    }
}

/// Lists of floats: an absent one, an empty one, one of a null and a value.
fn lists(seeds: &[Option<u64>]) -> ArrayRef {
    let list = |seed: u64| match seed % 3 {
        0 => vec![],
        1 => vec![None, Some(f64::from_bits(seed))],
        _ => vec![Some(1.5); (seed % 11) as usize],
    };
    let lists = seeds.iter().map(|seed| seed.map(list));
    let array = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
    let arrow::datatypes::DataType::List(field) = ColumnType::List(Scalar::Float64).arrow() else {
        panic!("a list has a list's type")
    };
    let (_, offsets, values, nulls) = array.into_parts();
    Arc::new(ListArray::new(field, offsets, values, nulls))
}

fn table() -> Arc<TableSchema> {
    let types = TYPES.map(ColumnType::Scalar).into_iter();
    let columns = types.chain([ColumnType::List(Scalar::Float64)]).enumerate();
    let column = |(at, column_type): (usize, ColumnType)| Column {
        name: format!("c.{at} \"{column_type:?}\""),
        column_type,
        postgres_type: "some".to_owned(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    };
    let columns = columns.map(column).collect();
    Arc::new(TableSchema::new(
        TableName::new("public", "t"),
        columns,
        vec![3],
    ))
}

/// A row: its kafka_partition, whether it is a delete, and a seed of its values.
type Row = (i32, bool, u64);

/// The batch of all rows; offsets of a kafka_partition rise, with gaps.
fn batch(schema: &Arc<TableSchema>, rows: &[Row]) -> ChangeBatch {
    let mut offsets = BTreeMap::<i32, i64>::new();
    let mut next = |partition, seed: u64| {
        let offset = offsets.entry(partition).or_default();
        *offset += 1 + (seed % 3).cast_signed();
        *offset
    };
    let seeds = |column: u64| -> Vec<Option<u64>> {
        rows.iter()
            .map(|(_, _, seed)| {
                seed.rotate_left(column as u32 * 7)
                    .wrapping_mul(2 * column + 1)
            })
            .map(|seed| (seed % 5 != 0).then_some(seed))
            .collect()
    };
    let mut columns: Vec<ArrayRef> = (0..)
        .zip(TYPES)
        .map(|(at, scalar)| array(scalar, &seeds(at)))
        .collect();
    columns.push(lists(&seeds(40)));
    let op = |deleted: bool| if deleted { DELETE } else { UPSERT };
    let detected = TimestampMicrosecondArray::from(vec![7; rows.len()]).with_timezone("UTC");
    let change: [ArrayRef; 5] = [
        Arc::new(
            rows.iter()
                .map(|row| Some(op(row.1)))
                .collect::<UInt8Array>(),
        ),
        Arc::new(UInt64Array::from_iter_values(
            rows.iter().map(|row| row.2 >> 1),
        )),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| next(row.0, row.2)),
        )),
        Arc::new(detected),
    ];
    columns.extend(change);
    ChangeBatch {
        schema: schema.clone(),
        rows: RecordBatch::try_new(positioned_schema(schema), columns).unwrap(),
        detected_at: 7,
        origin: Origin::Poll,
    }
}

fn positions(rows: &RecordBatch) -> Vec<(i32, i64)> {
    let column = |name| rows.column_by_name(name).expect("a positioned batch");
    let partitions = column(KAFKA_PARTITION).as_primitive::<Int32Type>().values();
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
    partitions
        .iter()
        .copied()
        .zip(offsets.iter().copied())
        .collect()
}

fn open(zone: Tz) -> (tempfile::TempDir, Arc<Folder>) {
    let folder = in_memory();
    let options = LakeOptions {
        table: table().table.clone(),
        timezone: zone,
        date_column: Some(table().columns[0].name.clone()),
        numbering: crate::Numbering::Topic,
        compaction: None,
        retention: None,
    };
    let opened = Folder::open(folder.path(), options).unwrap();
    (folder, Arc::new(opened))
}

fn read(path: &std::path::Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// A decimal's text, made from its digits.
fn decimal_text(digits: i256, scale: usize) -> String {
    let text = digits.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// The column of a file that holds these values.
fn stored(at: usize, column: &ArrayRef) -> ArrayRef {
    match at.checked_sub(TYPES.len() + 1) {
        None if at == WIDE => {
            let wide = column.as_primitive::<arrow::datatypes::Decimal256Type>();
            let texts = wide
                .iter()
                .map(|value| value.map(|value| decimal_text(value, 3)));
            Arc::new(texts.collect::<StringArray>())
        }
        Some(0) => {
            let ops = column.as_primitive::<arrow::datatypes::UInt8Type>();
            let letter = |op: &u8| if *op == UPSERT { "u" } else { "d" };
            Arc::new(StringArray::from_iter_values(
                ops.values().iter().map(letter),
            ))
        }
        Some(1) => {
            let xids = column.as_primitive::<arrow::datatypes::UInt64Type>();
            let signed = xids.values().iter().map(|xid| xid.cast_signed());
            Arc::new(Int64Array::from_iter_values(signed))
        }
        _ => column.clone(),
    }
}

/// Checks that the files hold exactly these rows, each in the file of its date, and those of a
/// kafka_partition in their order.
fn check(folder: &Folder, encoded: &Encoded, rows: &RecordBatch, zone: Tz) {
    let numbers: BTreeMap<(i32, i64), u32> = positions(rows).into_iter().zip(0..).collect();
    let moments = rows
        .column(0)
        .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let date = |row: u32| {
        let micros = moments
            .is_valid(row as usize)
            .then(|| moments.value(row as usize))?;
        let local = DateTime::from_timestamp_micros(micros)?.with_timezone(&zone);
        Some(local.format("%Y-%m-%d").to_string())
    };
    let (mut seen, mut last) = (HashSet::new(), BTreeMap::new());
    for file in &encoded.files {
        let found = read(&folder.store.path(&file.staged));
        assert_eq!(found.num_rows() as u64, file.rows);
        let places = positions(&found);
        assert_eq!(
            (file.first.0.0, file.first.1.0),
            places[0],
            "a file is named after its first"
        );
        let order: Vec<u32> = places.iter().map(|place| numbers[place]).collect();
        for (row, (partition, offset)) in order.iter().zip(&places) {
            assert!(seen.insert(*row), "row {row} is a duplicate");
            assert_eq!(date(*row), file.date);
            let before = last.insert((file.date.clone(), *partition), *offset);
            assert!(before < Some(*offset), "{before:?} precedes {offset}");
        }
        let order = UInt32Array::from(order);
        for (at, column) in rows.columns().iter().enumerate() {
            let expected = stored(at, &take(column, &order, None).unwrap());
            assert_eq!(
                found.column(at).to_data(),
                expected.to_data(),
                "column {at}"
            );
        }
    }
    assert_eq!(seen.len(), rows.num_rows(), "every row is in a file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rows_of_every_type_come_back_whatever_the_batches(
        rows in vec((0..3_i32, prop::bool::weighted(0.1), any::<u64>()), 1..120),
        cuts in vec(any::<Index>(), 0..6),
        zone in select(vec![Tz::UTC, Tz::Asia__Kolkata, Tz::America__St_Johns]),
    ) {
        let (_guard, folder) = open(zone);
        let all = batch(&table(), &rows);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let mut encoder = Encoder::new(folder.clone(), Layout::default());
        for cut in cuts.windows(2) {
            let rows = all.rows.slice(cut[0], cut[1] - cut[0]);
            encoder.append(&ChangeBatch { rows, ..all.clone() }).unwrap();
        }
        let encoded = encoder.finish().unwrap();
        check(&folder, &encoded, &all.rows, zone);
        let dates: HashSet<_> = encoded.files.iter().map(|file| &file.date).collect();
        prop_assert_eq!(dates.len(), encoded.files.len(), "a small batch has one file a date");
        for (partition, found) in &encoded.positions {
            let places = positions(&all.rows).into_iter();
            let of_partition = places.filter(|place| place.0 == partition.0).map(|place| place.1);
            let offsets: Vec<i64> = of_partition.collect();
            let ends = offsets.iter().min().zip(offsets.iter().max());
            prop_assert_eq!(Some((&found.first.0, &found.last.0)), ends);
        }
    }

    /// The rows of a message have its offset, arrive together, and may have several dates.
    #[test]
    fn rows_of_a_message_come_back_and_a_message_that_comes_again_fails_the_batch(
        messages in vec((0..2_i32, vec(any::<u64>(), 1..40)), 1..12),
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let (_guard, folder) = open(Tz::UTC);
        let rows: Vec<Row> = messages.iter()
            .flat_map(|(partition, seeds)| seeds.iter().map(|seed| (*partition, false, *seed)))
            .collect();
        let mut all = batch(&table(), &rows);
        let offsets = (0_i64..).zip(&messages).flat_map(|(offset, (_, seeds))| {
            seeds.iter().map(move |_| offset)
        });
        let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(offsets));
        let mut columns = all.rows.columns().to_vec();
        columns[all.rows.schema().index_of(OFFSET).unwrap()] = offsets;
        all.rows = RecordBatch::try_new(all.rows.schema(), columns).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| {
            let whole = &messages[..cut.index(messages.len() + 1)];
            whole.iter().map(|(_, seeds)| seeds.len()).sum()
        }).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let mut encoder = Encoder::new(folder.clone(), Layout::default());
        for cut in cuts.windows(2) {
            let rows = all.rows.slice(cut[0], cut[1] - cut[0]);
            encoder.append(&ChangeBatch { rows, ..all.clone() }).unwrap();
        }
        let encoded = encoder.finish().unwrap();
        let mut found: Vec<_> = encoded.files.iter()
            .flat_map(|file| positions(&read(&folder.store.path(&file.staged))))
            .collect();
        found.sort_unstable();
        let mut expected = positions(&all.rows);
        expected.sort_unstable();
        prop_assert_eq!(found, expected);

        let mut encoder = Encoder::new(folder, Layout::default());
        encoder.append(&all).unwrap();
        let rows = all.rows.slice(rows.len() - 1, 1);
        let refused = encoder.append(&ChangeBatch { rows, ..all });
        prop_assert!(refused.is_err());
    }

    #[test]
    fn an_offset_that_comes_again_fails_the_batch(
        rows in vec((0..2_i32, Just(false), any::<u64>()), 1..20), again in any::<Index>()
    ) {
        let (_guard, folder) = open(Tz::UTC);
        let all = batch(&table(), &rows);
        let mut encoder = Encoder::new(folder, Layout::default());
        encoder.append(&all).unwrap();
        let rows = all.rows.slice(again.index(rows.len()), 1);
        let refused = encoder.append(&ChangeBatch { rows, ..all });
        prop_assert!(refused.is_err());
    }
}

/// More dates than files may be open, each with more rows than are gathered, and a new schema in
/// the middle.
#[test]
fn more_dates_than_open_files_lose_no_row_and_keep_the_order() {
    const COUNT: i64 = 24;
    let (_guard, folder) = open(Tz::UTC);
    let whole = table();
    let narrow = |columns: usize| {
        let columns = whole.columns[..columns].to_vec();
        Arc::new(TableSchema::new(whole.table.clone(), columns, vec![]))
    };
    let mut encoder = Encoder::new(folder.clone(), Layout::default());
    let mut expected = BTreeMap::<String, Vec<i64>>::new();
    let mut offset = 0;
    for (round, schema) in [narrow(1), narrow(1), narrow(2), narrow(1)]
        .iter()
        .enumerate()
    {
        for turn in 0..COUNT {
            // Forwards and backwards, so that a date returns after its file was closed.
            let day = if round % 2 == 0 {
                turn
            } else {
                COUNT - 1 - turn
            };
            let rows = RUN_ROWS as i64 / 2 + turn * 500;
            let micros = vec![day * DAY.cast_signed(); rows as usize];
            let offsets: Vec<i64> = (offset..offset + rows).collect();
            offset += rows;
            let date = dates::name(day as Day).unwrap();
            expected.entry(date).or_default().extend(&offsets);
            let count = rows as usize;
            let mut columns: Vec<ArrayRef> = vec![Arc::new(
                TimestampMicrosecondArray::from(micros).with_timezone("UTC"),
            )];
            if schema.columns.len() == 2 {
                columns.push(Arc::new(BooleanArray::from(vec![true; count])));
            }
            let change: [ArrayRef; 5] = [
                Arc::new(UInt8Array::from(vec![UPSERT; count])),
                Arc::new(UInt64Array::from(vec![1; count])),
                Arc::new(Int32Array::from(vec![0; count])),
                Arc::new(Int64Array::from(offsets)),
                Arc::new(TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC")),
            ];
            columns.extend(change);
            let rows = RecordBatch::try_new(positioned_schema(schema), columns).unwrap();
            let detected_at = 0;
            encoder
                .append(&ChangeBatch {
                    schema: schema.clone(),
                    rows,
                    detected_at,
                    origin: Origin::Poll,
                })
                .unwrap();
            assert!(encoder.open.len() <= OPEN_DATES_MAX);
        }
    }
    let encoded = encoder.finish().unwrap();
    let mut found = BTreeMap::<String, Vec<i64>>::new();
    for file in &encoded.files {
        let rows = read(&folder.store.path(&file.staged));
        let offsets = positions(&rows).into_iter().map(|(_, offset)| offset);
        found
            .entry(file.date.clone().unwrap())
            .or_default()
            .extend(offsets);
    }
    assert!(
        found == expected,
        "the files of a date hold its rows in order"
    );
    let names: HashSet<_> = encoded
        .files
        .iter()
        .map(|file| (&file.date, file.first))
        .collect();
    assert_eq!(
        names.len(),
        encoded.files.len(),
        "two files never have one name"
    );
}
