//! The statements that make a role which may do what a poll needs, and nothing else.
//!
//! Promises: made from the configuration alone, because the role that could ask the catalog may not
//! exist yet; names are found in the server as the poll finds them; they may be run again. A
//! password is never among them. Leaves to others: whether a role that exists has its rights
//! (`inlet check`). That these rights suffice is shown by the tests of the poll, which run with
//! them. Source: PostgreSQL manual, "GRANT", "ALTER DEFAULT PRIVILEGES", "Predefined Roles".

use std::collections::BTreeSet;
use std::fmt::Write;

use inlet_model::{Identifier, PUBLIC, quote};
use inlet_service::config::{Config, ConfigError, TableConfig};

use crate::catalog::CatalogError;

/// Why there are no statements.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// The configuration lacks what they need.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name that cannot be a table's.
    #[error(transparent)]
    Name(#[from] CatalogError),
}

impl inlet_service::error::Explain for GrantsError {
    fn kind(&self) -> inlet_service::error::Kind {
        inlet_service::error::Kind::Config
    }

    fn hint(&self) -> Option<inlet_service::error::Hint> {
        match self {
            Self::Config(error) => inlet_service::error::Explain::hint(error),
            Self::Name(error) => inlet_service::error::Explain::hint(error),
        }
    }
}

/// What `role` needs to read the tables of a configuration, as statements of SQL.
pub fn statements(config: &Config, role: &str) -> Result<String, GrantsError> {
    let database = &config.require_postgres()?.primary.db;
    let grants = Grants { role: quote(role) };
    let (role, database) = (&grants.role, quote(database));
    let mut sql = format!(
        "-- A role that reads what Inlet captures, and writes nothing. Run this in the database {database} as the owner of the tables or as a superuser;\n\
         -- it may be run again, for tables that were added. Then give the role its password: \\password {role} in psql.\n\
         DO $inlet$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $inlet$;\n\
         GRANT CONNECT ON DATABASE {database} TO {role};\n\
         -- When other sessions' transactions began: without it, what commits late is looked for by sweeps, once a minute.\n\
         GRANT pg_read_all_stats TO {role};\n"
    );
    let (skipped, taken): (Vec<_>, Vec<_>) = config.tables.iter().partition(|table| table.skip);
    let schemas: BTreeSet<&str> = taken
        .iter()
        .filter_map(|table| plain_schema(table))
        .collect();
    for schema in schemas {
        writeln!(sql, "GRANT USAGE ON SCHEMA {} TO {role};", quote(schema))
            .expect("a string takes all");
    }
    for table in taken {
        sql.push_str(&if table.is_pattern() {
            grants.pattern(table)
        } else {
            grants.table(table)?
        });
    }
    for table in skipped {
        sql.push_str(&grants.each(table, "REVOKE SELECT ON %s FROM", "skipped"));
    }
    Ok(sql)
}

struct Grants {
    /// Quoted.
    role: String,
}

impl Grants {
    /// A table that is named: directly where its name can mean one table only, else found as the
    /// poll finds it.
    fn table(&self, table: &TableConfig) -> Result<String, CatalogError> {
        let role = &self.role;
        let candidates = table.table.candidates();
        let names: Vec<_> = candidates
            .iter()
            .map(|(schema, name)| {
                format!(
                    "{}.{}",
                    quote(schema.as_deref().unwrap_or(PUBLIC)),
                    quote(name)
                )
            })
            .collect();
        let [folded, exact] = names.as_slice() else {
            return Ok(format!("GRANT SELECT ON {} TO {role};\n", names[0]));
        };
        let (folded, exact) = (literal(folded), literal(exact));
        Ok(self.block(
            &format!("{}, as the catalog spells it", table.written()),
            &format!("found regclass := coalesce(to_regclass({folded}), to_regclass({exact}));"),
            &format!(
                "    IF found IS NULL THEN RAISE undefined_table USING MESSAGE = {}; END IF;\n    EXECUTE {};\n    EXECUTE {};\n",
                literal(&format!("table {} does not exist", table.written())),
                self.format("GRANT USAGE ON SCHEMA %s TO", "(SELECT relnamespace::regnamespace FROM pg_class WHERE oid = found)"),
                self.format("GRANT SELECT ON %s TO", "found")
            ),
        ))
    }

    /// The tables that a pattern means today, and as far as PostgreSQL can say it, those that it
    /// will mean.
    fn pattern(&self, table: &TableConfig) -> String {
        let role = &self.role;
        let schema = schema(table);
        match (schema.contains('*'), table.table.name().text()) {
            (false, "*") => {
                let schema = quote(schema);
                let makers = format!(
                    "pg_class WHERE relnamespace = {}::regnamespace AND relkind IN ('r', 'p')",
                    literal(&schema)
                );
                format!(
                    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};\n{}",
                    self.future(&format!(" IN SCHEMA {schema}"), &makers)
                )
            }
            (false, _) => self.each(
                table,
                "GRANT SELECT ON %s TO",
                "those that are made later need this again",
            ),
            (true, _) => {
                let now = self.each(table, "GRANT SELECT ON %s TO", "and their schemas");
                let makers = "pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND relkind IN ('r', 'p')";
                now + &self.future("", makers)
            }
        }
    }

    /// What the makers of today's tables make later, and who runs this.
    fn future(&self, place: &str, makers: &str) -> String {
        let mut body = format!(
            "    FOR maker IN SELECT current_user UNION SELECT pg_get_userbyid(relowner) FROM {makers} LOOP\n"
        );
        let mut kinds = vec!["SELECT ON TABLES"];
        if place.is_empty() {
            kinds.push("USAGE ON SCHEMAS");
        }
        for kind in kinds {
            let statement = format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE %I{} GRANT {kind} TO",
                place.replace('%', "%%")
            );
            writeln!(
                body,
                "        EXECUTE {};",
                self.format(&statement, "maker")
            )
            .expect("a string takes all");
        }
        self.block(
            "tables that are made later, by a role that has made one, or by whoever runs this",
            "maker name;",
            &format!("{body}    END LOOP;\n"),
        )
    }

    /// A statement for each table that a name or pattern means.
    fn each(&self, table: &TableConfig, statement: &str, remark: &str) -> String {
        let schema = schema(table);
        let usage = if schema.contains('*') && statement.starts_with("GRANT") {
            format!(
                "        EXECUTE {};\n",
                self.format("GRANT USAGE ON SCHEMA %s TO", "found.space")
            )
        } else {
            String::new()
        };
        let body = format!(
            "    FOR found IN SELECT c.oid::regclass AS name, n.oid::regnamespace AS space FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n        \
             WHERE n.nspname LIKE {} AND c.relname LIKE {} AND c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema)' LOOP\n\
             {usage}        EXECUTE {};\n    END LOOP;\n",
            like(schema),
            like(table.table.name().text()),
            self.format(statement, "found.name")
        );
        self.block(
            &format!("{}: {remark}", table.written()),
            "found record;",
            &body,
        )
    }

    /// `format('GRANT .. %s TO "role"', value)`.
    fn format(&self, statement: &str, value: &str) -> String {
        format!(
            "format({}, {value})",
            literal(&format!("{statement} {}", self.role.replace('%', "%%")))
        )
    }

    fn block(&self, remark: &str, declare: &str, body: &str) -> String {
        let remark = remark.replace(char::is_control, " ");
        format!("-- {remark}\nDO $inlet$\nDECLARE {declare}\nBEGIN\n{body}END $inlet$;\n")
    }
}

/// The schema of a table or pattern that can only mean one: a schema that may be folded is found
/// with its table.
fn plain_schema(table: &TableConfig) -> Option<&str> {
    let schema = schema(table);
    let certain = if table.is_pattern() {
        !schema.contains('*')
    } else {
        table.table.candidates().len() == 1
    };
    certain.then_some(schema)
}

/// The schema as it was written.
fn schema(table: &TableConfig) -> &str {
    table.table.schema().map_or(PUBLIC, Identifier::text)
}

/// A pattern of ours as one of `LIKE`.
fn like(pattern: &str) -> String {
    literal(
        &pattern
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_")
            .replace('*', "%"),
    )
}

/// A text as a literal, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_named_is_granted_and_nothing_beside_it() {
        let config = Config::parse(
            "postgres: { url: \"postgres://me@db/shop\" }\ntables:\n  orders:\n  sales.items:\n",
        )
        .unwrap();
        let sql = statements(&config, "inlet").unwrap();
        let grants: Vec<_> = sql
            .lines()
            .filter(|line| line.starts_with("GRANT"))
            .collect();
        assert_eq!(
            grants,
            [
                r#"GRANT CONNECT ON DATABASE "shop" TO "inlet";"#,
                r#"GRANT pg_read_all_stats TO "inlet";"#,
                r#"GRANT USAGE ON SCHEMA "public" TO "inlet";"#,
                r#"GRANT USAGE ON SCHEMA "sales" TO "inlet";"#,
                r#"GRANT SELECT ON "public"."orders" TO "inlet";"#,
                r#"GRANT SELECT ON "sales"."items" TO "inlet";"#,
            ]
        );
    }

    #[test]
    fn what_like_would_take_for_its_own_is_escaped() {
        assert_eq!(like("a_b%*"), r"E'a\\_b\\%%'");
        assert_eq!(like("it's*"), "'it''s%'");
    }
}
