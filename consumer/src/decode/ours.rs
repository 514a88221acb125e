//! The records of our producer: the header tells schema and format.

use std::collections::HashMap;
use std::sync::Arc;

use inlet_model::record::codec::{AnyDecoder, decoder};
use inlet_model::record::encoding::Encoding;
use inlet_model::record::format::{Decoder, Record};
use inlet_model::record::header::Header;
use inlet_model::{Fingerprint, TableName, TableSchema};

use super::run::Run;
use super::{Decoded, rejected};
use crate::source::{Headed, Message, Slab};

/// Rows for which a decoder allocates at first.
const CAPACITY: usize = 1024;

/// A schema, and how records of it are encoded.
type Layout = (Fingerprint, Encoding);

/// The decoders of one table's schemas, which live from slab to slab.
#[derive(Debug)]
pub struct OurDecoders {
    table: TableName,
    by_layout: HashMap<Layout, AnyDecoder>,
}

impl OurDecoders {
    pub fn new(table: TableName) -> Self {
        Self {
            table,
            by_layout: HashMap::new(),
        }
    }

    /// Decodes the messages of `slab` whose numbers are `kept`.
    pub fn decode(
        &mut self,
        slab: &Slab,
        kept: &[u32],
        schema: impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Decoded {
        let mut decoded = Decoded::default();
        let mut run: Option<Run<Layout>> = None;
        for number in kept {
            let message = slab.message(*number as usize);
            match self.decode_message(&message, &mut run, &mut decoded, &schema) {
                Ok(header) => {
                    let run = run.as_mut().expect("a decoded row is in a run");
                    run.position(*number, &message, header.detected_at);
                    decoded.messages += 1;
                }
                Err(reason) => decoded.rejected.push(rejected(slab, &message, reason)),
            }
        }
        self.end(run, &mut decoded);
        assert_eq!(
            decoded.messages + decoded.rejected.len(),
            kept.len(),
            "every message is decoded or rejected"
        );
        decoded
    }

    /// Adds a message to the run of its schema; `Err` is the reason of its rejection.
    fn decode_message(
        &mut self,
        message: &Message<'_>,
        run: &mut Option<Run<Layout>>,
        decoded: &mut Decoded,
        schema: &impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Result<Header, String> {
        let header = match message.headed {
            Headed::Ours(header) => header,
            Headed::Missing => return Err("the message has no header `inlet`".to_owned()),
            Headed::Unknown(error) => return Err(error.to_string()),
        };
        let layout = (header.fingerprint, header.encoding);
        if header.rows > 1 && !header.encoding.has_many_rows() {
            return Err(format!(
                "its header counts {} rows, and its format has one a message",
                header.rows
            ));
        }
        // A run ends where the schema or the origin changes, so that a batch has one of each and
        // the order of the messages is kept.
        let is_of_run = |run: &Run<Layout>| run.layout == layout && run.origin == message.origin;
        if !run.as_ref().is_some_and(is_of_run) {
            self.add_decoder(layout, schema)?;
            self.end(run.take(), decoded);
        }
        let decoder = self
            .by_layout
            .get_mut(&layout)
            .expect("its schema has a decoder");
        let run = run.get_or_insert_with(|| Run::new(layout, message.origin));
        let record = Record {
            op: header.op,
            xid: header.xid,
            rows: header.rows,
            key: message.key,
            value: message.value,
        };
        let rows = run.changes.ops.len();
        decoder
            .decode(&record, &mut run.changes)
            .map_err(|error| error.to_string())?;
        // A count that is wrong would end in a hole in the sequences, far from its cause.
        let rows = run.changes.ops.len() - rows;
        assert_eq!(rows, header.rows as usize, "the header counts the rows");
        Ok(header)
    }

    fn add_decoder(
        &mut self,
        layout: Layout,
        schema: &impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Result<(), String> {
        if self.by_layout.contains_key(&layout) {
            return Ok(());
        }
        let (fingerprint, encoding) = layout;
        let schema = schema(fingerprint)
            .ok_or_else(|| format!("schema `{fingerprint}` is not in the control topic"))?;
        // Another table in this topic would be written into the wrong folder, so its rows are
        // rejected.
        if schema.table != self.table {
            return Err(format!("the message is of table `{}`", schema.table));
        }
        self.by_layout
            .insert(layout, decoder(encoding, schema, CAPACITY));
        Ok(())
    }

    fn end(&mut self, run: Option<Run<Layout>>, decoded: &mut Decoded) {
        let Some(run) = run.filter(|run| !run.is_empty()) else {
            return;
        };
        let decoder = self
            .by_layout
            .get_mut(&run.layout)
            .expect("a run has a decoder");
        let (schema, columns) = (decoder.schema().clone(), decoder.finish());
        decoded.batches.push(run.finish(schema, columns));
    }
}
