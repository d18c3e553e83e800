//! The credentials files of Amazon's tools: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Keys are read again when a file has changed, so that those who rotate them need not restart anything. Profiles
//! that would need another program or service (SSO, `credential_process`, an assumed role) are refused in words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use object_store::aws::AwsCredential;
use object_store::client::CredentialProvider;
use parking_lot::Mutex;

use super::super::options::StoreOptions;
use super::handed::{is_secret, is_visible};

type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Settings that need what this program does not do.
const BEYOND_US: [(&str, &str); 4] = [
    ("sso_session", "single sign-on"),
    ("sso_start_url", "single sign-on"),
    ("credential_process", "a credential process"),
    ("role_arn", "assuming a role"),
];

/// Keys of one profile.
#[derive(Debug)]
pub(super) struct ProfileCredentials {
    profile: String,
    files: Files,
    known: Mutex<Option<(Stamp, Arc<AwsCredential>)>>,
}

type Stamp = [Option<SystemTime>; 2];

#[derive(Debug, Clone)]
struct Files {
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl Files {
    fn of(options: &StoreOptions) -> Self {
        let at = |variable: &str, name: &str| {
            let named = options.variable(variable).map(PathBuf::from);
            named.or_else(|| Some(options.home.as_ref()?.join(".aws").join(name)))
        };
        Self { credentials: at("AWS_SHARED_CREDENTIALS_FILE", "credentials"), config: at("AWS_CONFIG_FILE", "config") }
    }

    fn stamp(&self) -> Stamp {
        let modified = |path: &Option<PathBuf>| std::fs::metadata(path.as_ref()?).and_then(|m| m.modified()).ok();
        [modified(&self.credentials), modified(&self.config)]
    }

    /// What both files say of a profile; `None` if neither knows it.
    fn profile(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let mut found: Option<BTreeMap<String, String>> = None;
        // What the credentials file says is stronger.
        let long = format!("profile {name}");
        for (path, sections) in [(&self.config, [name, long.as_str()]), (&self.credentials, [name, ""])] {
            let Some(all) = read(path.as_deref())? else { continue };
            // In the config file only the default profile goes without the word.
            let named =
                sections.iter().enumerate().filter(|(i, s)| path == &self.credentials || *i == 1 || **s == "default");
            for section in named.filter_map(|(_, s)| all.get(*s)) {
                found.get_or_insert_default().extend(section.clone());
            }
        }
        Ok(found)
    }
}

fn read(path: Option<&Path>) -> Result<Option<Sections>, String> {
    let Some(path) = path else { return Ok(None) };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(parse(&text))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}

/// The sections of an ini file, as Amazon's tools read it: comments begin a line, nested settings are indented.
fn parse(text: &str) -> Sections {
    let (mut sections, mut current) = (Sections::new(), None);
    for line in text.lines() {
        let nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || nested {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let (Some(section), Some((key, value))) = (&current, line.split_once('=')) {
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            let value = value.split(" #").next().unwrap_or(value).trim().to_owned();
            sections.entry(section.clone()).or_default().insert(key, value);
        }
    }
    sections
}

/// A setting such as `region` of the profile that is meant.
pub(super) fn setting(options: &StoreOptions, profile: Option<&str>, key: &str) -> Option<String> {
    let profile = Files::of(options).profile(profile.unwrap_or("default")).ok()??;
    profile.get(key).cloned().filter(|v| !v.is_empty())
}

impl ProfileCredentials {
    /// The profile that is meant, if it holds keys. One that was named and holds none is an error.
    pub(super) fn find(options: &StoreOptions, profile: Option<&str>) -> Result<Option<Self>, String> {
        let files = Files::of(options);
        let name = profile.unwrap_or("default");
        let found = Self { profile: name.to_owned(), files, known: Mutex::new(None) };
        match (found.files.profile(name)?, profile) {
            (None, None) => Ok(None),
            (None, Some(name)) => Err(format!("there is no profile {name} in the credentials files")),
            (Some(settings), _) => match keys(name, &settings) {
                Ok(_) => Ok(Some(found)),
                // Whoever named no profile may have a default one for something else.
                Err(_) if profile.is_none() => Ok(None),
                Err(e) => Err(e),
            },
        }
    }

    fn load(&self) -> Result<Arc<AwsCredential>, String> {
        let stamp = self.files.stamp();
        let mut known = self.known.lock();
        if let Some((_, keys)) = known.as_ref().filter(|(at, _)| *at == stamp) {
            return Ok(keys.clone());
        }
        let gone = || format!("profile {} is gone from the credentials files", self.profile);
        let settings = self.files.profile(&self.profile)?.ok_or_else(gone)?;
        let keys = Arc::new(keys(&self.profile, &settings)?);
        *known = Some((stamp, keys.clone()));
        Ok(keys)
    }
}

fn keys(profile: &str, settings: &BTreeMap<String, String>) -> Result<AwsCredential, String> {
    let get = |key: &str| settings.get(key).filter(|v| !v.is_empty()).cloned();
    if let (Some(key_id), Some(secret_key)) = (get("aws_access_key_id"), get("aws_secret_access_key")) {
        let token = get("aws_session_token");
        if !is_visible(&key_id) || !is_secret(&secret_key) || token.as_ref().is_some_and(|t| !is_visible(t)) {
            return Err(format!("profile {profile} holds a key with a blank or another character that no key has"));
        }
        return Ok(AwsCredential { key_id, secret_key, token });
    }
    match BEYOND_US.iter().find(|(key, _)| settings.contains_key(*key)) {
        Some((_, what)) => Err(format!(
            "profile {profile} needs {what}, which strongroom does not do: \
             `aws configure export-credentials --profile {profile} --format env` gives keys for the environment"
        )),
        None => Err(format!("profile {profile} holds no aws_access_key_id and aws_secret_access_key")),
    }
}

#[async_trait::async_trait]
impl CredentialProvider for ProfileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.load().map_err(|e| object_store::Error::Generic { store: "S3", source: e.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(credentials: &str, config: &str) -> (tempfile::TempDir, StoreOptions) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        let options = StoreOptions { home: Some(home.path().to_owned()), ..StoreOptions::default() };
        (home, options)
    }

    const CREDENTIALS: &str = "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=S # not part of it\n\n\
                               [ other ]\naws_access_key_id=B\naws_secret_access_key=T\naws_session_token=K\n";
    const CONFIG: &str = "[default]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n[profile other]\nregion=xx\n\
                          endpoint_url = https://s3.example.org\n[profile sso]\nsso_session = corp\n[other]\nregion = no\n";

    /// CC-2: profiles, as the tools of Amazon read them.
    #[test]
    fn keys_and_settings_come_from_both_files() {
        let (_home, options) = options(CREDENTIALS, CONFIG);
        let default = ProfileCredentials::find(&options, None).unwrap().unwrap().load().unwrap();
        assert_eq!((default.key_id.as_str(), default.secret_key.as_str(), &default.token), ("A", "S", &None));
        let other = ProfileCredentials::find(&options, Some("other")).unwrap().unwrap().load().unwrap();
        assert_eq!((other.key_id.as_str(), other.token.as_deref()), ("B", Some("K")));
        assert_eq!(setting(&options, None, "region").as_deref(), Some("eu-central-1"));
        assert_eq!(setting(&options, Some("other"), "region").as_deref(), Some("xx"));
        assert_eq!(setting(&options, Some("other"), "endpoint_url").as_deref(), Some("https://s3.example.org"));
    }

    #[test]
    fn a_profile_that_was_named_and_cannot_be_used_is_an_error_that_says_why() {
        let (_home, options) = options(CREDENTIALS, CONFIG);
        let error = |name| ProfileCredentials::find(&options, Some(name)).unwrap_err();
        assert_eq!(error("nobody"), "there is no profile nobody in the credentials files");
        assert!(error("sso").contains("single sign-on"), "{}", error("sso"));
        let (_home, empty) = super::tests::options("", "[default]\nregion = x\n");
        assert!(ProfileCredentials::find(&empty, None).unwrap().is_none());
    }

    #[test]
    fn keys_that_were_rotated_are_found() {
        let (home, options) = options(CREDENTIALS, "");
        let profile = ProfileCredentials::find(&options, None).unwrap().unwrap();
        assert_eq!(profile.load().unwrap().key_id, "A");
        let path = home.path().join(".aws/credentials");
        std::fs::write(&path, CREDENTIALS.replace("= A", "= Z")).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(profile.load().unwrap().key_id, "Z");
    }
}
