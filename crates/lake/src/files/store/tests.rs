use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&folder.path().join("deep/er/lake")).unwrap();
    (folder, store)
}

#[test]
fn a_name_is_given_once_and_leaves_no_temporary_file() {
    let (_folder, store) = store();
    assert!(matches!(
        store.put_if_absent("_log/1.json", "_staging/a", b"first"),
        Ok(Put::Created)
    ));
    assert!(matches!(
        store.put_if_absent("_log/1.json", "_staging/b", b"second"),
        Ok(Put::Exists)
    ));
    assert_eq!(
        store.read("_log/1.json").unwrap().as_deref(),
        Some(b"first".as_slice())
    );
    assert_eq!(store.list(STAGING).unwrap(), Vec::<String>::new());
}

#[test]
fn a_file_system_without_locks_is_named_and_keeps_no_file_of_an_attempt() {
    let (_folder, store) = store();
    let attempt = |error| store.create_locked_by("_staging/w.lock", |_| Err(error));
    for number in [37, 38, 95, 22] {
        let error = attempt(TryLockError::Error(io::Error::from_raw_os_error(number)));
        assert!(
            matches!(
                error,
                Err(LakeError::Unsupported {
                    lacks: "file locks",
                    ..
                })
            ),
            "{error:?}"
        );
    }
    let broken = attempt(TryLockError::Error(io::Error::from_raw_os_error(5)));
    assert!(matches!(broken, Err(LakeError::Io { .. })), "{broken:?}");
    assert!(matches!(attempt(TryLockError::WouldBlock), Ok(None)));
    assert_eq!(store.list(STAGING).unwrap(), Vec::<String>::new());
    store.probe().unwrap();
    assert_eq!(store.list("").unwrap().len(), 3, "the lake's own folders");
}

#[test]
fn a_folder_below_a_file_cannot_be_a_lake() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"x").unwrap();
    assert!(matches!(
        Store::create(&folder.path().join("file/lake")),
        Err(LakeError::NotFolder { .. })
    ));
    assert!(matches!(
        Store::create(&folder.path().join("file")),
        Err(LakeError::NotFolder { .. })
    ));
}

#[test]
fn a_lake_behind_a_link_that_leads_nowhere_is_neither_created_nor_empty() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("unmounted"), &link).unwrap();
    for path in [link.clone(), link.join("lake")] {
        let created = Store::create(&path);
        assert!(
            matches!(created, Err(LakeError::Dangling { .. })),
            "{created:?}"
        );
        let existing = Store::existing(&path).unwrap();
        assert!(existing.list("").is_err() && existing.read("_log/1.json").is_err());
    }
    fs::create_dir(folder.path().join("unmounted")).unwrap();
    assert!(Store::create(&link).is_ok());
}
