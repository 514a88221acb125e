//! The names of columns in data files. Pure.
//!
//! A reader puts the files of a table together by the names of their columns
//! (`union_by_name = true`). So a name belongs to one generation of a column at a time: the same
//! column of PostgreSQL (its number, within one relation), with types that have a lossless common
//! type ([`inlet_model::union`]). [`assign`] gives the names, as a function of what the log knows:
//!
//! 1. The columns of the latest schema have their own names. Of two that differ in case only, the
//!    later one gets `<name>_1`: readers compare names without ASCII case.
//! 2. A column of an older schema has the same name as the one of the latest schema, if it is the
//!    same generation.
//! 3. Any other column keeps the name that it has. If the latest schema needs that name, the
//!    column is *retired*: it gets `<name>__1`, or the next number that is free.
//!
//! What differs from a schema's own names is stored, in the log's entry that changes it and in the
//! checkpoint:
//! `{"<fingerprint>":{"<column>":"<name in files>",..},..}`; an empty object: its own names again.

use std::collections::{BTreeMap, BTreeSet};

use inlet_model::{Column, ColumnType, Fingerprint, TableSchema, Union, union};
use serde::{Deserialize, Serialize};

/// The names that differ from those of the columns, by schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ColumnNames(BTreeMap<Fingerprint, BTreeMap<String, String>>);

/// A name in data files under which values of a column are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameInFiles {
    /// The column's name in these files.
    pub name: String,
    /// The types that it has there.
    pub types: Vec<ColumnType>,
}

/// A column of a schema.
#[derive(Debug, Clone, Copy)]
struct ColumnOf<'a> {
    schema: &'a TableSchema,
    at: usize,
}

/// The columns by their names in files, in lower case.
#[derive(Debug, Default)]
struct Groups<'a> {
    by_name: BTreeMap<String, Group<'a>>,
    /// The names in files of columns with one name, in lower case: a wide table has
    /// thousands of names, and a column may share one of a few.
    by_column: BTreeMap<String, BTreeSet<String>>,
}

/// The columns that have one name in files.
#[derive(Debug)]
struct Group<'a> {
    name: String,
    members: Vec<ColumnOf<'a>>,
}

impl ColumnNames {
    /// True while every column of every schema has always had its own name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of each column in files of this schema.
    pub fn of<'a>(&'a self, schema: &'a TableSchema) -> Vec<&'a str> {
        let own = self.0.get(&schema.fingerprint());
        let columns = schema.columns.iter();
        columns
            .map(|column| {
                let name = own.and_then(|own| own.get(&column.name));
                name.map_or(column.name.as_str(), String::as_str)
            })
            .collect()
    }

    /// Stores the names of some schemas in place of those before. A schema that has its own names
    /// again stays listed: files that are not published yet may have the others.
    pub fn apply(&mut self, changed: &Self) {
        let changed = changed.0.iter();
        self.0
            .extend(changed.map(|(schema, names)| (*schema, names.clone())));
    }

    /// The schemas whose names changed.
    pub fn schemas(&self) -> impl Iterator<Item = Fingerprint> {
        self.0.keys().copied()
    }

    /// True when each column of the schema has its own name.
    pub fn is_plain(&self, schema: Fingerprint) -> bool {
        self.0.get(&schema).is_none_or(BTreeMap::is_empty)
    }

    /// What [`Self::apply`] needs to make `later` of these names.
    fn changed(&self, later: &Self) -> Self {
        let of = |names: &Self, schema| names.0.get(schema).cloned().unwrap_or_default();
        let schemas = self.0.keys().chain(later.0.keys());
        let changed = schemas
            .filter(|schema| of(self, schema) != of(later, schema))
            .map(|schema| (*schema, of(later, schema)));
        Self(changed.collect())
    }
}

/// The names that change when schemas are added and `latest` is the latest one.
pub(super) fn assign(
    known: &BTreeMap<Fingerprint, TableSchema>,
    names: &ColumnNames,
    added: &BTreeMap<Fingerprint, TableSchema>,
    latest: &TableSchema,
    reserved: &[&str],
) -> ColumnNames {
    let naming = Naming {
        before: groups(known.values(), names),
        names,
        reserved,
    };
    names.changed(&naming.assign(known, added, latest))
}

/// The names in files under which values of a column of `schema` are, whatever it was called; its
/// present one first.
pub(super) fn names_of(
    known: &BTreeMap<Fingerprint, TableSchema>,
    names: &ColumnNames,
    schema: &TableSchema,
    at: usize,
) -> Vec<NameInFiles> {
    let naming = Naming {
        before: groups(known.values(), names),
        names,
        reserved: &[],
    };
    let ours = ColumnOf { schema, at };
    let mut found = vec![NameInFiles {
        name: names.of(schema)[at].to_owned(),
        types: vec![ours.column().column_type],
    }];
    for group in naming.before.by_name.values() {
        for member in &group.members {
            let is_ours = match naming.have_same_number(*member, ours) {
                Some(alike) => alike,
                None => member.name() == ours.name(),
            };
            if !is_ours {
                continue;
            }
            let column_type = member.column().column_type;
            match found.iter_mut().find(|found| found.name == group.name) {
                Some(found) if found.types.contains(&column_type) => {}
                Some(found) => found.types.push(column_type),
                None => found.push(NameInFiles {
                    name: group.name.clone(),
                    types: vec![column_type],
                }),
            }
        }
    }
    found
}

struct Naming<'a> {
    /// The columns by the names that they have now.
    before: Groups<'a>,
    names: &'a ColumnNames,
    /// Names in files that are not a column's: change columns, and the key of the folders by date.
    reserved: &'a [&'a str],
}

impl<'a> Naming<'a> {
    fn assign(
        &self,
        known: &'a BTreeMap<Fingerprint, TableSchema>,
        added: &'a BTreeMap<Fingerprint, TableSchema>,
        latest: &'a TableSchema,
    ) -> ColumnNames {
        let mut groups = Groups::default();
        for column in columns(latest) {
            let name = self.name_in_latest(&groups, column, latest);
            groups.insert(name, column);
        }
        let others = known.values().chain(added.values());
        let others = others.filter(|schema| schema.fingerprint() != latest.fingerprint());
        let mut columns: Vec<_> = others
            .flat_map(|schema| {
                let in_files = self.names.of(schema).into_iter();
                columns(schema).zip(in_files).collect::<Vec<_>>()
            })
            .collect();
        // Columns that have their own names keep them before retired ones could take them, and
        // those that have no file yet come last.
        columns.sort_by_key(|(column, name)| {
            let is_known = known.contains_key(&column.schema.fingerprint());
            (!is_known, column.name() != *name)
        });
        for (column, name) in columns {
            let is_known = known.contains_key(&column.schema.fingerprint());
            let name = self.name_of(&groups, column, is_known.then_some(name), latest);
            groups.insert(name, column);
        }
        let mut names: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for group in groups.by_name.into_values() {
            for member in group.members {
                if member.name() != group.name {
                    let of_schema = names.entry(member.schema.fingerprint()).or_default();
                    of_schema.insert(member.name().to_owned(), group.name.clone());
                }
            }
        }
        ColumnNames(names)
    }

    fn name_in_latest(
        &self,
        groups: &Groups<'_>,
        column: ColumnOf<'_>,
        latest: &TableSchema,
    ) -> String {
        let is_free = |name: &str| groups.get(name).is_none() && !self.is_reserved(name);
        if is_free(column.name()) {
            return column.name().to_owned();
        }
        // Two columns of the table differ in case only. The name that this one has in older files
        // is kept, so that it stays the same whatever happens to the other one.
        let own = |name: &str| {
            latest
                .columns
                .iter()
                .any(|c| c.name.eq_ignore_ascii_case(name))
        };
        let kept = self.before.groups_of(column.name()).find(|group| {
            is_free(&group.name)
                && !own(&group.name)
                && group
                    .members
                    .iter()
                    .any(|member| self.is_same(*member, column))
        });
        match kept {
            Some(group) => group.name.clone(),
            None => self.free(groups, column.name(), "_", latest),
        }
    }

    fn name_of(
        &self,
        groups: &Groups<'_>,
        column: ColumnOf<'_>,
        known: Option<&str>,
        latest: &TableSchema,
    ) -> String {
        let own = column.name();
        let fits = |group: &&Group<'_>| self.fits(group, column);
        let is_latest = |group: &&Group<'_>| {
            let mut members = group.members.iter();
            members.any(|member| member.schema.fingerprint() == latest.fingerprint())
        };
        // The name of the latest schema first: the same generation shows under one name.
        if let Some(group) = groups.groups_of(own).filter(is_latest).find(fits) {
            return group.name.clone();
        }
        for name in known.into_iter().chain([own]) {
            let is_possible = match groups.get(name) {
                Some(group) => self.fits(group, column) && group.name == name,
                None => !self.is_reserved(name),
            };
            if is_possible {
                return name.to_owned();
            }
        }
        match groups.groups_of(own).find(fits) {
            Some(group) => group.name.clone(),
            None => self.free(groups, own, "__", latest),
        }
    }

    /// The first name with a number that no column has, or had until now.
    fn free(
        &self,
        groups: &Groups<'_>,
        name: &str,
        separator: &str,
        latest: &TableSchema,
    ) -> String {
        let numbered = (1_u32..).map(|number| format!("{name}{separator}{number}"));
        let is_taken = |name: &String| {
            groups.get(name).is_some()
                || self.before.get(name).is_some()
                || self.is_reserved(name)
                || latest
                    .columns
                    .iter()
                    .any(|column| column.name.eq_ignore_ascii_case(name))
        };
        let mut free = numbered.skip_while(is_taken);
        free.next().expect("a table has fewer columns than numbers")
    }

    /// True when a column may have the name of these columns.
    fn fits(&self, group: &Group<'_>, column: ColumnOf<'_>) -> bool {
        group.members.iter().all(|member| {
            member.schema.fingerprint() != column.schema.fingerprint()
                && member.name().eq_ignore_ascii_case(column.name())
                && self.is_same(*member, column)
                && is_common(*member, column)
        })
    }

    /// True when both are the same column of PostgreSQL.
    fn is_same(&self, one: ColumnOf<'_>, two: ColumnOf<'_>) -> bool {
        let by_number = self.have_same_number(one, two);
        by_number.unwrap_or_else(|| one.name().eq_ignore_ascii_case(two.name()))
    }

    /// Compares the numbers of two columns; `None` where they cannot be compared: 0.1.0 stored
    /// none, and those of another relation mean other columns.
    fn have_same_number(&self, one: ColumnOf<'_>, two: ColumnOf<'_>) -> Option<bool> {
        let in_relation = |relation| {
            let one = self.number_in(one, relation)?;
            Some(one == self.number_in(two, relation)?)
        };
        in_relation(two.schema.relation).or_else(|| in_relation(one.schema.relation))
    }

    /// The column's number in a relation: its own, or that of the columns whose name it shares.
    fn number_in(&self, column: ColumnOf<'_>, relation: Option<u32>) -> Option<i16> {
        if column.schema.relation == relation
            && let Some(number) = column.column().number
        {
            return Some(number);
        }
        let name = self.names.of(column.schema)[column.at];
        let members = &self.before.get(name)?.members;
        let is_known = members
            .iter()
            .any(|member| member.schema.fingerprint() == column.schema.fingerprint());
        // A schema without files shares no name with others yet.
        let of_relation = |member: &&ColumnOf<'_>| is_known && member.schema.relation == relation;
        members
            .iter()
            .filter(of_relation)
            .find_map(|member| member.column().number)
    }

    fn is_reserved(&self, name: &str) -> bool {
        let mut reserved = self.reserved.iter();
        reserved.any(|reserved| reserved.eq_ignore_ascii_case(name))
    }
}

impl<'a> Groups<'a> {
    fn get(&self, name: &str) -> Option<&Group<'a>> {
        self.by_name.get(&key(name))
    }

    /// The groups of columns with this name.
    fn groups_of(&self, column: &str) -> impl Iterator<Item = &Group<'a>> {
        let names = self.by_column.get(&key(column)).into_iter().flatten();
        names.filter_map(|name| self.by_name.get(name))
    }

    fn insert(&mut self, name: String, column: ColumnOf<'a>) {
        let of_column = self.by_column.entry(key(column.name())).or_default();
        of_column.insert(key(&name));
        let group = self.by_name.entry(key(&name)).or_insert_with(|| Group {
            name,
            members: Vec::new(),
        });
        group.members.push(column);
    }
}

impl<'a> ColumnOf<'a> {
    fn column(self) -> &'a Column {
        &self.schema.columns[self.at]
    }

    fn name(self) -> &'a str {
        &self.column().name
    }
}

fn groups<'a>(schemas: impl Iterator<Item = &'a TableSchema>, names: &ColumnNames) -> Groups<'a> {
    let mut groups = Groups::default();
    for schema in schemas {
        for (column, name) in columns(schema).zip(names.of(schema)) {
            groups.insert(name.to_owned(), column);
        }
    }
    groups
}

fn columns(schema: &TableSchema) -> impl Iterator<Item = ColumnOf<'_>> {
    (0..schema.columns.len()).map(move |at| ColumnOf { schema, at })
}

fn is_common(one: ColumnOf<'_>, two: ColumnOf<'_>) -> bool {
    union(one.column().column_type, two.column().column_type) != Union::NewGeneration
}

/// Readers compare names without ASCII case.
fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
