//! The credentials files of Amazon's tools: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Keys are read again when a file has changed, so that those who rotate them need not restart anything. A profile may
//! name a process that prints keys, or a role that is assumed with those of another. Single sign-on and roles that need a
//! second factor are refused in words.

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
const BEYOND_US: [(&str, &str); 3] =
    [("mfa_serial", "a second factor"), ("sso_session", "single sign-on"), ("sso_start_url", "single sign-on")];

/// Roles may be assumed through roles: so many.
const ROLES_MAX: usize = 5;

/// What a profile has keys by.
#[derive(Debug)]
pub(super) enum Profile {
    /// Its own.
    Keys(ProfileCredentials),
    /// What a process prints.
    Process(String),
    /// A role.
    Role(Role),
}

/// A role that a profile assumes.
#[derive(Debug)]
pub(super) struct Role {
    /// The form of the request to STS.
    pub form: Vec<(&'static str, String)>,
    /// The region of STS.
    pub region: Option<String>,
    /// What it is assumed with.
    pub by: RoleBy,
}

/// What a role is assumed with.
#[derive(Debug)]
pub(super) enum RoleBy {
    /// Another profile.
    Profile(Box<Profile>),
    /// What the surroundings give: `Environment`, `Ec2InstanceMetadata` or `EcsContainer`.
    Surroundings(String),
    /// The token in a file.
    WebIdentity(String),
}

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
    pub(super) fn find(options: &StoreOptions, profile: Option<&str>) -> Result<Option<Profile>, String> {
        let files = Files::of(options);
        let name = profile.unwrap_or("default");
        match (files.profile(name)?, profile) {
            (None, None) => Ok(None),
            (None, Some(name)) => Err(format!("there is no profile {name} in the credentials files")),
            (Some(settings), _) => match of_profile(&files, name, &settings, ROLES_MAX) {
                Ok(found) => Ok(Some(found)),
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

/// What a profile has keys by. `roles` is how many more may be assumed.
fn of_profile(files: &Files, name: &str, settings: &BTreeMap<String, String>, roles: usize) -> Result<Profile, String> {
    let get = |key: &str| settings.get(key).filter(|value| !value.is_empty()).cloned();
    let own = || {
        keys(name, settings).map(|_| {
            let (profile, files, known) = (name.to_owned(), files.clone(), Mutex::new(None));
            Profile::Keys(ProfileCredentials { profile, files, known })
        })
    };
    let Some(arn) = get("role_arn").filter(|_| get("mfa_serial").is_none()) else {
        return match get("credential_process") {
            Some(line) if get("aws_access_key_id").is_none() => Ok(Profile::Process(line)),
            _ => own(),
        };
    };
    if roles == 0 {
        return Err(format!("profile {name}: more than {ROLES_MAX} roles are assumed one through the other"));
    }
    let by = match (get("source_profile"), get("credential_source"), get("web_identity_token_file")) {
        (Some(other), _, _) if other == name => RoleBy::Profile(Box::new(own()?)),
        (Some(other), _, _) => {
            let missing = || format!("profile {name}: there is no profile {other}, its source_profile");
            let settings = files.profile(&other)?.ok_or_else(missing)?;
            RoleBy::Profile(Box::new(of_profile(files, &other, &settings, roles - 1)?))
        }
        (None, Some(source), _) => RoleBy::Surroundings(source),
        (None, None, Some(file)) => RoleBy::WebIdentity(file),
        (None, None, None) => {
            return Err(format!("profile {name} has a role_arn, and neither source_profile nor credential_source"));
        }
    };
    let action = if matches!(by, RoleBy::WebIdentity(_)) { "AssumeRoleWithWebIdentity" } else { "AssumeRole" };
    let mut form = vec![
        ("Action", action.to_owned()),
        ("DurationSeconds", get("duration_seconds").unwrap_or_else(|| "3600".to_owned())),
        ("RoleArn", arn),
        ("RoleSessionName", get("role_session_name").unwrap_or_else(|| "strongroom".to_owned())),
        ("Version", "2011-06-15".to_owned()),
    ];
    form.extend(get("external_id").map(|id| ("ExternalId", id)));
    Ok(Profile::Role(Role { form, region: get("region"), by }))
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

    fn own(options: &StoreOptions, profile: Option<&str>) -> ProfileCredentials {
        match ProfileCredentials::find(options, profile) {
            Ok(Some(Profile::Keys(keys))) => keys,
            other => panic!("{other:?}"),
        }
    }

    /// DH-5, CC-2: roles that are assumed with the keys of another profile, and processes that print keys.
    #[test]
    fn a_profile_may_name_a_role_or_a_process() {
        let config = "[profile role]\nrole_arn = arn:x\nsource_profile = other\nexternal_id = e\nregion = eu-west-1\n\
                      [profile chain]\nrole_arn = arn:y\nsource_profile = role\n[profile self]\nrole_arn = z\nsource_profile=self\n\
                      [profile machine]\nrole_arn = m\ncredential_source = Ec2InstanceMetadata\n\
                      [profile process]\ncredential_process = /opt/keys --json\n[profile mfa]\nrole_arn = q\nmfa_serial = 1\n\
                      [profile circle]\nrole_arn = c\nsource_profile = circle2\n[profile circle2]\nrole_arn = c\n\
                      source_profile = circle\n[profile bare]\nrole_arn = b\n";
        let (_home, options) = options(CREDENTIALS, config);
        let find = |name| ProfileCredentials::find(&options, Some(name));
        let Ok(Some(Profile::Role(role))) = find("role") else { panic!() };
        assert!(
            role.form.contains(&("RoleArn", "arn:x".to_owned())) && role.form.contains(&("ExternalId", "e".to_owned()))
        );
        assert!(matches!(&role.by, RoleBy::Profile(by) if matches!(**by, Profile::Keys(_))));
        assert_eq!(role.region.as_deref(), Some("eu-west-1"));
        let Ok(Some(Profile::Role(role))) = find("chain") else { panic!() };
        assert!(matches!(&role.by, RoleBy::Profile(by) if matches!(**by, Profile::Role(_))));
        assert!(matches!(find("machine"), Ok(Some(Profile::Role(Role { by: RoleBy::Surroundings(_), .. })))));
        assert!(matches!(find("process"), Ok(Some(Profile::Process(line))) if line == "/opt/keys --json"));
        for (name, why) in
            [("self", "aws_access_key_id"), ("mfa", "second factor"), ("circle", "more than"), ("bare", "neither")]
        {
            let error = find(name).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    const CREDENTIALS: &str = "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=S # not part of it\n\n\
                               [ other ]\naws_access_key_id=B\naws_secret_access_key=T\naws_session_token=K\n";
    const CONFIG: &str = "[default]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n[profile other]\nregion=xx\n\
                          endpoint_url = https://s3.example.org\n[profile sso]\nsso_session = corp\n[other]\nregion = no\n";

    /// CC-2: profiles, as the tools of Amazon read them.
    #[test]
    fn keys_and_settings_come_from_both_files() {
        let (_home, options) = options(CREDENTIALS, CONFIG);
        let default = own(&options, None).load().unwrap();
        assert_eq!((default.key_id.as_str(), default.secret_key.as_str(), &default.token), ("A", "S", &None));
        let other = own(&options, Some("other")).load().unwrap();
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
        let profile = own(&options, None);
        assert_eq!(profile.load().unwrap().key_id, "A");
        let path = home.path().join(".aws/credentials");
        std::fs::write(&path, CREDENTIALS.replace("= A", "= Z")).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(profile.load().unwrap().key_id, "Z");
    }
}
