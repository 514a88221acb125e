//! Every name in a table's folder: how it is made, and how it is read back.
//!
//! A published file is named after its first row and the epoch of its writer. An offset is
//! committed once, so two files never have the same name.

use std::fmt;

use inlet_model::{KafkaPartition, Offset};

/// The folder of the log.
pub(crate) const LOG: &str = "_log";
/// The folder of invisible files.
pub(crate) const STAGING: &str = "_staging";
/// The folder of rejected rows.
pub(crate) const QUARANTINE: &str = "_quarantine";
/// What a user asks of the poll of the table.
pub(crate) const REQUEST: &str = "_request.json";
pub(crate) const CHECKPOINT: &str = "_log/_checkpoint.json";
/// The folder of old entries, many in one file.
pub(crate) const PACKS: &str = "_log/_entries";
/// The number of the last entry in them.
pub(crate) const PACKED: &str = "_log/_packed.json";
/// The folder of the list of files in segments.
pub(crate) const FILE_LIST: &str = "_log/_files";
/// Locked by the writer that sets a torn entry aside.
pub(crate) const REPAIR: &str = "_staging/repair";

/// Locked by the writer that publishes files of a table whose columns have been renamed.
pub(crate) const RETIRE: &str = "_staging/retire";

/// The key of the date_partition folders.
pub(crate) const DATE_KEY: &str = "date";
/// The key of the folders of a table that has a column `date` of its own.
pub(crate) const DATE_KEY_BESIDE_COLUMN: &str = "_date";
/// The date_partition of rows without a date, and of dates outside the years 1 to 9999. Readers of
/// Hive partitions read it as null.
pub(crate) const NO_DATE: &str = "__HIVE_DEFAULT_PARTITION__";

const DATA: &str = ".parquet";
const REJECTED: &str = ".jsonl";
const PACK: &str = ".jsonl.zst";
const LOCK: &str = ".lock";
/// The ending of a folder that no path of a reader reaches.
pub(crate) const HIDDEN: &str = ".hidden";
/// The ending of an entry that was set aside because it is incomplete.
pub(crate) const TORN: &str = ".torn";

/// The name of a published file, without its folder and its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileName {
    /// The position of the first row.
    pub partition: KafkaPartition,
    pub first: Offset,
    /// The epoch under which the writer owned the kafka_partition.
    pub epoch: u64,
}

impl FileName {
    /// The path of a data file.
    pub fn data(self, date_key: &str, date: Option<&str>) -> String {
        format!("{date_key}={}/{self}{DATA}", date.unwrap_or(NO_DATE))
    }

    /// The path of a file of rejected rows.
    pub fn quarantine(self) -> String {
        format!("{QUARANTINE}/{self}{REJECTED}")
    }

    /// Reads the name of a data file or of a file of rejected rows, given without its folder;
    /// `None` for a file that Inlet did not write.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name
            .strip_suffix(DATA)
            .or_else(|| name.strip_suffix(REJECTED));
        let mut parts = stem?.split('-');
        let found = Self {
            partition: KafkaPartition(parts.next()?.parse().ok()?),
            first: Offset(parts.next()?.parse().ok()?),
            epoch: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(found)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twenty digits hold every offset, so names sort as offsets do.
        write!(
            f,
            "{}-{:020}-{}",
            self.partition.0, self.first.0, self.epoch
        )
    }
}

/// The path of an entry of the log.
pub(crate) fn entry(seq: u64) -> String {
    format!("{LOG}/{seq:020}.json")
}

/// The number of an entry, given without its folder; `None` for another file of the log.
pub(crate) fn seq(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// The path of a segment of the list of files.
pub(crate) fn segment(first: u64, last: u64) -> String {
    format!("{FILE_LIST}/{first:020}-{last:020}.json")
}

/// The first and the last entry of a segment, given without its folder.
pub(crate) fn segment_range(name: &str) -> Option<(u64, u64)> {
    range(name.strip_suffix(".json")?)
}

/// The path of a pack of entries.
pub(crate) fn pack(first: u64, last: u64) -> String {
    format!("{PACKS}/{first:020}-{last:020}{PACK}")
}

/// The first and the last entry of a pack, given without its folder.
pub(crate) fn pack_range(name: &str) -> Option<(u64, u64)> {
    range(name.strip_suffix(PACK)?)
}

fn range(stem: &str) -> Option<(u64, u64)> {
    let (first, last) = stem.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// True for the name of a date_partition's folder.
pub(crate) fn is_date_folder(name: &str) -> bool {
    name.split_once('=')
        .is_some_and(|(key, _)| key == DATE_KEY || key == DATE_KEY_BESIDE_COLUMN)
}

pub(crate) fn is_data(name: &str) -> bool {
    name.ends_with(DATA)
}

pub(crate) fn is_quarantine(name: &str) -> bool {
    name.ends_with(REJECTED)
}

/// The path of a writer's lock.
pub(crate) fn lock(writer: &str) -> String {
    format!("{STAGING}/{writer}{LOCK}")
}

/// The path of an invisible file of a writer.
pub(crate) fn staged(writer: &str, number: u64, extension: &str) -> String {
    format!("{STAGING}/{writer}.{number}.{extension}")
}

/// The writer of a file below [`STAGING`], given without the folder.
pub(crate) fn writer_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(writer, _)| writer)
}

/// The writer of a lock, given without the folder; `None` for another file.
pub(crate) fn writer_of_lock(name: &str) -> Option<&str> {
    name.strip_suffix(LOCK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_name() -> impl Strategy<Value = FileName> {
        (0..=i32::MAX, 0..=i64::MAX, any::<u64>()).prop_map(|(partition, first, epoch)| FileName {
            partition: KafkaPartition(partition),
            first: Offset(first),
            epoch,
        })
    }

    proptest! {
        #[test]
        fn a_data_files_name_reads_back(name in file_name(), date in "[0-9]{4}-[0-9]{2}-[0-9]{2}") {
            let path = name.data(DATE_KEY, Some(&date));
            let (folder, file) = path.split_once('/').unwrap();
            prop_assert!(is_date_folder(folder) && is_data(file));
            prop_assert_eq!(FileName::parse(file), Some(name));
            let path = name.quarantine();
            let (folder, file) = path.split_once('/').unwrap();
            prop_assert!(folder == QUARANTINE && is_quarantine(file));
            prop_assert_eq!(FileName::parse(file), Some(name));
        }

        #[test]
        fn names_of_one_kafka_partition_sort_as_offsets_do(
            one in 0..=i64::MAX, two in 0..=i64::MAX, epoch in any::<u64>()
        ) {
            let partition = KafkaPartition(0);
            let name = |first| FileName { partition, first: Offset(first), epoch }.to_string();
            prop_assert_eq!(name(one).cmp(&name(two)), one.cmp(&two));
        }

        #[test]
        fn an_invisible_file_names_its_writer_and_no_glob_of_readers_matches(
            writer in "[0-9a-f]{1,12}-[0-9]{1,10}-[0-9a-f]{8}", number in any::<u64>()
        ) {
            for path in [lock(&writer), staged(&writer, number, "staged")] {
                let name = path.strip_prefix("_staging/").unwrap();
                prop_assert_eq!(writer_of(name), Some(writer.as_str()));
                prop_assert!(!is_data(name) && !is_quarantine(name));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(name in ".*") {
            if let Some(found) = FileName::parse(&name) {
                let path = found.data(DATE_KEY, None);
                prop_assert_eq!(FileName::parse(path.split_once('/').unwrap().1), Some(found));
            }
        }
    }

    #[test]
    fn names_are_those_that_lakes_on_disk_have() {
        let name = FileName {
            partition: KafkaPartition(3),
            first: Offset(120),
            epoch: 7,
        };
        assert_eq!(
            name.data("date", Some("2026-11-20")),
            "date=2026-11-20/3-00000000000000000120-7.parquet"
        );
        assert_eq!(
            name.data("_date", None),
            "_date=__HIVE_DEFAULT_PARTITION__/3-00000000000000000120-7.parquet"
        );
        assert_eq!(
            name.quarantine(),
            "_quarantine/3-00000000000000000120-7.jsonl"
        );
        assert_eq!(entry(42), "_log/00000000000000000042.json");
        assert_eq!(seq("00000000000000000042.json"), Some(42));
        assert_eq!(seq("_checkpoint.json"), None);
        assert_eq!(FileName::parse("part-0.parquet"), None);
    }
}
