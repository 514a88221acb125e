//! Reads the topic of a table as Debezium's connector writes it.
//!
//! Its messages have no header, so the columns come from the configuration, else from the schema
//! that a message has with it. Whenever that schema changes, a new [`RowReader`] takes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::error::RowError;
use super::super::nested::Checker;
use super::super::wire::Wire;
use super::connect::Schema;
use super::envelope::{Envelope, Unwrapper, members, names};
use super::row::RowReader;
use super::value::carried;
use crate::record::encoding::{DebeziumModes, DecimalMode};
use crate::{Column, KafkaPartition, TableName, TableSchema, Xid, resolve_column};

/// Rows for which a reader allocates at first.
const CAPACITY: usize = 1024;

/// What the configuration declares of a topic.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The table's columns; empty: those of the messages' schema.
    pub columns: Vec<Column>,
    /// The names of the key's columns; empty: those of the messages' keys.
    pub key: Vec<String>,
    /// How the connector writes values, for messages without a schema.
    pub modes: DebeziumModes,
}

/// A topic of Debezium that is read.
#[derive(Debug)]
pub struct Topic {
    table: TableName,
    declared: Declared,
    keys: Unwrapper,
    values: Unwrapper,
    checker: Checker,
    layouts: Vec<Layout>,
    /// The layout of the last message.
    last: Option<usize>,
    /// The latest time of each kafka_partition.
    found_at: BTreeMap<KafkaPartition, i64>,
}

/// Messages that are written alike.
#[derive(Debug)]
struct Layout {
    /// The schema of the values, as their text.
    schema: Option<Vec<u8>>,
    key: Vec<String>,
    reader: RowReader,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened<'a> {
    /// Of no row: a tombstone or a heartbeat.
    Ignored,
    /// Of one row.
    Row {
        /// The number of the reader that knows its columns.
        reader: usize,
        /// [`crate::change::UPSERT`] or [`crate::change::DELETE`].
        op: u8,
        /// The xid that wrote the version; 0 where the message does not tell.
        xid: Xid,
        /// When the connector has found the change, microseconds since 1970-01-01 UTC; it never
        /// falls within a kafka_partition.
        found_at: i64,
        /// The row in JSON.
        row: &'a [u8],
    },
}

/// Explains why a message is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The message itself is wrong.
    #[error(transparent)]
    Row(#[from] RowError),
    /// No message of this topic can be read: the columns are not known.
    #[error("the messages have no schema, and the columns of table `{table}` are not declared")]
    NoColumns {
        /// The table of the configuration.
        table: TableName,
    },
    /// A key column that the configuration or the message's key names is not in the row.
    #[error("column `{column}` of the key is not among the columns of table `{table}`")]
    Key {
        /// The table of the configuration.
        table: TableName,
        /// The column.
        column: String,
    },
}

impl Topic {
    /// A topic that becomes this table of the lake.
    pub fn new(table: TableName, declared: Declared) -> Self {
        Self {
            table,
            declared,
            keys: Unwrapper::default(),
            values: Unwrapper::default(),
            checker: Checker::default(),
            layouts: Vec::new(),
            last: None,
            found_at: BTreeMap::new(),
        }
    }

    /// Finds out what a message is about.
    pub fn open<'a>(
        &mut self,
        kafka_partition: KafkaPartition,
        key: Option<&[u8]>,
        value: Option<&'a [u8]>,
    ) -> Result<Opened<'a>, OpenError> {
        let Some(value) = value else {
            return Ok(Opened::Ignored);
        };
        let wrapped = self.values.unwrap(value, &mut self.checker)?;
        let Some(envelope) = Envelope::read(wrapped.payload, &mut self.checker)? else {
            return Ok(Opened::Ignored);
        };
        let change = envelope.change()?;
        let reader = self.reader_of(wrapped.schema, key)?;
        let latest = self.found_at.entry(kafka_partition).or_insert(i64::MIN);
        // Readers order the versions of a key by this time before the offset, where a table has
        // several kafka_partitions. A clock that went back must not turn the order around.
        *latest = (*latest).max(envelope.found_at().unwrap_or(0));
        Ok(Opened::Row {
            reader,
            op: change.op,
            xid: envelope.xid(),
            found_at: *latest,
            row: change.row,
        })
    }

    /// A reader that [`Topic::open`] has named.
    pub fn reader(&mut self, number: usize) -> &mut RowReader {
        &mut self.layouts[number].reader
    }

    fn reader_of(&mut self, schema: Option<&[u8]>, key: Option<&[u8]>) -> Result<usize, OpenError> {
        let key = self.key_object(key)?;
        // The messages of a topic nearly always have the same schema and key, so the last reader is
        // compared first, without memory of its own.
        if let Some(last) = self.last
            && self.layouts[last].schema.as_deref() == schema
            && match key {
                Some(key) => has_names(key, &self.layouts[last].key, &mut self.checker)?,
                None => !self.declared.key.is_empty() || self.layouts[last].key.is_empty(),
            }
        {
            return Ok(last);
        }
        let names = match (key, self.declared.key.as_slice()) {
            (_, declared @ [_, ..]) => declared.to_vec(),
            (Some(key), []) => names(key, &mut self.checker)?,
            (None, []) => Vec::new(),
        };
        let is_same = |layout: &Layout| layout.schema.as_deref() == schema && layout.key == names;
        let number = match self.layouts.iter().position(is_same) {
            Some(number) => number,
            None => {
                let reader = self.new_reader(schema, &names)?;
                self.layouts.push(Layout {
                    schema: schema.map(<[u8]>::to_vec),
                    key: names,
                    reader,
                });
                self.layouts.len() - 1
            }
        };
        self.last = Some(number);
        Ok(number)
    }

    /// The object of the key's columns; `None` for a table without a key, and where the
    /// configuration names them.
    fn key_object<'a>(&mut self, key: Option<&'a [u8]>) -> Result<Option<&'a [u8]>, RowError> {
        let Some(key) = key.filter(|_| self.declared.key.is_empty()) else {
            return Ok(None);
        };
        let payload = self.keys.unwrap(key, &mut self.checker)?.payload;
        Ok((payload != b"null").then_some(payload))
    }

    fn new_reader(&self, schema: Option<&[u8]>, key: &[String]) -> Result<RowReader, OpenError> {
        let row = schema.map(row_schema).transpose()?;
        let modes = self.declared.modes;
        let columns: Vec<(Column, Wire)> = match (&row, self.declared.columns.as_slice()) {
            (Some(row), []) => row.columns(),
            (None, []) => {
                return Err(OpenError::NoColumns {
                    table: self.table.clone(),
                });
            }
            // The configuration knows the types, the message how it is written.
            (Some(row), declared) => declared
                .iter()
                .map(|column| {
                    let member = row.member(&column.name);
                    let decimals = match member.is_some_and(Schema::is_double) {
                        true => DecimalMode::Double,
                        false => DecimalMode::String,
                    };
                    let column = carried(column, decimals);
                    let wire = member.map(|member| member.wire(column.column_type));
                    (column, wire.unwrap_or(Wire::Same))
                })
                .collect(),
            (None, declared) => declared
                .iter()
                .map(|column| {
                    let column = carried(column, modes.decimals);
                    let wire = Wire::of(&column, modes);
                    (column, wire)
                })
                .collect(),
        };
        let (mut columns, wires): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let mut positions = Vec::new();
        for name in key {
            let known = || columns.iter().map(|column| column.name.as_str());
            // A message has the exact name, the configuration may have another spelling.
            let exact = known().position(|column| column == name);
            let at = exact.or_else(|| resolve_column(name, known()));
            let at = at.ok_or_else(|| OpenError::Key {
                table: self.table.clone(),
                column: name.clone(),
            })?;
            columns[at].not_null = true;
            positions.push(at);
        }
        let schema = TableSchema::new(self.table.clone(), columns, positions);
        Ok(RowReader::new(Arc::new(schema), wires, CAPACITY))
    }
}

/// Whether an object has exactly these members in this order.
fn has_names(object: &[u8], expected: &[String], checker: &mut Checker) -> Result<bool, RowError> {
    let mut expected = expected.iter();
    let mut is_same = true;
    members(object, checker, |name, _, _| {
        is_same &= expected
            .next()
            .is_some_and(|expected| expected.as_bytes() == name);
    })?;
    Ok(is_same && expected.next().is_none())
}

/// The schema of the rows in the schema of an envelope.
fn row_schema(envelope: &[u8]) -> Result<Schema, RowError> {
    let no_envelope = |what: String| RowError::NoEnvelope { what };
    let envelope = Schema::read(envelope).map_err(|error| no_envelope(error.to_string()))?;
    let row = envelope.member("after").cloned();
    row.ok_or_else(|| no_envelope("its schema has no field `after`".to_owned()))
}
