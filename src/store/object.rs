//! Any `object_store` as a store of ours.
//!
//! The engine works with threads, `object_store` with futures: this adapter has a small runtime of its own and
//! waits for each answer on the calling thread. It must not be called from inside another async runtime.
//!
//! It is for stores that are made of requests (S3 and its kin, and `object_store::memory`): requests are
//! counted and limited here, and what their answers leave open is told as [`StoreError::Ambiguous`]. Nothing
//! here makes a store durable that is not, or sorted.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, Error, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};
use parking_lot::Mutex;

use crate::primitives::error_chain::error_chain;

use tokio::sync::Semaphore;

use super::bandwidth::{Bandwidth, collected, time_limit};
use super::counts::Counters;
use super::name::{is_name, is_within};
use super::s3::{ARCHIVED, BucketVersions, Refusal, WireError, advice, is_full};
use super::{
    Created, Foreign, Listed, RequestCounts, Store, StoreError, Verb, Version, Versions, check_folder, check_name,
    check_range,
};

/// A page of S3.
const LIST_BATCH: usize = 1000;
/// How often an "already there" that is followed by a "not there" is tried again before the caller must.
const CREATE_TRIES: usize = 3;

/// A store over `object_store`.
pub struct ObjectStoreAdapter {
    inner: Arc<dyn ObjectStore>,
    location: String,
    /// `None` only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
    /// How many requests may still begin.
    permits: Semaphore,
    counters: Counters,
    /// Whether the store knows "only if it is absent".
    conditional: AtomicBool,
    storage_class: Option<String>,
    server: Option<Arc<Mutex<Option<String>>>>,
    versions: Option<Arc<BucketVersions>>,
    /// Whether an object was given a version.
    versioned: AtomicBool,
    patience: Duration,
    bandwidth: Bandwidth,
}

/// What is particular to a store behind the adapter.
#[derive(Debug, Clone)]
pub(super) struct BackendOptions {
    /// Whether the store knows "only if it is absent". If not, only one writer at a time may use it.
    pub conditional: bool,
    /// Storage class of what lies below `data/`.
    pub storage_class: Option<String>,
    /// What the server says it is.
    pub server: Option<Arc<Mutex<Option<String>>>>,
    /// How to ask for versions.
    pub versions: Option<Arc<BucketVersions>>,
    /// For how long a failing request is tried again.
    pub patience: Duration,
    /// What downloads keep to; uploads keep to their rate as they are sent.
    pub bandwidth: Bandwidth,
}

impl Default for BackendOptions {
    fn default() -> Self {
        let patience = Duration::from_secs(180);
        let bandwidth = Bandwidth::default();
        Self { conditional: true, storage_class: None, server: None, versions: None, patience, bandwidth }
    }
}

/// The runtime that an adapter waits on.
pub(super) fn runtime(location: &str) -> Result<tokio::runtime::Runtime, StoreError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("store").enable_all();
    builder.build().map_err(|e| StoreError::from_io(Verb::Open, location, e))
}

impl ObjectStoreAdapter {
    /// Wraps `inner`, which people know as `location`, and lets it do `requests_max` requests at once. Fails
    /// only if the system gives no threads.
    pub fn new(inner: Arc<dyn ObjectStore>, location: String, requests_max: usize) -> Result<Self, StoreError> {
        Ok(Self::with(runtime(&location)?, inner, location, requests_max, BackendOptions::default()))
    }

    /// As [`ObjectStoreAdapter::new`], on a runtime that is there, for a store with a manner of its own.
    pub(super) fn with(
        runtime: tokio::runtime::Runtime,
        inner: Arc<dyn ObjectStore>,
        location: String,
        requests_max: usize,
        backend: BackendOptions,
    ) -> Self {
        let permits = Semaphore::new(requests_max.max(1));
        let BackendOptions { conditional, storage_class, server, versions, patience, bandwidth } = backend;
        let (runtime, counters, conditional) = (Some(runtime), Counters::default(), AtomicBool::new(conditional));
        let versioned = AtomicBool::new(false);
        Self {
            inner,
            location,
            runtime,
            permits,
            counters,
            conditional,
            storage_class,
            server,
            versions,
            versioned,
            patience,
            bandwidth,
        }
    }

    /// How an object is put: only if it is absent where the store knows that, else as the only writer does.
    fn put_options(&self, name: &str) -> PutOptions {
        let mode = if self.conditional.load(Ordering::Relaxed) { PutMode::Create } else { PutMode::Overwrite };
        let mut options = PutOptions::from(mode);
        if let Some(class) = self.storage_class.as_ref().filter(|_| is_within(name, "data")) {
            options.attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        options
    }

    /// One request: waits for its turn, counts, and waits for the answer.
    fn request<T>(&self, verb: Verb, future: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().expect("the runtime is there until the drop");
        runtime.block_on(async {
            let _permit = self.permits.acquire().await.expect("nobody closes it");
            self.counters.count(verb);
            future.await
        })
    }

    /// The bytes of an answer, as fast as they may come.
    async fn bytes(&self, answer: GetResult) -> object_store::Result<Bytes> {
        let (len, line) = (answer.range.end - answer.range.start, self.bandwidth.download.as_deref());
        let limit = time_limit(len, line);
        match line {
            None => in_time(limit, answer.bytes()).await,
            Some(line) => in_time(limit, collected(answer.into_stream(), line)).await,
        }
    }

    fn head(&self, name: &str) -> Result<u64, StoreError> {
        let meta = self.request(Verb::Size, self.inner.head(&path(name)?));
        Ok(meta.map_err(|e| translate(Verb::Size, name, e))?.size)
    }
}

impl fmt::Debug for ObjectStoreAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStoreAdapter").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Drop for ObjectStoreAdapter {
    fn drop(&mut self) {
        // Does not wait, so that it may happen anywhere; every request has been answered, for we block on each.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for ObjectStoreAdapter {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn create(&self, name: &str, bytes: Bytes) -> Result<Created, StoreError> {
        let path = path(name)?;
        if !self.conditional.load(Ordering::Relaxed) {
            match self.head(name) {
                Ok(_) => return Ok(Created::AlreadyThere),
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..CREATE_TRIES {
            let options = self.put_options(name);
            self.counters.up(bytes.len());
            match self.request(Verb::Create, self.inner.put_opts(&path, bytes.clone().into(), options)) {
                Ok(put) => {
                    // A bucket whose versions were suspended calls each of them so.
                    let version = put.version.is_some_and(|version| !version.is_empty() && version != "null");
                    self.versioned.fetch_or(version, Ordering::Relaxed);
                    return Ok(Created::New);
                }
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) => return Err(translate_create(name, error)),
            }
            // A conflict (409) looks the same as an object that is there: only looking tells (S3 answers so to
            // two creators at once, and may have stored neither's).
            match self.head(name) {
                Ok(_) => return Ok(Created::AlreadyThere),
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(StoreError::Ambiguous { name: name.to_owned(), source: error.into() }),
            }
        }
        let source = "the store says that it is there and that it is not".into();
        Err(StoreError::Ambiguous { name: name.to_owned(), source })
    }

    fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        let path = path(name)?;
        let answer = self.request(Verb::Get, async {
            let answer = self.inner.get(&path).await?;
            self.bytes(answer).await
        });
        let bytes = answer.map_err(|e| translate(Verb::Get, name, e))?;
        self.counters.down(bytes.len());
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = path(name)?;
        if range.is_empty() {
            // Nobody can be asked for no bytes; but the object must be there and be long enough.
            check_range(name, &range, self.head(name)?)?;
            return Ok(Bytes::new());
        }
        let len = range.end - range.start;
        // Its tries and their answers' bytes: each try has its own limit for the beginning of the answer.
        let answer = self.request(Verb::GetRange, async {
            let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
            let answer = self.inner.get_opts(&path, options).await?;
            self.bytes(answer).await
        });
        match answer {
            Ok(bytes) if bytes.len() as u64 == len => {
                self.counters.down(bytes.len());
                Ok(bytes)
            }
            // Stores clip a range that ends too late, and refuse one that starts too late, in many words.
            Ok(_) => {
                check_range(name, &range, self.head(name)?)?;
                Err(StoreError::other(Verb::GetRange, name, "the answer has the wrong length"))
            }
            Err(error @ (Error::NotFound { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. })) => {
                Err(translate(Verb::GetRange, name, error))
            }
            // Some servers (`rclone serve s3`) know no ranges and send all of it.
            Err(error) if error_chain(&error).contains("non-partial response") => {
                let whole = self.get(name)?;
                check_range(name, &range, whole.len() as u64)?;
                Ok(whole.slice(range.start as usize..range.end as usize))
            }
            Err(error) => {
                if let Ok(size) = self.head(name) {
                    check_range(name, &range, size)?;
                }
                Err(translate(Verb::GetRange, name, error))
            }
        }
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        self.head(name)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Foreign, StoreError> {
        check_folder(prefix)?;
        let folder = if prefix.is_empty() { None } else { Some(path(prefix)?) };
        let mut stream = match after {
            Some(after) => self.inner.list_with_offset(folder.as_ref(), &path(after)?),
            None => self.inner.list(folder.as_ref()),
        }
        .chunks(LIST_BATCH);
        let mut foreign = Foreign::default();
        let mut last: Option<String> = None;
        // No permit is held while `each` runs, for it may call the store.
        while let Some(batch) = self.request(Verb::List, stream.next()) {
            let batch_len = batch.len();
            for meta in batch {
                let meta = meta.map_err(|e| translate(Verb::List, prefix, e))?;
                let Some(listed) = listed(meta, prefix, after, &mut foreign) else { continue };
                if last.as_ref().is_some_and(|last| *last >= listed.name) {
                    return Err(StoreError::other(Verb::List, prefix, "the store does not list in byte order"));
                }
                last = Some(listed.name.clone());
                if each(listed).is_break() {
                    return Ok(foreign);
                }
            }
            if batch_len < LIST_BATCH {
                break;
            }
        }
        Ok(foreign)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = path(name)?;
        match self.request(Verb::Delete, self.inner.delete(&path)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(translate(Verb::Delete, name, error)),
        }
    }

    /// Does nothing: what such a store shows, it keeps.
    fn sync(&self) -> Result<(), StoreError> {
        self.counters.count(Verb::Sync);
        Ok(())
    }

    fn requests(&self) -> RequestCounts {
        self.counters.figures()
    }

    fn is_remote(&self) -> bool {
        self.server.is_some()
    }

    fn server(&self) -> Option<String> {
        self.server.as_ref()?.lock().clone()
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn assume_single_writer(&self) {
        self.conditional.store(false, Ordering::Relaxed);
    }

    fn has_given_versions(&self) -> bool {
        self.versioned.load(Ordering::Relaxed)
    }

    fn versions(&self) -> Option<&dyn Versions> {
        self.versions.as_ref().map(|_| self as &dyn Versions)
    }
}

impl ObjectStoreAdapter {
    fn bucket_versions(&self) -> &BucketVersions {
        self.versions.as_ref().expect("`versions` looked")
    }
}

impl Versions for ObjectStoreAdapter {
    fn keeps_versions(&self) -> Result<bool, StoreError> {
        self.request(Verb::List, self.bucket_versions().kept())
    }

    fn list_versions(&self, prefix: &str, each: &mut dyn FnMut(Version)) -> Result<(), StoreError> {
        check_folder(prefix)?;
        let mut marker = None;
        loop {
            let (versions, next) = self.request(Verb::List, self.bucket_versions().page(prefix, marker.as_ref()))?;
            versions.into_iter().filter(|v| is_name(&v.name) && is_within(&v.name, prefix)).for_each(&mut *each);
            match next {
                Some(next) if Some(&next) != marker.as_ref() => marker = Some(next),
                Some(_) => return Err(StoreError::other(Verb::List, "versions", "the same page again and again")),
                None => return Ok(()),
            }
        }
    }

    fn get_version(&self, version: &Version) -> Result<Bytes, StoreError> {
        self.request(Verb::Get, self.bucket_versions().bytes(version))
    }

    fn remove_version(&self, version: &Version) -> Result<(), StoreError> {
        self.request(Verb::Delete, self.bucket_versions().remove(version))
    }
}

/// Waits for the bytes of an answer no longer than `limit`.
async fn in_time<T>(limit: Duration, answer: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(Error::Generic { store: "object store", source: elapsed.into() }),
    }
}

fn path(name: &str) -> Result<Path, StoreError> {
    check_name(name)?;
    Path::parse(name).map_err(|_| StoreError::BadName { name: name.to_owned() })
}

/// What `meta` shows, if it is an object of ours and wanted.
fn listed(meta: ObjectMeta, prefix: &str, after: Option<&str>, foreign: &mut Foreign) -> Option<Listed> {
    let name = meta.location.as_ref();
    if !is_name(name) || !is_within(name, prefix) {
        foreign.note(|| name.to_owned());
        return None;
    }
    if after.is_some_and(|after| name <= after) {
        return None;
    }
    let modified_ms = meta.last_modified.timestamp_millis();
    Some(Listed { name: name.to_owned(), size: meta.size, modified_ms })
}

fn translate(verb: Verb, name: &str, error: Error) -> StoreError {
    if let Some(found) = WireError::find(&error) {
        return of_wire(verb, name, found.clone());
    }
    let name = name.to_owned();
    match error {
        Error::NotFound { .. } if verb != Verb::List && verb != Verb::Create => StoreError::Missing { name },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            StoreError::Denied { verb, name, source: permission(verb).into() }
        }
        error => StoreError::Other { verb, name, source: once(error) },
    }
}

/// What went wrong on the way, each cause once.
fn of_wire(verb: Verb, name: &str, error: WireError) -> StoreError {
    let name = name.to_owned();
    match error {
        WireError::Refused(refusal) => of_refusal(verb, name, refusal),
        WireError::GaveUp { full: true, .. } => StoreError::Full { verb, name, source: error.into() },
        WireError::GaveUp { .. } | WireError::Silent(_) => StoreError::Other { verb, name, source: error.into() },
        error => StoreError::Explained { verb, name, why: error.to_string() },
    }
}

fn of_refusal(verb: Verb, name: String, refusal: Refusal) -> StoreError {
    if is_full(&refusal) {
        return StoreError::Full { verb, name, source: refusal.into() };
    }
    if refusal.says(ARCHIVED) {
        return StoreError::Archived { name };
    }
    if let Some(why) = advice(&refusal) {
        let said = match refusal.own_words() {
            // What is known for sure needs no more words.
            Some(words) if refusal.code.as_deref() != Some("NoSuchBucket") => {
                format!(" (the server says: {words})")
            }
            _ => String::new(),
        };
        return StoreError::Explained { verb, name, why: format!("{why}{said}") };
    }
    match refusal.status {
        401 | 403 => {
            let said = refusal.own_words().map(|words| format!("the server says: {words}; ")).unwrap_or_default();
            StoreError::Denied { verb, name, source: format!("{said}{}", permission(verb)).into() }
        }
        501 => StoreError::Explained { verb, name, why: format!("the server does not know how to do this: {refusal}") },
        _ => StoreError::Other { verb, name, source: refusal.into() },
    }
}

/// The cause of a library's error, without the repetitions.
fn once(error: Error) -> super::Cause {
    error_chain(&error).into()
}

/// The permission that a store's policy would have to give.
fn permission(verb: Verb) -> String {
    let action = match verb {
        Verb::Create => "s3:PutObject",
        Verb::Get | Verb::GetRange | Verb::Size => {
            "s3:GetObject there, and s3:ListBucket, without which what is missing is answered as if it were forbidden"
        }
        Verb::Delete => "s3:DeleteObject",
        _ => "s3:ListBucket",
    };
    match verb {
        Verb::Get | Verb::GetRange | Verb::Size => format!("the credentials need {action}"),
        _ => format!("the credentials need {action} there"),
    }
}

fn translate_create(name: &str, error: Error) -> StoreError {
    // A time-out, a lost connection, a 5xx, even after retries: the object may be there, or come. What a server
    // refuses in so many words it has not stored.
    let unknown = match (WireError::find(&error), &error) {
        (Some(WireError::GaveUp { full, .. }), _) => !full,
        (Some(WireError::Silent(_)), _) => true,
        (Some(_), _) => false,
        (None, Error::Generic { .. } | Error::JoinError { .. }) => true,
        (None, _) => false,
    };
    if !unknown {
        return translate(Verb::Create, name, error);
    }
    let source = WireError::find(&error).cloned().map_or_else(|| once(error), Into::into);
    StoreError::Ambiguous { name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt;
    use futures_util::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetResult, ListResult, MultipartUpload, PutMultipartOptions, PutPayload, PutResult, Result,
    };

    use super::*;

    /// What a faulty server does with one PUT.
    #[derive(Debug, Clone, Copy)]
    enum Put {
        /// Answers 409, which `object_store` tells as "already exists", and stores nothing.
        Conflict,
        /// Stores, and answers nothing in time.
        TimeoutAfter,
        /// Says that the credentials do not allow it.
        Forbidden,
    }

    /// An in-memory store whose PUTs go wrong as scripted, and whose listing may be out of order.
    #[derive(Debug)]
    struct Faulty {
        inner: InMemory,
        puts: Mutex<VecDeque<Put>>,
        reversed: bool,
    }

    impl fmt::Display for Faulty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("faulty")
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Faulty {
        async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
            let put = self.puts.lock().pop_front();
            let path = location.to_string();
            match put {
                None => self.inner.put_opts(location, payload, opts).await,
                Some(Put::Conflict) => Err(Error::AlreadyExists { path, source: "409".into() }),
                Some(Put::Forbidden) => Err(Error::PermissionDenied { path, source: "403".into() }),
                Some(Put::TimeoutAfter) => {
                    self.inner.put_opts(location, payload, opts).await?;
                    Err(Error::Generic { store: "faulty", source: "timed out".into() })
                }
            }
        }
        async fn put_multipart_opts(&self, at: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(at, opts).await
        }
        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(location, options).await
        }
        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(locations)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            let list = self.inner.list(prefix);
            if !self.reversed {
                return list;
            }
            let reverse = |mut all: Vec<_>| {
                all.reverse();
                futures_util::stream::iter(all)
            };
            list.collect::<Vec<_>>().map(reverse).flatten_stream().boxed()
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    fn faulty(puts: &[Put]) -> ObjectStoreAdapter {
        let faulty =
            Faulty { inner: InMemory::new(), puts: Mutex::new(puts.iter().copied().collect()), reversed: false };
        ObjectStoreAdapter::new(Arc::new(faulty), "faulty".into(), 1).unwrap()
    }

    fn create(store: &ObjectStoreAdapter) -> std::result::Result<Created, StoreError> {
        store.create("log/1", Bytes::from_static(b"bytes"))
    }

    /// S3 may answer 409 to two conditional PUTs at once and store neither; `object_store` says "already
    /// exists" to both. Taken at its word, a record would have been lost.
    #[test]
    fn a_conflict_that_stored_nothing_is_tried_again() {
        let store = faulty(&[Put::Conflict, Put::Conflict]);
        assert_eq!(create(&store).unwrap(), Created::New);
        assert_eq!((store.requests().create, store.requests().size), (3, 2));
    }

    #[test]
    fn a_conflict_that_does_not_end_is_ambiguous_and_never_already_there() {
        let store = faulty(&[Put::Conflict; 9]);
        assert!(matches!(create(&store).unwrap_err(), StoreError::Ambiguous { .. }));
    }

    #[test]
    fn a_time_out_is_ambiguous_and_trying_again_finds_the_object() {
        let store = faulty(&[Put::TimeoutAfter]);
        assert!(matches!(create(&store).unwrap_err(), StoreError::Ambiguous { .. }));
        assert_eq!(create(&store).unwrap(), Created::AlreadyThere);
    }

    #[test]
    fn a_refusal_is_not_ambiguous() {
        let error = create(&faulty(&[Put::Forbidden])).unwrap_err();
        assert!(matches!(error, StoreError::Denied { verb: Verb::Create, .. }), "{error:?}");
    }

    #[test]
    fn a_listing_out_of_order_is_an_error_and_foreign_names_are_left_out() {
        let inner = InMemory::new();
        let store = ObjectStoreAdapter::new(Arc::new(inner.clone()), "m".into(), 1).unwrap();
        for name in ["a", "b"] {
            store.create(name, Bytes::new()).unwrap();
        }
        store.request(Verb::Create, inner.put(&Path::from("Foreign"), "".into())).unwrap();
        let mut names = Vec::new();
        let mut each = |listed: Listed| {
            names.push(listed.name);
            ControlFlow::Continue(())
        };
        let foreign = store.list("", None, &mut each).unwrap();
        assert_eq!((names, foreign.examples), (vec!["a".to_owned(), "b".to_owned()], vec!["Foreign".to_owned()]));

        let reversed = Faulty { inner, puts: Mutex::default(), reversed: true };
        let store = ObjectStoreAdapter::new(Arc::new(reversed), "r".into(), 1).unwrap();
        let error = store.list("", None, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, StoreError::Other { verb: Verb::List, .. }));
    }

    #[test]
    fn a_callback_may_use_the_only_permit() {
        let store = faulty(&[]);
        create(&store).unwrap();
        let mut sizes = 0;
        store
            .list("log", None, &mut |listed| {
                sizes += store.size(&listed.name).unwrap();
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(sizes, 5);
    }
}
