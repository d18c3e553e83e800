//! Requests on the wire: a limit of time that fits the size of each, and what the server says of itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, Error};

use super::CONNECT_LIMIT;

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
    /// Certificates that are trusted beside the system's, as PEM.
    certificates: Vec<u8>,
}

impl Connector {
    /// Clients that trust these certificates, in PEM form, beside the system's.
    pub fn trusting(certificates: Vec<u8>) -> Self {
        Self { certificates, ..Self::default() }
    }

    /// Where the server's name will be.
    pub fn server(&self) -> Server {
        self.server.clone()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let unfit = |e: reqwest::Error| Error::Generic { store: "HTTP client", source: Box::new(e) };
        let certificates = reqwest::Certificate::from_pem_bundle(&self.certificates).map_err(unfit)?;
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|v| v == "true");
        let inner = reqwest::Client::builder()
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            // Another place would be asked without a signature, and its answer be taken for the store's word.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .tls_certs_merge(certificates)
            .http1_only()
            .https_only(!allows_http)
            .build()
            .map_err(unfit)?;
        Ok(HttpClient::new(Limited { inner: HttpClient::new(inner), server: self.server.clone() }))
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

/// The server sends whoever asks elsewhere.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server answered with a redirection{}, which is not followed: check the endpoint, and that no login or maintenance page stands before it",
    .0.as_ref().map(|to| format!(" to {to}")).unwrap_or_default()
)]
pub struct Redirected(Option<String>);

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
        if let Some(region) = region {
            return Err(HttpError::new(HttpErrorKind::Unknown, OtherRegion(region)));
        }
        let status = answer.status().as_u16();
        if (300..400).contains(&status) && status != 304 {
            return Err(HttpError::new(HttpErrorKind::Unknown, Redirected(header("location"))));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A login page before the server sends every PUT elsewhere, where everything is well (apache/arrow-rs-object-store#603):
    /// a backup said that it was done, and nothing was stored.
    #[test]
    fn a_redirection_is_not_followed_and_is_no_success() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for status in ["303 See Other", "307 Temporary Redirect"] {
                let (mut client, _) = listener.accept().unwrap();
                let _ = client.read(&mut [0; 4096]).unwrap();
                let to = format!("Location: http://{address}/elsewhere\r\n");
                write!(client, "HTTP/1.1 {status}\r\n{to}Content-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        let client = Connector::default().connect(&ClientOptions::new().with_allow_http(true)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for _ in 0..2 {
            let request = http::Request::put(format!("http://{address}/bucket/key")).body(Vec::new().into()).unwrap();
            let error = runtime.block_on(client.execute(request)).unwrap_err();
            let text = crate::words::causes::with_causes(&error);
            assert!(text.contains(&format!("redirection to http://{address}/elsewhere")), "{text}");
        }
        server.join().unwrap();
    }

    #[test]
    fn a_pack_on_a_slow_line_has_minutes_and_a_record_one() {
        assert_eq!(limit(0), Duration::from_secs(60));
        assert_eq!(limit(32 << 20), Duration::from_secs(60 + 512));
    }
}
