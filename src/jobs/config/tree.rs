//! What a file says, with the place of each value: tables merge, and everything knows where it stands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigError, Place, Problem};

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// A value of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the file.
    Table(Table),
}

impl Value {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// A key of a table, where it stands, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub node: Node,
}

/// Keys and values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub Vec<Entry>);

impl Table {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The table of a key; `None` if it is missing or no table.
    pub fn table(&self, key: &str) -> Option<&Table> {
        match &self.get(key)?.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text of a key; `None` if it is missing or no text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// This table over another: tables merge key by key, lists and values replace.
    pub fn over(&self, below: &Table) -> Table {
        let mut merged = below.clone();
        for entry in &self.0 {
            match merged.0.iter_mut().find(|known| known.key == entry.key) {
                None => merged.0.push(entry.clone()),
                Some(known) => {
                    let value = match (&entry.node.value, &known.node.value) {
                        (Value::Table(over), Value::Table(below)) => Value::Table(over.over(below)),
                        (value, _) => value.clone(),
                    };
                    let node = Node { value, place: entry.node.place.clone() };
                    *known = Entry { node, ..entry.clone() };
                }
            }
        }
        merged
    }

    /// Only these keys.
    pub fn only(&self, keys: &[&str]) -> Table {
        Table(self.0.iter().filter(|entry| keys.contains(&entry.key.as_str())).cloned().collect())
    }

    /// All but these keys.
    pub fn without(&self, keys: &[&str]) -> Table {
        Table(self.0.iter().filter(|entry| !keys.contains(&entry.key.as_str())).cloned().collect())
    }
}

/// Reads a file's text.
pub fn parse(file: &Path, text: &str) -> Result<Table, ConfigError> {
    let file = Arc::new(file.to_owned());
    let places = Places { file, text };
    match DeTable::parse(text) {
        Ok(table) => Ok(places.table(table.into_inner())),
        Err(e) => {
            let place = places.at(e.span().map_or(0, |span| span.start));
            Err(ConfigError(vec![Problem { place: Some(place), what: e.message().to_owned() }]))
        }
    }
}

struct Places<'t> {
    file: Arc<PathBuf>,
    text: &'t str,
}

impl Places<'_> {
    fn at(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Place { file: self.file.clone(), line, column: before[line_start..].chars().count() + 1 }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        for (key, value) in table {
            let start = key.span().start;
            let entry = Entry { key: key.into_inner().into_owned(), place: self.at(start), node: self.node(value) };
            entries.push((start, entry));
        }
        entries.sort_by_key(|(start, _)| *start);
        Table(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let place = self.at(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Number)
            }
            // No key takes one: as a text it is refused with what is expected.
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(list) => Value::List(list.into_iter().map(|node| self.node(node)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { value, place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Table {
        parse(Path::new("/etc/x.toml"), text).unwrap()
    }

    #[test]
    fn everything_knows_where_it_stands() {
        let table = read("a = 1\n[\"\u{fc}\"]\n  b = [true, \"x\"]\n");
        let entry = &table.table("\u{fc}").unwrap().0[0];
        assert_eq!((entry.key.as_str(), entry.place.to_string().as_str()), ("b", "/etc/x.toml:3:3"));
        let Value::List(list) = &entry.node.value else { panic!("{entry:?}") };
        assert_eq!((&list[1].value, list[1].place.column), (&Value::Text("x".to_owned()), 14));
        let error = parse(Path::new("x"), "a = 1\nb = = 2\n").unwrap_err().to_string();
        assert!(error.starts_with("x:2:5: "), "{error}");
    }

    #[test]
    fn tables_merge_and_lists_and_values_replace() {
        let below = read("a = 1\nb = [1, 2]\n[t]\nx = 1\ny = 2\n");
        let over = read("b = [3]\n[t]\ny = 3\nz = 4\n");
        let merged = over.over(&below);
        assert_eq!(merged.get("a"), below.get("a"));
        assert_eq!(merged.get("b"), over.get("b"));
        let keys: Vec<&str> = merged.table("t").unwrap().0.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["x", "y", "z"]);
        assert_eq!(merged.table("t").unwrap().get("y").unwrap().place.line, 3);
    }
}
