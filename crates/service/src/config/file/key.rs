//! A key: its meaning, the form of its value, its default and an example.
//!
//! The keys of a section are declared once. The parser, the list of valid names, the JSON Schema
//! and docs/configuration.md all come from this declaration.

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    /// What it decides, in sentences.
    pub about: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// The effect of leaving it out.
    pub default: Absent,
    /// A useful value; empty without one.
    pub example: &'static str,
    /// True when its value must never be shown.
    pub is_secret: bool,
}

/// The effect of leaving a key out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The feature that the key configures is off.
    Off,
    /// The effect of this value.
    Value(&'static str),
    /// An effect that follows from other keys or from the catalog, in words.
    Words(&'static str),
}

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Text,
    /// The path of a file or folder.
    Path,
    /// A whole number and its unit, as `500ms`.
    Duration,
    /// The same, or 0.
    DurationOrNever,
    /// The same, or a bare number of seconds.
    Seconds,
    /// A whole number and its unit, as `64MiB`.
    Size,
    /// A whole number from 1 on; `_` may group its digits.
    Count,
    /// The same, or -1.
    CountOrDefault,
    Port,
    Boolean,
    /// The IANA name of a time zone.
    Timezone,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One text, or a list of them.
    Texts,
    /// Names of another program's settings, with their values; these names are refused.
    Properties(fn() -> Vec<String>),
    Section(&'static [Key]),
    /// Names of tables, with these keys below each.
    Tables(&'static [Key]),
}

impl Key {
    /// A key with values of this form; name and meaning are the declaration's.
    pub(crate) const fn of(form: Form) -> Self {
        Self {
            name: "",
            about: "",
            form,
            default: Absent::Off,
            example: "",
            is_secret: false,
        }
    }

    pub(crate) const fn default(self, value: &'static str) -> Self {
        Self {
            default: Absent::Value(value),
            ..self
        }
    }

    pub(crate) const fn else_(self, words: &'static str) -> Self {
        Self {
            default: Absent::Words(words),
            ..self
        }
    }

    pub(crate) const fn example(self, value: &'static str) -> Self {
        Self {
            example: value,
            ..self
        }
    }

    pub(crate) const fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    /// The keys below it: of a section, or of a table.
    pub const fn below(&self) -> &'static [Self] {
        match self.form {
            Form::Section(keys) | Form::Tables(keys) => keys,
            _ => &[],
        }
    }
}

impl Form {
    /// The form in a user's words.
    pub fn words(self) -> String {
        let words = match self {
            Self::Text => "text",
            Self::Path => "path",
            Self::Duration => "duration",
            Self::DurationOrNever => "duration, or 0",
            Self::Seconds => "duration, or seconds",
            Self::Size => "size",
            Self::Count => "whole number from 1 on",
            Self::CountOrDefault => "whole number from 1 on, or -1",
            Self::Port => "1 to 65535",
            Self::Boolean => "`true` or `false`",
            Self::Timezone => "IANA name",
            Self::Choice(words) => {
                return words
                    .iter()
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
            }
            Self::Texts => "text, or a list",
            Self::Properties(_) => "names and values",
            Self::Section(_) => "keys",
            Self::Tables(_) => "names of tables, keys below each",
        };
        words.to_owned()
    }
}
