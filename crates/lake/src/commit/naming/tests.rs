//! Tables that are altered in every way, with rows of older schemas that arrive late.

use inlet_model::{Scalar, SchemaFields, TableName};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const RESERVED: [&str; 2] = ["_op", "date"];

/// What a table's owner does, or the way of the rows.
#[derive(Debug, Clone)]
enum Act {
    Add(&'static str, Scalar),
    Drop(Index),
    Rename(Index, &'static str),
    Retype(Index, Scalar),
    /// The table is dropped and recreated with the same columns, numbered from 1.
    Recreate,
    /// Rows of an earlier schema arrive, which is not the latest one.
    Late(Index),
    /// Rows of an earlier schema are found again: the table was altered back.
    Back(Index),
}

fn scalar() -> impl Strategy<Value = Scalar> {
    let decimal = |precision, scale| Scalar::Decimal { precision, scale };
    select(vec![
        Scalar::Text,
        Scalar::Json,
        Scalar::Int16,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Float32,
        Scalar::Float64,
        decimal(38, 0),
        decimal(38, 10),
        decimal(60, 3),
        Scalar::Date,
        Scalar::Timestamp,
    ])
}

fn name() -> impl Strategy<Value = &'static str> {
    // Names that differ in case, one of the lake, and what retired columns of others are called.
    select(vec!["a", "A", "b", "a__1", "a_1", "A__2", "Date"])
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (name(), scalar()).prop_map(|(name, scalar)| Act::Add(name, scalar)),
        3 => any::<Index>().prop_map(Act::Drop),
        3 => (any::<Index>(), name()).prop_map(|(at, name)| Act::Rename(at, name)),
        4 => (any::<Index>(), scalar()).prop_map(|(at, scalar)| Act::Retype(at, scalar)),
        1 => Just(Act::Recreate),
        2 => any::<Index>().prop_map(Act::Late),
        1 => any::<Index>().prop_map(Act::Back),
    ]
}

/// A column, and the number that no other column of the test ever has.
type Real = (Column, u32);

#[derive(Debug, Default)]
struct Table {
    columns: Vec<Real>,
    relation: u32,
    next_number: i16,
    next_real: u32,
    /// 0.1.0 stored no numbers.
    is_numbered: bool,
}

impl Table {
    fn add(&mut self, name: &str, scalar: Scalar) {
        if self.columns.iter().any(|(column, _)| column.name == name) {
            return;
        }
        self.next_number += 1;
        self.next_real += 1;
        let column = Column {
            name: name.to_owned(),
            column_type: scalar.into(),
            postgres_type: String::new(),
            as_text: false,
            not_null: false,
            generated: false,
            number: Some(self.next_number),
        };
        self.columns.push((column, self.next_real));
    }

    fn act(&mut self, act: &Act) {
        let count = self.columns.len();
        match act {
            Act::Add(name, scalar) => self.add(name, *scalar),
            Act::Drop(at) if count > 0 => {
                self.columns.remove(at.index(count));
            }
            Act::Rename(at, name) if count > 0 => {
                let is_free = self.columns.iter().all(|(column, _)| column.name != *name);
                let column = &mut self.columns[at.index(count)].0;
                column.name = if is_free {
                    (*name).to_owned()
                } else {
                    column.name.clone()
                };
            }
            Act::Retype(at, scalar) if count > 0 => {
                self.columns[at.index(count)].0.column_type = (*scalar).into();
            }
            Act::Recreate => {
                self.relation += 1;
                for (number, (column, real)) in (1..).zip(&mut self.columns) {
                    column.number = Some(number);
                    self.next_real += 1;
                    *real = self.next_real;
                }
                self.next_number = count as i16;
            }
            _ => {}
        }
    }

    fn schema(&self) -> (TableSchema, Vec<u32>) {
        let columns = self.columns.iter().map(|(column, _)| Column {
            number: column.number.filter(|_| self.is_numbered),
            ..column.clone()
        });
        let fields = SchemaFields {
            table: TableName::new("public", "t"),
            columns: columns.collect(),
            key: vec![],
            relation: self.is_numbered.then_some(self.relation),
            identities: vec![],
        };
        let reals = self.columns.iter().map(|(_, real)| *real);
        (TableSchema::from_fields(fields), reals.collect())
    }
}

/// The log's part, and what is true of the columns.
#[derive(Debug, Default)]
struct Lake {
    schemas: BTreeMap<Fingerprint, TableSchema>,
    names: ColumnNames,
    reals: BTreeMap<Fingerprint, Vec<u32>>,
}

impl Lake {
    fn commit(&mut self, schema: &TableSchema, reals: &[u32], latest: &TableSchema) {
        let mut added = BTreeMap::new();
        if !self.schemas.contains_key(&schema.fingerprint()) {
            added.insert(schema.fingerprint(), schema.clone());
        }
        let changed = assign(&self.schemas, &self.names, &added, latest, &RESERVED);
        self.schemas.extend(added);
        self.reals.insert(schema.fingerprint(), reals.to_vec());
        self.names.apply(&changed);
    }

    fn check(&self, latest: &TableSchema) -> Result<(), TestCaseError> {
        let mut by_name: BTreeMap<String, Vec<(ColumnOf<'_>, u32)>> = BTreeMap::new();
        for schema in self.schemas.values() {
            let names = self.names.of(schema);
            let mut own: Vec<String> = names.iter().map(|name| key(name)).collect();
            own.sort();
            own.dedup();
            prop_assert_eq!(
                own.len(),
                names.len(),
                "a file has each name once: {:?}",
                names
            );
            for (column, name) in columns(schema).zip(names) {
                prop_assert!(!RESERVED.contains(&key(name).as_str()));
                let real = self.reals[&schema.fingerprint()][column.at];
                by_name.entry(key(name)).or_default().push((column, real));
            }
        }
        for (name, columns) in &by_name {
            for (one, real) in columns {
                for (two, other) in columns {
                    prop_assert!(is_common(*one, *two), "`{}` has two types", name);
                    // What an unnumbered schema means by a name, and what another relation does, is
                    // known by the name alone.
                    let is_known =
                        one.schema.relation.is_some() && one.schema.relation == two.schema.relation;
                    prop_assert!(!is_known || real == other, "`{}` is two columns", name);
                }
            }
        }
        let mut seen = vec![];
        for (column, name) in latest.columns.iter().zip(self.names.of(latest)) {
            let own = key(&column.name);
            let is_taken = seen.contains(&own) || RESERVED.contains(&own.as_str());
            prop_assert_eq!(
                name != column.name,
                is_taken,
                "the plain name is the newest"
            );
            seen.push(own);
        }
        for at in 0..latest.columns.len() {
            let found = names_of(&self.schemas, &self.names, latest, at);
            let real = self.reals[&latest.fingerprint()][at];
            for (column, other) in by_name.values().flatten() {
                let name = self.names.of(column.schema)[column.at];
                let is_found = found.iter().any(|found| found.name == name);
                let is_known =
                    latest.relation.is_some() && column.schema.relation == latest.relation;
                if is_known {
                    prop_assert!(is_found || real != *other, "`{}` is not found", name);
                    prop_assert!(!is_found || real == *other || by_name[&key(name)].len() > 1);
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_happens_to_a_table_a_name_in_files_has_one_meaning(
        acts in vec(act(), 1..25), numbered_from in 0..10_usize,
    ) {
        let (mut table, mut lake) = (Table::default(), Lake::default());
        table.add("a", Scalar::Text);
        let mut history = vec![];
        let (mut latest, _) = table.schema();
        for (step, act) in acts.iter().enumerate() {
            table.is_numbered = step >= numbered_from;
            match act {
                Act::Late(at) | Act::Back(at) if !history.is_empty() => {
                    let (schema, reals): &(TableSchema, Vec<u32>) = &history[at.index(history.len())];
                    if matches!(act, Act::Back(_)) {
                        latest = schema.clone();
                    } else if lake.schemas.is_empty() {
                        continue;
                    }
                    lake.commit(schema, reals, &latest);
                }
                _ => {
                    table.act(act);
                    let (schema, reals) = table.schema();
                    history.push((schema.clone(), reals.clone()));
                    // Some schemas arrive late only.
                    if step % 3 == 2 {
                        continue;
                    }
                    latest = schema.clone();
                    lake.commit(&schema, &reals, &latest);
                }
            }
            lake.check(&latest)?;
        }
    }

    #[test]
    fn names_read_back(schemas in vec((any::<u64>(), vec((".*", ".*"), 0..3)), 0..3)) {
        let schemas = schemas.into_iter().map(|(schema, names)| {
            (Fingerprint(schema), names.into_iter().collect())
        });
        let names = ColumnNames(schemas.collect());
        let text = serde_json::to_string(&names).unwrap();
        prop_assert_eq!(serde_json::from_str::<ColumnNames>(&text).unwrap(), names);
    }
}

/// The names in files after schemas of one relation, given as (number, name, type), arrived one
/// after the other.
fn after(schemas: &[&[(i16, &str, Scalar)]]) -> Vec<Vec<String>> {
    let schema = |columns: &&[(i16, &str, Scalar)]| {
        let column = |(number, name, scalar): &(i16, &str, Scalar)| Column {
            name: (*name).to_owned(),
            column_type: (*scalar).into(),
            postgres_type: String::new(),
            as_text: false,
            not_null: false,
            generated: false,
            number: Some(*number),
        };
        TableSchema::new(
            TableName::new("public", "t"),
            columns.iter().map(column).collect(),
            vec![],
        )
    };
    let schemas: Vec<_> = schemas.iter().map(schema).collect();
    let mut lake = Lake::default();
    for schema in &schemas {
        lake.commit(schema, &[], schema);
    }
    let names = schemas.iter().map(|schema| lake.names.of(schema));
    names
        .map(|names| names.into_iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn a_column_of_another_type_retires_the_older_one_and_returns() {
    use Scalar::{Int32, Json, Text};
    let text: &[_] = &[(1, "note", Text)];
    assert_eq!(
        after(&[text, &[(1, "note", Json)]]),
        [["note__1"], ["note"]]
    );
    let three: [&[_]; 3] = [text, &[(1, "note", Json)], &[(1, "note", Int32)]];
    assert_eq!(after(&three), [["note__1"], ["note__2"], ["note"]]);
    let back: [&[_]; 3] = [text, &[(1, "note", Int32)], text];
    assert_eq!(after(&back), [["note"], ["note__2"], ["note"]]);
}

#[test]
fn a_column_is_known_by_its_number() {
    use Scalar::Text;
    let dropped: [&[_]; 2] = [&[(1, "note", Text)], &[(2, "note", Text)]];
    assert_eq!(after(&dropped), [["note__1"], ["note"]]);
    let swapped: [&[_]; 2] = [
        &[(1, "a", Text), (2, "b", Text)],
        &[(1, "b", Text), (2, "a", Text)],
    ];
    assert_eq!(after(&swapped), [["a__1", "b__1"], ["b", "a"]]);
    let renamed: [&[_]; 2] = [&[(1, "a", Text)], &[(1, "b", Text)]];
    assert_eq!(
        after(&renamed),
        [["a"], ["b"]],
        "both are read by their names"
    );
}

#[test]
fn names_that_differ_in_case_only_are_numbered() {
    use Scalar::{Int32, Text};
    let both: [&[_]; 2] = [
        &[(1, "Id", Text), (2, "id", Int32)],
        &[(1, "Id", Text), (2, "id", Int32), (3, "ID", Int32)],
    ];
    assert_eq!(after(&both)[1], ["Id", "id_1", "ID_2"]);
    let dropped: [&[_]; 2] = [both[0], &[(2, "id", Int32)]];
    assert_eq!(after(&dropped), [vec!["Id__1", "id"], vec!["id"]]);
    let date: [&[_]; 1] = [&[(1, "Date", Text)]];
    assert_eq!(
        after(&date),
        [["Date_1"]],
        "the folders have the name `date`"
    );
}

#[test]
fn a_real_column_takes_the_name_of_a_retired_one() {
    use Scalar::{Json, Text};
    let taken: [&[_]; 3] = [
        &[(1, "note", Text)],
        &[(1, "note", Json)],
        &[(1, "note", Json), (2, "note__1", Text)],
    ];
    assert_eq!(after(&taken)[0], ["note__2"]);
    assert_eq!(after(&taken)[2], ["note", "note__1"]);
}
