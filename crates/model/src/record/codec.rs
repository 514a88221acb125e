//! Which encoder and decoder an encoding has: the one place that knows all formats.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::encoding::Encoding;
use super::format::{Changes, Decoder, Encoder, Record, Target};
use super::{debezium, ipc, json};
use crate::TableSchema;

/// Makes the encoder of a topic.
pub fn encoder(encoding: Encoding, target: Target) -> Box<dyn Encoder> {
    let json = |style, target: Target| Box::new(json::Encoder::new(style, target.topic_key));
    match encoding {
        Encoding::Json => json(json::Style::Json, target),
        Encoding::Arrow => Box::new(ipc::Encoder::new(target.topic_key)),
        Encoding::Plain => json(json::Style::Plain, target),
        Encoding::Debezium(modes) => Box::new(debezium::Encoder::new(modes, target)),
    }
}

/// Makes a decoder of the records of a schema, with room for `capacity` rows.
pub fn decoder(encoding: Encoding, schema: Arc<TableSchema>, capacity: usize) -> AnyDecoder {
    match encoding {
        Encoding::Json => AnyDecoder::Json(json::Decoder::new(schema, capacity)),
        Encoding::Arrow => AnyDecoder::Arrow(ipc::Decoder::new(schema)),
        Encoding::Plain => AnyDecoder::Json(json::Decoder::plain(schema, capacity)),
        Encoding::Debezium(modes) => {
            AnyDecoder::Debezium(debezium::Decoder::new(schema, modes, capacity))
        }
    }
}

/// The decoders of all encodings: the loop over messages branches, and makes no indirect call.
#[derive(Debug)]
pub enum AnyDecoder {
    /// Of both styles of JSON.
    Json(json::Decoder),
    /// Of batches of Arrow.
    Arrow(ipc::Decoder),
    /// Of Debezium's envelope.
    Debezium(debezium::Decoder),
}

impl Decoder for AnyDecoder {
    fn schema(&self) -> &Arc<TableSchema> {
        match self {
            Self::Json(decoder) => decoder.schema(),
            Self::Arrow(decoder) => decoder.schema(),
            Self::Debezium(decoder) => decoder.schema(),
        }
    }

    fn decode(&mut self, record: &Record<'_>, changes: &mut Changes) -> Result<(), json::RowError> {
        match self {
            Self::Json(decoder) => decoder.decode(record, changes),
            Self::Arrow(decoder) => decoder.decode(record, changes),
            Self::Debezium(decoder) => decoder.decode(record, changes),
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Arrow(decoder) => decoder.finish(),
            Self::Debezium(decoder) => decoder.finish(),
        }
    }
}
