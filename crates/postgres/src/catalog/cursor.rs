//! The cursor column: the timestamp by which new rows are found through an index.

use inlet_model::{Column, ColumnType, Role, Scalar, TableName, quote, resolve_column};

use super::error::{CatalogError, Names};

/// A column by which new rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Its position in the table's columns.
    pub column: usize,
    /// What its values mean.
    pub kind: CursorKind,
    /// True when a valid btree or BRIN index over all rows begins with it.
    pub indexed: bool,
    /// True when it may be null; a null is found by sweeps alone.
    pub nullable: bool,
}

/// What a cursor's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorKind {
    /// A moment, in microseconds UTC.
    Timestamptz,
    /// A wall clock in the writer's time zone.
    Timestamp,
    /// A day in the writer's time zone.
    Date,
}

impl CursorKind {
    fn of(column_type: ColumnType) -> Option<Self> {
        Some(match column_type {
            ColumnType::Scalar(Scalar::TimestampTz) => Self::Timestamptz,
            ColumnType::Scalar(Scalar::Timestamp) => Self::Timestamp,
            ColumnType::Scalar(Scalar::Date) => Self::Date,
            _ => return None,
        })
    }
}

/// Chooses the cursor: the configured column, else one with a telling name, else one with an index
/// (`indexed`), where moments go before wall clocks and wall clocks before days.
pub(super) fn choose(
    table: &TableName,
    columns: &[Column],
    indexed: &[usize],
    asked: Option<&str>,
) -> Result<Option<Cursor>, CatalogError> {
    let cursor = |column: usize| {
        let kind = CursorKind::of(columns[column].column_type)?;
        Some(Cursor {
            column,
            kind,
            indexed: indexed.contains(&column),
            nullable: !columns[column].not_null,
        })
    };
    let candidates: Vec<Cursor> = (0..columns.len()).filter_map(cursor).collect();
    let Some(asked) = asked else {
        return Ok(guess(columns, &candidates));
    };
    // The first one is proposed to the user.
    let names = || {
        let best = guess(columns, &candidates);
        let mut ordered = candidates.clone();
        ordered.sort_by_key(|cursor| (Some(*cursor) != best, !cursor.indexed, cursor.kind as u8));
        let names = ordered.iter();
        Names(
            names
                .map(|cursor| columns[cursor.column].name.clone())
                .collect(),
        )
    };
    let Some(position) = resolve_column(asked, columns.iter().map(|column| column.name.as_str()))
    else {
        return Err(CatalogError::UnknownCursor {
            table: table.clone(),
            column: asked.to_owned(),
            candidates: names(),
        });
    };
    let wrong_type = || {
        let column = &columns[position];
        let (column, postgres_type) = (column.name.clone(), column.postgres_type.clone());
        CatalogError::CursorType {
            table: table.clone(),
            column,
            postgres_type,
            candidates: names(),
        }
    };
    cursor(position).map(Some).ok_or_else(wrong_type)
}

/// A column whose name promises a change is best, then one that is set at the insert.
fn guess(columns: &[Column], candidates: &[Cursor]) -> Option<Cursor> {
    let role = |cursor: &&Cursor| {
        let role = columns[cursor.column].role()?;
        // An event's time may lie far from the moment of its insert, so it is no guess for a
        // cursor.
        (!matches!(role, Role::Event(_))).then_some(role)
    };
    let named = candidates.iter().filter(|cursor| role(cursor).is_some());
    let indexed = candidates.iter().filter(|cursor| cursor.indexed);
    named
        .min_by_key(role)
        .or_else(|| indexed.min_by_key(|cursor| cursor.kind as u8))
        .copied()
}

/// The statement that creates an index for polling by `column`. The server names it: an index with
/// the name that we would choose may exist, and be partial. PostgreSQL cannot create one of a
/// partitioned table concurrently.
pub fn index_statement(table: &TableName, column: &str, partitioned: bool) -> String {
    // PostgreSQL cannot build an index of a partitioned table concurrently.
    let concurrently = if partitioned { "" } else { " CONCURRENTLY" };
    format!(
        "CREATE INDEX{concurrently} ON {} ({})",
        table.quoted(),
        quote(column)
    )
}

/// The statements that let every update of a table set a column to the time of its transaction.
pub(super) fn touch_statements(table: &TableName, column: &str) -> String {
    let function = quote(&format!("{}_touch", table.name));
    let (schema, column, table) = (quote(&table.schema), quote(column), table.quoted());
    format!(
        "CREATE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
            NEW.{column} := now(); RETURN NEW; END $$;\n\
         CREATE TRIGGER {function} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION \
         {schema}.{function}();"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_proposed_columns_is_the_one_that_would_be_chosen() {
        let day = ColumnType::Scalar(Scalar::Date);
        let moment = ColumnType::Scalar(Scalar::TimestampTz);
        let number = ColumnType::Scalar(Scalar::Int64);
        let columns = columns(&[
            ("imo", number),
            ("built", day),
            ("seen", moment),
            ("updated_at", moment),
        ]);
        let table = TableName::new("public", "vessels");
        let refused = choose(&table, &columns, &[], Some("imo")).unwrap_err();
        let CatalogError::CursorType { candidates, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!(candidates.0, ["updated_at", "seen", "built"]);
    }

    fn columns(columns: &[(&str, ColumnType)]) -> Vec<Column> {
        let column = |(name, column_type): &(&str, ColumnType)| Column {
            name: (*name).to_owned(),
            column_type: *column_type,
            postgres_type: "some".to_owned(),
            as_text: false,
            not_null: false,
            generated: false,
            number: None,
        };
        columns.iter().map(column).collect()
    }

    fn chosen(
        given: &[(&str, ColumnType)],
        indexed: &[usize],
        asked: Option<&str>,
    ) -> Result<Option<usize>, CatalogError> {
        let cursor = choose(
            &TableName::new("public", "t"),
            &columns(given),
            indexed,
            asked,
        )?;
        Ok(cursor.map(|cursor| cursor.column))
    }

    #[test]
    fn a_column_of_changes_goes_before_one_of_creation() {
        let given = [
            ("created_at", ColumnType::Scalar(Scalar::TimestampTz)),
            ("UpdatedAt", ColumnType::Scalar(Scalar::Timestamp)),
            ("seen", ColumnType::Scalar(Scalar::TimestampTz)),
        ];
        assert_eq!(chosen(&given, &[0, 2], None).expect("a cursor"), Some(1));
        assert_eq!(chosen(&given[..1], &[], None).expect("a cursor"), Some(0));
    }

    #[test]
    fn a_name_that_tells_nothing_needs_an_index() {
        let given = [
            ("day", ColumnType::Scalar(Scalar::Date)),
            ("placed", ColumnType::Scalar(Scalar::Timestamp)),
            ("at", ColumnType::Scalar(Scalar::TimestampTz)),
            ("id", ColumnType::Scalar(Scalar::Int64)),
        ];
        assert_eq!(
            chosen(&given, &[0, 1, 2, 3], None).expect("a cursor"),
            Some(2)
        );
        assert_eq!(chosen(&given, &[0, 1], None).expect("a cursor"), Some(1));
        assert_eq!(chosen(&given, &[3], None).expect("no cursor"), None);
    }

    #[test]
    fn a_preferred_name_of_another_type_is_no_cursor() {
        assert_eq!(
            chosen(
                &[("updated_at", ColumnType::Scalar(Scalar::Int64))],
                &[0],
                None
            )
            .expect("no cursor"),
            None
        );
    }

    #[test]
    fn a_configured_cursor_is_checked_and_the_candidates_are_named() {
        let given = [
            ("id", ColumnType::Scalar(Scalar::Int64)),
            ("at", ColumnType::Scalar(Scalar::TimestampTz)),
            ("day", ColumnType::Scalar(Scalar::Date)),
        ];
        assert_eq!(chosen(&given, &[], Some("DAY")).expect("a cursor"), Some(2));
        let unknown = chosen(&given, &[], Some("updated_at"))
            .expect_err("unknown")
            .to_string();
        assert_eq!(
            unknown,
            "table `public.t` has no column `updated_at`; its timestamp columns: `at`, `day`"
        );
        assert!(matches!(
            chosen(&given, &[], Some("id")),
            Err(CatalogError::CursorType { .. })
        ));
    }

    #[test]
    fn the_index_statement_quotes_names_and_knows_partitioned_tables() {
        let table = TableName::new("public", "Orders");
        assert_eq!(
            index_statement(&table, "at", false),
            r#"CREATE INDEX CONCURRENTLY ON "public"."Orders" ("at")"#
        );
        assert_eq!(
            index_statement(&table, "at", true),
            r#"CREATE INDEX ON "public"."Orders" ("at")"#
        );
    }
}
