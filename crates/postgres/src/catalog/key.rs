//! A table's indexes, and the key that follows from them.

use inlet_model::{Column, TableName, resolve_column, similar};
use inlet_service::config::TableConfig;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::columns::Numbered;
use super::error::{CatalogError, Names};

/// A valid index over all rows of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Positions of its columns, in its order; `None` for an expression. Columns that it merely
    /// includes are left out.
    columns: Vec<Option<usize>>,
    primary: bool,
    /// True when no two rows can have equal columns, at any moment within a transaction.
    unique: bool,
    /// True for an access method that finds a range: btree or BRIN.
    finds_ranges: bool,
}

const INDEXES: &str =
    "SELECT i.indkey::text, i.indnkeyatts, i.indisprimary, i.indisunique AND i.indimmediate, \
        m.amname IN ('btree', 'brin')
     FROM pg_catalog.pg_index i
     JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     JOIN pg_catalog.pg_am m ON m.oid = c.relam
     WHERE i.indrelid = $1 AND i.indisvalid AND i.indisready AND i.indislive AND i.indpred IS NULL
     ORDER BY c.relname";

/// Reads the indexes that are valid and not partial, by name.
pub(super) async fn read(
    conn: &mut PgConnection,
    table: Oid,
    columns: &[Numbered],
) -> Result<Vec<Index>, CatalogError> {
    type Row = (String, i16, bool, bool, bool);
    let rows: Vec<Row> = sqlx::query_as(INDEXES)
        .bind(table)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("indexes"))?;
    let position = |number: &str| {
        columns
            .iter()
            .position(|column| number.parse() == Ok(column.ordered.number))
    };
    Ok(rows
        .into_iter()
        .map(|(numbers, length, primary, unique, finds_ranges)| {
            // `indkey` also lists the columns of INCLUDE; the key's own come first.
            let length = usize::try_from(length).unwrap_or(0);
            Index {
                // An expression has the number 0, which is no column.
                columns: numbers.split(' ').take(length).map(position).collect(),
                primary,
                unique,
                finds_ranges,
            }
        })
        .collect())
}

const PRIMARY: &str = "\
SELECT a.attname::text FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = $1 AND i.indisprimary AND a.attnum = ANY($2)
ORDER BY a.attnum LIMIT 1";

/// A column of the primary key that is among these columns, which are not read.
pub(super) async fn lost(
    conn: &mut PgConnection,
    table: Oid,
    left_out: &[i16],
) -> Result<Option<String>, CatalogError> {
    let lost = sqlx::query_scalar(PRIMARY).bind(table).bind(left_out);
    let lost = lost.fetch_optional(conn).await;
    lost.map_err(CatalogError::read("indexes"))
}

/// The columns by which an index finds a range of rows.
pub(super) fn leading_columns(indexes: &[Index]) -> Vec<usize> {
    indexes
        .iter()
        .filter(|index| index.finds_ranges)
        .filter_map(|index| *index.columns.first()?)
        .collect()
}

/// The columns that a configuration names as the key; `None` when it leaves the choice.
pub(super) fn asked(config: &TableConfig) -> Option<&[String]> {
    (!config.key.is_empty()).then_some(config.key.as_slice())
}

/// Chooses the key: the configured one, else the primary key, else the shortest unique index whose
/// columns are never null. The key is empty when a table has none of these.
pub(super) fn choose(
    table: &TableName,
    columns: &[Column],
    indexes: &[Index],
    asked: Option<&[String]>,
) -> Result<Vec<usize>, CatalogError> {
    if let Some(asked) = asked {
        return configured(table, columns, asked);
    }
    // Unique indexes allow any number of nulls, and a null identifies no row.
    let never_null = |key: &Vec<usize>| key.iter().all(|column| columns[*column].not_null);
    let unique = indexes
        .iter()
        .filter(|index| index.unique)
        .filter_map(whole)
        .filter(never_null);
    let primary = indexes.iter().find(|index| index.primary).and_then(whole);
    // The indexes are sorted by name, so the choice among equally short ones is stable.
    Ok(primary
        .or_else(|| unique.min_by_key(Vec::len))
        .unwrap_or_default())
}

/// The index's columns, unless it has an expression.
fn whole(index: &Index) -> Option<Vec<usize>> {
    index.columns.iter().copied().collect()
}

fn configured(
    table: &TableName,
    columns: &[Column],
    asked: &[String],
) -> Result<Vec<usize>, CatalogError> {
    let names = columns.iter().map(|column| column.name.as_str());
    let mut key = Vec::with_capacity(asked.len());
    for column in asked {
        let position = resolve_column(column, names.clone()).ok_or_else(|| {
            let similar = Names(similar(column, names.clone().map(str::to_owned)));
            CatalogError::UnknownKey {
                table: table.clone(),
                column: column.clone(),
                similar,
            }
        })?;
        if key.contains(&position) {
            return Err(CatalogError::RepeatedKey {
                table: table.clone(),
                column: column.clone(),
            });
        }
        key.push(position);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use inlet_model::{ColumnType, Scalar};

    use super::*;

    fn columns() -> Vec<Column> {
        [
            ("id", true),
            ("code", true),
            ("part", true),
            ("note", false),
        ]
        .map(|(name, not_null)| Column {
            name: name.to_owned(),
            column_type: ColumnType::Scalar(Scalar::Int32),
            postgres_type: "integer".to_owned(),
            as_text: false,
            not_null,
            generated: false,
            number: None,
        })
        .into()
    }

    fn unique(columns: &[Option<usize>]) -> Index {
        Index {
            columns: columns.to_vec(),
            unique: true,
            ..Index::default()
        }
    }

    fn chosen(indexes: &[Index]) -> Vec<usize> {
        choose(&TableName::new("public", "t"), &columns(), indexes, None).expect("a key")
    }

    #[test]
    fn the_primary_key_keeps_the_order_of_its_index() {
        let primary = Index {
            primary: true,
            ..unique(&[Some(2), Some(0)])
        };
        assert_eq!(chosen(&[unique(&[Some(1)]), primary]), [2, 0]);
    }

    #[test]
    fn without_a_primary_key_the_shortest_unique_index_that_is_never_null_is_the_key() {
        let (pair, nullable, expression) = (
            unique(&[Some(0), Some(1)]),
            unique(&[Some(3)]),
            unique(&[None]),
        );
        let plain = Index {
            columns: vec![Some(0)],
            ..Index::default()
        };
        assert_eq!(
            chosen(&[
                pair.clone(),
                nullable.clone(),
                expression.clone(),
                unique(&[Some(2)]),
                unique(&[Some(1)])
            ]),
            [2]
        );
        assert_eq!(chosen(&[pair, nullable, expression]), [0, 1]);
        assert_eq!(chosen(&[plain]), [0_usize; 0]);
    }

    #[test]
    fn a_configured_key_is_checked_against_the_columns() {
        let table = TableName::new("public", "t");
        let configured = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|column| (*column).to_owned()).collect();
            choose(&table, &columns(), &[], Some(&asked))
        };
        assert_eq!(configured(&["Code", "id"]).expect("a key"), [1, 0]);
        assert_eq!(configured(&[]).expect("no key"), [0_usize; 0]);
        let unknown = configured(&["cod"]).expect_err("unknown").to_string();
        assert_eq!(
            unknown,
            "table `public.t` has no column `cod` for its key; columns with a similar name: `code`"
        );
        assert!(matches!(
            configured(&["id", "ID"]),
            Err(CatalogError::RepeatedKey { .. })
        ));
    }

    #[test]
    fn an_index_finds_ranges_by_its_first_column_alone() {
        let brin = Index {
            columns: vec![Some(3)],
            finds_ranges: true,
            ..Index::default()
        };
        let btree = Index {
            columns: vec![Some(1), Some(2)],
            finds_ranges: true,
            ..Index::default()
        };
        let expression = Index {
            columns: vec![None, Some(2)],
            finds_ranges: true,
            ..Index::default()
        };
        let hash = Index {
            columns: vec![Some(0)],
            ..Index::default()
        };
        assert_eq!(leading_columns(&[brin, btree, expression, hash]), [3, 1]);
    }
}
