//! The repository of a job: what the configuration says of it, and what the command line and the environment say in place
//! of that.

use std::path::PathBuf;

use crate::cli::args::GlobalArguments;
use crate::cli::env::Env;
use crate::cli::error::{CliError, Result};
use crate::cli::passphrase::SECRET_VARIABLES;
use crate::cli::redact::mask;
use crate::cli::settings::REPOSITORY_VARIABLES;
use crate::cli::values;
use crate::compression::CompressionLevel;
use crate::jobs::config::find::check_private;
use crate::jobs::config::tree::Table;
use crate::jobs::config::{Config, Job};

use super::secrets::secret_file;
use super::texts::Texts;

/// Keys of a repository that say what opens it.
pub(in crate::cli) const SECRET_KEYS: [&str; 5] =
    ["credential", "password_file", "password_env", "password_command", "password_credential"];

/// What the command line or the environment of the process says of the repository. It counts in place of what the
/// configuration says: each of the three for itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Stronger {
    /// The option or variable that names the repository, and the repository.
    pub(in crate::cli) url: Option<(&'static str, String)>,
    /// The one that says what opens it: a passphrase or a credential.
    pub(in crate::cli) secret: Option<&'static str>,
    /// The one that limits the bandwidth to it.
    pub(in crate::cli) limit_upload: Option<&'static str>,
}

impl Stronger {
    pub(in crate::cli) fn of(global: &GlobalArguments, env: &Env) -> Self {
        let typed = global.repo.as_ref().map(|repo| ("--repo", repo.clone()));
        let url = typed.or_else(|| {
            let (name, value) = env.first_own_variable(&REPOSITORY_VARIABLES)?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        let options = [
            ("--credential", global.credential.is_some()),
            ("--password-file", global.password_file.is_some()),
            ("--password-command", global.password_command.is_some()),
        ];
        let variables = ["STRONGROOM_CREDENTIAL"].into_iter().chain(SECRET_VARIABLES);
        let variables: Vec<&str> =
            variables.chain(["STRONGROOM_PASSWORD_FILE", "STRONGROOM_PASSWORD_COMMAND"]).collect();
        let secret = options.into_iter().find_map(|(option, is_typed)| is_typed.then_some(option));
        let secret = secret.or_else(|| env.first_own_variable(&variables).map(|(name, _)| name));
        Self { url, secret, limit_upload: global.limit_upload.map(|_| "--limit-upload") }
    }

    /// What a person is told who may not know that the configuration does not count.
    pub(in crate::cli) fn notes(&self, config: &Config, job: &Job, texts: &Texts<'_>) -> Vec<String> {
        let name = job.table.text("repository").unwrap_or_default();
        let Some(table) = table_of(config, job) else { return Vec::new() };
        let url = table.text("url").and_then(|url| texts.filled(url, None).ok());
        let is_other = |value: &String| url.as_ref().is_some_and(|url| url != value);
        let of_url = self.url.as_ref().filter(|(_, value)| is_other(value));
        let of_url =
            of_url.map(|(by, value)| format!("{by} takes the place of `url` of repository `{name}`: {}", mask(value)));
        let of_secret = SECRET_KEYS.iter().find(|key| table.get(key).is_some()).and_then(|key| {
            let by = self.secret.filter(|by| table.text(key) != Some(*by))?;
            Some(format!("{by} takes the place of `{key}` of repository `{name}`"))
        });
        of_url.into_iter().chain(of_secret).collect()
    }
}

fn table_of<'a>(config: &'a Config, job: &Job) -> Option<&'a Table> {
    let name = job.table.text("repository").unwrap_or_default();
    config.table.table("repositories").and_then(|all| all.table(name))
}

pub(in crate::cli) fn compression(config: &Config, job: &Job) -> CompressionLevel {
    let name = job.table.text("repository").unwrap_or_default();
    let repository = config.table.table("repositories").and_then(|all| all.table(name));
    match job.table.text("compression").or(repository.and_then(|table| table.text("compression"))) {
        Some("off") => CompressionLevel::Off,
        Some("fast") => CompressionLevel::Fast,
        Some("max") => CompressionLevel::Max,
        _ => CompressionLevel::default(),
    }
}

/// The global options as if the job's repository had been named there, where they and the environment say nothing.
pub(in crate::cli) fn repository_of(
    global: &GlobalArguments,
    config: &Config,
    job: &Job,
    texts: &Texts<'_>,
) -> Result<GlobalArguments> {
    let name = job.table.text("repository").unwrap_or_default();
    let missing = || CliError::Usage(format!("repository `{name}` has no `url`"));
    let table = table_of(config, job).ok_or_else(missing)?;
    let stronger = Stronger::of(global, texts.env);
    let text = |key: &str| table.text(key).map(|text| texts.filled(text, None)).transpose();
    let rate = |text: Option<&str>| text.map(values::rate).transpose().map_err(CliError::Usage);
    let repo = match stronger.url {
        Some((_, url)) => url,
        None => text("url")?.ok_or_else(missing)?,
    };
    let limit = rate(job.table.text("limit_upload").or(table.text("limit_upload")))?;
    let named = GlobalArguments { repo: Some(repo), limit_upload: global.limit_upload.or(limit), ..global.clone() };
    if stronger.secret.is_some() {
        return Ok(named);
    }
    if let Some(file) = text("credential")?.map(PathBuf::from) {
        check_private(&file).map_err(CliError::Usage)?;
        return Ok(GlobalArguments { credential: Some(file), ..named });
    }
    Ok(GlobalArguments {
        password_file: secret_file(table, "password", texts, None)?,
        passphrase_variable: table.text("password_env").map(str::to_owned),
        // A command is for a shell: nothing is filled in.
        passphrase_command: table.text("password_command").map(str::to_owned),
        ..named
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::env;

    #[test]
    fn the_command_line_comes_before_the_environment_and_both_before_the_file() {
        let (mut env, mut global) = (env(), GlobalArguments::default());
        assert_eq!(Stronger::of(&global, &env), Stronger::default());
        // What a file of the configuration says is no environment.
        let of_file = [("STRONGROOM_REPO", "/of/file")].map(|(name, value)| (name.into(), value.into()));
        env.of_file.set(of_file.into_iter().collect()).unwrap();
        assert_eq!(Stronger::of(&global, &env), Stronger::default());
        env.variables.insert("STRONGROOM_REPOSITORY".into(), "/of/env".into());
        env.variables.insert("STRONGROOM_PASSWORD_FILE".into(), "/p".into());
        env.variables.insert("STRONGROOM_PASSPHRASE".into(), "".into());
        let stronger = Stronger::of(&global, &env);
        assert_eq!(stronger.url, Some(("STRONGROOM_REPOSITORY", "/of/env".to_owned())));
        assert_eq!((stronger.secret, stronger.limit_upload), (Some("STRONGROOM_PASSWORD_FILE"), None));
        (global.repo, global.credential, global.limit_upload) = (Some("/typed".into()), Some("/c".into()), Some(5));
        let stronger = Stronger::of(&global, &env);
        assert_eq!(stronger.url, Some(("--repo", "/typed".to_owned())));
        assert_eq!((stronger.secret, stronger.limit_upload), (Some("--credential"), Some("--limit-upload")));
    }
}
