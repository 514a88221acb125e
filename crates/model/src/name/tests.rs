use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

fn candidates(asked: &str) -> Vec<(Option<String>, String)> {
    TableReference::parse(asked).unwrap().candidates()
}

fn pair(schema: Option<&str>, table: &str) -> (Option<String>, String) {
    (schema.map(str::to_owned), table.to_owned())
}

#[test]
fn a_quote_in_a_name_is_doubled() {
    assert_eq!(
        TableName::new("public", "a\"; DROP TABLE x").quoted(),
        "\"public\".\"a\"\"; DROP TABLE x\""
    );
}

#[test]
fn an_unquoted_name_is_folded_first_and_exact_second() {
    assert_eq!(
        candidates("ROLL001_orders"),
        [pair(None, "roll001_orders"), pair(None, "ROLL001_orders")]
    );
    assert_eq!(
        candidates("Shop.Orders"),
        [pair(Some("shop"), "orders"), pair(Some("Shop"), "Orders")]
    );
    assert_eq!(candidates("orders"), [pair(None, "orders")]);
}

#[test]
fn a_quoted_part_is_exact() {
    assert_eq!(
        candidates(r#""Mixed"."Case""#),
        [pair(Some("Mixed"), "Case")]
    );
    assert_eq!(
        candidates(r#"Shop."a.b""c""#),
        [pair(Some("shop"), "a.b\"c"), pair(Some("Shop"), "a.b\"c")]
    );
}

#[test]
fn a_text_that_is_not_a_name_is_refused_with_its_reason() {
    for (asked, reason) in [
        ("", NameError::EmptyPart),
        (".", NameError::EmptyPart),
        ("a.", NameError::EmptyPart),
        (".a", NameError::EmptyPart),
        (r#""""#, NameError::EmptyPart),
        ("a.b.c", NameError::TooManyParts(2)),
        (r#""a"#, NameError::OpenQuote),
        (r#""a"b"#, NameError::StrayQuote),
        (r#"a"b"#, NameError::StrayQuote),
    ] {
        assert_eq!(TableReference::parse(asked), Err(reason), "{asked}");
    }
    assert_eq!(Identifier::parse("a.b"), Err(NameError::TooManyParts(1)));
}

#[test]
fn a_table_resolves_as_in_sql_and_public_is_the_default() {
    let tables = [
        TableName::new("public", "Orders"),
        TableName::new("public", "orders"),
        TableName::new("sales", "Items"),
    ];
    let resolve = |asked: &str| {
        let reference = TableReference::parse(asked).unwrap();
        reference.resolve(tables.iter()).map(ToString::to_string)
    };
    assert_eq!(resolve("Orders").as_deref(), Some("public.orders"));
    assert_eq!(resolve("\"Orders\"").as_deref(), Some("public.Orders"));
    assert_eq!(resolve("sales.Items").as_deref(), Some("sales.Items"));
    assert_eq!(resolve("items"), None);
}

#[test]
fn a_column_is_found_folded_then_exact() {
    let names = ["id", "ID", "createdAt", "a.b"];
    let position = |asked: &str| resolve_column(asked, names.iter().copied());
    assert_eq!(position("Id"), Some(0));
    assert_eq!(position("\"ID\""), Some(1));
    assert_eq!(position("createdAt"), Some(2));
    assert_eq!(position("a.b"), Some(3));
    assert_eq!(position("createdat"), None);
}

#[test]
fn the_schema_public_is_left_out_of_folders_and_topics() {
    let reference = |asked: &str| TableReference::parse(asked).unwrap();
    assert_eq!(reference("public.orders").folder(), "orders");
    assert_eq!(reference("sales.orders").folder(), "sales.orders");
    assert_eq!(reference("\"a/b\"").folder(), "a%2Fb");
    assert_eq!(reference("\"a/b\"").former_folder().unwrap(), "a_b");
    assert_eq!(reference("sales.orders").former_folder(), None);
    assert_eq!(reference("\"public.orders\"").short(), "public.orders");
    assert_eq!(reference("public.orders").topic("shop"), "shop.orders");
    assert_eq!(
        reference("sales.\"Ör der\"").topic("shop"),
        "shop.sales._r_der"
    );
}

#[test]
fn similar_names_start_with_the_best() {
    let names = ["customers", "orders_archive", "shop.orders", "products"];
    assert_eq!(
        similar("public.Ordres", names),
        ["shop.orders", "orders_archive"]
    );
    assert_eq!(nearest("public.Ordres", names), Some("shop.orders"));
    assert_eq!(nearest("xyz", names), None);
}

#[test]
fn a_name_is_quoted_where_folding_would_change_it() {
    assert_eq!(TableName::new("public", "orders_2").written(), "orders_2");
    assert_eq!(
        TableName::new("Sales", "a.\"b").written(),
        "\"Sales\".\"a.\"\"b\""
    );
}

/// Names with everything that quoting, folding and splitting can trip over.
fn any_name() -> impl Strategy<Value = String> {
    prop::string::string_regex("[a-zA-Z0-9_.\"*/ %äÖ$\\\\\n]{1,12}").unwrap()
}

proptest! {
    #[test]
    fn an_exact_reference_reads_back_and_finds_its_table(schema in any_name(), name in any_name()) {
        let table = TableName::new(schema, name);
        let reference = TableReference::exact(&table);
        prop_assert_eq!(TableReference::parse(&reference.to_string()), Ok(reference.clone()));
        let tables = [TableName::new(table.schema.to_lowercase(), table.name.to_lowercase()), table.clone()];
        prop_assert_eq!(reference.resolve(tables.iter()), Some(&table));
        prop_assert_eq!(TableReference::parse(&table.quoted()), Ok(reference));
    }

    #[test]
    fn a_written_name_means_its_table(schema in any_name(), name in any_name(), public in any::<bool>()) {
        let schema = if public { PUBLIC.to_owned() } else { schema };
        let table = TableName::new(schema, name);
        let reference = TableReference::parse(&table.written()).unwrap();
        let tables = [table.clone()];
        prop_assert_eq!(reference.resolve(tables.iter()), Some(&table));
        prop_assert!(reference.may_be(&TableReference::exact(&table)));
    }

    #[test]
    fn whatever_parses_is_written_and_parsed_again_to_the_same(text in "[a-zA-Z.\" ]{0,12}") {
        if let Ok(reference) = TableReference::parse(&text) {
            prop_assert_eq!(TableReference::parse(&reference.to_string()), Ok(reference));
        }
    }

    #[test]
    fn a_topic_has_only_characters_that_kafka_allows(name in any_name()) {
        let topic = TableReference::exact(&TableName::new(PUBLIC, name)).topic("p");
        prop_assert!(topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
    }

    #[test]
    fn a_folder_is_one_name_below_the_lake(schema in any_name(), name in any_name(), dots in "[.]{1,3}") {
        for table in [TableName::new(PUBLIC, name), TableName::new(PUBLIC, dots), TableName::new(schema, ".")] {
            let folder = TableReference::exact(&table).folder();
            let path = std::path::Path::new(&folder);
            let parts: Vec<_> = path.components().collect();
            prop_assert!(matches!(parts.as_slice(), [std::path::Component::Normal(one)] if *one == folder.as_str()), "{}", folder);
            prop_assert!(!folder.contains(['*', '?', '[', '=']) && !folder.starts_with(['.', '_']), "{}", folder);
        }
    }

    #[test]
    fn two_tables_never_get_one_folder(
        one in (any_name(), any_name()), two in (any_name(), any_name())
    ) {
        let table = |(schema, name): (String, String)| TableName::new(schema, name);
        let (one, two) = (table(one), table(two));
        let folder = |table: &TableName| TableReference::exact(table).folder();
        prop_assert_eq!(folder(&one) == folder(&two), one == two);
    }

    #[test]
    fn a_quoted_name_means_its_own_table_alone(name in any_name(), other in any_name()) {
        let table = TableName::new(PUBLIC, name);
        let others = [other, table.name.to_lowercase(), table.name.to_uppercase()];
        for other in others.map(|name| TableName::new(PUBLIC, name)) {
            let means = TableReference::exact(&table).may_mean(&other);
            prop_assert_eq!(means, other == table);
        }
    }
}

#[test]
fn a_name_is_shown_in_one_line_and_cannot_steer_a_terminal() {
    let table = TableName::new("public", "a\nb\u{1b}[2Jc\u{2028}");
    assert_eq!(table.to_string(), "public.a\\nb\\u{1b}[2Jc\\u{2028}");
    assert_eq!(printable("Tromsø, plain"), "Tromsø, plain");
}

#[test]
fn a_reference_to_a_journal_means_the_journal_of_its_table() {
    let cases = [
        ("orders", "inlet.orders_changes"),
        ("public.orders", "inlet.orders_changes"),
        ("Orders", "inlet.orders_changes"),
        ("\"Orders\"", "inlet.Orders_changes"),
        ("shop.orders", "inlet.shop__orders_changes"),
        ("\"Shop\".Orders", "inlet.Shop__orders_changes"),
    ];
    for (table, journal) in cases {
        let table = TableReference::parse(table).unwrap();
        assert_eq!(table.folded().journal().short(), journal);
        assert!(
            table.journal().may_mean(&table.folded().journal()),
            "{table}"
        );
    }
    let written = TableReference::parse("inlet.orders_changes").unwrap();
    assert_eq!(TableReference::parse("orders").unwrap().journal(), written);
}
