//! A section: keys that are declared once, for parsing, for overriding, for the list of valid names
//! and for the pages that are rendered from them.

use serde::{Deserialize, Deserializer};

use super::key::Key;
use super::problem::{Problems, Source};

/// A part of a configuration with declared keys.
pub(crate) trait Section: Layer + Default + for<'de> Deserialize<'de> {
    /// The valid keys, in the order of the documentation.
    const KEYS: &'static [Key];
}

/// A part of the configuration that can be laid over the same part of an earlier file.
pub(crate) trait Layer: Sized {
    /// Reads it as the value of a key; a section without keys counts as absent.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error>
    where
        Self: Deserialize<'de>,
    {
        Option::deserialize(deserializer)
    }

    /// Lays `self` over `base`: a key that is absent in `self` keeps its value in `base`.
    fn over(self, base: Self) -> Self;

    /// Stores from which file it comes and trims its values; an empty value becomes `None`.
    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self>;
}

impl<L: Layer> Layer for Option<L> {
    fn over(self, base: Self) -> Self {
        match (self, base) {
            (Some(layer), Some(base)) => Some(layer.over(base)),
            (layer, base) => layer.or(base),
        }
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        Some(self.and_then(|layer| layer.settle(source, path, problems)))
    }
}

/// The name of a key whose field may be called like a keyword of Rust: `r#where` is `where`.
pub(crate) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Declares a section: its keys once, for parsing, for overriding, for the list of valid names and
/// for what is rendered from them.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $about:literal])+ $key:ident: $type:ty = $form:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Default, Deserialize)]
        #[serde(default)]
        pub(crate) struct $name {
            $($(#[doc = $about])+ #[serde(deserialize_with = "Layer::read")] pub $key: Option<$type>),+
        }

        impl $crate::config::file::Section for $name {
            const KEYS: &'static [$crate::config::file::Key] = &[$($crate::config::file::Key { name: $crate::config::file::key_name(stringify!($key)), about: concat!($($about),+), ..$form }),+];
        }

        impl $crate::config::file::Layer for $name {
            fn over(self, base: Self) -> Self {
                Self { $($key: self.$key.over(base.$key)),+ }
            }

            fn settle(self, source: &$crate::config::file::Source, path: &str, problems: &mut $crate::config::file::Problems) -> Option<Self> {
                let dotted = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                Some(Self { $($key: self.$key.settle(source, &dotted($crate::config::file::key_name(stringify!($key))), problems).flatten()),+ })
            }
        }
    };
}

pub(crate) use section;
