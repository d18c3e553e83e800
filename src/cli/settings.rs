//! Which repository, which passphrase, which local folders: from options, variables and defaults.
//!
//! Where nothing is named, the default repository of this user is meant if `backup --init` made one: it lies below
//! the data folder, and its passphrase in a file of the configuration folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::format::config::Parameters;
use crate::format::credential::CredentialFile;
use crate::format::envelope::FormatError;
use crate::primitives::fsync::sync_folder;
use crate::primitives::ids::RepositoryId;
use crate::primitives::system::{System, random};
use crate::repository::conditional::remember_race;
use crate::repository::state_dir::{LocalState, machine_id};
use crate::repository::{self, LocalPlaces, Repository, RepositoryError};
use crate::store::{self, Store, StoreOptions};

use super::env::Env;
use super::error::{CliError, Result};
use super::output::text::escape;
use super::passphrase::{Passphrase, SecretSource};
use super::paths::absolute;
use crate::cli::args::{GlobalArguments, OtherArguments};

/// Variables that name the repository.
pub const REPOSITORY_VARIABLES: [&str; 2] = ["STRONGROOM_REPO", "STRONGROOM_REPOSITORY"];

/// Where things of this user lie if nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The repository.
    pub repository: PathBuf,
    /// The file with its passphrase.
    pub key_file: PathBuf,
}

impl Defaults {
    /// The defaults; `None` for a user without a home.
    pub fn of(env: &Env) -> Option<Self> {
        let data = env.xdg("XDG_DATA_HOME", ".local/share")?;
        let config = env.xdg("XDG_CONFIG_HOME", ".config")?;
        Some(Self { repository: data.join("strongroom/repository"), key_file: config.join("strongroom/passphrase") })
    }
}

/// What a command needs to open a repository.
#[derive(Debug)]
pub struct Settings {
    /// Path or URL of the repository.
    pub location: String,
    /// Where the passphrase comes from.
    pub secret: SecretSource,
    /// What was said of the store.
    pub options: StoreOptions,
    /// This machine's credential, if it has one: then there is no passphrase.
    pub credential: Option<CredentialFile>,
    /// The defaults, if `location` is the default one.
    pub defaults: Option<Defaults>,
}

impl Settings {
    /// What is configured, or the default repository if there is one. `make` allows that there is none yet.
    pub fn find(arguments: &GlobalArguments, env: &Env, make: bool) -> Result<Self> {
        let named = arguments.repo.clone().or_else(|| {
            let (_, value) = env.first_variable(&REPOSITORY_VARIABLES)?;
            Some(value.to_string_lossy().into_owned())
        });
        let credential = credential(arguments, env)?;
        let named = named.or_else(|| credential.as_ref().map(|c| c.location.clone()));
        let defaults = Defaults::of(env);
        let is_default = |location: &str, d: &Defaults| env.cwd.join(location) == d.repository;
        let (location, defaults) = match (named, defaults) {
            (Some(location), defaults) => {
                let defaults = defaults.filter(|d| is_default(&location, d));
                (location, defaults)
            }
            (None, Some(d)) if make || d.repository.is_dir() => (utf8(&d.repository)?, Some(d)),
            (None, _) => return Err(CliError::NoRepositoryNamed),
        };
        let key_file = defaults.as_ref().map(|d| &d.key_file).filter(|f| f.is_file()).cloned();
        let named = SecretSource::named(arguments, env);
        let secret = named.or(key_file.map(SecretSource::File)).unwrap_or(SecretSource::Ask);
        Ok(Self { location, options: store_options(arguments, env)?, secret, credential, defaults })
    }

    /// Another repository than the one that is configured, for `copy` and `init`.
    pub fn other(location: &str, other: &OtherArguments, arguments: &GlobalArguments, env: &Env) -> Result<Self> {
        let secret = SecretSource::of_other(other, env).unwrap_or(SecretSource::Ask);
        let options = store_options(arguments, env)?;
        Ok(Self { location: location.to_owned(), options, secret, credential: None, defaults: None })
    }

    /// Opens the store.
    pub fn store(&self, env: &Env) -> Result<Arc<dyn Store>> {
        Ok(store::open(&self.location, &self.options, env.system.now_ms())?)
    }

    /// Opens the repository.
    pub fn open(&self, arguments: &GlobalArguments, env: &Env) -> Result<Arc<Repository>> {
        let store = self.store(env)?;
        if let Some(file) = &self.credential {
            let places = places(arguments, env)?;
            let opened = Repository::open_as(store, file, &places, env.system.clone())?;
            return expecting(opened, arguments);
        }
        if self.secret == SecretSource::Ask {
            // Nobody is asked for the passphrase of what is not there.
            repository::read_config(&*store)?;
        }
        let (passphrase, places) = (self.secret.get(env, false)?, places(arguments, env)?);
        expecting(Repository::open(store, passphrase.bytes(), &places, env.system.clone())?, arguments)
    }

    /// Opens the repository for repairing its log: with the passphrase. If this machine has seen another history, `gives_up`
    /// is asked whether to forget that.
    pub fn open_for_repair(
        &self,
        arguments: &GlobalArguments,
        env: &Env,
        gives_up: &dyn Fn(&RepositoryError) -> bool,
    ) -> Result<Arc<Repository>> {
        let (store, places) = (self.store(env)?, places(arguments, env)?);
        let passphrase = self.secret.get(env, false)?;
        let (bytes, system) = (passphrase.bytes(), &env.system);
        let opened = match Repository::open_for_repair(store.clone(), bytes, &places, system.clone()) {
            Err(e @ (RepositoryError::History { .. } | RepositoryError::Fork { .. })) if gives_up(&e) => {
                Repository::open_forgetting(store, bytes, &places, system.clone())?
            }
            opened => opened?,
        };
        expecting(opened, arguments)
    }

    /// Opens the repository with places of its own: what this machine has seen of its history does not count.
    pub fn open_beside(&self, env: &Env, places: &LocalPlaces) -> Result<Arc<Repository>> {
        let passphrase = self.secret.get(env, false)?;
        Ok(Repository::open_for_repair(self.store(env)?, passphrase.bytes(), places, env.system.clone())?)
    }

    /// Opens the repository after its owner has changed the history; what this machine has seen of it is forgotten.
    pub fn open_forgetting(&self, arguments: &GlobalArguments, env: &Env) -> Result<Arc<Repository>> {
        let passphrase = self.secret.get(env, false)?;
        let (store, places) = (self.store(env)?, places(arguments, env)?);
        Ok(Repository::open_forgetting(store, passphrase.bytes(), &places, env.system.clone())?)
    }

    /// The location as it is right in another folder of this machine.
    pub fn location_elsewhere(&self, env: &Env) -> String {
        match self.location.contains(':') {
            true => self.location.clone(),
            false => absolute(Path::new(&self.location), &env.cwd).to_string_lossy().into_owned(),
        }
    }

    /// Whether there is a repository.
    pub fn exists(&self, env: &Env) -> Result<bool> {
        let found = self.store(env).and_then(|store| Ok(repository::read_config(&*store)?));
        match found {
            Ok(_) => Ok(true),
            Err(CliError::Repository(e)) if is_nothing(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes the repository, with the passphrase and the sizes given.
    pub fn make(&self, new: &NewRepository, arguments: &GlobalArguments, env: &Env) -> Result<RepositoryId> {
        let (store, system) = (store::init(&self.location, &self.options, env.system.now_ms())?, &*env.system);
        let single_writer = match new.single_writer {
            true => Some(machine_id(&places(arguments, env)?.state, system)?),
            false => None,
        };
        let race = store::is_remote(&self.location) && single_writer.is_none();
        if race {
            store::check_conditional_create(&*store, random(system))?;
        }
        let passphrase = new.passphrase.bytes();
        let id = match &new.like {
            Some(like) => repository::init_like(&*store, passphrase, like, single_writer, system)?,
            None => repository::init(&*store, passphrase, new.parameters, single_writer, system)?,
        };
        if race {
            // This machine need not race again.
            let local = LocalState::open(&places(arguments, env)?.state, id)?;
            remember_race(&local, &*store, env.system.now_ms())?;
        }
        Ok(id)
    }
}

/// Checks what was said of the history.
fn expecting(repository: Arc<Repository>, arguments: &GlobalArguments) -> Result<Arc<Repository>> {
    if let Some(head) = arguments.expect_head {
        repository.expect_head(head)?;
    }
    Ok(repository)
}

/// What a repository is made with.
#[derive(Debug)]
pub struct NewRepository {
    /// What opens it.
    pub passphrase: Passphrase,
    /// How content is cut and packed.
    pub parameters: Parameters,
    /// The repository whose parameters and chunker key are taken instead.
    pub like: Option<Arc<Repository>>,
    /// Whether only this machine may ever write.
    pub single_writer: bool,
}

/// What was said of the store: `--option` is stronger than `STRONGROOM_OPTIONS`.
fn store_options(arguments: &GlobalArguments, env: &Env) -> Result<StoreOptions> {
    let variable = env.variable("STRONGROOM_OPTIONS").map(|v| v.to_string_lossy().into_owned()).unwrap_or_default();
    let mut pairs = BTreeMap::new();
    for pair in variable.split_whitespace().chain(arguments.option.iter().map(String::as_str)) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("invalid store option {pair:?}: expected KEY=VALUE")))?;
        pairs.insert(key.to_owned(), value.to_owned());
    }
    let mut variables = env.of_file.get().cloned().unwrap_or_default();
    variables.extend(env.variables.clone());
    let lookup =
        Arc::new(move |name: &str| variables.get(OsStr::new(name)).and_then(|v| v.to_str()).map(str::to_owned));
    let errors = env.errors.clone();
    let notice = Arc::new(move |text: &str| errors.line(&format!("note: {}", escape(text.as_bytes()))));
    let (upload_rate, download_rate) = (arguments.limit_upload, arguments.limit_download);
    Ok(StoreOptions { pairs, lookup, home: env.home.clone(), notice, upload_rate, download_rate })
}

/// This machine's credential: by option, or by variable unless the options name a passphrase.
fn credential(arguments: &GlobalArguments, env: &Env) -> Result<Option<CredentialFile>> {
    let by_passphrase = arguments.password_file.is_some()
        || arguments.password_command.is_some()
        || arguments.passphrase_variable.is_some()
        || arguments.passphrase_command.is_some();
    let variable = || env.variable("STRONGROOM_CREDENTIAL").filter(|_| !by_passphrase).map(PathBuf::from);
    let Some(path) = arguments.credential.clone().or_else(variable) else { return Ok(None) };
    let path = env.cwd.join(path);
    let bytes = Zeroizing::new(std::fs::read(&path).map_err(CliError::file("read the credential", &path))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| FormatError::NotOurs);
    let file = text.and_then(CredentialFile::decode);
    file.map(Some).map_err(|cause| CliError::Credential { path, cause })
}

fn is_nothing(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::NoRepository { .. } | RepositoryError::Store(store::StoreError::NoStore { .. }))
}

fn utf8(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| CliError::Usage("the default repository's path is not UTF-8: name one with -r".to_owned()))
}

/// Where this machine keeps its cache and its state.
pub fn places(arguments: &GlobalArguments, env: &Env) -> Result<LocalPlaces> {
    let homeless = || {
        let text =
            "there is no home folder to keep cache and state in: set STRONGROOM_CACHE_DIR and STRONGROOM_STATE_DIR";
        CliError::Usage(text.to_owned())
    };
    // What systemd made for a service; of several the first.
    let of_service = |variable: &str| {
        let value = env.variable(variable)?.as_bytes();
        let first = value.split(|c| *c == b':').next().filter(|path| path.starts_with(b"/"))?;
        Some(PathBuf::from(OsStr::from_bytes(first)))
    };
    let named = |path: &Path| env.cwd.join(path);
    let cache = match (&arguments.cache_dir, env.variable("STRONGROOM_CACHE_DIR")) {
        (Some(path), _) => named(path),
        (None, Some(path)) => named(Path::new(path)),
        (None, None) => match of_service("CACHE_DIRECTORY") {
            Some(folder) => folder,
            None => env.xdg("XDG_CACHE_HOME", ".cache").ok_or_else(homeless)?.join("strongroom"),
        },
    };
    let state = match env.variable("STRONGROOM_STATE_DIR") {
        Some(path) => named(Path::new(path)),
        None => match of_service("STATE_DIRECTORY") {
            Some(folder) => folder,
            None => env.xdg("XDG_STATE_HOME", ".local/state").ok_or_else(homeless)?.join("strongroom"),
        },
    };
    Ok(LocalPlaces { cache, state })
}

/// Puts a new passphrase into a file that only its owner can read. What is there is never replaced.
pub fn write_key_file(path: &Path, system: &dyn System) -> Result<()> {
    let failed = |path: &Path| CliError::file("write the passphrase to", path.to_owned());
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed(parent))?;
    }
    let mut text = generate(system);
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed(path))?;
    // The repository is worth nothing without this file: it must be there before the repository is.
    let parent = path.parent().map(std::fs::File::open);
    parent.transpose().and_then(|dir| dir.map_or(Ok(()), sync_folder)).map_err(failed(path))
}

/// A passphrase of 160 random bits in groups of five, without letters that look alike.
fn generate(system: &dyn System) -> Zeroizing<String> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let bytes = Zeroizing::new(random::<32>(system));
    let mut text = Zeroizing::new(String::with_capacity(40));
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 && i % 5 == 0 {
            text.push('-');
        }
        text.push(LETTERS[usize::from(byte & 31)] as char);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::env;
    use super::*;

    #[test]
    fn the_default_repository_is_meant_only_if_it_is_there() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut env = env();
        env.home = Some(home.path().to_owned());
        let arguments = GlobalArguments::default();
        assert!(matches!(Settings::find(&arguments, &env, false), Err(CliError::NoRepositoryNamed)));
        let at = home.path().join(".local/share/strongroom/repository");
        assert_eq!(Settings::find(&arguments, &env, true).expect("it may be made").location, at.to_string_lossy());
        std::fs::create_dir_all(&at).expect("a folder");
        let key = home.path().join(".config/strongroom/passphrase");
        write_key_file(&key, &*env.system).expect("a key file");
        let found = Settings::find(&arguments, &env, false).expect("it is there");
        assert_eq!(found.secret, SecretSource::File(key));
        env.variables.insert("STRONGROOM_REPOSITORY".into(), "/srv/repo".into());
        let named = Settings::find(&arguments, &env, false).expect("it is named");
        assert_eq!((named.location.as_str(), &named.secret), ("/srv/repo", &SecretSource::Ask));
    }

    #[test]
    fn a_key_file_is_private_and_never_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().expect("a temporary folder");
        let (path, env) = (home.path().join("a/b/passphrase"), env());
        write_key_file(&path, &*env.system).expect("a key file");
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o600);
        let text = std::fs::read_to_string(&path).expect("it can be read");
        assert_eq!(text.len(), 32 + 6 + 1);
        assert!(write_key_file(&path, &*env.system).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("it can be read"), text);
    }

    #[test]
    fn local_folders_follow_options_variables_and_xdg() {
        let mut env = env();
        let mut arguments = GlobalArguments::default();
        env.home = Some("/h".into());
        let at = |arguments: &_, env: &_| places(arguments, env).map(|p| (p.cache, p.state)).ok();
        assert_eq!(at(&arguments, &env), Some(("/h/.cache/strongroom".into(), "/h/.local/state/strongroom".into())));
        env.variables.insert("XDG_STATE_HOME".into(), "/s".into());
        env.variables.insert("STRONGROOM_CACHE_DIR".into(), "/c".into());
        assert_eq!(at(&arguments, &env), Some(("/c".into(), "/s/strongroom".into())));
        env.variables.insert("STATE_DIRECTORY".into(), "/var/lib/a:/var/lib/b".into());
        env.variables.insert("CACHE_DIRECTORY".into(), "/var/cache/a".into());
        assert_eq!(at(&arguments, &env), Some(("/c".into(), "/var/lib/a".into())));
        env.variables.remove(OsStr::new("STATE_DIRECTORY"));
        arguments.cache_dir = Some("/d".into());
        env.variables.insert("STRONGROOM_STATE_DIR".into(), "/t".into());
        assert_eq!(at(&arguments, &env), Some(("/d".into(), "/t".into())));
        (env.home, env.variables) = (None, Default::default());
        assert!(places(&GlobalArguments::default(), &env).is_err());
    }
}
