//! Which keys of a table are published: the rows that topic and lake hold as existing. The
//! [`super::census`] compares them with the keys in the table.
//!
//! Pure. A key enters when a row with it is emitted, and leaves when its delete is; both become
//! durable with the rows, in the same checkpoint, as parts of the table's progress ([`leaves`]). So
//! the set is exact after every crash, wherever the rows went, and nothing else has to be read to
//! know it.
//!
//! | part | content |
//! |---|---|
//! | `keys` | the columns of the key, how keys are held, and whether every published key is among them |
//! | `keys/..`, `added/..` | the keys ([`leaves`]) |

pub mod integers;
mod leaves;
mod texts;
pub mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt8Array, UInt64Array, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use inlet_model::change::{ChangeBatch, DELETE, Origin, UNFIT, polled_schema};
use inlet_model::record::{Rows, json};
use inlet_model::{ColumnType, Progress, ProgressDelta, Scalar, TableSchema, Xid};
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use self::leaves::{Leaf, Leaves};
use self::texts::Texts;
use super::progress::Damaged;

const KEYS: &str = "keys";

/// The keys of a table that are published.
#[derive(Debug, Clone)]
pub struct PublishedKeys {
    about: About,
    about_stored: bool,
    set: Set,
}

/// How the keys are held. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// The names of the key's columns, in its order, and their numbers in the catalog.
    columns: Vec<(String, Option<i16>)>,
    form: KeyForm,
    /// False while rows may be published whose keys are not in the set: a progress of 0.1.0 has no
    /// keys.
    complete: bool,
}

/// How a key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// One column of integers that is never null.
    Integer,
    /// The key of the row's record.
    Text,
}

#[derive(Debug, Clone)]
enum Set {
    Integers(Leaves<RoaringTreemap>),
    Texts(Leaves<Texts>),
}

/// Which keys of the rows that a scan emits it collects.
#[derive(Debug, Clone, Copy)]
pub enum KeysOf<'a> {
    /// Those of every row.
    Every(KeyForm),
    /// Those that are not in the set.
    Missing(&'a PublishedKeys),
}

/// Keys of rows that were emitted.
#[derive(Debug, Default)]
pub enum NewKeys {
    /// No keys are held for the table.
    #[default]
    None,
    Integers(RoaringTreemap),
    Texts(Leaves<Texts>),
}

impl NewKeys {
    /// Adds the keys of other rows.
    pub fn extend(&mut self, other: Self) {
        match (self, other) {
            (_, Self::None) => {}
            (Self::Integers(keys), Self::Integers(other)) => *keys |= other,
            (Self::Texts(keys), Self::Texts(other)) => {
                keys.extend(other.keys());
            }
            (none, other) => *none = other,
        }
    }
}

impl KeysOf<'_> {
    /// A collection without keys.
    pub fn none(self) -> NewKeys {
        let form = match self {
            Self::Every(form) => form,
            Self::Missing(keys) => keys.about.form,
        };
        match form {
            KeyForm::Integer => NewKeys::Integers(RoaringTreemap::new()),
            KeyForm::Text => NewKeys::Texts(Leaves::default()),
        }
    }

    /// Collects the keys of a batch.
    pub fn collect(self, batch: &ChangeBatch, new: &mut NewKeys) {
        let known = match self {
            Self::Every(_) => None,
            Self::Missing(keys) => Some(&keys.set),
        };
        match new {
            NewKeys::None => {}
            NewKeys::Integers(new) => {
                let known = known.and_then(Set::integers);
                for key in integer_keys(batch) {
                    let key = integers::ordered(key);
                    if known.is_none_or(|known| !known.contains(&key)) {
                        new.insert(key);
                    }
                }
            }
            NewKeys::Texts(new) => {
                let known = known.and_then(Set::texts);
                let mut texts = Rows::default();
                json::encode_own_keys(batch, &mut texts);
                let unfit = batch.rows.column_by_name(UNFIT).expect("a polled batch");
                for row in 0..texts.len() {
                    // A row whose key no lake can hold goes to quarantine, and never comes out.
                    let is_unfit = unfit.is_valid(row) && has_unfit_key(batch, unfit, row);
                    let key = texts.get(row).expect("a key is never empty").to_vec();
                    if !is_unfit && known.is_none_or(|known| !known.contains(&key)) {
                        new.extend([key]);
                    }
                }
            }
        }
    }
}

/// Keys of a range, to be compared with the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    Integers(RoaringTreemap),
    Texts(Vec<Vec<u8>>),
}

impl About {
    fn of(schema: &TableSchema, complete: bool) -> Self {
        let columns = schema.key.iter().map(|at| &schema.columns[*at]);
        let form = match &schema.key[..] {
            [at] if is_integer(schema, *at) => KeyForm::Integer,
            _ => KeyForm::Text,
        };
        Self {
            columns: columns
                .map(|column| (column.name.clone(), column.number))
                .collect(),
            form,
            complete,
        }
    }

    /// True when both hold keys alike.
    fn has_the_keys_of(&self, other: &Self) -> bool {
        let numbers =
            |about: &Self| -> Vec<_> { about.columns.iter().map(|(_, number)| *number).collect() };
        // An integer is the same key under another name of its column; a text contains the name.
        let is_named_alike = self.form == KeyForm::Integer || self.columns == other.columns;
        self.form == other.form && numbers(self) == numbers(other) && is_named_alike
    }
}

fn is_integer(schema: &TableSchema, at: usize) -> bool {
    let column = &schema.columns[at];
    let is_integer = matches!(
        column.column_type,
        ColumnType::Scalar(Scalar::Int16 | Scalar::Int32 | Scalar::Int64)
    );
    is_integer && column.not_null && !column.as_text
}

impl PublishedKeys {
    /// The set of a table that has no rows published, or of which it is not known which.
    pub fn starting(schema: &TableSchema, complete: bool) -> Self {
        let about = About::of(schema, complete);
        Self {
            set: Set::empty(about.form),
            about,
            about_stored: false,
        }
    }

    /// The set as the progress has it; without one it is known to be incomplete. Keys of other
    /// columns than the table's key has now are forgotten.
    pub fn from_progress(schema: &TableSchema, progress: &Progress) -> Result<Self, Damaged> {
        let damaged = Damaged { part: KEYS };
        let Some(text) = progress.0.get(KEYS) else {
            return Ok(Self::starting(schema, false));
        };
        let stored: About = serde_json::from_str(text).map_err(|_| damaged)?;
        let set = match stored.form {
            KeyForm::Integer => Leaves::from_progress(progress).map(Set::Integers),
            KeyForm::Text => Leaves::from_progress(progress).map(Set::Texts),
        };
        let set = set.ok_or(damaged)?;
        let now = About::of(schema, stored.complete);
        let is_same = now.has_the_keys_of(&stored);
        let set = if is_same { set } else { set.replaced(now.form) };
        let about = About {
            complete: now.complete && is_same,
            ..now
        };
        Ok(Self {
            about_stored: about == stored,
            about,
            set,
        })
    }

    /// True when every published key is in the set.
    pub fn is_complete(&self) -> bool {
        self.about.complete
    }

    /// Every published key is in the set from now on.
    pub fn complete(&mut self) {
        self.about.complete = true;
        self.about_stored = false;
    }

    /// About the bytes that it takes.
    pub fn bytes(&self) -> usize {
        match &self.set {
            Set::Integers(keys) => keys.bytes(),
            Set::Texts(keys) => keys.bytes(),
        }
    }

    /// How its keys are held.
    pub fn form(&self) -> KeyForm {
        self.about.form
    }

    /// Takes in the keys of rows that were emitted.
    pub fn add(&mut self, new: NewKeys) {
        match (&mut self.set, new) {
            (Set::Integers(keys), NewKeys::Integers(new)) => {
                keys.extend(new);
            }
            (Set::Texts(keys), NewKeys::Texts(new)) => {
                keys.extend(new.keys());
            }
            _ => {}
        }
    }

    /// Those of these keys that are published.
    pub fn published(&self, keys: Chunk) -> Chunk {
        match (&self.set, keys) {
            (Set::Integers(set), Chunk::Integers(keys)) => {
                Chunk::Integers(keys.iter().filter(|key| set.contains(key)).collect())
            }
            (Set::Texts(set), Chunk::Texts(mut keys)) => {
                keys.retain(|key| set.contains(key));
                Chunk::Texts(keys)
            }
            _ => unreachable!("both are held as the table's key asks"),
        }
    }

    /// Takes out keys whose deletes were emitted.
    pub fn remove(&mut self, gone: &Chunk) {
        match (&mut self.set, gone) {
            (Set::Integers(keys), Chunk::Integers(gone)) => {
                gone.iter().for_each(|key| keys.remove(&key));
            }
            (Set::Texts(keys), Chunk::Texts(gone)) => gone.iter().for_each(|key| keys.remove(key)),
            _ => unreachable!("the chunk is one of the set"),
        }
    }

    /// The keys from a bound on, at most this many integers or other keys, and the bound of the
    /// next chunk; `None` after the last one. A bound of another kind of keys means the beginning.
    pub fn chunk(&self, from: &str, keys_max: (usize, usize)) -> (Chunk, Option<String>) {
        match &self.set {
            Set::Integers(keys) => {
                let from = RoaringTreemap::read_bound(from).unwrap_or_default();
                let (chunk, end) = keys.chunk(&from, keys_max.0);
                let end = end.map(|end| RoaringTreemap::bound(&end));
                (Chunk::Integers(chunk.into_iter().collect()), end)
            }
            Set::Texts(keys) => {
                let from = Texts::read_bound(from).unwrap_or_default();
                let (chunk, end) = keys.chunk(&from, keys_max.1);
                (Chunk::Texts(chunk), end.map(|end| Texts::bound(&end)))
            }
        }
    }

    /// The parts of the progress that the keys are in, as removed.
    pub fn removed(&self) -> ProgressDelta {
        let mut delta = ProgressDelta::default();
        match self.set.replaced(self.about.form) {
            Set::Integers(mut keys) => keys.take_delta(&mut delta),
            Set::Texts(mut keys) => keys.take_delta(&mut delta),
        }
        delta.0.insert(KEYS.to_owned(), None);
        delta
    }

    /// The changes for the progress; they count as durable from here on.
    pub fn take_delta(&mut self, delta: &mut ProgressDelta) {
        match &mut self.set {
            Set::Integers(keys) => keys.take_delta(delta),
            Set::Texts(keys) => keys.take_delta(delta),
        }
        if !std::mem::replace(&mut self.about_stored, true) {
            let about = serde_json::to_string(&self.about).expect("names and words are JSON");
            delta.0.insert(KEYS.to_owned(), Some(about));
        }
    }
}

/// The parts of a set that is held no longer, as removed.
pub fn removed(progress: &Progress) -> ProgressDelta {
    let is_ours = |part: &&String| {
        *part == KEYS || part.starts_with(leaves::LEAF) || part.starts_with(leaves::ADDED)
    };
    let parts = progress.0.keys().filter(is_ours);
    ProgressDelta(parts.map(|part| (part.clone(), None)).collect())
}

impl Set {
    fn integers(&self) -> Option<&Leaves<RoaringTreemap>> {
        match self {
            Self::Integers(keys) => Some(keys),
            Self::Texts(_) => None,
        }
    }

    fn texts(&self) -> Option<&Leaves<Texts>> {
        match self {
            Self::Texts(keys) => Some(keys),
            Self::Integers(_) => None,
        }
    }

    fn empty(form: KeyForm) -> Self {
        match form {
            KeyForm::Integer => Self::Integers(Leaves::default()),
            KeyForm::Text => Self::Texts(Leaves::default()),
        }
    }

    fn replaced(&self, form: KeyForm) -> Self {
        match (self, form) {
            (Self::Integers(keys), KeyForm::Integer) => Self::Integers(keys.replaced()),
            (Self::Integers(keys), KeyForm::Text) => Self::Texts(keys.replaced()),
            (Self::Texts(keys), KeyForm::Integer) => Self::Integers(keys.replaced()),
            (Self::Texts(keys), KeyForm::Text) => Self::Texts(keys.replaced()),
        }
    }
}

impl Chunk {
    /// Keys of a table, each as the key of a record; `None` when one of them is none of this table.
    pub fn read(schema: &Arc<TableSchema>, keys: &[String]) -> Option<Self> {
        let mut decoder = json::Decoder::new(Arc::clone(schema), keys.len());
        for key in keys {
            decoder.decode_delete(key.as_bytes()).ok()?;
        }
        Some(Self::decoded(&mut decoder))
    }

    /// The keys that a decoder has taken.
    pub fn decoded(decoder: &mut json::Decoder) -> Self {
        let (schema, rows) = (Arc::clone(decoder.schema()), decoder.len());
        Self::of(&deletes(&schema, decoder.finish(), rows, Xid(0), 0))
    }

    /// The keys of a batch's rows.
    pub fn of(batch: &ChangeBatch) -> Self {
        match About::of(&batch.schema, true).form {
            KeyForm::Integer => {
                let keys = integer_keys(batch).into_iter().map(integers::ordered);
                Self::Integers(keys.collect())
            }
            // A key is compared by its bytes, so they have to be those that we would write.
            KeyForm::Text => Self::Texts(own_keys(batch)),
        }
    }

    /// No keys of a table.
    pub fn none(schema: &TableSchema) -> Self {
        match About::of(schema, true).form {
            KeyForm::Integer => Self::Integers(RoaringTreemap::new()),
            KeyForm::Text => Self::Texts(Vec::new()),
        }
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Integers(keys) => keys.len(),
            Self::Texts(keys) => keys.len() as u64,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same keys in chunks of at most this many.
    pub fn parts(&self, keys_max: usize) -> Vec<Self> {
        match self {
            Self::Integers(keys) => {
                let keys: Vec<u64> = keys.iter().collect();
                let part = |keys: &[u64]| Self::Integers(keys.iter().copied().collect());
                keys.chunks(keys_max).map(part).collect()
            }
            Self::Texts(keys) => {
                let part = |keys: &[Vec<u8>]| Self::Texts(keys.to_vec());
                keys.chunks(keys_max).map(part).collect()
            }
        }
    }

    /// The deletes of these keys, as a poll hands them on: the key's columns, and nulls.
    ///
    /// `xid` is the end of the snapshot that shows none of the rows: every transaction that can
    /// have deleted one has a smaller xid.
    pub fn deletes(&self, schema: &Arc<TableSchema>, xid: Xid, detected_at: i64) -> ChangeBatch {
        let rows = usize::try_from(self.len()).expect("a chunk fits into memory");
        deletes(schema, self.columns(schema), rows, xid, detected_at)
    }

    /// The keys at these places, in the order of [`Chunk::columns`]. The places grow.
    pub fn at(&self, places: &[usize]) -> Self {
        match self {
            Self::Integers(keys) => {
                let keys: Vec<u64> = keys.iter().collect();
                Self::Integers(places.iter().map(|place| keys[*place]).collect())
            }
            Self::Texts(keys) => {
                Self::Texts(places.iter().map(|place| keys[*place].clone()).collect())
            }
        }
    }

    /// For each column of the schema's key the texts of its values, null for null.
    pub fn texts(&self, schema: &Arc<TableSchema>) -> Vec<Vec<Option<String>>> {
        let columns = self.columns(schema);
        let texts = |at: &usize| values::texts(schema.columns[*at].column_type, &columns[*at]);
        schema.key.iter().map(texts).collect()
    }

    /// The columns of the table, with nulls outside the key.
    pub fn columns(&self, schema: &Arc<TableSchema>) -> Vec<ArrayRef> {
        let rows = usize::try_from(self.len()).expect("a chunk fits into memory");
        let mut decoder = json::Decoder::new(Arc::clone(schema), rows);
        let mut add = |key: &[u8]| {
            decoder
                .decode_delete(key)
                .expect("keys of the set were checked when they entered it");
        };
        match self {
            Self::Integers(keys) => {
                let column = &schema.columns[schema.key[0]].name;
                let name = serde_json::to_string(column).expect("a name is JSON");
                for key in keys {
                    add(format!("{{{name}:{}}}", integers::integer(key)).as_bytes());
                }
            }
            Self::Texts(keys) => keys.iter().for_each(|key| add(key)),
        }
        decoder.finish()
    }
}

fn deletes(
    schema: &Arc<TableSchema>,
    mut columns: Vec<ArrayRef>,
    rows: usize,
    xid: Xid,
    detected_at: i64,
) -> ChangeBatch {
    columns.push(Arc::new(UInt8Array::from(vec![DELETE; rows])));
    columns.push(Arc::new(UInt64Array::from(vec![xid.0; rows])));
    columns.push(new_null_array(&DataType::Utf8, rows));
    ChangeBatch {
        schema: Arc::clone(schema),
        rows: RecordBatch::try_new(polled_schema(schema), columns)
            .expect("the columns are those of the schema"),
        detected_at,
        origin: Origin::Poll,
    }
}

impl PublishedKeys {
    /// Those of a batch's rows whose keys are in the set, with their keys; every row while the set
    /// is not complete.
    pub fn published_of(&self, batch: ChangeBatch) -> (ChangeBatch, Chunk) {
        let every = !self.is_complete();
        let (held, keys): (Vec<bool>, _) = match &self.set {
            Set::Integers(set) => {
                let keys = integer_keys(&batch).into_iter().map(integers::ordered);
                let keys: Vec<_> = keys.map(|key| (key, every || set.contains(&key))).collect();
                let held = keys.iter().map(|(_, held)| *held).collect();
                let keys = keys
                    .into_iter()
                    .filter_map(|(key, held)| held.then_some(key));
                (held, Chunk::Integers(keys.collect()))
            }
            Set::Texts(set) => {
                let keys = own_keys(&batch);
                let held: Vec<bool> = keys.iter().map(|key| every || set.contains(key)).collect();
                let keys = keys.into_iter().zip(&held);
                let keys = keys.filter_map(|(key, held)| held.then_some(key));
                let keys = keys.collect();
                (held, Chunk::Texts(keys))
            }
        };
        let rows = filter_record_batch(&batch.rows, &BooleanArray::from(held));
        let rows = rows.expect("there is an answer for each row");
        (ChangeBatch { rows, ..batch }, keys)
    }
}

/// The key of each row of a batch, as its record has it.
pub fn own_keys(batch: &ChangeBatch) -> Vec<Vec<u8>> {
    let mut texts = Rows::default();
    json::encode_own_keys(batch, &mut texts);
    let text = |row| texts.get(row).expect("a key is never empty").to_vec();
    (0..texts.len()).map(text).collect()
}

/// True when no value of the lake's type can hold the key of a row.
#[cold]
fn has_unfit_key(batch: &ChangeBatch, unfit: &ArrayRef, row: usize) -> bool {
    let unfit = unfit.as_string::<i32>().value(row);
    let unfit: BTreeMap<String, String> =
        serde_json::from_str(unfit).expect("unfit values are an object of texts");
    let schema = &batch.schema;
    let mut key = schema.key.iter().map(|at| &schema.columns[*at].name);
    key.any(|column| unfit.contains_key(column))
}

/// The values of a key of one column of integers.
fn integer_keys(batch: &ChangeBatch) -> Vec<i64> {
    let column = batch.rows.column(batch.schema.key[0]);
    match column.data_type() {
        DataType::Int16 => widened(column.as_primitive::<Int16Type>().values()),
        DataType::Int32 => widened(column.as_primitive::<Int32Type>().values()),
        _ => column.as_primitive::<Int64Type>().values().to_vec(),
    }
}

fn widened<T: Copy + Into<i64>>(values: &[T]) -> Vec<i64> {
    values.iter().map(|value| (*value).into()).collect()
}
