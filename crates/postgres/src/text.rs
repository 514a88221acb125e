//! PostgreSQL's own text of a value, and a value from such a text, whatever its type.
//!
//! The text of a value is what its type's output function gives: the same that a plain SELECT
//! shows, and that arrays, composites and ranges contain. A cast to text is something else. Anybody
//! who owns a type may define a cast to text, also one that gives a text for NULL; and the cast of
//! `inet` adds a netmask that its output does not show. The same holds for the way back.

/// The SQL of a value's text: the output function's, and null for NULL alone.
pub fn text_of(value: &str) -> String {
    // `concat` calls the output function of its argument's type, of any type, and gives an empty
    // text for NULL. `IS NULL` is also true of a composite whose fields are all null, and
    // `IS DISTINCT FROM` asks for NULL itself. The schema is named because a user's `concat` of
    // the very type would be preferred.
    format!("CASE WHEN {value} IS DISTINCT FROM NULL THEN pg_catalog.concat({value}) END")
}

/// How a value is read from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The type's name in SQL.
    pub(crate) sql_type: String,
    /// True where a cast from text may be a function of the type's owner.
    pub(crate) has_own_casts: bool,
}

impl Input {
    /// The SQL of the value. `bind` takes a text and the type that it is cast to, and gives the SQL
    /// of the bound value.
    pub fn value(&self, text: &str, bind: &mut impl FnMut(String, &str) -> String) -> String {
        if !self.has_own_casts {
            return bind(text.to_owned(), &self.sql_type);
        }
        // An array's cast from text is its input function, which calls that of the elements.
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        let array = bind(
            format!("{{\"{escaped}\"}}"),
            &format!("{}[]", self.sql_type),
        );
        format!("({array})[1]")
    }

    /// The SQL of the value whose text an expression gives; null for a null text.
    pub(crate) fn of(&self, text: &str) -> String {
        if !self.has_own_casts {
            return format!("({text})::{}", self.sql_type);
        }
        let escaped = format!(r#"replace(replace({text}, '\', '\\'), '"', '\"')"#);
        format!("(('{{\"' || {escaped} || '\"}}')::{}[])[1]", self.sql_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(has_own_casts: bool, text: &str) -> (String, String) {
        let input = Input {
            sql_type: "s.t".to_owned(),
            has_own_casts,
        };
        let mut bound = String::new();
        let mut bind = |text: String, sql_type: &str| {
            bound = text;
            format!("$1::text::{sql_type}")
        };
        (input.value(text, &mut bind), bound)
    }

    #[test]
    fn a_type_with_casts_of_its_owner_is_read_by_its_input_function() {
        assert_eq!(
            value(false, "a\"b"),
            ("$1::text::s.t".to_owned(), "a\"b".to_owned())
        );
        assert_eq!(
            value(true, r#"a"b\c,{}"#),
            (
                "($1::text::s.t[])[1]".to_owned(),
                r#"{"a\"b\\c,{}"}"#.to_owned()
            )
        );
    }
}
