//! The raw layer: every key of the configuration as located text, nothing interpreted.
//!
//! This is the one declaration of the keys: what each means, the form of its value and its default
//! stand here, and are rendered from here.
//!
//! Promises: a later file overrides an earlier one key by key; blanks around a value are removed
//! with a warning; an empty value counts as absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::key::{Form, Key};
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

    /// Says from which file it comes and tidies its values; nothing is left of a value that is
    /// empty.
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
    // Not through `Option`: a password that is `~` or `null`, put in for a variable, is a text like
    // any other.
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
                problems.warn(Problem::at(
                    &self.place,
                    format!("`{path}` starts or ends with a blank, which is taken as a part of it"),
                ));
            } else {
                problems.warn(Problem::at(
                    &self.place,
                    format!("blanks around `{path}` are ignored"),
                ));
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
        let texts: Vec<Text> = self
            .0
            .into_iter()
            .filter_map(|text| text.settle(source, path, problems))
            .collect();
        (!texts.is_empty()).then_some(Self(texts))
    }
}

/// Declares a section: its keys once, for parsing, for overriding, for the list of valid names and
/// for what is rendered from them.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $about:literal])+ $key:ident: $type:ty = $form:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $($(#[doc = $about])+ #[serde(deserialize_with = "Layer::read")] pub $key: Option<$type>),+
        }

        impl $name {
            /// The valid keys, in the order of the documentation.
            pub const KEYS: &'static [Key] = &[$(Key { name: stringify!($key), about: concat!($($about),+), ..$form }),+];
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
        /// The pipeline's name: it names the control topic, the transactional id and the consumer
        /// group. Letters, digits, `.`, `_` and `-`.
        pipeline: Text = Key::of(Form::Text).else_("`kafka.topic`, else the database's name").example("shop"),
        /// Where the database is, and as whom to connect.
        postgres: RawPostgres = Key::of(Form::Section(RawPostgres::KEYS)),
        /// The broker between the two services; without this section `inlet run` needs none.
        kafka: RawKafka = Key::of(Form::Section(RawKafka::KEYS)),
        /// Where the tables land.
        datalake: RawDatalake = Key::of(Form::Section(RawDatalake::KEYS)),
        /// How often, and how much at once.
        streaming: RawStreaming = Key::of(Form::Section(RawStreaming::KEYS)),
        /// The tables, and what is special about each. A name is written as in SQL: folded first,
        /// then taken exactly; a schema in front where it is not `public`. `shop.*` stands for
        /// every table of a schema, also for those that are made later.
        tables: BTreeMap<Text, Option<RawTable>> = Key::of(Form::Tables(RawTable::KEYS)),
    }
}

section! {
    /// `postgres:`
    RawPostgres {
        /// The address as Java programs write it. Of its parameters these are understood: `user`,
        /// `password`, `host`, `dbname`, `sslmode`, `sslrootcert`, `ssl`. What is given in several
        /// ways must agree.
        jdbc_url: Text = Key::of(Form::Text).example("jdbc:postgresql://localhost:5432/shop").secret(),
        /// The address as PostgreSQL's own programs write it; the same parameters.
        url: Text = Key::of(Form::Text).example("postgresql://inlet@localhost:5432/shop?sslmode=require").secret(),
        /// A file that holds `url`.
        url_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-url"),
        /// The server's name or address, or the folder of its Unix socket.
        host: Text = Key::of(Form::Text).example("localhost"),
        /// The server's port.
        port: Text = Key::of(Form::Port).default("5432").example("5433"),
        /// The database.
        db: Text = Key::of(Form::Text).example("shop"),
        /// One table; with `tables:` beside it, it is captured as well.
        table: Text = Key::of(Form::Text).example("orders"),
        /// The role. It needs `SELECT` on the tables, and should be a member of
        /// `pg_read_all_stats`.
        user: Text = Key::of(Form::Text).example("inlet"),
        /// A file that holds `user`.
        user_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-user"),
        /// The role's password, where it needs one.
        password: Text = Key::of(Form::Text).example("${PGPASSWORD:-}").secret(),
        /// A file that holds `password`.
        password_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-password"),
        /// A hot standby to read rows from; what its address does not say is as above.
        read_url: Text = Key::of(Form::Text).else_("rows are read from the primary").example("postgresql://standby:5432").secret(),
        /// A file that holds `read_url`.
        read_url_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-read-url"),
    }
}

section! {
    /// `kafka:`
    RawKafka {
        /// The brokers to begin with, as `host:port`; several as a list or with commas.
        brokers: Texts = Key::of(Form::Texts).example("localhost:9092"),
        /// The topic, for a pipeline of one table.
        topic: Text = Key::of(Form::Text).else_("`<pipeline>.<table>`").example("orders"),
        /// Partitions of a topic that Inlet creates.
        partitions: Text = Key::of(Form::Count).default("1").example("3"),
        /// Replicas of a topic that Inlet creates; -1 is the broker's own default.
        replication_factor: Text = Key::of(Form::CountOrDefault).default("-1").example("3"),
        /// The consumer group.
        group: Text = Key::of(Form::Text).else_("`inlet-<pipeline>`").example("inlet-shop"),
        /// Properties of librdkafka, for TLS and SASL. `<property>_file` takes the value of a
        /// property from a file. Those that the promises rest on are refused.
        properties: BTreeMap<Text, Text> = Key::of(Form::Properties).secret(),
    }
}

section! {
    /// `datalake:`
    RawDatalake {
        /// The lake's folder: that of the table, or, with several tables, with a folder for each
        /// below it. Local, or mounted.
        path: Text = Key::of(Form::Path).example("./datalake"),
        /// The format of data files.
        format: Text = Key::of(Form::Choice(&["parquet"])).default("parquet"),
        /// Where a day begins, for the folders `date=..`.
        timezone: Text = Key::of(Form::Timezone).default("UTC").example("Asia/Kolkata"),
    }
}

section! {
    /// `streaming:`
    RawStreaming {
        /// A file or folder for a readable copy of the consumer's offsets; the truth is in the
        /// lake's log.
        checkpoint_location: Text = Key::of(Form::Path).else_("no copy").example("./state/offsets.json"),
        /// A file or folder for a readable copy of the producer's position; the truth is in the
        /// sink.
        last_processed_timestamp_location: Text = Key::of(Form::Path).else_("no copy").example("./state/position.json"),
        /// Sets `poll_interval` and `flush_interval` where they are not given.
        batch_interval: Text = Key::of(Form::Seconds).example("5"),
        /// The longest pause between two polls when nothing changes.
        poll_interval: Text = Key::of(Form::Duration).default("250ms").example("100ms"),
        /// The longest time that a row waits for its commit to the lake. Shorter is fresher, with
        /// more and smaller files.
        flush_interval: Text = Key::of(Form::Duration).default("1s").example("30s"),
        /// How often a whole table is read for rows that their timestamps hide, and for updates
        /// that do not move the cursor.
        sweep_interval: Text = Key::of(Form::Duration).default("1h").example("10m"),
        /// How often the catalog is asked for new tables that a pattern means; 0: only at the
        /// start.
        discover_interval: Text = Key::of(Form::DurationOrNever).default("60s").example("10s"),
        /// A commit comes earlier with so many rows in memory.
        flush_rows: Text = Key::of(Form::Count).default("1_000_000").example("100_000"),
        /// A commit comes earlier with so many bytes in memory.
        flush_bytes: Text = Key::of(Form::Size).default("128MiB").example("32MiB"),
    }
}

section! {
    /// An entry of `tables:`
    RawTable {
        /// The timestamp or date column by which new rows are found.
        cursor: Text = Key::of(Form::Text).else_("an indexed timestamp column of the catalog").example("updated_at"),
        /// The columns that tell one row from another.
        key: Texts = Key::of(Form::Texts).else_("the primary key").example("[order_id]"),
        /// The column whose date chooses the folder `date=..`.
        date_column: Text = Key::of(Form::Text).else_("`created_at` and its like, else the first timestamp, else the first date").example("created_at"),
        /// Where a day of this table begins.
        timezone: Text = Key::of(Form::Timezone).else_("`datalake.timezone`").example("Europe/Berlin"),
        /// Its topic.
        topic: Text = Key::of(Form::Text).else_("`<pipeline>.<table>`").example("shop.orders"),
        /// What must be true of a row that enters the lake; one that breaks a rule goes to
        /// quarantine, whole and counted.
        rules: Texts = Key::of(Form::Texts).else_("every row enters").example("[amount >= 0]"),
        /// What becomes of a value that the lake's type cannot hold, as `infinity` in a timestamp
        /// or `NaN` in a `numeric(p,s)`: its row goes to quarantine, null is written, or every such
        /// column is text.
        impossible_values: Word = Key::of(Form::Choice(&["quarantine", "null", "text"])).default("quarantine").example("text"),
        /// What a pattern beside it must not take.
        skip: Text = Key::of(Form::Boolean).default("false").example("true"),
    }
}
