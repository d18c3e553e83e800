//! Which repository, which passphrase, which local folders: from options, environment and defaults.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::machinery::repository::snapshots::{Snapshot, SnapshotFilter, SnapshotName};
use crate::machinery::repository::{LocalPlaces, Repository};
use crate::parts::store::{self, Store};
use crate::words::world::{System, World, random};

use super::args::{FilterArgs, Global};
use super::exit::{Failure, with_causes};
use super::terminal::Terminal;
use super::time;

/// A passphrase; zeroed when it is dropped.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// What every command needs.
#[derive(Debug)]
pub struct Context {
    /// The options.
    pub global: Global,
    /// Where progress and findings go.
    pub terminal: Terminal,
    /// Time and randomness.
    pub world: Arc<System>,
}

fn environment(names: &[&str]) -> Option<String> {
    names.iter().filter_map(|n| std::env::var(n).ok()).find(|v| !v.is_empty())
}

fn home_folder(variable: &str, below_home: &str) -> Result<PathBuf, Failure> {
    if let Some(folder) = environment(&[variable]) {
        return Ok(PathBuf::from(folder));
    }
    let home = environment(&["HOME"]);
    let hint = format!("set HOME or {variable}, or name the folder by its own option or variable");
    Ok(PathBuf::from(home.ok_or_else(|| Failure::new("there is no home directory").hint(hint))?).join(below_home))
}

impl Context {
    /// With these options.
    pub fn new(global: Global) -> Self {
        let terminal = Terminal::new(global.quiet || global.json, !global.no_progress && !global.json);
        Self { global, terminal, world: Arc::new(System) }
    }

    /// Where the default repository is, and the file with its passphrase.
    pub fn default_places() -> Result<(PathBuf, PathBuf), Failure> {
        let data = home_folder("XDG_DATA_HOME", ".local/share")?;
        let config = home_folder("XDG_CONFIG_HOME", ".config")?;
        Ok((data.join("strongroom/repository"), config.join("strongroom/passphrase")))
    }

    /// The repository's location, if one is configured or the default one exists.
    pub fn location(&self) -> Result<Option<String>, Failure> {
        let named = self.global.repo.clone().or_else(|| environment(&["STRONGROOM_REPO", "STRONGROOM_REPOSITORY"]));
        if named.is_some() {
            return Ok(named);
        }
        let default = Self::default_places().ok().map(|p| p.0).filter(|p| p.join("config").exists());
        Ok(default.map(|p| p.to_string_lossy().into_owned()))
    }

    fn expect_location(&self) -> Result<String, Failure> {
        self.location()?.ok_or_else(|| {
            let failure = Failure::new("no repository is configured").hint(
                "name one by --repo or STRONGROOM_REPO; `strongroom backup --init PATH` makes one in your home directory",
            );
            Failure { code: super::exit::Code::NoRepository, ..failure }
        })
    }

    /// The store of the configured repository.
    pub fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(store::open(&self.expect_location()?, self.world.now_ms())?)
    }

    /// A place for a new repository.
    pub fn new_store(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(store::init(&self.expect_location()?, self.world.now_ms())?)
    }

    /// Where this machine keeps cache and state.
    pub fn places(&self) -> Result<LocalPlaces, Failure> {
        let cache =
            match self.global.cache_dir.clone().or_else(|| environment(&["STRONGROOM_CACHE_DIR"]).map(Into::into)) {
                Some(folder) => folder,
                None => home_folder("XDG_CACHE_HOME", ".cache")?.join("strongroom"),
            };
        let state = match environment(&["STRONGROOM_STATE_DIR"]) {
            Some(folder) => PathBuf::from(folder),
            None => home_folder("XDG_STATE_HOME", ".local/state")?.join("strongroom"),
        };
        Ok(LocalPlaces { cache, state })
    }

    /// Opens the configured repository.
    pub fn open(&self) -> Result<Arc<Repository>, Failure> {
        let store = self.store()?;
        // Asked for only once there is something to open.
        crate::machinery::repository::read_config(&*store)?;
        let passphrase = self.passphrase(false)?;
        let repository = Repository::open(store, &passphrase, &self.places()?, self.world.clone())?;
        Ok(repository)
    }

    /// Writes the cache and tells of damage that could be worked around.
    pub fn close(&self, repository: &Repository) {
        if let Err(e) = repository.save_cache() {
            self.terminal.warn(&format!("the cache could not be written: {}", with_causes(&e)));
        }
        for damage in repository.take_damage() {
            self.terminal.warn(&format!("{}; `strongroom verify` tells more", with_causes(&damage)));
        }
    }

    /// The passphrase: from the file or command named, the environment, or the terminal; twice if it is new.
    pub fn passphrase(&self, new: bool) -> Result<Passphrase, Failure> {
        if let Some(file) = &self.global.password_file {
            return from_file(file);
        }
        if let Some(command) = &self.global.password_command {
            return from_command(command);
        }
        if let Some(text) = environment(&["STRONGROOM_PASSPHRASE", "STRONGROOM_PASSWORD"]) {
            return Ok(Zeroizing::new(text.into_bytes()));
        }
        if let Some(file) = environment(&["STRONGROOM_PASSWORD_FILE"]) {
            return from_file(Path::new(&file));
        }
        if let Some(command) = environment(&["STRONGROOM_PASSWORD_COMMAND"]) {
            return from_command(&command);
        }
        if self.global.repo.is_none()
            && environment(&["STRONGROOM_REPO", "STRONGROOM_REPOSITORY"]).is_none()
            && let Ok((_, file)) = Self::default_places()
            && file.exists()
        {
            return from_file(&file);
        }
        self.ask(new)
    }

    fn ask(&self, new: bool) -> Result<Passphrase, Failure> {
        if !std::io::stdin().is_terminal() {
            let hint = "set STRONGROOM_PASSPHRASE, or use --password-file or --password-command";
            return Err(Failure::new("no passphrase was given, and there is no terminal to ask on").hint(hint));
        }
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt)
                .map(|p| Zeroizing::new(p.into_bytes()))
                .map_err(|e| Failure::new(format!("cannot read the passphrase: {e}")))
        };
        let passphrase = ask("passphrase: ")?;
        if new && *ask("once more: ")? != *passphrase {
            return Err(Failure::new("the two passphrases differ"));
        }
        Ok(passphrase)
    }

    /// The snapshot that is meant.
    pub fn choose(
        &self,
        repository: &Repository,
        name: Option<&str>,
        at: Option<&str>,
        filter: &FilterArgs,
    ) -> Result<Snapshot, Failure> {
        let name = match (name.filter(|n| !n.is_empty()), at) {
            (None, Some(at)) => SnapshotName::At(parse_time(at)?),
            (Some(_), Some(_)) => return Err(Failure::new("--at and the name of a snapshot exclude each other")),
            (Some(name), None) => snapshot_name(name)?,
            (None, None) => return Err(Failure::new("no snapshot was named").hint("`latest` is the newest")),
        };
        Ok(repository.choose(&name, &snapshot_filter(filter))?)
    }
}

/// Understands a time on the command line.
pub fn parse_time(text: &str) -> Result<i64, Failure> {
    time::parse(text, &jiff::tz::TimeZone::system()).map_err(Failure::new)
}

/// Understands the name of a snapshot.
pub fn snapshot_name(text: &str) -> Result<SnapshotName, Failure> {
    if text == "latest" {
        return Ok(SnapshotName::Latest(0));
    }
    if let Some(back) = text.strip_prefix("latest~") {
        let back =
            back.parse().map_err(|_| Failure::new(format!("{text:?} is no snapshot: N in latest~N is a number")))?;
        return Ok(SnapshotName::Latest(back));
    }
    let hex = text.bytes().all(|c| c.is_ascii_hexdigit());
    if hex && (1..=32).contains(&text.len()) {
        return Ok(SnapshotName::Prefix(text.to_owned()));
    }
    Err(Failure::new(format!("{text:?} is no snapshot")).hint("use the first digits of an id, `latest` or `latest~N`"))
}

/// Splits `SNAPSHOT:PATH`.
///
/// The path is bytes: names need not be text.
pub fn split_path(text: &OsStr) -> Result<(String, Option<Vec<u8>>), Failure> {
    let bytes = text.as_bytes();
    let (name, path) = match bytes.iter().position(|c| *c == b':') {
        Some(at) => (&bytes[..at], Some(bytes[at + 1..].to_vec())),
        None => (bytes, None),
    };
    let name = std::str::from_utf8(name).map_err(|_| Failure::new("the name of a snapshot is text"))?;
    Ok((name.to_owned(), path))
}

/// The filter that these options make.
pub fn snapshot_filter(filter: &FilterArgs) -> SnapshotFilter {
    SnapshotFilter {
        hosts: filter.host.clone(),
        tags: filter.tag.iter().map(|t| t.split(',').map(str::to_owned).collect()).collect(),
        paths: filter.path.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect(),
        sources: filter.source.clone(),
    }
}

fn from_file(path: &Path) -> Result<Passphrase, Failure> {
    let bytes = std::fs::read(path).map(Zeroizing::new);
    let bytes = bytes.map_err(|e| Failure::new(format!("cannot read the password file {}: {e}", path.display())))?;
    whole(&bytes).ok_or_else(|| Failure::new(format!("the password file {} is empty", path.display())))
}

fn from_command(command: &str) -> Result<Passphrase, Failure> {
    let output = std::process::Command::new("bash")
        .args(["-c", command])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| Failure::new(format!("cannot run the password command: {e}")))?;
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(Failure::new(format!("the password command ended with {}", output.status)));
    }
    whole(&printed).ok_or_else(|| Failure::new("the password command printed nothing"))
}

/// All that was read, without its last line end: a key file may have several lines, and all of them count.
fn whole(bytes: &[u8]) -> Option<Passphrase> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() { None } else { Some(Zeroizing::new(text.to_vec())) }
}

/// Variables that no command of the user's is to see.
pub const SECRET_VARIABLES: [&str; 2] = ["STRONGROOM_PASSPHRASE", "STRONGROOM_PASSWORD"];

/// Writes a fresh passphrase to `path`, readable by its owner only.
pub fn generate_passphrase(path: &Path, world: &dyn World) -> Result<Passphrase, Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("cannot write {}: {e}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let mut text = Zeroizing::new(String::with_capacity(64));
    let bytes = Zeroizing::new(random::<20>(world));
    crate::words::ids::write_hex(&mut *text, &*bytes).expect("writing to a string does not fail");
    let open = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let mut file = open.map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots() {
        assert_eq!(snapshot_name("latest").unwrap(), SnapshotName::Latest(0));
        assert_eq!(snapshot_name("latest~3").unwrap(), SnapshotName::Latest(3));
        assert_eq!(snapshot_name("ab12").unwrap(), SnapshotName::Prefix("ab12".into()));
        assert!(snapshot_name("latest~x").is_err());
        assert!(snapshot_name("/etc").is_err());
        let split = |text: &str| split_path(OsStr::new(text)).unwrap();
        assert_eq!(split("latest:/etc/a:b"), ("latest".into(), Some(b"/etc/a:b".to_vec())));
        assert_eq!(split("latest"), ("latest".into(), None));
    }

    #[test]
    fn a_passphrase_is_all_but_the_last_line_end() {
        assert_eq!(*whole(b"BEGIN\nsecret\r\n").unwrap(), b"BEGIN\nsecret");
        assert!(whole(b"\n").is_none());
    }
}
