//! MyDB: servers of several kinds, which an admin database lists.

use std::fs;

use super::{KEEPER, Machine, Site};
use crate::s3::weed::Weed;
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::Postgres;

const SECRET: &str = "a long password";

/// A PostgreSQL of a user, with its administrator.
fn lab(rows: u32) -> Postgres {
    let server = Postgres::start();
    server.sql("postgres", "create role pgdba superuser login; create role app login password 'of the app'");
    for name in ["orders", "we ird"] {
        let sql = format!(
            "create table t (a int primary key, v text); insert into t select g, md5(g::text) from generate_series(1, {rows}) g; alter table t owner to app"
        );
        server.database(name, &sql);
    }
    server
}

/// A MariaDB of a user, with its administrator.
fn shop() -> MariaDb {
    let server = MariaDb::start();
    server.sql(&format!(
        "create user pgdba@'%' identified by '{SECRET}'; grant all on *.* to pgdba@'%' with grant option; \
         create database shop; create user reader@localhost identified by 'of the reader'; \
         grant select on shop.* to reader@localhost; \
         use shop; create table t (a int primary key, v text); insert into t select seq, md5(seq) from seq_1_to_700"
    ));
    server
}

/// A server of MongoDB is not to be had: stand-ins with its archive's beginning and its exit status.
fn mongo(site: &Site) {
    site.program("mongodump", r"printf '\155\342\231\201'; cat /dev/null; echo documents; cat ~/documents");
    site.program("mongorestore", "cat > ~/restored");
}

const SUM: &str = "select count(*), md5(string_agg(t::text, ',' order by a)) from t";

struct Servers {
    admin: Postgres,
    lab1: Postgres,
    shop: MariaDb,
}

/// The servers, their list, and backup1 with the recipe.
fn begun(site: &mut Site) -> Servers {
    let servers = Servers { admin: Postgres::start(), lab1: lab(300), shop: shop() };
    servers.admin.sql("postgres", "create role pgdba superuser login");
    servers.admin.database("mydb_admin", &site.block("sql", 0));
    servers.admin.sql("mydb_admin", &site.block("sql", 1));
    for (name, engine, host, freq) in [
        ("lab1", "Postgres", servers.lab1.at(), "Daily"),
        ("shop", "MariaDB", servers.shop.socket(), "Daily"),
        // The server of the list itself.
        ("lab2", "Postgres", servers.admin.at(), "Weekly"),
        ("old", "Postgres", "/none".to_owned(), "None"),
    ] {
        let line = format!("insert into backup_sources values ('{name}', '{engine}', '{host}', null, '{freq}')");
        servers.admin.sql("mydb_admin", &line);
    }
    site.stands_for("admin-db.example.org", &servers.admin.at());
    mongo(site);
    site.begin(&["backup1"]);
    let backup1 = site.machine("backup1");
    backup1.install("/opt/mydb/.backup_env", &site.block("sh", 0));
    backup1.install("/opt/mydb/pg_service.conf", &site.block("ini", 0));
    backup1.install("/root/documents", "of today\n");
    servers
}

/// What `runs` tells: type and outcome, oldest first.
fn runs(machine: &Machine<'_>) -> Vec<(String, String)> {
    let all = machine.objects("strongroom runs --json");
    let word = |run: &serde_json::Value, key: &str| run[key].as_str().unwrap().to_owned();
    all.iter().map(|run| (word(run, "job_type"), word(run, "outcome"))).collect()
}

/// MYDB-1, MYDB-3, MYDB-4, MYDB-5, MYDB-6, MYDB-7, MYDB-8, MYDB-10, MYDB-14, MYDB-15, MYDB-16, S8, S12: what the admin
/// database lists is saved by a key that may not delete; then all servers are gone, and come back one after the other;
/// no password is in anything that was printed or kept.
#[test]
fn what_the_admin_database_lists_comes_back_by_the_recipe_of_mydb() {
    let mut site = Site::new("MyDB", Some(Weed::start()));
    let servers = begun(&mut site);
    let (new, new_shop) = (Postgres::start(), MariaDb::start());
    for (word, real) in [
        ("host=new-admin.example.org", format!("host={}", new.at())),
        ("host=new-lab1.example.org", format!("host={}", new.at())),
        ("host=new-shop.example.org", format!("socket={}", new_shop.socket())),
    ] {
        site.stands_for(word, &real);
    }
    let (backup1, keeper) = (site.machine("backup1"), site.machine(KEEPER));
    let text = backup1.sh(0, &site.block("sh", 1));
    assert!(text.contains("no errors found"), "{text}");
    let complete = |kind: &str| (kind.to_owned(), "complete".to_owned());
    assert_eq!(runs(&backup1), ["Daily", "Weekly"].map(complete), "{text}");
    let sources = keeper.as_owner(0, "strongroom snapshots");
    for part in ["mydb/lab1", "mydb/lab2", "mydb/shop", "mydb/mydb_admin", "mydb/docs"] {
        assert!(sources.contains(part) && !sources.contains("mydb/old"), "{part}: {sources}");
    }
    let orders = servers.lab1.sql("orders", SUM);
    servers.lab1.sql("orders", "delete from t where a > 100");
    backup1.sh(0, &site.block("sh", 2));
    let by_user = servers.lab1.sql("orders", SUM);
    let checksum = "checksum table shop.t";
    let expected = servers.shop.sql(checksum);
    assert!(keeper.as_owner(0, &site.block("sh", 3)).contains("nothing to forget"));
    assert!(fs::read_to_string(backup1.at("var/log/strongroom.log")).unwrap().contains("job mydb (User)"));
    drop(servers);
    fs::remove_dir_all(backup1.at("root/.local")).unwrap();

    let text = keeper.as_owner(0, &site.block("sh", 4));
    assert!(text.contains("rows compared"), "{text}");
    assert_eq!(new.sql("mydb_admin", "select count(*) from backup_sources"), "4");
    assert_eq!(new.sql("orders", SUM), orders);
    assert_eq!(new.sql("we ird", "select tableowner from pg_tables where tablename = 't'"), "app");
    assert_eq!(new_shop.sql(checksum), expected);
    assert!(new_shop.sql("show grants for reader@localhost").contains("GRANT SELECT ON `shop`.*"));
    assert!(fs::read_to_string(keeper.at("root/restored")).unwrap().ends_with("documents\nof today\n"));
    new.sql("orders", "update t set v = 'newer'");
    keeper.as_owner(0, &site.block("sh", 5));
    let saved = keeper.objects("strongroom snapshots --json --source mydb/lab1");
    let of_user = saved.iter().find(|snapshot| snapshot["job_type"] == "User").expect("a user asked for it");
    let script = site.block("sh", 6).replace("4f21ab09", &of_user["set"].as_str().unwrap()[..8]);
    keeper.as_owner(0, &script);
    assert_eq!(new.sql("orders", "select distinct v from t"), "newer");
    assert_eq!([new.sql("orders_before", SUM), new.sql("orders_by_user", SUM)], [orders, by_user]);
    site.assert_unseen(SECRET, &["backup1/opt/mydb/.backup_env"]);
}

/// MYDB-7, MYDB-9, MYDB-12, MYDB-17: a server comes to the list and another goes; one does not answer, and the others
/// are saved. What is gone keeps its newest good copy, and an empty list is a failure.
#[test]
fn a_server_that_comes_is_saved_and_one_that_goes_keeps_its_copy() {
    let mut site = Site::new("MyDB", None);
    let servers = begun(&mut site);
    let (backup1, keeper) = (site.machine("backup1"), site.machine(KEEPER));
    backup1.sh(0, "strongroom run mydb mydb-weekly");
    let list = |sql: &str| servers.admin.sql("mydb_admin", sql);
    list("update backup_sources set freq = 'None' where name = 'lab1'");
    list("update backup_sources set freq = 'Daily' where name = 'lab2'");
    let text = backup1.sh(0, "strongroom run mydb");
    assert!(text.contains("mydb/lab2") && !text.contains("mydb/lab1"), "{text}");
    // None is weekly any more.
    let text = backup1.sh(1, "strongroom run mydb-weekly");
    assert!(text.contains("the list is empty"), "{text}");
    list("insert into backup_sources values ('down', 'Postgres', '/none', null, 'Daily')");
    let text = backup1.sh(3, "strongroom run mydb");
    assert!(text.contains("mydb/down") && text.contains("mydb/shop"), "{text}");
    list("delete from backup_sources where name = 'down'");
    backup1.sh(0, "strongroom run mydb");
    let outcomes: Vec<String> = runs(&backup1).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, ["complete", "complete", "complete", "failed", "partial", "complete"]);
    let text = keeper.as_owner(0, "strongroom forget --keep-last 1 --yes");
    assert!(text.contains("forgot"), "{text}");
    let left = keeper.objects("strongroom snapshots --json --source mydb/lab1");
    assert_eq!(left.len(), 4, "roles and three databases of the server that is gone: {left:?}");
    let new = Postgres::start();
    let set = left[0]["set"].as_str().unwrap();
    keeper.as_owner(0, &format!("strongroom load --set {set} lab1 --to 'host={} user=postgres'", new.at()));
    assert_eq!(new.sql("orders", "select count(*) from t"), "300");
    keeper.as_owner(0, "strongroom forget --source mydb/lab1 --all");
    assert!(keeper.objects("strongroom snapshots --json --source mydb/lab1").is_empty());
}
