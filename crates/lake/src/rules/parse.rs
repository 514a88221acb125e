//! The grammar of a rule.

use inlet_model::Identifier;
use regex::Regex;

use super::RuleError;

#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// The rule as written, which is the reason of a rejected row.
    pub text: String,
    pub column: Identifier,
    pub test: Test,
}

/// The condition on the column.
#[derive(Debug, Clone)]
pub(super) enum Test {
    NotNull,
    /// `= != <> < <= > >=`.
    Compare(Comparison, Literal),
    /// `[not] between a and b`, both ends included.
    Between {
        low: Literal,
        high: Literal,
        negated: bool,
    },
    /// `[not] in (..)`.
    In {
        values: Vec<Literal>,
        negated: bool,
    },
    /// `~ 'pattern'`.
    Matches(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A literal as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    /// In quotes; the quotes are removed.
    Text(String),
    /// A bare number, or `true` or `false`.
    Bare(String),
}

impl Literal {
    /// The text, without quotes.
    pub fn text(&self) -> &str {
        let (Self::Text(text) | Self::Bare(text)) = self;
        text
    }
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Bare(text) => f.write_str(text),
        }
    }
}

pub(super) fn rule(text: &str) -> Result<Rule, RuleError> {
    let mut reader = Reader {
        rule: text,
        rest: text,
    };
    let column = reader.identifier()?;
    let test = reader.test()?;
    reader.skip_space();
    if !reader.rest.is_empty() {
        return Err(reader.error("the end of the rule"));
    }
    Ok(Rule {
        text: text.trim().to_owned(),
        column,
        test,
    })
}

struct Reader<'a> {
    rule: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn test(&mut self) -> Result<Test, RuleError> {
        if self.keyword("is") {
            return if self.keyword("not") && self.keyword("null") {
                Ok(Test::NotNull)
            } else {
                Err(self.error("`is not null`"))
            };
        }
        if self.symbol("~") {
            return self.pattern().map(Test::Matches);
        }
        let negated = self.keyword("not");
        if self.keyword("between") {
            let low = self.literal()?;
            if !self.keyword("and") {
                return Err(self.error("`and`"));
            }
            return Ok(Test::Between {
                low,
                high: self.literal()?,
                negated,
            });
        }
        if self.keyword("in") {
            return Ok(Test::In {
                values: self.list()?,
                negated,
            });
        }
        if negated {
            return Err(self.error("`in` or `between`"));
        }
        let comparison = self.comparison()?;
        Ok(Test::Compare(comparison, self.literal()?))
    }

    fn comparison(&mut self) -> Result<Comparison, RuleError> {
        const SYMBOLS: [(&str, Comparison); 7] = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<>", Comparison::NotEqual),
            ("!=", Comparison::NotEqual),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = SYMBOLS
            .into_iter()
            .find(|(symbol, _)| self.symbol(symbol))
            .map(|(_, comparison)| comparison);
        found.ok_or_else(|| self.error("a comparison"))
    }

    fn list(&mut self) -> Result<Vec<Literal>, RuleError> {
        if !self.symbol("(") {
            return Err(self.error("`(`"));
        }
        let mut values = vec![self.literal()?];
        while self.symbol(",") {
            values.push(self.literal()?);
        }
        if self.symbol(")") {
            Ok(values)
        } else {
            Err(self.error("`,` or `)`"))
        }
    }

    fn pattern(&mut self) -> Result<Regex, RuleError> {
        let Literal::Text(pattern) = self.literal()? else {
            return Err(self.error("a pattern in quotes"));
        };
        Regex::new(&pattern).map_err(|error| RuleError::Pattern {
            rule: self.rule.to_owned(),
            why: error.to_string(),
        })
    }

    fn identifier(&mut self) -> Result<Identifier, RuleError> {
        self.skip_space();
        if self.rest.starts_with('"') {
            return self.quoted('"', "a closing `\"`").map(Identifier::exact);
        }
        let starts = self
            .rest
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(self.rest.len());
        if !starts {
            return Err(self.error("a column"));
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Identifier::parse(word).map_err(|_| self.error("a column"))
    }

    fn literal(&mut self) -> Result<Literal, RuleError> {
        self.skip_space();
        if self.rest.starts_with('\'') {
            return self.quoted('\'', "a closing `'`").map(Literal::Text);
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || ['+', '-', '.', '_'].contains(&c)))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let number = word
            .trim_start_matches(['+', '-'])
            .starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let truth = word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false");
        if !number && !truth {
            return Err(self.error("a number, true, false or a text in single quotes"));
        }
        self.rest = rest;
        Ok(Literal::Bare(word.to_owned()))
    }

    /// Reads text between two marks; a mark that is written two times is part of the text.
    fn quoted(&mut self, mark: char, expected: &'static str) -> Result<String, RuleError> {
        let mut text = String::new();
        let mut rest = &self.rest[mark.len_utf8()..];
        while let Some((part, after)) = rest.split_once(mark) {
            text.push_str(part);
            match after.strip_prefix(mark) {
                Some(more) => {
                    text.push(mark);
                    rest = more;
                }
                None => {
                    self.rest = after;
                    return Ok(text);
                }
            }
        }
        Err(self.error(expected))
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(head) = self.rest.get(..word.len()) else {
            return false;
        };
        let after = &self.rest[word.len()..];
        let found = head.eq_ignore_ascii_case(word)
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if found {
            self.rest = after;
        }
        found
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn error(&self, expected: &'static str) -> RuleError {
        let at = if self.rest.is_empty() {
            "the end"
        } else {
            self.rest
        };
        RuleError::Syntax {
            rule: self.rule.to_owned(),
            at: at.to_owned(),
            expected,
        }
    }
}
