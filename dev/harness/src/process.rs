//! Child processes that end when this process ends.
//!
//! A child gets a process group of its own, so that a Ctrl-C at the terminal reaches only this
//! process. `setpriv --pdeathsig` ends it with this process, also after `kill -9`. That signal is
//! sent when the *thread* ends that started the child, and a test's thread ends with the test. So
//! one thread starts all children, and it lives as long as the process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use crate::programs;

const STEP: Duration = Duration::from_millis(10);
const TAIL_LINES: usize = 40;
/// How long a killed process may take to disappear: the system may have to free a large memory.
const KILL_SECONDS_MAX: i64 = 30;
/// How long a process may take to clean up before it is killed.
const PART_SECONDS_MAX: i64 = 10;

/// The user that a child runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user of a server that refuses root: the current one, or for root the user `postgres`,
    /// else `nobody`.
    pub(crate) fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let named = |name: &str| {
            let mut fields = users
                .lines()
                .map(|line| line.split(':'))
                .find(|fields| fields.clone().next() == Some(name))?;
            Some(Self {
                uid: fields.nth(2)?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        };
        Ok(Some(
            // PostgreSQL refuses to run as root.
            named("postgres")
                .or_else(|| named("nobody"))
                .context("neither a user `postgres` nor `nobody` to run PostgreSQL as")?,
        ))
    }

    /// Makes this user the owner of a folder or file.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to user {}", path.display(), self.uid))
    }
}

/// How a child is ended when it is dropped, or when this process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopSignal {
    Kill,
    /// With SIGTERM: for programs that clean up after it.
    Terminate,
    /// With SIGQUIT: PostgreSQL's "immediate shutdown".
    Quit,
}

impl StopSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Quit => "QUIT",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Terminate => Signal::TERM,
            Self::Quit => Signal::QUIT,
        }
    }
}

/// A program to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// For messages and the names of kept logs.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) folder: PathBuf,
    pub(crate) user: Option<User>,
    /// Another way than [`StopSignal::Kill`] when the program then leaves fewer files behind.
    pub(crate) stop_signal: StopSignal,
    /// The file for standard output; without one it goes to the file for standard error.
    pub(crate) stdout: Option<PathBuf>,
    /// The file that standard error is appended to.
    pub(crate) stderr: PathBuf,
}

impl Launch {
    /// A program in `folder` with its output in `folder/log`.
    pub(crate) fn new(name: &'static str, program: impl Into<PathBuf>, folder: &Path) -> Self {
        let stderr = folder.join("log");
        Self {
            name,
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.to_owned(),
            user: None,
            stop_signal: StopSignal::Kill,
            stdout: None,
            stderr,
        }
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    pub(crate) fn start(self) -> Result<Process> {
        let append = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("opening {}", path.display()))
        };
        let stderr = append(&self.stderr)?;
        let stdout = self
            .stdout
            .as_deref()
            .map_or_else(|| Ok(stderr.try_clone()?), append)?;
        let mut command = Command::new(programs::system("setpriv")?);
        // The kernel sends this signal when the thread that started the process ends, however the
        // test ends.
        command.args(["--pdeathsig", self.stop_signal.name()]);
        if let Some(User { uid, gid }) = self.user {
            command.args([
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env);
        command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // A Ctrl-C on the terminal goes to the test alone, which then stops its servers in
            // order.
            .process_group(0);
        let child =
            spawn(command).with_context(|| format!("starting {}", self.program.display()))?;
        Ok(Process {
            name: self.name,
            child,
            stop_signal: self.stop_signal,
            log: self.stderr,
        })
    }

    /// Runs it to its end. Fails unless it succeeds within `deadline`.
    pub(crate) async fn finish(self, deadline: Duration) -> Result<()> {
        let mut process = self.start()?;
        let status = process.exit(deadline).await?;
        ensure!(
            status.success(),
            "`{}` ended with {status}:\n{}",
            process.name,
            tail(&process.log)
        );
        Ok(())
    }
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    stop_signal: StopSignal,
    log: PathBuf,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails with the last lines of the log when it has ended.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("`{}` ended with {status}:\n{}", self.name, tail(&self.log)),
        }
    }

    /// Waits until it ends.
    pub(crate) async fn exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < end,
                "`{}` (pid {}) did not end within {deadline:?}:\n{}",
                self.name,
                self.pid(),
                tail(&self.log)
            );
            sleep(STEP).await;
        }
    }

    /// Sends a signal to this process alone, unless it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("sending {signal:?} to `{}`", self.name))
    }

    /// Sends a signal to this process and all its descendants, unless it has ended.
    pub(crate) fn signal_all(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        for descendant in &descendants(self.pid()) {
            // A process that has ended already needs no signal.
            let _ = pidfd_send_signal(descendant, signal);
        }
        Ok(())
    }

    /// Kills it and all its descendants at once, and waits until they have ended.
    pub(crate) fn kill_9(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // A stopped process cannot start more children or react to the death of one.
        self.signal(Signal::STOP)?;
        let descendants = descendants(self.pid());
        self.child.kill()?;
        for descendant in &descendants {
            // A process that has ended already needs no signal.
            let _ = pidfd_send_signal(descendant, Signal::KILL);
        }
        self.child.wait()?;
        for descendant in &descendants {
            ensure!(
                has_ended(descendant, KILL_SECONDS_MAX)?,
                "a child of `{}` still runs {KILL_SECONDS_MAX} s after kill -9",
                self.name
            );
        }
        Ok(())
    }

    /// Asks it to end in the way of its launch, and gives it and its children time to clean up.
    fn stop(&mut self) -> Result<()> {
        if self.stop_signal == StopSignal::Kill || self.ended()?.is_some() {
            return Ok(());
        }
        // The children are opened before the signal: afterwards their pids could belong to others.
        let mut leaving = descendants(self.pid());
        leaving.push(pidfd_open(
            Pid::from_child(&self.child),
            PidfdFlags::empty(),
        )?);
        self.signal(self.stop_signal.signal())?;
        for process in &leaving {
            if !has_ended(process, PART_SECONDS_MAX)? {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A drop cannot report a failure. A process that survives ends with this process.
        let _ = self.stop();
        let _ = self.kill_9();
        if thread::panicking() {
            keep_log(self.name, &self.log);
        }
    }
}

/// Copies a log out of the temporary folders, and prints its path and its last lines.
#[expect(
    clippy::print_stderr,
    reason = "only a test that has failed prints, and its runner captures that"
)]
pub(crate) fn keep_log(name: &str, log: &Path) {
    let kept = env::temp_dir().join("inlet-failed").join(format!(
        "{}-{name}-{:08x}.log",
        std::process::id(),
        rand::random::<u32>()
    ));
    let copied = kept
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::copy(log, &kept));
    match copied {
        Ok(_) => eprintln!(
            "--- log of `{name}`, kept as {}, ends:\n{}---",
            kept.display(),
            tail(log)
        ),
        Err(error) => eprintln!(
            "--- log of `{name}` could not be kept ({error}), ends:\n{}---",
            tail(log)
        ),
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map_or_else(
        |error| format!("{}: {error}", log.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    );
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Waits until a process ends.
fn has_ended(process: &OwnedFd, seconds_max: i64) -> Result<bool> {
    let timeout = Timespec {
        tv_sec: seconds_max,
        tv_nsec: 0,
    };
    // The end of another child may interrupt the wait.
    let ready = retry_on_intr(|| {
        let mut process = [PollFd::new(process, PollFlags::IN)];
        poll(&mut process, Some(&timeout))
    })?;
    Ok(ready == 1)
}

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command on the thread that lives as long as the process.
fn spawn(command: Command) -> Result<Child> {
    // `pdeathsig` is about the starting thread, not the process. So one thread that lives as long
    // as the test starts all of them.
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        let serve = move || {
            for (mut command, reply) in inbox {
                // The send fails only when the test has ended meanwhile.
                let _ = reply.send(command.spawn());
            }
        };
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(serve)
            .expect("a thread can be started");
        Mutex::new(requests)
    });
    let (reply, answer) = mpsc::channel();
    SPAWNER
        .lock()
        .expect("no holder of the lock panics")
        .send((command, reply))
        .context("the thread that starts processes has ended")?;
    Ok(answer
        .recv()
        .context("the thread that starts processes has ended")??)
}

/// All descendants of a process.
fn descendants(root: u32) -> Vec<OwnedFd> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // `pid (name) state parent ..`; the name may contain any character.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child);
            let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
            found.extend(pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    fn sh(folder: &Folder, script: &str) -> Launch {
        Launch::new("sh", "/bin/sh", folder).args(["-c", script])
    }

    #[tokio::test]
    async fn a_child_outlives_the_thread_that_asked_for_it() {
        let folder = Folder::new("process").unwrap();
        let launch = sh(
            &folder,
            "while [ ! -e leave ]; do sleep 0.01; done; echo left",
        );
        let mut child = thread::spawn(move || launch.start().unwrap())
            .join()
            .unwrap();
        fs::write(folder.join("leave"), "").unwrap();
        assert!(child.exit(Duration::from_secs(20)).await.unwrap().success());
        assert_eq!(tail(&folder.join("log")), "left\n");
    }

    #[tokio::test]
    async fn kill_9_takes_the_grandchildren_along() {
        let folder = Folder::new("process").unwrap();
        let mut child = sh(&folder, "sleep 1000 & echo $! >pid; mv pid started; wait")
            .start()
            .unwrap();
        let started = folder.join("started");
        crate::eventually(
            Duration::from_secs(20),
            "the grandchild is there",
            async || started.exists(),
        )
        .await;
        let grandchild: u32 = fs::read_to_string(started).unwrap().trim().parse().unwrap();
        child.kill_9().unwrap();
        let stat = fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }

    #[tokio::test]
    async fn a_failure_shows_the_end_of_the_log() {
        let folder = Folder::new("process").unwrap();
        let error = sh(&folder, "echo no space left >&2; exit 3")
            .finish(Duration::from_secs(20))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh` ended with exit status: 3:\nno space left\n"
        );
    }
}
