//! A key: its meaning, the form of its value, its default and an example.
//!
//! The keys of a section are declared once. The parser, the list of valid names, the JSON Schema and
//! docs/configuration.md all come from this declaration.

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it decides, in sentences.
    pub about: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// What holds where it is left out.
    pub default: Absent,
    /// A value that somebody might want; empty for none.
    pub example: &'static str,
    /// True when its value must never be shown.
    pub is_secret: bool,
}

/// What holds where a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nothing: what it would say is not so.
    Nothing,
    /// The same as with this value.
    Value(&'static str),
    /// What these words say; it follows from other keys or from the catalog.
    Words(&'static str),
}

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// Any text.
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
    /// A TCP port.
    Port,
    /// `true` or `false`.
    Boolean,
    /// The IANA name of a time zone.
    Timezone,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One text, or a list of them.
    Texts,
    /// Names of another program's settings, with their values; these names are refused.
    Properties(fn() -> Vec<String>),
    /// Keys below it.
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
            default: Absent::Nothing,
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
