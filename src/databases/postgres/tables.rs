//! Which tables of a database have rows in its dump, and how they are counted by the server.

use std::collections::HashMap;

use serde::Deserialize;

use crate::databases::tool::Tools;
use crate::format::description::TableCount;

use super::plain::TableName;
use super::server::{Server, psql_tools, psql_words};

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Counting {
    /// Nothing.
    Off,
    /// The rows of each table.
    #[default]
    Rows,
    /// The rows of each table, and a checksum of them.
    Checksums,
}

/// A table, as the catalogs have it.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    schema: String,
    name: String,
    /// Both, as the server quotes them.
    quoted: String,
    /// Whether it came with an extension: its rows come with that, too.
    is_of_extension: bool,
}

/// Tables with rows of their own: no views, no partitioned tables, which have theirs in their partitions, and nothing of
/// other servers. What is unlogged is empty on a standby.
const TABLES: &str = "select n.nspname, c.relname, exists (select from pg_catalog.pg_depend d where d.objid = c.oid
   and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype = 'e') as of_extension
 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
 and (c.relpersistence = 'p' or c.relpersistence = 'u' and not pg_catalog.pg_is_in_recovery())";

/// The tables of a database.
pub(super) fn tables(server: &Server, database: &str) -> Result<Vec<Table>, String> {
    let sql = format!(
        "select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', nspname, 'name', relname,
 'quoted', pg_catalog.format('%I.%I', nspname, relname), 'is_of_extension', of_extension)), '[]') from ({TABLES}) x;"
    );
    server.ask(database, &sql)
}

/// The counts of a plain dump under the names that the server gives the tables.
pub(super) fn named(counted: Vec<(TableName, u64)>, tables: Vec<Table>) -> Vec<TableCount> {
    let known: HashMap<TableName, Table> =
        tables.into_iter().map(|table| ((table.schema.clone(), table.name.clone()), table)).collect();
    let counts = counted.into_iter().filter_map(|(name, rows)| {
        let quoted = match known.get(&name) {
            Some(table) if table.is_of_extension => return None,
            Some(table) => table.quoted.clone(),
            // It was made between the two looks.
            None => format!("{}.{}", quoted(&name.0), quoted(&name.1)),
        };
        Some(TableCount { name: quoted, rows, checksum: None })
    });
    let mut counts: Vec<TableCount> = counts.collect();
    counts.sort_by(|a, b| a.name.cmp(&b.name));
    counts
}

fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.chars().all(is_plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The schemas and names of the tables that pg_dump would dump for these patterns of `--table`: psql reads patterns as
/// it does.
pub(super) fn matching(server: &Server, database: &str, patterns: &[String]) -> Result<Vec<TableName>, String> {
    let mut found = Vec::new();
    for pattern in patterns {
        let mut words = psql_words(&server.connection, Some(database));
        words.extend(["--field-separator-zero", "--record-separator-zero"].map(Into::into));
        // As a variable it is taken as it is: it cannot become a command of psql.
        words.push(format!("--set=pattern={pattern}").into());
        let tools: Tools = psql_tools(&server.tools);
        let said = tools.answer("psql", words, b"\\dt :pattern\n")?;
        let said = String::from_utf8(said).map_err(|_| "psql: it answered with text that is not UTF-8".to_owned())?;
        // Schema, name, type, owner.
        let fields: Vec<&str> = said.split('\0').collect();
        found.extend(fields.chunks_exact(4).map(|row| (row[0].to_owned(), row[1].to_owned())));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The commands to psql that lock the tables against changes of their definition, all or `only` these: a TRUNCATE between
/// dump and count would be seen by one of them. That it cannot lock them is no error: the snapshot must stay, and the dump
/// asks for the same locks.
pub(super) fn lock_script(only: Option<&[TableName]>) -> String {
    let names = "pg_catalog.string_agg(pg_catalog.format('only %I.%I', nspname, relname), ', ')";
    format!(
        "\\set ON_ERROR_ROLLBACK on\n\\unset ON_ERROR_STOP\n\
         select pg_catalog.format('lock table %s in access share mode', {names}) from {} having pg_catalog.count(*) > 0\n\
         \\gexec\n\\unset ON_ERROR_ROLLBACK\n\\set ON_ERROR_STOP 1\n",
        targets(only)
    )
}

/// The commands to psql that answer with one line of JSON for each table: its name, its rows, and perhaps a checksum.
///
/// The checksum is the sum of the first 64 bits of the MD5 of each row as text: the order of rows is none.
pub(super) fn count_script(counting: Counting, only: Option<&[TableName]>) -> String {
    let sum = match counting {
        Counting::Checksums => {
            ", coalesce(pg_catalog.sum((''x'' || pg_catalog.substr(pg_catalog.md5((x.*)::text), 1, 16))::bit(64)::bigint\
             ::numeric), 0)::text"
        }
        _ => "",
    };
    let count = format!(
        "pg_catalog.format('select pg_catalog.json_build_array(%L::text, pg_catalog.count(*){sum}) from only %I.%I x', \
         pg_catalog.format('%I.%I', nspname, relname), nspname, relname)"
    );
    format!("select {count} from {}\n\\gexec\n", targets(only))
}

/// Settings under which the text of a row is always the same.
pub(super) const TEXT_SETTINGS: &str = "set datestyle = iso; set intervalstyle = postgres; set bytea_output = hex; \
                                        set extra_float_digits = 3; set timezone = utc; set lc_monetary = 'C'; \
                                        set xmlbinary = base64;\n";

fn targets(only: Option<&[TableName]>) -> String {
    let only = only.map_or_else(String::new, |names| {
        let names = serde_json::json!(names).to_string().replace('\'', "''");
        format!(
            " and exists (select from pg_catalog.json_array_elements('{names}'::json) o \
             where o.value->>0 = n.nspname and o.value->>1 = c.relname)"
        )
    });
    format!("({TABLES}{only} order by 1, 2) t where not of_extension")
}

/// A line of the answer to [`count_script`].
pub(super) fn count_of(line: &str) -> Result<TableCount, String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Line {
        Rows(String, u64),
        Checksum(String, u64, String),
    }
    let line = serde_json::from_str(line).map_err(|e| format!("psql: its answer is not understood: {e}"))?;
    Ok(match line {
        Line::Rows(name, rows) => TableCount { name, rows, checksum: None },
        Line::Checksum(name, rows, sum) => TableCount { name, rows, checksum: Some(format!("md5-sum64:{sum}")) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_dump_get_the_names_that_the_server_gives() {
        let table = |schema: &str, name: &str, quoted: &str, is_of_extension| Table {
            schema: schema.into(),
            name: name.into(),
            quoted: quoted.into(),
            is_of_extension,
        };
        let tables = vec![table("s", "user", "s.\"user\"", false), table("s", "ext", "s.ext", true)];
        let name = |schema: &str, name: &str| (schema.to_owned(), name.to_owned());
        let counted = vec![(name("s", "user"), 2), (name("s", "ext"), 3), (name("s", "N\"w"), 4), (name("s", "b"), 0)];
        let named: Vec<(String, u64)> = named(counted, tables).into_iter().map(|t| (t.name, t.rows)).collect();
        let expected = [("s.\"N\"\"w\"", 4), ("s.\"user\"", 2), ("s.b", 0)];
        assert_eq!(named, expected.map(|(name, rows)| (name.to_owned(), rows)));
    }

    #[test]
    fn answers_are_read() {
        let count = count_of(r#"["public.\"a\nb\"", 7]"#).unwrap();
        assert_eq!((count.name.as_str(), count.rows, count.checksum), ("public.\"a\nb\"", 7, None));
        assert_eq!(count_of(r#"["a.b", 1, "-12"]"#).unwrap().checksum.as_deref(), Some("md5-sum64:-12"));
        assert!(count_of("[]").is_err());
        assert!(targets(Some(&[("a'b".into(), "c".into())])).contains(r#"'[["a''b","c"]]'"#));
    }
}
