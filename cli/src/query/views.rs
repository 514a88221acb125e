//! The views of a table, as DuckDB's SQL.
//!
//! Pure, except for listing the files: DuckDB refuses a pattern that matches no file, so a table
//! without files becomes an empty view.

use std::path::Path;

use inlet_lake::{CHANGE_COLUMNS, LakeError, QUARANTINE_COLUMNS, TableReader};
use inlet_model::change::{DELETE, OFFSET, OP};
use inlet_model::{Identifier, PUBLIC, TableReference, TableSchema, quote};
use inlet_service::config::TableConfig;

/// One table of the lake.
#[derive(Debug)]
pub struct View {
    schema: String,
    name: String,
    columns: Option<TableSchema>,
    /// The pattern of the data files; `None` without any.
    data: Option<String>,
    /// The pattern of the files of rejected rows; `None` without any.
    quarantine: Option<String>,
}

impl View {
    /// A table by its name in the configuration; `columns` are those of the lake's log.
    pub fn new(
        table: &TableReference,
        reader: &TableReader,
        columns: Option<TableSchema>,
    ) -> Result<Self, LakeError> {
        let has_data = !reader.data_files()?.is_empty();
        let has_quarantine = !reader.quarantine_files()?.is_empty();
        Ok(Self {
            schema: table.schema().map_or(PUBLIC, Identifier::text).to_owned(),
            name: table.name().text().to_owned(),
            columns,
            data: has_data.then(|| text(&reader.data_pattern())),
            quarantine: has_quarantine.then(|| text(&reader.quarantine_pattern())),
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
        if let Some(pattern) = &self.data {
            return format!(
                "SELECT * FROM read_parquet({pattern}, hive_partitioning=true, union_by_name=true)"
            );
        }
        // `read_parquet` fails without a file, so a table before its first commit gets an empty
        // view.
        let Some(schema) = &self.columns else {
            return "SELECT 0::BIGINT AS _offset WHERE false".to_owned();
        };
        let table = schema
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.column_type.duckdb()));
        let ours = CHANGE_COLUMNS.map(|(name, sql_type)| (name, sql_type.to_owned()));
        empty(table.chain(ours))
    }

    /// The SELECT of the latest state.
    pub fn latest(&self) -> String {
        let key = self
            .columns
            .as_ref()
            .filter(|schema| self.data.is_some() && !schema.key.is_empty());
        let Some(schema) = key else {
            return self.history();
        };
        let columns: Vec<_> = schema
            .key
            .iter()
            .map(|at| quote(&schema.columns[*at].name))
            .collect();
        // A key column that was renamed has no values in older files. The load after the rename
        // brought these rows again, so the older versions are left out.
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
            "SELECT * FROM ({}{named} QUALIFY row_number() OVER (PARTITION BY {} ORDER BY \
             {OFFSET} DESC) = 1) WHERE {OP} <> '{}'",
            self.history(),
            columns.join(", "),
            char::from(DELETE)
        )
    }

    fn quarantine(&self) -> String {
        let Some(pattern) = &self.quarantine else {
            let columns = QUARANTINE_COLUMNS.iter();
            return empty(columns.map(|(name, sql_type)| (*name, (*sql_type).to_owned())));
        };
        let columns: Vec<_> = QUARANTINE_COLUMNS
            .iter()
            .map(|(name, sql_type)| format!("{}: '{sql_type}'", quote(name)))
            .collect();
        format!(
            "SELECT * FROM read_json({pattern}, format='newline_delimited', columns={{{}}})",
            columns.join(", ")
        )
    }
}

/// A path as a literal of SQL.
fn text(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

/// The tables that a statement names, or all when it names none: DuckDB opens the files of every
/// view that is created.
pub fn named<'a>(tables: &'a [TableConfig], statement: &str) -> Vec<&'a TableConfig> {
    let statement = statement.to_lowercase();
    let named: Vec<_> = tables
        .iter()
        .filter(|table| statement.contains(&table.table.name().text().to_lowercase()))
        .collect();
    if named.is_empty() {
        tables.iter().collect()
    } else {
        named
    }
}

/// The statements that create the views for a statement. The view of a table is created last: it
/// replaces the history of another table that has the same name.
pub fn statements(views: &[View], statement: &str) -> String {
    let beside = views.iter().map(|view| {
        view.create("_history", &view.history()) + &view.create("_quarantine", &view.quarantine())
    });
    let latest = views.iter().map(|view| view.create("", &view.latest()));
    let made: String = beside.chain(latest).collect();
    // DuckDB has no schema `public`. It is created only for statements that mention it.
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
    use inlet_model::{Column, ColumnType, Scalar, TableName};
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
            columns: Some(columns),
            data: has_data.then(|| text(&TableReader::new("it's/lake").data_pattern())),
            quarantine: None,
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
                .map(|table| table.table.name().text().to_owned())
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
