//! Fourteen nights, from Monday, 26 October to Sunday, 8 November 2026.

use std::collections::BTreeSet;
use std::fs;

use super::{Machine, assert_lines, local_ms, plain};
use crate::cli::exit::Exit;

const JOBS: &str = r#"
min_ratio = 0.5
[jobs.mydb]
schedule = "daily 01:30"
label = "mydb-%Y-%m-%d"
[jobs.mydb.for_each]
command = "cat FOLDER/list.csv"
[jobs.mydb.for_each.with]
kind = "command"
file = "{source}.sql"
command = "[ ! -e FOLDER/kill ] || kill -9 $PPID $$; cat FOLDER/dumps/$STRONGROOM_SOURCE"
[jobs.mydb.sources]
site = { kind = "path", paths = ["FOLDER/site"] }
[jobs.mydb-weekly]
like = "mydb"
type = "Weekly"
schedule = "weekly sat 03:00"
[jobs.dss]
schedule = "mon-fri 06:15"
[jobs.dss.sources]
data = { kind = "path", paths = ["FOLDER/data"] }
govern = { kind = "command", file = "govern.sql", command = "cat FOLDER/dumps/govern" }
"#;

/// What the databases hold in this night. A dump has 2000 bytes.
fn dumps(machine: &Machine, night: u32, names: &[&str]) {
    for name in names {
        machine.write(&format!("dumps/{name}"), format!("{name:<7}, night {night:04}\n").repeat(100));
    }
}

fn list(machine: &Machine, names: &[&str]) {
    machine.write("list.csv", format!("name\n{}\n", names.join("\n")));
}

/// Lives through the fourteen nights.
fn nights() -> Machine {
    let machine = Machine::new("2026-10-26 00:00", JOBS);
    machine.write("site/index.html", "hello");
    machine.write("data/config.json", "{}");
    list(&machine, &["crm", "shop"]);
    let all = ["crm", "shop", "wiki", "govern"];
    let day = |night: u32, until: &str| {
        dumps(&machine, night, &all);
        machine.on_until(until)
    };
    let quiet: [&str; 0] = [];
    assert_eq!(day(26, "2026-10-26 20:00"), quiet);
    // All of Tuesday, and Wednesday's slot.
    machine.off_until("2026-10-28 05:00");
    assert_eq!(day(28, "2026-10-29 00:00"), quiet);
    // On Thursday the list is empty, and Govern's database does not answer.
    list(&machine, &[]);
    dumps(&machine, 29, &all);
    fs::remove_file(machine.at("dumps/govern")).unwrap();
    let wrong = machine.on_until("2026-10-30 00:00");
    assert_eq!(wrong, ["2026-10-29 01:30:00 Failed", "2026-10-29 06:15:00 Problems"]);
    // A database that came.
    list(&machine, &["crm", "shop", "wiki"]);
    assert_eq!(day(30, "2026-10-31 00:00"), quiet);
    assert_eq!(day(31, "2026-11-01 00:00"), quiet);
    // In this night half past one comes twice.
    assert_eq!(day(1, "2026-11-02 00:00"), quiet);
    assert_eq!(day(2, "2026-11-02 14:00"), quiet);
    machine.expect(Exit::Done, &["run", "mydb", "--type", "User"]);
    assert_eq!(machine.on_until("2026-11-02 15:00"), quiet);
    machine.expect(Exit::Done, &["run", "mydb/crm"]);
    assert_eq!(machine.on_until("2026-11-03 00:00"), quiet);
    assert_eq!(day(3, "2026-11-04 00:00"), quiet);
    // A crash.
    assert_eq!(day(4, "2026-11-04 01:30"), quiet);
    machine.write("kill", "");
    machine.killed();
    fs::remove_file(machine.at("kill")).unwrap();
    assert_eq!(machine.on_until("2026-11-05 00:00"), quiet);
    // A dump that shrank.
    dumps(&machine, 5, &all);
    machine.write("dumps/crm", "crm    , night 0005\n".repeat(40));
    assert_eq!(machine.on_until("2026-11-06 00:00"), ["2026-11-05 01:30:00 Problems"]);
    // A database that went.
    list(&machine, &["crm", "wiki"]);
    assert_eq!(day(6, "2026-11-07 00:00"), quiet);
    assert_eq!(day(7, "2026-11-08 00:00"), quiet);
    assert_eq!(day(8, "2026-11-08 12:00"), quiet);
    machine
}

/// What `runs` lists, without the ids. On Wednesday, what was missed is made up: once for each job. A cell has 120
/// characters at the most; `show` tells all.
const RUNS: &str = "
2026-10-26 01:30:00  mydb  Daily  complete  0.00 s  mydb/site, mydb/crm, mydb/shop
2026-10-26 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-10-28 05:00:00  mydb  Daily  complete  0.00 s  mydb/site, mydb/crm, mydb/shop
2026-10-28 05:00:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-10-28 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-10-29 01:30:00  mydb  Daily  failed  0.00 s  job `mydb`: the list of `for_each`: the list is empty
2026-10-29 06:15:00  dss  Daily  partial  0.00 s  dss/govern (failed: the command of govern.sql failed with status 1), dss/data
2026-10-30 01:30:00  mydb  Daily  complete  0.00 s  4 complete
2026-10-30 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-10-31 01:30:00  mydb  Daily  complete  0.00 s  4 complete
2026-10-31 03:00:00  mydb-weekly  Weekly  complete  0.00 s  4 complete
2026-11-01 01:30:00 -07:00  mydb  Daily  complete  0.00 s  4 complete
2026-11-02 01:30:00  mydb  Daily  complete  0.00 s  4 complete
2026-11-02 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-11-02 14:00:00  mydb  User  complete  0.00 s  4 complete
2026-11-02 15:00:00  mydb/crm  Daily  complete  0.00 s  mydb/crm
2026-11-03 01:30:00  mydb  Daily  complete  0.00 s  4 complete
2026-11-03 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-11-04 01:30:00  mydb  Daily  crashed  mydb/crm (not finished), mydb/shop (not finished), mydb/wiki (not finished), mydb/site
2026-11-04 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-11-05 01:30:00  mydb  Daily  warnings  0.00 s  mydb/crm (warnings: mydb/crm has 800 bytes, 40 % of its usual 2000: that is less than min_ratio = 0.5 allows), mydb/s...
2026-11-05 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-11-06 01:30:00  mydb  Daily  complete  0.00 s  mydb/site, mydb/crm, mydb/wiki
2026-11-06 06:15:00  dss  Daily  complete  0.00 s  dss/data, dss/govern
2026-11-07 01:30:00  mydb  Daily  complete  0.00 s  mydb/site, mydb/crm, mydb/wiki
2026-11-07 03:00:00  mydb-weekly  Weekly  complete  0.00 s  mydb/site, mydb/crm, mydb/wiki
2026-11-08 01:30:00  mydb  Daily  complete  0.00 s  mydb/site, mydb/crm, mydb/wiki
";

/// Runs for another slot than the moment at which they began, and runs for none.
const OTHER_SLOTS: [(&str, &str, Option<&str>); 4] = [
    ("2026-10-28 05:00", "mydb", Some("2026-10-28 01:30")),
    ("2026-10-28 05:00", "dss", Some("2026-10-27 06:15")),
    ("2026-11-02 14:00", "mydb", None),
    ("2026-11-02 15:00", "mydb", None),
];

/// Whole sets fill the places of days and weeks; partial ones fill none. The set of 5 November has the last dump of `shop`,
/// which went. Runs of a user, and of one source alone, stand in groups of their own.
const FORGET: &str = "
host db1, job dss, type Daily
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-06 06:15:00  daily, weekly, newest of its group
  keep  ID  2026-11-06 06:15:00  daily, weekly, newest of its group
  keep  ID  2026-11-05 06:15:00  daily
  keep  ID  2026-11-05 06:15:00  daily
  keep  ID  2026-11-04 06:15:00  daily
  keep  ID  2026-11-04 06:15:00  daily
  forget  ID  2026-11-03 06:15:00  no rule keeps it
  forget  ID  2026-11-03 06:15:00  no rule keeps it
  forget  ID  2026-11-02 06:15:00  no rule keeps it
  forget  ID  2026-11-02 06:15:00  no rule keeps it
  keep  ID  2026-10-30 06:15:00  weekly
  keep  ID  2026-10-30 06:15:00  weekly
  forget  ID  2026-10-29 06:15:00  not successful, and a newer one is
  forget  ID  2026-10-28 06:15:00  no rule keeps it
  forget  ID  2026-10-28 06:15:00  no rule keeps it
  forget  ID  2026-10-28 05:00:00  no rule keeps it
  forget  ID  2026-10-28 05:00:00  no rule keeps it
  forget  ID  2026-10-26 06:15:00  no rule keeps it
  forget  ID  2026-10-26 06:15:00  no rule keeps it
host db1, job mydb, type Daily
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-08 01:30:00  daily, weekly, newest of its group
  keep  ID  2026-11-08 01:30:00  daily, weekly, newest of its group
  keep  ID  2026-11-08 01:30:00  daily, weekly, newest of its group
  keep  ID  2026-11-07 01:30:00  daily
  keep  ID  2026-11-07 01:30:00  daily
  keep  ID  2026-11-07 01:30:00  daily
  keep  ID  2026-11-06 01:30:00  daily
  keep  ID  2026-11-06 01:30:00  daily
  keep  ID  2026-11-06 01:30:00  daily
  keep  ID  2026-11-05 01:30:00  newest of source mydb/shop
  keep  ID  2026-11-05 01:30:00  newest of source mydb/shop
  keep  ID  2026-11-05 01:30:00  newest of source mydb/shop
  keep  ID  2026-11-05 01:30:00  newest of source mydb/shop
  forget  ID  2026-11-04 01:30:00  not successful, and a newer one is
  forget  ID  2026-11-03 01:30:00  no rule keeps it
  forget  ID  2026-11-03 01:30:00  no rule keeps it
  forget  ID  2026-11-03 01:30:00  no rule keeps it
  forget  ID  2026-11-03 01:30:00  no rule keeps it
  forget  ID  2026-11-02 01:30:00  no rule keeps it
  forget  ID  2026-11-02 01:30:00  no rule keeps it
  forget  ID  2026-11-02 01:30:00  no rule keeps it
  forget  ID  2026-11-02 01:30:00  no rule keeps it
  keep  ID  2026-11-01 01:30:00 -07:00  weekly
  keep  ID  2026-11-01 01:30:00 -07:00  weekly
  keep  ID  2026-11-01 01:30:00 -07:00  weekly
  keep  ID  2026-11-01 01:30:00 -07:00  weekly
  forget  ID  2026-10-31 01:30:00  no rule keeps it
  forget  ID  2026-10-31 01:30:00  no rule keeps it
  forget  ID  2026-10-31 01:30:00  no rule keeps it
  forget  ID  2026-10-31 01:30:00  no rule keeps it
  forget  ID  2026-10-30 01:30:00  no rule keeps it
  forget  ID  2026-10-30 01:30:00  no rule keeps it
  forget  ID  2026-10-30 01:30:00  no rule keeps it
  forget  ID  2026-10-30 01:30:00  no rule keeps it
  forget  ID  2026-10-28 05:00:00  no rule keeps it
  forget  ID  2026-10-28 05:00:00  no rule keeps it
  forget  ID  2026-10-28 05:00:00  no rule keeps it
  forget  ID  2026-10-26 01:30:00  no rule keeps it
  forget  ID  2026-10-26 01:30:00  no rule keeps it
  forget  ID  2026-10-26 01:30:00  no rule keeps it
host db1, job mydb, type User
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-02 14:00:00  daily, weekly, newest of its group
  keep  ID  2026-11-02 14:00:00  daily, weekly, newest of its group
  keep  ID  2026-11-02 14:00:00  daily, weekly, newest of its group
  keep  ID  2026-11-02 14:00:00  daily, weekly, newest of its group
host db1, job mydb, only mydb/crm, type Daily
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-02 15:00:00  daily, weekly, newest of its group
host db1, job mydb-weekly, type Weekly
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-07 03:00:00  daily, weekly, newest of its group
  keep  ID  2026-11-07 03:00:00  daily, weekly, newest of its group
  keep  ID  2026-11-07 03:00:00  daily, weekly, newest of its group
  keep  ID  2026-10-31 03:00:00  daily, weekly
  keep  ID  2026-10-31 03:00:00  daily, weekly
  keep  ID  2026-10-31 03:00:00  daily, weekly
  keep  ID  2026-10-31 03:00:00  daily, weekly
would keep 37 snapshots and forget 34 snapshots, in 5 groups
";

/// The run of this moment and job, as `show` has it.
fn show_run(machine: &Machine, began: &str, job: &str, exit: Exit) -> String {
    let at = jiff::Timestamp::from_millisecond(local_ms(began)).unwrap().to_string();
    let runs = machine.json(&["runs", job]);
    let found: Vec<_> = runs.iter().filter(|run| run["began"] == at.as_str()).collect();
    assert_eq!(found.len(), 1, "{began} {job}");
    let text = machine.expect(exit, &["show", found[0]["run"].as_str().unwrap(), "--exit-state"]);
    plain(&text, &machine.folder)
}

/// The set with this label, or of this moment, as `show` has it; each member begins with an empty line.
fn show_set(machine: &Machine, time: &str, exit: Exit) -> String {
    let at = jiff::Timestamp::from_millisecond(local_ms(time)).unwrap().to_string();
    let all = machine.json(&["snapshots"]);
    let member = all.iter().find(|s| s["time"] == at.as_str() && s["job"] == "mydb").unwrap();
    let text = machine.expect(exit, &["show", &member["set"].as_str().unwrap()[..12], "--exit-state"]);
    plain(&text, &machine.folder)
}

/// MYDB-6, MYDB-7, MYDB-16, DSS-9, CC-5, CC-8: what was due ran once, what was missed was made up once, and what went
/// wrong is told as it was; types do not push each other out.
#[test]
fn fourteen_nights_are_told_and_kept_as_they_were() {
    let machine = nights();
    let before = plain(&machine.expect(Exit::Done, &["runs"]), &machine.folder);
    let (heading, runs) = before.split_once('\n').unwrap();
    assert_eq!(heading, "RUN  BEGAN (America/Los_Angeles)  JOB  TYPE  OUTCOME  TOOK  SOURCES");
    assert_lines(&runs.replace("ID  ", ""), RUNS);
    slots(&machine);
    shown(&machine);
    let rules = ["--keep-daily", "3", "--keep-weekly", "2"];
    let dry = machine.expect(Exit::Done, &[&["forget"], &rules[..], &["--dry-run"]].concat());
    assert_lines(&plain(&dry, &machine.folder), FORGET);
    let text = machine.expect(Exit::Done, &[&["forget"], &rules[..]].concat());
    assert!(text.ends_with("kept 37 snapshots and forgot 34 snapshots, in 5 groups\n"), "{text}");
    let kept = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("  keep "));
        let ids = lines.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned);
        ids.collect::<BTreeSet<String>>()
    };
    let left = machine.json(&["snapshots"]);
    let left = left.iter().map(|s| s["id"].as_str().unwrap()[..8].to_owned()).collect();
    assert_eq!(kept(&dry), left, "the dry run said what goes");
    let again = machine.expect(Exit::Done, &[&["forget"], &rules[..]].concat());
    assert_lines(&again, "kept 37 snapshots in 5 groups; nothing to forget");
    let after = plain(&machine.expect(Exit::Done, &["runs"]), &machine.folder);
    assert_lines(&after, &before);
}

/// Each run that was due is for the slot at which it began, but for those that are named.
fn slots(machine: &Machine) {
    let mut served = BTreeSet::new();
    for run in machine.json(&["runs"]) {
        let ms = |key: &str| run[key].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let (began, job) = (ms("began").unwrap(), run["job"].as_str().unwrap().to_owned());
        let other = OTHER_SLOTS.iter().find(|(at, of, _)| local_ms(at) == began && *of == job);
        let wanted = other.map_or(Some(began), |(_, _, slot)| slot.map(local_ms));
        assert_eq!(ms("slot"), wanted, "{run}");
        assert!(ms("slot").is_none_or(|slot| served.insert((job, slot))), "twice: {run}");
    }
}

fn shown(machine: &Machine) {
    assert_lines(
        &show_run(machine, "2026-10-28 05:00", "dss", Exit::Command(0)),
        "run  ID
job  dss (Daily)
outcome  complete
began  2026-10-28 05:00:00 (America/Los_Angeles)
due  2026-10-27 06:15:00 (America/Los_Angeles)
ended  2026-10-28 05:00:00 (America/Los_Angeles), after 0.00 s
source  dss/data: complete
source  dss/govern: complete",
    );
    assert_lines(
        &show_run(machine, "2026-10-29 01:30", "mydb", Exit::Command(3)),
        "run  ID
job  mydb (Daily)
outcome  failed
began  2026-10-29 01:30:00 (America/Los_Angeles)
due  2026-10-29 01:30:00 (America/Los_Angeles)
ended  2026-10-29 01:30:00 (America/Los_Angeles), after 0.00 s
error  job `mydb`: the list of `for_each`: the list is empty",
    );
    assert_lines(
        &show_run(machine, "2026-10-29 06:15", "dss", Exit::Command(2)),
        "run  ID
job  dss (Daily)
outcome  partial
began  2026-10-29 06:15:00 (America/Los_Angeles)
due  2026-10-29 06:15:00 (America/Los_Angeles)
ended  2026-10-29 06:15:00 (America/Los_Angeles), after 0.00 s
source  dss/data: complete
source  dss/govern: failed
  the command of govern.sql failed with status 1
  cat: FOLDER/dumps/govern: No such file or directory",
    );
    shown_later(machine);
}

/// The runs of the second week.
fn shown_later(machine: &Machine) {
    assert_lines(
        &show_run(machine, "2026-11-04 01:30", "mydb", Exit::Command(3)),
        "run  ID
job  mydb (Daily)
outcome  crashed
began  2026-11-04 01:30:00 (America/Los_Angeles)
due  2026-11-04 01:30:00 (America/Los_Angeles)
source  mydb/site: complete
source  mydb/crm: not finished
source  mydb/shop: not finished
source  mydb/wiki: not finished",
    );
    assert_lines(
        &show_run(machine, "2026-11-05 01:30", "mydb", Exit::Command(0)),
        "run  ID
job  mydb (Daily)
outcome  warnings
began  2026-11-05 01:30:00 (America/Los_Angeles)
due  2026-11-05 01:30:00 (America/Los_Angeles)
ended  2026-11-05 01:30:00 (America/Los_Angeles), after 0.00 s
source  mydb/site: complete
source  mydb/crm: warnings
  mydb/crm has 800 bytes, 40 % of its usual 2000: that is less than min_ratio = 0.5 allows
source  mydb/shop: complete
source  mydb/wiki: complete",
    );
    let crashed = show_set(machine, "2026-11-04 01:30", Exit::Command(2));
    assert_lines(
        crashed.split("\n\n").next().unwrap(),
        "set  ID
host  db1
job  mydb (Daily)
time  2026-11-04 01:30:00 (America/Los_Angeles)
outcome  partial
label  mydb-2026-11-04
missing  mydb/crm
missing  mydb/shop
missing  mydb/wiki",
    );
    let shrunk = show_set(machine, "2026-11-05 01:30", Exit::Command(0));
    // How much was stored hangs on compression.
    let member = shrunk.split("\n\n").nth(2).unwrap();
    let lines: Vec<&str> = member.lines().filter(|line| !line.starts_with("content  1 file, 800 B; ")).collect();
    assert_lines(
        &lines.join("\n"),
        "snapshot  ID
source  mydb/crm
host  db1
time  2026-11-05 01:30:00 (America/Los_Angeles)
outcome  warnings
kind  command
finding  mydb/crm has 800 bytes, 40 % of its usual 2000: that is less than min_ratio = 0.5 allows",
    );
    let alone = show_set(machine, "2026-11-02 15:00", Exit::Command(0));
    assert_lines(
        alone.split("\n\n").next().unwrap(),
        "set  ID
host  db1
job  mydb (Daily)
only  mydb/crm
time  2026-11-02 15:00:00 (America/Los_Angeles)
outcome  complete
label  mydb-2026-11-02",
    );
}
