//! An S3 server inside the test: in memory, with signatures checked, with policies, with faults, and with a log of
//! what it was asked. It can be stopped and started again with what it holds.
#![allow(dead_code, reason = "each test file uses what it needs")]

pub(crate) mod weed;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use strongroom::store::{Store, StoreOptions, open};

pub(crate) const BUCKET: &str = "bucket";
/// May do everything.
pub(crate) const OWNER_KEY: &str = "OWNERKEY";
/// Does what the policy says.
pub(crate) const MACHINE_KEY: &str = "MACHINEKEY";
const SECRET: &str = "a secret of forty characters, or nearly so";

/// How the server treats `If-None-Match: *`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Atomic,
    /// Everybody is told to have created the object.
    Ignored,
    /// Looks, waits, stores.
    Racy,
}

/// What is done to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers so, and does nothing.
    Status(u16, &'static str),
    /// Does it, and answers so.
    StatusAfter(u16, &'static str),
    /// Closes the connection before, or after, it is done.
    DropBefore,
    DropAfter,
    /// Sends so many bytes of the answer's body, then closes.
    Cut(usize),
    /// Changes this byte of the answer's body, or the last one.
    Flip(usize),
    /// Answers so, in these words, and does nothing.
    Says(u16, &'static str, &'static str),
    /// Says that the bucket is in this region.
    Elsewhere(&'static str),
    /// Answers only after this time.
    Delay(Duration),
}

/// A request as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub method: String,
    /// Name of the object below the bucket; empty for requests to the bucket.
    pub key: String,
    pub access_key: String,
    pub conditional: bool,
    pub query: String,
    pub status: u16,
}

type FaultFn = Box<dyn FnMut(&Asked, usize) -> Option<Fault> + Send>;
type Policy = Box<dyn Fn(&Asked) -> bool + Send + Sync>;

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified: SystemTime,
    class: Option<String>,
    encryption: Option<String>,
}

/// What the server holds and how it behaves.
pub(crate) struct Bucket {
    objects: Mutex<BTreeMap<String, Object>>,
    pub condition: Mutex<Condition>,
    pub server: Mutex<&'static str>,
    fault: Mutex<Option<FaultFn>>,
    policy: Mutex<Option<Policy>>,
    log: Mutex<Vec<Asked>>,
    /// Whether it knows ranges, or sends all of an object.
    pub ranges: std::sync::atomic::AtomicBool,
    /// What it answers when it is asked whether it keeps versions.
    pub versions: std::sync::atomic::AtomicBool,
    page: usize,
}

#[derive(Clone)]
struct Mem(Arc<Bucket>);

type Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(value: T) -> Answer<T> {
    Ok(S3Response::new(value))
}

impl Mem {
    fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        self.0.objects.lock().unwrap().get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

fn stamp(object: &Object) -> Option<Timestamp> {
    Some(Timestamp::from(object.modified))
}

fn etag(object: &Object) -> Option<ETag> {
    Some(ETag::Strong(blake3::hash(&object.bytes).to_hex()[..32].to_owned()))
}

#[async_trait::async_trait]
impl S3 for Mem {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let mut input = request.input;
        if input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let mut bytes = Vec::new();
        let mut body = input.body.take();
        while let Some(part) = match &mut body {
            Some(body) => body.next().await,
            None => None,
        } {
            bytes.extend_from_slice(&part.map_err(|e| s3_error!(IncompleteBody, "{e}"))?);
        }
        let condition = *self.0.condition.lock().unwrap();
        let only_absent = input.if_none_match.is_some() && condition != Condition::Ignored;
        if condition == Condition::Racy && only_absent {
            if self.0.objects.lock().unwrap().contains_key(&input.key) {
                return Err(s3_error!(PreconditionFailed));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let object = Object {
            bytes: bytes.into(),
            modified: SystemTime::now(),
            class: input.storage_class.map(|c| c.as_str().to_owned()),
            encryption: input.server_side_encryption.map(|e| {
                let key = input.ssekms_key_id.as_deref().unwrap_or_default();
                format!("{} {key}", e.as_str()).trim_end().to_owned()
            }),
        };
        let mut objects = self.0.objects.lock().unwrap();
        if only_absent && condition == Condition::Atomic && objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed));
        }
        let e_tag = etag(&object);
        objects.insert(input.key, object);
        answer(PutObjectOutput { e_tag, ..Default::default() })
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        let object = self.object(&input.bucket, &input.key)?;
        if object.class.as_deref() == Some("GLACIER") {
            return Err(s3_error!(InvalidObjectState));
        }
        let len = object.bytes.len() as u64;
        let ranges = self.0.ranges.load(std::sync::atomic::Ordering::Relaxed);
        let (bytes, content_range) = match input.range.filter(|_| ranges) {
            None => (object.bytes.clone(), None),
            Some(range) => {
                let range = range.check(len).map_err(|_| s3_error!(InvalidRange))?;
                let part = object.bytes.slice(range.start as usize..range.end as usize);
                (part, Some(format!("bytes {}-{}/{len}", range.start, range.end - 1)))
            }
        };
        answer(GetObjectOutput {
            content_length: Some(bytes.len() as i64),
            body: Some(StreamingBlob::from(s3s::Body::from(bytes))),
            content_range,
            e_tag: etag(&object),
            last_modified: stamp(&object),
            ..Default::default()
        })
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let object = self.object(&request.input.bucket, &request.input.key)?;
        let content_length = Some(object.bytes.len() as i64);
        let (e_tag, last_modified) = (etag(&object), stamp(&object));
        answer(HeadObjectOutput { content_length, e_tag, last_modified, ..Default::default() })
    }

    async fn get_bucket_versioning(&self, _: S3Request<GetBucketVersioningInput>) -> Answer<GetBucketVersioningOutput> {
        let kept = self.0.versions.load(std::sync::atomic::Ordering::Relaxed);
        let status = kept.then(|| BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED));
        answer(GetBucketVersioningOutput { status, ..Default::default() })
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.0.objects.lock().unwrap().remove(&request.input.key);
        answer(DeleteObjectOutput::default())
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            self.0.objects.lock().unwrap().remove(&object.key);
            deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
        }
        answer(DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() })
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        if input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let objects = self.0.objects.lock().unwrap();
        let mut found = objects.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let mut contents = Vec::new();
        let mut more = false;
        for (key, object) in found.by_ref().filter(|(key, _)| **key > after) {
            if contents.len() == self.0.page {
                more = true;
                break;
            }
            let (size, last_modified) = (Some(object.bytes.len() as i64), stamp(object));
            contents.push(s3s::dto::Object {
                key: Some(key.clone()),
                size,
                last_modified,
                e_tag: etag(object),
                ..Default::default()
            });
        }
        let next_continuation_token = if more { contents.last().and_then(|o| o.key.clone()) } else { None };
        answer(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_count: Some(contents.len() as i32),
            is_truncated: Some(more),
            next_continuation_token,
            contents: Some(contents),
            ..Default::default()
        })
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub address: SocketAddr,
    pub bucket: Arc<Bucket>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with_pages(1000)
    }

    /// Whose listings have so many names a page.
    pub(crate) fn with_pages(page: usize) -> Self {
        let bucket = Bucket {
            objects: Mutex::default(),
            condition: Mutex::new(Condition::Atomic),
            server: Mutex::new("test"),
            fault: Mutex::default(),
            policy: Mutex::default(),
            log: Mutex::default(),
            ranges: true.into(),
            versions: false.into(),
            page,
        };
        Self::listen(Arc::new(bucket), 0)
    }

    /// Again at the same address, with what was there.
    pub(crate) fn restart(&mut self) {
        self.stop();
        *self = Self::listen(self.bucket.clone(), self.address.port());
    }

    /// From now on connections are refused.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    fn listen(bucket: Arc<Bucket>, port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut auth = SimpleAuth::new();
        for key in [OWNER_KEY, MACHINE_KEY] {
            auth.register(key.to_owned(), SECRET.into());
        }
        let mut builder = S3ServiceBuilder::new(Mem(bucket.clone()));
        builder.set_auth(auth);
        let front = Front { inner: builder.build(), bucket: bucket.clone() };
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).expect("the port is free");
            socket.listen(128).unwrap()
        });
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let front = front.clone();
                tokio::spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    // Faults close connections: that is their purpose.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, front).await;
                });
            }
        });
        Self { address, bucket, runtime: Some(runtime) }
    }

    /// Options by which `key` reaches it.
    pub(crate) fn options(&self, key: &'static str) -> StoreOptions {
        let pairs = [("endpoint", format!("http://{}", self.address)), ("retry-timeout", "20".to_owned())];
        let lookup = move |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(key.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
            _ => None,
        };
        let pairs = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        StoreOptions { pairs, lookup: Arc::new(lookup), ..StoreOptions::default() }
    }

    /// A store as `key` sees it.
    pub(crate) fn store(&self, key: &'static str) -> Arc<dyn Store> {
        open("s3://bucket/backups", &self.options(key), 0).expect("nothing is asked of the server yet")
    }

    /// From now on each request is shown to `fault`, with how many came before it since now.
    pub(crate) fn set_fault(&self, fault: impl FnMut(&Asked, usize) -> Option<Fault> + Send + 'static) {
        self.bucket.log.lock().unwrap().clear();
        *self.bucket.fault.lock().unwrap() = Some(Box::new(fault));
    }

    pub(crate) fn clear_fault(&self) {
        *self.bucket.fault.lock().unwrap() = None;
    }

    /// From now on requests of the machine's key are done only if `policy` says so.
    pub(crate) fn set_policy(&self, policy: impl Fn(&Asked) -> bool + Send + Sync + 'static) {
        *self.bucket.policy.lock().unwrap() = Some(Box::new(policy));
    }

    /// What was asked since the last time.
    pub(crate) fn take_log(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.bucket.log.lock().unwrap())
    }

    /// Storage class and encryption, with its key if one was named, that an object was put with.
    pub(crate) fn headers(&self, key: &str) -> (Option<String>, Option<String>) {
        let objects = self.bucket.objects.lock().unwrap();
        objects.get(key).map(|o| (o.class.clone(), o.encryption.clone())).expect("the object is there")
    }

    /// Moves what lies below `prefix` to a storage class.
    pub(crate) fn set_class(&self, prefix: &str, class: &str) {
        let mut objects = self.bucket.objects.lock().unwrap();
        let below = objects.iter_mut().filter(|(key, _)| key.starts_with(prefix));
        below.for_each(|(_, object)| object.class = Some(class.to_owned()));
    }

    /// Everything that another server holds, from now on here.
    pub(crate) fn copy_from(&self, other: &Self) {
        *self.bucket.objects.lock().unwrap() = other.bucket.objects.lock().unwrap().clone();
    }

    /// Replaces an object by the one of another server, as a server does that lets everybody win.
    pub(crate) fn take_over(bucket: &Bucket, other: &Bucket, key: &str) {
        let object = other.objects.lock().unwrap().get(key).cloned().expect("the other has it");
        bucket.objects.lock().unwrap().insert(key.to_owned(), object);
    }

    /// Puts an object behind everybody's back.
    pub(crate) fn put(&self, key: &str, bytes: &'static [u8], class: Option<&str>) {
        let class = class.map(str::to_owned);
        let object = Object { bytes: Bytes::from_static(bytes), modified: SystemTime::now(), class, encryption: None };
        self.bucket.objects.lock().unwrap().insert(key.to_owned(), object);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What stands before the server: log, policy and faults.
#[derive(Clone)]
struct Front {
    inner: S3Service,
    bucket: Arc<Bucket>,
}

type Response = http::Response<s3s::Body>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn refusal(status: u16, code: &str) -> Response {
    refusal_in_words(status, code, "as told")
}

fn refusal_in_words(status: u16, code: &str, message: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let response = http::Response::builder().status(status).header("content-type", "application/xml");
    response.body(s3s::Body::from(body)).unwrap()
}

fn asked<B>(request: &http::Request<B>) -> Asked {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let authorization = header("authorization");
    let access_key = authorization.split("Credential=").nth(1).and_then(|c| c.split('/').next()).unwrap_or_default();
    let path = request.uri().path().trim_start_matches('/');
    Asked {
        method: request.method().to_string(),
        key: path.split_once('/').map(|(_, key)| key).unwrap_or_default().to_owned(),
        access_key: access_key.to_owned(),
        conditional: header("if-none-match") == "*",
        query: request.uri().query().unwrap_or_default().to_owned(),
        status: 0,
    }
}

impl hyper::service::Service<http::Request<hyper::body::Incoming>> for Front {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn call(&self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let asked = asked(&request);
        let (number, fault) = {
            let mut log = self.bucket.log.lock().unwrap();
            log.push(asked.clone());
            let number = log.len() - 1;
            let fault = self.bucket.fault.lock().unwrap().as_mut().and_then(|fault| fault(&asked, number));
            (number, fault)
        };
        let allowed = asked.access_key != MACHINE_KEY
            || self.bucket.policy.lock().unwrap().as_ref().is_none_or(|allows| allows(&asked));
        let front = self.clone();
        Box::pin(async move {
            let response = front.respond(request, fault, allowed).await?;
            if let Some(entry) = front.bucket.log.lock().unwrap().get_mut(number) {
                entry.status = response.status().as_u16();
            }
            Ok(response)
        })
    }
}

impl Front {
    async fn respond(
        &self,
        request: http::Request<hyper::body::Incoming>,
        fault: Option<Fault>,
        allowed: bool,
    ) -> Result<Response, BoxError> {
        match &fault {
            Some(Fault::Status(status, code)) => return Ok(refusal(*status, code)),
            Some(Fault::Says(status, code, message)) => return Ok(refusal_in_words(*status, code, message)),
            Some(Fault::DropBefore) => return Err("dropped".into()),
            Some(Fault::Elsewhere(region)) => {
                let mut response = refusal(301, "PermanentRedirect");
                response.headers_mut().insert("x-amz-bucket-region", http::HeaderValue::from_static(region));
                return Ok(response);
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        if !allowed {
            return Ok(refusal(403, "AccessDenied"));
        }
        let done = self.inner.call(request.map(s3s::Body::from)).await;
        let mut response = done.map_err(|e| -> BoxError { format!("{e:?}").into() })?;
        let server = *self.bucket.server.lock().unwrap();
        response.headers_mut().insert("server", http::HeaderValue::from_static(server));
        match fault {
            Some(Fault::StatusAfter(status, code)) => Ok(refusal(status, code)),
            Some(Fault::DropAfter) => Err("dropped".into()),
            Some(Fault::Cut(len)) => {
                let (head, body) = response.into_parts();
                let bytes = http_body_util::BodyExt::collect(body)
                    .await
                    .map_err(|e| -> BoxError { e.to_string().into() })?
                    .to_bytes();
                let part = http_body::Frame::data(bytes.slice(..len.min(bytes.len())));
                let frames = futures_util::stream::iter([Ok(part), Err(std::io::Error::other("cut"))]);
                let body = s3s::Body::http_body_unsync(http_body_util::StreamBody::new(frames));
                Ok(http::Response::from_parts(head, body))
            }
            Some(Fault::Flip(at)) => {
                let (head, body) = response.into_parts();
                let bytes = http_body_util::BodyExt::collect(body)
                    .await
                    .map_err(|e| -> BoxError { e.to_string().into() })?
                    .to_bytes();
                let mut bytes = bytes.to_vec();
                let at = at.min(bytes.len().saturating_sub(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                }
                Ok(http::Response::from_parts(head, s3s::Body::from(Bytes::from(bytes))))
            }
            _ => Ok(response),
        }
    }
}

/// What `docs/GUIDE.md` says a backup machine's policy should allow.
pub(crate) fn backup_policy(asked: &Asked) -> bool {
    let key = asked.key.strip_prefix("backups/").unwrap_or(&asked.key);
    let folder = key.split('/').next().unwrap_or_default();
    match asked.method.as_str() {
        "GET" | "HEAD" => folder != "keys",
        "PUT" => asked.conditional && ["data", "meta", "index", "log", "probe"].contains(&folder),
        _ => false,
    }
}

/// What it says for a machine that restores.
pub(crate) fn read_policy(asked: &Asked) -> bool {
    matches!(asked.method.as_str(), "GET" | "HEAD")
}
