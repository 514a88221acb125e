use inlet_lake::Head;
use inlet_model::{Column, SchemaFields, TableName, TableSchema};

use super::*;

fn column(name: &str, scalar: Scalar, postgres_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        column_type: scalar.into(),
        postgres_type: postgres_type.to_owned(),
        as_text: false,
        not_null: true,
        generated: false,
        number: None,
    }
}

fn schema(columns: Vec<Column>, key: Vec<usize>) -> TableSchema {
    TableSchema::new(TableName::new("public", "orders"), columns, key)
}

fn orders(key: Vec<usize>) -> TableSchema {
    let name = column("Order\"s", Scalar::Int64, "bigint");
    schema(vec![name, column("b", Scalar::Int64, "bigint")], key)
}

fn table(latest: &TableSchema, all: &[&TableSchema], folder: Option<&str>) -> Table {
    let mut head = Head::empty(&latest.table);
    let all = all
        .iter()
        .map(|schema| (schema.fingerprint(), (*schema).clone()));
    head.schemas.extend(all);
    Table {
        columns: Some(Columns::new(&head, latest)),
        data: folder.map(|folder| Files::Matching(folder.into(), "**/*.parquet")),
        rejected: None,
        date_key: "date".to_owned(),
        is_spread: false,
        as_of: None,
    }
}

#[test]
fn the_latest_state_is_one_row_a_key_with_every_name_quoted() {
    let orders = orders(vec![0]);
    let sql = table(&orders, &[&orders], Some("/it's/a [lake]")).latest();
    for part in [
        "SELECT \"Order\"\"s\", \"b\"\nFROM (",
        "PARTITION BY files.\"Order\"\"s\" ORDER BY files.\"_offset\" DESC) = 1",
        "read_parquet('/it''s/a [[]lake]/**/*.parquet', union_by_name = true",
        "WHERE files.\"Order\"\"s\" IS NOT NULL",
        "WHERE _op <> 'd'",
    ] {
        assert!(sql.contains(part), "`{part}` is missing in {sql}");
    }
}

#[test]
fn without_a_key_every_version_is_a_row() {
    let orders = orders(vec![]);
    let sql = table(&orders, &[&orders], Some("/lake")).latest();
    assert!(!sql.contains("QUALIFY"), "{sql}");
}

#[test]
fn versions_of_several_kafka_partitions_are_ordered_by_the_poll_that_found_them() {
    let orders = orders(vec![0]);
    let mut table = table(&orders, &[&orders], Some("/lake"));
    table.is_spread = true;
    let order = "ORDER BY files.\"_detected_at\" DESC, files.\"_offset\" DESC, \
                 files.\"_kafka_partition\" DESC";
    assert!(table.latest().contains(order), "{}", table.latest());
}

#[test]
fn a_column_that_identifies_the_key_is_in_the_history_alone() {
    let columns = |not_null| {
        ["email", "_key_email"].map(|name| Column {
            not_null,
            ..column(name, Scalar::Text, "text")
        })
    };
    let schema = |not_null| {
        let identity = inlet_model::Identity { column: 1, of: 0 };
        let table = TableName::new("public", "users");
        TableSchema::from_fields(SchemaFields {
            table,
            columns: columns(not_null).into(),
            key: vec![1],
            relation: None,
            identities: vec![identity],
        })
    };
    let users = schema(true);
    let of = table(&users, &[&users], Some("/lake"));
    let latest = of.latest();
    assert!(latest.starts_with("SELECT \"email\"\nFROM ("), "{latest}");
    assert!(
        latest.contains("PARTITION BY files.\"_key_email\" "),
        "{latest}"
    );
    assert!(
        latest.contains("WHERE files.\"_key_email\" IS NOT NULL\n"),
        "{latest}"
    );
    assert!(of.history().contains("AS \"_key_email\""));
    let nullable = schema(false);
    let latest = table(&nullable, &[&nullable], Some("/lake")).latest();
    let known = "WHERE (files.\"_key_email\" IS NOT NULL OR files.\"email\" IS NULL)\n";
    assert!(latest.contains(known), "{latest}");
}

#[test]
fn a_list_of_files_is_read_in_two_steps_with_the_key_in_both() {
    let orders = orders(vec![0]);
    let mut table = table(&orders, &[&orders], Some("/lake"));
    table.data = Some(Files::Named(vec!["/lake/date=2026-11-20/0.parquet".into()]));
    let sql = table.latest();
    for part in [
        "max(files.\"_offset\") AS place",
        "ON files.\"Order\"\"s\" = newest.k0 AND files.\"_offset\" = newest.place",
        "GROUP BY files.\"Order\"\"s\"",
    ] {
        assert!(sql.contains(part), "`{part}` is missing in {sql}");
    }
}

#[test]
fn a_dropped_column_is_in_the_history_alone() {
    let (before, after) = (
        orders(vec![0]),
        schema(vec![column("Order\"s", Scalar::Int64, "bigint")], vec![0]),
    );
    let table = table(&after, &[&before, &after], Some("/lake"));
    let latest = table.latest();
    assert!(!latest.contains("files.\"b\""), "{latest}");
    assert!(
        table.history().contains("files.\"b\" AS \"b\""),
        "{}",
        table.history()
    );
}

#[test]
fn a_type_that_changed_is_the_one_that_the_table_has_now() {
    let of = |scalar| schema(vec![column("a", scalar, "")], vec![]);
    let (before, after) = (of(Scalar::Int32), of(Scalar::Int64));
    let table = table(&after, &[&before, &after], Some("/lake"));
    assert!(
        table
            .latest()
            .contains("TRY_CAST(files.\"a\" AS BIGINT) AS \"a\"")
    );
    assert!(table.history().contains("files.\"a\" AS \"a\""));
}

#[test]
fn a_renamed_column_has_the_values_of_both_its_names() {
    let of = |name, scalar| {
        let column = column(name, scalar, "");
        let number = Some(1);
        schema(vec![Column { number, ..column }], vec![])
    };
    let (before, after) = (of("a", Scalar::Int32), of("b", Scalar::Int32));
    let latest = table(&after, &[&before, &after], Some("/lake")).latest();
    let both = "coalesce(files.\"b\", files.\"a\") AS \"b\"";
    assert!(latest.contains(both), "{latest}");
    let other = of("a", Scalar::Text);
    let latest = table(&after, &[&other, &after], Some("/lake")).latest();
    assert!(latest.contains("files.\"b\" AS \"b\""), "{latest}");
}

#[test]
fn a_padded_key_is_compared_without_its_blanks() {
    let code = schema(vec![column("code", Scalar::Text, "character(8)")], vec![0]);
    let sql = table(&code, &[&code], Some("/lake")).latest();
    assert!(
        sql.contains("PARTITION BY rtrim(files.\"code\", ' ')"),
        "{sql}"
    );
}

#[test]
fn names_that_differ_in_case_only_are_those_that_duckdb_gives() {
    let both = ["Id", "id"].map(|name| column(name, Scalar::Int32, "integer"));
    let both = schema(both.to_vec(), vec![1]);
    let sql = table(&both, &[&both], Some("/lake")).latest();
    assert!(sql.starts_with("SELECT \"Id\", \"id_1\"\nFROM"), "{sql}");
    assert!(sql.contains("PARTITION BY files.\"id_1\""), "{sql}");
}

#[test]
fn a_folder_above_that_reads_as_a_partition_adds_no_column() {
    let orders = orders(vec![0]);
    let sql = table(&orders, &[&orders], Some("/customer=acme/lake")).history();
    assert!(
        sql.contains("hive_partitioning = false")
            && sql.contains("regexp_extract(files._inlet_path, '/date=([^/]*)/[^/]*$', 1)"),
        "{sql}"
    );
}

#[test]
fn as_of_a_moment_every_reading_of_the_files_has_the_versions_until_then() {
    let orders = orders(vec![0]);
    let mut table = table(&orders, &[&orders], Some("/lake"));
    table.data = Some(Files::Named(vec!["/lake/date=2026-11-20/0.parquet".into()]));
    table.as_of = DateTime::from_timestamp(1_700_000_000, 0);
    let until = "WHERE _detected_at <= TIMESTAMPTZ '2023-11-14T22:13:20.000000Z')";
    assert_eq!(table.latest().matches(until).count(), 2);
    assert_eq!(table.history().matches(until).count(), 1);
}

#[test]
fn versions_before_a_rejected_one_are_left_out_of_the_latest_state_alone() {
    let orders = orders(vec![0]);
    let mut table = table(&orders, &[&orders], Some("/lake"));
    assert!(!table.latest().contains("ANTI JOIN"));
    table.rejected = Some(Files::Matching("/lake".into(), "_quarantine/*.jsonl"));
    for part in [
        "json_extract_string(key, '/Order\"s')",
        "files.\"Order\"\"s\" IS NOT DISTINCT FROM rejected.k0",
        "files.\"_kafka_partition\" = rejected.kafka_partition AND files.\"_offset\" < \
         rejected.place",
    ] {
        let sql = table.latest();
        assert!(sql.contains(part), "`{part}` is missing in {sql}");
    }
    assert!(!table.history().contains("ANTI JOIN"));
    table.as_of = Some(DateTime::UNIX_EPOCH);
    assert!(!table.latest().contains("ANTI JOIN"));
}

#[test]
fn an_empty_table_has_its_columns() {
    let orders = orders(vec![0]);
    let table = table(&orders, &[&orders], None);
    assert_eq!(
        table.latest(),
        "SELECT NULL::BIGINT AS \"Order\"\"s\", NULL::BIGINT AS \"b\" WHERE false"
    );
    assert!(table.history().contains("NULL::VARCHAR AS \"_op\""));
}
