//! The rows that journals name: they are looked up in their table in the same cycle.
//!
//! A record is only a hint. What a look at the table shows decides: a row that was deleted, by the
//! proof of the census, and a version that no scan has emitted, such as that of an update which
//! left the cursor as it was. So a gap in a journal costs the table nothing but time. Rows that a
//! scan of this cycle has emitted need no look. Source: docs/polling.md, "Journals".

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use inlet_model::TableSchema;
use inlet_model::change::ChangeBatch;
use inlet_model::record::json;
use inlet_service::sink::SinkError;
use roaring::RoaringTreemap;

use super::error::PollError;
use super::keys::Chunk;
use super::look_up::{Asked, look_up};
use super::out::{Event, Out};
use super::poll::{Poll, Step};
use super::table::PolledTable;

/// More deletes than this are found by a pass over all keys.
const GONE_MAX: usize = 4096;
/// The changed rows of one cycle that can be looked up at most. What is beyond is found by a sweep,
/// which PostgreSQL's counters ask for.
const CHANGED_MAX: usize = 1 << 16;

/// Rows of one table that its journal has named in a cycle.
#[derive(Debug)]
pub(super) struct Named {
    decoder: json::Decoder,
    gone: Keys,
    changed: Keys,
    /// True when any row may have been deleted.
    any_gone: bool,
    /// True when there were more changed rows than can be looked up.
    too_many: bool,
}

/// Distinct keys of one table.
#[derive(Debug)]
enum Keys {
    Integers(RoaringTreemap),
    Texts(BTreeSet<Vec<u8>>),
}

/// Emits rows, and remembers which rows they name if they are those of a journal.
pub(super) struct Recorded<'a, O> {
    pub(super) out: &'a mut O,
    pub(super) named: Option<&'a mut Named>,
}

/// Emits rows of a table: these need no look.
pub(super) struct HandedOn<'a, O> {
    pub(super) out: &'a mut O,
    pub(super) named: &'a mut Named,
}

impl<O: Out> Out for Recorded<'_, O> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        if let Some(named) = &mut self.named {
            named.collect(&batch);
        }
        self.out.write(batch).await
    }

    fn observe(&mut self, event: Event<'_>) {
        self.out.observe(event);
    }
}

impl<O: Out> Out for HandedOn<'_, O> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        if self.named.changed.len() > 0 {
            self.named.changed.remove(Chunk::of(&batch));
        }
        self.out.write(batch).await
    }

    fn observe(&mut self, event: Event<'_>) {
        self.out.observe(event);
    }
}

impl Named {
    pub(super) fn of(schema: &Arc<TableSchema>) -> Self {
        Self {
            decoder: json::Decoder::new(Arc::clone(schema), 0),
            gone: Keys::of(Chunk::none(schema)),
            changed: Keys::of(Chunk::none(schema)),
            any_gone: false,
            too_many: false,
        }
    }

    fn collect(&mut self, batch: &ChangeBatch) {
        let texts = |name: &str| -> Option<&StringArray> {
            batch.rows.column_by_name(name)?.as_string_opt::<i32>()
        };
        let (Some(ops), Some(keys)) = (texts("op"), texts("key")) else {
            return;
        };
        let keys_of = |decoder: &mut json::Decoder, is_wanted: fn(&str) -> bool| {
            for (op, key) in ops.iter().zip(keys) {
                if let (Some(op), Some(key)) = (op, key)
                    && is_wanted(op)
                {
                    // A key whose text is not that of its record is found without the journal.
                    let _ = decoder.decode_delete(key.as_bytes());
                }
            }
            Chunk::decoded(decoder)
        };
        self.any_gone |= ops.iter().any(|op| op == Some("truncate"));
        if !self.any_gone {
            self.gone
                .add(keys_of(&mut self.decoder, |op| op == "delete"));
            self.any_gone = self.gone.len() > GONE_MAX;
        }
        if !self.too_many {
            let changed = keys_of(&mut self.decoder, |op| matches!(op, "insert" | "update"));
            self.changed.add(changed);
            self.too_many = self.changed.len() > CHANGED_MAX;
        }
        if self.any_gone {
            self.gone.clear();
        }
        if self.too_many {
            self.changed.clear();
        }
    }
}

impl Keys {
    fn of(keys: Chunk) -> Self {
        match keys {
            Chunk::Integers(keys) => Self::Integers(keys),
            Chunk::Texts(keys) => Self::Texts(keys.into_iter().collect()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Integers(keys) => usize::try_from(keys.len()).unwrap_or(usize::MAX),
            Self::Texts(keys) => keys.len(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Integers(keys) => keys.clear(),
            Self::Texts(keys) => keys.clear(),
        }
    }

    fn add(&mut self, more: Chunk) {
        match (self, more) {
            (Self::Integers(keys), Chunk::Integers(more)) => *keys |= more,
            (Self::Texts(keys), Chunk::Texts(more)) => keys.extend(more),
            _ => unreachable!("a table holds its keys in one form"),
        }
    }

    fn remove(&mut self, some: Chunk) {
        match (self, some) {
            (Self::Integers(keys), Chunk::Integers(some)) => *keys -= some,
            (Self::Texts(keys), Chunk::Texts(some)) => {
                for key in some {
                    keys.remove(&key);
                }
            }
            _ => unreachable!("a table holds its keys in one form"),
        }
    }

    fn into_chunk(self) -> Chunk {
        match self {
            Self::Integers(keys) => Chunk::Integers(keys),
            Self::Texts(keys) => Chunk::Texts(keys.into_iter().collect()),
        }
    }
}

/// The place of the table whose changes the journal at this place records.
pub(super) fn recorded_by(tables: &[PolledTable], journal: usize) -> Option<usize> {
    let of = tables[journal].table.config.journal_of.as_ref()?;
    let mut tables = tables.iter();
    tables.position(|table| table.table.config.table == *of)
}

impl Poll {
    /// Looks up the rows that journals have named, each table given with its place.
    pub(super) async fn look_for_recorded(
        &mut self,
        named: BTreeMap<usize, Named>,
        step: &mut Step,
        out: &mut impl Out,
    ) -> Result<(), PollError> {
        for (at, named) in named {
            let table = &mut self.tables[at];
            if named.any_gone {
                table.compare_at_once();
            }
            let asked = Asked {
                gone: table.published_among(named.gone.into_chunk()),
                changed: table.hidden_among(named.changed.into_chunk()),
            };
            if asked.gone.is_empty() && asked.changed.is_empty() {
                continue;
            }
            let found = look_up(&mut self.postgres, table, &asked, out).await?;
            step.rows += found.rows + found.deletes;
            step.deletes += found.deletes;
            self.gate = Some(found.gate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, RecordBatch};
    use inlet_model::change::Origin;
    use inlet_model::{Column, Scalar, TableName};

    use super::*;

    fn schema(columns: &[(&str, Scalar)]) -> Arc<TableSchema> {
        let column = |(name, scalar): &(&str, Scalar)| Column {
            name: (*name).to_owned(),
            column_type: (*scalar).into(),
            postgres_type: String::new(),
            as_text: false,
            not_null: true,
            generated: false,
            number: None,
        };
        let columns: Vec<_> = columns.iter().map(column).collect();
        let key = (0..columns.len()).collect();
        Arc::new(TableSchema::new(
            TableName::new("public", "t"),
            columns,
            key,
        ))
    }

    fn journal(changes: &[(&str, Option<&str>)]) -> ChangeBatch {
        let (ops, keys): (Vec<_>, Vec<_>) = changes.iter().copied().unzip();
        let columns: [(&str, ArrayRef); 2] = [
            ("op", Arc::new(StringArray::from(ops))),
            ("key", Arc::new(StringArray::from(keys))),
        ];
        ChangeBatch {
            schema: schema(&[("op", Scalar::Text), ("key", Scalar::Json)]),
            rows: RecordBatch::try_from_iter(columns).unwrap(),
            detected_at: 0,
            origin: Origin::Poll,
        }
    }

    #[test]
    fn a_recorded_key_is_that_of_the_record_whatever_the_order_of_its_columns() {
        let mut named = Named::of(&schema(&[("aa", Scalar::Int32), ("b", Scalar::Text)]));
        named.collect(&journal(&[
            ("delete", Some(r#"{"b": "x \" y", "aa": 7}"#)),
            ("delete", Some(r#"{"b": "alone"}"#)),
            ("insert", Some(r#"{"b": "z", "aa": -1}"#)),
        ]));
        let text = |text: &str| Chunk::Texts(vec![text.as_bytes().to_vec()]);
        assert_eq!(named.gone.into_chunk(), text(r#"{"aa":7,"b":"x \" y"}"#));
        assert_eq!(named.changed.into_chunk(), text(r#"{"aa":-1,"b":"z"}"#));
        assert!(!named.any_gone);
    }

    #[test]
    fn a_truncation_and_too_many_deletes_ask_for_every_key() {
        let of = schema(&[("id", Scalar::Int64)]);
        let mut named = Named::of(&of);
        named.collect(&journal(&[
            ("truncate", None),
            ("update", Some(r#"{"id": 1}"#)),
        ]));
        assert!(named.any_gone);
        assert_eq!(named.changed.len(), 1);
        let keys: Vec<_> = (0..=GONE_MAX)
            .map(|id| format!("{{\"id\": {id}}}"))
            .collect();
        let changes: Vec<_> = keys
            .iter()
            .map(|key| ("delete", Some(key.as_str())))
            .collect();
        let mut named = Named::of(&of);
        named.collect(&journal(&changes));
        assert!(named.any_gone);
        assert_eq!(named.gone.len(), 0);
    }
}
