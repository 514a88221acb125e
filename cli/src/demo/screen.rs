//! What the demo prints: numbered steps, commands, answers as tables. Colors only on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";
const INDENT: &str = "    ";

/// Standard output.
pub struct Screen {
    colors: bool,
    step: u32,
}

impl Screen {
    /// Standard output; colors unless it is no terminal or `NO_COLOR` is set.
    pub fn new() -> Self {
        Self {
            colors: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            step: 0,
        }
    }

    /// Begins the next numbered step.
    pub fn step(&mut self, title: impl Display) -> io::Result<()> {
        self.step += 1;
        let title = self.paint(BOLD, format!("{}. {title}", self.step));
        print(format!("\n{title}"))
    }

    /// A line without a step.
    pub fn title(&mut self, text: impl Display) -> io::Result<()> {
        print(self.paint(BOLD, text))
    }

    /// What a person would type; it may have several lines.
    pub fn command(&mut self, text: impl Display) -> io::Result<()> {
        let text = text.to_string().replace('\n', &format!("\n{INDENT}  "));
        print(format!("{INDENT}$ {}", self.paint(CYAN, text)))
    }

    /// What happened, or another program's output.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        text.to_string()
            .lines()
            .try_for_each(|line| print(format!("{INDENT}{line}").trim_end()))
    }

    /// What went as it should.
    pub fn good(&mut self, text: impl Display) -> io::Result<()> {
        print(format!("{INDENT}{}", self.paint(GREEN, text)))
    }

    /// An answer: the columns' names, and rows.
    pub fn table(&mut self, names: &[String], rows: &[Vec<String>]) -> io::Result<()> {
        if rows.is_empty() {
            return self.line("(none)");
        }
        aligned(names, rows)
            .into_iter()
            .try_for_each(|line| self.line(line))
    }

    fn paint(&self, color: &str, text: impl Display) -> String {
        if self.colors {
            format!("{color}{text}{PLAIN}")
        } else {
            text.to_string()
        }
    }
}

fn print(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Columns under their names; numbers to the right.
fn aligned(names: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let width = |column: usize| {
        cells(column)
            .chain(names.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let is_number = |column: usize| cells(column).all(|cell| cell.parse::<f64>().is_ok());
    let shapes: Vec<(usize, bool)> = (0..names.len())
        .map(|column| (width(column), is_number(column)))
        .collect();
    let line = |row: &Vec<String>| {
        let cell = |(cell, (width, number)): (&String, &(usize, bool))| {
            if *number {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        };
        row.iter()
            .zip(&shapes)
            .map(cell)
            .collect::<Vec<_>>()
            .join("   ")
    };
    std::iter::once(&names.to_vec())
        .chain(rows)
        .map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn numbers_stand_to_the_right_and_text_to_the_left() {
        let text = |row: [&str; 2]| row.map(str::to_owned).to_vec();
        let lines = aligned(
            &text(["item", "amount"]),
            &[text(["Rösti", "245.25"]), text(["Naan", "9.00"])],
        );
        assert_eq!(
            lines,
            ["item    amount", "Rösti   245.25", "Naan      9.00"]
        );
    }
}
