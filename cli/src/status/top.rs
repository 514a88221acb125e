//! `inlet top`: the status on one screen, again each second, the tables that are furthest behind
//! first.
//!
//! Promises: it shows the same value as `inlet status`; the terminal is restored however it ends;
//! without a terminal, or with `--once`, it prints one frame.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use inlet_service::config::Config;
use inlet_service::output::{self, StdoutError};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::look::{Looked, Status, look};
use super::processes::Process;
use super::show;
use crate::args::TopArguments;
use crate::failure::{Failure, Outcome};
use crate::text_table::{span, text_table};

const INTERVAL: Duration = Duration::from_secs(1);
const HEADINGS: [&str; 6] = [
    "TABLE",
    "BEHIND",
    "WAITING",
    "ROWS/S",
    "ROWS",
    "LAST COMMIT",
];
const NUMBERS: [usize; 2] = [3, 4];
/// Lines around those of the tables.
const FRAME_LINES: usize = 7;

/// Enters a screen of its own and hides the cursor; leaves it.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Shows the status again and again until `q` or Ctrl-C.
pub async fn run(arguments: TopArguments, config: Config, stop: CancellationToken) -> Outcome {
    config.require_datalake()?;
    if arguments.once || !output::is_stdout_terminal() {
        let Some(looked) = stop.run_until_cancelled(look(&config)).await else {
            return Ok(ExitCode::FAILURE);
        };
        output::stdout(Frame::of(&looked?, None).text())?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::enter()?;
    let shown = stop.run_until_cancelled(show_on(&screen, &config)).await;
    drop(screen);
    match shown {
        // Ctrl-C is a usual end, as `q` is.
        None | Some(Ok(())) => Ok(ExitCode::SUCCESS),
        Some(Err(failure)) => Err(failure),
    }
}

async fn show_on(screen: &Screen, config: &Config) -> Result<(), Failure> {
    let mut keys = keys();
    let mut before: Option<(Vec<Process>, Instant)> = None;
    loop {
        let looked = tokio::select! {
            biased;
            // A look may take long while a server does not answer.
            () = quit(&mut keys) => return Ok(()),
            looked = look(config) => looked?,
        };
        let now = Instant::now();
        let frame = Frame::of(&looked, before.as_ref());
        screen.draw(&frame)?;
        before = Some((looked.processes, now));
        tokio::select! {
            biased;
            () = quit(&mut keys) => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Waits for the key that ends it.
async fn quit(keys: &mut mpsc::Receiver<u8>) {
    loop {
        match keys.recv().await {
            Some(b'q' | b'Q') => return,
            Some(_) => {}
            // Without a keyboard Ctrl-C is left.
            None => std::future::pending().await,
        }
    }
}

/// The keys of the terminal. The thread that reads them ends with the process.
fn keys() -> mpsc::Receiver<u8> {
    let (sender, keys) = mpsc::channel(16);
    if std::io::stdin().is_terminal() {
        std::thread::spawn(move || {
            for byte in std::io::stdin().lock().bytes().map_while(Result::ok) {
                if sender.blocking_send(byte).is_err() {
                    return;
                }
            }
        });
    }
    keys
}

/// The terminal while it shows frames. Dropping it restores the terminal.
struct Screen {
    /// How the keyboard was set; `None` without one.
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> Result<Self, StdoutError> {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut termios = before.clone();
            // Keys arrive one by one and are not shown; Ctrl-C stays a signal.
            termios
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &termios);
        }
        // From here on the drop restores both.
        let screen = Self { before };
        output::stdout(ENTER)?;
        Ok(screen)
    }

    fn draw(&self, frame: &Frame) -> Result<(), StdoutError> {
        let size = output::stdout_size();
        let (columns, lines) = size.map_or((80, 24), |size| (size.0.max(20), size.1.max(8)));
        let mut text = HOME.to_owned();
        for line in frame.lines(Some(lines)) {
            let shown: String = line.text.chars().take(columns).collect();
            let (bold, reset) = match line.is_bold {
                true => (BOLD, RESET),
                false => ("", ""),
            };
            text.push_str(&format!("{bold}{shown}{reset}{CLEAR_LINE}\r\n"));
        }
        output::stdout(text.trim_end().to_owned() + CLEAR_BELOW)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
        // A terminal that was closed needs none of it.
        let _ = output::stdout(LEAVE);
    }
}

/// What one screen shows.
struct Frame {
    head: Vec<String>,
    headings: String,
    tables: Vec<String>,
    notes: Vec<String>,
}

struct Line {
    text: String,
    is_bold: bool,
}

impl Frame {
    fn of(looked: &Looked, before: Option<&(Vec<Process>, Instant)>) -> Self {
        let mut tables: Vec<&Status> = looked.tables.iter().collect();
        // Unknown is worse than late. The order of the configuration stays among equal ones.
        tables.sort_by_key(|table| {
            std::cmp::Reverse(table.freshness().map_or(Duration::MAX, |behind| behind.age))
        });
        let rows: Vec<_> = tables.into_iter().map(cells).collect();
        let text = text_table(&HEADINGS, &NUMBERS, &rows, 2);
        let mut lines = text.lines().map(str::to_owned);
        let mut head = vec![show::summary(looked), show::running(looked.services)];
        head.extend(
            looked
                .processes
                .iter()
                .map(|process| usage(process, before)),
        );
        Self {
            head,
            headings: lines.next().unwrap_or_default(),
            tables: lines.collect(),
            notes: show::notes(looked),
        }
    }

    /// The lines of a screen of this height, or all of them.
    fn lines(&self, height: Option<usize>) -> Vec<Line> {
        let plain = |text: &String| Line {
            text: text.clone(),
            is_bold: false,
        };
        let mut lines: Vec<_> = self.head.iter().map(plain).collect();
        if let Some(first) = lines.first_mut() {
            first.is_bold = true;
        }
        lines.push(plain(&String::new()));
        lines.push(Line {
            text: self.headings.clone(),
            is_bold: true,
        });
        let room = height.map(|height| height.saturating_sub(lines.len() + FRAME_LINES).max(3));
        let shown = room.unwrap_or(usize::MAX).min(self.tables.len());
        lines.extend(self.tables[..shown].iter().map(plain));
        if shown < self.tables.len() {
            let more = format!("and {} more", self.tables.len() - shown);
            lines.push(plain(&more));
        }
        lines.push(plain(&String::new()));
        let room = height.map_or(usize::MAX, |height| height.saturating_sub(lines.len() + 2));
        lines.extend(self.notes.iter().take(room).map(plain));
        if height.is_some() {
            lines.push(plain(&"q ends it".to_owned()));
        }
        lines
    }

    fn text(&self) -> String {
        let lines = self.lines(None);
        let lines: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        format!("{}\n", lines.join("\n").trim_end())
    }
}

fn cells(table: &Status) -> Vec<String> {
    let all = show::cells(table);
    let cell = |heading: &str| {
        let at = show::HEADINGS.iter().position(|found| *found == heading);
        all[at.expect("a heading of the status")].clone()
    };
    [
        "TABLE",
        "FRESHNESS",
        "WAITING",
        "ROWS/S",
        "ROWS",
        "LAST COMMIT",
    ]
    .map(cell)
    .to_vec()
}

/// Memory, and the share of a core since the frame before, or the time since the start.
fn usage(process: &Process, before: Option<&(Vec<Process>, Instant)>) -> String {
    let earlier = before.and_then(|(processes, at)| {
        let earlier = processes.iter().find(|earlier| earlier.id == process.id)?;
        Some((earlier.cpu, at.elapsed()))
    });
    let cpu = match earlier {
        Some((cpu, elapsed)) => {
            let share = process.cpu.saturating_sub(cpu).as_secs_f64() / elapsed.as_secs_f64();
            format!("{:.0} % of a core", share * 100.0)
        }
        None => format!("{} of CPU since its start", span(process.cpu.as_secs_f64())),
    };
    let Process {
        id, memory_bytes, ..
    } = process;
    format!(
        "Process {id}: {} of memory, {cpu}.",
        HumanBytes(*memory_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tables: usize) -> Frame {
        Frame {
            head: vec!["a".to_owned()],
            headings: "TABLE".to_owned(),
            tables: (0..tables).map(|at| format!("t{at}")).collect(),
            notes: vec!["note".to_owned(); 40],
        }
    }

    #[test]
    fn a_frame_fits_its_screen_and_counts_what_it_leaves_out() {
        for height in [12, 24, 60] {
            let lines = frame(200).lines(Some(height));
            assert!(lines.len() <= height, "{} of {height}", lines.len());
            assert!(lines.iter().any(|line| line.text.starts_with("and 1")));
        }
        let text = frame(200).text();
        assert!(text.contains("t199\n") && !text.contains("more"));
    }

    #[test]
    fn a_share_of_a_core_needs_two_frames() {
        let process = |cpu| Process {
            id: 1_234,
            memory_bytes: 3 << 20,
            cpu: Duration::from_secs(cpu),
        };
        let once = usage(&process(7), None);
        assert_eq!(
            once,
            "Process 1234: 3.00 MiB of memory, 7.0 s of CPU since its start."
        );
        let at = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        let again = usage(&process(8), Some(&(vec![process(7)], at)));
        assert!(again.ends_with("50 % of a core."), "{again}");
    }
}
