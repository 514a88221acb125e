//! `inlet lake`: what a table's folder has, and whether it is whole. Reads only.
//!
//! `show`, `files` and `log` read the log; `fsck` reads every file to its last row and exits with 3
//! when something is wrong. The reader is the one of `inlet verify` and `inlet check`.

mod explain;
mod files;
mod fsck;
mod log;
mod show;

use std::path::PathBuf;

use inlet_lake::{Head, TableReader};
use inlet_service::config::{Config, Export};
use tokio_util::sync::CancellationToken;

use crate::args::{LakeArguments, LakeVerb};
use crate::failure::{Failure, Outcome};
use crate::{export, tables};

/// A table of the configuration, and its folder.
struct Table {
    /// As the configuration writes it.
    name: String,
    folder: PathBuf,
    /// Its exports, and the last entry that each has.
    exports: Vec<(Export, Option<u64>)>,
}

impl Table {
    fn reader(&self) -> TableReader {
        TableReader::new(&self.folder)
    }

    async fn head(&self) -> Result<Option<Head>, Failure> {
        Ok(self.reader().head().await?)
    }
}

/// Answers a question about the folders of these tables, or of all.
pub async fn run(arguments: LakeArguments, config: Config, stop: CancellationToken) -> Outcome {
    let asked = &arguments.verb.asked().of.tables;
    let datalake = config.require_datalake()?;
    let asked = tables::asked(asked, &config.tables)?;
    let tables: Vec<Table> = asked
        .into_iter()
        .map(|at| Table {
            name: config.tables[at].written(),
            folder: tables::folder(&config, datalake, &config.tables[at]),
            exports: export::entries(&config, datalake, at),
        })
        .collect();
    match &arguments.verb {
        LakeVerb::Show(of) => show::run(&tables, of.json).await,
        LakeVerb::Files(of) => files::run(&tables, of.json).await,
        LakeVerb::Log(arguments) => log::run(&tables, arguments.last, arguments.of.json).await,
        LakeVerb::Fsck(of) => fsck::run(&tables, of.json, &stop).await,
    }
}
