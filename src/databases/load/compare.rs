//! Whether a database has the tables and rows that it was saved with.

use std::collections::BTreeMap;

use crate::format::description::TableCount;

use super::options::counted;
use super::sql::words;

/// Differences that are named.
const NAMED_MAX: usize = 5;

/// A table of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name in parts, without quotes.
    pub key: Vec<String>,
    /// Its name as the server quotes it.
    pub name: String,
    /// Whether it would be named if nothing is known of it: a table of its own, and not of an extension.
    pub counts: bool,
}

/// The parts of a name that is quoted as PostgreSQL does it.
pub(super) fn parts(name: &str) -> Vec<String> {
    words(name.as_bytes()).iter().filter_map(|word| word.name().map(str::to_owned)).collect()
}

/// Compares the rows of tables: those that were saved, by their keys, and those that are there. What is there and was
/// not saved is a difference only `if_whole`. Returns how many tables and rows agree.
pub(super) fn compare(
    saved: &[(Vec<String>, &TableCount)],
    found: &[(Found, Option<u64>)],
    if_whole: bool,
) -> Result<(u64, u64), String> {
    let by_key: BTreeMap<&[String], &(Found, Option<u64>)> = found.iter().map(|f| (f.0.key.as_slice(), f)).collect();
    let (mut wrong, mut rows) = (Vec::new(), 0u64);
    for (key, table) in saved {
        let name = &table.name;
        match by_key.get(key.as_slice()) {
            None => wrong.push(format!("table {name} is missing")),
            Some((_, Some(n))) if *n == table.rows => rows = rows.saturating_add(*n),
            Some((_, Some(n))) => {
                wrong.push(format!("table {name} has {} instead of {}", counted(*n, "row", "rows"), table.rows));
            }
            Some((_, None)) => wrong.push(format!("the rows of table {name} were not counted")),
        }
    }
    if if_whole {
        let more = found.iter().filter(|(f, _)| f.counts && !saved.iter().any(|(key, _)| *key == f.key));
        wrong.extend(more.map(|(f, _)| format!("table {} was not there when it was saved", f.name)));
    }
    match wrong.len() {
        0 => Ok((saved.len() as u64, rows)),
        n => {
            let mut text = wrong[..n.min(NAMED_MAX)].join("; ");
            if n > NAMED_MAX {
                text.push_str(&format!("; and {} more", n - NAMED_MAX));
            }
            Err(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(name: &str, rows: u64) -> TableCount {
        TableCount { name: name.to_owned(), rows, checksum: None }
    }

    fn found(name: &str, rows: u64) -> (Found, Option<u64>) {
        (Found { key: parts(name), name: name.to_owned(), counts: true }, Some(rows))
    }

    #[test]
    fn what_is_missing_what_is_more_and_what_has_other_rows_is_named() {
        let tables = [saved("public.a", 1), saved("public.\"B b\"", 2), saved("public.c", 3)];
        let tables: Vec<_> = tables.iter().map(|t| (parts(&t.name), t)).collect();
        let all = [found("public.a", 1), found("public.\"B b\"", 2), found("public.c", 3)];
        assert_eq!(compare(&tables, &all, true), Ok((3, 6)));
        let other = [found("public.a", 1), found("public.c", 4), found("public.d", 0)];
        let text = compare(&tables, &other, true).unwrap_err();
        assert_eq!(
            text,
            "table public.\"B b\" is missing; table public.c has 4 rows instead of 3; \
             table public.d was not there when it was saved"
        );
        assert!(!compare(&tables, &other, false).unwrap_err().contains("public.d"));
    }

    /// Newer servers quote fewer or more names.
    #[test]
    fn names_are_the_same_with_and_without_quotes() {
        assert_eq!(parts("public.\"orders\""), parts("public.orders"));
        assert_ne!(parts("public.\"a.b\""), parts("public.a.b"));
    }
}
