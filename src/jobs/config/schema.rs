//! What a file may say: each key with its kind and meaning. From it come the check, the JSON schema and the help.

use serde_json::{Value as Json, json};

use super::problem::{Problem, Problems};
use super::tree::{Entry, Node, Table, Value};

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name; of a secret, without what comes behind it.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it means, for the schema.
    pub doc: &'static str,
}

/// What a value is.
#[derive(Debug)]
pub enum Kind {
    /// Text in which `{...}` is filled in.
    Text,
    /// Text for a shell, in which nothing is filled in.
    Command,
    /// True or false.
    Bool,
    /// A whole number that is no less than this.
    Integer(i64),
    /// A number that is no less than 0.
    Number,
    /// Text that a function reads, and an example of it.
    Read(fn(&str) -> Result<(), String>, &'static str),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A table with these keys.
    Table(&'static [Key]),
    /// Tables of a kind under names of their own.
    Named(&'static [Key]),
    /// Texts under names of their own.
    Environment,
    /// A secret, which never stands in the file: `NAME_file`, `NAME_env`, `NAME_command`, `NAME_credential`.
    Secret,
    /// Any of these.
    Any(&'static [Kind]),
}

/// What comes behind the name of a secret.
pub const SECRETS: [(&str, &str); 4] = [
    ("file", "a file that holds it"),
    ("env", "an environment variable that holds it"),
    ("command", "a command that prints it"),
    ("credential", "a credential of systemd (LoadCredential=)"),
];

/// Checks a table against its keys; what is wrong is added to `problems`.
pub fn check(table: &Table, keys: &[Key], problems: &mut Problems) {
    for entry in &table.0 {
        match keys.iter().find(|key| is_named(key, &entry.key)) {
            Some(key) => check_value(&entry.node, &key.kind, &entry.key, problems),
            None => problems.push(unknown(entry, keys)),
        }
    }
}

fn is_named(key: &Key, name: &str) -> bool {
    match key.kind {
        Kind::Secret => {
            let ending = name.strip_prefix(key.name).and_then(|rest| rest.strip_prefix('_'));
            ending.is_some_and(|ending| SECRETS.iter().any(|(known, _)| *known == ending))
        }
        _ => key.name == name,
    }
}

/// All names that the keys have.
pub fn names(keys: &[Key]) -> Vec<String> {
    let of = |key: &Key| match key.kind {
        Kind::Secret => SECRETS.iter().map(|(ending, _)| format!("{}_{ending}", key.name)).collect(),
        _ => vec![key.name.to_owned()],
    };
    keys.iter().flat_map(of).collect()
}

fn unknown(entry: &Entry, keys: &[Key]) -> Problem {
    let what = if keys.iter().any(|key| matches!(key.kind, Kind::Secret) && key.name == entry.key) {
        let name = &entry.key;
        format!("{name} is a secret: give {name}_file, {name}_env, {name}_command or {name}_credential")
    } else {
        let known = names(keys);
        let near = known.iter().map(|name| (strsim::osa_distance(name, &entry.key), name)).min();
        match near.filter(|(distance, _)| *distance <= entry.key.chars().count() / 3 + 1) {
            Some((_, name)) => format!("unknown key `{}`; did you mean `{name}`?", entry.key),
            None => format!("unknown key `{}`; known keys: {}", entry.key, known.join(", ")),
        }
    };
    Problem { place: Some(entry.place.clone()), what }
}

fn check_value(node: &Node, kind: &Kind, name: &str, problems: &mut Problems) {
    let mut wrong = |expected: &str, found: &str| {
        let found = if found.is_empty() { String::new() } else { format!(", not {found}") };
        problems.push(Problem::at(&node.place, format!("`{name}` must be {expected}{found}")));
    };
    let found = node.value.kind();
    match (kind, &node.value) {
        (Kind::Text | Kind::Command | Kind::Secret, Value::Text(_)) | (Kind::Bool, Value::Bool(_)) => {}
        (Kind::Integer(least), Value::Integer(number)) if number >= least => {}
        (Kind::Integer(least), Value::Integer(_)) => wrong(&format!("{least} or more"), ""),
        (Kind::Integer(_), _) => wrong("a whole number", found),
        (Kind::Number, Value::Integer(number)) if *number >= 0 => {}
        (Kind::Number, Value::Number(number)) if *number >= 0.0 => {}
        (Kind::Read(read, _), Value::Text(text)) => {
            if let Err(why) = read(text) {
                problems.push(Problem::at(&node.place, format!("`{name}`: {why}")));
            }
        }
        (Kind::OneOf(values), Value::Text(text)) if values.contains(&text.as_str()) => {}
        (Kind::OneOf(values), Value::Text(_)) => wrong(&format!("one of {}", values.join(", ")), ""),
        (Kind::OneOf(values), _) => wrong(&format!("one of {}", values.join(", ")), found),
        (Kind::Texts, Value::List(list)) => {
            for item in list.iter().filter(|item| !matches!(item.value, Value::Text(_))) {
                problems.push(Problem::at(
                    &item.place,
                    format!("`{name}` must be a list of texts; this is {}", item.value.kind()),
                ));
            }
        }
        (Kind::Table(keys), Value::Table(table)) => check(table, keys, problems),
        (Kind::Named(keys), Value::Table(table)) => {
            for entry in &table.0 {
                match &entry.node.value {
                    Value::Table(table) => check(table, keys, problems),
                    other => {
                        let what = format!("`{}` must be a table, not {}", entry.key, other.kind());
                        problems.push(Problem::at(&entry.node.place, what));
                    }
                }
            }
        }
        (Kind::Environment, Value::Table(table)) => {
            for entry in table.0.iter().filter(|entry| !matches!(entry.node.value, Value::Text(_))) {
                let what = format!("`{}` must be a text, not {}", entry.key, entry.node.value.kind());
                problems.push(Problem::at(&entry.node.place, what));
            }
        }
        (Kind::Any(kinds), _) => {
            let tried = kinds.iter().map(|kind| {
                let mut problems = Problems::default();
                check_value(node, kind, name, &mut problems);
                problems
            });
            // The problems of the kind that fits best.
            if let Some(fewest) = tried.min_by_key(Vec::len) {
                problems.extend(fewest);
            }
        }
        (kind, _) => wrong(expected(kind), found),
    }
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Command | Kind::Secret | Kind::Read(..) => "a text",
        Kind::Bool => "true or false",
        Kind::Integer(_) => "a whole number",
        Kind::Number => "a number of 0 or more",
        Kind::OneOf(_) => "another text",
        Kind::Texts => "a list of texts",
        Kind::Table(_) | Kind::Named(_) | Kind::Environment => "a table",
        Kind::Any(_) => "something else",
    }
}

/// The JSON schema (draft 2020-12) of a table with these keys.
pub fn json_schema(keys: &[Key]) -> Json {
    let mut properties = serde_json::Map::new();
    for key in keys {
        match key.kind {
            Kind::Secret => {
                for (ending, what) in SECRETS {
                    let doc = format!("{}: {what}", key.doc);
                    properties
                        .insert(format!("{}_{ending}", key.name), json!({ "type": "string", "description": doc }));
                }
            }
            _ => {
                let mut schema = schema_of(&key.kind);
                if let Json::Object(schema) = &mut schema {
                    schema.insert("description".to_owned(), json!(key.doc));
                }
                properties.insert(key.name.to_owned(), schema);
            }
        }
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn schema_of(kind: &Kind) -> Json {
    match kind {
        Kind::Text | Kind::Command | Kind::Secret => json!({ "type": "string" }),
        Kind::Read(_, example) => json!({ "type": "string", "examples": [example] }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(least) => json!({ "type": "integer", "minimum": least }),
        Kind::Number => json!({ "type": "number", "minimum": 0 }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Table(keys) => json_schema(keys),
        Kind::Named(keys) => json!({ "type": "object", "additionalProperties": json_schema(keys) }),
        Kind::Environment => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Any(kinds) => json!({ "anyOf": kinds.iter().map(schema_of).collect::<Vec<_>>() }),
    }
}
