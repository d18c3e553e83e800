//! Credentials that are handed out: to web identities and for roles (STS), by a process, to containers (ECS, EKS) and
//! instances (EC2). What answers there may be something else altogether, so every answer is checked before it is used: what
//! `object_store` has for it ends the program at a line break in a token.

use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{CredentialProvider, HttpClient, HttpConnector, HttpRequest, HttpRequestBody};
use object_store::{ClientOptions, Error};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::primitives::error_chain::error_chain;
use crate::process_group;

use super::super::bandwidth::Bandwidth;
use super::super::options::{StoreOptions, quiet};
use super::NO_CREDENTIALS;
use super::http::{Connector, told};
use super::patience::Patience;
use super::wire::WireError;

/// What any of these services is given for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Credentials are asked for again so long before they expire.
const EARLY: Duration = Duration::from_secs(300);

/// Credentials by which a role is assumed.
pub(super) type Provider = Arc<dyn CredentialProvider<Credential = AwsCredential>>;

/// Where credentials are handed out.
#[derive(Clone)]
pub(super) enum Source {
    /// AssumeRole, signed with other credentials.
    Role {
        /// The request: names and values of its form.
        form: Vec<(&'static str, String)>,
        /// URL of STS.
        endpoint: String,
        /// The region that STS is in.
        region: String,
        /// What it is signed with.
        by: Provider,
    },
    /// A process that prints credentials as JSON (`credential_process`).
    Process {
        /// Its command line, as a shell would split it.
        line: String,
    },
    /// AssumeRoleWithWebIdentity, with the token in a file.
    WebIdentity {
        /// The file.
        token_file: String,
        /// The role.
        role: String,
        /// A name for the session.
        session: String,
        /// URL of STS.
        endpoint: String,
    },
    /// A service beside the container.
    Container {
        /// Its URL.
        url: String,
        /// What it wants to be told.
        token: Option<String>,
        /// The file that holds that.
        token_file: Option<String>,
    },
    /// The metadata of the instance.
    Instance {
        /// URL of the service, without a slash at its end.
        endpoint: String,
    },
}

impl Source {
    /// The source that the environment names, but for instances. An error says what is wrong with it.
    pub(super) fn named(options: &StoreOptions, region: &str) -> Result<Option<Self>, String> {
        if let Some(token_file) = options.variable("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role = options.variable("AWS_ROLE_ARN");
            let role = role.ok_or("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: set both")?;
            let session = options.variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "strongroom".to_owned());
            let endpoint = options.variable("AWS_ENDPOINT_URL_STS");
            let endpoint = endpoint.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
            check_url("AWS_ENDPOINT_URL_STS", &endpoint)?;
            return Ok(Some(Self::WebIdentity { token_file, role, session, endpoint }));
        }
        let token = options.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        let token_file = options.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        if let Some(path) = options.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            let url = format!("http://169.254.170.2/{}", path.trim_start_matches('/'));
            check_url("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &url)?;
            return Ok(Some(Self::Container { url, token, token_file }));
        }
        if let Some(url) = options.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            check_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)?;
            return Ok(Some(Self::Container { url, token, token_file }));
        }
        Ok(None)
    }

    /// The instance's metadata, where the environment says that it is or where it always is.
    pub(super) fn instance(options: &StoreOptions) -> Result<Self, String> {
        let endpoint = options.variable("AWS_METADATA_ENDPOINT").unwrap_or_else(|| "http://169.254.169.254".to_owned());
        check_url("AWS_METADATA_ENDPOINT", &endpoint)?;
        Ok(Self::Instance { endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::WebIdentity { .. } | Self::Role { .. } => "STS",
            Self::Process { .. } => "the credential process",
            Self::Container { .. } => "the container's credential service",
            Self::Instance { .. } => "the instance's metadata service",
        }
    }
}

fn check_url(variable: &str, url: &str) -> Result<(), String> {
    let parsed = url::Url::parse(url).map_err(|e| format!("{variable} is no URL: {e}"))?;
    let is_usable = matches!(parsed.scheme(), "http" | "https") && parsed.host().is_some() && is_visible(url);
    if is_usable { Ok(()) } else { Err(format!("{variable} is no URL of a server")) }
}

/// Whether a value can stand in a header and is no text: visible ASCII only.
pub(super) fn is_visible(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a value can be a secret key: it is only reckoned with, and some servers let people choose any text.
pub(super) fn is_secret(value: &str) -> bool {
    !value.is_empty() && !value.chars().any(char::is_control)
}

/// Credentials from one source, asked for again before they expire.
pub(super) struct HandedCredentials {
    source: Source,
    client: HttpClient,
    known: Mutex<Option<Known>>,
}

struct Known {
    credential: Arc<AwsCredential>,
    expires: SystemTime,
}

impl fmt::Debug for HandedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedCredentials").field("source", &self.source.name()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Handed {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedRole {
    assume_role_result: AssumedResult,
}

/// For keys that a process prints without saying until when they hold: it is asked again after so long.
const NO_EXPIRY: Duration = Duration::from_secs(3600);
/// What a process is given to print its credentials: it may ask somebody else.
const PROCESS_LIMIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    assume_role_with_web_identity_result: AssumedResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedResult {
    credentials: Handed,
}

impl HandedCredentials {
    /// Nothing is asked yet.
    pub(super) fn new(source: Source) -> object_store::Result<Self> {
        let options = ClientOptions::new().with_timeout_disabled().with_allow_http(true);
        let options = options.with_connect_timeout(CONNECT_LIMIT);
        // One try: what does not answer is not there.
        let connector = Connector::new(Patience::new(Duration::ZERO, quiet()), Vec::new(), None, Bandwidth::default());
        Ok(Self { source, client: connector.connect(&options)?, known: Mutex::new(None) })
    }

    async fn load(&self) -> Result<Known, String> {
        let handed: Handed = match &self.source {
            Source::WebIdentity { token_file, role, session, endpoint } => {
                let token = token_in(token_file).await?;
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("Action", "AssumeRoleWithWebIdentity")
                    .append_pair("DurationSeconds", "3600")
                    .append_pair("RoleArn", role)
                    .append_pair("RoleSessionName", session)
                    .append_pair("Version", "2011-06-15")
                    .append_pair("WebIdentityToken", &token)
                    .finish();
                let headers = [("content-type", "application/x-www-form-urlencoded")];
                let body = self.ask(Method::POST, endpoint, &headers, query.into()).await?;
                let assumed: Assumed = quick_xml::de::from_reader(&body[..]).map_err(|_| self.unknown())?;
                assumed.assume_role_with_web_identity_result.credentials
            }
            Source::Role { form, endpoint, region, by } => {
                let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
                let signing = by.get_credential().await.map_err(|e| error_chain(&e))?;
                let request = Request::builder().method(Method::POST).uri(endpoint.as_str());
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                let mut request = request.body(HttpRequestBody::from(Bytes::from(form))).map_err(|e| e.to_string())?;
                let authorizer = AwsAuthorizer::new(&signing, "sts", region);
                authorizer.try_authorize(&mut request, None).map_err(|e| error_chain(&e))?;
                let body = self.send(request).await?;
                let assumed: AssumedRole = quick_xml::de::from_reader(&body[..]).map_err(|_| self.unknown())?;
                assumed.assume_role_result.credentials
            }
            Source::Process { line } => self.read(&printed(line, PROCESS_LIMIT).await?)?,
            Source::Container { url, token, token_file } => {
                let token = match token_file {
                    Some(file) => Some(token_in(file).await?),
                    None => token.clone(),
                };
                let headers: Vec<_> = token.iter().map(|t| ("authorization", t.as_str())).collect();
                self.read(&self.ask(Method::GET, url, &headers, Bytes::new()).await?)?
            }
            Source::Instance { endpoint } => {
                let headers = [("x-aws-ec2-metadata-token-ttl-seconds", "600")];
                let url = format!("{endpoint}/latest/api/token");
                let token = self.word(&self.ask(Method::PUT, &url, &headers, Bytes::new()).await?)?;
                let headers = [("x-aws-ec2-metadata-token", token.as_str())];
                let url = format!("{endpoint}/latest/meta-data/iam/security-credentials/");
                let role = self.word(&self.ask(Method::GET, &url, &headers, Bytes::new()).await?)?;
                self.read(&self.ask(Method::GET, &format!("{url}{role}"), &headers, Bytes::new()).await?)?
            }
        };
        let is_process = matches!(self.source, Source::Process { .. });
        let expires = match &handed.expiration {
            Some(at) => at.trim().parse::<jiff::Timestamp>().map_err(|_| self.unknown())?.into(),
            None if is_process => SystemTime::now() + NO_EXPIRY,
            None => return Err(self.unknown()),
        };
        let (key_id, secret_key, token) = (handed.access_key_id, handed.secret_access_key, handed.token);
        let has_token = token.as_ref().map_or(is_process, |token| is_visible(token));
        if !is_visible(&key_id) || !has_token || !is_secret(&secret_key) {
            return Err(self.unknown());
        }
        let credential = Arc::new(AwsCredential { key_id, secret_key, token });
        Ok(Known { credential, expires })
    }

    async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Bytes, String> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(HttpRequestBody::from(body)).map_err(|e| e.to_string())?).await
    }

    async fn send(&self, request: HttpRequest) -> Result<Bytes, String> {
        let asked = tokio::time::timeout(ANSWER_LIMIT, async {
            let answer = self.client.execute(request).await.map_err(|e| told(&e))?;
            let status = answer.status().as_u16();
            let body = answer.into_body().bytes().await.map_err(|e| error_chain(&e))?;
            if status == 200 { Ok(body) } else { Err(format!("status {status}")) }
        });
        let silent = || Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs()));
        asked.await.unwrap_or_else(|_| silent())
    }

    fn read(&self, body: &[u8]) -> Result<Handed, String> {
        serde_json::from_slice(body).map_err(|_| self.unknown())
    }

    /// An answer that is one word.
    fn word(&self, body: &[u8]) -> Result<String, String> {
        let word = std::str::from_utf8(body).map(str::trim).ok().filter(|word| is_visible(word));
        word.map(str::to_owned).ok_or_else(|| self.unknown())
    }

    fn unknown(&self) -> String {
        "what it sent is no credential".to_owned()
    }
}

/// What a credential process prints.
async fn printed(line: &str, limit: Duration) -> Result<Vec<u8>, String> {
    let words = shlex::split(line).filter(|words| !words.is_empty()).ok_or("its command line is not quoted well")?;
    tokio::task::spawn_blocking(move || answer_of(&words, limit)).await.map_err(|e| e.to_string())?
}

/// What a process prints within this time; else it is ended with all that it started. It has the environment of this
/// program, for it may need keys of another account, but nothing that is for this program alone: a passphrase may be
/// among that.
fn answer_of(words: &[String], limit: Duration) -> Result<Vec<u8>, String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"STRONGROOM_")) {
        command.env_remove(name);
    }
    let mut group = process_group::spawn(&mut command).map_err(|e| format!("it cannot be started: {e}"))?;
    let stdout = group.child().stdout.take();
    let (said, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut all));
        // Nobody waits for it any more if it is late.
        let _ = said.send(read.map(|_| all));
    });
    let Ok(answer) = answer.recv_timeout(limit) else {
        group.stop();
        return Err(format!("it did not end within {} s, and was ended", limit.as_secs_f64()));
    };
    let status = group.wait().map_err(|e| e.to_string())?;
    let answer = answer.map_err(|e| format!("what it printed cannot be read: {e}"))?;
    if status.success() { Ok(answer) } else { Err(format!("it failed: {status}")) }
}

async fn token_in(file: &str) -> Result<String, String> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    let text = read.map_err(|e| e.to_string())?.map_err(|e| format!("the token file {file}: {e}"))?;
    let token = text.trim();
    if is_visible(token) { Ok(token.to_owned()) } else { Err(format!("the token file {file} holds no token")) }
}

#[async_trait::async_trait]
impl CredentialProvider for HandedCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        let now = SystemTime::now();
        if let Some(found) = known.as_ref().filter(|k| now + EARLY < k.expires) {
            return Ok(found.credential.clone());
        }
        match self.load().await {
            Ok(new) => Ok(known.insert(new).credential.clone()),
            // They still hold for a while, and the next request asks again.
            Err(_) if known.as_ref().is_some_and(|k| now < k.expires) => {
                Ok(known.as_ref().expect("it was looked at").credential.clone())
            }
            Err(why) => {
                let name = self.source.name();
                let why = match self.source {
                    Source::Instance { .. } => format!("{NO_CREDENTIALS} ({name} was asked: {why})"),
                    _ => format!("there are no credentials: {name} was asked for them: {why}"),
                };
                Err(Error::Generic { store: "credentials", source: Box::new(WireError::Credentials(why)) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// What comes of a service that answers with these bodies, one after the other.
    fn asked(source: impl FnOnce(String) -> Source, answers: Vec<String>) -> Result<AwsCredential, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut client, _)) = listener.accept() else { return };
                let _ = client.read(&mut [0; 4096]);
                let (status, body) = answer.split_once(' ').unwrap();
                let head =
                    format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = client.write_all(format!("{head}{body}").as_bytes());
            }
        });
        let credentials = HandedCredentials::new(source(url)).unwrap();
        let found = runtime.block_on(credentials.get_credential()).map_err(|e| error_chain(&e));
        drop(server);
        found.map(|c| AwsCredential {
            key_id: c.key_id.clone(),
            secret_key: c.secret_key.clone(),
            token: c.token.clone(),
        })
    }

    fn json(key: &str) -> String {
        format!(
            "200 {{\"AccessKeyId\":\"{key}\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2999-01-01T00:00:00Z\"}}"
        )
    }

    /// DH-5: the role of a machine at Amazon.
    #[test]
    fn an_instance_hands_out_what_it_has() {
        let answers = vec!["200 token\n".to_owned(), "200 role".to_owned(), json("A")];
        let found = asked(|endpoint| Source::Instance { endpoint }, answers).unwrap();
        assert_eq!((found.key_id.as_str(), found.token.as_deref()), ("A", Some("t")));
    }

    #[test]
    fn a_container_is_told_its_token_without_the_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let token_file = Some(file.path().to_str().unwrap().to_owned());
        let found = asked(|url| Source::Container { url, token: None, token_file }, vec![json("B")]);
        assert_eq!(found.unwrap().key_id, "B");
    }

    /// DH-5: the role of a pod.
    #[test]
    fn a_web_identity_becomes_a_session() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "jwt\n").unwrap();
        let answer = "200 <AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>C</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
             </AssumeRoleWithWebIdentityResponse>";
        let token_file = file.path().to_str().unwrap().to_owned();
        let source = |endpoint| Source::WebIdentity { token_file, role: "r".into(), session: "s".into(), endpoint };
        assert_eq!(asked(source, vec![answer.to_owned()]).unwrap().key_id, "C");
    }

    /// CC-2: a process prints keys, with or without a session and its end.
    #[test]
    fn a_process_prints_keys() {
        let process = |line: &str| {
            let line = line.to_owned();
            asked(move |_| Source::Process { line }, Vec::new())
        };
        let found = process("echo '{\"Version\":1,\"AccessKeyId\":\"P\",\"SecretAccessKey\":\"s\"}'").unwrap();
        assert_eq!((found.key_id.as_str(), found.token), ("P", None));
        let with = "echo '{\"Version\":1,\"AccessKeyId\":\"Q\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\
                    \"Expiration\":\"2999-01-01T00:00:00Z\"}'";
        assert_eq!(process(with).unwrap().token.as_deref(), Some("t"));
        for (line, why) in
            [("false", "it failed"), ("echo x", "no credential"), ("/no/such", "cannot be started"), ("'", "quoted")]
        {
            let text = process(line).unwrap_err();
            assert!(text.contains("the credential process was asked") && text.contains(why), "{line}: {text}");
        }
    }

    /// A process is asked again when what it printed is about to expire.
    #[test]
    fn keys_of_a_process_are_asked_for_again_before_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let script = folder.path().join("keys");
        let soon = jiff::Timestamp::now() + jiff::Span::new().seconds(60);
        let text = format!(
            "echo x >> {0}\necho '{{\"AccessKeyId\":\"'K$(wc -l < {0})'\",\"SecretAccessKey\":\"s\",\"Expiration\":\"{soon}\"}}'\n",
            count.display()
        );
        std::fs::write(&script, text).unwrap();
        let line = format!("sh {}", script.display());
        let credentials = HandedCredentials::new(Source::Process { line }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let key = || runtime.block_on(credentials.get_credential()).unwrap().key_id.clone();
        assert_eq!((key(), key()), ("K1".to_owned(), "K2".to_owned()));
    }

    /// CC-2: one that hangs is ended with all that it started: the pipe that all of them hold is closed.
    #[test]
    fn a_process_that_is_late_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("held");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let line = format!("exec 3> {}; sleep 1000 & sleep 1000", pipe.display());
        let words = ["bash".to_owned(), "-c".to_owned(), line];
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let reader = rustix::fs::open(&pipe, flags, 0o600.into()).unwrap();
        let text = answer_of(&words, Duration::from_secs(1)).unwrap_err();
        assert_eq!(text, "it did not end within 1 s, and was ended");
        // They are killed, and gone a moment later: nobody has it open to write then.
        let mut polled = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
        let most = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&most)), Ok(1));
        assert_eq!(polled[0].revents(), rustix::event::PollFlags::HUP);
    }

    /// DH-5: a role that is assumed with the keys of another profile.
    #[test]
    fn a_role_is_assumed_with_other_keys() {
        let answer = "200 <AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>R</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let keys = AwsCredential { key_id: "A".to_owned(), secret_key: "S".to_owned(), token: None };
        let by: Provider = Arc::new(object_store::StaticCredentialProvider::new(keys));
        let form = vec![("Action", "AssumeRole".to_owned()), ("RoleArn", "r".to_owned())];
        let again = by.clone();
        let source = |endpoint| Source::Role { form: form.clone(), endpoint, region: "us-east-1".to_owned(), by };
        let found = asked(source, vec![answer.to_owned()]).unwrap();
        assert_eq!((found.key_id.as_str(), found.token.as_deref()), ("R", Some("t")));
        let source = |endpoint| Source::Role { form, endpoint, region: "us-east-1".to_owned(), by: again };
        assert!(asked(source, vec!["403 no".to_owned()]).unwrap_err().contains("STS was asked"));
    }

    /// Something else than Amazon's answers at the metadata address of other clouds, and ended the program.
    #[test]
    fn rubbish_is_no_credential_and_no_panic() {
        let page = "200 <html>\nlog in</html>".to_owned();
        let instance = |endpoint| Source::Instance { endpoint };
        let token = || "200 token".to_owned();
        for answers in [
            vec![page.clone()],
            vec!["200 ".to_owned()],
            vec!["404 ".to_owned()],
            vec!["500 x".to_owned()],
            vec![token(), page.clone()],
            vec![token(), "200 a b".to_owned()],
            vec![token(), token(), page.clone()],
            vec![token(), token(), json("a\\nb")],
            vec![token(), token(), json("a").replace("2999-01-01T00:00:00Z", "soon")],
            vec![token(), token(), "200 {\"Code\":\"Failed\"}".to_owned()],
        ] {
            let text = asked(instance, answers.clone()).unwrap_err();
            assert!(
                text.contains("there are no credentials: neither ")
                    && text.contains("the instance's metadata service was asked"),
                "{answers:?}: {text}"
            );
        }
        let container = |url| Source::Container { url, token: Some("a\nb".to_owned()), token_file: None };
        assert!(asked(container, vec![json("a")]).is_err());
    }

    #[test]
    fn settings_are_checked_before_anything_is_asked() {
        let named = |pairs: &'static [(&'static str, &'static str)]| {
            let lookup = Arc::new(|name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
            let options = StoreOptions { lookup, ..StoreOptions::default() };
            Source::named(&options, "r").and_then(|s| Ok((s, Source::instance(&options)?)))
        };
        assert!(matches!(named(&[]), Ok((None, Source::Instance { .. }))));
        assert!(matches!(named(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")]), Ok((Some(_), _))));
        for (name, value) in [
            ("AWS_METADATA_ENDPOINT", "not a url"),
            ("AWS_METADATA_ENDPOINT", "http://a b/"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "\u{fc}"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "file:///x"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a\u{7}b"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/x"),
        ] {
            let pairs: &'static [(&str, &str)] = Box::leak(Box::new([(name, value)]));
            assert!(named(pairs).is_err(), "{name}={value}");
        }
    }
}
