//! The columns of an exported table, and where each file has them. Pure.
//!
//! An exported table is the history: every version of every row. It has the columns that the view
//! of the history has, under the same names: those of the table, those that were dropped, the
//! change columns, and the date of the folder.

use std::collections::BTreeMap;

use inlet_lake::{CHANGE_COLUMNS, Head};
use inlet_model::change::{DETECTED_AT, KAFKA_PARTITION};
use inlet_model::{ColumnType, Fingerprint, Scalar, TableSchema, common};
use xxhash_rust::xxh3::xxh3_64;

use super::error::ExportError;
use crate::views::{Columns, Files, Present, Table, ViewNames, distinct, is_same, names_under};

/// What an export of this version looks like: with another number every table is exported again.
const VERSION: u32 = 1;

/// How a format finds the columns of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Each file may have names of its own for the columns of the table.
    PerFile,
    /// A column has one name in all files; a renamed one is two columns.
    OfTable,
}

/// An exported table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub names: ViewNames,
    /// The columns in the files, in the order of the table; then that of the folder's date.
    pub fields: Vec<Field>,
    /// The columns of the files of each schema, in the order of the files.
    pub in_files: BTreeMap<Fingerprint, Vec<InFile>>,
    /// The name of the column that has the date of the folder.
    pub date: String,
    /// The SELECT of the latest state, over a table that is named `{history}` in it.
    pub latest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub column_type: ColumnType,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFile {
    /// Its name there.
    pub name: String,
    /// Its name in the statistics of the log.
    pub own: String,
    pub column_type: ColumnType,
    /// Its position in the fields of the table.
    pub field: usize,
}

/// What stands for the table of the history in [`Shape::latest`].
pub const HISTORY: &str = "{history}";

impl Shape {
    pub fn new(
        head: &Head,
        latest: &TableSchema,
        names: &ViewNames,
        naming: Naming,
    ) -> Result<Self, ExportError> {
        let columns = Columns::new(head, latest);
        let sources = sources(&columns, naming);
        let mut in_files = BTreeMap::new();
        let mut types: Vec<Option<ColumnType>> = vec![None; sources.len()];
        for schema in head.schemas.values() {
            let mut of_file = Vec::new();
            for (name, column) in names_under(head, schema).into_iter().zip(&schema.columns) {
                let has = |source: &Vec<String>| source.iter().any(|known| is_same(known, &name));
                let field = sources.iter().position(has);
                let field = field.expect("every name in files is of a column of the history");
                let both = match types[field] {
                    Some(known) => common(known, column.column_type),
                    None => Some(column.column_type),
                };
                types[field] = Some(both.ok_or_else(|| ExportError::NoCommonType {
                    table: head.table.clone(),
                    column: name.clone(),
                })?);
                of_file.push(InFile {
                    name,
                    own: column.name.clone(),
                    column_type: column.column_type,
                    field,
                });
            }
            let change = CHANGE_COLUMNS.into_iter().enumerate();
            of_file.extend(change.map(|(at, (name, _))| InFile {
                name: name.to_owned(),
                own: name.to_owned(),
                column_type: of_change_column(name),
                field: sources.len() + at,
            }));
            in_files.insert(schema.fingerprint(), of_file);
        }
        let shown = sources.iter().map(|names| names[0].as_str());
        let shown: Vec<&str> = shown.chain(CHANGE_COLUMNS.map(|(name, _)| name)).collect();
        // A column of the latest schema may be in no file yet.
        let declared = columns.present.iter().map(|column| column.column_type);
        let declared: Vec<ColumnType> = declared.collect();
        let types = types.into_iter().enumerate().map(|(at, of)| {
            let declared = declared.get(at).copied();
            of.or(declared).unwrap_or(Scalar::Text.into())
        });
        let types = types.chain(CHANGE_COLUMNS.map(|(name, _)| of_change_column(name)));
        let fields: Vec<Field> = distinct(&shown, &[])
            .into_iter()
            .zip(types)
            .map(|(name, column_type)| Field { name, column_type })
            .collect();
        let date = head.date_key.clone().unwrap_or_else(|| "date".to_owned());
        Ok(Self {
            names: names.clone(),
            latest: latest_state(head, columns, &fields, &date),
            fields,
            in_files,
            date,
        })
    }

    /// Tells two exports apart that have other columns, other names in files, or another view.
    pub fn hash(&self) -> u64 {
        xxh3_64(format!("{VERSION} {self:?}").as_bytes())
    }
}

/// The names in files of each column of the history, its shown name first.
fn sources(columns: &Columns, naming: Naming) -> Vec<Vec<String>> {
    let identities = columns.identities.iter().map(|identity| &identity.column);
    let present = columns.present.iter().chain(identities);
    let own: Vec<Vec<String>> = present.map(|column| column.in_files.clone()).collect();
    let former = columns.former.iter().map(|name| vec![name.clone()]);
    if naming == Naming::PerFile {
        return own.into_iter().chain(former).collect();
    }
    let shown = own.iter().map(|names| vec![names[0].clone()]);
    let earlier = own.iter().flat_map(|names| names.iter().skip(1));
    let earlier = earlier.map(|name| vec![name.clone()]);
    shown.chain(earlier).chain(former).collect()
}

fn of_change_column(name: &str) -> ColumnType {
    match name {
        inlet_model::change::OP => Scalar::Text,
        KAFKA_PARTITION => Scalar::Int32,
        DETECTED_AT => Scalar::TimestampTz,
        _ => Scalar::Int64,
    }
    .into()
}

/// The SELECT of the latest state over the exported history, whose columns have one name each.
fn latest_state(head: &Head, mut columns: Columns, fields: &[Field], date: &str) -> String {
    let exported = |column: &mut Present| {
        let field = fields
            .iter()
            .find(|field| is_same(&field.name, &column.shown));
        if let Some(field) = field {
            column.in_files = vec![field.name.clone()];
            column.is_uniform = field.column_type == column.column_type;
        }
    };
    columns.present.iter_mut().for_each(exported);
    columns.key.iter_mut().for_each(exported);
    for identity in &mut columns.identities {
        exported(&mut identity.column);
        exported(&mut identity.of);
    }
    columns.may_be_missing = false;
    let table = Table {
        columns: Some(columns),
        data: Some(Files::Exported(HISTORY.to_owned())),
        rejected: None,
        date_key: date.to_owned(),
        is_spread: head.offsets.len() > 1,
        as_of: None,
    };
    table.latest()
}
