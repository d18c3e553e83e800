//! Hooks of jobs and sources, and what is owed when a run is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use crate::program::{Strongroom, run, said};

/// `at NAME` in a command: says that NAME is reached and waits there, if the file `stop-at` names it.
const AT: &str = r#"
at() {
    if [ "$(cat FOLDER/stop-at)" = "$1" ]; then
        echo reached > FOLDER/reached
        read -r line < FOLDER/go
    fi
}
"#;

/// A configuration in which FOLDER is the test's folder, and `seen` a file to which hooks append lines.
fn configured(jobs: &str) -> Strongroom {
    let sr = Strongroom::init();
    sr.write("d/a", "hello");
    let pass = sr.write("home/pass", "open sesame\n");
    fs::set_permissions(pass, fs::Permissions::from_mode(0o600)).unwrap();
    let folder = sr.folder.path().display().to_string();
    sr.write("at.sh", AT.replace("FOLDER", &folder));
    sr.write("stop-at", "");
    for pipe in ["reached", "go"] {
        assert!(run("mkfifo", &[sr.at(pipe).to_str().unwrap()]));
    }
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"FOLDER/repo\", password_file = \"FOLDER/home/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n{jobs}"
    );
    let at = sr.write("strongroom.toml", text.replace("FOLDER", &folder));
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    sr
}

const RUN: [&str; 3] = ["run", "--config", "strongroom.toml"];

fn run_jobs(sr: &Strongroom, code: i32) -> String {
    sr.expect(code, &RUN)
}

/// A run that has reached this point and waits there.
fn run_until(sr: &Strongroom, point: &str) -> Child {
    sr.write("stop-at", point);
    let mut command = sr.command(&RUN);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(sr.read("reached"), "reached\n");
    sr.write("stop-at", "");
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// The lines that hooks appended to `seen`, which is emptied.
fn seen(sr: &Strongroom) -> Vec<String> {
    let lines = fs::read_to_string(sr.at("seen")).unwrap_or_default();
    let _ = fs::remove_file(sr.at("seen"));
    lines.lines().map(str::to_owned).collect()
}

fn debts(sr: &Strongroom) -> Vec<serde_json::Value> {
    let lines = sr.expect(0, &["hooks", "--json"]);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Hooks have the variables of `env_file` and of the source's table, and none of the program's own or of the store.
#[test]
fn hooks_have_the_variables_of_the_file_and_of_the_table() {
    let words = |name: &str| {
        format!(
            "echo {name} $MYDB_URL ${{WORD-none}} ${{STRONGROOM_PASSPHRASE-none}} ${{AWS_SECRET_ACCESS_KEY-none}} >> FOLDER/seen"
        )
    };
    let jobs = format!(
        "[jobs.my]\nbefore = \"{}\"\nalways = \"{}\"\n[jobs.my.sources.x]\nkind = \"command\"\nfile = \"x\"\ncommand = \"echo x\"\n\
         after = \"{}\"\nenv = {{ WORD = \"of {{source}}\" }}\n",
        words("before"),
        words("always"),
        words("after")
    );
    let sr = configured(&jobs);
    let file = sr.write("vars", "export MYDB_URL=\"of the file\"\nSTRONGROOM_PASSPHRASE=f\nAWS_SECRET_ACCESS_KEY=f\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let text = sr.read("strongroom.toml");
    sr.write("strongroom.toml", format!("env_file = \"{}\"\n{text}", file.display()));
    let mut command = sr.command(&RUN);
    let output = command.env("AWS_SECRET_ACCESS_KEY", "hunter2").output().unwrap();
    said(0, &RUN, &output);
    assert_eq!(
        seen(&sr),
        ["before of the file none none none", "after of the file of x none none", "always of the file none none none"]
    );
}

/// Hooks that say what they are and what they know.
const NOTED: &str = r#"
before = "echo $STRONGROOM_HOOK >> FOLDER/seen"
after = "echo $STRONGROOM_HOOK $STRONGROOM_OUTCOME >> FOLDER/seen"
on_failure = "echo $STRONGROOM_HOOK $STRONGROOM_OUTCOME >> FOLDER/seen"
always = "echo $STRONGROOM_HOOK $STRONGROOM_OUTCOME >> FOLDER/seen"
"#;

/// DSS-14, IDP-1: a job's hooks frame all its sources; a source's own frame it alone. Both know what came of it.
#[test]
fn hooks_run_in_order_and_know_what_they_frame() {
    let sr = configured(
        r#"
[jobs.dss]
before = "echo $STRONGROOM_HOOK $STRONGROOM_JOB ${STRONGROOM_SOURCE-none} ${STRONGROOM_OUTCOME-none} {job} >> FOLDER/seen"
after = "echo $STRONGROOM_HOOK $STRONGROOM_OUTCOME $STRONGROOM_BYTES $STRONGROOM_SNAPSHOTS >> FOLDER/seen"
always = "echo $STRONGROOM_HOOK [$STRONGROOM_ERROR] $STRONGROOM_DURATION_S $STRONGROOM_BYTES_STORED >> FOLDER/seen"
on_failure = "echo never >> FOLDER/seen"
[jobs.dss.sources.one]
kind = "command"
file = "one"
command = "echo read one >> FOLDER/seen; echo 1234"
before = "echo $STRONGROOM_HOOK $STRONGROOM_JOB/$STRONGROOM_SOURCE $STRONGROOM_TYPE $STRONGROOM_HOST $WORD >> FOLDER/seen; cat"
always = "echo $STRONGROOM_HOOK $STRONGROOM_OUTCOME $STRONGROOM_BYTES >> FOLDER/seen"
env = { WORD = "for {source}" }
[jobs.dss.sources.two]
kind = "command"
file = "two"
command = "echo read two >> FOLDER/seen; echo 1"
after = "echo \"${STRONGROOM_PASSPHRASE-none} ${AWS_SECRET_ACCESS_KEY-none} ${WORD-none}\" >> FOLDER/seen; echo told"
"#,
    );
    let mut command = sr.command(&RUN);
    let output = command.env("AWS_SECRET_ACCESS_KEY", "hunter2").env("STRONGROOM_HOST", "db1").output().unwrap();
    let text = said(0, &RUN, &output);
    assert!(text.contains("note: hook `after` of source dss/two: told"), "{text}");
    let lines = seen(&sr);
    let ids: Vec<String> = sr
        .expect(0, &["snapshots", "--json"])
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        lines[..8],
        [
            "before dss none none {job}",
            "before dss/one Daily db1 for one",
            "read one",
            "always complete 5",
            "read two",
            "none none none",
            &format!("after complete 7 {}", ids.join(" ")),
            &lines[7],
        ]
    );
    assert!(lines.len() == 8 && lines[7].starts_with("always [] "), "{lines:?}");
    assert_ne!(lines[7].rsplit(' ').next(), Some("0"), "bytes were stored");
    assert!(debts(&sr).is_empty());
}

/// The table of the guide: which hooks run after what, and how the run ends.
#[test]
fn each_outcome_has_its_hooks_and_its_exit_code() {
    let good = r#"good = { kind = "command", file = "g", command = "echo x" }"#;
    let bad = r#"bad = { kind = "command", file = "b", command = "exit 7" }"#;
    let fails = NOTED
        .replace("before = \"", "before = \"false; ")
        .replace("before = \"false; echo", "before = \"false && echo");
    for (hooks, sources, code, expected) in [
        (NOTED, vec![good], 0, vec!["before", "after complete", "always complete"]),
        (NOTED, vec![good, bad], 3, vec!["before", "on_failure partial", "always partial"]),
        (NOTED, vec![bad], 1, vec!["before", "on_failure failed", "always failed"]),
        (fails.as_str(), vec![good], 1, vec!["on_failure failed", "always failed"]),
    ] {
        let sr = configured(&format!("[jobs.a]\n{hooks}\n[jobs.a.sources]\n{}\n", sources.join("\n")));
        let text = run_jobs(&sr, code);
        assert_eq!(seen(&sr), expected, "{text}");
        assert!(debts(&sr).is_empty());
        // The same around a source. What fails there is a failure of the source.
        let own = format!("[jobs.a.sources.own]\nkind = \"command\"\nfile = \"g\"\n{hooks}");
        for (command, is_bad) in [("echo x", false), ("exit 7", true)] {
            let sr = configured(&format!("{own}command = \"{command}\"\n"));
            let mut expected = expected.clone();
            match (expected[0], is_bad) {
                ("before", false) => expected = vec!["before", "after complete", "always complete"],
                ("before", true) => expected = vec!["before", "on_failure failed", "always failed"],
                _ => {}
            }
            let code = if expected.contains(&"after complete") { 0 } else { 1 };
            let text = run_jobs(&sr, code);
            assert_eq!(seen(&sr), expected, "{text}");
        }
    }
}

/// DSS-2: if `before` fails, no source runs; the log of the repository and the journal say why.
#[test]
fn if_before_fails_nothing_is_read_and_the_log_says_why() {
    let sr = configured(&format!(
        "[jobs.a]\n{}\n[jobs.a.sources]\nx = {{ kind = \"command\", file = \"x\", command = \"echo read >> FOLDER/seen\" }}\n",
        NOTED.replace("before = \"", "before = \"echo --password=hunter2 does not stop; exit 4; ")
    ));
    let text = run_jobs(&sr, 1);
    assert!(text.contains("error: job a: hook `before` of job a failed with status 4: "), "{text}");
    assert_eq!(seen(&sr), ["on_failure failed", "always failed"]);
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
    let log = sr.expect(0, &["log"]);
    assert!(log.contains("failed") && log.contains("hook `before` of job a failed with status 4"), "{log}");
    let runs = sr.expect(0, &["runs", "--json"]);
    assert!(runs.contains("failed with status 4") && runs.contains("\"outcome\":\"failed\""), "{runs}");
    assert!(!log.contains("hunter2") && !runs.contains("hunter2"));
}

#[test]
fn a_hook_whose_time_is_over_has_failed() {
    let sr = configured(
        "[jobs.a]\nbefore = \"sleep 1000\"\nhook_timeout = \"1ms\"\n[jobs.a.sources]\nx = { kind = \"path\", paths = [\"FOLDER/d\"] }\n",
    );
    let text = run_jobs(&sr, 1);
    assert!(
        text.contains("hook `before` of job a took longer than its hook_timeout of 0.001 s, and was ended"),
        "{text}"
    );
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
}

/// What is saved stays saved; the exit code and the journal say that a hook failed.
#[test]
fn a_hook_that_fails_at_the_end_is_told_and_makes_a_problem() {
    let source = "[jobs.a.sources]\nx = { kind = \"path\", paths = [\"FOLDER/d\"] }\n";
    for hook in ["after", "always"] {
        let sr = configured(&format!("[jobs.a]\n{hook} = \"echo no; exit 5\"\n{source}"));
        let text = run_jobs(&sr, 3);
        assert!(text.contains(&format!("error: hook `{hook}` of job a failed with status 5: no")), "{text}");
        assert!(sr.expect(0, &["snapshots"]).contains("1 snapshot"));
        let runs = sr.expect(0, &["runs", "--json"]);
        assert!(runs.contains("\"outcome\":\"warnings\"") && runs.contains("failed with status 5"), "{runs}");
        assert_eq!(debts(&sr).len(), usize::from(hook == "always"));
    }
    let own = format!(
        "{}before = \"true\"\nafter = \"exit 5\"\n",
        source.replace("sources]\nx = {", "sources.x]\n").replace(", paths", "\npaths").replace(" }", "")
    );
    let sr = configured(&own);
    let text = run_jobs(&sr, 3);
    assert!(text.contains("error: a/x: hook `after` of source a/x failed with status 5"), "{text}");
}

/// `always` that fails stays owed, with how often it was tried; the next run tries it first, and pays when it can.
#[test]
fn what_fails_stays_owed_until_it_succeeds_or_is_discarded() {
    let sr = configured(
        "[jobs.a]\nalways = \"echo tried >> FOLDER/seen; test -e FOLDER/fixed\"\n\
         [jobs.a.sources]\nx = { kind = \"path\", paths = [\"FOLDER/d\"] }\n\
         [jobs.b]\nalways = \"false\"\n[jobs.b.sources]\nx = { kind = \"path\", paths = [\"FOLDER/d\"] }\n",
    );
    let text = run_jobs(&sr, 3);
    assert!(text.contains("it stays owed (id ") && text.contains("strongroom hooks --owed"), "{text}");
    let text = sr.expect(0, &["snapshots"]);
    assert!(text.contains("note: hook `always` of job a, job b is owed"), "{text}");
    sr.expect(1, &["hooks", "--owed"]);
    let all = debts(&sr);
    assert_eq!((all.len(), all[0]["tries"].as_u64(), all[0]["state"].as_str()), (2, Some(2), Some("owed")));
    assert!(all[0]["error"].as_str().unwrap().contains("status 1"));
    assert_eq!(seen(&sr), ["tried", "tried"]);
    sr.write("fixed", "");
    let id = all[1]["id"].as_str().unwrap();
    let text = sr.expect(0, &["hooks", "--discard", id]);
    assert!(text.contains("hook `always` of job b is not owed any more; it was not run"), "{text}");
    let text = sr.expect(1, &["hooks", "--discard", id]);
    assert!(text.contains(&format!("nothing with the id {id} is owed")), "{text}");
    sr.expect(0, &["run", "--config", "strongroom.toml", "a"]);
    assert_eq!(seen(&sr), ["tried", "tried"], "what was owed, and the run's own");
    assert!(debts(&sr).is_empty());
    // Two debts of the same command are paid by running it once.
    fs::remove_file(sr.at("fixed")).unwrap();
    sr.expect(3, &["run", "--config", "strongroom.toml", "a"]);
    sr.expect(3, &["run", "--config", "strongroom.toml", "a"]);
    assert_eq!(debts(&sr).len(), 2);
    sr.write("fixed", "");
    seen(&sr);
    sr.expect(0, &["run", "--config", "strongroom.toml", "a"]);
    assert_eq!(seen(&sr), ["tried", "tried"], "once for both that were owed, and the run's own");
    assert!(debts(&sr).is_empty());
}

/// A job that stops a service and reads it through a command.
const SERVICE: &str = r#"
[jobs.a]
before = "echo stop >> FOLDER/seen"
on_failure = "echo failure $STRONGROOM_OUTCOME >> FOLDER/seen"
always = ". FOLDER/at.sh; at always; echo start $STRONGROOM_OUTCOME $WORD >> FOLDER/seen"
[jobs.a.sources.x]
kind = "command"
file = "x"
command = "echo x; . FOLDER/at.sh; at reading"
[jobs.b.sources.x]
kind = "path"
paths = ["FOLDER/d"]
"#;

/// DSS-2: "start not run if the script dies". It is owed, others say so, and it is run once.
#[test]
fn a_run_that_was_killed_owes_always_and_it_is_run_once() {
    let sr = configured(SERVICE);
    let child = run_until(&sr, "reading");
    // While the run goes on, the hook is listed, and nobody runs it.
    let all = debts(&sr);
    assert_eq!((all.len(), all[0]["state"].as_str(), all[0]["job"].as_str()), (1, Some("held"), Some("a")));
    assert!(sr.expect(0, &["hooks"]).contains("its run goes on"));
    let text = sr.expect(0, &["hooks", "--owed"]);
    assert!(text.contains("no hooks of killed runs are owed"), "{text}");
    assert!(!sr.expect(0, &["runs"]).contains("owed"));
    let folder = sr.at("home/.local/state/strongroom/jobs/owed");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().permissions().mode());
    assert!(files.into_iter().all(|mode| mode & 0o777 == 0o600));
    kill(child);
    for command in [&["snapshots"][..], &["runs"], &["config", "check", "--config", "strongroom.toml"]] {
        let text = sr.expect(0, command);
        assert_eq!(text.matches("note: hook `always` of job a is owed").count(), 1, "{text}");
    }
    assert_eq!(debts(&sr)[0]["state"], "owed");
    assert_eq!(seen(&sr), ["stop"]);
    // As ExecStopPost of a unit: without configuration, repository and passphrase.
    fs::rename(sr.at("repo"), sr.at("elsewhere")).unwrap();
    let mut command = sr.command(&["hooks", "--owed", "--json"]);
    let output = command.env_remove("STRONGROOM_REPO").env_remove("STRONGROOM_PASSPHRASE").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), json["state"].as_str()), (Some(0), Some("done")), "{json}");
    assert_eq!(seen(&sr), ["start interrupted"]);
    sr.expect(0, &["hooks", "--owed"]);
    assert_eq!(seen(&sr), Vec::<String>::new());
    assert!(debts(&sr).is_empty());
}

/// The next run of any job pays first, and is whole itself.
#[test]
fn the_next_run_pays_what_an_earlier_one_owes() {
    let sr = configured(SERVICE);
    kill(run_until(&sr, "reading"));
    let text = sr.expect(0, &["run", "--config", "strongroom.toml", "b"]);
    assert!(text.contains("note: hook `always` of job a is owed since ") && text.contains("it runs now"), "{text}");
    assert_eq!(seen(&sr), ["stop", "start interrupted"]);
    assert!(debts(&sr).is_empty());
}

/// A signal stops the sources; the hooks of the end run all the same. A second one ends the program at once.
#[test]
fn a_signal_stops_sources_and_the_hooks_of_the_end_run() {
    let sr = configured(SERVICE);
    let child = run_until(&sr, "reading");
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    said(130, &["run"], &output);
    assert_eq!(seen(&sr), ["stop", "failure interrupted", "start interrupted"]);
    assert!(debts(&sr).is_empty());
    let mut child = run_until(&sr, "always");
    let status = loop {
        // Signals that come together count as one.
        terminate(&child);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(130));
    assert_eq!(debts(&sr)[0]["state"], "owed");
    assert_eq!(seen(&sr), ["stop"]);
    sr.expect(0, &["hooks", "--owed"]);
    assert_eq!(seen(&sr), ["start interrupted"]);
}

/// What nobody can read is named, and stops nothing else.
#[test]
fn a_torn_or_foreign_file_is_named_and_others_are_paid() {
    let sr = configured(SERVICE);
    kill(run_until(&sr, "reading"));
    let torn = sr.write("home/.local/state/strongroom/jobs/owed/torn.json", "{\"version\":1,\"id\":\"4");
    fs::set_permissions(&torn, fs::Permissions::from_mode(0o600)).unwrap();
    let warning =
        format!("{} may be a hook that is owed, and cannot be read: its first line is cut off", torn.display());
    let text = sr.expect(1, &["hooks", "--owed"]);
    assert!(text.contains(&warning) && text.contains("hook `always` of job a: done"), "{text}");
    assert_eq!(seen(&sr), ["stop", "start interrupted"]);
    assert!(sr.expect(3, &["hooks"]).contains(&warning) && sr.expect(0, &["snapshots"]).contains(&warning));
    assert!(run_jobs(&sr, 3).contains(&warning) && torn.exists());
}

/// What cannot be written down is not begun.
#[test]
fn nothing_is_begun_if_what_is_owed_cannot_be_written_down() {
    let sr = configured(SERVICE);
    sr.write("home/.local/state/strongroom/jobs/owed", "a file");
    let text = sr.expect(1, &["run", "--config", "strongroom.toml", "a"]);
    assert!(
        text.contains("nothing was begun, because nobody would know that hook `always` of job a must run"),
        "{text}"
    );
    assert_eq!(seen(&sr), ["failure failed", "start failed"]);
}

/// As root, hooks run as the user that is named; one that does not exist is refused before anything is begun.
#[test]
fn hooks_run_as_the_user_that_is_named() {
    assert!(rustix::process::geteuid().is_root(), "this test changes the user: run it as root");
    let job = |user: &str| {
        format!(
            "[jobs.a]\nrun_as = \"{user}\"\nbefore = \"id -un; pwd; echo $HOME\"\nalways = \"id -un\"\n\
             [jobs.a.sources]\nx = {{ kind = \"path\", paths = [\"FOLDER/d\"] }}\n"
        )
    };
    let text = run_jobs(&configured(&job("nobody")), 0);
    for line in [
        "`before` of job a: nobody",
        "`always` of job a: nobody",
        "`before` of job a: /\n",
        "`before` of job a: /nonexistent",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let sr = configured(&job("nobody-at-all"));
    let text = run_jobs(&sr, 1);
    assert!(text.contains("there is no user nobody-at-all"), "{text}");
    assert!(debts(&sr).is_empty());
}

/// A data directory whose service is down while it is read, with a database of its own hooks.
const DSS: &str = r#"
[jobs.dss]
before = ". FOLDER/at.sh; at before; FOLDER/dss/bin/dss stop; at stopped"
after = ". FOLDER/at.sh; at after"
always = ". FOLDER/at.sh; at always; FOLDER/dss/bin/dss start; at started"
[jobs.dss.sources.data]
kind = "path"
paths = ["FOLDER/dss"]
before = ". FOLDER/at.sh; at data-before"
always = ". FOLDER/at.sh; at data-always"
[jobs.dss.sources.govern]
kind = "command"
file = "govern.sql"
command = ". FOLDER/at.sh; at govern; echo dump; at govern-end"
before = ". FOLDER/at.sh; at govern-before"
after = ". FOLDER/at.sh; at govern-after"
"#;

/// DSS-2: start is always called, also if the run is killed, wherever it is. It is paid by `hooks --owed` or by the next
/// run, which is whole.
#[test]
fn dss_is_started_again_wherever_the_run_is_killed() {
    let points = [
        "before",
        "stopped",
        "data-before",
        "data-always",
        "govern-before",
        "govern",
        "govern-end",
        "govern-after",
        "after",
        "always",
        "started",
    ];
    let sr = configured(DSS);
    let dss = sr.write("dss/bin/dss", "#!/bin/sh\necho $1 >> \"$(dirname $0)/../run/state\"\n");
    fs::set_permissions(dss, fs::Permissions::from_mode(0o755)).unwrap();
    sr.write("dss/run/state", "start\n");
    let state = || sr.read("dss/run/state").lines().map(str::to_owned).collect::<Vec<_>>();
    for (n, point) in points.into_iter().enumerate() {
        let child = run_until(&sr, point);
        let is_down = !matches!(point, "before" | "started");
        assert_eq!(state().last().unwrap() == "stop", is_down, "{point}: {:?}", state());
        kill(child);
        let before = state().len();
        if n % 2 == 0 {
            sr.expect(0, &["hooks", "--owed"]);
            assert_eq!(state()[before..], ["start"], "{point}");
        } else {
            run_jobs(&sr, 0);
            assert_eq!(state()[before..], ["start", "stop", "start"], "{point}");
        }
        assert!(debts(&sr).is_empty(), "{point}");
    }
    run_jobs(&sr, 0);
    assert_eq!(state().last().unwrap(), "start");
    assert_eq!(sr.expect(0, &["cat", "latest:govern.sql", "--source", "dss/govern"]), "dump\n");
}
