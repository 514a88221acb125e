//! The name of a table's folder in a lake of several tables.
//!
//! It is one name below the lake, on every file system, and a reader's pattern takes it as it is:
//! each byte that would leave the folder, match as a pattern, read as a Hive partition or hide the
//! folder is written as `%` and two hexadecimal digits, as URLs do. Two tables never get one
//! folder: the dot between schema and table is the only plain one.

use std::fmt::Write;

/// Bytes of the longest name that is written in full. File systems take 255, and tools add endings.
const BYTES_MAX: usize = 200;
/// Bytes that a longer name keeps before its hash.
const KEPT_BYTES: usize = 160;

/// Builds the folder's name from the schema, which is `None` for `public`, and the table's own
/// name.
pub(super) fn folder(schema: Option<&str>, name: &str) -> String {
    let mut folder = String::new();
    if let Some(schema) = schema {
        encode(schema, &mut folder);
        folder.push('.');
    }
    encode(name, &mut folder);
    // Only the first character hides a folder, or makes Hive and Spark pass it over.
    if folder.starts_with('_') {
        folder.replace_range(..1, "%5F");
    }
    if folder.len() <= BYTES_MAX {
        return folder;
    }
    // A tilde is encoded above, so that a cut name is never the full name of another table.
    let hash = xxhash_rust::xxh3::xxh3_64(folder.as_bytes());
    let mut end = KEPT_BYTES;
    while !folder.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{hash:016x}", &folder[..end])
}

fn encode(part: &str, folder: &mut String) {
    for character in part.chars() {
        // Windows and some network file systems drop blanks at the end.
        let is_unsafe = character.is_control()
            || "%/\\*?[]{}=:\"<>|~.".contains(character)
            || (character == ' ' && part.ends_with(' '));
        if is_unsafe {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                write!(folder, "%{byte:02X}").expect("a string takes all");
            }
        } else {
            folder.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_name_is_its_own_folder() {
        assert_eq!(folder(None, "orders"), "orders");
        assert_eq!(
            folder(Some("sales"), "Order Lines 2"),
            "sales.Order Lines 2"
        );
        assert_eq!(folder(None, "größe_'1'"), "größe_'1'");
    }

    #[test]
    fn what_a_path_or_a_pattern_would_read_otherwise_is_encoded() {
        for (name, expected) in [
            ("..", "%2E%2E"),
            ("a/b", "a%2Fb"),
            ("a[b]*?", "a%5Bb%5D%2A%3F"),
            ("date=2026", "date%3D2026"),
            ("_log", "%5Flog"),
            (".hidden", "%2Ehidden"),
            ("ends. ", "ends%2E%20"),
            ("two\nlines", "two%0Alines"),
        ] {
            assert_eq!(folder(None, name), expected);
        }
    }

    #[test]
    fn a_dot_in_a_name_is_not_the_one_after_the_schema() {
        assert_ne!(folder(None, "a.b"), folder(Some("a"), "b"));
        assert_ne!(folder(Some("a.b"), "c"), folder(Some("a"), "b.c"));
    }

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let name = |last: char| format!("{}{last}", "[".repeat(62));
        let (one, two) = (
            folder(Some(&name('a')), &name('b')),
            folder(Some(&name('a')), &name('c')),
        );
        assert!(one != two && one.len() <= BYTES_MAX, "{one} {two}");
    }
}
