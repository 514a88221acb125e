//! The rows of a data file.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use inlet_model::change::{DETECTED_AT, KAFKA_PARTITION, OFFSET, OP, XID};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::opened::Opened;
use crate::error::{LakeError, READING};

const BATCH_ROWS: usize = 8192;

/// Reads the rows of a data file, with their change columns.
pub(crate) fn read_rows(path: &Path, mut take: impl FnMut(&RecordBatch)) -> Result<(), LakeError> {
    let damaged = |source: ParquetError| LakeError::Damaged {
        path: path.to_owned(),
        source: in_words(source),
    };
    let file = Opened::open(path).map_err(|source| LakeError::io(READING, path, source))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build());
    for rows in reader.map_err(damaged)? {
        let rows = rows.map_err(|error| match error {
            ArrowError::ParquetError(reason) => {
                let reason = reason.trim_start_matches("Parquet error: ").to_owned();
                damaged(ParquetError::General(reason))
            }
            error => damaged(error.into()),
        })?;
        // A file from another program may lie in the folder; without these columns it cannot be
        // compared.
        for name in [OFFSET, OP, XID, KAFKA_PARTITION, DETECTED_AT] {
            if rows.column_by_name(name).is_none() {
                let reason = format!("it has no column `{name}`");
                return Err(damaged(ParquetError::General(reason)));
            }
        }
        take(&rows);
    }
    Ok(())
}

/// The decoder of a file that is compressed in another way names the feature of this program that
/// it lacks. Every file of Inlet is compressed with Zstd, so the file is what is wrong.
fn in_words(error: ParquetError) -> ParquetError {
    if !error.to_string().contains("feature at compile time") {
        return error;
    }
    ParquetError::General("it is not compressed with Zstd: another program wrote it".to_owned())
}
