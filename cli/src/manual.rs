//! `inlet completions`, `inlet man` and `inlet schema`: the command line and the configuration, for
//! shells, `man` and editors.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use inlet_service::output;

use crate::args::Arguments;
use crate::failure::{Outcome, SystemError};

pub fn completions(shell: Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "inlet", &mut text);
    print(&text)
}

/// Prints the manual page: the general one, then one section a verb.
pub fn page() -> Outcome {
    let mut text = Vec::new();
    render(&mut text).map_err(|source| SystemError {
        act: "write the manual page",
        source,
    })?;
    print(&text)
}

/// Prints the configuration's JSON Schema.
pub fn schema() -> Outcome {
    print(inlet_service::config::schema().as_bytes())
}

fn render(text: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(text)?;
    for verb in command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
    {
        writeln!(text, ".SH \"INLET {}\"", verb.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(verb.clone());
        page.render_synopsis_section(text)?;
        page.render_description_section(text)?;
        page.render_options_section(text)?;
        page.render_extra_section(text)?;
    }
    Ok(())
}

fn print(text: &[u8]) -> Outcome {
    output::stdout(text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_has_every_verb() {
        let mut text = Vec::new();
        render(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for verb in Arguments::command().get_subcommands() {
            assert!(
                text.contains(&format!("INLET {}", verb.get_name().to_uppercase())),
                "{}",
                verb.get_name()
            );
        }
        assert!(text.contains("\\-\\-config"), "the page has options");
    }
}
