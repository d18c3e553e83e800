//! `restore --in-place`: directories go back to where they were, and the service that uses them is stopped for it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;

use crate::program::{Mounted, Strongroom, noise, run, said};
use crate::s3::{Asked, Fault, OWNER_KEY, Server};

/// `at NAME` in a command: says that NAME is reached and waits there, if the file `stop-at` names it.
const AT: &str = r#"
at() {
    if [ "$(cat FOLDER/stop-at)" = "$1" ]; then
        echo reached > FOLDER/reached
        read -r line < FOLDER/go
    fi
}
say() { echo "$@" >> FOLDER/seen; }
"#;

/// Where the repository is, and what requests for data do.
struct Scene {
    sr: Strongroom,
    server: Option<Server>,
}

impl Scene {
    /// A data directory with a `bin`, a backup that leaves out `tmp/*` and `*.log`, and then: a changed file, a missing one,
    /// a new one, and new files of the kinds that were left out.
    fn new(server: Option<Server>) -> Self {
        let sr = Strongroom { folder: tempfile::tempdir().unwrap() };
        let folder = sr.folder.path().display().to_string();
        sr.write("at.sh", AT.replace("FOLDER", &folder));
        sr.write("stop-at", "");
        for pipe in ["reached", "go"] {
            assert!(run("mkfifo", &[sr.at(pipe).to_str().unwrap()]));
        }
        let this = Self { sr, server };
        for (path, text) in
            [("same", "same"), ("changed", "as it was"), ("gone", "back"), ("tmp/t", "1"), ("a.log", "1")]
        {
            this.sr.write(&format!("d/{path}"), text);
        }
        this.sr.write("d/big", noise(300_000));
        fs::set_permissions(this.sr.at("d"), fs::Permissions::from_mode(0o750)).unwrap();
        this.expect(0, &["init"]);
        this.expect(0, &["backup", "d", "--exclude", "/tmp/*", "--exclude", "*.log"]);
        this.spoil();
        this
    }

    fn spoil(&self) {
        for (path, text) in [("changed", "and as it is"), ("extra/new", "x"), ("tmp/u", "2"), ("b.log", "2")] {
            self.sr.write(&format!("d/{path}"), text);
        }
        let _ = fs::remove_file(self.sr.at("d/gone"));
        fs::set_permissions(self.sr.at("d"), fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.sr.command(args);
        if let Some(server) = &self.server {
            let lookup = server.options(OWNER_KEY).lookup;
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
                command.env(name, lookup(name).unwrap());
            }
            command.env("STRONGROOM_REPO", format!("s3://bucket/backups?endpoint=http://{}", server.address));
        }
        command
    }

    #[track_caller]
    fn expect(&self, code: i32, args: &[&str]) -> String {
        said(code, args, &self.command(args).output().unwrap())
    }

    /// The command that restores in place, with a service.
    fn in_place(&self, more: &[&str]) -> Vec<String> {
        let folder = self.sr.folder.path().display();
        let hook = |what: &str| format!(". {folder}/at.sh; at {what}; say {what} $STRONGROOM_OUTCOME; at {what}-done");
        let words = ["restore", "latest", "--in-place", "--yes", "--stop", &hook("stop"), "--start", &hook("start")];
        words.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    #[track_caller]
    fn restore(&self, code: i32, more: &[&str]) -> String {
        let words = self.in_place(more);
        self.expect(code, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn begin(&self, more: &[&str]) -> Child {
        let words = self.in_place(more);
        let mut command = self.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Kills a restore that has reached this point and waits there.
    fn kill_at(&self, point: &str, more: &[&str]) {
        self.sr.write("stop-at", point);
        let child = self.begin(more);
        assert_eq!(self.sr.read("reached"), "reached\n");
        self.sr.write("stop-at", "");
        kill(child);
    }

    /// Kills a restore that waits for the first bytes of files.
    fn kill_while_reading(&self, more: &[&str]) {
        let ((reached, is_reached), (go, may_go)) = (channel(), channel::<()>());
        let may_go = std::sync::Mutex::new(may_go);
        self.server.as_ref().unwrap().set_fault(move |asked, _| {
            if is_data(asked) {
                let _ = reached.send(());
                let _ = may_go.lock().unwrap().recv();
            }
            None
        });
        let child = self.begin(more);
        is_reached.recv().unwrap();
        kill(child);
        drop(go);
        self.server.as_ref().unwrap().clear_fault();
    }

    /// The lines that hooks appended to `seen`, which is emptied.
    fn seen(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.sr.at("seen")).unwrap_or_default();
        let _ = fs::remove_file(self.sr.at("seen"));
        lines.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn debts(&self) -> Vec<serde_json::Value> {
        let lines = self.expect(0, &["hooks", "--json"]);
        lines.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Whether the directory is as it was saved; what the backup left out is not looked at.
    fn is_restored(&self, at: &str) -> bool {
        let is =
            |path: &str, text: &str| fs::read(self.sr.at(at).join(path)).is_ok_and(|found| found == text.as_bytes());
        let mode = fs::metadata(self.sr.at(at)).unwrap().mode() & 0o777;
        is("changed", "as it was") && is("gone", "back") && !self.sr.at(at).join("extra").exists() && mode == 0o750
    }

    /// Whether it is as it was before the restore.
    fn is_old(&self, at: &str) -> bool {
        let is =
            |path: &str, text: &str| fs::read(self.sr.at(at).join(path)).is_ok_and(|found| found == text.as_bytes());
        let left = is("tmp/t", "1") && is("tmp/u", "2") && is("b.log", "2");
        is("changed", "and as it is") && is("extra/new", "x") && left && !self.sr.at(at).join("gone").exists()
    }

    /// Names beside the directory that are no files of the test.
    fn beside(&self) -> Vec<String> {
        let names = fs::read_dir(self.sr.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("d.")).collect();
        names.sort();
        names
    }
}

fn is_data(asked: &Asked) -> bool {
    asked.method == "GET" && asked.key.contains("/data/")
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// CC-10, DSS-7, CC-14: what differs is replaced, what is equal is not written, extras go, what the backup left out stays,
/// and the service is stopped before and started after.
#[test]
fn what_differs_is_replaced_while_the_service_is_stopped() {
    let scene = Scene::new(None);
    let same = fs::metadata(scene.sr.at("d/same")).unwrap();
    let before = scene.expect(0, &["restore", "latest", "--in-place", "--dry-run", "--stop", "false", "--start", "x"]);
    assert!(before.contains("delete extra") && before.contains("stop:  false"), "{before}");
    assert!(scene.is_old("d") && scene.seen().is_empty());
    let text = scene.restore(0, &[]);
    assert!(text.contains("2 files") && text.contains("extra deleted"), "{text}");
    assert_eq!(scene.seen(), ["stop", "start complete"]);
    assert!(scene.is_restored("d"), "{text}");
    assert_eq!(
        scene.sr.read("d/tmp/u") + &scene.sr.read("d/b.log"),
        "22",
        "what the backup left out is nobody's extra"
    );
    let now = fs::metadata(scene.sr.at("d/same")).unwrap();
    assert_eq!(now.ino(), same.ino(), "what is equal is not written");
    assert!(scene.debts().is_empty() && scene.beside().is_empty());
}

/// Nobody agreed: nothing is stopped, nothing is changed.
#[test]
fn it_asks_before_anything_is_stopped_or_changed() {
    let scene = Scene::new(None);
    for more in [&[][..], &["--keep-old"]] {
        let words = scene.in_place(more);
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--yes").collect();
        let text = scene.expect(1, &words);
        assert!(text.contains("nothing was changed: it was not agreed to") && text.contains("--yes"), "{text}");
        assert!(scene.is_old("d") && scene.seen().is_empty() && scene.debts().is_empty() && scene.beside().is_empty());
    }
}

/// Two restores into one directory would each take for extras what the other one writes, and start the service while the
/// other one goes on. Without a start command, nothing that is owed tells of the first one.
#[test]
fn a_directory_is_restored_by_one_process_at_a_time() {
    let scene = Scene::new(None);
    let held = fs::File::open(scene.sr.at("d")).unwrap();
    held.lock().unwrap();
    for more in [&[][..], &["--keep-old"]] {
        let text = scene.restore(1, more);
        assert!(text.contains("another restore of ") && text.contains("nothing was changed"), "{text}");
        assert!(scene.is_old("d") && scene.seen().is_empty() && scene.debts().is_empty() && scene.beside().is_empty());
    }
    // Who only looks is not in the way.
    scene.expect(0, &["restore", "latest", "--in-place", "--dry-run"]);
    drop(held);
    scene.expect(0, &["restore", "latest", "--in-place", "--yes"]);
    assert!(scene.is_restored("d"));
}

/// CC-10: "no free-space check". It is made before the service is stopped.
#[test]
fn too_little_room_is_found_before_the_service_is_stopped() {
    let scene = Scene::new(None);
    let _small = Mounted::new(scene.sr.at("small"), "200k");
    scene.sr.write("small/d/word", "there");
    let part = scene.sr.latest("d");
    for more in [&[][..], &["--keep-old"]] {
        let target = scene.sr.at("small/d");
        let stop = format!("echo stop >> {}", scene.sr.at("seen").display());
        let words = ["restore", &part, "--in-place", "-y", "--target", target.to_str().unwrap(), "--stop", &stop];
        let text = scene.expect(1, &[&words[..], more].concat());
        assert!(text.contains("not enough space in"), "{text}");
        assert_eq!((scene.sr.read("small/d/word"), scene.seen().len()), ("there".to_owned(), 0));
        assert_eq!(fs::read_dir(scene.sr.at("small")).unwrap().count(), 1);
    }
}

/// DSS-7, IDP-14: the old directory is kept whole, and can be put back as is said.
#[test]
fn the_old_directory_is_kept_and_goes_back() {
    let scene = Scene::new(None);
    let text = scene.restore(0, &["--keep-old"]);
    assert_eq!(scene.seen(), ["stop", "start complete"]);
    let kept = scene.beside();
    assert!(kept.len() == 1 && kept[0].starts_with("d.before-"), "{kept:?}");
    assert!(scene.is_restored("d") && scene.is_old(&kept[0]), "{text}");
    assert!(text.contains("what the backup left out is only there: --exclude /tmp/*, --exclude *.log"), "{text}");
    assert!(scene.sr.at("d/tmp").is_dir() && scene.debts().is_empty());
    let back = text.lines().find_map(|line| line.split_once("stop its service, then ")).expect("how to go back").1;
    assert!(run("bash", &["-c", back]), "{back}");
    assert!(scene.is_old("d"));
    // Another time, the name is taken.
    fs::rename(scene.sr.at("d"), scene.sr.at(&kept[0])).unwrap();
    scene.restore(0, &["--keep-old"]);
    assert!(scene.is_restored("d"), "where nothing is, the new directory just gets its name");
    scene.spoil();
    scene.restore(0, &["--keep-old"]);
    assert!(scene.is_restored("d") && scene.beside().iter().any(|name| name.ends_with("-2")), "{:?}", scene.beside());
}

/// CC-10: the service is started again wherever the restore is killed, but not on a directory that is half restored.
#[test]
fn a_killed_restore_owes_the_start_but_not_of_a_half_restored_directory() {
    let scene = Scene::new(Some(Server::start()));
    for (point, seen) in [
        ("stop", vec!["start interrupted"]),
        ("stop-done", vec!["stop", "start interrupted"]),
        ("start", vec!["stop", "start interrupted"]),
        ("start-done", vec!["stop", "start complete", "start interrupted"]),
    ] {
        scene.spoil();
        scene.kill_at(point, &[]);
        let all = scene.debts();
        assert_eq!((all.len(), all[0]["state"].as_str(), all[0]["hook"].as_str()), (1, Some("owed"), Some("start")));
        let text = scene.expect(0, &["snapshots"]);
        assert!(text.contains("note: hook `start` of the restore of ") && text.contains("is owed"), "{text}");
        let text = scene.expect(0, &["hooks", "--owed"]);
        assert!(text.contains("hook `start` of the restore of ") && text.contains(": done"), "{text}");
        assert_eq!(scene.seen(), seen, "{point}");
        assert_eq!(scene.is_restored("d"), point.starts_with("start"), "{point}");
        assert!(scene.debts().is_empty());
    }
    scene.spoil();
    scene.kill_while_reading(&[]);
    assert!(!scene.is_old("d") && !scene.is_restored("d"), "it is half restored");
    assert_eq!(scene.debts()[0]["state"], "unfinished");
    let text = scene.expect(1, &["hooks", "--owed"]);
    assert!(text.contains("is half restored: run the same restore again") && text.contains("--discard"), "{text}");
    assert!(scene.expect(0, &["snapshots"]).contains("is half restored"));
    assert_eq!(scene.seen(), ["stop"], "it was not started");
    scene.restore(0, &[]);
    assert_eq!(scene.seen(), ["stop", "start complete"]);
    assert!(scene.is_restored("d") && scene.debts().is_empty(), "{:?}", scene.debts());
}

/// With `--keep-old`, the directory is the old or the new one, whole, whenever the restore is killed.
#[test]
fn with_keep_old_the_directory_is_whole_wherever_the_restore_is_killed() {
    let scene = Scene::new(Some(Server::start()));
    scene.kill_while_reading(&["--keep-old"]);
    assert!(scene.is_old("d") && scene.seen().is_empty() && scene.debts().is_empty(), "nothing was stopped yet");
    let begun = scene.beside();
    assert!(begun.len() == 1 && begun[0].starts_with("d.restoring-"), "{begun:?}");
    for (point, is_new) in [("stop", false), ("stop-done", false), ("start", true), ("start-done", true)] {
        if scene.is_restored("d") {
            scene.spoil();
        }
        scene.kill_at(point, &["--keep-old"]);
        assert_eq!((scene.is_restored("d"), scene.is_old("d")), (is_new, !is_new), "{point}");
        scene.seen();
        scene.expect(0, &["hooks", "--owed"]);
        assert_eq!(scene.seen(), ["start interrupted"], "{point}");
        assert!(scene.debts().is_empty());
    }
    scene.spoil();
    scene.restore(0, &["--keep-old"]);
    assert!(scene.is_restored("d") && scene.beside().iter().all(|name| name.starts_with("d.before-")));
    assert_eq!(scene.beside().len(), 3, "one for each time that it was exchanged");
}

/// Data that cannot be read ends a restore in the middle.
#[test]
fn an_error_in_the_middle_leaves_the_service_stopped_and_says_how_to_go_on() {
    let scene = Scene::new(Some(Server::start()));
    let server = scene.server.as_ref().unwrap();
    server.set_fault(|asked, _| is_data(asked).then_some(Fault::Status(403, "AccessDenied")));
    let words = scene.in_place(&[]);
    let output = scene.command(&words.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 3)), "{text}");
    assert!(text.contains("half restored; run the same restore again"), "{text}");
    assert!(text.contains("Its service is not started") && text.contains("strongroom hooks --discard"), "{text}");
    assert_eq!(scene.seen(), ["stop"]);
    let id = scene.debts()[0]["id"].as_str().unwrap().to_owned();
    // Beside it, nothing was stopped.
    scene.expect(0, &["hooks", "--discard", &id]);
    let words = scene.in_place(&["--keep-old"]);
    scene.spoil();
    let output = scene.command(&words.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("is as it was"), "{text}");
    assert!(scene.is_old("d") && scene.seen().is_empty() && scene.debts().is_empty());
    server.clear_fault();
    scene.restore(0, &["--keep-old"]);
    assert!(scene.is_restored("d"));
}

#[test]
fn a_stop_that_fails_changes_nothing_and_the_service_is_started() {
    let scene = Scene::new(None);
    let seen = scene.sr.at("seen").display().to_string();
    let start = format!("echo start $STRONGROOM_OUTCOME >> {seen}");
    for more in [&[][..], &["--keep-old"]] {
        let words = ["restore", "latest", "--in-place", "-y", "--stop", "echo does not; exit 4", "--start", &start];
        let text = scene.expect(1, &[&words[..], more].concat());
        assert!(text.contains("hook `stop` of the restore of ") && text.contains("status 4: does not"), "{text}");
        assert!(scene.is_old("d") && scene.debts().is_empty());
        assert_eq!(scene.seen(), ["start failed"]);
    }
    let text = scene.expect(3, &["restore", "latest", "--in-place", "-y", "--start", "exit 5"]);
    assert!(text.contains("hook `start` of the restore of ") && text.contains("it stays owed"), "{text}");
    assert!(scene.is_restored("d"));
    assert_eq!(scene.debts()[0]["state"], "owed");
}

#[test]
fn what_cannot_be_restored_in_place_is_refused_by_name() {
    let scene = Scene::new(None);
    let text = scene.expect(2, &["restore", "latest", "d", "--stop", "true"]);
    assert!(text.contains("--in-place"), "{text}");
    // The repository would be moved away with the old directory.
    let own = scene.sr.latest("d");
    let target = scene.sr.folder.path().to_str().unwrap();
    let text = scene.expect(2, &["restore", &own, "--in-place", "-y", "--keep-old", "--target", target]);
    assert!(text.contains("is the repository of this backup, and lies in"), "{text}");
    let _mounted = Mounted::new(scene.sr.at("d/mounted"), "1m");
    let text = scene.expect(1, &["restore", &own, "--in-place", "-y", "--keep-old"]);
    assert!(text.contains("is mounted below") && text.contains("without --keep-old"), "{text}");
    assert!(scene.is_old("d"));
    scene.expect(0, &["backup", "--host", "elsewhere", "d"]);
    let text = scene.expect(2, &["restore", "latest", "--host", "elsewhere", "--in-place", "-y"]);
    assert!(text.contains("is of the machine elsewhere") && text.contains("--target"), "{text}");
    scene.expect(0, &["backup", "--from-command", "x=echo x"]);
    let text = scene.expect(2, &["restore", "latest", "--source", "x", "--in-place", "-y"]);
    assert!(text.contains("is a stream, and has no place"), "{text}");
}

/// The repository lies in the directory that is restored, and is neither written nor deleted.
#[test]
fn what_the_program_keeps_in_the_directory_stays() {
    let scene = Scene::new(None);
    fs::rename(scene.sr.at("repo"), scene.sr.at("d/repo")).unwrap();
    let repo = scene.sr.at("d/repo").display().to_string();
    scene.expect(0, &["-r", &repo, "restore", "latest", "--in-place", "-y"]);
    assert!(scene.is_restored("d"));
    scene.expect(0, &["-r", &repo, "verify"]);
}

/// A configuration with a data directory of DSS and a dump beside it.
fn dss(presets: &str, more: &str) -> Strongroom {
    let sr = Strongroom::init();
    let folder = sr.folder.path().display().to_string();
    let pass = sr.write("home/pass", "open sesame\n");
    fs::set_permissions(pass, fs::Permissions::from_mode(0o600)).unwrap();
    sr.write("dss/dss-version.json", "{\"product_version\":\"13.4.0\"}");
    for path in ["tmp/t", "caches/a/b", "jobs/log", "config/tmp/kept"] {
        sr.write(&format!("dss/{path}"), "1234");
    }
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"FOLDER/repo\", password_file = \"FOLDER/home/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n[jobs.dss]\nnotes = \"call Ann\"\n[jobs.dss.sources.data]\nkind = \"path\"\n\
         paths = [\"FOLDER/dss\"]\n{presets}\n{more}"
    );
    let at = sr.write("strongroom.toml", text.replace("FOLDER", &folder));
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    sr
}

const RUN: [&str; 3] = ["run", "--config", "strongroom.toml"];

/// DSS-8, DSS-10, DSS-13: a data directory of DSS is recognised: what it makes anew is left out and counted, its version
/// is kept, and what is to be done is told after a restore.
#[test]
fn a_data_directory_of_dss_is_recognised() {
    let govern = "[jobs.dss.sources.govern]\nkind = \"command\"\nfile = \"govern.sql\"\ncommand = \"echo dump\"\n";
    let sr = dss("", govern);
    let text = sr.expect(0, &RUN);
    assert!(text.contains("is a data directory of Dataiku DSS 13.4.0: preset dss:temp leaves out"), "{text}");
    assert!(text.contains("left out 2 entries, 8 B: --exclude-preset dss:temp"), "{text}");
    let listed = sr.expect(0, &["ls", "latest", "--source", "dss/data"]);
    assert!(!listed.contains("dss/tmp/t") && !listed.contains("caches/a"), "{listed}");
    let json = sr.expect(0, &["snapshots", "--json", "--source", "dss/data"]);
    let json: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    let known = &json["data_directories"][0];
    assert_eq!((known["product"].as_str(), known["version"].as_str()), (Some("Dataiku DSS"), Some("13.4.0")));
    let shown = sr.expect(0, &["show", json["id"].as_str().unwrap()]);
    assert!(shown.contains("/dss: Dataiku DSS 13.4.0"), "{shown}");
    let part = format!("{}:{}", json["id"].as_str().unwrap(), sr.at("dss").display());
    let text = sr.expect(0, &["restore", &part, "--target", "back"]);
    let notes =
        ["an older DSS than 13.4.0", "installer.sh -d ", "/back -u", "pyenv", "R, Hadoop and Spark", "call Ann"];
    assert!(notes.iter().all(|note| text.contains(note)), "{text}");
    // In place, of the whole set: the dump stays as it is, and the older version there is told.
    sr.write("dss/dss-version.json", "{\"product_version\":\"9.0.7\"}");
    sr.write("dss/config/tmp/kept", "changed");
    let text = sr.expect(0, &["restore", "--set", "latest", "--in-place", "-y"]);
    assert!(text.contains("is of Dataiku DSS 9.0.7 now, and is restored as of 13.4.0"), "{text}");
    assert!(text.contains("dss/govern is no directory and stays as it is: `strongroom load`"), "{text}");
    assert_eq!(sr.read("dss/config/tmp/kept") + &sr.read("dss/tmp/t"), "12341234");
    assert!(sr.read("dss/dss-version.json").contains("13.4.0") && text.contains("call Ann"));
}

/// DSS-10: presets that are named, or none, are what counts.
#[test]
fn presets_that_are_said_take_the_place_of_those_of_dss() {
    let sr = dss("presets = []", "");
    let text = sr.expect(0, &RUN);
    assert!(!text.contains("left out") && !text.contains("dss:temp"), "{text}");
    assert!(sr.expect(0, &["ls", "latest"]).contains("dss/tmp/t"));
    let sr = dss("presets = [\"dss:logs\"]", "");
    let text = sr.expect(0, &RUN);
    assert!(text.contains("left out 1 entry, 4 B: --exclude-preset dss:logs") && !text.contains("dss:temp"), "{text}");
    // With another path beside it, its patterns count below the data directory only.
    let sr = dss("", "");
    let other = sr.write("other/tmp/x", "x").parent().unwrap().parent().unwrap().display().to_string();
    let text = sr.read("strongroom.toml").replace("/dss\"]", &format!("/dss\", \"{other}\"]"));
    sr.write("strongroom.toml", text);
    sr.expect(0, &RUN);
    let listed = sr.expect(0, &["ls", "latest"]);
    assert!(listed.contains("other/tmp/x") && !listed.contains("dss/tmp/t"), "{listed}");
}
