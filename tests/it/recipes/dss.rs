//! Dataiku DSS: a data directory and Govern's database, which are of one moment.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::dss_tree::DssTree;
use super::{KEEPER, Machine, Site, new_bytes};
use crate::servers::postgres::Postgres;

/// What is in these is left out; they themselves are saved.
const LEFT_OUT: [&str; 7] = ["tmp", "caches", "data-catalog", "run", "jobs", "scenarios", "diagnosis"];

/// What differs between a data directory and what came back of it, in what is saved. What DSS writes when it is started
/// is in `run`.
fn difference(one: &Path, other: &Path) -> String {
    let mut rsync = Command::new("rsync");
    rsync.args(["-naciXAHD", "--delete", "--modify-window=-1", "--exclude=/run", "--exclude=/_pre_migration_backup_*"]);
    rsync.args(LEFT_OUT.map(|folder| format!("--exclude=/{folder}/*")));
    let output = rsync.args([one, other].map(|at| format!("{}/", at.display()))).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy with all that a file has.
fn copied(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Govern's database, with the account of the recipe.
fn govern(site: &Site) -> Postgres {
    let server = Postgres::start();
    server.database(
        "govern",
        "create table artifacts (id int primary key, doc text); insert into artifacts values (0, 'first')",
    );
    server.sql("postgres", &site.block("sql", 0));
    server
}

fn configured(site: &mut Site, server: &Postgres) {
    site.stands_for("govern-db.example.org", &server.at());
    site.stands_for("dataiku:dataiku", "root:root");
    site.begin(&["dss1"]);
    site.machine("dss1").install("/etc/strongroom/govern.password", "a long password\n");
}

fn artifacts(server: &Postgres) -> String {
    server.sql("govern", "select count(*), md5(string_agg(doc, ',' order by id)) from artifacts")
}

/// DSS-2, DSS-7, DSS-8, DSS-9, DSS-10, DSS-11, DSS-14, DSS-15, DSS-16, S4, S8: by the recipe, DSS is stopped while its
/// data directory and Govern's database are saved, and started again. Both come back in place, of one night; the data
/// directory comes back in another place, and one project of it.
#[test]
fn s4_dss_and_govern_come_back_by_their_recipe() {
    let mut site = Site::new("Dataiku DSS with Govern", None);
    let server = govern(&site);
    configured(&mut site, &server);
    let (dss1, keeper) = (site.machine("dss1"), site.machine(KEEPER));
    let data = dss1.at("data/dss");
    let tree = DssTree::create(&data);
    let text = dss1.sh(0, &site.block("sh", 0));
    assert!(text.contains("no errors found") && text.contains("complete"), "{text}");
    assert_eq!(dss1.taken("services"), ["stop dataiku", "start dataiku"]);
    tree.night(1);
    server.sql("govern", "insert into artifacts select g, 'of the second day' from generate_series(1, 50) g");
    copied(&data, &dss1.at("expected"));
    let expected = artifacts(&server);
    dss1.sh(0, "strongroom run dss");
    let text = keeper.as_owner(0, &site.block("sh", 1));
    assert!(text.contains("kept") || text.contains("forgot"), "{text}");
    dss1.sh(0, &site.block("sh", 2));
    assert_eq!(dss1.taken("services").len(), 4);

    // An upgrade that went wrong: projects are gone, databases are torn, Govern is of another day.
    fs::remove_dir_all(data.join("config/projects/PROJ02")).unwrap();
    fs::write(data.join("databases/jobs.h2.db"), "torn").unwrap();
    fs::write(data.join("config/new.json"), "of the new version").unwrap();
    server.sql("govern", "update artifacts set doc = 'overwritten'");
    let text = dss1.as_owner(0, &site.block("sh", 3));
    assert!(text.contains("51 rows compared") && text.contains("before-"), "{text}");
    assert!(text.contains("installer.sh") && text.contains("of the same version"), "{text}");
    assert_eq!(dss1.taken("services"), ["stop dataiku", "stop dataiku", "start dataiku"]);
    assert_eq!(artifacts(&server), expected);
    assert_eq!(difference(&dss1.at("expected"), &data), "");
    for folder in LEFT_OUT.iter().filter(|folder| **folder != "run") {
        assert_eq!(fs::read_dir(data.join(folder)).unwrap().count(), 0, "{folder} is there and empty");
    }
    let kept = fs::read_dir(dss1.at("data")).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> = kept.filter(|path| path.display().to_string().contains("dss.before-")).collect();
    assert!(kept.len() == 1 && kept[0].join("config/new.json").exists(), "{kept:?}");
    // What the load replaced can come back.
    dss1.as_owner(0, &format!("strongroom load --rollback --to 'host={} user=postgres'", server.at()));
    assert_eq!(server.sql("govern", "select count(*) from artifacts where doc = 'overwritten'"), "51");

    let text = dss1.as_owner(0, &site.block("sh", 4));
    assert!(text.contains("never") || text.contains("older"), "{text}");
    assert_eq!(difference(&dss1.at("expected"), &dss1.at("data/dss-new")), "");
    dss1.as_owner(0, &site.block("sh", 5));
    assert_eq!(difference(&dss1.at("expected/config/projects/PROJ01"), &dss1.at("data/PROJ01")), "");
    site.assert_unseen("a long password", &["dss1/etc/strongroom/govern.password"]);
}

/// DSS-2: whatever fails while DSS is down, it is started again, and the set says what it lacks.
#[test]
fn s8_a_source_that_fails_leaves_dss_running_and_a_partial_set() {
    let mut site = Site::new("Dataiku DSS with Govern", None);
    let server = govern(&site);
    configured(&mut site, &server);
    let dss1 = site.machine("dss1");
    DssTree::create(&dss1.at("data/dss"));
    server.sql("postgres", "drop database govern");
    let text = dss1.sh(3, "strongroom run dss");
    assert!(text.contains("dss/govern") && text.contains("no such database"), "{text}");
    assert_eq!(dss1.taken("services"), ["stop dataiku", "start dataiku"]);
    let text = dss1.as_owner(0, "strongroom snapshots");
    assert!(text.contains("it has no snapshot of dss/govern"), "{text}");
    let restore = "strongroom restore --set latest --job dss --target back";
    dss1.as_owner(1, restore);
    let text = dss1.as_owner(3, &format!("{restore} --partial"));
    assert!(text.contains("restored"), "{text}");
    assert_eq!(fs::read_dir(dss1.at("root/back/dss")).unwrap().count(), 1);
}

/// DSS-3, DSS-13, S4: nights of a data directory. What is new in a night is a small part, each night comes back whole
/// without the others, and of what can be built again the bytes are told and both spellings are known.
#[test]
fn s4_nights_of_a_data_directory_share_most_and_each_comes_back() {
    let mut site = Site::new("Dataiku DSS with Govern", None);
    let server = govern(&site);
    configured(&mut site, &server);
    let (dss1, keeper) = (site.machine("dss1"), site.machine(KEEPER));
    let data = dss1.at("data/dss");
    let tree = DssTree::create(&data);
    let night = |machine: &Machine<'_>| machine.sh(0, "strongroom run dss/data_dir");
    for day in 1..=3 {
        night(&dss1);
        copied(&data, &dss1.at(&format!("night{day}")));
        tree.night(day);
    }
    let new = new_bytes(&keeper, "dss/data_dir");
    assert!(new.len() == 3 && new[1..].iter().all(|bytes| *bytes < new[0] * 4 / 10), "{new:?}");
    for day in 1..=3 {
        let target = format!("back{day}");
        let back = format!("strongroom restore latest~{}:{} --host dss1 --target {target}", 3 - day, data.display());
        keeper.as_owner(0, &back);
        let back = keeper.at(&format!("root/{target}"));
        assert_eq!(difference(&dss1.at(&format!("night{day}")), &back), "", "night {day}");
    }
    // What can be built again: its bytes are told, and it is left out in the way that DSS spells it.
    let backup = format!("strongroom backup {} --source rebuilt --exclude-preset dss:data", data.display());
    let text = keeper.as_owner(0, &backup);
    assert!(text.contains("dss:data") && text.contains("left out"), "{text}");
    let list = keeper.as_owner(0, "strongroom ls latest --source rebuilt");
    let has = |path: &str| list.lines().any(|line| line == format!("{}/{path}", data.display()));
    for folder in ["analysis-data", "saved_models", "managed_datasets"] {
        assert!(has(folder) && !list.contains(&format!("/{folder}/")), "{folder}: {list}");
    }
    assert!(has("config/projects/jobs/recipes/r00.py") && has("config/projects/tmp/recipes/r00.py"), "{list}");
}
