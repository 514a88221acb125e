//! The CSV that `duckdb` and `psql` print, as rows of text.
//!
//! The crate `csv` skips empty lines. Here such a line is a row: both programs print a null in a
//! single column as one.

/// Splits CSV (RFC 4180, either line end) into rows; an empty line is a row of one empty value.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut value = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                value.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut value)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut value));
                rows.push(std::mem::take(&mut row));
            }
            other => value.push(other),
        }
    }
    if !value.is_empty() || !row.is_empty() {
        row.push(value);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn quotes_commas_and_line_ends_inside_values_stay() {
        assert_eq!(
            rows("1,\"a,\"\"b\"\"\nc\",\r\n2,,x\n"),
            [["1", "a,\"b\"\nc", ""], ["2", "", "x"]]
        );
    }

    #[test]
    fn an_empty_value_alone_is_a_row() {
        assert_eq!(rows("\n\"\"\n"), [[""], [""]]);
        assert!(rows("").is_empty());
        assert_eq!(rows("7"), [["7"]]);
    }
}
