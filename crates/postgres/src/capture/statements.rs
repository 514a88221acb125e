//! The statements that install and remove a recording.

use inlet_model::{TableName, quote};
use inlet_service::config::TableConfig;

use super::{EVENTS, Recording, Relation, counter, function, trigger};
use crate::catalog::Captured;
use crate::copy::literal;
use crate::grants::dollar_quoted;

/// Marks the schema as ours: it is dropped with the last journal.
pub(super) const SCHEMA_COMMENT: &str = "Journals of Inlet. `inlet capture remove` drops them.";

/// A statement that waits for a lock keeps the users' writes waiting, so it gives up.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

/// The settings of the function. `jit`: a statement with many rows would make the plan of every
/// later one compile for longer than it runs. The others make the text of a value independent of
/// the session, and exact.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp SET jit = off SET timezone = 'UTC' \
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 \
    SET bytea_output = 'hex'";

/// The comment of a journal, which names its table.
pub(super) fn journal_comment(table: &TableName) -> String {
    format!("Changes of {table}, recorded by the triggers of Inlet.")
}

impl Recording {
    /// The statements that are missing until the table is recorded as the configuration asks, and
    /// `role` may poll and trim the journal; none when it is.
    pub fn install(&self, captured: &Captured, config: &TableConfig, role: &str) -> Vec<String> {
        let mut statements = Vec::new();
        let journal = self.journal.quoted();
        let counter = counter(&self.journal).quoted();
        if !self.has_schema {
            let schema = quote(&self.journal.schema);
            // The statements for another table may create it first.
            statements.push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
            statements.push(format!(
                "COMMENT ON SCHEMA {schema} IS {}",
                literal(SCHEMA_COMMENT)
            ));
        }
        if self.journal_oid.is_none() {
            statements.push(create_journal(&journal));
            statements.push(format!("REVOKE ALL ON {journal} FROM PUBLIC"));
            statements.push(format!(
                "COMMENT ON TABLE {journal} IS {}",
                literal(&journal_comment(&self.table))
            ));
        }
        if !self.has_counter {
            statements.push(format!("CREATE SEQUENCE {counter}"));
        }
        let source = function::source(captured, config);
        if self.source.as_deref() != Some(&source) {
            statements.push(format!(
                "CREATE OR REPLACE FUNCTION {journal}() RETURNS trigger LANGUAGE plpgsql SECURITY \
                 DEFINER\n{SETTINGS}\nAS {}",
                dollar_quoted(&source)
            ));
        }
        for relation in &self.relations {
            statements.extend(relation.create(&journal));
        }
        let role = quote(role);
        let (schema, rows, missed) = self.lacking;
        if schema {
            let schema = quote(&self.journal.schema);
            statements.push(format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
        }
        if rows {
            statements.push(format!("GRANT SELECT, DELETE ON {journal} TO {role}"));
        }
        if missed {
            statements.push(format!("GRANT SELECT ON SEQUENCE {counter} TO {role}"));
        }
        in_transaction(statements)
    }

    /// The statements after which nothing is recorded, while the journal still has what was.
    pub fn stop(&self) -> Vec<String> {
        in_transaction(self.relations.iter().flat_map(Relation::drop).collect())
    }

    /// The statements that remove everything, after those that remove `before` other objects of the
    /// schema.
    pub fn remove(&self, before: i64) -> Vec<String> {
        let journal = self.journal.quoted();
        let mut statements: Vec<_> = self.relations.iter().flat_map(Relation::drop).collect();
        if self.source.is_some() {
            statements.push(format!("DROP FUNCTION {journal}()"));
        }
        if self.journal_oid.is_some() {
            statements.push(format!("DROP TABLE {journal}"));
        }
        if self.has_counter {
            statements.push(format!("DROP SEQUENCE {}", counter(&self.journal).quoted()));
        }
        if self.owns_schema && self.others == before {
            statements.push(format!("DROP SCHEMA {}", quote(&self.journal.schema)));
        }
        in_transaction(statements)
    }
}

impl Relation {
    fn create(&self, journal: &str) -> Vec<String> {
        let missing = EVENTS
            .into_iter()
            .filter(|event| !self.working.contains(&trigger(event)));
        let mut statements = Vec::new();
        for event in missing {
            let name = trigger(event);
            if self.found.contains(&name) {
                statements.push(format!("DROP TRIGGER {name} ON {}", self.name.quoted()));
            }
            let tables = match event {
                "insert" => " REFERENCING NEW TABLE AS inlet_new",
                "update" => " REFERENCING OLD TABLE AS inlet_old NEW TABLE AS inlet_new",
                "delete" => " REFERENCING OLD TABLE AS inlet_old",
                _ => "",
            };
            statements.push(format!(
                "CREATE TRIGGER {name} AFTER {} ON {}{tables} FOR EACH STATEMENT EXECUTE FUNCTION \
                 {journal}()",
                event.to_uppercase(),
                self.name.quoted()
            ));
        }
        statements
    }

    fn drop(&self) -> Vec<String> {
        let drop = |name: &String| format!("DROP TRIGGER {name} ON {}", self.name.quoted());
        self.found.iter().map(drop).collect()
    }
}

/// One index serves the polls, which ask by the time, and the key.
fn create_journal(journal: &str) -> String {
    format!(
        "CREATE TABLE {journal} (
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    op text NOT NULL,
    key jsonb,
    before json,
    after json,
    changed text[],
    role text,
    application_name text,
    client_address text,
    actor text,
    xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    transaction_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
    statement_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    relation text,
    missed bigint NOT NULL,
    PRIMARY KEY (changed_at, change_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)"
    )
}

/// All of them or none. Without a statement there is no transaction either.
fn in_transaction(statements: Vec<String>) -> Vec<String> {
    if statements.is_empty() {
        return statements;
    }
    let begin = ["BEGIN".to_owned(), LOCK_TIMEOUT.to_owned()].into_iter();
    let all = begin.chain(statements).chain(["COMMIT".to_owned()]);
    all.collect()
}
