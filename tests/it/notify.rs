//! Who is told of jobs: files for monitoring, and pings.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::program::Strongroom;

/// An address that takes pings: what it was asked, and with which body.
struct Pinged {
    url: String,
    requests: Receiver<(String, String)>,
}

impl Pinged {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let mut length = 0;
                loop {
                    let mut header = String::new();
                    stream.read_line(&mut header).unwrap();
                    if header.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let asked = line.trim_end_matches(" HTTP/1.1\r\n").to_owned();
                let status = if asked.contains("refused") { "403 Forbidden" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if told.send((asked, String::from_utf8(body).unwrap())).is_err() {
                    return;
                }
            }
        });
        Self { url, requests }
    }

    fn all(&self) -> Vec<(String, String)> {
        self.requests.try_iter().collect()
    }
}

fn configured(notify: &str) -> Strongroom {
    let sr = Strongroom::init();
    sr.write("site/index.html", "hello");
    fs::create_dir(sr.at("told")).unwrap();
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_env = \"STRONGROOM_PASSPHRASE\" }}\n\
         [defaults]\nrepository = \"main\"\nschedule = \"every 1h\"\n\
         [jobs.web.sources]\nsite = {{ kind = \"path\", paths = [\"{folder}/site\"] }}\n\
         dump = {{ kind = \"command\", file = \"d.sql\", command = \"cat {folder}/dump\" }}\n\
         [jobs.other.sources]\nsite = {{ kind = \"path\", paths = [\"{folder}/site\"] }}\n{}",
        notify.replace("FOLDER", &folder.to_string())
    );
    let at = sr.write("strongroom.toml", text);
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    sr
}

fn run(sr: &Strongroom, code: i32, args: &[&str]) -> String {
    sr.expect(code, &[&["run", "--config", "strongroom.toml"], args].concat())
}

/// MYDB-12, CC-5: metrics for node_exporter and a status file for each source, after every run and by every `freshness`.
#[test]
fn files_for_monitoring_are_written_after_each_run() {
    let sr = configured(
        "[notify.files]\ntextfile = \"FOLDER/told/strongroom.prom\"\n\
         status = { file = \"FOLDER/told/{job}-{source}.txt\", jobs = [\"w*\"] }\n",
    );
    run(&sr, 3, &["web"]);
    let metrics = sr.read("told/strongroom.prom");
    let value = |name: &str, source: &str| {
        let of = format!("source=\"{source}\"}} ");
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(&of));
        line.unwrap_or_else(|| panic!("{name} {source}: {metrics}")).rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value("strongroom_last_status", "web/site"), "0");
    assert_eq!(value("strongroom_last_status", "web/dump"), "2");
    assert_eq!(value("strongroom_last_success_timestamp_seconds", "web/dump"), "0");
    assert_eq!(value("strongroom_last_success_timestamp_seconds", "other/site"), "0");
    assert_eq!(fs::metadata(sr.at("told/strongroom.prom")).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(sr.read("told/web-site.txt").starts_with("[OK] Good web/site on "));
    assert!(sr.read("told/web-dump.txt").starts_with("[ALERT] Failed web/dump on "));
    let names = || fs::read_dir(sr.at("told")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names().count(), 3, "{:?}", names().collect::<Vec<_>>());
    fs::remove_file(sr.at("told/web-dump.txt")).unwrap();
    sr.write("dump", "create table t;\n");
    run(&sr, 0, &["web/dump"]);
    assert!(sr.read("told/web-dump.txt").starts_with("[OK] Good web/dump on "));
    fs::remove_file(sr.at("told/web-dump.txt")).unwrap();
    // The other job was never run, and is not due yet.
    sr.expect(1, &["freshness", "--config", "strongroom.toml"]);
    assert!(sr.read("told/web-dump.txt").starts_with("[OK]"));
    // What cannot be written is a note, and no failure of the job.
    fs::remove_dir_all(sr.at("told")).unwrap();
    let text = run(&sr, 0, &["web"]);
    assert!(text.contains("[notify.files]: the metrics were not written"), "{text}");
    let text = sr.expect(1, &["config", "check", "--config", "strongroom.toml"]);
    assert!(text.contains("[notify.files]: there is no directory"), "{text}");
}

#[test]
fn an_address_is_pinged_when_a_job_begins_and_ends() {
    let pinged = Pinged::start();
    let sr = configured(&format!(
        "[notify.ping]\nurl = \"{url}/{{env:KEY}}/{{job}}\"\njobs = [\"web\"]\n\
         [notify.refused]\nurl = \"{url}/refused-{{env:KEY}}\"\njobs = [\"other\"]\n",
        url = pinged.url
    ));
    let with_key = |code: i32, job: &str| {
        let args = ["run", "--config", "strongroom.toml", job];
        let mut command = sr.command(&args);
        command.env("KEY", "hunter2").env("STRONGROOM_HOST", "db1");
        crate::program::said(code, &args, &command.output().unwrap())
    };
    with_key(3, "web");
    let asked = |method: &str, path: &str, body: &str| (format!("{method} /hunter2/{path}"), body.to_owned());
    assert_eq!(pinged.all(), [asked("GET", "web/start", ""), asked("POST", "web/fail", "job web on db1: partial\n")]);
    sr.write("dump", "create table t;\n");
    with_key(0, "web");
    assert_eq!(pinged.all(), [asked("GET", "web/start", ""), asked("GET", "web", "")]);
    // One that is refused is a note. Its address may be a secret: it is not told.
    let text = with_key(0, "other");
    assert!(text.contains("note: [notify.refused]: the ping failed: it answered 403 Forbidden: no"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
