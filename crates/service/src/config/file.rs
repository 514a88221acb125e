//! Reads configuration files into declared sections: it knows YAML, places, layers and variables,
//! and nothing of what Inlet configures.
//!
//! The way of a value: [`yaml`] turns a text into a section of located texts, [`Layer::over`] lays
//! the sections of several files over each other, and the section's owner checks the result. A
//! [`Section`] is the one declaration of its keys: [`schema`] and the documentation are rendered
//! from it.

mod from_file;
mod key;
mod problem;
mod read;
pub(crate) mod schema;
mod section;
mod shape;
mod text;
mod yaml;

pub(crate) use from_file::value as value_from_file;
pub use key::{Absent, Form, Key};
pub use problem::{ConfigError, Place, Problem};
pub(crate) use problem::{Problems, Source};
pub(crate) use read::{Unreadable, read};
pub(crate) use section::{Layer, Section, key_name, section};
pub(crate) use text::{Text, Texts, Word};
pub(crate) use yaml::read as read_yaml;
