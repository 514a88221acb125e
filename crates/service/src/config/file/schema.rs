//! The configuration's JSON Schema (draft-07, which the YAML servers of editors read), rendered
//! from the declared keys.
//!
//! It refuses nothing that Inlet takes: wherever a form asks for a pattern, a text with `${VAR}`
//! passes as well.

use serde_json::{Map, Value, json};

use super::key::{Absent, Form, Key};

/// A text with a variable in it: what it will be, only the environment knows.
const VARIABLE: &str = r"\$\{";

/// Renders the schema of a file with these keys.
pub(crate) fn render(title: &str, description: &str, keys: &[Key]) -> String {
    let mut root = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "description": description,
    });
    merge(&mut root, object(keys));
    root["type"] = json!("object");
    format!("{root:#}\n")
}

/// A section: its keys and no others. One under which nothing stands counts as absent.
fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
}

fn property(key: &Key) -> Value {
    let mut about = key.about.trim().to_owned();
    match key.default {
        Absent::Value(value) => about.push_str(&format!(" Default: {value}.")),
        Absent::Words(words) => about.push_str(&format!(" Default: {words}.")),
        Absent::Off => {}
    }
    // Editors show the description as plain text.
    let mut property = json!({ "description": about.replace('`', "") });
    if let Absent::Value(value) = key.default {
        property["default"] = typed(value);
    }
    if !key.example.is_empty() {
        property["examples"] = json!([typed(key.example)]);
    }
    merge(&mut property, form(key.form));
    property
}

fn form(form: Form) -> Value {
    match form {
        Form::Text | Form::Path => scalar(),
        Form::Duration => {
            json!({ "type": "string", "pattern": or_variable("[0-9]+ ?(ms|s|m|h|d)") })
        }
        Form::DurationOrNever => {
            json!({ "type": ["integer", "string"], "maximum": 0, "pattern": or_variable("0|[0-9]+ ?(ms|s|m|h|d)") })
        }
        Form::Seconds => {
            json!({ "type": ["integer", "string"], "minimum": 1, "pattern": or_variable("[0-9]+ ?(ms|s|m|h|d)?") })
        }
        Form::Size => {
            json!({ "type": "string", "pattern": or_variable("[0-9]+ ?(B|KiB|MiB|GiB)") })
        }
        Form::Count => {
            json!({ "type": ["integer", "string"], "minimum": 1, "pattern": or_variable("[0-9_]+") })
        }
        Form::CountOrDefault => {
            json!({ "type": ["integer", "string"], "minimum": -1, "not": { "const": 0 }, "pattern": or_variable("-1|[0-9_]+") })
        }
        Form::Port => {
            json!({ "type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": or_variable("[0-9]+") })
        }
        Form::Boolean => {
            json!({ "type": ["boolean", "string"], "pattern": or_variable("true|yes|on|false|no|off") })
        }
        Form::Timezone => json!({ "type": "string", "pattern": or_variable("[A-Za-z0-9_+/-]+") }),
        Form::Choice(words) => {
            // YAML keeps the bare word for itself.
            let words = words.iter().flat_map(|word| {
                if *word == "null" {
                    vec![json!(null), json!(word)]
                } else {
                    vec![json!(word)]
                }
            });
            json!({ "anyOf": [{ "enum": words.collect::<Vec<_>>() }, { "type": "string", "pattern": VARIABLE }] })
        }
        Form::Texts => {
            json!({ "type": ["string", "number", "boolean", "array"], "items": scalar() })
        }
        Form::Properties(refused) => {
            json!({ "type": ["object", "null"], "propertyNames": { "not": { "enum": refused() } }, "additionalProperties": scalar() })
        }
        Form::Section(keys) => object(keys),
        Form::Tables(keys) => {
            json!({ "type": ["object", "null"], "additionalProperties": object(keys) })
        }
    }
}

/// One value, whatever YAML takes it for: `007` is a password.
fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn or_variable(pattern: &str) -> String {
    format!("^({pattern})$|{VARIABLE}")
}

/// A declared value as YAML reads it.
fn typed(value: &str) -> Value {
    let bare = value
        .strip_prefix('[')
        .and_then(|list| list.strip_suffix(']'));
    if let Some(list) = bare {
        return list.split(", ").map(typed).collect();
    }
    let number = value
        .replace('_', "")
        .parse::<i64>()
        .ok()
        .map(|number| json!(number));
    number
        .or_else(|| value.parse::<bool>().ok().map(|truth| json!(truth)))
        .unwrap_or_else(|| json!(value))
}

fn merge(base: &mut Value, more: Value) {
    let (Value::Object(base), Value::Object(more)) = (base, more) else {
        return;
    };
    base.extend(more);
}
