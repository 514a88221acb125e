//! Which files of a table are merged next. Pure.
//!
//! Files are merged within one folder and one schema only, so that no value changes. While a
//! date_partition grows, [`FAN`] files of one level become one of the next, so that a commit every
//! second leaves fewer than [`FAN`] files of each level: about a hundred in a day. Once its files
//! are old, all small ones become one. A file that is large compared with the others waits: late
//! rows must not cost a copy of the whole day each.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_model::Fingerprint;

/// Files of one level that are merged while their date_partition grows.
pub(crate) const FAN: usize = 32;
/// A date_partition is merged into few files when it has no file that is younger.
pub(crate) const CLOSED_AGE: Duration = Duration::from_secs(3600);
/// A larger file stays as it is.
pub(crate) const SMALL_BYTES_MAX: u64 = 8 << 20;
/// Files of one merge: each costs a hard link and an open file.
const INPUTS_MAX: usize = 1024;
/// Bytes of the files of one merge.
const INPUT_BYTES_MAX: u64 = 24 << 20;
/// A file that has more bytes than this times those of all smaller ones waits for more of them.
const RATIO: u64 = 4;

/// Which files are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those of a date_partition that has many, or that is old.
    Due,
    /// All small ones.
    Small,
}

/// A file that may be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub folder: String,
    /// `None` for rejected rows.
    pub schema: Option<Fingerprint>,
    pub level: u32,
    pub bytes: u64,
    pub age: Duration,
}

/// The groups of files to merge, by their positions in `files`. Each has two files or more.
pub(crate) fn plan(files: &[Candidate], wanted: Wanted) -> Vec<Vec<usize>> {
    let mut folders: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        if file.bytes <= SMALL_BYTES_MAX {
            let folder = folders.entry((&file.folder, file.schema));
            folder.or_default().push(at);
        }
    }
    let groups = folders.into_values().flat_map(|folder| {
        let is_closed = || folder.iter().all(|at| files[*at].age >= CLOSED_AGE);
        match wanted {
            Wanted::Small => bounded(files, folder),
            Wanted::Due if is_closed() => bounded(files, without_large(files, folder)),
            Wanted::Due => of_levels(files, &folder),
        }
    });
    groups.collect()
}

/// The files of each level that has enough of them.
fn of_levels(files: &[Candidate], folder: &[usize]) -> Vec<Vec<usize>> {
    let mut levels: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for at in folder {
        levels.entry(files[*at].level).or_default().push(*at);
    }
    let full = levels.into_values().filter(|level| level.len() >= FAN);
    full.flat_map(|level| bounded(files, level)).collect()
}

/// Leaves out files that are much larger than all smaller ones together.
fn without_large(files: &[Candidate], mut folder: Vec<usize>) -> Vec<usize> {
    folder.sort_by_key(|at| files[*at].bytes);
    let mut smaller: u64 = folder.iter().map(|at| files[*at].bytes).sum();
    while let Some(largest) = folder.last() {
        smaller -= files[*largest].bytes;
        if files[*largest].bytes <= smaller * RATIO {
            break;
        }
        folder.pop();
    }
    folder
}

/// Divides files into merges that fit the bounds.
fn bounded(files: &[Candidate], group: Vec<usize>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for at in group {
        let with_this = bytes + files[at].bytes;
        match groups.last_mut() {
            Some(last) if last.len() < INPUTS_MAX && with_this <= INPUT_BYTES_MAX => {
                last.push(at);
                bytes = with_this;
            }
            _ => {
                groups.push(vec![at]);
                bytes = files[at].bytes;
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const KB: u64 = 1 << 10;

    fn file(level: u32, bytes: u64, age: u64) -> Candidate {
        Candidate {
            folder: "date=2026-11-20".to_owned(),
            schema: Some(Fingerprint(1)),
            level,
            bytes,
            age: Duration::from_secs(age),
        }
    }

    #[test]
    fn a_level_is_merged_when_it_is_full_and_no_file_twice() {
        let mut files = vec![file(0, 4 * KB, 1); FAN - 1];
        files.extend(vec![file(1, 9 * KB, 100); FAN]);
        assert_eq!(
            plan(&files, Wanted::Due),
            [(FAN - 1..2 * FAN - 1).collect::<Vec<_>>()]
        );
        assert_eq!(
            plan(&files[..FAN - 1], Wanted::Due),
            Vec::<Vec<usize>>::new()
        );
        assert_eq!(plan(&files[..2], Wanted::Small), [[0, 1]]);
        assert_eq!(plan(&files[..1], Wanted::Small), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn an_old_date_is_merged_whole_and_its_large_file_waits_for_late_rows() {
        let old = CLOSED_AGE.as_secs();
        let files = [file(0, KB, old), file(2, 3 * KB, old)];
        assert_eq!(plan(&files, Wanted::Due), [[0, 1]]);
        let files = [file(3, 900 * KB, old), file(0, KB, old), file(0, KB, old)];
        assert_eq!(plan(&files, Wanted::Due), [[1, 2]]);
        assert_eq!(plan(&files[..2], Wanted::Due), Vec::<Vec<usize>>::new());
        let files = [file(0, KB, old), file(0, KB, old - 1)];
        assert_eq!(plan(&files, Wanted::Due), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn files_of_another_schema_or_folder_and_large_ones_stay() {
        let other = Candidate {
            schema: Some(Fingerprint(2)),
            ..file(0, KB, 0)
        };
        let rejected = Candidate {
            schema: None,
            folder: "_quarantine".to_owned(),
            ..file(0, KB, 0)
        };
        let files = [
            file(0, KB, 0),
            other,
            rejected,
            file(0, SMALL_BYTES_MAX + 1, 0),
        ];
        assert_eq!(plan(&files, Wanted::Small), Vec::<Vec<usize>>::new());
    }

    proptest! {
        #[test]
        fn merges_are_bounded_and_take_a_file_once(
            files in vec((0..3_u32, 1..=SMALL_BYTES_MAX, 0..7200_u64), 0..80), small in any::<bool>()
        ) {
            let files: Vec<_> = files.into_iter().map(|of| file(of.0, of.1, of.2)).collect();
            let wanted = if small { Wanted::Small } else { Wanted::Due };
            let mut taken = std::collections::BTreeSet::new();
            for group in plan(&files, wanted) {
                prop_assert!(group.len() > 1 && group.len() <= INPUTS_MAX);
                let bytes: u64 = group.iter().map(|at| files[*at].bytes).sum();
                prop_assert!(bytes <= INPUT_BYTES_MAX);
                prop_assert!(group.into_iter().all(|at| taken.insert(at)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        /// A commit every second for hours: the number of files stays below that of the levels.
        #[test]
        fn the_number_of_files_grows_with_the_logarithm_of_the_commits(commits in 1..20_000_usize) {
            let mut files: Vec<Candidate> = Vec::new();
            for _ in 0..commits {
                files.push(file(0, KB, 0));
                while let Some(group) = plan(&files, Wanted::Due).pop() {
                    let level = files[group[0]].level + 1;
                    let bytes = group.iter().map(|at| files[*at].bytes).sum::<u64>() / 4;
                    for at in group.iter().rev() {
                        files.remove(*at);
                    }
                    files.push(file(level, bytes, 0));
                }
            }
            prop_assert!(files.len() < 3 * FAN, "{}", files.len());
        }
    }
}
