//! Every request of every command fails in every way, as the user of the program sees it: it ends by itself with an exit code
//! of the table and a message, it never calls a part the whole, the repository stays valid, and the same command succeeds
//! once the server is well again.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::harness::{copy_folder, difference, text};
use crate::program::Strongroom;
use crate::s3::{Asked, Fault, OWNER_KEY, Server};

/// What becomes of the request with a number, and of those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotKind {
    /// The server says no, once and for good.
    Refused,
    /// The object is said not to be there.
    Missing,
    /// It is done, and the answer is an error of the server.
    Late,
    /// The connection ends in the middle of the answer.
    Cut,
    /// From then on nothing more can be stored.
    Full,
    /// From then on every connection is closed.
    Gone,
}

const WAYS: [SlotKind; 6] =
    [SlotKind::Refused, SlotKind::Missing, SlotKind::Late, SlotKind::Cut, SlotKind::Full, SlotKind::Gone];

impl SlotKind {
    fn fault(self, asked: &Asked, number: usize, at: usize) -> Option<Fault> {
        let here = number == at;
        match self {
            Self::Refused if here => Some(Fault::Status(403, "AccessDenied")),
            Self::Missing if here && asked.method != "PUT" => Some(Fault::Status(404, "NoSuchKey")),
            Self::Late if here => Some(Fault::StatusAfter(500, "InternalError")),
            Self::Cut if here => Some(Fault::Cut(10)),
            Self::Full if number >= at && asked.method == "PUT" => Some(Fault::Status(507, "InsufficientStorage")),
            Self::Gone if number >= at => Some(Fault::DropBefore),
            _ => None,
        }
    }

    /// Exit codes that are the truth about it. A server that denies an object may make a machine doubt the history (11), or
    /// find no repository (10).
    fn codes(self) -> &'static [i32] {
        match self {
            Self::Refused | Self::Full | Self::Gone => &[0, 1, 3],
            Self::Missing => &[0, 1, 3, 10, 11],
            Self::Late | Self::Cut => &[0],
        }
    }
}

/// Every request with `STRONGROOM_TEST_FULL` set, else one of so many: one or two for each way and command.
fn step() -> usize {
    if std::env::var_os("STRONGROOM_TEST_FULL").is_some() { 1 } else { 41 }
}

/// A server with a repository of some nights, and a machine that made them.
struct Scene {
    server: Server,
    kept: Server,
    machine: Strongroom,
    ids: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let machine = Strongroom { folder: tempfile::tempdir().expect("a temporary folder") };
        let this = Self { server: Server::start(), kept: Server::start(), machine, ids: Vec::new() };
        this.expect(&["init"]);
        for n in 0..3 {
            for i in 0..3 {
                this.machine.write(&format!("d/{i}"), [text(i, 40_000), text(100 * n + i, 40_000)].concat());
            }
            this.expect(&["backup", "d", "--host", "db"]);
        }
        let listed = this.expect(&["snapshots", "--json"]);
        let ids: Vec<String> = listed.split("\"id\":\"").skip(1).map(|rest| rest[..32].to_owned()).collect();
        assert_eq!(ids.len(), 3);
        this.expect(&["forget", &ids[0]]);
        this.machine.write("words", "another one\n");
        this.expect(&["key", "add", "--new-password-file", "words"]);
        this.expect(&["credential", "add", "--role", "backup", "--host", "old", "--output", "old.credential"]);
        // What stays: a new file for the next night, and another repository to copy to.
        this.machine.write("more/new", text(7, 200_000));
        let other = this.machine.at("other");
        this.run(&this.machine, &["init", "-r", other.to_str().expect("a path of the test")]);
        this.kept.copy_from(&this.server);
        Self { ids, ..this }
    }

    /// Runs a command of this machine.
    fn run(&self, machine: &Strongroom, args: &[&str]) -> Output {
        let lookup = self.server.options(OWNER_KEY).lookup;
        let mut command = machine.command(args);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            command.env(name, lookup(name).expect("the server has keys"));
        }
        command
            .env("STRONGROOM_REPO", format!("s3://bucket/backups?endpoint=http://{}", self.server.address))
            .env("STRONGROOM_OPTIONS", "retry-timeout=1")
            .env("STRONGROOM_OTHER_PASSPHRASE", "open sesame")
            .output()
            .expect("the program runs")
    }

    #[track_caller]
    fn expect(&self, args: &[&str]) -> String {
        crate::program::said(0, args, &self.run(&self.machine, args))
    }

    /// The machine and its server again as they were. Its folder is the same: sources are named by their paths.
    fn again(&self) -> Again<'_> {
        let kept = tempfile::tempdir().expect("a temporary folder");
        copy_folder(self.machine.folder.path(), kept.path());
        Again { scene: self, kept }
    }
}

/// Puts everything back as it was.
struct Again<'a> {
    scene: &'a Scene,
    kept: tempfile::TempDir,
}

impl Again<'_> {
    fn reset(&self) {
        let Scene { server, kept, machine, .. } = self.scene;
        server.clear_fault();
        server.copy_from(kept);
        for name in ["home", "other", "target"] {
            let (from, to) = (self.kept.path().join(name), machine.at(name));
            let _ = std::fs::remove_dir_all(&to);
            if from.exists() {
                copy_folder(&from, &to);
            }
        }
        let _ = std::fs::remove_file(machine.at("new.credential"));
    }
}

/// What a command leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only what it prints, which is the same every time.
    Reads,
    /// `target`, which is then what was backed up.
    Restores,
    /// A repository that is valid; once more it does the same again.
    Changes,
    /// A repository that is valid; what it has done cannot be done twice.
    ChangesOnce,
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Each request of a command in turn fails in each way.
fn at_every_request(kind: Kind, args: impl Fn(&Scene) -> Vec<String>) {
    let scene = Scene::new();
    let (args, again) = (args(&scene), scene.again());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    scene.server.take_log();
    let well = scene.run(&scene.machine, &args);
    assert_eq!(well.status.code(), Some(0), "{args:?}: {}", said(&well));
    let requests = scene.server.take_log().len();
    assert!(requests > 0, "{args:?} asks the server nothing");
    let mut failed = 0;
    for (offset, way) in WAYS.into_iter().enumerate() {
        // Other requests for each way, and all of them by and by.
        for at in ((offset * 2) % step()..requests + 1).step_by(step()) {
            again.reset();
            scene.server.set_fault(move |asked, number| way.fault(asked, number, at));
            let output = scene.run(&scene.machine, &args);
            let (code, told) = (output.status.code(), said(&output));
            let context = format!("{args:?}, {way:?} at request {at} of {requests}: {code:?}\n{told}");
            scene.server.clear_fault();
            let log = scene.server.take_log();
            assert!(code.is_some_and(|code| way.codes().contains(&code)), "{context}\n{:?}", log.get(at));
            assert!(!told.contains("panicked"), "{context}");
            if code != Some(0) {
                failed += 1;
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(errors.contains("error: ") || errors.contains("warning: "), "{context}");
            }
            judge(&scene, kind, &args, (&well, &output), &context);
        }
    }
    assert!(failed > 0, "{args:?}: nothing failed");
}

/// Whether what was called done is done, and whether it can be done now.
fn judge(scene: &Scene, kind: Kind, args: &[&str], (well, output): (&Output, &Output), context: &str) {
    let done = output.status.code() == Some(0);
    let restored = |root: &Path| {
        let target = root.join("target");
        difference(&root.join("d"), &target)
    };
    match kind {
        Kind::Reads if done => assert_eq!(output.stdout, well.stdout, "{context}"),
        Kind::Restores if done => assert_eq!(restored(scene.machine.folder.path()), "", "{context}"),
        Kind::Changes | Kind::ChangesOnce => {
            let bare = Strongroom { folder: tempfile::tempdir().expect("a temporary folder") };
            let verified = scene.run(&bare, &["verify", "--read-data"]);
            assert_eq!(verified.status.code(), Some(0), "{context}\nthen: {}", said(&verified));
        }
        _ => {}
    }
    if kind == Kind::ChangesOnce {
        return;
    }
    if kind == Kind::Restores {
        let _ = std::fs::remove_dir_all(scene.machine.at("target"));
    }
    let again = scene.run(&scene.machine, args);
    assert_eq!(again.status.code(), Some(0), "{context}\nagain: {}", said(&again));
    match kind {
        Kind::Reads => assert_eq!(again.stdout, well.stdout, "{context}"),
        Kind::Restores => assert_eq!(restored(scene.machine.folder.path()), "", "{context}"),
        _ => {}
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn backups() {
    at_every_request(Kind::Changes, |_| words("backup d more --host db"));
    at_every_request(Kind::Changes, |_| {
        [words("backup --host db --from-command"), vec!["dump.sql=seq 30000".to_owned()]].concat()
    });
}

#[test]
fn upkeep() {
    at_every_request(Kind::Changes, |_| words("prune --max-unused 0"));
    at_every_request(Kind::Changes, |_| words("forget --keep-last 1 --yes"));
    at_every_request(Kind::Changes, |scene| vec!["hold".to_owned(), scene.ids[2].clone()]);
    at_every_request(Kind::Changes, |_| words("repair --read-data --yes"));
}

#[test]
fn keys_and_credentials() {
    at_every_request(Kind::Changes, |_| words("key add --new-password-file words"));
    at_every_request(Kind::Reads, |_| words("key list"));
    at_every_request(Kind::ChangesOnce, |_| words("credential add --role backup --host db --output new.credential"));
    at_every_request(Kind::ChangesOnce, |_| words("credential revoke --yes old"));
    at_every_request(Kind::Reads, |_| words("credential list"));
}

#[test]
fn listings() {
    for command in ["snapshots", "ls latest", "find 1 2", "log", "stats", "whoami"] {
        at_every_request(Kind::Reads, |_| words(command));
    }
    at_every_request(Kind::Reads, |scene| vec!["diff".to_owned(), scene.ids[1].clone(), scene.ids[2].clone()]);
}

fn in_tree(scene: &Scene, path: &str) -> String {
    let at: PathBuf = scene.machine.at(path);
    format!("{}:{}", scene.ids[2], at.display())
}

#[test]
fn restores() {
    at_every_request(Kind::Reads, |scene| vec!["cat".to_owned(), in_tree(scene, "d/1")]);
    at_every_request(Kind::Reads, |scene| {
        [vec!["cat".to_owned(), in_tree(scene, "d/1"), "--to-command".to_owned()], vec!["sha256sum".to_owned()]]
            .concat()
    });
    at_every_request(Kind::Restores, |scene| {
        [vec!["restore".to_owned(), in_tree(scene, "d")], words("--target target")].concat()
    });
}

#[test]
fn proofs() {
    at_every_request(Kind::Reads, |_| words("verify -q"));
    at_every_request(Kind::Reads, |_| words("verify -q --read-data"));
    at_every_request(Kind::Reads, |_| words("verify -q --keyless"));
}

#[test]
fn copies() {
    at_every_request(Kind::Changes, |_| words("copy --to other"));
}

/// Here nothing is there before.
#[test]
fn an_init() {
    let server = Server::start();
    let scene = Scene {
        kept: Server::start(),
        machine: Strongroom { folder: tempfile::tempdir().expect("a temporary folder") },
        ids: Vec::new(),
        server,
    };
    scene.expect(&["init"]);
    let requests = scene.server.take_log().len();
    for (offset, way) in WAYS.into_iter().enumerate() {
        for at in ((offset * 2) % step()..requests + 1).step_by(step()) {
            scene.server.copy_from(&scene.kept);
            let bare = Strongroom { folder: tempfile::tempdir().expect("a temporary folder") };
            scene.server.set_fault(move |asked, number| way.fault(asked, number, at));
            let output = scene.run(&bare, &["init"]);
            scene.server.clear_fault();
            let (code, told) = (output.status.code(), said(&output));
            let context = format!("{way:?} at request {at} of {requests}: {code:?}\n{told}");
            assert!(code.is_some_and(|code| way.codes().contains(&code)), "{context}");
            assert!(code == Some(0) || told.contains("error: "), "{context}");
            // Either there is a repository now or there can be one.
            let later = scene.run(&bare, &["snapshots"]);
            if later.status.code() != Some(0) {
                assert_ne!(code, Some(0), "{context}");
                let again = scene.run(&bare, &["init"]);
                assert_eq!(again.status.code(), Some(0), "{context}\nagain: {}\nlater: {}", said(&again), said(&later));
            }
        }
    }
}
