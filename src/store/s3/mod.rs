//! Buckets: `s3://bucket/prefix` on Amazon and on everything that speaks its language.
//!
//! * [`settings`]: from a location, options and environment to what is meant
//! * [`location`]: how people write where a bucket is
//! * [`profile`]: the credentials files that `object_store` does not read
//! * [`handed`]: credentials that are handed out to web identities, containers and instances
//! * [`http`]: requests with limits, and what an answer is worth
//! * [`paced`]: requests that keep to a rate
//! * [`page`]: pages of listings
//! * [`patience`]: how long a server is asked again
//! * [`wire`]: what goes wrong between here and the server
//! * [`advice`]: from what a server answers to what the user can do
//! * [`versions`]: what a bucket with versions keeps of what was deleted

mod advice;
mod handed;
mod http;
mod location;
mod paced;
mod page;
mod patience;
mod profile;
mod settings;
mod versions;
mod wire;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{
    AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider, Checksum, resolve_bucket_region,
};
use object_store::client::{HttpConnector, StaticCredentialProvider};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::bandwidth::Bandwidth;
use super::object::{BackendOptions, ObjectStoreAdapter};
use super::options::StoreOptions;
use super::{StoreError, Verb};

pub(super) use advice::{ARCHIVED, advice, is_full};
use handed::{HandedCredentials, Source, is_secret, is_visible};
pub(super) use http::{Connector, RETRY_TIME};
pub(super) use patience::Patience;
use profile::{Profile, ProfileCredentials, Role, RoleBy};
pub use settings::KEYS;
use settings::Settings;
pub(super) use versions::BucketVersions;
pub(super) use wire::{Refusal, WireError};

/// How long connecting may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the instance metadata service is given to show that it exists.
const METADATA_LIMIT: Duration = Duration::from_secs(1);
const METADATA_ADDRESS: ([u8; 4], u16) = ([169, 254, 169, 254], 80);
/// That there are none, and the ways to give them.
const NO_CREDENTIALS: &str = "there are no credentials: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a profile in \
                              ~/.aws/credentials (AWS_PROFILE, --option profile=NAME), nor a web identity, container or \
                              instance role; for a public bucket use --option skip-signature=true";
/// `object_store` counts from the beginning of each request; what ends the tries is [`Patience`], a little earlier.
const BEYOND_PATIENCE: Duration = Duration::from_secs(100);

/// Opens the bucket at `location`. Nothing is asked of the server, but for the region of a bucket at Amazon if none
/// is named.
pub(super) fn open(location: &str, options: &StoreOptions) -> Result<ObjectStoreAdapter, StoreError> {
    let settings = Settings::parse(location, options)?;
    let runtime = super::object::runtime(&settings.shown())?;
    let patience = Patience::new(Duration::from_secs(settings.retry_seconds), options.notice.clone());
    let proxy = http::proxy(options, settings.endpoint.as_deref().unwrap_or("https://"));
    let bandwidth = Bandwidth::new(options.upload_rate, options.download_rate, settings.requests);
    let connector = Connector::new(patience.clone(), certificates(&settings)?, proxy, bandwidth.clone());
    let server = connector.server();
    let client = client_options(&settings);
    let unfit = |e: object_store::Error| StoreError::other(Verb::Open, &settings.shown(), e);
    let plain_client = connector.connect(&client).map_err(unfit)?;
    let region = match (&settings.region, &settings.endpoint) {
        (Some(region), _) => region.clone(),
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => find_region(&runtime, &settings, &client)?,
    };
    let credentials = credentials(&settings, options, &region)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(&region)
        .with_virtual_hosted_style_request(settings.virtual_hosted)
        .with_allow_http(settings.allow_http)
        .with_client_options(client)
        .with_retry(retry(&settings))
        .with_http_connector(connector)
        // Each object is deleted by its own request anyway, and some servers know no other.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
        .with_disable_tagging(true);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(settings.endpoint_with_bucket(endpoint));
    }
    for (key, value) in &settings.encryption {
        let key: AmazonS3ConfigKey = key.parse().map_err(unfit)?;
        builder = builder.with_config(key, value);
    }
    if let Some(checksum) = &settings.checksum {
        builder = builder.with_checksum_algorithm(match checksum.as_str() {
            "sha256" => Checksum::SHA256,
            _ => Checksum::CRC64NVME,
        });
    }
    builder = match &credentials {
        Some(credentials) => builder.with_credentials(credentials.clone()),
        None => builder.with_skip_signature(true),
    };
    let store = builder.build().map_err(unfit)?;
    let bucket = settings.bucket_url(&region);
    let versions = BucketVersions::new(plain_client, credentials, region, bucket, &settings.prefix);
    let prefix = Path::parse(&settings.prefix).map_err(|e| settings.unusable(format!("its prefix: {e}")))?;
    let store: Arc<dyn ObjectStore> = match settings.prefix.is_empty() {
        true => Arc::new(store),
        false => Arc::new(PrefixStore::new(store, prefix)),
    };
    let backend = BackendOptions {
        conditional: settings.conditional,
        storage_class: settings.storage_class.clone(),
        server: Some(server),
        versions: Some(Arc::new(versions)),
        patience: patience.limit(),
        bandwidth,
    };
    Ok(ObjectStoreAdapter::with(runtime, store, settings.shown(), settings.requests, backend))
}

/// The certificates that are trusted beside the system's.
fn certificates(settings: &Settings) -> Result<Vec<u8>, StoreError> {
    let Some(path) = &settings.ca else { return Ok(Vec::new()) };
    let unusable = |e: &dyn std::fmt::Display| settings.unusable(format!("the certificates in {path}: {e}"));
    let pem = std::fs::read(path).map_err(|e| unusable(&e))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(unusable(&"there are none in PEM form")),
        Ok(_) => Ok(pem),
        Err(e) => Err(unusable(&e)),
    }
}

fn client_options(settings: &Settings) -> ClientOptions {
    // The limits of whole requests are ours: one that fits a record kills a pack on a slow line.
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_allow_http(settings.allow_http)
}

fn retry(settings: &Settings) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 1000,
        retry_timeout: Duration::from_secs(settings.retry_seconds) + BEYOND_PATIENCE,
    }
}

fn find_region(
    runtime: &tokio::runtime::Runtime,
    settings: &Settings,
    client: &ClientOptions,
) -> Result<String, StoreError> {
    let found = runtime
        .block_on(async { tokio::time::timeout(CONNECT_LIMIT, resolve_bucket_region(&settings.bucket, client)).await });
    let why: super::Cause = match found {
        Ok(Ok(region)) => return Ok(region),
        Ok(Err(e)) => e.into(),
        Err(_) => "no answer in ten seconds".into(),
    };
    let why = format!("cannot find out its region ({why}): name it with AWS_REGION or --option region=REGION");
    Err(settings.unusable(why))
}

/// The credentials that are configured, strongest first: keys in the environment, the files, what is handed to web
/// identities and containers, the metadata of the instance. `None`: requests are not signed.
fn credentials(
    settings: &Settings,
    options: &StoreOptions,
    region: &str,
) -> Result<Option<AwsCredentialProvider>, StoreError> {
    if settings.skip_signature {
        return Ok(None);
    }
    let unusable = |why: String| settings.unusable(why);
    let [key_id, secret_key, token] =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(|name| (name, options.variable(name)));
    match (&key_id.1, &secret_key.1, &settings.profile) {
        // A profile that was named beside the location is meant; one of the environment is weaker than keys there.
        (Some(_), Some(_), _) if !settings.profile_by_option => {
            let unfit = [&key_id, &token].into_iter().find(|(_, value)| value.as_ref().is_some_and(|v| !is_visible(v)));
            let unfit = unfit.or((secret_key.1.as_ref().is_some_and(|v| !is_secret(v))).then_some(&secret_key));
            if let Some((name, _)) = unfit {
                return Err(unusable(format!("{name} holds a line break or another character that no key has")));
            }
            let (key_id, secret_key) = (key_id.1.unwrap_or_default(), secret_key.1.unwrap_or_default());
            let keys = AwsCredential { key_id, secret_key, token: token.1 };
            return Ok(Some(Arc::new(StaticCredentialProvider::new(keys))));
        }
        (Some(_), None, None) | (None, Some(_), None) => {
            let why = "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both".to_owned();
            return Err(unusable(why));
        }
        _ => {}
    }
    let unfit = |e: object_store::Error| StoreError::other(Verb::Open, &settings.shown(), e);
    if let Some(profile) = ProfileCredentials::find(options, settings.profile.as_deref()).map_err(unusable)? {
        let found = of_profile(profile, options, region).map_err(|e| match e {
            Unusable::Said(why) => settings.unusable(why),
            Unusable::Client(e) => unfit(e),
        })?;
        return Ok(Some(found));
    }
    if let Some(source) = Source::named(options, region).map_err(unusable)? {
        return Ok(Some(Arc::new(HandedCredentials::new(source).map_err(unfit)?)));
    }
    let metadata = || {
        let allowed = options.variable("AWS_EC2_METADATA_DISABLED").is_none_or(|v| !v.eq_ignore_ascii_case("true"));
        allowed && TcpStream::connect_timeout(&SocketAddr::from(METADATA_ADDRESS), METADATA_LIMIT).is_ok()
    };
    if options.variable("AWS_METADATA_ENDPOINT").is_some() || metadata() {
        let source = Source::instance(options).map_err(unusable)?;
        return Ok(Some(Arc::new(HandedCredentials::new(source).map_err(unfit)?)));
    }
    Err(settings.unusable(NO_CREDENTIALS.to_owned()))
}
/// Why credentials of a profile cannot be used.
enum Unusable {
    /// In words.
    Said(String),
    /// The client for asking for them cannot be made.
    Client(object_store::Error),
}

impl From<object_store::Error> for Unusable {
    fn from(e: object_store::Error) -> Self {
        Self::Client(e)
    }
}

/// Who gives the credentials of a profile.
fn of_profile(profile: Profile, options: &StoreOptions, region: &str) -> Result<AwsCredentialProvider, Unusable> {
    let Role { form, region: own, by } = match profile {
        Profile::Keys(keys) => return Ok(Arc::new(keys)),
        Profile::Process(line) => return Ok(Arc::new(HandedCredentials::new(Source::Process { line })?)),
        Profile::Role(role) => role,
    };
    let region = own.unwrap_or_else(|| region.to_owned());
    let endpoint = options.variable("AWS_ENDPOINT_URL_STS");
    let endpoint = endpoint.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com/"));
    let value = |name: &str| form.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let by: AwsCredentialProvider = match by {
        RoleBy::Profile(profile) => of_profile(*profile, options, &region)?,
        RoleBy::WebIdentity(token_file) => {
            let (role, session) = (value("RoleArn").unwrap_or_default(), value("RoleSessionName").unwrap_or_default());
            let source = Source::WebIdentity { token_file, role, session, endpoint };
            return Ok(Arc::new(HandedCredentials::new(source)?));
        }
        RoleBy::Surroundings(name) => surroundings(&name, options, &region)?,
    };
    Ok(Arc::new(HandedCredentials::new(Source::Role { form, endpoint, region, by })?))
}

/// The credentials that `credential_source` names.
fn surroundings(name: &str, options: &StoreOptions, region: &str) -> Result<AwsCredentialProvider, Unusable> {
    let source = match name {
        "Environment" => {
            let [key_id, secret_key, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
                .map(|name| options.variable(name).filter(|value| is_secret(value)));
            let missing = "credential_source = Environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set";
            let (Some(key_id), Some(secret_key)) = (key_id, secret_key) else {
                return Err(Unusable::Said(missing.to_owned()));
            };
            return Ok(Arc::new(StaticCredentialProvider::new(AwsCredential { key_id, secret_key, token })));
        }
        "Ec2InstanceMetadata" => Source::instance(options).map_err(Unusable::Said)?,
        "EcsContainer" => {
            let missing = || Unusable::Said("credential_source = EcsContainer: this is no container of ECS".to_owned());
            Source::named(options, region).map_err(Unusable::Said)?.ok_or_else(missing)?
        }
        other => return Err(Unusable::Said(format!("credential_source = {other} is not known"))),
    };
    Ok(Arc::new(HandedCredentials::new(source)?))
}
