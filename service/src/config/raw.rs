//! The raw layer: every key of the configuration as located text, nothing interpreted.
//!
//! Promises: a later file overrides an earlier one key by key; blanks around a value are removed with a warning; an empty value counts as absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::problem::{Problem, Problems, Source};
use super::yaml::{Text, Word};

/// A part of the configuration that can be laid over the same part of an earlier file.
pub(super) trait Layer: Sized {
    /// Reads it as the value of a key; a section under which nothing stands counts as absent.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error>
    where
        Self: Deserialize<'de>,
    {
        Option::deserialize(deserializer)
    }

    /// Puts `self` over `base`: what is absent here stays as it is there.
    fn over(self, base: Self) -> Self;

    /// Says from which file it comes and tidies its values; nothing is left of a value that is empty.
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

impl<L: Layer> Layer for BTreeMap<Text, L> {
    fn over(self, mut base: Self) -> Self {
        for (key, layer) in self {
            let layer = match base.remove(&key) {
                Some(below) => layer.over(below),
                None => layer,
            };
            base.insert(key, layer);
        }
        base
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        let settled = self.into_iter().filter_map(|(key, layer)| {
            let key = key.settle(source, path, problems)?;
            let layer = layer.settle(source, &format!("{path}.{}", key.value), problems)?;
            Some((key, layer))
        });
        Some(settled.collect())
    }
}

impl Layer for Text {
    // Not through `Option`: a password that is `~` or `null`, put in for a variable, is a text like any other.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(Some)
    }

    fn over(self, _base: Self) -> Self {
        self
    }

    fn settle(mut self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        self.place = source.place(self.place.line, self.place.column);
        let trimmed = self.value.trim();
        if trimmed.len() < self.value.len() && !trimmed.is_empty() {
            // A blank may belong to a password, and to nothing else.
            if path.ends_with("password") {
                problems.warn(Problem::at(&self.place, format!("`{path}` starts or ends with a blank, which is taken as a part of it")));
            } else {
                problems.warn(Problem::at(&self.place, format!("blanks around `{path}` are ignored")));
                self.value = trimmed.to_owned();
            }
        }
        (!self.value.is_empty()).then_some(self)
    }
}

impl Layer for Word {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(|word| Some(word).filter(|word| word.0.is_some()))
    }

    fn over(self, base: Self) -> Self {
        Self(self.0.or(base.0))
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        Some(Self(self.0?.settle(source, path, problems)))
    }
}

/// One text or a list of them.
#[derive(Clone, Default)]
pub(super) struct Texts(pub Vec<Text>);

impl Texts {
    /// The texts' values.
    pub fn values(&self) -> Vec<String> {
        self.0.iter().map(|text| text.value.clone()).collect()
    }
}

impl Layer for Texts {
    fn over(self, _base: Self) -> Self {
        self
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        let texts: Vec<Text> = self.0.into_iter().filter_map(|text| text.settle(source, path, problems)).collect();
        (!texts.is_empty()).then_some(Self(texts))
    }
}

/// Declares a section: its keys once, for parsing, for overriding and for the list of valid names.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $(#[serde(deserialize_with = "Layer::read")] pub $key: Option<$type>),+
        }

        impl $name {
            /// The valid keys, in the order of the documentation.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];
        }

        impl Layer for $name {
            fn over(self, base: Self) -> Self {
                Self { $($key: self.$key.over(base.$key)),+ }
            }

            fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
                let dotted = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                Some(Self { $($key: self.$key.settle(source, &dotted(stringify!($key)), problems).flatten()),+ })
            }
        }
    };
}

section! {
    /// The whole file.
    RawConfig {
        pipeline: Text,
        postgres: RawPostgres,
        kafka: RawKafka,
        datalake: RawDatalake,
        streaming: RawStreaming,
        tables: BTreeMap<Text, Option<RawTable>>,
    }
}

section! {
    /// `postgres:`
    RawPostgres {
        jdbc_url: Text,
        url: Text,
        host: Text,
        port: Text,
        db: Text,
        table: Text,
        user: Text,
        password: Text,
        password_file: Text,
        read_url: Text,
    }
}

section! {
    /// `kafka:`
    RawKafka {
        brokers: Texts,
        topic: Text,
        partitions: Text,
        replication_factor: Text,
        group: Text,
        properties: BTreeMap<Text, Text>,
    }
}

section! {
    /// `datalake:`
    RawDatalake {
        path: Text,
        format: Text,
        timezone: Text,
    }
}

section! {
    /// `streaming:`
    RawStreaming {
        checkpoint_location: Text,
        last_processed_timestamp_location: Text,
        batch_interval: Text,
        poll_interval: Text,
        flush_interval: Text,
        sweep_interval: Text,
        discover_interval: Text,
        flush_rows: Text,
        flush_bytes: Text,
    }
}

section! {
    /// An entry of `tables:`
    RawTable {
        cursor: Text,
        key: Texts,
        date_column: Text,
        timezone: Text,
        topic: Text,
        rules: Texts,
        impossible_values: Word,
        skip: Text,
    }
}
