//! A user's condition on the rows of a table: whether PostgreSQL accepts it.

use inlet_model::TableName;
use inlet_service::error::{Explain, Hint, Kind};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Either, Executor, SqlSafeStr, Statement};

use crate::error::Error;
use crate::sqlstate::{self, Meaning};

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
        sqlstate::hint(&self.source).or(Some(Hint::text(
            "write it as after WHERE, with the names of columns as SQL writes them",
        )))
    }
}
