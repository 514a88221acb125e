//! What a user asks of the poll of a table, in a file of the table's folder: [`Request`] as JSON.
//!
//! Without a broker the poll's progress is in the lake, so requests are beside it. The file is
//! replaced as a whole, and only users write it: the poll answers in its progress.

use std::path::{Path, PathBuf};

use inlet_model::Request;
use inlet_service::file::replace;

use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::REQUEST;

/// The last request for a table; `None` where there was none, or where the file cannot be read.
pub fn read_request(folder: &Path) -> Option<Request> {
    let path = file(folder);
    let bytes = match Store::existing(folder).and_then(|store| store.read(REQUEST)) {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "request cannot be read");
            return None;
        }
    };
    match Request::decode(&bytes) {
        Ok(request) => Some(request),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "request is no JSON of a request");
            None
        }
    }
}

/// Stores a request, in place of the one before.
pub fn write_request(folder: &Path, request: &Request) -> Result<(), LakeError> {
    let path = file(folder);
    let store = Store::existing(folder)?;
    if store.is_bucket() {
        return store.replace(REQUEST, "", request.encode().as_bytes());
    }
    replace(&path, request.encode().as_bytes())
        .map_err(|source| LakeError::io("write", &path, source))
}

fn file(folder: &Path) -> PathBuf {
    folder.join(REQUEST)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_last_request_counts_and_a_damaged_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_request(folder.path()), None);
        for id in ["1", "2"] {
            let request = Request {
                id: id.to_owned(),
                ..Request::default()
            };
            write_request(folder.path(), &request).unwrap();
            assert_eq!(read_request(folder.path()), Some(request));
        }
        fs::write(folder.path().join(REQUEST), "{").unwrap();
        assert_eq!(read_request(folder.path()), None);
    }
}
