//! Google Cloud Storage and Azure Blob Storage: `gs://bucket/prefix`, `az://container/prefix`.
//!
//! What `object_store` gives, behind the same adapter as S3; credentials come from the environment as each cloud's own
//! tools expect them. Both create objects only if they are absent, and `init` tries it. Not tried by this project's
//! tests, which have no such server.

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore};

use super::bandwidth::Bandwidth;
use super::object::{BackendOptions, ObjectStoreAdapter, runtime};
use super::options::StoreOptions;
use super::s3::{CONNECT_LIMIT, Connector, Patience, RETRY_TIME};
use super::{StoreError, Verb};

/// How many requests at once.
const REQUESTS: usize = 8;

/// Whether the location is one of these clouds'.
pub(super) fn is_cloud(location: &str) -> bool {
    location.starts_with("gs://") || location.starts_with("az://")
}

/// Opens the bucket or container at `location`. Nothing is asked of the server yet.
pub(super) fn open(location: &str, options: &StoreOptions) -> Result<ObjectStoreAdapter, StoreError> {
    let unusable = |why: &str| StoreError::Unusable { location: location.to_owned(), why: why.to_owned() };
    let (scheme, rest) = location.split_once("://").ok_or_else(|| unusable("write gs://BUCKET/PREFIX"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.is_empty() || rest.contains('?') {
        return Err(unusable("write gs://BUCKET/PREFIX or az://CONTAINER/PREFIX; options come from the environment"));
    }
    let bandwidth = Bandwidth::new(options.upload_rate, options.download_rate, REQUESTS);
    let patience = Patience::new(RETRY_TIME, options.notice.clone());
    let connector = Connector::new(patience, Vec::new(), None, bandwidth.clone());
    let server = connector.server();
    let client = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_LIMIT);
    let other = |e: object_store::Error| StoreError::other(Verb::Open, location, e);
    let store: Arc<dyn ObjectStore> = match scheme {
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_client_options(client);
            Arc::new(builder.with_http_connector(connector).build().map_err(other)?)
        }
        _ => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_client_options(client);
            Arc::new(builder.with_http_connector(connector).build().map_err(other)?)
        }
    };
    let path = Path::parse(prefix).map_err(|e| unusable(&e.to_string()))?;
    let store: Arc<dyn ObjectStore> = if prefix.is_empty() { store } else { Arc::new(PrefixStore::new(store, path)) };
    let backend = BackendOptions { server: Some(server), bandwidth, ..BackendOptions::default() };
    Ok(ObjectStoreAdapter::with(runtime(location)?, store, location.to_owned(), REQUESTS, backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_without_a_bucket_or_with_a_query_is_refused() {
        assert!(is_cloud("gs://b/x") && is_cloud("az://c") && !is_cloud("s3://b"));
        for bad in ["gs://", "gs:///x", "az://c/x?key=value"] {
            assert!(matches!(open(bad, &StoreOptions::default()), Err(StoreError::Unusable { .. })), "{bad}");
        }
    }
}
