//! Temporary folders.
//!
//! All folders of a test process are in one run folder, `$TMPDIR/inlet-<pid>-<random>`, which the
//! process keeps locked. A dropped [`Folder`] removes itself. A watchdog removes the run folder
//! when the process ends, however it ends. Each run first removes the run folders that are not
//! locked, in case the watchdog died as well.

use std::env;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};

/// Ends when the process at the other end of its standard input ends, and removes the folder.
const WATCHDOG: &str = r#"trap '' HUP INT TERM
read -r _
tries=0
until rm -rf "$1" 2>/dev/null || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done"#;

static RUN: LazyLock<Result<Run, String>> =
    LazyLock::new(|| Run::begin().map_err(|error| format!("{error:#}")));
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A folder for one test or server. Dropping it removes it with its contents.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates an empty folder. `name` helps a reader; another folder may have the same.
    pub fn new(name: &str) -> Result<Self> {
        let run = RUN
            .as_ref()
            .map_err(|error| anyhow!("no folder for this run: {error}"))?;
        let path = run
            .path
            .join(format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Deref for Folder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed here is removed with the run folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

struct Run {
    path: PathBuf,
    _lock: File,
    _watchdog: ChildStdin,
}

impl Run {
    fn begin() -> Result<Self> {
        let temp = env::temp_dir();
        sweep(&temp);
        let name = format!("inlet-{}-{:08x}", std::process::id(), rand::random::<u32>());
        // The folder is locked before it gets its name, so that another run never sees the name
        // without the lock.
        let unnamed = temp.join(format!(".{name}"));
        fs::create_dir(&unnamed).with_context(|| format!("creating {}", unnamed.display()))?;
        // A server that runs as another user needs access.
        fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o755))?;
        let lock = File::create(unnamed.join("lock"))?;
        lock.lock()?;
        let path = temp.join(name);
        fs::rename(&unnamed, &path)?;
        let watchdog = watch(&path).context("starting the watchdog")?;
        Ok(Self {
            path,
            _lock: lock,
            _watchdog: watchdog,
        })
    }
}

fn watch(path: &Path) -> io::Result<ChildStdin> {
    // The watchdog must survive this process and a Ctrl-C, and must not keep our pipes open.
    let mut child = Command::new("sh")
        .args(["-c", WATCHDOG, "inlet-watchdog"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(child.stdin.take().expect("standard input was asked for"))
}

/// Removes the run folders of processes that have ended.
fn sweep(temp: &Path) {
    let me = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_run = name
            .to_str()
            .and_then(|name| name.strip_prefix("inlet-"))
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let is_mine = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == me);
        if is_run && is_mine && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the lock of a run folder is free. A folder without a lock file is partly removed.
fn is_abandoned(run: &Path) -> bool {
    File::open(run.join("lock")).map_or_else(
        |error| error.kind() == io::ErrorKind::NotFound,
        |lock| lock.try_lock().is_ok(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_folder_is_removed() {
        let folder = Folder::new("gone").unwrap();
        let path = folder.to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn only_abandoned_run_folders_are_swept() {
        let temp = Folder::new("temp").unwrap();
        for name in [
            "inlet-1-dead",
            "inlet-2-alive",
            "inlet-3-halfway",
            "inlet-failed",
            "other",
        ] {
            fs::create_dir(temp.join(name)).unwrap();
        }
        File::create(temp.join("inlet-1-dead/lock")).unwrap();
        let alive = File::create(temp.join("inlet-2-alive/lock")).unwrap();
        alive.lock().unwrap();
        sweep(&temp);
        let mut left: Vec<_> = fs::read_dir(&*temp)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["inlet-2-alive", "inlet-failed", "other"]);
    }
}
