//! The status as a web page, without scripts and without anything from elsewhere.
//!
//! Names of tables and errors of servers are other people's text, so every text is escaped.

use std::fmt::Write as _;

use super::look::{Looked, Status};
use super::show::{HEADINGS, NUMBERS, cells, notes, running, summary};

/// Seconds between two requests of a browser.
const REFRESH_SECONDS: u32 = 2;
/// What the page may load: its own style and nothing else.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884}\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem}\
h1{font-size:1.35rem;margin:0 0 .3rem}p{margin:.3rem 0}\
.box{overflow-x:auto;margin:1.2rem 0}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.35rem .55rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}\
th{font-size:.75rem;opacity:.7}td.n,th.n{text-align:right}\
tr.late td:nth-child(2){color:#c40;font-weight:600}tr.unknown td:nth-child(2){opacity:.6}\
li{overflow-wrap:anywhere}footer{opacity:.7;font-size:.85rem}";

/// A table that is further behind is shown as late.
const LATE_SECONDS: f64 = 30.0;

/// The page of what a look has shown.
pub fn page(looked: &Looked) -> String {
    let mut rows = String::new();
    for table in &looked.tables {
        write!(rows, "<tr class=\"{}\">", class(table)).expect("a text takes everything");
        row(&mut rows, "td", cells(table).iter().map(String::as_str));
    }
    let mut head = "<tr>".to_owned();
    row(&mut head, "th", HEADINGS.into_iter());
    let notes: Vec<_> = notes(looked)
        .iter()
        .map(|note| format!("<li>{}</li>", sentence(note)))
        .collect();
    let notes = match notes.is_empty() {
        true => String::new(),
        false => format!("<ul>{}</ul>", notes.concat()),
    };
    document(&format!(
        "<h1>{}</h1><p>{}</p><div class=\"box\"><table><thead>{head}</thead><tbody>{rows}</tbody>\
         </table></div>{notes}",
        sentence(&summary(looked)),
        sentence(&running(looked.services))
    ))
}

/// A page that only states why there is nothing to see.
pub fn reason(reason: &str) -> String {
    document(&format!("<h1>Inlet</h1><p>{}</p>", escaped(reason)))
}

fn document(body: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" \
         content=\"{REFRESH_SECONDS}\"><title>Inlet</title><style>{STYLE}</style></head><body>\
         <main>{body}</main><footer><p>inlet {version} · <a href=\"status.json\">status.json</a> · \
         <a href=\"metrics\">metrics</a> · <a href=\"readyz\">readyz</a></p></footer></body>\
         </html>\n"
    )
}

fn class(table: &Status) -> &'static str {
    match table.freshness() {
        Some(behind) if behind.age.as_secs_f64() > LATE_SECONDS => "late",
        Some(_) => "fresh",
        None => "unknown",
    }
}

/// Adds the cells of a line, and ends it.
fn row<'a>(text: &mut String, tag: &str, cells: impl Iterator<Item = &'a str>) {
    for (at, cell) in cells.enumerate() {
        let class = match NUMBERS.contains(&at) {
            true => " class=\"n\"",
            false => "",
        };
        let cell = escaped(cell);
        write!(text, "<{tag}{class}>{cell}</{tag}>").expect("a text takes everything");
    }
    text.push_str("</tr>");
}

/// A sentence as HTML shows it: what is between backticks is code.
fn sentence(text: &str) -> String {
    let parts = escaped(text);
    let parts: Vec<_> = parts.split('`').collect();
    // A backtick without its second one stays what it is.
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    let part = |(at, part): (usize, &&str)| match at.is_multiple_of(2) {
        true => (*part).to_owned(),
        false => format!("<code>{part}</code>"),
    };
    parts.iter().enumerate().map(part).collect()
}

/// A text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_text_in_the_page() {
        assert_eq!(
            escaped("<img src=x onerror='a&\"'>"),
            "&lt;img src=x onerror=&#39;a&amp;&quot;&#39;&gt;"
        );
        assert_eq!(
            sentence("`inlet run` & <b>"),
            "<code>inlet run</code> &amp; &lt;b&gt;"
        );
        assert_eq!(sentence("a ` b"), "a ` b");
        assert!(reason("<script>").contains("&lt;script&gt;"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = reason("x");
        for word in ["<script", "http://", "https://", "<link", "<img", "src="] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
