//! The keys of Inlet's configuration, nothing interpreted: what each means, the form of its value
//! and its default are declared here, and rendered from here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::{Form, Key, Layer, Section, Text, Texts, Word, section};
use super::refused::refused_names;
use super::words::{CLEANUP, DECIMALS, FORMATS, TIMES, WRITERS};

section! {
    /// The keys of the whole file.
    RawConfig {
        /// The pipeline's name: it names the control topic, the transactional id and the consumer
        /// group. Letters, digits, `.`, `_` and `-`.
        pipeline: Text = Key::of(Form::Text)
            .else_("`kafka.topic`, else the database's name")
            .example("shop"),
        /// The database, and the role to connect as.
        postgres: RawPostgres = Key::of(Form::Section(<RawPostgres as Section>::KEYS)),
        /// The broker between the two services; `inlet run` works without this section and
        /// without a broker.
        kafka: RawKafka = Key::of(Form::Section(<RawKafka as Section>::KEYS)),
        /// How envelopes of Debezium are written: ours in the format `debezium`, and those of a
        /// connector, which the consumer reads.
        debezium: RawDebezium = Key::of(Form::Section(<RawDebezium as Section>::KEYS)),
        /// The lake that the tables are written to.
        datalake: RawDatalake = Key::of(Form::Section(<RawDatalake as Section>::KEYS)),
        /// Intervals, and the size of a commit.
        streaming: RawStreaming = Key::of(Form::Section(<RawStreaming as Section>::KEYS)),
        /// The tables, and the settings of each. Write a name as in SQL: Inlet first folds it to
        /// lower case, then looks for it exactly; write the schema in front if it is not `public`.
        /// `shop.*` means every table of a schema, also tables that are created later.
        tables: BTreeMap<Text, Option<RawTable>> =
            Key::of(Form::Tables(<RawTable as Section>::KEYS)),
    }
}

section! {
    /// The keys below `postgres:`.
    RawPostgres {
        /// The address as Java programs write it, with the parameters `user`, `password`, `host`,
        /// `port`, `dbname`, `sslmode`, `sslrootcert` and `ssl`. A value that is given in several
        /// ways must be the same in each.
        jdbc_url: Text = Key::of(Form::Text)
            .example("jdbc:postgresql://localhost:5432/shop")
            .secret(),
        /// The address as PostgreSQL's own programs write it, with the same parameters.
        url: Text = Key::of(Form::Text)
            .example("postgresql://inlet@localhost:5432/shop?sslmode=require")
            .secret(),
        /// A file that holds `url`.
        url_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-url"),
        /// The server's name or address, or the folder of its Unix socket.
        host: Text = Key::of(Form::Text).example("localhost"),
        /// The port that the server listens on.
        port: Text = Key::of(Form::Port).default("5432").example("5433"),
        /// The name of the database.
        db: Text = Key::of(Form::Text).example("shop"),
        /// A single table. It is captured together with those below `tables:`.
        table: Text = Key::of(Form::Text).example("orders"),
        /// The role. It needs `SELECT` on the tables, and should be a member of
        /// `pg_read_all_stats`.
        user: Text = Key::of(Form::Text).example("inlet"),
        /// A file that holds `user`.
        user_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-user"),
        /// The role's password, if it needs one.
        password: Text = Key::of(Form::Text).example("${PGPASSWORD:-}").secret(),
        /// A file that holds `password`.
        password_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-password"),
        /// A hot standby to read rows from; its address takes what it lacks from the keys above.
        read_url: Text = Key::of(Form::Text)
            .else_("rows are read from the primary")
            .example("postgresql://standby:5432")
            .secret(),
        /// A file that holds `read_url`.
        read_url_file: Text = Key::of(Form::Path).example("/run/secrets/postgres-read-url"),
        /// The secret of `tables.<name>.hash_columns`, 16 characters or more. With another secret
        /// the same values get other hashes, and the tables are loaded again.
        hash_key: Text = Key::of(Form::Text).example("${INLET_HASH_KEY}").secret(),
        /// A file that holds `hash_key`.
        hash_key_file: Text = Key::of(Form::Path).example("/run/secrets/inlet-hash-key"),
    }
}

section! {
    /// The keys below `kafka:`.
    RawKafka {
        /// The brokers to connect to first, as `host:port`; separate several with commas, or
        /// write a list.
        brokers: Texts = Key::of(Form::Texts).example("localhost:9092"),
        /// The topic, for a pipeline of one table.
        topic: Text = Key::of(Form::Text).else_("`<pipeline>.<table>`").example("orders"),
        /// The names of the topics, with `{pipeline}`, `{schema}` and `{table}` in them.
        topic_template: Text = Key::of(Form::Text)
            .else_("`<pipeline>.<table>`")
            .example("'{pipeline}.{schema}.{table}'"),
        /// The format of the records of every table: `json` is a flat object of the row, `arrow` a
        /// batch of many rows, `plain` JSON with numbers for `numeric`, `debezium` the envelope of
        /// Debezium. See docs/formats.md.
        format: Word = Key::of(Form::Choice(FORMATS)).default("json").example("debezium"),
        /// The program that writes the topics. With `debezium` the consumer reads the topics of
        /// Debezium's connector, and no producer runs.
        written_by: Word = Key::of(Form::Choice(WRITERS)).default("inlet").example("debezium"),
        /// The columns of the keys of the messages, where that is not the key of the row. Messages
        /// with equal keys are in one partition.
        topic_key: Texts = Key::of(Form::Texts).else_("the key of the row").example("[customer_id]"),
        /// Partitions of a topic that Inlet creates.
        partitions: Text = Key::of(Form::Count).default("1").example("3"),
        /// Replicas of a topic that Inlet creates; -1 is the broker's own default.
        replication_factor: Text = Key::of(Form::CountOrDefault).default("-1").example("3"),
        /// How long a topic that Inlet creates keeps a record.
        retention: Text = Key::of(Form::Duration).else_("the broker's own").example("7d"),
        /// How a topic that Inlet creates loses records. A lake needs `delete`: with `compact` the
        /// broker removes versions, and the consumer would stop at the first that is missing.
        cleanup_policy: Word = Key::of(Form::Choice(CLEANUP))
            .else_("the broker's own")
            .example("delete"),
        /// The name of the consumer group.
        group: Text = Key::of(Form::Text).else_("`inlet-<pipeline>`").example("inlet-shop"),
        /// Properties of librdkafka, for TLS and SASL. `<property>_file` reads the value of a
        /// property from a file. Inlet refuses the properties that its guarantees depend on.
        properties: BTreeMap<Text, Text> = Key::of(Form::Properties(refused_names)).secret(),
    }
}

section! {
    /// The keys below `debezium:`. For topics of a connector they are its settings, which the
    /// consumer needs where the messages have no schema.
    RawDebezium {
        /// Writes the schema into each message, as `JsonConverter` does with `schemas.enable`.
        schemas: Text = Key::of(Form::Boolean).default("false").example("true"),
        /// How a `numeric` is written; the connector's `decimal.handling.mode`.
        decimals: Word = Key::of(Form::Choice(DECIMALS)).default("precise").example("string"),
        /// The units of dates and times; the connector's `time.precision.mode`. With `connect` all
        /// are milliseconds, and microseconds are cut.
        times: Word = Key::of(Form::Choice(TIMES)).default("adaptive").example("connect"),
    }
}

section! {
    /// The keys below `datalake:`.
    RawDatalake {
        /// The lake's folder. A single table is in this folder itself, several tables have a folder
        /// each below it. The folder is local or mounted, or in a bucket: `s3://bucket/folder`,
        /// `gs://..`, `az://..`.
        path: Text = Key::of(Form::Path).example("./datalake"),
        /// The address of the bucket's server, where it is another one than the provider's:
        /// MinIO, R2 and others.
        endpoint: Text = Key::of(Form::Text)
            .else_("the provider's")
            .example("https://minio.internal:9000"),
        /// The region of an S3 bucket.
        region: Text = Key::of(Form::Text)
            .else_("AWS_REGION, else us-east-1")
            .example("eu-central-1"),
        /// Allows an endpoint without TLS.
        allow_http: Text = Key::of(Form::Boolean).default("false").example("true"),
        /// The format of data files.
        format: Text = Key::of(Form::Choice(&["parquet"])).default("parquet"),
        /// The time zone in which a day begins, for the folders `date=..`.
        timezone: Text = Key::of(Form::Timezone).default("UTC").example("Asia/Kolkata"),
        /// How often Inlet looks for small files to merge into larger ones; 0: only by
        /// `inlet compact`.
        compaction_interval: Text = Key::of(Form::DurationOrNever).default("60s").example("10m"),
        /// Bytes of small files that merging reads a second, at most.
        compaction_rate: Text = Key::of(Form::Size).default("8MiB").example("1MiB"),
        /// The formats under which other programs open the tables, without a copy of a row:
        /// `ducklake` and `delta`. See docs/exports.md.
        exports: Texts = Key::of(Form::Texts).else_("none").example("[ducklake, delta]"),
    }
}

section! {
    /// The keys below `streaming:`.
    RawStreaming {
        /// A file or folder for a readable copy of the consumer's offsets. Inlet itself reads them
        /// from the lake's log.
        checkpoint_location: Text = Key::of(Form::Path)
            .else_("no copy")
            .example("./state/offsets.json"),
        /// A file or folder for a readable copy of the producer's position. Inlet itself reads it
        /// from the control topic, or from the lake's log without a broker.
        last_processed_timestamp_location: Text = Key::of(Form::Path)
            .else_("no copy")
            .example("./state/position.json"),
        /// Sets `poll_interval` and `flush_interval` where they are not given.
        batch_interval: Text = Key::of(Form::Seconds).example("5"),
        /// The longest pause between two polls, while the tables do not change.
        poll_interval: Text = Key::of(Form::Duration).default("250ms").example("100ms"),
        /// The longest time that a row waits for its commit to the lake. A shorter time means
        /// fresher rows, and more and smaller files.
        flush_interval: Text = Key::of(Form::Duration).default("1s").example("30s"),
        /// How often Inlet reads a whole table, to find rows with an older timestamp and updates
        /// that do not move the cursor.
        sweep_interval: Text = Key::of(Form::Duration).default("1h").example("10m"),
        /// How often Inlet compares the keys of a table with those that are published, to find
        /// deletes, also when PostgreSQL has counted none. A counted delete starts a comparison at
        /// once.
        census_interval: Text = Key::of(Form::Duration).default("1h").example("10m"),
        /// The share of a core, in percent, that these comparisons may take.
        census_percent: Text = Key::of(Form::Count).default("2").example("10"),
        /// The memory for the keys of one table. Integers take about a bit each where they are
        /// dense; other keys take their bytes.
        census_memory: Text = Key::of(Form::Size).default("128MiB").example("1GiB"),
        /// How often Inlet looks for new tables that match a pattern; 0: only at the start.
        discover_interval: Text = Key::of(Form::DurationOrNever).default("60s").example("10s"),
        /// How many connections read a table side by side while it is loaded for the first time.
        load_connections: Text = Key::of(Form::Count)
            .else_("one for each core, at most 4")
            .example("2"),
        /// A commit starts earlier when this many rows are in memory.
        flush_rows: Text = Key::of(Form::Count).default("1_000_000").example("100_000"),
        /// A commit starts earlier when this many bytes are in memory.
        flush_bytes: Text = Key::of(Form::Size).default("128MiB").example("32MiB"),
    }
}

section! {
    /// The keys of one table below `tables:`.
    RawTable {
        /// The timestamp or date column that shows new and changed rows.
        cursor: Text = Key::of(Form::Text)
            .else_("an indexed timestamp column of the catalog")
            .example("updated_at"),
        /// The columns that identify a row.
        key: Texts = Key::of(Form::Texts).else_("the primary key").example("[order_id]"),
        /// The column whose date chooses the folder `date=..`.
        date_column: Text = Key::of(Form::Text)
            .else_("`created_at` and its like, else the first timestamp, else the first date")
            .example("created_at"),
        /// The time zone in which a day of this table begins.
        timezone: Text = Key::of(Form::Timezone)
            .else_("`datalake.timezone`")
            .example("Europe/Berlin"),
        /// The name of the table's topic.
        topic: Text = Key::of(Form::Text).else_("`<pipeline>.<table>`").example("shop.orders"),
        /// The format of the table's records.
        format: Word = Key::of(Form::Choice(FORMATS)).else_("`kafka.format`").example("arrow"),
        /// The columns of the keys of the table's messages.
        topic_key: Texts = Key::of(Form::Texts)
            .else_("`kafka.topic_key`")
            .example("[customer_id]"),
        /// The table's columns, each with its type as in CREATE TABLE; for a topic that another
        /// program writes.
        columns: Texts = Key::of(Form::Texts)
            .else_("those of the messages' schemas")
            .example("[order_id bigint not null, \"amount numeric(10,2)\"]"),
        /// The only columns that Inlet reads. The columns of the key belong to them, and the
        /// cursor. See docs/columns-and-rows.md.
        include_columns: Texts = Key::of(Form::Texts)
            .else_("every column")
            .example("[order_id, amount]"),
        /// Columns that Inlet does not read.
        exclude_columns: Texts = Key::of(Form::Texts).else_("every column is read").example("[password]"),
        /// Columns of which only a keyed hash (HMAC-SHA-256) leaves the process that reads the
        /// table; `postgres.hash_key` is its secret. Equal values have equal hashes.
        hash_columns: Texts = Key::of(Form::Texts).else_("values stay as they are").example("[email]"),
        /// Columns of which readers see `****` instead of a value. Null stays null.
        mask_columns: Texts = Key::of(Form::Texts).else_("values stay as they are").example("[phone]"),
        /// Conditions that a row must fulfil to enter the lake. A row that breaks one is stored in
        /// quarantine and counted.
        rules: Texts = Key::of(Form::Texts).else_("every row enters").example("[amount >= 0]"),
        /// How Inlet stores a value that the lake's type cannot hold, such as `infinity` in a
        /// timestamp or `NaN` in a `numeric(p,s)`: it puts the row into quarantine, writes null, or
        /// stores the whole column as text.
        impossible_values: Word = Key::of(Form::Choice(&["quarantine", "null", "text"]))
            .default("quarantine")
            .example("text"),
        /// How Inlet finds the deletes of the table: it compares keys, or it ignores deletes, as
        /// suits a table without any.
        deletes: Word = Key::of(Form::Choice(&["census", "ignore"]))
            .default("census")
            .example("ignore"),
        /// What triggers on the table record beside the polls: nothing, the key of each change, or
        /// each change with its values and its author. `inlet capture install` creates them. See
        /// docs/capture.md.
        capture: Word = Key::of(Form::Choice(&["none", "keys", "audit"]))
            .default("none")
            .example("audit"),
        /// The size at which the journal of the triggers is full. From there on changes are counted
        /// instead of recorded, until the lake has read the journal.
        journal_max: Text = Key::of(Form::Size).default("1GiB").example("256MiB"),
        /// The rows that Inlet copies, as a condition of SQL on the table's own columns. A row that
        /// does not fulfil it any more is published as a delete.
        r#where: Text = Key::of(Form::Text).else_("every row").example("country = 'NL'"),
        /// The rows that count as deleted, as a condition of SQL on the table's own columns.
        deleted_when: Text = Key::of(Form::Text)
            .else_("a row exists until it is deleted")
            .example("deleted_at IS NOT NULL"),
        /// How long the rows stay in the lake, in whole days: a date that is older leaves, with all
        /// its rows. See docs/retention.md.
        keep: Text = Key::of(Form::Duration).else_("rows stay for ever").example("30d"),
        /// How long rejected rows stay in the quarantine, in whole days.
        keep_quarantine: Text = Key::of(Form::Duration)
            .else_("rejected rows stay for ever")
            .example("90d"),
        /// The formats under which other programs open this table; `none` leaves it out.
        exports: Texts = Key::of(Form::Texts).else_("`datalake.exports`").example("[ducklake]"),
        /// Excludes a table, or the tables of a pattern, that another pattern matches.
        skip: Text = Key::of(Form::Boolean).default("false").example("true"),
    }
}
