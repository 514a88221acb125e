//! The names of published files: which row a file starts with, and so never the same twice.

use inlet_model::{KafkaPartition, Offset};

use super::store::QUARANTINE;

/// The folder of rows without a date, and of dates that four digits of a year cannot name. Readers
/// of Hive partitions take it as null.
pub(super) const NO_DATE: &str = "__HIVE_DEFAULT_PARTITION__";

/// A data file's place.
pub(super) fn data_file(
    date_key: &str,
    date: Option<&str>,
    partition: KafkaPartition,
    first: Offset,
    epoch: u64,
) -> String {
    format!(
        "{date_key}={}/{}.parquet",
        date.unwrap_or(NO_DATE),
        stem(partition, first, epoch)
    )
}

/// The place of a file of rejected rows.
pub(super) fn quarantine_file(partition: KafkaPartition, first: Offset, epoch: u64) -> String {
    format!("{QUARANTINE}/{}.jsonl", stem(partition, first, epoch))
}

/// The row that a data file starts with; `None` for a name that is not ours.
pub(super) fn first_row(name: &str) -> Option<(KafkaPartition, Offset)> {
    let mut parts = name.strip_suffix(".parquet")?.split('-');
    let (partition, offset) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((KafkaPartition(partition), Offset(offset)))
}

fn stem(partition: KafkaPartition, first: Offset, epoch: u64) -> String {
    format!("{}-{:020}-{epoch}", partition.0, first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_first_row() {
        let path = data_file(
            "date",
            Some("2026-11-20"),
            KafkaPartition(3),
            Offset(120),
            7,
        );
        assert_eq!(path, "date=2026-11-20/3-00000000000000000120-7.parquet");
        assert_eq!(
            first_row(path.rsplit('/').next().unwrap()),
            Some((KafkaPartition(3), Offset(120)))
        );
        assert_eq!(first_row("part-0.parquet"), None);
    }
}
