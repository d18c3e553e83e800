//! Sources that a command lists: CSV with a heading, a source for each line.

use std::collections::BTreeSet;

use super::config::keys::SOURCE;
use super::config::problem::Place;
use super::config::schema::{Key, Kind};
use super::config::tree::{Entry, Node, Table, Value};
use super::config::{Source, check_listed};

/// The column that names a source.
const NAME: &str = "name";

/// The sources that a list names. `below` are the keys that all of them have; columns win. An error says which line is
/// wrong; it holds no value but names.
pub fn read(csv: &[u8], below: &Table, place: &Place) -> Result<Vec<Source>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(csv);
    let heading = reader.headers().map_err(|e| format!("the heading cannot be read: {}", kind_of(&e)))?.clone();
    let name_at = heading.iter().position(|column| column == NAME);
    let Some(name_at) = name_at else {
        return Err(format!(
            "the list has no column `{NAME}`; it has: {}",
            heading.iter().collect::<Vec<_>>().join(", ")
        ));
    };
    if let Some(unknown) = heading.iter().find(|column| *column != NAME && key_of(column).is_none()) {
        return Err(format!("the column `{unknown}` is no key of a source"));
    }
    let (mut sources, mut names) = (Vec::new(), BTreeSet::new());
    for (number, record) in reader.records().enumerate() {
        let line = number + 2;
        let record = record.map_err(|e| format!("line {line} cannot be read: {}", kind_of(&e)))?;
        let name = record.get(name_at).unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(format!("line {line} has no name"));
        }
        if !names.insert(name.clone()) {
            return Err(format!("line {line}: the name {name:?} stands there twice"));
        }
        let mut table = Table::default();
        for (column, text) in
            heading.iter().zip(record.iter()).filter(|(column, text)| *column != NAME && !text.is_empty())
        {
            let value = value(column, text).map_err(|why| format!("line {line}, column `{column}`: {why}"))?;
            let node = Node { value, place: place.clone() };
            table.0.push(Entry { key: column.to_owned(), place: place.clone(), node });
        }
        let source = Source { name: name.clone(), table: table.over(below) };
        check_listed(&source, place).map_err(|why| format!("line {line}, {name:?}: {why}"))?;
        sources.push(source);
    }
    if sources.is_empty() {
        return Err("the list is empty".to_owned());
    }
    Ok(sources)
}

/// What is wrong, without what stands there: that may be a password.
fn kind_of(error: &csv::Error) -> &'static str {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not valid UTF-8",
        csv::ErrorKind::UnequalLengths { .. } => "it has another number of columns than the heading",
        _ => "it is not valid CSV",
    }
}

/// The key that a column is. A password may stand in a list: it is never shown.
fn key_of(column: &str) -> Option<&'static Key> {
    SOURCE.iter().find(|key| key.name == column)
}

fn value(column: &str, text: &str) -> Result<Value, String> {
    let kind = key_of(column).map(|key| &key.kind);
    match kind {
        Some(Kind::Integer(_)) => text.parse().map(Value::Integer).map_err(|_| "this is no whole number".to_owned()),
        Some(Kind::Number) => text.parse().map(Value::Number).map_err(|_| "this is no number".to_owned()),
        Some(Kind::Bool) => match text {
            "true" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err("this is neither true nor false".to_owned()),
        },
        Some(Kind::Texts) => {
            // The place is that of the list.
            let nodes = text
                .split(' ')
                .filter(|word| !word.is_empty())
                .map(|word| Node { value: Value::Text(word.to_owned()), place: Place::default() });
            Ok(Value::List(nodes.collect()))
        }
        Some(Kind::Table(_) | Kind::Named(_) | Kind::Environment) => Err("a table cannot stand in a list".to_owned()),
        _ => Ok(Value::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(text: &str) -> Table {
        crate::jobs::config::tree::parse(std::path::Path::new("x"), text).unwrap()
    }

    fn listed(csv: &str) -> Result<Vec<Source>, String> {
        read(csv.as_bytes(), &below("user = \"pgdba\"\nkind = \"postgres\"\nport = 1\n"), &Place::default())
    }

    #[test]
    fn columns_are_keys_and_win() {
        let sources = listed("name,kind,host,port,password\nlab \"1\",mysql,h1,5433,\"a,b\"\n../../x,,h2,,\n").unwrap();
        assert_eq!(sources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["lab \"1\"", "../../x"]);
        let text = |at: usize, key: &str| sources[at].table.text(key).map(str::to_owned);
        assert_eq!((text(0, "kind"), text(1, "kind")), (Some("mysql".to_owned()), Some("postgres".to_owned())));
        assert_eq!((text(0, "password"), text(1, "password")), (Some("a,b".to_owned()), None));
        assert_eq!(text(1, "user").as_deref(), Some("pgdba"));
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_holds_no_secret() {
        for (csv, why) in [
            ("", "no column `name`"),
            ("host\nx\n", "no column `name`"),
            ("name,odd\nx,y\n", "`odd` is no key"),
            ("name,host\n", "the list is empty"),
            ("name,host\n,h\n", "line 2 has no name"),
            ("name,host\na,h\na,h\n", "line 3: the name \"a\""),
            ("name,kind\na,nothing\n", "line 2"),
            ("name,retries\na,x\n", "no whole number"),
            ("name,password\na,secret,more\n", "another number of columns"),
        ] {
            let error = listed(csv).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{csv:?}: {error}");
        }
    }
}
