//! Secrets that the configuration names and never holds.

use std::path::Path;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::cli::error::{CliError, Result};
use crate::cli::passphrase::HIDDEN_VARIABLES;
use crate::jobs::config::find::check_private;
use crate::jobs::config::tree::Table;

use super::texts::Texts;

/// The secret `key` of a table, by the first of its ways that is there: `KEY_file`, `KEY_env`, `KEY_command`,
/// `KEY_credential`; `None` if none is. One line end behind it does not belong to it.
pub(in crate::cli) fn secret(
    table: &Table,
    key: &str,
    texts: &Texts<'_>,
    source: Option<&str>,
) -> Result<Option<Zeroizing<String>>> {
    let named = |way: &str| table.text(&format!("{key}_{way}"));
    let fail = |what: String| Err(CliError::Usage(what));
    let bytes = if let Some(file) = named("file") {
        from_file(&texts.env.cwd.join(texts.filled(file, source)?))?
    } else if let Some(variable) = named("env") {
        match texts.env.variable(&texts.filled(variable, source)?) {
            Some(value) => value.as_encoded_bytes().to_vec(),
            None => return fail(format!("`{key}_env`: the variable {variable} is not set")),
        }
    } else if let Some(command) = named("command") {
        // A command is for a shell: nothing is filled in.
        from_command(key, command)?
    } else if let Some(credential) = named("credential") {
        let Some(folder) = texts.env.variable("CREDENTIALS_DIRECTORY") else {
            return fail(format!("`{key}_credential`: CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit"));
        };
        let file = Path::new(folder).join(texts.filled(credential, source)?);
        std::fs::read(&file).map_err(|e| CliError::Usage(format!("cannot read {}: {e}", file.display())))?
    } else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(bytes);
    let Ok(text) = std::str::from_utf8(&bytes) else { return fail(format!("`{key}` is not valid UTF-8")) };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { fail(format!("`{key}` is empty")) } else { Ok(Some(Zeroizing::new(text.to_owned()))) }
}

fn from_file(file: &Path) -> Result<Vec<u8>> {
    check_private(file).map_err(CliError::Usage)?;
    std::fs::read(file).map_err(|e| CliError::Usage(format!("cannot read {}: {e}", file.display())))
}

fn from_command(key: &str, command: &str) -> Result<Vec<u8>> {
    let mut process = Command::new("bash");
    process.args(["-o", "pipefail", "-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit());
    for name in HIDDEN_VARIABLES {
        process.env_remove(name);
    }
    let run = process
        .output()
        .map_err(|source| CliError::OsSystem { action: "run the command of a password with bash", source })?;
    match run.status.success() {
        true => Ok(run.stdout),
        false => Err(CliError::Usage(format!("`{key}_command` failed: {}", run.status))),
    }
}
