//! The triggers and the journal of a table whose changes are recorded.
//!
//! Promises: the statements to install and to remove them follow from what the catalog shows, so
//! that a second run has nothing to do; what is removed leaves no trace. Leaves to others: running
//! them (`inlet capture`), reading the journal (it is polled as any table), trimming it (the
//! producer).
//!
//! A statement-level trigger per kind of statement hands its transition tables to one function per
//! table, which writes the journal in the transaction of the change. Statement-level triggers of a
//! partitioned table fire for statements that name it, and those of a partition for statements that
//! name the partition: each has its own, and each change is recorded once.
//! Source: PostgreSQL manual, "CREATE TRIGGER", "Trigger Procedures".

mod function;
mod statements;

use std::collections::BTreeSet;

use inlet_model::TableName;
use inlet_service::config::{Capture, TableConfig};
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::catalog::{Captured, CatalogError};

/// What belongs to the journal of one table, by its name.
const OBJECTS: &str = "\
SELECT n.oid IS NOT NULL, j.oid, obj_description(j.oid, 'pg_class'), s.oid IS NOT NULL, p.prosrc,
    coalesce(obj_description(n.oid, 'pg_namespace') = $3, false),
    (SELECT count(*) FROM pg_class o WHERE o.relnamespace = n.oid AND o.relkind IN ('r', 'p', 'v',
        'm', 'S', 'f') AND o.relname NOT IN ($1, $2))
FROM (SELECT) AS one
LEFT JOIN pg_namespace n ON n.nspname = 'inlet'
LEFT JOIN pg_class j ON j.relnamespace = n.oid AND j.relname = $1
LEFT JOIN pg_class s ON s.relnamespace = n.oid AND s.relname = $2
LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = $1 AND p.pronargs = 0";

/// Our triggers on tables: the name of each, and whether it fires and calls the journal's function.
const TRIGGERS: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'f', t.tgname::text,
    coalesce(t.tgenabled IN ('O', 'A') AND p.proname = $2 AND pn.nspname = 'inlet', false)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname LIKE 'inlet\\_capture\\_%'
LEFT JOIN pg_proc p ON p.oid = t.tgfoid
LEFT JOIN pg_namespace pn ON pn.oid = p.pronamespace
WHERE c.oid = ANY($1)
ORDER BY c.oid, t.tgname";

/// Tables that still have a trigger which calls the journal's function.
const CALLERS: &str = "\
SELECT DISTINCT c.oid
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE NOT t.tgisinternal AND n.nspname = 'inlet' AND p.proname = $1";

/// What a role lacks to poll and to trim a journal, as statements.
const LACKING: &str = "\
SELECT NOT has_schema_privilege(r.oid, n.oid, 'USAGE'),
    NOT (has_table_privilege(r.oid, j.oid, 'SELECT') AND has_table_privilege(r.oid, j.oid, 'DELETE')),
    NOT has_sequence_privilege(r.oid, s.oid, 'SELECT')
FROM pg_roles r, pg_namespace n
JOIN pg_class j ON j.relnamespace = n.oid AND j.relname = $2
JOIN pg_class s ON s.relnamespace = n.oid AND s.relname = $3
WHERE r.rolname = $1 AND n.nspname = 'inlet'";

/// What a journal holds.
const HELD: &str = "\
SELECT (SELECT count(*) FROM (SELECT FROM %j LIMIT 1000001) AS rows),
    (SELECT (extract(epoch FROM min(changed_at)) * 1000000)::bigint FROM %j), pg_table_size(%l),
    coalesce(pg_sequence_last_value(%s), 0)";

/// The kinds of statements that change a table.
const EVENTS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// What is recorded of a table, as the catalog shows it.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The table.
    pub table: TableName,
    /// Its journal.
    pub journal: TableName,
    has_schema: bool,
    /// The journal's object id.
    journal_oid: Option<Oid>,
    /// The comment of the journal, which names its table.
    belongs_to: Option<String>,
    has_counter: bool,
    /// The function's source.
    source: Option<String>,
    /// True when Inlet has created the schema.
    owns_schema: bool,
    /// Objects of the schema that belong to other tables.
    others: i64,
    relations: Vec<Relation>,
    /// What the polling role lacks, where both exist: usage of the schema, the journal, the
    /// counter.
    lacking: (bool, bool, bool),
}

/// A table whose statements are recorded: the captured one, or one below it.
#[derive(Debug, Clone)]
struct Relation {
    oid: Oid,
    name: TableName,
    is_foreign: bool,
    /// Those of our triggers that exist, and those of them that record.
    found: BTreeSet<String>,
    working: BTreeSet<String>,
}

/// What a journal holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Changes that the lake does not have yet, or that are not trimmed yet; counted to a million.
    pub rows: i64,
    /// When the oldest of them was made, in microseconds since 1970-01-01 UTC.
    pub oldest: Option<i64>,
    /// The journal's size, which decides whether it is full.
    pub bytes: i64,
    /// Statements that were not recorded, because the journal was full or a column of the key had
    /// another name; some of them may have been rolled back.
    pub missed: i64,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The table has neither triggers nor a journal.
    Missing,
    /// The table has no journal, but something of it exists.
    Partial,
    /// The function records another level, other columns, or up to another size.
    Outdated,
    /// These tables have no trigger, or a disabled one.
    Triggers(Vec<TableName>),
    /// The polling role may not read or trim it.
    Rights,
}

impl Recording {
    /// Reads what is installed for a table; `role` is the one that polls.
    pub async fn find(
        connection: &mut PgConnection,
        table: &TableName,
        oids: &[u32],
        role: &str,
    ) -> Result<Self, CatalogError> {
        let failed = CatalogError::read("triggers");
        let recording = Self::read(connection, table, oids, role).await;
        recording.map_err(failed)
    }

    async fn read(
        connection: &mut PgConnection,
        table: &TableName,
        oids: &[u32],
        role: &str,
    ) -> Result<Self, sqlx::Error> {
        type Objects = (
            bool,
            Option<Oid>,
            Option<String>,
            bool,
            Option<String>,
            bool,
            i64,
        );
        let journal = table.journal();
        let counter = counter(&journal);
        let found: Objects = sqlx::query_as(OBJECTS)
            .bind(&journal.name)
            .bind(&counter.name)
            .bind(statements::SCHEMA_COMMENT)
            .fetch_one(&mut *connection)
            .await?;
        // A partition that was detached keeps its triggers, and belongs to the recording until it
        // is removed.
        let callers: Vec<(Oid,)> = sqlx::query_as(CALLERS)
            .bind(&journal.name)
            .fetch_all(&mut *connection)
            .await?;
        let oids = oids.iter().map(|oid| Oid(*oid));
        let oids: BTreeSet<u32> = oids
            .chain(callers.into_iter().map(|(oid,)| oid))
            .map(|oid| oid.0)
            .collect();
        let oids: Vec<Oid> = oids.into_iter().map(Oid).collect();
        let relations = relations(connection, &oids, &journal).await?;
        let lacking: Option<(bool, bool, bool)> = sqlx::query_as(LACKING)
            .bind(role)
            .bind(&journal.name)
            .bind(&counter.name)
            .fetch_optional(&mut *connection)
            .await?;
        let (has_schema, journal_oid, comment, has_counter, source, owns_schema, others) = found;
        Ok(Self {
            table: table.clone(),
            belongs_to: comment,
            journal,
            has_schema,
            journal_oid,
            has_counter,
            source,
            owns_schema,
            others,
            relations,
            lacking: lacking.unwrap_or((true, true, true)),
        })
    }

    /// How many objects of the schema belong to it.
    pub fn objects(&self) -> i64 {
        i64::from(self.journal_oid.is_some()) + i64::from(self.has_counter)
    }

    /// True when something of the recording exists.
    pub fn exists(&self) -> bool {
        let triggers = self.relations.iter().any(|table| !table.found.is_empty());
        self.journal_oid.is_some() || self.has_counter || self.source.is_some() || triggers
    }

    /// Compares what is installed with what the configuration asks for.
    pub fn gaps(&self, captured: &Captured, config: &TableConfig) -> Vec<Gap> {
        if config.capture == Capture::None {
            return Vec::new();
        }
        if !self.exists() {
            return vec![Gap::Missing];
        }
        let mut gaps = Vec::new();
        if self.journal_oid.is_none() || !self.has_counter || self.source.is_none() {
            gaps.push(Gap::Partial);
        } else if self.source.as_deref() != Some(&function::source(captured, config)) {
            gaps.push(Gap::Outdated);
        }
        let without = self.relations.iter().filter(|table| !table.is_complete());
        let without: Vec<_> = without.map(|table| table.name.clone()).collect();
        if !without.is_empty() {
            gaps.push(Gap::Triggers(without));
        }
        if self.journal_oid.is_some() && self.lacking != (false, false, false) {
            gaps.push(Gap::Rights);
        }
        gaps
    }

    /// Why nothing can be recorded of the table; `None` where it can.
    pub fn refusal(&self, captured: &Captured) -> Option<String> {
        if captured.schema.key.is_empty() {
            return Some(
                "it has no key, and a change is recorded by the key of its row: add a primary key, \
                 or name the columns with `key`"
                    .to_owned(),
            );
        }
        if let Some(foreign) = self.relations.iter().find(|table| table.is_foreign) {
            return Some(format!(
                "`{}` is a foreign table, and PostgreSQL has no such triggers for one",
                foreign.name.short()
            ));
        }
        let name_bytes = counter(&self.journal).name.len();
        if name_bytes > NAME_BYTES_MAX {
            return Some(format!(
                "the names of its journal would have {name_bytes} bytes, and PostgreSQL cuts them \
                 at {NAME_BYTES_MAX}"
            ));
        }
        let ours = statements::journal_comment(&self.table);
        if self.journal_oid.is_some() && self.belongs_to.as_deref() != Some(&ours) {
            return Some(format!(
                "`{}` exists and is not its journal",
                self.journal.short()
            ));
        }
        None
    }

    /// What its journal holds; `None` without one.
    pub async fn held(&self, connection: &mut PgConnection) -> Result<Option<Held>, CatalogError> {
        if self.journal_oid.is_none() || !self.has_counter {
            return Ok(None);
        }
        let sql = HELD
            .replace("%j", &self.journal.quoted())
            .replace("%l", &function::class(&self.journal))
            .replace("%s", &function::class(&counter(&self.journal)));
        let (rows, oldest, bytes, missed) = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_one(connection)
            .await
            .map_err(CatalogError::read("journal"))?;
        Ok(Some(Held {
            rows,
            oldest,
            bytes,
            missed,
        }))
    }
}

impl Relation {
    fn is_complete(&self) -> bool {
        self.working.len() == EVENTS.len()
    }
}

/// The most bytes of a name in PostgreSQL: `NAMEDATALEN - 1`.
const NAME_BYTES_MAX: usize = 63;

async fn relations(
    connection: &mut PgConnection,
    oids: &[Oid],
    journal: &TableName,
) -> Result<Vec<Relation>, sqlx::Error> {
    type Row = (Oid, String, String, bool, Option<String>, bool);
    let rows: Vec<Row> = sqlx::query_as(TRIGGERS)
        .bind(oids)
        .bind(&journal.name)
        .fetch_all(connection)
        .await?;
    let mut relations: Vec<Relation> = Vec::new();
    for (oid, schema, name, is_foreign, trigger, works) in rows {
        if relations.last().is_none_or(|last| last.oid != oid) {
            relations.push(Relation {
                oid,
                name: TableName::new(schema, name),
                is_foreign,
                found: BTreeSet::new(),
                working: BTreeSet::new(),
            });
        }
        let relation = relations.last_mut().expect("one was added");
        if let Some(trigger) = trigger {
            if works {
                relation.working.insert(trigger.clone());
            }
            relation.found.insert(trigger);
        }
    }
    Ok(relations)
}

/// The sequence that counts statements which were not recorded.
fn counter(journal: &TableName) -> TableName {
    TableName::new(&journal.schema, format!("{}_missed", journal.name))
}

/// The name of the trigger for a kind of statement.
fn trigger(event: &str) -> String {
    format!("inlet_capture_{event}")
}
