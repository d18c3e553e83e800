//! Sources of MySQL and MariaDB, as the configuration describes them.

use std::path::PathBuf;

use crate::cli::error::{CliError, Result};
use crate::cli::launcher;
use crate::databases::mysql::{Connection, Count, MysqlOptions, Users};
use crate::databases::tool::Tools;
use crate::jobs::config::Source;
use crate::jobs::config::find::check_private;
use crate::jobs::config::tree::Value;

use super::secrets::secret;
use super::texts::Texts;

/// What a source of the kind `mysql` or `mariadb` saves.
pub(in crate::cli) fn mysql_options(source: &Source, texts: &Texts<'_>) -> Result<MysqlOptions> {
    let (table, name) = (&source.table, source.name.as_str());
    let text = |key: &str| table.text(key).map(|text| texts.filled(text, Some(name))).transpose();
    let usage = |what: String| CliError::Usage(format!("source `{}/{name}`: {what}", texts.job));
    let login = text("login")?.map(PathBuf::from);
    if let Some(login) = &login {
        check_private(login).map_err(usage)?;
    }
    let password = secret(table, "password", texts, Some(name)).map_err(|e| usage(e.to_string()))?;
    if login.is_some() && password.is_some() {
        return Err(usage("`login` and a password cannot be given together: the file holds one".to_owned()));
    }
    let port = match table.get("port").map(|node| &node.value) {
        Some(Value::Integer(port)) => Some(port.to_string()),
        _ => text("port")?,
    };
    let users = match table.text("globals") {
        None => Users::IfAllowed,
        Some("all") => Users::Always,
        Some("none") => Users::Never,
        Some(other) => return Err(usage(format!("`globals = \"{other}\"` is only for PostgreSQL"))),
    };
    if table.get("tables").is_some() && ["databases", "include", "exclude"].iter().any(|key| table.get(key).is_some()) {
        return Err(usage("with `tables`, neither `databases` nor `include` nor `exclude` can be given".to_owned()));
    }
    if table.get("format").is_some_and(|node| !matches!(&node.value, Value::Text(text) if text == "plain")) {
        return Err(usage("dumps of MySQL and MariaDB are plain SQL: `format` is only for PostgreSQL".to_owned()));
    }
    let tools = Tools {
        bin: text("bin")?.map(PathBuf::from),
        container: text("container")?,
        run_as: text("run_as")?,
        env: texts.variables(source)?,
        launcher: launcher(),
    };
    Ok(MysqlOptions {
        connection: Connection {
            tools,
            login,
            host: text("host")?,
            port,
            user: text("user")?,
            password,
            options: None,
        },
        databases: texts.names(table, "databases", name)?,
        include: texts.list(table, "include", name)?,
        exclude: texts.list(table, "exclude", name)?,
        tables: texts.list(table, "tables", name)?,
        users,
        count: match table.get("count").map(|node| &node.value) {
            Some(Value::Bool(false)) => Count::Nothing,
            Some(Value::Text(_)) => Count::Checksums,
            _ => Count::Rows,
        },
    })
}
