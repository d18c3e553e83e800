//! From a location, options and environment to what is meant.

use std::collections::BTreeMap;

use super::super::StoreError;
use super::super::options::StoreOptions;
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

const REQUESTS: usize = 8;
const RETRY_SECONDS: u64 = 180;

/// What is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
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
    pub fn parse(location: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let unusable = |why: String| unusable(location, why);
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        let mut pairs: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        pairs.extend(options.pairs.clone());
        if let Some(unknown) = pairs.keys().find(|k| !KEYS.iter().any(|(known, _)| known == k)) {
            let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
            return Err(unusable(format!("there is no option {unknown:?}; there are {}", known.join(", "))));
        }
        let (in_path, rest) = split_location(path).ok_or_else(|| unusable("write s3://BUCKET/PREFIX".to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/').to_owned();
        if bucket.is_empty() || prefix.split('/').any(|part| part.is_empty() && !prefix.is_empty()) {
            return Err(unusable("write s3://BUCKET/PREFIX".to_owned()));
        }
        let profile_by_option = pairs.contains_key("profile");
        let profile = pairs.remove("profile").or_else(|| options.variable("AWS_PROFILE"));
        let of_profile = |key: &str| profile::setting(options, profile.as_deref(), key);
        let endpoint = (pairs.remove("endpoint").or(in_path))
            .or_else(|| options.first_variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]))
            .or_else(|| of_profile("endpoint_url"));
        let endpoint = endpoint.map(|e| with_scheme(e.trim_end_matches('/')));
        let region = (pairs.remove("region"))
            .or_else(|| options.first_variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .or_else(|| of_profile("region"));
        let flag = |pairs: &mut BTreeMap<String, String>, key: &str, default: bool| match pairs.remove(key).as_deref() {
            None => Ok(default),
            Some("true" | "yes" | "1") => Ok(true),
            Some("false" | "no" | "0") => Ok(false),
            Some(_) => Err(unusable(format!("option {key} is true or false"))),
        };
        let allow_http = flag(&mut pairs, "allow-http", false)?;
        if endpoint.as_ref().is_some_and(|e| e.starts_with("http://") && !allow_http && !is_loopback(e)) {
            let why = "http:// would send everything unprotected, names and sizes of objects and the keys' ids among it: \
                       use https://, or --option allow-http=true in a network that you trust";
            return Err(unusable(why.to_owned()));
        }
        let style = pairs.remove("style");
        let virtual_hosted = match style.as_deref() {
            Some("virtual") => true,
            Some("path") => false,
            // Names with dots do not fit the certificates of Amazon's virtual hosts.
            None => endpoint.is_none() && !bucket.contains('.'),
            Some(_) => return Err(unusable("option style is path or virtual".to_owned())),
        };
        let number = |pairs: &mut BTreeMap<String, String>,
                      key: &str,
                      default: u64,
                      range: std::ops::RangeInclusive<u64>| {
            match pairs.remove(key).map(|v| v.parse::<u64>()) {
                None => Ok(default),
                Some(Ok(n)) if range.contains(&n) => Ok(n),
                Some(_) => Err(unusable(format!("option {key} is a number from {} to {}", range.start(), range.end()))),
            }
        };
        let requests = number(&mut pairs, "requests", REQUESTS as u64, 1..=256)? as usize;
        let retry_seconds = number(&mut pairs, "retry-timeout", RETRY_SECONDS, 0..=280)?;
        let checksum = pairs.remove("checksum");
        if checksum.as_deref().is_some_and(|c| !["sha256", "crc64nvme"].contains(&c)) {
            return Err(unusable("option checksum is sha256 or crc64nvme".to_owned()));
        }
        let mut encryption = Vec::new();
        let names = [
            ("sse", "aws_server_side_encryption"),
            ("sse-kms-key", "aws_sse_kms_key_id"),
            ("sse-bucket-key", "aws_sse_bucket_key_enabled"),
        ];
        for (key, name) in names {
            encryption.extend(pairs.remove(key).map(|value| (name, value)));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
            endpoint,
            region,
            virtual_hosted,
            profile,
            profile_by_option,
            ca: pairs.remove("ca").or_else(|| options.variable("AWS_CA_BUNDLE")),
            allow_http,
            requests,
            retry_seconds,
            encryption,
            storage_class: pairs.remove("storage-class"),
            checksum,
            conditional: flag(&mut pairs, "conditional", true)?,
            skip_signature: flag(&mut pairs, "skip-signature", false)?,
        }
        .with_loopback())
    }

    /// Plain http to this very machine harms nobody.
    fn with_loopback(mut self) -> Self {
        self.allow_http |= self.endpoint.as_deref().is_some_and(is_loopback);
        self
    }

    /// The location as people are shown it.
    pub fn shown(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let at = self.endpoint.as_ref().map(|e| format!(" at {e}")).unwrap_or_default();
        format!("s3://{}{slash}{}{at}", self.bucket, self.prefix)
    }

    /// The endpoint as `object_store` wants it: for virtual hosts the bucket is part of it.
    pub fn endpoint_with_bucket(&self, endpoint: &str) -> String {
        match (self.virtual_hosted, endpoint.split_once("://")) {
            (true, Some((scheme, host))) => format!("{scheme}://{}.{host}", self.bucket),
            _ => endpoint.to_owned(),
        }
    }

    /// URL of the bucket itself, without a slash at its end.
    pub fn bucket_url(&self, region: &str) -> String {
        let bucket = &self.bucket;
        match (&self.endpoint, self.virtual_hosted) {
            (Some(endpoint), true) => self.endpoint_with_bucket(endpoint),
            (Some(endpoint), false) => format!("{endpoint}/{bucket}"),
            (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
            (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
        }
    }

    /// That the location cannot be used, and why.
    pub fn unusable(&self, why: String) -> StoreError {
        unusable(&self.shown(), why)
    }
}

fn unusable(location: &str, why: String) -> StoreError {
    // A query may hold what nobody else should read.
    let location = location.split('?').next().unwrap_or(location).to_owned();
    StoreError::Unusable { location, why }
}

/// The endpoint, if the location has one in it, and bucket and prefix.
fn split_location(path: &str) -> Option<(Option<String>, &str)> {
    let rest = path.strip_prefix("s3:")?;
    for scheme in ["https://", "http://"] {
        if let Some(after) = rest.strip_prefix(scheme) {
            let (host, below) = after.split_once('/')?;
            return Some((Some(format!("{scheme}{host}")), below));
        }
    }
    Some((None, rest.strip_prefix("//").unwrap_or(rest)))
}

fn with_scheme(endpoint: &str) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false if is_loopback(&format!("http://{endpoint}")) => format!("http://{endpoint}"),
        false => format!("https://{endpoint}"),
    }
}

fn is_loopback(endpoint: &str) -> bool {
    let Ok(url) = url::Url::parse(endpoint) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn options(pairs: &[(&str, &str)], variables: &'static [(&str, &str)]) -> StoreOptions {
        let lookup = Arc::new(|name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        StoreOptions { pairs, lookup, home: None }
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
        assert_eq!((s.bucket.as_str(), s.prefix.as_str()), ("bucket", "x"));
        assert_eq!(s.endpoint.as_deref(), Some("https://minio.example.org:9000"));
        assert_eq!(s.shown(), "s3://bucket/x at https://minio.example.org:9000");
        for bad in ["s3://", "s3:///x", "s3://b//x", "s3://b/x//y"] {
            assert!(refused(bad, &[]).contains("s3://BUCKET/PREFIX"), "{bad}");
        }
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
    }

    #[test]
    fn a_virtual_host_at_an_endpoint_carries_the_bucket() {
        let s = parse("s3://b?endpoint=https://s3.example.org&style=virtual");
        assert_eq!(s.endpoint_with_bucket("https://s3.example.org"), "https://b.s3.example.org");
    }
}
