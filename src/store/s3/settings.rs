//! From a location, options and environment to what is meant.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::super::StoreError;
use super::super::options::StoreOptions;
use super::handed::is_visible;
use super::location::{self, Place, is_loopback};
use super::profile;

/// Every option, with a word for what it takes.
pub const KEYS: [(&str, &str); 15] = [
    ("endpoint", "URL of the server, if it is not Amazon's"),
    ("region", "name of the region"),
    ("style", "path or virtual"),
    ("profile", "name of a profile in the credentials files"),
    ("ca", "file with certificates (PEM) to trust"),
    ("allow-http", "true: no encryption on the way, also beyond this machine"),
    ("requests", "how many at once, 1 to 256"),
    ("retry-timeout", "seconds for which a failing request is tried again"),
    ("sse", "AES256 or aws:kms"),
    ("sse-kms-key", "id of the key"),
    ("sse-bucket-key", "true"),
    ("storage-class", "class of what lies below data/"),
    ("checksum", "sha256 or crc64nvme, sent with every object"),
    ("conditional", "false: the store ignores If-None-Match; for repositories with a single writer"),
    ("skip-signature", "true: no credentials"),
];

const REQUESTS: u64 = 8;
const RETRY_SECONDS: u64 = 180;

/// What is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub bucket: String,
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub virtual_hosted: bool,
    pub profile: Option<String>,
    /// Named beside the location rather than in the environment.
    pub profile_by_option: bool,
    pub ca: Option<String>,
    pub allow_http: bool,
    pub requests: usize,
    pub retry_seconds: u64,
    /// Keys and values as `object_store` calls them.
    pub encryption: Vec<(&'static str, String)>,
    pub storage_class: Option<String>,
    pub checksum: Option<String>,
    pub conditional: bool,
    pub skip_signature: bool,
}

impl Settings {
    /// Reads `s3://bucket/prefix?key=value`, or `s3:https://host/bucket/prefix` as other tools write it.
    pub(super) fn parse(location: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        let mut given = Given::find(location, query, options)?;
        let Place { bucket, prefix, endpoint: in_path, region: in_host } =
            location::parse(path).map_err(|why| given.unusable(why))?;
        let profile_by_option = given.pairs.contains_key("profile");
        let profile = given.take("profile").or_else(|| options.variable("AWS_PROFILE"));
        let of_profile = |key: &str| profile::setting(options, profile.as_deref(), key);
        let endpoint = given.endpoint(path, &bucket, in_path, || {
            let variable = options.first_variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
            variable.or_else(|| of_profile("endpoint_url"))
        })?;
        let region = (given.take("region"))
            .or(in_host)
            .or_else(|| options.first_variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .or_else(|| of_profile("region"));
        given.check_word("region", region.as_deref())?;
        let storage_class = given.take("storage-class");
        given.check_word("storage class", storage_class.as_deref())?;
        let allow_http = given.flag("allow-http", false)?;
        if endpoint.as_ref().is_some_and(|e| e.starts_with("http://") && !allow_http && !is_loopback(e)) {
            let why = "http:// would send everything unprotected, names and sizes of objects and the keys' ids among it: \
                       use https://, or --option allow-http=true in a network that you trust";
            return Err(given.unusable(why));
        }
        let virtual_hosted = match given.one_of("style", &["path", "virtual"])? {
            Some(style) => style == "virtual",
            // Names with dots do not fit the certificates of Amazon's virtual hosts.
            None => endpoint.is_none() && !bucket.contains('.'),
        };
        Ok(Self {
            // Plain http to this very machine harms nobody.
            allow_http: allow_http || endpoint.as_deref().is_some_and(is_loopback),
            bucket,
            prefix,
            endpoint,
            region,
            virtual_hosted,
            profile,
            profile_by_option,
            ca: given.take("ca").or_else(|| options.variable("AWS_CA_BUNDLE")),
            requests: given.number("requests", REQUESTS, 1..=256)? as usize,
            retry_seconds: given.number("retry-timeout", RETRY_SECONDS, 0..=280)?,
            encryption: given.encryption()?,
            storage_class,
            checksum: given.one_of("checksum", &["sha256", "crc64nvme"])?,
            conditional: given.flag("conditional", true)?,
            skip_signature: given.flag("skip-signature", false)?,
        })
    }

    /// The location as people are shown it.
    pub(super) fn shown(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let at = self.endpoint.as_ref().map(|e| format!(" at {e}")).unwrap_or_default();
        format!("s3://{}{slash}{}{at}", self.bucket, self.prefix)
    }

    /// The endpoint as `object_store` wants it: for virtual hosts the bucket is part of it.
    pub(super) fn endpoint_with_bucket(&self, endpoint: &str) -> String {
        match (self.virtual_hosted, endpoint.split_once("://")) {
            (true, Some((scheme, host))) => format!("{scheme}://{}.{host}", self.bucket),
            _ => endpoint.to_owned(),
        }
    }

    /// URL of the bucket itself, without a slash at its end.
    pub(super) fn bucket_url(&self, region: &str) -> String {
        let bucket = &self.bucket;
        match (&self.endpoint, self.virtual_hosted) {
            (Some(endpoint), true) => self.endpoint_with_bucket(endpoint),
            (Some(endpoint), false) => format!("{endpoint}/{bucket}"),
            (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
            (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
        }
    }

    /// That the location cannot be used, and why.
    pub(super) fn unusable(&self, why: String) -> StoreError {
        unusable(&self.shown(), why)
    }
}

/// The options of a location. What is taken of them is gone.
struct Given<'a> {
    location: &'a str,
    pairs: BTreeMap<String, String>,
}

impl<'a> Given<'a> {
    /// Those of the query, and those beside the location, which are stronger.
    fn find(location: &'a str, query: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let mut given = Self { location, pairs: BTreeMap::new() };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
            if given.pairs.get(&key).is_some_and(|known| *known != value) {
                return Err(given.unusable(format!("option {key} has two values")));
            }
            given.pairs.insert(key, value.trim().to_owned());
        }
        given.pairs.extend(options.pairs.clone());
        if let Some(unknown) = given.pairs.keys().find(|k| !KEYS.iter().any(|(known, _)| known == k)) {
            let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
            return Err(given.unusable(format!("there is no option {unknown:?}; there are {}", known.join(", "))));
        }
        Ok(given)
    }

    fn unusable(&self, why: impl Into<String>) -> StoreError {
        unusable(self.location, why.into())
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.pairs.remove(key)
    }

    /// The server: an option's, the location's (`in_path`), or what `elsewhere` names.
    fn endpoint(
        &mut self,
        path: &str,
        bucket: &str,
        in_path: Option<String>,
        elsewhere: impl FnOnce() -> Option<String>,
    ) -> Result<Option<String>, StoreError> {
        let option = self.take("endpoint");
        let named = |text: String| location::endpoint(&text, bucket).map_err(|why| self.unusable(why));
        match (option.map(named).transpose()?, in_path) {
            (Some(option), Some(path)) if option != path => {
                Err(self.unusable(format!("the location names the server {path}, and option endpoint names {option}")))
            }
            (Some(option), None) if is_amazon(path) => {
                Err(self.unusable(format!("the location names Amazon, and option endpoint names {option}")))
            }
            // A location that names Amazon's server means it.
            (None, None) if !is_amazon(path) => elsewhere().map(named).transpose(),
            (option, path) => Ok(option.or(path)),
        }
    }

    fn check_word(&self, what: &str, value: Option<&str>) -> Result<(), StoreError> {
        let is_word = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        match value.filter(|v| !is_word(v)) {
            Some(value) => Err(self.unusable(format!("{value:?} cannot be a {what}"))),
            None => Ok(()),
        }
    }

    fn flag(&mut self, key: &str, default: bool) -> Result<bool, StoreError> {
        match self.take(key).as_deref() {
            None => Ok(default),
            Some("true" | "yes" | "1") => Ok(true),
            Some("false" | "no" | "0") => Ok(false),
            Some(_) => Err(self.unusable(format!("option {key} is true or false"))),
        }
    }

    fn number(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, StoreError> {
        match self.take(key).map(|v| v.parse::<u64>()) {
            None => Ok(default),
            Some(Ok(n)) if range.contains(&n) => Ok(n),
            Some(_) => {
                let (first, last) = range.into_inner();
                Err(self.unusable(format!("option {key} is a number from {first} to {last}")))
            }
        }
    }

    fn one_of(&mut self, key: &str, values: &[&str]) -> Result<Option<String>, StoreError> {
        let value = self.take(key);
        match value.as_deref().is_none_or(|v| values.contains(&v)) {
            true => Ok(value),
            false => Err(self.unusable(format!("option {key} is {}", values.join(" or ")))),
        }
    }

    /// Keys and values of the encryption that is asked for, as `object_store` calls them.
    fn encryption(&mut self) -> Result<Vec<(&'static str, String)>, StoreError> {
        const NAMES: [(&str, &str); 3] = [
            ("sse", "aws_server_side_encryption"),
            ("sse-kms-key", "aws_sse_kms_key_id"),
            ("sse-bucket-key", "aws_sse_bucket_key_enabled"),
        ];
        let mut encryption = Vec::new();
        for (key, name) in NAMES {
            let Some(value) = self.take(key) else { continue };
            if !is_visible(&value) {
                let why = format!("option {key} holds a blank or another character that it cannot have");
                return Err(self.unusable(why));
            }
            encryption.push((name, value));
        }
        Ok(encryption)
    }
}

fn unusable(location: &str, why: String) -> StoreError {
    StoreError::Unusable { location: location::shown(location), why }
}

/// Whether a location without an endpoint names Amazon's server.
fn is_amazon(path: &str) -> bool {
    path.split('/').any(|part| part.ends_with(".amazonaws.com"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn options(pairs: &[(&str, &str)], variables: &'static [(&str, &str)]) -> StoreOptions {
        let lookup = Arc::new(|name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        StoreOptions { pairs, lookup, ..StoreOptions::default() }
    }

    fn parse(location: &str) -> Settings {
        Settings::parse(location, &StoreOptions::default()).unwrap()
    }

    fn refused(location: &str, pairs: &[(&str, &str)]) -> String {
        Settings::parse(location, &options(pairs, &[])).unwrap_err().to_string()
    }

    #[test]
    fn a_location_is_a_bucket_a_prefix_and_perhaps_an_endpoint() {
        let s = parse("s3://bucket/a/b/");
        assert_eq!((s.bucket.as_str(), s.prefix.as_str(), &s.endpoint), ("bucket", "a/b", &None));
        assert!(s.virtual_hosted && !s.allow_http && s.conditional);
        assert_eq!(parse("s3:bucket").prefix, "");
        assert!(!parse("s3://dotted.name/x").virtual_hosted);
        let s = parse("s3:https://minio.example.org:9000/bucket/x");
        assert_eq!(s.shown(), "s3://bucket/x at https://minio.example.org:9000");
    }

    #[test]
    fn pairs_are_stronger_than_the_query_and_that_than_the_environment() {
        let env: &[(&str, &str)] = &[("AWS_REGION", "env"), ("AWS_ENDPOINT_URL", "https://env.example.org")];
        let region = |location: &str, pairs: &[(&str, &str)]| {
            Settings::parse(location, &options(pairs, env)).unwrap().region.unwrap()
        };
        assert_eq!(region("s3://b", &[]), "env");
        assert_eq!(region("s3://b?region=query", &[]), "query");
        assert_eq!(region("s3://b?region=query", &[("region", "pair")]), "pair");
        let s = Settings::parse("s3://b", &options(&[], env)).unwrap();
        assert_eq!(s.endpoint.as_deref(), Some("https://env.example.org"));
    }

    /// CC-3: an endpoint needs no scheme.
    #[test]
    fn plain_http_is_for_this_machine_unless_it_is_allowed() {
        for local in ["127.0.0.1:8333", "http://localhost:1", "http://[::1]:9"] {
            let s = parse(&format!("s3://b?endpoint={local}"));
            assert!(s.allow_http && s.endpoint.unwrap().starts_with("http://"), "{local}");
        }
        assert!(refused("s3://b?endpoint=http://10.0.0.7:9000", &[]).contains("allow-http=true"));
        assert!(parse("s3://b?endpoint=http://10.0.0.7:9000&allow-http=true").allow_http);
        let remote = parse("s3://b?endpoint=minio.example.org");
        assert_eq!((remote.endpoint.as_deref(), remote.allow_http), (Some("https://minio.example.org"), false));
    }

    #[test]
    fn what_makes_no_sense_is_said_with_what_would() {
        assert!(refused("s3://b?colour=red", &[]).contains("there is no option \"colour\"; there are endpoint, "));
        assert!(refused("s3://b", &[("style", "odd")]).contains("path or virtual"));
        assert!(refused("s3://b", &[("requests", "0")]).contains("from 1 to 256"));
        assert!(refused("s3://b", &[("conditional", "maybe")]).contains("true or false"));
        assert!(!refused("s3://b?secret=hunter2", &[]).contains("hunter2"));
        assert!(!refused("s3://me:hunter2@host/b", &[]).contains("hunter2"));
        assert!(refused("s3://b", &[("region", "eu west")]).contains("cannot be a region"));
        assert!(refused("s3://b", &[("storage-class", "\u{fc}")]).contains("cannot be a storage class"));
        assert!(refused("s3://b?sse-kms-key=a%0Ab", &[]).contains("sse-kms-key"));
    }

    #[test]
    fn two_servers_are_refused() {
        let pair = [("endpoint", "https://other.example.org")];
        assert!(refused("s3:https://one.example.org/b", &pair).contains("names the server https://one.example.org"));
        assert!(refused("s3:s3.amazonaws.com/b", &pair).contains("names Amazon"));
        assert!(refused("s3://b?endpoint=one.org&endpoint=two.org", &[]).contains("has two values"));
        // What the environment says is for locations that name none.
        let env: &[(&str, &str)] = &[("AWS_ENDPOINT_URL", "https://env.example.org")];
        let endpoint = |location: &str| Settings::parse(location, &options(&[], env)).unwrap().endpoint;
        assert_eq!(endpoint("s3:one.example.org/b").as_deref(), Some("https://one.example.org"));
        assert_eq!(endpoint("s3:s3.amazonaws.com/b"), None);
    }

    #[test]
    fn a_virtual_host_at_an_endpoint_carries_the_bucket() {
        let s = parse("s3://b?endpoint=https://s3.example.org&style=virtual");
        assert_eq!(s.endpoint_with_bucket("https://s3.example.org"), "https://b.s3.example.org");
    }
}
