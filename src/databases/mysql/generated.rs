//! Tools of MariaDB on a server of MySQL: what they write that MySQL cannot load.

use super::server::{DumpTool, Server, literal, quoted};

/// From this version on, MySQL has generated columns.
const GENERATES: (u32, u32, u32) = (5, 7, 6);

/// Why this tool cannot save these tables of a database, or all of it. `mariadb-dump` writes values into columns that MySQL
/// computes, and vectors as texts; MySQL refuses both when the dump is loaded.
pub(super) fn refusal(server: &Server, tool: &DumpTool, name: &str, tables: &[String]) -> Result<(), String> {
    if !tool.is_mariadb() || !server.is_mysql_since(GENERATES) {
        return Ok(());
    }
    let rows = server.ask(&format!(
        "select distinct table_schema, table_name from information_schema.columns \
         where table_schema = {} and (generation_expression <> '' or data_type = 'vector')",
        literal(name)
    ))?;
    let found = rows.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok());
    let mut found = found.filter(|[schema, table]| schema == name && (tables.is_empty() || tables.contains(table)));
    match found.next() {
        None => Ok(()),
        Some([_, table]) => Err(format!(
            "table {} has generated columns or vectors, and the {} that is installed is MariaDB's, which writes them so that \
             MySQL cannot load them: install Oracle's mysqldump, or name its directory with `bin`",
            quoted(&table),
            tool.name
        )),
    }
}
