//! The views of a table, as DuckDB's SQL.
//!
//! Pure but for one look at which files there are: DuckDB refuses a pattern that matches none, so a
//! table without files becomes an empty view.

use std::io;
use std::path::PathBuf;

use inlet_model::change::{DELETE, DETECTED_AT, KAFKA_PARTITION, OFFSET, OP, XID};
use inlet_model::{TableSchema, quote};
use inlet_service::config::TableConfig;

use crate::status::folder;

/// The columns of a line in quarantine, and their types.
const QUARANTINE: [(&str, &str); 8] = [
    ("reason", "VARCHAR"),
    ("topic", "VARCHAR"),
    ("kafka_partition", "INTEGER"),
    ("offset", "BIGINT"),
    ("key", "VARCHAR"),
    ("value", "VARCHAR"),
    ("key_base64", "VARCHAR"),
    ("value_base64", "VARCHAR"),
];

/// The schema of a table that names none.
const PUBLIC: &str = "public";

/// One table of the lake.
#[derive(Debug)]
pub struct View {
    schema: String,
    name: String,
    folder: PathBuf,
    columns: Option<TableSchema>,
    has_data: bool,
    has_quarantine: bool,
}

impl View {
    /// A table by its name in the configuration; `columns` are those that the lake's log tells.
    pub fn new(
        schema: Option<&str>,
        name: &str,
        folder: PathBuf,
        columns: Option<TableSchema>,
    ) -> io::Result<Self> {
        let schema = schema.unwrap_or(PUBLIC).to_owned();
        let has_data = !folder::data_files(&folder)?.is_empty();
        let has_quarantine = !folder::quarantine_files(&folder)?.is_empty();
        Ok(Self {
            schema,
            name: name.to_owned(),
            folder,
            columns,
            has_data,
            has_quarantine,
        })
    }

    fn create(&self, suffix: &str, select: &str) -> String {
        let name = quote(&format!("{}{suffix}", self.name));
        if self.schema == PUBLIC {
            return format!("CREATE OR REPLACE VIEW {name} AS {select};\n");
        }
        format!(
            "CREATE SCHEMA IF NOT EXISTS {0};\nCREATE OR REPLACE VIEW {0}.{name} AS {select};\n",
            quote(&self.schema)
        )
    }

    /// The same views by the name that PostgreSQL knows as well, `public.orders`.
    fn in_public(&self) -> String {
        let alias = |suffix: &str| {
            let name = quote(&format!("{}{suffix}", self.name));
            format!(
                "CREATE OR REPLACE VIEW {0}.{name} AS FROM main.{name};\n",
                quote(PUBLIC)
            )
        };
        ["", "_history", "_quarantine"].map(alias).concat()
    }

    fn history(&self) -> String {
        if self.has_data {
            return format!(
                "SELECT * FROM read_parquet({}, hive_partitioning=true, union_by_name=true)",
                self.pattern("**/*.parquet")
            );
        }
        let Some(schema) = &self.columns else {
            return "SELECT 0::BIGINT AS _offset WHERE false".to_owned();
        };
        let table = schema
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.column_type.duckdb()));
        let ours = [
            (OP, "VARCHAR"),
            (XID, "BIGINT"),
            (KAFKA_PARTITION, "INTEGER"),
            (OFFSET, "BIGINT"),
            (DETECTED_AT, "TIMESTAMPTZ"),
        ];
        empty(table.chain(ours.map(|(name, sql_type)| (name, sql_type.to_owned()))))
    }

    fn latest(&self) -> String {
        let key = self
            .columns
            .as_ref()
            .filter(|schema| self.has_data && !schema.key.is_empty());
        let Some(schema) = key else {
            return self.history();
        };
        let columns: Vec<_> = schema
            .key
            .iter()
            .map(|at| quote(&schema.columns[*at].name))
            .collect();
        // Versions of before a column of the key had its name came again with it.
        let named: Vec<_> = schema
            .never_null_key()
            .map(|column| format!("{} IS NOT NULL", quote(&column.name)))
            .collect();
        let named = if named.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", named.join(" AND "))
        };
        format!(
            "SELECT * FROM ({}{named} QUALIFY row_number() OVER (PARTITION BY {} ORDER BY {OFFSET} DESC) = 1) WHERE {OP} <> '{}'",
            self.history(),
            columns.join(", "),
            char::from(DELETE)
        )
    }

    fn quarantine(&self) -> String {
        if !self.has_quarantine {
            return empty(
                QUARANTINE
                    .iter()
                    .map(|(name, sql_type)| (*name, (*sql_type).to_owned())),
            );
        }
        let columns: Vec<_> = QUARANTINE
            .iter()
            .map(|(name, sql_type)| format!("{}: '{sql_type}'", quote(name)))
            .collect();
        let pattern = self.pattern("_quarantine/*.jsonl");
        format!(
            "SELECT * FROM read_json({pattern}, format='newline_delimited', columns={{{}}})",
            columns.join(", ")
        )
    }

    fn pattern(&self, below: &str) -> String {
        format!(
            "'{}'",
            self.folder
                .join(below)
                .display()
                .to_string()
                .replace('\'', "''")
        )
    }
}

/// The tables that a statement names, because DuckDB opens the files of every view that is made;
/// all when it names none.
pub fn named<'a>(tables: &'a [TableConfig], statement: &str) -> Vec<&'a TableConfig> {
    let statement = statement.to_lowercase();
    let named: Vec<_> = tables
        .iter()
        .filter(|table| statement.contains(&table.name.to_lowercase()))
        .collect();
    if named.is_empty() {
        tables.iter().collect()
    } else {
        named
    }
}

/// The statements that make the views for a statement; a table goes before another one's history
/// that has its name.
pub fn statements(views: &[View], statement: &str) -> String {
    let beside = views.iter().map(|view| {
        view.create("_history", &view.history()) + &view.create("_quarantine", &view.quarantine())
    });
    let latest = views.iter().map(|view| view.create("", &view.latest()));
    let made: String = beside.chain(latest).collect();
    if !statement.to_lowercase().contains(PUBLIC) {
        return made;
    }
    let aliases: String = views
        .iter()
        .filter(|view| view.schema == PUBLIC)
        .map(View::in_public)
        .collect();
    format!(
        "{made}CREATE SCHEMA IF NOT EXISTS {};\n{aliases}",
        quote(PUBLIC)
    )
}

fn empty<'a>(columns: impl Iterator<Item = (&'a str, String)>) -> String {
    let nulls: Vec<_> = columns
        .map(|(name, sql_type)| format!("NULL::{sql_type} AS {}", quote(name)))
        .collect();
    format!("SELECT {} WHERE false", nulls.join(", "))
}

#[cfg(test)]
mod tests {
    use inlet_model::{Column, TableName};
    use inlet_model::{ColumnType, Scalar};
    use inlet_service::config::Config;

    use super::*;

    fn view(has_data: bool, key: Vec<usize>) -> View {
        let column = |name: &str| Column {
            name: name.to_owned(),
            column_type: ColumnType::Scalar(Scalar::Int64),
            postgres_type: "bigint".to_owned(),
            as_text: false,
            not_null: true,
            generated: false,
        };
        let columns = TableSchema::new(
            TableName::new("public", "orders"),
            vec![column("Order\"s"), column("b")],
            key,
        );
        View {
            schema: PUBLIC.to_owned(),
            name: "orders".to_owned(),
            folder: "it's/lake".into(),
            columns: Some(columns),
            has_data,
            has_quarantine: false,
        }
    }

    #[test]
    fn the_latest_state_is_one_row_a_key_with_every_name_quoted() {
        let sql = view(true, vec![0]).latest();
        assert!(
            sql.contains("PARTITION BY \"Order\"\"s\" ORDER BY _offset DESC"),
            "{sql}"
        );
        assert!(
            sql.contains("read_parquet('it''s/lake/**/*.parquet'"),
            "{sql}"
        );
        assert!(sql.ends_with("WHERE _op <> 'd'"), "{sql}");
    }

    #[test]
    fn without_a_key_every_row_is_its_own() {
        let view = view(true, vec![]);
        assert_eq!(view.latest(), view.history());
    }

    #[test]
    fn a_statement_makes_the_views_that_it_names_and_any_other_statement_all() {
        let text =
            "postgres: { url: 'postgres://me@db/shop' }\ntables: { orders: {}, Customers: {} }\n";
        let tables = Config::parse(text).unwrap().tables;
        let kept = |statement: &str| {
            named(&tables, statement)
                .into_iter()
                .map(|table| table.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kept("SELECT count(*) FROM customers_history"),
            ["Customers"]
        );
        assert_eq!(
            kept("SELECT * FROM ORDERS JOIN customers USING (id)"),
            ["Customers", "orders"]
        );
        assert_eq!(kept("SHOW ALL TABLES"), ["Customers", "orders"]);
    }

    #[test]
    fn a_table_of_public_is_found_with_and_without_its_schema() {
        let made = |statement: &str| statements(&[view(true, vec![])], statement);
        assert!(!made("SELECT * FROM orders").contains("SCHEMA"));
        let sql = made("SELECT * FROM public.orders");
        assert!(
            sql.contains("VIEW \"orders\" AS SELECT")
                && sql.contains("VIEW \"public\".\"orders\" AS FROM main.\"orders\""),
            "{sql}"
        );
    }

    #[test]
    fn an_empty_table_has_its_columns() {
        assert!(view(false, vec![0]).latest().starts_with(
            "SELECT NULL::BIGINT AS \"Order\"\"s\", NULL::BIGINT AS \"b\", NULL::VARCHAR AS \"_op\""
        ));
    }
}
