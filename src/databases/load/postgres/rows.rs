//! The tables of a PostgreSQL database and their rows, compared with what was saved.

use serde_json::Value;

use crate::format::description::TableCount;

use crate::databases::load::compare::{Found, compare, parts};
use crate::databases::load::options::Failure;

use super::server::Postgres;

const TABLES: &str = "select coalesce(json_agg(json_build_array(n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), \
    c.relkind = 'r' and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid \
    and d.deptype = 'e'))), '[]') from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'f', 'm') and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema';";

/// Compares tables and rows with those that were saved; all of the database, or one table. Returns how many agree.
pub(crate) fn check(
    server: &Postgres<'_>,
    database: &str,
    saved: &[TableCount],
    table: Option<&str>,
) -> Result<Result<(u64, u64), String>, Failure> {
    let only = table.map(parts);
    let is_meant = |key: &[String]| only.as_ref().is_none_or(|only| is_table(only, key));
    let saved: Vec<(Vec<String>, &TableCount)> =
        saved.iter().map(|t| (parts(&t.name), t)).filter(|(key, _)| is_meant(key)).collect();
    let answer = server.ask(database, TABLES)?;
    let all: Vec<Value> = serde_json::from_str(answer.trim()).map_err(|e| Failure::Because(e.to_string()))?;
    let mut found: Vec<(Found, Option<u64>)> = Vec::new();
    for row in &all {
        let word = |n: usize| row[n].as_str().unwrap_or_default().to_owned();
        let key = vec![word(0), word(1)];
        let counts = row[3].as_bool().unwrap_or_default();
        found.push((Found { key, name: word(2), counts }, None));
    }
    // Names are those of the server itself: what a description says is no SQL.
    let mut counted: Vec<&mut (Found, Option<u64>)> =
        found.iter_mut().filter(|(f, _)| saved.iter().any(|(key, _)| *key == f.key)).collect();
    let text: String = counted.iter().map(|(f, _)| format!("select count(*) from {};\n", f.name)).collect();
    if !text.is_empty() {
        let answer = server.ask(database, &text)?;
        for (table, line) in counted.iter_mut().zip(answer.lines()) {
            table.1 = line.trim().parse().ok();
        }
    }
    Ok(compare(&saved, &found, only.is_none()))
}

/// Whether a table is meant: by its name, or with its schema.
pub(crate) fn is_table(meant: &[String], key: &[String]) -> bool {
    match meant {
        [name] => key.last() == Some(name),
        meant => meant == key,
    }
}
