//! CommCare: PostgreSQL, CouchDB and blobs, each on its machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{KEEPER, Machine, Site, new_bytes};
use crate::harness::{difference, text};
use crate::program::noise;
use crate::servers::postgres::Postgres;

const HOSTS: [&str; 3] = ["pg1", "couch1", "blob1"];

fn write(machine: &Machine<'_>, path: &str, bytes: &[u8]) {
    let at = machine.at(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, bytes).unwrap();
}

fn server() -> Postgres {
    let server = Postgres::start();
    server.sql("postgres", "create role commcare login password 'x'");
    for (name, rows) in [("commcarehq", 2000), ("formplayer", 10)] {
        server.database(
            name,
            &format!(
                "create table t (a int primary key, v text); \
                 insert into t select g, repeat(md5(g::text), 4) from generate_series(1, {rows}) g; alter table t owner to commcare"
            ),
        );
    }
    server
}

const SUM: &str = "select count(*), md5(string_agg(t::text, ',' order by a)) from t";

fn begun(site: &mut Site, server: &Postgres) {
    site.stands_for("/usr/lib/postgresql/15/bin", &server.bin.display().to_string());
    site.stands_for("/var/run/postgresql", &server.at());
    site.stands_for("cchq:cchq", "nobody:nogroup");
    site.begin(&HOSTS);
}

const DATABASE: &str = "opt/data/couchdb2/shards/00000000-ffffffff/commcarehq.1.couch";

/// A database of CouchDB: records that are appended, each page with a header.
fn couch(pages: std::ops::Range<u64>) -> Vec<u8> {
    pages.flat_map(|page| text(page, 4096)).collect()
}

/// The databases of a CouchDB, with the index of one, and one that is not wanted.
fn fill_couch(machine: &Machine<'_>) {
    write(machine, DATABASE, &couch(0..600));
    write(machine, "opt/data/couchdb2/.shards/00000000-ffffffff/commcarehq.1_design/x.view", &couch(900..910));
    write(machine, "opt/data/couchdb2/shards/00000000-ffffffff/commcarehq__synclogs.2026.couch", &noise(300_000));
}

fn fill_blobs(machine: &Machine<'_>, blobs: std::ops::Range<u64>) {
    for n in blobs {
        write(machine, &format!("opt/data/blobdb/{:02x}/{n}", n % 16), &text(n, 1000 + n as usize % 3000));
    }
}

/// How many snapshots there are of each source, by type.
fn counts(keeper: &Machine<'_>) -> Vec<(String, String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for snapshot in keeper.objects("strongroom snapshots --json") {
        let word = |key: &str| snapshot[key].as_str().unwrap().to_owned();
        *counts.entry((word("source"), word("job_type"))).or_insert(0) += 1;
    }
    counts.into_iter().map(|((source, kind), count)| (source, kind, count)).collect()
}

/// CC-1, CC-8, CC-9, CC-11, CC-13, CC-14, CC-15, CC-16, CC-20: three machines have one file and save what is theirs. Two
/// daily and two weekly sets of each stay. CouchDB and the blobs come back by the recipe.
#[test]
fn couchdb_and_blobs_of_commcare_come_back_by_their_recipe() {
    let mut site = Site::new("CommCare", None);
    let server = server();
    begun(&mut site, &server);
    site.stands_for("/usr/local/bin/rewrite-node-ips", "rewrite-node-ips");
    site.program("rewrite-node-ips", "echo rewrite >> \"$ROOT/services\"");
    let (couch1, blob1, keeper) = (site.machine("couch1"), site.machine("blob1"), site.machine(KEEPER));
    fill_couch(&couch1);
    fill_blobs(&blob1, 0..600);
    for machine in [&couch1, &blob1] {
        let text = machine.sh(0, &site.block("sh", 0));
        assert!(text.contains("no errors found") && !text.contains("commcare/postgresql"), "{text}");
        (0..2).for_each(|_| drop(machine.sh(0, "strongroom run commcare")));
        (0..3).for_each(|_| drop(machine.sh(0, &site.block("sh", 1))));
    }
    keeper.as_owner(0, &site.block("sh", 2));
    let expected = ["blobdb", "couchdb2"]
        .map(|source| ["Daily", "Weekly"].map(|kind| (format!("commcare/{source}"), kind.to_owned(), 2)));
    assert_eq!(counts(&keeper), expected.concat());

    let data = couch1.at("opt/data/couchdb2");
    let database = fs::read(couch1.at(DATABASE)).unwrap();
    fs::write(couch1.at(DATABASE), "torn").unwrap();
    fs::write(data.join("shards/00000000-ffffffff/stale.couch"), "x").unwrap();
    couch1.as_owner(0, &site.block("sh", 5));
    assert_eq!(couch1.taken("services"), ["stop couchdb", "start couchdb", "rewrite"]);
    assert!(fs::read(couch1.at(DATABASE)).unwrap() == database);
    assert!(!data.join("shards/00000000-ffffffff/stale.couch").exists());
    assert!(data.join("shards/00000000-ffffffff/commcarehq__synclogs.2026.couch").exists(), "what was left out stays");

    blob1.as_owner(0, &site.block("sh", 6));
    let back = blob1.at("opt/data/blobdb-new");
    let owner = |path: &Path| fs::metadata(path).map(|stat| (stat.uid(), stat.gid())).unwrap();
    assert_eq!((owner(&back), owner(&back.join("00/0"))), ((65534, 65534), (65534, 65534)));
    let chown = std::process::Command::new("chown").args(["-R", "0:0"]).arg(&back).status().unwrap();
    assert!(chown.success());
    assert_eq!(difference(&blob1.at("opt/data/blobdb"), &back), "");
}

/// CC-6, CC-7, CC-10, CC-12, S5b: PostgreSQL is saved both ways. One database comes back from its dump beside the one
/// that is there, and the whole server as a directory that PostgreSQL verifies and starts with. Of the second night's
/// base backup a part is new.
#[test]
fn s5b_postgresql_of_commcare_comes_back_both_ways_by_its_recipe() {
    let mut site = Site::new("CommCare", None);
    let server = server();
    begun(&mut site, &server);
    let (pg1, keeper) = (site.machine("pg1"), site.machine(KEEPER));
    let text = pg1.sh(0, &site.block("sh", 0));
    assert!(text.contains("no errors found") && !text.contains("commcare/blobdb"), "{text}");
    server.sql("commcarehq", "update t set v = v || '.' where a % 100 = 0");
    pg1.sh(0, "strongroom run commcare");
    let new = new_bytes(&keeper, "commcare/cluster");
    assert!(new.len() == 2 && new[1] < new[0] / 2, "{new:?}");
    let expected = ["commcarehq", "formplayer"].map(|name| server.sql(name, SUM));

    server.sql("commcarehq", "delete from t where a > 5");
    let text = pg1.as_owner(0, &site.block("sh", 3));
    assert!(
        text.contains("2,000 rows compared") && text.contains("the old one is called commcarehq_before_"),
        "{text}"
    );
    assert_eq!(server.sql("commcarehq", SUM), expected[0]);

    let text = pg1.as_owner(0, &site.block("sh", 4));
    assert!(text.contains("backup successfully verified"), "{text}");
    let restored = server.of_directory(&pg1.at("var/lib/postgresql/restored"));
    assert_eq!(["commcarehq", "formplayer"].map(|name| restored.sql(name, SUM)), expected);
    // A dump that fails is a failure, and takes no good one away.
    server.sql("postgres", "alter role postgres nologin");
    drop(restored);
    pg1.sh(1, "strongroom run commcare");
    assert_eq!(new_bytes(&keeper, "commcare/cluster"), new);
}

/// CC-13, S6b: of a database that only grows, the end is stored; one that was compacted is stored anew, and that is told
/// by the figures. A copy that ends within a page comes back as it was read.
#[test]
fn s6b_a_database_of_couchdb_is_appended_to_compacted_and_cut_off() {
    let site = Site::new("CommCare", None);
    site.begin(&HOSTS);
    let (couch1, keeper) = (site.machine("couch1"), site.machine(KEEPER));
    fill_couch(&couch1);
    let night = |pages: &[u8]| {
        write(&couch1, DATABASE, pages);
        couch1.sh(0, "strongroom run commcare/couchdb2");
    };
    let grown = couch(0..610);
    let cut = &grown[..grown.len() - 1000];
    night(&couch(0..600));
    night(cut);
    night(&couch(2000..2600));
    let new = new_bytes(&keeper, "commcare/couchdb2");
    assert!(new[0] > 2_400_000 && new[1] < new[0] / 10 && new[2] > 2_400_000, "{new:?}");
    let path = couch1.at(DATABASE);
    keeper.as_owner(0, &format!("strongroom cat latest~1:{} > back", path.display()));
    assert!(fs::read(keeper.at("root/back")).unwrap() == cut);
}

/// CC-15, S6c: of thousands of blobs, the second night reads none that was there, and reads nothing if nothing is new.
#[test]
fn s6c_a_night_of_blobs_reads_what_is_new() {
    let site = Site::new("CommCare", None);
    site.begin(&HOSTS);
    let (blob1, keeper) = (site.machine("blob1"), site.machine(KEEPER));
    fill_blobs(&blob1, 0..3000);
    // How many files the night read.
    let night = || {
        blob1.sh(0, "strongroom run commcare");
        let all = keeper.objects("strongroom snapshots --json --source commcare/blobdb");
        all.last().unwrap()["figures"]["files_read"].as_u64().unwrap()
    };
    assert_eq!(night(), 3000);
    // Files of the moment in which they were read are read again: they might have changed within the same tick of the clock.
    assert!((0..100).any(|_| night() == 0), "files that do not change are read in every night");
    fill_blobs(&blob1, 3000..3020);
    assert_eq!(night(), 20);
}
