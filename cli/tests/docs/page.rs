//! A page of Markdown taken apart, and what counts as the same output.

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The word after the fence, such as `sh`, `text` or `yaml`.
    pub language: String,
    /// The line of its first line, from 1.
    pub line: usize,
    pub text: String,
}

/// The fenced blocks of a page, in order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.trim().to_owned(),
                    line: at + 2,
                    text: String::new(),
                })
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed: {open:?}");
    blocks
}

/// The commands in indented blocks, which no test runs.
pub fn unfenced_commands(page: &str) -> Vec<&str> {
    const PROGRAMS: [&str; 14] = [
        "inlet",
        "make",
        "cargo",
        "psql",
        "duckdb",
        "docker",
        "kubectl",
        "systemctl",
        "curl",
        "kcat",
        "apt-get",
        "pip",
        "createdb",
        "git",
    ];
    let mut is_fenced = false;
    let is_command = |line: &&str| {
        line.split_whitespace()
            .next()
            .is_some_and(|first| PROGRAMS.contains(&first))
    };
    let outside = page.lines().filter(|line| {
        is_fenced ^= line.starts_with("```");
        !is_fenced && line.starts_with("    ")
    });
    outside.filter(is_command).collect()
}

/// Whether a page shows this output: digits, the widths of columns and the parts after a line
/// `...` may differ.
pub fn shows(page: &str, output: &str) -> bool {
    let output = masked(output);
    let expected = masked(page);
    let mut parts = expected.split(|line| line == "...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = output.strip_prefix(first) else {
        return false;
    };
    let mut last: Option<&[String]> = None;
    for part in parts {
        // What stood before may stand anywhere from here on, this one perhaps at the end.
        if let Some(before) = last.replace(part) {
            let Some(at) = rest
                .windows(before.len().max(1))
                .position(|window| window == before)
            else {
                return before.is_empty();
            };
            rest = &rest[at + before.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// The lines with one `0` for every number, and one blank or dash for every run of them.
fn masked(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut masked = String::new();
        for c in line.trim().chars() {
            let c = if c.is_ascii_digit() { '0' } else { c };
            if !("0 ─-".contains(c) && masked.ends_with(c)) {
                masked.push(c);
            }
        }
        lines.push(masked);
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[test]
fn a_page_is_taken_apart() {
    let page = "# A\n\n```sh\nls\n```\n\n```text\na\nb\n```\n    make test\n    a diagram\n";
    let found = blocks(page);
    let shown: Vec<_> = found
        .iter()
        .map(|block| (block.language.as_str(), block.line, block.text.as_str()))
        .collect();
    assert_eq!(shown, [("sh", 4, "ls\n"), ("text", 8, "a\nb\n")]);
    assert_eq!(unfenced_commands(page), ["    make test"]);
}

#[test]
fn an_output_is_shown_when_only_numbers_and_widths_differ() {
    assert!(shows(
        "orders: 12 rows\n│ a  │\n",
        "orders: 3 rows\n│ a │\n"
    ));
    assert!(!shows("orders: 12 rows\n", "orders: 12 rows, 1 lost\n"));
    assert!(!shows("a\n", "a\nb\n") && !shows("a\nb\n", "a\n"));
}

#[test]
fn three_points_match_any_lines() {
    assert!(
        shows("a\n...\nc\n", "a\nb\nb\nc\n")
            && shows("a\n...\n", "a\n")
            && shows("...\nc\n", "b\nc\n")
    );
    assert!(shows("a\n...\nc\n...\ne\n", "a\nb\nc\nd\ne\n"));
    assert!(!shows("a\n...\nc\n", "a\nb\n") && !shows("a\n...\nc\n...\ne\n", "a\nb\nd\ne\n"));
}
