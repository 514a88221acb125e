//! Giving columns in files other names, after an entry that changes them (`commit/naming`).
//!
//! The names are a function of the log's head; a file has the right ones or not, and its footer
//! tells. So each step may be repeated, by any writer, after a crash at any point:
//!
//! 1. The entry with the new names is in the log, and its files are invisible.
//! 2. One writer at a time goes on, under a lock. It reads the entries that were appended since:
//!    the latest names count.
//! 3. The files of all earlier entries are published: also a writer that has not read the entry yet
//!    cannot show a file with the old names after this step.
//! 4. Each file that has other names than its schema gets a copy with another footer, which is
//!    renamed over it. Columns leave their names first, then others take them, so that a reader
//!    never finds two meanings under one name. A reader that has opened a file keeps the one that
//!    it has opened.
//! 5. The later files are published, which have the new names before they are visible.
//! 6. The checkpoint is written, as a sign that all files up to it have their names.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inlet_model::Fingerprint;

use super::checkpoint;
use super::claim::Claim;
use super::entry::DataFile;
use super::list::{list, schema_of};
use super::log::{Log, Unsettled};
use super::publish::publish_chosen;
use super::recover::lock_within;
use crate::error::LakeError;
use crate::files::footer::Footer;
use crate::files::names::{RETIRE, is_data};
use crate::files::{Bucket, Store, local_file, side_by_side};

/// How long another writer may take to rename the columns of all files. It copies each of them.
const RETIRE_TIME_MAX: Duration = Duration::from_secs(3600);

/// Waits until no other writer publishes files of this table.
///
/// A bucket has no locks. The names are a function of the log, so writers that do it at the same
/// time write the same footers, except where one has not read the latest entry yet.
pub(super) fn lock(store: &Store) -> Result<Option<File>, LakeError> {
    if store.is_bucket() {
        return Ok(None);
    }
    let path = store.path(RETIRE);
    let failed = |source| LakeError::io("locking", &path, source);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    // The kernel unlocks it when its holder ends, however it ends.
    lock_within(&lock, RETIRE_TIME_MAX).map_err(failed)?;
    Ok(Some(lock))
}

/// Gives all files the names of the head, if an entry since the checkpoint changed names; returns
/// how many staged files it published. The caller holds the lock.
pub(super) fn settle(log: &mut Log, claim: &Claim) -> Result<usize, LakeError> {
    let Some(Unsettled { first, last, .. }) = log.unsettled else {
        return Ok(0);
    };
    // Another writer may have done it in the meantime.
    if checkpoint::read(&log.store)?.is_some_and(|head| head.seq >= last) {
        log.unsettled = None;
        return Ok(0);
    }
    let mut published = publish_chosen(log, claim, |pending| pending.seq < first)?;
    let unsettled = log.unsettled.as_ref().expect("it is kept until the end");
    rename_columns(log, claim, &unsettled.schemas)?;
    published += publish_chosen(log, claim, |_| true)?;
    log.unsettled = None;
    // Merged files of a writer that ended are shown next, and get their names then.
    if !log.pending.is_empty() {
        return Ok(published);
    }
    if let Err(error) = log.write_checkpoint(claim) {
        // Without it the next opening only reads the footers again.
        let table = &log.head.table;
        tracing::warn!(%table, %error, "the log's checkpoint was not written");
    }
    Ok(published)
}

/// Gives the columns of one file the names of the head; does nothing when the file is missing.
pub(super) fn name_columns(
    log: &Log,
    claim: &Claim,
    file: &DataFile,
    place: &str,
) -> Result<(), LakeError> {
    // A file of rejected rows has no columns.
    if log.head.names.is_empty() || !is_data(&file.path) {
        return Ok(());
    }
    let placed = DataFile {
        path: place.to_owned(),
        ..file.clone()
    };
    let Some(schema) = schema_of(&log.store, &log.head, &placed)? else {
        return Ok(());
    };
    rename_in(log, claim, &log.store.path(place), schema).map(|_| ())
}

/// Renames the columns of the published files of these schemas.
fn rename_columns(
    log: &Log,
    claim: &Claim,
    schemas: &BTreeSet<Fingerprint>,
) -> Result<(), LakeError> {
    let table = &log.head.table;
    let files = list(&log.store, &log.head)?;
    let of_schemas = |plain: bool| {
        let of_schema = |schema: &Fingerprint| {
            schemas.contains(schema) && log.head.names.is_plain(*schema) == plain
        };
        let files = files.iter();
        let files =
            files.filter_map(move |file| Some((file.schema.filter(of_schema)?, &file.path)));
        files.collect::<Vec<_>>()
    };
    let (renamed, folders) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let mut count = 0;
    // Names are given up before they are taken.
    for files in [of_schemas(false), of_schemas(true)] {
        count += files.len();
        side_by_side(&files, |(schema, path)| {
            let found = match rename_in(log, claim, path, *schema) {
                Err(error @ LakeError::Damaged { .. }) => {
                    // Readers fail on it whatever its columns are called; the other files go on.
                    tracing::warn!(%table, %error, "the columns of a damaged file keep their names");
                    return Ok(());
                }
                found => found?,
            };
            if !found.is_empty() {
                locked(&renamed).extend(found);
                locked(&folders).extend(path.parent().map(Path::to_owned));
            }
            Ok(())
        })?;
    }
    let folders = folders.into_inner().unwrap_or_else(PoisonError::into_inner);
    let folders: Vec<_> = folders.into_iter().collect();
    let is_bucket = log.store.is_bucket();
    side_by_side(&folders, |folder| {
        if is_bucket {
            return Ok(());
        }
        inlet_service::file::sync_folder(folder)
            .map_err(|source| LakeError::io("sync", folder, source))
    })?;
    for (before, after) in renamed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        tracing::warn!(
            %table, column = before, renamed_to = after, files = count,
            "a column of this name has another meaning or type now: the values of before are found \
             under the other name"
        );
    }
    Ok(())
}

/// Renames the columns of a file; returns the names before and after. Does nothing when the file is
/// missing: people remove old dates by hand.
fn rename_in(
    log: &Log,
    claim: &Claim,
    path: &Path,
    schema: Fingerprint,
) -> Result<Vec<(String, String)>, LakeError> {
    let Some(schema) = log.head.schemas.get(&schema) else {
        return Ok(Vec::new());
    };
    let names = log.head.names.of(schema);
    let Some(footer) = Footer::read(path)? else {
        return Ok(Vec::new());
    };
    if footer.has_names(&names) {
        return Ok(Vec::new());
    }
    if log.store.is_bucket() {
        rename_object(&footer, path, &names, schema.fingerprint())?;
        return Ok(changed(&footer, &names));
    }
    let copy = claim.staging_name("staged");
    // The copy is removed when this function fails.
    let (_, mut written) = log.store.create_file(&copy)?;
    footer.renamed(path, &log.store.path(&copy), &names, schema.fingerprint())?;
    std::fs::rename(&written, path).map_err(|source| LakeError::io("renaming", path, source))?;
    written.disable_cleanup(true);
    Ok(changed(&footer, &names))
}

fn changed(footer: &Footer, names: &[&str]) -> Vec<(String, String)> {
    let pairs = footer.names().zip(names);
    let pairs = pairs.filter(|(before, after)| before != *after);
    pairs
        .map(|(before, after)| (before.to_owned(), (*after).to_owned()))
        .collect()
}

/// Replaces an object by one with other names of its columns. A reader that has read its footer
/// before finds the bytes before it where they were.
fn rename_object(
    footer: &Footer,
    path: &Path,
    names: &[&str],
    schema: Fingerprint,
) -> Result<(), LakeError> {
    let failed = |source| LakeError::io("renaming", path, source);
    let (_, copy) = local_file().map_err(failed)?;
    footer.renamed(path, &copy, names, schema)?;
    let bucket = Bucket::of(path).expect("the folder is in a bucket");
    let sent = bucket.and_then(|bucket| bucket.upload("", &File::open(&copy)?));
    sent.map_err(failed)
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
