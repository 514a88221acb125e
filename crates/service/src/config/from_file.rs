//! A value from a file of its own, as container engines and systemd hand over secrets:
//! `password_file` beside `password`.

use super::problem::{Problem, Problems};
use super::yaml::Text;

/// More than this is no password, address or key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The value of `key`, written there or in the file that `<key>_file` names; the later file of the
/// configuration wins, and one file gives only one of them.
pub(super) fn value(
    key: &str,
    own: Option<&Text>,
    file: Option<&Text>,
    problems: &mut Problems,
) -> Option<Text> {
    let (own, file) = match (own, file) {
        (own, None) => return own.cloned(),
        (Some(own), Some(file)) if own.place.layer > file.place.layer => return Some(own.clone()),
        (own, Some(file)) => (own, file),
    };
    if own.is_some_and(|own| own.place.layer == file.place.layer) {
        problems.add(
            Problem::at(
                &file.place,
                format!("`{key}` and `{key}_file` are both given"),
            )
            .hint("keep one of them"),
        );
        return None;
    }
    let refused = |what: String| {
        let problem = Problem::at(&file.place, format!("`{key}_file` {what}"));
        problem.hint("give a file that this user may read and that holds the value alone")
    };
    let text = problems.take(read(&file.value).map_err(refused))?;
    Some(Text {
        value: text,
        place: file.place.clone(),
    })
}

/// The file's text without the line end that editors put behind it. What it holds is in no message.
fn read(path: &str) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {path}: {error}");
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if about.is_file() && about.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes: {path}"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("is not UTF-8: {path}"))?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if value.is_empty() {
        Err(format!("is empty: {path}"))
    } else {
        Ok(value.to_owned())
    }
}
