//! The keys of Inlet's configuration, nothing interpreted: what each means, the form of its value and
//! its default are declared here, and rendered from here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::{Form, Key, Layer, Section, Text, Texts, Word, section};
use super::kafka;

section! {
    /// The whole file.
    RawConfig {
        /// The pipeline's name: it names the control topic, the transactional id and the consumer
        /// group. Letters, digits, `.`, `_` and `-`.
        pipeline: Text = Key::of(Form::Text).else_("`kafka.topic`, else the database's name").example("shop"),
        /// Where the database is, and as whom to connect.
        postgres: RawPostgres = Key::of(Form::Section(<RawPostgres as Section>::KEYS)),
        /// The broker between the two services; without this section `inlet run` needs none.
        kafka: RawKafka = Key::of(Form::Section(<RawKafka as Section>::KEYS)),
        /// Where the tables land.
        datalake: RawDatalake = Key::of(Form::Section(<RawDatalake as Section>::KEYS)),
        /// How often, and how much at once.
        streaming: RawStreaming = Key::of(Form::Section(<RawStreaming as Section>::KEYS)),
        /// The tables, and what is special about each. A name is written as in SQL: folded first,
        /// then taken exactly; a schema in front where it is not `public`. `shop.*` stands for
        /// every table of a schema, also for those that are made later.
        tables: BTreeMap<Text, Option<RawTable>> = Key::of(Form::Tables(<RawTable as Section>::KEYS)),
    }
}

section! {
    /// `postgres:`
    RawPostgres {
        /// The address as Java programs write it. Of its parameters these are understood: `user`,
        /// `password`, `host`, `port`, `dbname`, `sslmode`, `sslrootcert`, `ssl`. What is given in
        /// several ways must agree.
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
        properties: BTreeMap<Text, Text> = Key::of(Form::Properties(kafka::refused_names)).secret(),
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
