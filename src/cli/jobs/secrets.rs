//! Secrets that the configuration names: where they are, and that nobody else can read them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::cli::error::{CliError, Result};
use crate::jobs::config::find::check_private;
use crate::jobs::config::tree::Table;
use crate::source::command::is_own;

use super::texts::Texts;

/// The folder in which systemd puts what `LoadCredential=` names (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The secret that `KEY_file`, `KEY_env`, `KEY_command` or `KEY_credential` leads to, or `KEY` of a list; `None` if none of
/// them is said. The line end at its end does not belong to it.
pub(in crate::cli) fn secret(
    table: &Table,
    key: &str,
    texts: &Texts<'_>,
    source: Option<&str>,
) -> Result<Option<Zeroizing<String>>> {
    let named = |ending: &str| table.text(&format!("{key}_{ending}"));
    let usage = |text: String| CliError::Usage(text);
    if let Some(text) = table.text(key) {
        return Ok(Some(Zeroizing::new(text.to_owned())));
    }
    if let Some(file) = secret_file(table, key, texts, source)? {
        let text = std::fs::read_to_string(&file).map_err(CliError::file("read", &file))?;
        return without_line_end(key, text).map(Some);
    }
    if let Some(variable) = named("env") {
        let missing = || usage(format!("`{key}_env`: the variable {variable} is not set"));
        return texts.variable(variable).map(|text| Some(Zeroizing::new(text))).ok_or_else(missing);
    }
    let Some(line) = named("command") else { return Ok(None) };
    let mut bash = Command::new("bash");
    // A passphrase of ours and the keys of the store are none of its business.
    for name in texts.env.variables.keys().filter(|name| is_own(name)) {
        bash.env_remove(name);
    }
    let output = bash
        .args(["-o", "pipefail", "-c", line])
        .envs(texts.env.file_variables())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| CliError::OsSystem { action: "run a command that prints a secret with bash", source })?;
    if !output.status.success() {
        return Err(usage(format!("`{key}_command` failed: {}", output.status)));
    }
    let text =
        String::from_utf8(output.stdout).map_err(|_| usage(format!("`{key}_command`: this is not valid UTF-8")))?;
    without_line_end(key, text).map(Some)
}

/// The file that holds a secret, if a file or a credential of systemd is said to.
pub(in crate::cli) fn secret_file(
    table: &Table,
    key: &str,
    texts: &Texts<'_>,
    source: Option<&str>,
) -> Result<Option<PathBuf>> {
    if let Some(file) = table.text(&format!("{key}_file")) {
        let file = texts.env.cwd.join(texts.filled(file, source)?);
        check_private(&file).map_err(CliError::Usage)?;
        return Ok(Some(file));
    }
    let Some(name) = table.text(&format!("{key}_credential")) else { return Ok(None) };
    let folder = texts.variable(CREDENTIALS).ok_or_else(|| {
        CliError::Usage(format!(
            "`{key}_credential`: {CREDENTIALS} is not set: systemd sets it for a unit with LoadCredential={name}:FILE"
        ))
    })?;
    if name.contains('/') || name.starts_with('.') {
        return Err(CliError::Usage(format!("`{key}_credential`: {name:?} is not the name of a credential")));
    }
    Ok(Some(PathBuf::from(folder).join(name)))
}

fn without_line_end(key: &str, text: String) -> Result<Zeroizing<String>> {
    let text = Zeroizing::new(text);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.is_empty() {
        true => Err(CliError::Usage(format!("`{key}` is empty"))),
        false => Ok(Zeroizing::new(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::env;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn found(text: &str) -> Result<Option<Zeroizing<String>>> {
        let mut env = env();
        env.variables.insert("SECRET".into(), "of variable".into());
        env.variables.insert(CREDENTIALS.into(), std::env::temp_dir().into());
        let table = crate::jobs::config::tree::parse(std::path::Path::new("x"), text).unwrap();
        secret(&table, "password", &Texts { env: &env, host: "h", job: "j" }, None)
    }

    #[test]
    fn a_secret_comes_from_where_it_is_said_to_be() {
        let is =
            |text: &str, secret: &str| assert_eq!(found(text).unwrap().as_deref().map(String::as_str), Some(secret));
        is("password_env = \"SECRET\"", "of variable");
        is("password_command = \"echo of command\"", "of command");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "of file\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        is(&format!("password_file = \"{}\"", file.display()), "of file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = found(&format!("password_file = \"{}\"", file.display())).unwrap_err().to_string();
        assert!(refused.contains("chmod o=,g-w"), "{refused}");
        assert!(found("user = \"x\"").unwrap().is_none());
        for bad in ["password_env = \"NONE\"", "password_command = \"exit 3\"", "password_credential = \"../x\""] {
            assert!(found(bad).is_err(), "{bad}");
        }
    }
}
