//! IDP: nine databases of a deployment move to another server.

use std::fs;

use super::Site;
use crate::servers::postgres::Postgres;

const NINE: [&str; 9] =
    ["arborist", "audit", "fence", "indexd", "metadata", "peregrine", "requestor", "sheepdog", "wts"];

fn deployment() -> Postgres {
    let server = Postgres::start();
    server.sql("postgres", "create role fence_user login password 'x'; create role reader nologin");
    for (n, name) in (1..).zip(NINE) {
        let database = format!("{name}_dev");
        let sql = format!(
            "create table t (id int primary key, v text); grant select on t to reader; \
             insert into t select g, md5(g::text) from generate_series(1, {}) g",
            n * 10
        );
        server.database(&database, &sql);
        server.sql("postgres", &format!("alter database {database} owner to fence_user"));
    }
    server.database("other_dev", "create table t (id int)");
    server
}

fn sums(server: &Postgres, deployment: &str) -> Vec<String> {
    let sum = "select count(*), md5(string_agg(t::text, ',' order by id)), \
               (select pg_get_userbyid(datdba) from pg_database where datname = current_database()) from t";
    NINE.iter().map(|name| server.sql(&format!("{name}_{deployment}"), sum)).collect()
}

/// A service that says what a user may see: what is in `answers`.
fn permissions(site: &Site) {
    site.program("curl", "[[ $* == *-H\\ @*idp.header ]] && head -n 1 ~/../../answers");
    fs::write(site.at("answers"), "{\"authz\":{\"/programs/a\":7}}\n").unwrap();
}

/// IDP-1, IDP-2, IDP-3, IDP-4, IDP-5, IDP-6, IDP-7, IDP-9, IDP-14, S8: nine databases of one deployment are saved while
/// they are read-only, and become those of another one on a new server, each from its own dump; what is recorded is
/// asked again, and what remains to do is printed.
#[test]
fn nine_databases_move_to_another_deployment_by_the_recipe_of_idp() {
    let mut site = Site::new("IDP", None);
    let (old, new) = (deployment(), Postgres::start());
    new.sql("postgres", "create role reader nologin");
    site.stands_for("old-db.example.org", &old.at());
    site.stands_for("new-db.example.org", &new.at());
    permissions(&site);
    site.begin(&["migrate1"]);
    let machine = site.machine("migrate1");
    machine.install("/etc/strongroom/idp.header", "Authorization: bearer x\n");
    let text = machine.sh(0, &site.block("sh", 0));
    assert!(text.contains("no errors found") && text.contains("passwords of roles"), "{text}");
    assert!(text.contains("complete") && !text.contains("other_dev"), "{text}");
    assert_eq!(old.sql("wts_dev", "show default_transaction_read_only"), "off", "it is writable again");
    let expected = sums(&old, "dev");

    // A user sees other things than before.
    fs::write(site.at("answers"), "{\"authz\":{}}\n").unwrap();
    let text = machine.as_owner(3, &site.block("sh", 1));
    assert!(text.contains("would load") && text.matches(" rows compared").count() >= 9, "{text}");
    assert!(text.contains("permissions") && text.contains("/programs/a"), "{text}");
    assert!(text.contains("Give the roles their passwords") && text.contains("reader"), "{text}");
    assert_eq!(new.sql("fence_prod", "show default_transaction_read_only"), "on", "as it was saved");
    machine.as_owner(0, &site.block("sh", 2));
    assert_eq!(new.sql("fence_prod", "show default_transaction_read_only"), "off");
    assert_eq!(sums(&new, "prod"), expected);
    let mut names: Vec<String> = NINE.iter().map(|name| format!("{name}_prod")).collect();
    names.push("postgres".to_owned());
    let there = new.sql("postgres", "select datname from pg_database where not datistemplate order by 1");
    assert_eq!(there.lines().collect::<std::collections::BTreeSet<_>>(), names.iter().map(String::as_str).collect());
    assert_eq!(new.sql("postgres", "select rolpassword is null from pg_authid where rolname = 'fence_user'"), "t");
}

/// IDP-1: if the run fails half-way, the old databases are writable again.
#[test]
fn databases_are_writable_again_after_a_migration_that_failed() {
    let mut site = Site::new("IDP", None);
    let old = deployment();
    site.stands_for("old-db.example.org", &old.at());
    permissions(&site);
    site.begin(&["migrate1"]);
    let machine = site.machine("migrate1");
    machine.install("/etc/strongroom/idp.header", "Authorization: bearer x\n");
    // One that does not exist: `before` fails after four of nine.
    old.sql("postgres", "alter database metadata_dev rename to gone");
    let run = format!("export PGHOST={} PGUSER=postgres DEPLOYMENT=dev; strongroom run idp", old.at());
    let text = machine.sh(1, &run);
    assert!(text.contains("before") && text.contains("metadata_dev"), "{text}");
    assert_eq!(old.sql("arborist_dev", "show default_transaction_read_only"), "off");
}
