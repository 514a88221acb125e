//! The statements that create a role which may do what a poll needs, and nothing else.
//!
//! They are built from the configuration alone, because the role that could ask the catalog may not
//! exist yet; the server resolves the names in them as the poll does. They can be run again, and
//! contain no password. Names may contain any character: every name is quoted as an identifier or
//! as a literal, a `DO` block gets a dollar tag that its text does not contain, and comments lose
//! their line ends. The tests of the poll run with these rights, which shows that they suffice.
//! Source: PostgreSQL manual, "GRANT", "ALTER DEFAULT PRIVILEGES", "Predefined Roles".

use std::collections::BTreeSet;
use std::fmt::Write;

use inlet_model::{Identifier, PUBLIC, quote};
use inlet_service::config::{Config, ConfigError, TableConfig, sort_by_precedence};

use crate::copy::literal;

/// What `role` needs to read the tables of a configuration, as statements of SQL.
pub fn statements(config: &Config, role: &str) -> Result<String, ConfigError> {
    let database = &config.require_postgres()?.primary.db;
    let grants = Grants { role: quote(role) };
    let (role, database) = (&grants.role, quote(database));
    let create =
        format!("BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END");
    let mut sql = format!(
        "-- A role that reads what Inlet captures, and writes nothing. Run this in the database {} \
            as the owner of the tables or as a superuser;\n\
         -- it can be run again, for tables that were added. Then give the role its password: \
         \\password {} in psql.\n\
         {};\n\
         GRANT CONNECT ON DATABASE {database} TO {role};\n\
         -- When other sessions' transactions began: without it, rows that commit late are found \
         by sweeps, once a minute.\n\
         GRANT pg_read_all_stats TO {role};\n",
        one_line(&database),
        one_line(role),
        anonymous(&create),
    );
    // `inlet capture install` grants what concerns a journal, which does not exist before.
    let tables = config
        .tables
        .iter()
        .filter(|table| table.journal_of.is_none());
    let taken = tables.clone().filter(|table| !table.skip);
    let schemas: BTreeSet<&str> = taken.filter_map(plain_schema).collect();
    for schema in schemas {
        writeln!(sql, "GRANT USAGE ON SCHEMA {} TO {role};", quote(schema))
            .expect("a string takes all");
    }
    // The last statement decides about a table: first the patterns, the one that counts most at
    // the end, then the tables that are named.
    let (mut patterns, named): (Vec<_>, Vec<_>) = tables.partition(|table| table.is_pattern());
    sort_by_precedence(&mut patterns);
    for table in patterns.into_iter().rev().chain(named) {
        sql.push_str(&match (table.skip, table.is_pattern()) {
            (true, _) => grants.each(table, "REVOKE SELECT ON %s FROM", "skipped"),
            _ if table.choice.leaves_out() => grants.columns(table),
            (false, true) => grants.pattern(table),
            (false, false) => grants.table(table),
        });
    }
    Ok(sql)
}

struct Grants {
    /// Quoted.
    role: String,
}

impl Grants {
    /// A named table: granted directly where its name can mean only one table, else resolved in the
    /// server as the poll resolves it.
    fn table(&self, table: &TableConfig) -> String {
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
        // One candidate needs no lookup; a name in mixed case may mean either, and only the server
        // knows which exists.
        let [folded, exact] = names.as_slice() else {
            return format!("GRANT SELECT ON {} TO {role};\n", names[0]);
        };
        let (folded, exact) = (literal(folded), literal(exact));
        self.block(
            &format!("{}, as the catalog spells it", table.written()),
            &format!("found regclass := coalesce(to_regclass({folded}), to_regclass({exact}));"),
            &format!(
                "    IF found IS NULL THEN RAISE undefined_table USING MESSAGE = {}; END IF;\n    \
                    EXECUTE {};\n    EXECUTE {};\n",
                literal(&format!("table {} does not exist", table.written())),
                self.format(
                    "GRANT USAGE ON SCHEMA %s TO",
                    "(SELECT relnamespace::regnamespace \
                    FROM pg_class WHERE oid = found)"
                ),
                self.format("GRANT SELECT ON %s TO", "found")
            ),
        )
    }

    /// The tables that match a pattern today and, as far as PostgreSQL's default privileges can
    /// express it, those that will match later.
    fn pattern(&self, table: &TableConfig) -> String {
        let role = &self.role;
        let schema = schema(table);
        let is_open = table.table.schema().is_some_and(is_open);
        match (is_open, table.table.name().to_string().as_str()) {
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
                "tables that are created later need this again",
            ),
            (true, _) => {
                let now = self.each(table, "GRANT SELECT ON %s TO", "and their schemas");
                let makers = "pg_class WHERE relnamespace::regnamespace::text !~ \
                    '^(pg_|information_schema)' AND relkind IN ('r', 'p')";
                now + &self.future("", makers)
            }
        }
    }

    /// Default privileges for tables that are created later, by today's owners and by the role that
    /// runs this.
    fn future(&self, place: &str, makers: &str) -> String {
        let mut body = format!(
            "    FOR maker IN SELECT current_user UNION SELECT pg_get_userbyid(relowner) FROM \
                {makers} LOOP\n"
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
            "tables that are created later, by the owner of a table of today or by the role that \
                runs this",
            "maker name;",
            &format!("{body}    END LOOP;\n"),
        )
    }

    /// A statement for each table that a name or pattern matches.
    fn each(&self, table: &TableConfig, statement: &str, remark: &str) -> String {
        let schema = table.table.schema();
        let usage = if schema.is_some_and(is_open) && statement.starts_with("GRANT") {
            format!(
                "        EXECUTE {};\n",
                self.format("GRANT USAGE ON SCHEMA %s TO", "found.space")
            )
        } else {
            String::new()
        };
        let body = format!(
            "    FOR found IN SELECT c.oid::regclass AS name, n.oid::regnamespace AS space FROM \
                pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n        \
             WHERE {} AND c.relkind IN ('r', 'p') AND \
             n.nspname !~ '^(pg_|information_schema)' LOOP\n\
             {usage}        EXECUTE {};\n    END LOOP;\n",
            condition(table),
            self.format(statement, "found.name")
        );
        self.block(
            &format!("{}: {remark}", table.written()),
            "found record;",
            &body,
        )
    }

    /// The columns that are read of the tables that a name or pattern means, and nothing else of
    /// them: a right to the whole table would be one to every column.
    fn columns(&self, table: &TableConfig) -> String {
        let choice = &table.choice;
        let (not, named) = match choice.include.as_slice() {
            [] => ("NOT ", &choice.exclude),
            included => ("", &included.to_vec()),
        };
        let named: Vec<_> = named.iter().map(|column| is_column(column)).collect();
        // A poll reads the version of a row, and its place for ranges of blocks and of partitions.
        let body = format!(
            "    FOR found IN SELECT c.oid::regclass AS name, n.oid::regnamespace AS space,\n        \
             (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a\n         \
             WHERE a.attrelid = c.oid AND NOT a.attisdropped AND CASE WHEN a.attnum > 0 THEN\n         \
             {not}({}) ELSE a.attname IN ('xmin', 'ctid', 'tableoid') END) AS columns\n        \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n        \
             WHERE {} AND c.relkind IN ('r', 'p') AND \
             n.nspname !~ '^(pg_|information_schema)' LOOP\n        \
             EXECUTE {};\n        EXECUTE {};\n        EXECUTE {};\n    END LOOP;\n",
            named.join(" OR "),
            condition(table),
            self.format("GRANT USAGE ON SCHEMA %s TO", "found.space"),
            self.format("REVOKE SELECT ON %s FROM", "found.name"),
            self.format("GRANT SELECT (%s) ON %s TO", "found.columns, found.name"),
        );
        let remark = format!(
            "{}: its columns that are read; run this again after a column or table was added",
            table.written()
        );
        self.block(&remark, "found record;", &body)
    }

    /// `format('GRANT .. %s TO "role"', value)`.
    fn format(&self, statement: &str, value: &str) -> String {
        format!(
            "format({}, {value})",
            literal(&format!("{statement} {}", self.role.replace('%', "%%")))
        )
    }

    fn block(&self, remark: &str, declare: &str, body: &str) -> String {
        let code = format!("\nDECLARE {declare}\nBEGIN\n{body}END");
        format!("-- {}\n{};\n", one_line(remark), anonymous(&code))
    }
}

/// A `DO` statement in dollar quotes. A name in the code may contain the tag, which would end the
/// quotes: the tag grows until the code does not contain it.
fn anonymous(code: &str) -> String {
    let gap = if code.starts_with('\n') { "" } else { " " };
    format!("DO {}", dollar_quoted(&format!("{gap}{code} ")))
}

/// Code in dollar quotes.
pub(crate) fn dollar_quoted(code: &str) -> String {
    let mut tag = "$inlet$".to_owned();
    // A name that contains the tag would end the block early.
    while code.contains(&tag) {
        tag.insert(tag.len() - 1, '_');
    }
    format!("{tag}{code}{tag}")
}

/// A text for a comment, which ends with its line.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The schema of a table or pattern that can only mean one: a schema that may be folded is found
/// with its table.
fn plain_schema(table: &TableConfig) -> Option<&str> {
    let schema = schema(table);
    let certain = if table.is_pattern() {
        !table.table.schema().is_some_and(is_open)
    } else {
        table.table.candidates().len() == 1
    };
    certain.then_some(schema)
}

/// The schema as it was written.
fn schema(table: &TableConfig) -> &str {
    table.table.schema().map_or(PUBLIC, Identifier::text)
}

/// True for a part of a name that is a pattern; in quotes a star is a character.
fn is_open(part: &Identifier) -> bool {
    !part.is_quoted() && part.text().contains('*')
}

/// Whether a column `a` of `pg_attribute` is the one that a name means: the folded name goes before
/// the exact one, as in SQL.
fn is_column(written: &str) -> String {
    let name = Identifier::parse(written).unwrap_or_else(|_| Identifier::exact(written));
    let (folded, exact) = (literal(&name.folded()), literal(name.text()));
    if folded == exact {
        return format!("a.attname = {exact}");
    }
    format!(
        "a.attname = {folded} OR a.attname = {exact} AND NOT EXISTS (SELECT FROM pg_attribute o \
         WHERE o.attrelid = a.attrelid AND o.attname = {folded} AND NOT o.attisdropped)"
    )
}

/// Which tables of `pg_class c` and `pg_namespace n` a name or pattern means.
fn condition(table: &TableConfig) -> String {
    if !table.is_pattern() {
        let candidates = table.table.candidates().into_iter();
        let names = candidates.map(|(schema, name)| {
            let schema = schema.as_deref().unwrap_or(PUBLIC);
            format!("({}, {})", literal(schema), literal(&name))
        });
        let names = names.collect::<Vec<_>>().join(", ");
        return format!("(n.nspname, c.relname) IN ({names})");
    }
    let part = |column: &str, part: &Identifier| {
        if is_open(part) {
            format!("{column} LIKE {}", like(part.text()))
        } else {
            format!("{column} = {}", literal(part.text()))
        }
    };
    let schema = Identifier::exact(PUBLIC);
    let schema = part("n.nspname", table.table.schema().unwrap_or(&schema));
    format!("{schema} AND {}", part("c.relname", table.table.name()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_table_is_granted_and_nothing_else() {
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
    fn wildcards_of_like_are_escaped() {
        assert_eq!(like("a_b%*"), r"E'a\\_b\\%%'");
        assert_eq!(like("it's*"), "'it''s%'");
    }
}
