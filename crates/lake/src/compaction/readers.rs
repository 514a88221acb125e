//! Waits for a moment at which no process of this machine is about to open files of a folder.
//!
//! The kernel reports who opens the folder, as each reader does to list it, and its files. A reader
//! that has listed the folder opens its files within moments, so a pause without either is a moment
//! without readers. Where readers come all the time, a shorter pause must do, in which no process
//! has a file of the table open either: a reader opens its first file right after the listing, and
//! has one open until it has opened the last one. Readers on other machines, over a network file
//! system, are not seen, and those in other containers by their listing only.

use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inlet_service::retry::pause;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// A pause, how long it is waited for, and whether open files are looked at too.
struct Pause {
    quiet: Duration,
    time_max: Duration,
    closed: bool,
}

/// Waits of one kind take this many times the wanted pause.
const WAITS: u32 = 5;
/// The shortest of the pauses, in which open files are looked at too, is this part of the wanted
/// one.
const SHORTEST: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(2);
/// The pause that is waited for at last, when the merged files are committed already, and how long.
const LAST_PAUSE: Duration = Duration::from_millis(10);
const LAST_WAIT_MAX: Duration = Duration::from_millis(300);

/// Counts who opens a folder.
#[derive(Debug)]
pub(super) struct Readers {
    /// The table's folder, as the kernel names it.
    root: PathBuf,
    /// `None` where the kernel reports nothing.
    events: Option<OwnedFd>,
}

/// What was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Opened {
    pub listed: usize,
    pub files: usize,
}

impl Readers {
    pub fn of(root: &Path, folder: &Path) -> Self {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let watched = inotify::init(flags).and_then(|events| {
            let flags = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::ONLYDIR;
            inotify::add_watch(&events, folder, flags)?;
            Ok(events)
        });
        Self {
            root: root.canonicalize().unwrap_or_else(|_| root.to_owned()),
            events: watched.ok(),
        }
    }

    /// Readers of a bucket, which nothing reports.
    pub fn unknown() -> Self {
        Self {
            root: PathBuf::new(),
            events: None,
        }
    }

    /// How often the folder was listed, and its files were opened, since the last call; openings at
    /// one moment count once.
    pub fn opened(&self) -> Opened {
        let mut opened = Opened::default();
        let Some(events) = &self.events else {
            return opened;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(events, &mut buffer);
        while let Ok(event) = reader.next() {
            let of = event.events();
            // An event with a name is of a file in the folder. A writer opens the folder too, to
            // sync it; only who lists it reads from it.
            match event.file_name() {
                None if of.contains(ReadFlags::ACCESS) => opened.listed += 1,
                Some(_) if of.contains(ReadFlags::OPEN) => opened.files += 1,
                None if of.contains(ReadFlags::QUEUE_OVERFLOW) => opened.listed += 1,
                _ => {}
            }
        }
        opened
    }

    /// True while only the preparation has listed the folder since the last call, once.
    pub fn is_quiet(&self) -> bool {
        let opened = self.opened();
        opened.listed <= 1 && opened.files == 0
    }

    /// Waits for a pause, a shorter one after some time; false when there was none, or when it was
    /// stopped.
    pub fn wait_for_pause(&self, wanted: Duration, stop: &AtomicBool) -> bool {
        let kinds = [
            (wanted, false),
            (wanted / 4, false),
            (wanted / SHORTEST, true),
        ];
        kinds.iter().any(|(quiet, closed)| {
            let pause = Pause {
                quiet: *quiet,
                time_max: wanted * WAITS,
                closed: *closed,
            };
            self.wait(&pause, stop)
        })
    }

    /// Lets readers that have just listed the folder open its files.
    pub fn settle(&self) {
        let last = Pause {
            quiet: LAST_PAUSE,
            time_max: LAST_WAIT_MAX,
            closed: false,
        };
        self.wait(&last, &AtomicBool::new(false));
    }

    fn wait(&self, wanted: &Pause, stop: &AtomicBool) -> bool {
        let deadline = Instant::now() + wanted.time_max;
        let mut since = Instant::now();
        while Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
            if self.opened() != Opened::default() {
                since = Instant::now();
            } else if since.elapsed() >= wanted.quiet {
                if !wanted.closed || !self.are_open() {
                    return true;
                }
                since = Instant::now();
            }
            pause(INTERVAL);
        }
        false
    }

    /// True when a process that this one may look at has a file of the table open.
    fn are_open(&self) -> bool {
        let ours = std::process::id().to_string();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let others = processes.filter(|process| *process.file_name() != *ours);
        let mut files = others
            .flat_map(|process| fs::read_dir(process.path().join("fd")))
            .flatten()
            .flatten();
        files.any(|file| {
            let file = fs::read_link(file.path());
            file.is_ok_and(|file| file.starts_with(&self.root) && file.is_file())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lists_the_folder_and_who_opens_a_file_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "a").unwrap();
        let readers = Readers::of(folder.path(), folder.path());
        assert_eq!(readers.opened(), Opened::default());
        std::fs::read(&file).unwrap();
        let expected = Opened {
            listed: 0,
            files: 1,
        };
        assert_eq!(readers.opened(), expected);
        for _ in 0..3 {
            std::fs::File::open(folder.path())
                .unwrap()
                .sync_all()
                .unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let expected = Opened {
            listed: 3,
            files: 0,
        };
        assert_eq!(readers.opened(), expected);
        assert_eq!(readers.opened(), Opened::default());
    }

    #[test]
    fn a_file_that_another_process_has_open_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let readers = Readers::of(folder.path(), folder.path());
        std::fs::write(&file, "a").unwrap();
        assert!(!readers.are_open());
        let other = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::fs::File::open(&file).unwrap())
            .spawn();
        let mut other = other.unwrap();
        assert!(readers.are_open());
        drop(other.stdin.take());
        other.wait().unwrap();
        assert!(!readers.are_open());
    }
}
