//! What the demo prints: numbered steps, commands, answers as tables. `anstream` removes the
//! colours unless standard output is a terminal and `NO_COLOR` is unset.

use std::fmt::Display;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use inlet_service::output::StdoutError;

use crate::text_table::text_table;

const TITLE: Style = Style::new().bold();
const COMMAND: Style = AnsiColor::Cyan.on_default();
const SUCCESS: Style = AnsiColor::Green.on_default();
const INDENT: &str = "    ";

/// Standard output, with the number of the last step.
#[derive(Default)]
pub struct Screen {
    step: u32,
}

impl Screen {
    /// Starts the next numbered step.
    pub fn step(&mut self, title: impl Display) -> Result<(), StdoutError> {
        self.step += 1;
        print(format!("\n{TITLE}{}. {title}{TITLE:#}", self.step))
    }

    /// Prints a line without a step.
    pub fn title(&mut self, text: impl Display) -> Result<(), StdoutError> {
        print(format!("{TITLE}{text}{TITLE:#}"))
    }

    /// Prints what a person would type; it may have several lines.
    pub fn command(&mut self, text: impl Display) -> Result<(), StdoutError> {
        let text = text.to_string().replace('\n', &format!("\n{INDENT}  "));
        print(format!("{INDENT}$ {COMMAND}{text}{COMMAND:#}"))
    }

    /// Prints what happened, or another program's output.
    pub fn line(&mut self, text: impl Display) -> Result<(), StdoutError> {
        for line in text.to_string().lines() {
            print(format!("{INDENT}{line}").trim_end())?;
        }
        Ok(())
    }

    /// Prints a result that is as expected.
    pub fn good(&mut self, text: impl Display) -> Result<(), StdoutError> {
        print(format!("{INDENT}{SUCCESS}{text}{SUCCESS:#}"))
    }

    /// Prints an answer: the columns' names and the rows, numbers to the right.
    pub fn table(&mut self, names: &[String], rows: &[Vec<String>]) -> Result<(), StdoutError> {
        if rows.is_empty() {
            return self.line("(no rows)");
        }
        let is_number = |column: &usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(*column));
            cells.all(|cell| cell.parse::<f64>().is_ok())
        };
        let numbers: Vec<usize> = (0..names.len()).filter(is_number).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.line(text_table(&names, &numbers, rows, 3))
    }
}

fn print(line: impl Display) -> Result<(), StdoutError> {
    Ok(writeln!(anstream::stdout(), "{line}")?)
}
