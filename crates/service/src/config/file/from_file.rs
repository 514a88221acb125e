//! A value from a file of its own, as container engines and systemd hand over secrets:
//! `password_file` beside `password`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::problem::{Problem, Problems};
use super::read::{Unreadable, read};
use super::text::Text;

const READ_BY_OTHERS: u32 = 0o004;
/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The value of `key`, written there or in the file that `<key>_file` names; the later file of the
/// configuration wins, and one file gives only one of them.
pub(crate) fn value(
    key: &str,
    own: Option<&Text>,
    file: Option<&Text>,
    problems: &mut Problems,
) -> Option<Text> {
    let (own, file) = match (own, file) {
        (own, None) => return own.cloned(),
        // A later file overrides an earlier one, whichever of the two forms each uses.
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
    let path = problems.take(file.path(&format!("{key}_file")))?;
    let text = problems.take(secret(&path).map_err(refused))?;
    if is_readable_by_others(&path) {
        let warning = Problem::at(
            &file.place,
            format!("every user of this machine may read {}", path.display()),
        );
        problems.warn(warning.hint(format!("chmod o-r {}", path.display())));
    }
    Some(Text {
        value: text,
        place: file.place.clone(),
    })
}

/// Container engines hand over secrets that everyone may read, in a file system of the container's
/// own, in memory. There it is no mistake.
fn is_readable_by_others(path: &Path) -> bool {
    let in_memory = rustix::fs::statfs(path).is_ok_and(|system| system.f_type == TMPFS_MAGIC);
    let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
    mode & READ_BY_OTHERS != 0 && !in_memory
}

/// Returns the file's text without the line end that editors put after it. A message never holds
/// the text.
fn secret(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = read(path).map_err(|unreadable| match unreadable {
        Unreadable::Failed(error) => format!("cannot be read: {shown}: {error}"),
        other => format!("is {other}: {shown}"),
    })?;
    // Editors end a file with a line end, which is no part of the password.
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if value.is_empty() {
        Err(format!("is empty: {shown}"))
    } else {
        Ok(value.to_owned())
    }
}
