//! What a bucket with versions keeps of objects that were deleted or overwritten: requests that `object_store` does not
//! know, signed with its signatures.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use serde::Deserialize;

use super::advice::advice;
use super::wire::{Refusal, WireError};
use crate::store::{Cause, StoreError, Verb, Version, VersionKind};

/// The pause before the second try; each further one is twice as long, up to a limit.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The versions below one prefix of one bucket.
pub(crate) struct BucketVersions {
    client: HttpClient,
    /// `None`: requests are not signed.
    credentials: Option<AwsCredentialProvider>,
    region: String,
    /// URL of the bucket, without a slash at its end.
    bucket: String,
    /// With a slash at its end, unless it is empty.
    prefix: String,
}

impl fmt::Debug for BucketVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketVersions").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
struct VersioningConfiguration {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListVersionsResult {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
    #[serde(default)]
    version: Vec<Entry>,
    #[serde(default)]
    delete_marker: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    version_id: String,
    #[serde(default)]
    is_latest: bool,
    #[serde(default)]
    size: u64,
}

/// Where a listing goes on.
type Marker = (String, String);

impl BucketVersions {
    pub(crate) fn new(
        client: HttpClient,
        credentials: Option<AwsCredentialProvider>,
        region: String,
        bucket: String,
        prefix: &str,
    ) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { client, credentials, region, bucket, prefix }
    }

    /// Whether the bucket keeps versions, or has kept some. A server that does not know the question keeps none.
    pub(crate) async fn kept(&self) -> Result<bool, StoreError> {
        match self.ask(Verb::List, Method::GET, None, &[("versioning", "")]).await? {
            Ok(body) => Ok(parse::<VersioningConfiguration>(&body)?.status.is_some_and(|s| !s.is_empty())),
            Err(refusal) if matches!(refusal.status, 405 | 501) || refusal.says("NotImplemented") => Ok(false),
            Err(refusal) => Err(refused(Verb::List, "the bucket's versioning", "s3:GetBucketVersioning", &refusal)),
        }
    }

    /// One page of the versions in a folder, behind `marker`; and where the next begins.
    pub(crate) async fn page(
        &self,
        folder: &str,
        marker: Option<&Marker>,
    ) -> Result<(Vec<Version>, Option<Marker>), StoreError> {
        let prefix = format!("{}{folder}", self.prefix);
        let mut query = vec![("versions", ""), ("prefix", prefix.as_str())];
        if let Some((key, version)) = marker {
            query.push(("key-marker", key));
            if !version.is_empty() {
                query.push(("version-id-marker", version));
            }
        }
        let body = self.ask(Verb::List, Method::GET, None, &query).await?;
        let of = |refusal| refused(Verb::List, "the bucket's versions", "s3:ListBucketVersions", &refusal);
        let body = body.map_err(of)?;
        let page: ListVersionsResult = parse(&body)?;
        let next = match (page.is_truncated, page.next_key_marker) {
            (false, _) => None,
            (true, Some(key)) => Some((key, page.next_version_id_marker.unwrap_or_default())),
            (true, None) => {
                return Err(StoreError::other(Verb::List, "versions", "a page without a next one's beginning"));
            }
        };
        let of = |kind: VersionKind, entries: Vec<Entry>| {
            let prefix = &self.prefix;
            entries.into_iter().filter_map(move |entry| {
                let name = entry.key.strip_prefix(prefix.as_str())?.to_owned();
                Some(Version { name, id: entry.version_id, size: entry.size, kind, latest: entry.is_latest })
            })
        };
        let versions = of(VersionKind::Bytes, page.version).chain(of(VersionKind::DeleteMarker, page.delete_marker));
        Ok((versions.collect(), next))
    }

    /// The bytes of one version.
    pub(crate) async fn bytes(&self, version: &Version) -> Result<Bytes, StoreError> {
        let query = [("versionId", version.id.as_str())];
        match self.ask(Verb::Get, Method::GET, Some(&version.name), &query).await? {
            Ok(bytes) => Ok(bytes),
            Err(refusal) if refusal.status == 404 => Err(StoreError::Missing { name: version.name.clone() }),
            Err(refusal) => Err(refused(Verb::Get, &version.name, "s3:GetObjectVersion", &refusal)),
        }
    }

    /// Removes one version for good; one that is not there is removed already.
    pub(crate) async fn remove(&self, version: &Version) -> Result<(), StoreError> {
        let query = [("versionId", version.id.as_str())];
        match self.ask(Verb::Delete, Method::DELETE, Some(&version.name), &query).await? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.status == 404 && !refusal.says("NoSuchBucket") => Ok(()),
            Err(refusal) => Err(refused(
                Verb::Delete,
                &version.name,
                "s3:DeleteObjectVersion (or the version is locked until its retention ends)",
                &refusal,
            )),
        }
    }

    /// Asks until there is an answer that another try would not change.
    async fn ask(
        &self,
        verb: Verb,
        method: Method,
        name: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<Result<Bytes, Refusal>, StoreError> {
        let what = name.unwrap_or("versions");
        let mut pause = PAUSE;
        loop {
            match self.ask_once(method.clone(), name, query).await {
                Ok((200..=299, body)) => return Ok(Ok(body)),
                Ok((status, body)) => {
                    let refusal = Refusal::read(status, &body);
                    if !refusal.may_pass() {
                        return Ok(Err(refusal));
                    }
                }
                Err(error) => match WireError::find(error.as_ref()) {
                    Some(WireError::Refused(refusal)) => return Ok(Err(refusal.clone())),
                    Some(WireError::Silent(_)) => {}
                    Some(found) => return Err(StoreError::other(verb, what, found.clone())),
                    None if is_passing(error.as_ref()) => {}
                    None => return Err(StoreError::other(verb, what, error)),
                },
            }
            // The client says when it is enough.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn ask_once(
        &self,
        method: Method,
        name: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<(u16, Bytes), Cause> {
        let path = name.map(|n| format!("/{}", encoded(&format!("{}{n}", self.prefix), "/"))).unwrap_or_default();
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", encoded(value, ""))).collect();
        let uri = format!("{}{path}?{}", self.bucket, query.join("&"));
        let mut request: HttpRequest =
            http::Request::builder().method(method).uri(uri).body(HttpRequestBody::empty())?;
        if let Some(provider) = &self.credentials {
            let credential = provider.get_credential().await?;
            AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(&mut request, None)?;
        }
        let answer = self.client.execute(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().bytes().await?))
    }
}

/// Whether the connection failed in a way that another try may not.
fn is_passing(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<HttpError>().map(HttpError::kind);
    matches!(
        kind,
        Some(HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Timeout | HttpErrorKind::Interrupted)
    )
}

/// Percent-encodes as signatures want it: all but unreserved characters (RFC 3986, 2.3) and those of `plain`.
fn encoded(text: &str, plain: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ if plain.as_bytes().contains(&byte) => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, StoreError> {
    quick_xml::de::from_reader(body).map_err(|e| StoreError::other(Verb::List, "versions", e))
}

fn refused(verb: Verb, name: &str, permission: &str, refusal: &Refusal) -> StoreError {
    let name = name.to_owned();
    match (refusal.status, advice(refusal)) {
        (_, Some(why)) => StoreError::Explained { verb, name, why: why.to_owned() },
        (401 | 403, None) => {
            let said = refusal.own_words().map(|words| format!("the server says: {words}; ")).unwrap_or_default();
            StoreError::Denied { verb, name, source: format!("{said}the credentials need {permission}").into() }
        }
        (_, None) => StoreError::Explained { verb, name, why: refusal.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_which_versions_and_markers_alternate_is_read() {
        let page = br#"<?xml version="1.0"?><ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Name>b</Name><Prefix>x/</Prefix><IsTruncated>true</IsTruncated><NextKeyMarker>x/b</NextKeyMarker>
            <NextVersionIdMarker>v1</NextVersionIdMarker>
            <DeleteMarker><Key>x/a</Key><VersionId>v9</VersionId><IsLatest>true</IsLatest></DeleteMarker>
            <Version><Key>x/a</Key><VersionId>v8</VersionId><IsLatest>false</IsLatest><Size>17</Size></Version>
            <Version><Key>x/b</Key><VersionId>null</VersionId><IsLatest>true</IsLatest><Size>3</Size></Version>
            </ListVersionsResult>"#;
        let page: ListVersionsResult = parse(page).unwrap();
        assert!(page.is_truncated && page.next_key_marker.as_deref() == Some("x/b"));
        assert_eq!(page.version.iter().map(|v| v.size).collect::<Vec<_>>(), [17, 3]);
        assert!(page.delete_marker[0].is_latest && !page.version[0].is_latest);
    }

    #[test]
    fn names_are_encoded_as_they_are_signed() {
        assert_eq!(encoded("a b+c*d~e/ü", "/"), "a%20b%2Bc%2Ad~e/%C3%BC");
        assert_eq!(encoded("a/b", ""), "a%2Fb");
    }

    #[test]
    fn a_bucket_that_never_kept_versions_says_nothing() {
        let of = |body: &str| parse::<VersioningConfiguration>(body.as_bytes()).unwrap().status;
        assert_eq!(of("<VersioningConfiguration/>"), None);
        assert_eq!(
            of("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>").unwrap(),
            "Enabled"
        );
    }

    #[test]
    fn a_refusal_names_the_permission() {
        let refusal = Refusal::read(403, b"<Error><Code>AccessDenied</Code></Error>");
        let error = refused(Verb::List, "versions", "s3:ListBucketVersions", &refusal);
        let text = crate::primitives::error_chain::error_chain(&error);
        assert!(matches!(error, StoreError::Denied { .. }) && text.contains("s3:ListBucketVersions"), "{text}");
    }
}
