//! Whether the latest version of a key would be an older one without some files.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use inlet_model::change::{DETECTED_AT, KAFKA_PARTITION, OFFSET};
use inlet_model::{TableSchema, is_blank_padded};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use xxhash_rust::xxh3::xxh3_128;

use super::pace::Throttle;
use crate::commit::{Head, Listed};
use crate::error::{LakeError, READING};
use crate::files::Opened;
use crate::files::{Pace, Store};

/// Keys of a leaving date in memory at once: about 200 MB.
const KEYS_MAX: u64 = 2 << 20;
const BATCH_ROWS: usize = 8192;

/// Where a version is in the order of the versions of its key, as in the views.
type Place = (i64, i64, i32);

/// A key whose latest version in a leaving date is at `place`.
struct Known {
    place: Place,
    has_older: bool,
    has_later: bool,
}

/// The number of keys whose latest version would be an older one without the files of `leaving`.
pub(super) fn revived(
    store: &Store,
    head: &Head,
    schema: &TableSchema,
    leaving: &[&Listed],
    staying: &[&Listed],
    throttle: &mut Throttle,
) -> Result<u64, LakeError> {
    if schema.key.is_empty() {
        return Ok(0);
    }
    let rows: u64 = leaving.iter().map(|of| of.file.rows).sum();
    let parts = rows.div_ceil(KEYS_MAX).max(1);
    let mut revived = 0;
    for part in 0..parts {
        let keys = Keys {
            store,
            head,
            schema,
            is_spread: head.offsets.len() > 1,
            part: (part, parts),
        };
        revived += keys.revived(leaving, staying, throttle)?;
    }
    Ok(revived)
}

struct Keys<'a> {
    store: &'a Store,
    head: &'a Head,
    schema: &'a TableSchema,
    /// True when the rows are of more than one kafka_partition.
    is_spread: bool,
    /// Which part of the keys, of how many.
    part: (u64, u64),
}

impl Keys<'_> {
    fn revived(
        &self,
        leaving: &[&Listed],
        staying: &[&Listed],
        throttle: &mut Throttle,
    ) -> Result<u64, LakeError> {
        let mut keys: HashMap<u128, Known> = HashMap::new();
        for listed in leaving {
            self.read(listed, throttle, |key, place| {
                let known = keys.entry(key).or_insert(Known {
                    place,
                    has_older: false,
                    has_later: false,
                });
                known.place = known.place.max(place);
            })?;
        }
        let latest = keys.values().map(|known| known.place).max();
        let Some(latest) = latest else {
            return Ok(0);
        };
        // A file whose first offset is after all of these has no older version of any key.
        let is_later = |of: &&&Listed| {
            let first = of.file.columns.get(OFFSET).and_then(|of| of.min.as_ref());
            let first = first.and_then(|first| first.parse::<i64>().ok());
            !self.is_spread && first.is_some_and(|first| first > latest.1)
        };
        let (later, others): (Vec<_>, Vec<_>) = staying.iter().partition(is_later);
        for listed in others {
            self.mark(&mut keys, listed, throttle)?;
        }
        let is_revived = |known: &Known| known.has_older && !known.has_later;
        if keys.values().any(is_revived) {
            for listed in later {
                self.mark(&mut keys, listed, throttle)?;
            }
        }
        Ok(keys.values().filter(|known| is_revived(known)).count() as u64)
    }

    fn mark(
        &self,
        keys: &mut HashMap<u128, Known>,
        listed: &Listed,
        throttle: &mut Throttle,
    ) -> Result<(), LakeError> {
        self.read(listed, throttle, |key, place| {
            if let Some(known) = keys.get_mut(&key) {
                known.has_older |= place < known.place;
                known.has_later |= place > known.place;
            }
        })
    }

    /// Hands over the key and the place of each row of a file.
    fn read(
        &self,
        listed: &Listed,
        throttle: &mut Throttle,
        mut take: impl FnMut(u128, Place),
    ) -> Result<(), LakeError> {
        let path = self.store.path(&listed.file.path);
        let failed = |source: ParquetError| LakeError::Damaged {
            path: path.clone(),
            source,
        };
        let file = match Opened::open(&path) {
            Ok(file) => file,
            // People remove files by hand.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(LakeError::io(READING, path, source)),
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        let names: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let Some(key) = self.key_in(&names) else {
            return Ok(());
        };
        let wanted = [OFFSET, DETECTED_AT, KAFKA_PARTITION];
        let wanted = names.iter().enumerate().filter(|(at, name)| {
            key.iter().flatten().any(|(_, key)| key == at) || wanted.contains(&name.as_str())
        });
        let wanted: Vec<usize> = wanted.map(|(at, _)| at).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(failed)?;
        for rows in reader {
            let rows = rows.map_err(|error| failed(error.into()))?;
            self.rows(&rows, &names, &key, &mut take)
                .map_err(|error| failed(error.into()))?;
        }
        throttle.after(listed.file.bytes / 4);
        Ok(())
    }

    /// The column of each key column in a file, with the position in the schema. `None` for a file
    /// whose rows are older than the present key: the views leave them out.
    fn key_in(&self, names: &[String]) -> Option<Vec<Option<(usize, usize)>>> {
        let key = self.schema.key.iter().map(|at| {
            let known = self.head.names_of_column(self.schema, *at);
            let found = known.iter().find_map(|of| {
                let position = names.iter().position(|name| *name == of.name)?;
                Some((*at, position))
            });
            match found {
                None if self.schema.columns[*at].not_null => None,
                found => Some(found),
            }
        });
        key.collect()
    }

    fn rows(
        &self,
        rows: &RecordBatch,
        names: &[String],
        key: &[Option<(usize, usize)>],
        take: &mut impl FnMut(u128, Place),
    ) -> Result<(), arrow::error::ArrowError> {
        let options = FormatOptions::default();
        let mut columns = Vec::new();
        for of in key {
            let Some((at, position)) = of else {
                columns.push(None);
                continue;
            };
            let column = rows.column_by_name(&names[*position]);
            let column = column.expect("the column is in the projection");
            let of_type = self.schema.columns[*at].postgres_type.as_str();
            let is_padded = is_blank_padded(of_type);
            let is_decimal = matches!(column.data_type(), DataType::Decimal128(..))
                || of_type.starts_with("numeric");
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            columns.push(Some((column, formatter, is_padded, is_decimal)));
        }
        let places = self.places(rows);
        let (mut text, mut bytes) = (String::new(), Vec::new());
        for (at, place) in places.into_iter().enumerate() {
            bytes.clear();
            for column in &columns {
                text.clear();
                match column {
                    Some((column, formatter, is_padded, is_decimal)) if column.is_valid(at) => {
                        formatter.value(at).write(&mut text)?;
                        // Equal values of other types, and of PostgreSQL, have one text.
                        if *is_padded {
                            text.truncate(text.trim_end_matches(' ').len());
                        }
                        if *is_decimal && text.contains('.') {
                            let end = text.trim_end_matches('0').trim_end_matches('.').len();
                            text.truncate(end);
                        }
                        bytes.push(1);
                        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                        bytes.extend_from_slice(text.as_bytes());
                    }
                    _ => bytes.push(0),
                }
            }
            let key = xxh3_128(&bytes);
            let (part, parts) = self.part;
            if parts == 1 || key % u128::from(parts) == u128::from(part) {
                take(key, place);
            }
        }
        Ok(())
    }

    fn places(&self, rows: &RecordBatch) -> Vec<Place> {
        let column = |name| {
            let column = rows.column_by_name(name);
            column.expect("a data file has the change columns")
        };
        let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
        let partitions = column(KAFKA_PARTITION).as_primitive::<Int32Type>().values();
        let times = column(DETECTED_AT)
            .as_primitive::<TimestampMicrosecondType>()
            .values();
        (0..rows.num_rows())
            .map(|at| match self.is_spread {
                true => (times[at], offsets[at], partitions[at]),
                false => (0, offsets[at], 0),
            })
            .collect()
    }
}
