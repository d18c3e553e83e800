//! Requests on the wire: a limit of time that fits the size of each, how often it is tried, and what an answer is
//! worth before `object_store` believes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, Error};
use parking_lot::Mutex;

use crate::primitives::error_chain::error_chain;

use super::super::bandwidth::{Bandwidth, Line, time_limit};
use super::super::options::{StoreOptions, quiet};
use super::paced::PacedClient;
use super::patience::Patience;
use super::wire::{Refusal, WireError, hopeless};
use super::{CONNECT_LIMIT, page};

/// For how long a store is asked again if nobody says otherwise.
pub(crate) const RETRY_TIME: Duration = Duration::from_secs(180);

/// What a server last said it was.
pub(super) type Server = Arc<Mutex<Option<String>>>;

/// Makes clients whose requests are limited.
#[derive(Debug)]
pub(crate) struct Connector {
    server: Server,
    /// Certificates that are trusted beside the system's, as PEM.
    certificates: Vec<u8>,
    patience: Patience,
    /// The proxy that the environment names, without what is secret of it.
    proxy: Option<String>,
    bandwidth: Bandwidth,
}

impl Default for Connector {
    fn default() -> Self {
        Self::new(Patience::new(RETRY_TIME, quiet()), Vec::new(), None, Bandwidth::default())
    }
}

impl Connector {
    /// Clients that ask for so long, trust these certificates, in PEM form, beside the system's, and keep to these rates.
    pub(crate) fn new(patience: Patience, certificates: Vec<u8>, proxy: Option<String>, bandwidth: Bandwidth) -> Self {
        Self { server: Server::default(), certificates, patience, proxy, bandwidth }
    }

    /// Where the server's name will be.
    pub(crate) fn server(&self) -> Server {
        self.server.clone()
    }
}

/// The proxy that the environment names for URLs like this one, without what is secret of it.
pub(super) fn proxy(options: &StoreOptions, url: &str) -> Option<String> {
    let names: &[&str] = match url.starts_with("http://") {
        true => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        false => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let value = options.first_variable(names)?;
    let host = value.rsplit('@').next().unwrap_or(&value).trim_end_matches('/');
    Some(host.split("://").last().unwrap_or(host).to_owned())
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let unfit = |e: reqwest::Error| Error::Generic { store: "HTTP client", source: Box::new(e) };
        let certificates = reqwest::Certificate::from_pem_bundle(&self.certificates).map_err(unfit)?;
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|v| v == "true");
        let client = reqwest::Client::builder()
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            // Another place would be asked without a signature, and its answer be taken for the store's word.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .tls_certs_merge(certificates)
            .http1_only()
            .https_only(!allows_http)
            .build()
            .map_err(unfit)?;
        let line = self.bandwidth.upload.clone();
        let inner = match line.clone() {
            Some(line) => HttpClient::new(PacedClient { client, line }),
            None => HttpClient::new(client),
        };
        Ok(HttpClient::new(Limited {
            inner,
            line,
            server: self.server.clone(),
            patience: self.patience.clone(),
            proxy: self.proxy.clone(),
        }))
    }
}

#[derive(Debug)]
struct Limited {
    inner: HttpClient,
    /// What its uploads keep to.
    line: Option<Arc<Line>>,
    server: Server,
    patience: Patience,
    proxy: Option<String>,
}

#[async_trait::async_trait]
impl HttpService for Limited {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = time_limit(request.body().content_length() as u64, self.line.as_deref());
        let (host, key) = (request.uri().authority().map(ToString::to_string), request.uri().to_string());
        let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
        let key = format!("{} {key}", request.method());
        let asked = page::Asked::of(&request);
        let began = Instant::now();
        let attempt = async {
            let answer = self.inner.execute(request).await?;
            self.weighed(answer, asked.as_ref()).await
        };
        let attempt = tokio::time::timeout(limit, attempt);
        let done = self.patience.watched(host.as_deref().unwrap_or("the server"), attempt).await;
        let error = match done {
            Ok(Ok(Weighed::Good(answer))) => {
                self.patience.answered(&key);
                return Ok(answer);
            }
            Ok(Ok(Weighed::Again(answer, refusal))) => {
                let full = refusal.says("Full") || refusal.says("QuotaExceeded");
                self.patience.failed(&key, began, refusal.to_string(), full).map_err(WireError::last)?;
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => HttpError::new(HttpErrorKind::Timeout, WireError::Silent(limit.as_secs())),
        };
        if WireError::find(&error).is_some_and(|e| !matches!(e, WireError::Silent(_))) {
            // It was answered: only the answer is of no use.
            self.patience.answered(&key);
            return Err(error);
        }
        if let Some(why) = hopeless(&error) {
            return Err(why.last());
        }
        self.patience.failed(&key, began, self.described(&error, &scheme), false).map_err(WireError::last)?;
        Err(error)
    }
}

/// The causes of an error of the connection, without the words by which each layer hands on the next.
pub(super) fn told(error: &HttpError) -> String {
    let text = error_chain(error);
    let layers = ["HTTP error", "error sending request", "client error (Connect)", "client error (SendRequest)"];
    let parts: Vec<&str> = text.split(": ").filter(|part| !layers.contains(part)).collect();
    let text = parts.join(": ");
    // The number of the system's error is for programmers.
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// An answer that was looked at.
enum Weighed {
    /// It says what it should.
    Good(HttpResponse),
    /// Another try may be answered otherwise.
    Again(HttpResponse, Refusal),
}

impl Limited {
    /// Looks at an answer before it is believed.
    async fn weighed(&self, answer: HttpResponse, asked: Option<&page::Asked>) -> Result<Weighed, HttpError> {
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        if let Some(server) = header("server") {
            *self.server.lock() = Some(server);
        }
        let status = answer.status().as_u16();
        // A redirection is not followed, for it would have to be signed anew; a wrong region is sometimes a 400.
        let region = header("x-amz-bucket-region").filter(|_| matches!(status, 301 | 307 | 400));
        if let Some(region) = region {
            return Err(WireError::OtherRegion(region).last());
        }
        if (300..400).contains(&status) && status != 304 {
            return Err(WireError::Redirected(header("location")).last());
        }
        if status < 300 {
            let Some(asked) = asked else { return Ok(Weighed::Good(answer)) };
            let (parts, body) = answer.into_parts();
            let body = body.bytes().await?;
            asked.check(&body).map_err(WireError::last)?;
            return Ok(Weighed::Good(HttpResponse::from_parts(parts, body.into())));
        }
        if status == 304 {
            return Ok(Weighed::Good(answer));
        }
        let (mut parts, body) = answer.into_parts();
        let body: Bytes = body.bytes().await?;
        let refusal = Refusal::read(status, &body);
        if refusal.may_pass() {
            // What `object_store` would take for final is tried again if its status says so.
            if status < 500 {
                parts.status = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            return Ok(Weighed::Again(HttpResponse::from_parts(parts, body.into()), refusal));
        }
        // Nobody lists what is not there: what answers so is no bucket.
        let is_of_object = asked.is_none() && matches!(status, 404 | 409 | 412 | 416) && !refusal.says("NoSuchBucket");
        if is_of_object {
            // `object_store` knows what to make of these.
            return Ok(Weighed::Good(HttpResponse::from_parts(parts, body.into())));
        }
        match refusal.region.clone().filter(|_| refusal.says("AuthorizationHeaderMalformed")) {
            Some(region) => Err(WireError::OtherRegion(region).last()),
            None => Err(WireError::Refused(refusal).last()),
        }
    }

    fn described(&self, error: &HttpError, scheme: &str) -> String {
        let text = told(error);
        if scheme == "http" && text.contains("connection closed before") {
            return format!("{text}; if the server speaks TLS, write the endpoint with https://");
        }
        match &self.proxy {
            Some(proxy) if error.kind() == HttpErrorKind::Connect => {
                format!("{text} (requests go through the proxy {proxy}, unless NO_PROXY names the server)")
            }
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// What a client makes of these answers, each on a connection of its own.
    fn asked(answers: &'static [&'static str], target: &str) -> Vec<Result<u16, String>> {
        asked_by(&Connector::default(), answers, target)
    }

    fn asked_by(connector: &Connector, answers: &'static [&'static str], target: &str) -> Vec<Result<u16, String>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut client, _) = listener.accept().unwrap();
                let _ = client.read(&mut [0; 4096]).unwrap();
                let answer = answer.replace("ADDRESS", &address.to_string());
                client.write_all(answer.as_bytes()).unwrap();
            }
        });
        let client = connector.connect(&ClientOptions::new().with_allow_http(true)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |_: &&str| {
            let request = http::Request::get(format!("http://{address}{target}")).body(Vec::new().into()).unwrap();
            match runtime.block_on(client.execute(request)) {
                Ok(answer) => Ok(answer.status().as_u16()),
                Err(e) => Err(error_chain(&e)),
            }
        };
        let found = answers.iter().map(ask).collect();
        server.join().unwrap();
        found
    }

    /// A login page before the server sends every PUT elsewhere, where everything is well (apache/arrow-rs-object-store#603):
    /// a backup said that it was done, and nothing was stored.
    #[test]
    fn a_redirection_is_not_followed_and_is_no_success() {
        let answers = &[
            "HTTP/1.1 303 See Other\r\nLocation: http://ADDRESS/elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://ADDRESS/elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ];
        for found in asked(answers, "/bucket/key") {
            let text = found.unwrap_err();
            assert!(text.contains("redirection to http://127.0.0.1:") && text.contains("/elsewhere"), "{text}");
        }
    }

    #[test]
    fn an_answer_is_final_or_passing_or_about_the_object() {
        let answers = &[
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\nConnection: close\r\n\r\n<Code>RequestTimeout</Code>",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\nConnection: close\r\n\r\n<Code>InvalidRequest</Code>",
            "HTTP/1.1 507 Full\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 63\r\nConnection: close\r\n\r\n<Code>AuthorizationHeaderMalformed</Code><Region>eu-de</Region>\n",
        ];
        let found = asked(answers, "/bucket/key");
        assert_eq!(found[..2], [Ok(404), Ok(503)]);
        assert!(found[2].as_ref().unwrap_err().contains("status 400, InvalidRequest"), "{found:?}");
        assert!(found[3].as_ref().unwrap_err().contains("status 507"), "{found:?}");
        assert!(found[4].as_ref().unwrap_err().contains("region=eu-de"), "{found:?}");
    }

    /// A page that says there is more, and not where (rustfs#1596): a bare machine took the first page for the whole.
    #[test]
    fn a_page_of_a_listing_is_looked_at() {
        let no_bucket = &["HTTP/1.1 404 Not Found\r\nContent-Length: 11\r\nConnection: close\r\n\r\n<h1>no</h1>"];
        let text = asked(no_bucket, "/bucket?list-type=2").remove(0).unwrap_err();
        assert!(text.contains("status 404: no"), "{text}");
        let answers = &[
            "HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: close\r\n\r\n<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketRes",
            "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html>x</html>",
        ];
        for found in asked(answers, "/bucket?list-type=2&prefix=x") {
            let text = found.unwrap_err();
            assert!(text.contains("names may be missing"), "{text}");
        }
    }

    #[test]
    fn what_is_no_http_is_not_waited_for() {
        let found = asked(&["\x15\x03\x01\x00\x02\x02\x16"], "/bucket/key");
        assert!(found[0].as_ref().unwrap_err().contains("https://"), "{found:?}");
    }

    #[test]
    fn a_proxy_is_named_without_its_password() {
        let lookup = Arc::new(|name: &str| (name == "HTTPS_PROXY").then(|| "http://me:secret@proxy:3128/".to_owned()));
        let options = StoreOptions { lookup, ..StoreOptions::default() };
        assert_eq!(proxy(&options, "https://s3.example.org").as_deref(), Some("proxy:3128"));
        assert_eq!(proxy(&options, "http://s3.example.org"), None);
    }

    /// A body that keeps to a rate is the same for the server: its length stands in front of it.
    #[test]
    fn a_body_that_keeps_to_a_rate_arrives_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            let mut buffer = [0; 4096];
            while !all.ends_with(b"END") {
                let n = client.read(&mut buffer).unwrap();
                assert!(n > 0, "{}", String::from_utf8_lossy(&all));
                all.extend_from_slice(&buffer[..n]);
            }
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            all
        });
        let patience = Patience::new(RETRY_TIME, quiet());
        let connector = Connector::new(patience, Vec::new(), None, Bandwidth::new(Some(100 << 20), None, 1));
        let client = connector.connect(&ClientOptions::new().with_allow_http(true)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body = [vec![b'x'; 300_000], b"END".to_vec()].concat();
        let request = http::Request::put(format!("http://{address}/bucket/key"))
            .header("content-length", body.len())
            .body(object_store::PutPayload::from(body.clone()).into())
            .unwrap();
        let answer = runtime.block_on(client.execute(request)).unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let arrived = server.join().unwrap();
        let at = arrived.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&arrived[..at]).to_lowercase();
        assert!(head.contains("content-length: 300003") && !head.contains("transfer-encoding"), "{head}");
        assert!(arrived[at + 4..] == body);
    }

    /// Whether `object_store` tries again is told by the kind of the error: it is the same with a rate and without.
    #[test]
    fn errors_are_of_the_same_kind_with_a_rate() {
        let kind = |bandwidth: Bandwidth, answer: &'static [u8]| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut client, _) = listener.accept().unwrap();
                let _ = client.read(&mut [0; 4096]).unwrap();
                client.write_all(answer).unwrap();
            });
            let connector = Connector::new(Patience::new(RETRY_TIME, quiet()), Vec::new(), None, bandwidth);
            let client = connector.connect(&ClientOptions::new().with_allow_http(true)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let request = http::Request::put(format!("http://{address}/bucket/key"));
            let request = request.header("content-length", 3).body(b"abc".to_vec().into()).unwrap();
            let kind = runtime.block_on(async {
                match client.execute(request).await {
                    Err(e) => e.kind(),
                    Ok(answer) => answer.into_body().bytes().await.unwrap_err().kind(),
                }
            });
            server.join().unwrap();
            kind
        };
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"] {
            let paced = Bandwidth::new(Some(1 << 30), None, 1);
            assert_eq!(kind(paced, answer), kind(Bandwidth::default(), answer), "{answer:?}");
        }
    }
}
