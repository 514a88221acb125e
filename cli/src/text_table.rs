//! Text in columns, for terminals.

use comfy_table::{CellAlignment, Table, presets};
use inlet_model::printable;

/// Lays rows out below their headings, with `gap` blanks between columns. The columns at the
/// positions of `numbers` are aligned to the right.
pub fn text_table(headings: &[&str], numbers: &[usize], rows: &[Vec<String>], gap: u16) -> String {
    // A line feed in a name would break the line of its table.
    let shown = |cell: &String| printable(cell).into_owned();
    let rows = rows
        .iter()
        .map(|row| row.iter().map(shown).collect::<Vec<_>>());
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(headings)
        .add_rows(rows);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, gap));
        if numbers.contains(&position) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // The last column has a gap too; without it a line ends with its text.
    table
        .trim_fmt()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// A span of time in the unit that people would choose, with tenths of a second: freshness is
/// often below one second, where `indicatif::HumanDuration` shows whole seconds.
pub fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds if seconds < 3600.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right_and_text_to_the_left() {
        let rows = [
            vec!["orders".to_owned(), "1000".to_owned(), "x".to_owned()],
            vec!["ä".to_owned(), "7".to_owned(), String::new()],
        ];
        assert_eq!(
            text_table(&["TABLE", "ROWS", "Z"], &[1], &rows, 2),
            "TABLE   ROWS  Z\norders  1000  x\nä          7\n"
        );
    }

    #[test]
    fn a_name_with_a_line_feed_stays_in_its_line() {
        let rows = [vec!["a\nb".to_owned(), "1".to_owned()]];
        assert_eq!(
            text_table(&["TABLE", "ROWS"], &[1], &rows, 2),
            "TABLE  ROWS\na\\nb      1\n"
        );
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(
            [span(0.25), span(90.0), span(7200.0), span(300_000.0)],
            ["0.2 s", "2 min", "2 h", "3 days"]
        );
    }
}
