//! A user's condition on the rows of a table: whether PostgreSQL accepts it.

use inlet_model::TableName;
use inlet_service::error::{Explain, Hint, Kind, Section};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Either, Executor, SqlSafeStr, Statement};

use crate::catalog::CatalogError;
use crate::error::Error;
use crate::sqlstate::{self, Meaning};

mod stability;

/// Functions of these names of which every form is volatile.
const VOLATILE: &str = "\
SELECT p.proname::text FROM pg_catalog.pg_proc p WHERE p.proname = ANY($1)
GROUP BY 1 HAVING bool_and(p.provolatile = 'v') ORDER BY 1 LIMIT 1";

/// Why a condition was refused.
#[allow(missing_docs)] // The message names its fields.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL does not accept this condition on rows of table `{table}`")]
pub struct ConditionError {
    table: TableName,
    #[source]
    source: sqlx::Error,
}

/// Asks PostgreSQL to prepare a query with the condition, without running it.
///
/// It is prepared alone and in brackets. A text with a bracket that it did not open fails the
/// first, one that goes on after its condition (`ORDER BY`) the second: so what is accepted stays
/// within the brackets of a longer condition. A prepared statement holds one statement only.
pub async fn check_condition(
    connection: &mut PgConnection,
    table: &TableName,
    condition: &str,
) -> Result<(), ConditionError> {
    let table_name = table.quoted();
    for condition in [
        format!("{condition}\n"),
        format!("({condition}\n) AND true"),
    ] {
        let sql = format!("SELECT FROM {table_name} WHERE {condition}");
        let refused = |source| ConditionError {
            table: table.clone(),
            source,
        };
        let prepared = (&mut *connection).prepare(AssertSqlSafe(sql).into_sql_str());
        let statement = prepared.await.map_err(refused)?;
        let parameters = statement
            .parameters()
            .map_or(0, |parameters| match parameters {
                Either::Left(types) => types.len(),
                Either::Right(count) => count,
            });
        if parameters > 0 {
            let source = "a parameter such as `$1` has no value here".into();
            return Err(refused(sqlx::Error::Configuration(source)));
        }
    }
    Ok(())
}

/// Checks a condition that decides which rows exist for readers: PostgreSQL accepts it, with the
/// rights of this role, and its answer follows from the row alone. A row is looked at when it is
/// written, and an answer that changes later would not be noticed.
pub(crate) async fn check(
    connection: &mut PgConnection,
    table: &TableName,
    key: &'static str,
    condition: &str,
) -> Result<(), CatalogError> {
    let refused = |error: ConditionError| match error.kind() {
        Kind::Config | Kind::Data => CatalogError::Condition {
            table: table.clone(),
            key,
            source: error,
        },
        // The connection has failed, or the server.
        _ => CatalogError::read("condition")(error.source),
    };
    let words = stability::words(condition);
    let named = words.iter().find(|word| word.is_unstable());
    let called: Vec<&str> = words.iter().filter_map(|word| word.called()).collect();
    let what = match named {
        Some(word) => Some(word.shown()),
        None => {
            let volatile = sqlx::query_scalar(VOLATILE).bind(called);
            let volatile: Option<String> = volatile
                .fetch_optional(&mut *connection)
                .await
                .map_err(CatalogError::read("functions"))?;
            volatile.map(|name| format!("the volatile function `{name}`"))
        }
    };
    if let Some(what) = what {
        return Err(CatalogError::Unstable {
            table: table.clone(),
            key,
            what,
        });
    }
    check_condition(connection, table, condition)
        .await
        .map_err(refused)?;
    // A prepared statement does not show whether the role may read the columns. EXPLAIN does.
    let explain = format!(
        "EXPLAIN SELECT FROM {} WHERE ({condition}\n)",
        table.quoted()
    );
    let explained = sqlx::query(AssertSqlSafe(explain))
        .execute(connection)
        .await;
    explained.map(drop).map_err(|source| {
        refused(ConditionError {
            table: table.clone(),
            source,
        })
    })
}

impl From<ConditionError> for Error {
    fn from(error: ConditionError) -> Self {
        Self::Rows {
            table: error.table,
            source: error.source,
        }
    }
}

impl Explain for ConditionError {
    fn kind(&self) -> Kind {
        // An unknown column is a mistake in the condition here, and no altered table.
        match Meaning::of(&self.source) {
            Meaning::Altered | Meaning::Unsupported => Kind::Config,
            meaning => meaning.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        let hint = "write it as after WHERE, with the names of columns as SQL writes them";
        let hint = Hint::text(hint).see(Section::Condition);
        sqlstate::hint(&self.source).or(Some(hint))
    }
}
