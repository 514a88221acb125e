//! Identifiers as users write them: resolved as SQL does, first folded to lower case, then exactly;
//! quoted parts only exactly.

use super::error::{CatalogError, Names};

/// How many similar names an error lists.
const SIMILAR_MAX: usize = 5;
/// Jaro-Winkler similarity from which a name is worth showing.
const SIMILAR_MIN: f64 = 0.8;

/// A part of a dotted name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    text: String,
    quoted: bool,
}

impl Part {
    fn folded(&self) -> String {
        if self.quoted {
            self.text.clone()
        } else {
            self.text.to_lowercase()
        }
    }
}

/// The (schema, table) pairs that `asked` may mean, the likelier first; without a schema the search
/// path decides.
pub fn table_candidates(asked: &str) -> Result<Vec<(Option<String>, String)>, CatalogError> {
    let mut parts = parse(asked)
        .filter(|parts| parts.len() <= 2)
        .ok_or_else(|| CatalogError::Name {
            asked: asked.to_owned(),
        })?;
    let table = parts.pop().ok_or_else(|| CatalogError::Name {
        asked: asked.to_owned(),
    })?;
    let schema = parts.pop();
    let folded = (schema.as_ref().map(Part::folded), table.folded());
    let exact = (schema.map(|schema| schema.text), table.text);
    Ok(if folded == exact {
        vec![exact]
    } else {
        vec![folded, exact]
    })
}

/// The position of the column that `asked` means among `names`.
pub(super) fn column_position<'a>(
    asked: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<usize> {
    // A name that is no identifier (it holds a dot, say) can still be a column's exact name.
    let folded = parse(asked)
        .filter(|parts| parts.len() == 1)
        .and_then(|mut parts| parts.pop())
        .map(|part| (part.folded(), part.text));
    let position = |wanted: &str| names.clone().position(|name| name == wanted);
    let (folded, exact) = folded.unwrap_or_else(|| (asked.to_owned(), asked.to_owned()));
    position(&folded).or_else(|| position(&exact))
}

/// The names most similar to `asked`, the most similar first.
pub(super) fn similar(asked: &str, names: impl Iterator<Item = String>) -> Names {
    let bare = |name: &str| {
        name.rsplit('.')
            .next()
            .unwrap_or(name)
            .trim_matches('"')
            .to_lowercase()
    };
    let wanted = bare(asked);
    let mut scored: Vec<(f64, String)> = names
        .map(|name| (strsim::jaro_winkler(&wanted, &bare(&name)), name))
        .collect();
    scored.retain(|(score, _)| *score >= SIMILAR_MIN);
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Names(
        scored
            .into_iter()
            .take(SIMILAR_MAX)
            .map(|(_, name)| name)
            .collect(),
    )
}

/// Splits a dotted name; `None` when it is none.
fn parse(asked: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = asked.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside)?,
            None => {
                let (text, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                (
                    Part {
                        text: text.to_owned(),
                        quoted: false,
                    },
                    after,
                )
            }
        };
        if part.text.is_empty() || (!part.quoted && part.text.contains('"')) {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The part up to its closing quote, and what follows.
fn quoted(inside: &str) -> Option<(Part, &str)> {
    let mut text = String::new();
    let mut rest = inside;
    loop {
        let (before, after) = rest.split_once('"')?;
        text.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                text.push('"');
                rest = next;
            }
            None => return Some((Part { text, quoted: true }, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(asked: &str) -> Vec<(Option<String>, String)> {
        table_candidates(asked).expect("a name")
    }

    fn pair(schema: Option<&str>, table: &str) -> (Option<String>, String) {
        (schema.map(str::to_owned), table.to_owned())
    }

    #[test]
    fn an_unquoted_name_is_folded_first_and_exact_second() {
        assert_eq!(
            candidates("ROLL001_orders"),
            [pair(None, "roll001_orders"), pair(None, "ROLL001_orders")]
        );
        assert_eq!(
            candidates("Shop.Orders"),
            [pair(Some("shop"), "orders"), pair(Some("Shop"), "Orders")]
        );
        assert_eq!(candidates("orders"), [pair(None, "orders")]);
    }

    #[test]
    fn a_quoted_part_is_exact() {
        assert_eq!(
            candidates(r#""Mixed"."Case""#),
            [pair(Some("Mixed"), "Case")]
        );
        assert_eq!(
            candidates(r#"Shop."a.b""c""#),
            [pair(Some("shop"), "a.b\"c"), pair(Some("Shop"), "a.b\"c")]
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for asked in [
            "", ".", "a.", ".a", "a.b.c", r#""a"#, r#""a"b"#, r#"a"b"#, r#""""#,
        ] {
            assert!(table_candidates(asked).is_err(), "{asked}");
        }
    }

    #[test]
    fn a_column_is_found_folded_then_exact() {
        let names = ["id", "ID", "createdAt", "a.b"];
        let position = |asked: &str| column_position(asked, names.iter().copied());
        assert_eq!(position("Id"), Some(0));
        assert_eq!(position("\"ID\""), Some(1));
        assert_eq!(position("createdAt"), Some(2));
        assert_eq!(position("a.b"), Some(3));
        assert_eq!(position("createdat"), None);
    }

    #[test]
    fn similar_names_come_with_the_best_first() {
        let names = ["customers", "orders_archive", "shop.orders", "products"].map(str::to_owned);
        assert_eq!(
            similar("public.Ordres", names.into_iter()).0,
            ["shop.orders", "orders_archive"]
        );
    }
}
