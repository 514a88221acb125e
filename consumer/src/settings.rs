//! The settings of the consumer: plain values that were checked when the configuration was read.

use std::path::PathBuf;

use chrono_tz::Tz;
use inlet_kafka::Connection;
use inlet_lake::Limits;
use inlet_model::TableName;

/// The settings of one consumer: a member of a group that carries topics into the lake.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Where and how the clients connect.
    pub connection: Connection,
    /// The consumer group; its members share the kafka_partitions.
    pub group: String,
    /// The pipeline's control topic, where the schemas are.
    pub control_topic: String,
    pub tables: Vec<TableSettings>,
    /// The size at which a batch is committed.
    pub limits: Limits,
    /// The folder that receives a readable copy of the offsets after each commit.
    pub checkpoint_location: Option<PathBuf>,
}

/// One table of the consumer.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// The schema as the configuration names it; `None` is `public`.
    pub schema: Option<String>,
    /// The table as the configuration names it; resolved as SQL does (folded, then exact), against
    /// the schemas of the control topic.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// Its folder in the lake.
    pub path: PathBuf,
    /// The rules that a row must fulfil, see [`inlet_lake::Rules`].
    pub rules: Vec<String>,
    /// The column whose date chooses the date_partition; without one, the date on which the row was
    /// found does.
    pub date_column: Option<String>,
    /// The zone in which instants become dates.
    pub timezone: Tz,
}

impl TableSettings {
    /// Finds the table that the settings name: the one with the folded name, else the one with
    /// exactly this name.
    pub fn resolve<'a>(
        &self,
        tables: impl Iterator<Item = &'a TableName> + Clone,
    ) -> Option<&'a TableName> {
        let schema = self.schema.as_deref().unwrap_or("public");
        let named = |schema: String, name: String| {
            tables
                .clone()
                .find(|table| table.schema == schema && table.name == name)
        };
        named(schema.to_lowercase(), self.name.to_lowercase())
            .or_else(|| named(schema.to_owned(), self.name.clone()))
    }

    /// The name as a user writes it: `orders`, or `sales.orders`.
    pub fn written(&self) -> String {
        self.schema.as_ref().map_or_else(
            || self.name.clone(),
            |schema| format!("{schema}.{}", self.name),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_as_sql_does() {
        let tables = [
            TableName::new("public", "Orders"),
            TableName::new("public", "orders"),
            TableName::new("sales", "Items"),
        ];
        let resolve = |schema: Option<&str>, name: &str| {
            let settings = TableSettings {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
                topic: String::new(),
                path: PathBuf::new(),
                rules: Vec::new(),
                date_column: None,
                timezone: Tz::UTC,
            };
            settings.resolve(tables.iter()).map(ToString::to_string)
        };
        assert_eq!(resolve(None, "Orders").as_deref(), Some("public.orders"));
        assert_eq!(
            resolve(Some("sales"), "Items").as_deref(),
            Some("sales.Items")
        );
        assert_eq!(resolve(None, "items"), None);
    }
}
