//! Requests on the wire: a limit of time that fits the size of each, and what the server says of itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// What any request is given, beside the time for its bytes.
const LIMIT_LEAST: Duration = Duration::from_secs(60);
/// The slowest line that is still waited for, in bytes a second.
const SLOWEST: u64 = 64 << 10;

/// How long a request may take that moves this many bytes.
pub fn limit(len: u64) -> Duration {
    LIMIT_LEAST + Duration::from_secs(len / SLOWEST)
}

/// What a server last said it was.
pub type Server = Arc<Mutex<Option<String>>>;

/// Makes clients whose requests are limited.
#[derive(Debug, Default)]
pub struct Connector {
    server: Server,
}

impl Connector {
    /// Where the server's name will be.
    pub fn server(&self) -> Server {
        self.server.clone()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Limited { inner, server: self.server.clone() }))
    }
}

#[derive(Debug)]
struct Limited {
    inner: HttpClient,
    server: Server,
}

/// The bucket is elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the bucket is in region {0}: name it with AWS_REGION or --option region={0}")]
struct OtherRegion(String);

#[async_trait::async_trait]
impl HttpService for Limited {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = limit(request.body().content_length() as u64);
        let answer = match tokio::time::timeout(limit, self.inner.execute(request)).await {
            Ok(answer) => answer?,
            Err(elapsed) => return Err(HttpError::new(HttpErrorKind::Timeout, elapsed)),
        };
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        if let Some(server) = header("server") {
            *self.server.lock().expect("nothing panics while it holds the lock") = Some(server);
        }
        // A redirection is not followed, for it would have to be signed anew; a wrong region is sometimes a 400.
        let region = header("x-amz-bucket-region").filter(|_| matches!(answer.status().as_u16(), 301 | 307 | 400));
        match region {
            Some(region) => Err(HttpError::new(HttpErrorKind::Unknown, OtherRegion(region))),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_on_a_slow_line_has_minutes_and_a_record_one() {
        assert_eq!(limit(0), Duration::from_secs(60));
        assert_eq!(limit(32 << 20), Duration::from_secs(60 + 512));
    }
}
