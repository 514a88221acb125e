//! The words of a condition that make its answer change while the row stays as it is: the time, the
//! session, other rows. Pure.
//!
//! It reads SQL as far as it must: what is in quotes and in comments is no word. PostgreSQL's
//! catalog has the functions that are volatile; the time is only stable there, because it means one
//! statement.

/// Keywords, and functions that PostgreSQL calls stable within a statement.
const UNSTABLE: [&str; 24] = [
    "select",
    "now",
    "age",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "transaction_timestamp",
    "statement_timestamp",
    "current_user",
    "current_role",
    "session_user",
    "user",
    "current_catalog",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_setting",
    "txid_current_if_assigned",
    "pg_current_snapshot",
    "pg_has_role",
    "has_table_privilege",
    "inet_client_addr",
];
/// Texts that mean a moment where a date or timestamp is expected.
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// A part of a condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A name or keyword, folded unless it is in quotes.
    Name {
        text: String,
        /// True when a bracket follows: a function's name.
        is_called: bool,
        is_quoted: bool,
    },
    /// A text in quotes.
    Literal(String),
}

impl Word {
    pub(super) fn is_unstable(&self) -> bool {
        match self {
            Self::Name {
                text,
                is_called,
                is_quoted,
            } => {
                UNSTABLE.contains(&text.as_str())
                    && (*is_called || !*is_quoted && text != "now" && text != "age")
            }
            Self::Literal(text) => MOMENTS.contains(&text.trim().to_lowercase().as_str()),
        }
    }

    /// The name of a function.
    pub(super) fn called(&self) -> Option<&str> {
        match self {
            Self::Name {
                text,
                is_called: true,
                ..
            } => Some(text),
            _ => None,
        }
    }

    /// The word for a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name { text, .. } => format!("`{text}`"),
            Self::Literal(text) => format!("`'{text}'`"),
        }
    }
}

/// The names and texts of a condition, in order.
pub(super) fn words(condition: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = condition;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '\'' | '"' => {
                let (text, length) = quoted(rest, first);
                words.push(match first {
                    '"' => Word::Name {
                        text,
                        is_called: is_called(&rest[length..]),
                        is_quoted: true,
                    },
                    _ => Word::Literal(text),
                });
                length
            }
            _ if first.is_alphabetic() || first == '_' => {
                let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                words.push(Word::Name {
                    text: rest[..length].to_lowercase(),
                    is_called: is_called(&rest[length..]),
                    is_quoted: false,
                });
                length
            }
            other => other.len_utf8(),
        };
        rest = &rest[length..];
    }
    words
}

fn is_called(rest: &str) -> bool {
    rest.trim_start().starts_with('(')
}

/// A comment's length; comments of SQL contain comments.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A text in quotes, and its length with them. Two quotes in it are one.
fn quoted(text: &str, quote: char) -> (String, usize) {
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, found)) = chars.next() {
        if found != quote {
            inside.push(found);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            inside.push(quote);
            chars.next();
        } else {
            return (inside, at + 1);
        }
    }
    (inside, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstable(condition: &str) -> Option<String> {
        let words = words(condition);
        words
            .iter()
            .find(|word| word.is_unstable())
            .map(Word::shown)
    }

    #[test]
    fn the_time_and_other_rows_are_found_wherever_they_are() {
        for (condition, word) in [
            ("created_at > NOW() - interval '1 day'", "`now`"),
            (
                "a = 1 and created_at::date = current_DATE",
                "`current_date`",
            ),
            ("created_at > 'Today'", "`'Today'`"),
            ("id IN (SELECT id FROM other)", "`select`"),
            ("/* a /* b */ c */ now () > x", "`now`"),
            ("a = 'it''s' AND age(born) > x", "`age`"),
            ("\"now\"() > x", "`now`"),
        ] {
            assert_eq!(unstable(condition).as_deref(), Some(word), "{condition}");
        }
    }

    #[test]
    fn what_is_in_quotes_and_comments_is_no_word() {
        for condition in [
            "state = 'select now()' -- now()",
            "\"current_date\" > '2020-01-01' /* now() */",
            "\"select\" = 1 AND now_at IS NULL AND selected AND age > 17",
        ] {
            assert_eq!(unstable(condition), None, "{condition}");
        }
    }
}
