//! `load`: databases of a set come back into other servers, and what is not what was saved is refused.

mod after;
mod before;
mod servers;

use std::fs;
use std::io::Read;

use serde_json::Value;
use strongroom::format::record::Outcome;

use crate::program::Strongroom;
use servers::{MariaDb, MariaDbServer, Postgres, Server, TestDump, load, save, save_with, tool};

const NINE: [&str; 9] =
    ["arborist", "audit", "fence", "indexd", "We ird; $(touch x)", "pe\"reg'rine", "requéstor", "sheepdog", "wts"];

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A server with nine databases, odd names, and roles.
fn deployment() -> Postgres {
    let server = Postgres::start();
    server.sql("postgres", "create role app login password 'geheim-app'");
    server.sql("postgres", "create role \"odd;role\" nologin; comment on role \"odd;role\" is 'it''s'");
    server.sql(
        "postgres",
        "create role boss superuser; grant app to \"odd;role\" with admin option; alter role app set work_mem = '5MB'",
    );
    for (n, name) in NINE.iter().enumerate() {
        server
            .sql("postgres", &format!("create database {} owner app template template0 encoding 'UTF8'", ident(name)));
        server.sql(name, &format!("create table t{n}(a int primary key, b text); insert into t{n} select i, md5(i::text) \
             from generate_series(1, {}) i; create schema s authorization app; create table s.\"Ord ers\"(a int); alter table s.\"Ord ers\" owner to app; alter table t{n} owner to \"odd;role\"", 100 + n));
    }
    server.sql("postgres", "create database latin template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'");
    server.sql("postgres", "alter database fence set search_path = s, public; alter database fence connection limit 7; \
         comment on database fence is 'the fence'; grant connect on database fence to app; revoke temp on database fence from public");
    server
}

fn sums(server: &Postgres) -> Vec<String> {
    let sum = |(n, name): (usize, &&str)| {
        server.sql(name, &format!("select count(*), md5(string_agg(a || b, ',' order by a)) from t{n}"))
    };
    NINE.iter().enumerate().map(sum).collect()
}

/// MYDB-14, MYDB-15, IDP-2, IDP-5, IDP-6, IDP-7: from URL and passphrase alone nine databases with odd names, in all
/// formats, and their roles come back into another server; each is what it was.
#[test]
fn nine_databases_and_their_roles_come_back_into_another_server() {
    let (old, sr) = (deployment(), Strongroom::init());
    let format = |n: usize| ["custom", "plain", "custom", "directory", "plain -C"][n % 5];
    let mut dumps = vec![old.globals()];
    dumps.extend(NINE.iter().enumerate().map(|(n, name)| old.dump(name, format(n))));
    dumps.push(old.dump("latin", "custom"));
    save(&sr, vec![("gen3", dumps)]);
    let expected = sums(&old);
    let properties = "select pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datconnlimit, \
        (select array_agg(a::text order by a::text) from unnest(datacl) a), \
        shobj_description(oid, 'pg_database'), (select setconfig from pg_db_role_setting where setdatabase = d.oid) \
        from pg_database d where datname = 'fence'";
    let fence = old.sql("postgres", properties);
    drop(old);
    let _ = fs::remove_dir_all(sr.at("home"));
    let new = Postgres::start_as("admin");
    new.sql("postgres", "create role app login password 'another'");
    let app = "select rolpassword from pg_authid where rolname = 'app'";
    let password = new.sql("postgres", app);
    let text = load(&sr, 0, &new.to("admin"), &["--dry-run"]);
    assert!(text.contains("would load idp/gen3/fence") && text.contains("roles made"), "{text}");
    assert_eq!(new.databases(), ["postgres"]);
    let text = load(&sr, 0, &new.to("admin"), &[]);
    assert_eq!(text.matches("loaded idp/gen3/").count(), 11, "{text}");
    assert!(
        text.contains("2 tables with 102 rows compared") && text.contains("Restart the pods\n  and look"),
        "{text}"
    );
    assert!(text.contains("roles that are there and stay as they are") && !text.contains("SCRAM"), "{text}");
    assert_eq!(sums(&new), expected);
    assert_eq!(new.sql("postgres", properties), fence);
    assert_eq!(
        new.sql("postgres", "select pg_encoding_to_char(encoding) from pg_database where datname = 'latin'"),
        "LATIN1"
    );
    assert_eq!(new.sql("postgres", app), password, "roles that are there stay as they are");
    assert_eq!(new.sql("postgres", "select rolsuper from pg_roles where rolname = 'boss'"), "t");
    let member =
        "select admin_option from pg_auth_members where roleid = 'app'::regrole and member = '\"odd;role\"'::regrole";
    assert_eq!(new.sql("postgres", member), "t");
    assert_eq!(new.sql("wts", "select tableowner from pg_tables where tablename = 't8'"), "odd;role");
    assert!(!sr.at("x").exists());
    // Again, nothing is left to do; what changed since is not taken for loaded.
    let text = load(&sr, 0, &new.to("admin"), &["--no-globals"]);
    assert_eq!(text.matches("is loaded already").count(), 10, "{text}");
    new.sql("wts", "delete from t8 where a = 1");
    let text = load(&sr, 3, &new.to("admin"), &[]);
    assert!(text.contains("idp/gen3/wts was not loaded: the database wts is there already"), "{text}");
    // Roles that are there are changed if that is asked for.
    load(&sr, 0, &new.to("admin"), &["gen3/globals", "--alter-roles"]);
    assert_ne!(new.sql("postgres", app), password);
}

fn small(name: &str, rows: u32) -> Postgres {
    let server = Postgres::start();
    add(&server, name, rows);
    server
}

fn add(server: &Postgres, name: &str, rows: u32) {
    server.sql("postgres", &format!("create database {}", ident(name)));
    server.sql(name, &format!("create table t as select generate_series(1, {rows}) a"));
}

/// Two dumps under each other's descriptions.
fn exchanged(one: TestDump, other: TestDump) -> Vec<TestDump> {
    let (mut a, mut b) = (one.clone(), other.clone());
    (a.command, b.command) = (other.command, one.command);
    vec![a, b]
}

/// IDP-7: a loop gave each database the last dump, and nobody saw it. Nothing that is not what was saved gets the name.
#[test]
fn two_dumps_that_were_exchanged_are_refused() {
    let old = small("fence", 10);
    add(&old, "wts", 20);
    add(&old, "audit", 30);
    let new = Postgres::start();
    for format in ["custom", "plain", "plain -C"] {
        let sr = Strongroom::init();
        let mut dumps = exchanged(old.dump("fence", format), old.dump("wts", format));
        dumps.push(old.dump("audit", format));
        save(&sr, vec![("gen3", dumps)]);
        let text = load(&sr, 3, &new.to("postgres"), &[]);
        assert!(text.contains("loaded idp/gen3/audit as audit"), "{text}");
        for name in ["fence", "wts"] {
            assert!(text.contains(&format!("idp/gen3/{name} was not loaded")), "{text}");
            assert!(!new.databases().contains(&name.to_owned()), "{format}");
        }
        match format {
            "plain" => assert!(text.contains("table public.t has 20 rows instead of 10"), "{text}"),
            _ => assert!(text.contains("the dump is of the database wts") && text.contains("exchanged"), "{text}"),
        }
        load(&sr, 1, &new.to("postgres"), &["gen3/fence"]);
        new.sql("postgres", "drop database audit");
    }
}

/// A managed server gives no superuser: what it refuses is left out and named, and the rest comes back.
#[test]
fn who_is_no_superuser_loads_what_the_server_allows() {
    let (old, sr, new) = (deployment(), Strongroom::init(), Postgres::start());
    save(&sr, vec![("gen3", vec![old.globals(), old.dump("fence", "custom"), old.dump("wts", "plain -C")])]);
    new.sql("postgres", "create role limited login createdb createrole");
    let text = load(&sr, 0, &new.to("limited"), &[]);
    assert!(text.contains("left out: SUPERUSER of role boss: only a superuser may give it"), "{text}");
    assert_eq!(new.sql("postgres", "select rolsuper, rolcanlogin from pg_roles where rolname = 'boss'"), "f|f");
    assert_eq!(
        new.sql("wts", "select count(*), (select tableowner from pg_tables where tablename = 't8') from t8"),
        "108|odd;role"
    );
    // From version 16 on, who makes a role is a member of it, by the server's own grant.
    let own = "select count(*) from pg_auth_members where member = 'limited'::regrole and grantor = member";
    assert_eq!(new.sql("postgres", own), "0", "{text}");
    let owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'fence'";
    assert_eq!(new.sql("postgres", owner), "app");
    // What belongs to a superuser cannot be given to it.
    old.sql("audit", "create table p as select 1 a");
    let theirs = Strongroom::init();
    save(&theirs, vec![("gen3", vec![old.dump("audit", "custom")])]);
    let text = load(&theirs, 1, &new.to("limited"), &[]);
    assert!(text.contains("--no-owner makes everything its own"), "{text}");
    load(&theirs, 0, &new.to("limited"), &["--no-owner"]);
    assert_eq!(new.sql("audit", "select tableowner from pg_tables where tablename = 'p'"), "limited");
}

/// IDP-1: a database that was made read-only before it was dumped with its settings could not be loaded.
#[test]
fn a_read_only_database_is_loaded_and_read_only_again() {
    let (old, new) = (small("ro", 10), Postgres::start());
    old.sql("postgres", "alter database ro set default_transaction_read_only = on");
    for (n, format) in ["custom", "plain -C", "plain"].into_iter().enumerate() {
        let sr = Strongroom::init();
        save(&sr, vec![("gen3", vec![old.dump("ro", format)])]);
        let text = load(&sr, 0, &new.to("postgres"), &["--rename", &format!("ro=ro{n}")]);
        assert!(text.contains("default_transaction_read_only was set aside"), "{text}");
        assert_eq!(new.sql(&format!("ro{n}"), "show default_transaction_read_only"), "on", "{format}");
        assert_eq!(new.sql(&format!("ro{n}"), "select count(*) from t"), "10");
    }
}

/// IDP-14: what is there is refused, replaced once the new one is whole, or kept under another name.
#[test]
fn a_database_that_is_there_is_refused_replaced_or_kept() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    save(&sr, vec![("gen3", vec![old.dump("fence", "custom")])]);
    add(&new, "fence", 3);
    let to = new.to("postgres");
    let rows = |database: &str| new.sql(database, "select count(*) from t");
    let text = load(&sr, 1, &to, &[]);
    assert!(text.contains("is there already: --if-exists replace or keep-old") && rows("fence") == "3", "{text}");
    let text = load(&sr, 0, &to, &["--if-exists", "keep-old"]);
    let kept = new.databases().into_iter().find(|name| name.starts_with("fence_before_")).expect("it is kept");
    assert!(text.contains(&format!("the old one is called {kept} now")), "{text}");
    assert_eq!((rows("fence"), rows(&kept)), ("10".to_owned(), "3".to_owned()));
    new.sql("fence", "delete from t where a < 3");
    load(&sr, 0, &to, &["--if-exists", "replace"]);
    assert_eq!((rows("fence"), new.databases().len()), ("10".to_owned(), 3));
    // One that cannot be loaded takes nothing away.
    let broken = Strongroom::init();
    save(&broken, vec![("gen3", vec![old.dump("fence", "plain").with_line("echo 'create table t(a int); bad;'")])]);
    let text = load(&broken, 1, &to, &["--if-exists", "replace"]);
    assert!(text.contains("syntax error") && rows("fence") == "10" && new.databases().len() == 3, "{text}");
    // Into an empty one it goes as it stands; and one table alone.
    new.sql("postgres", "create database empty");
    new.sql("postgres", "create database one");
    let text = load(&sr, 0, &to, &["--rename", "fence=empty"]);
    assert!(text.contains("was there and empty") && rows("empty") == "10", "{text}");
    let text = load(&sr, 0, &to, &["--rename", "fence=one", "--table", "public.t"]);
    assert!(text.contains("of the table itself only") && rows("one") == "10", "{text}");
    old.sql("fence", "create schema \"S s\"; create table \"S s\".\"T t\" as select 1 a");
    let deep = Strongroom::init();
    save(&deep, vec![("gen3", vec![old.dump("fence", "custom")])]);
    load(&deep, 0, &to, &["--rename", "fence=deep", "--table", "\"S s\".\"T t\""]);
    assert_eq!(new.sql("deep", "select count(*) from \"S s\".\"T t\""), "1");
    let text = load(&sr, 1, &to, &["--rename", "fence=two", "--table", "nothing"]);
    assert!(text.contains("was not loaded"), "{text}");
    let parallel =
        load(&sr, 0, &to, &["--rename", "fence=parallel", "--jobs", "2", "--no-owner", "--scratch-dir", "scratch"]);
    assert!(rows("parallel") == "10" && fs::read_dir(sr.at("scratch")).unwrap().next().is_none(), "{parallel}");
}

/// What is named and not there is an error that says what there is; servers of two kinds are not mixed up.
#[test]
fn what_is_named_must_be_there() {
    let (old, sr) = (small("fence", 1), Strongroom::init());
    let mut other = old.dump("fence", "custom");
    other.described.kind = "mysql".to_owned();
    save(&sr, vec![("gen3", vec![old.dump("fence", "custom")]), ("aspects", vec![other])]);
    let to = old.to("postgres");
    let text = load(&sr, 2, &to, &["gen4"]);
    assert!(text.contains("idp/gen3/fence, idp/aspects/fence"), "{text}");
    let text = load(&sr, 2, &to, &[]);
    assert!(text.contains("mysql: idp/aspects; postgres: idp/gen3") && text.contains("hint: name those"), "{text}");
    let text = load(&sr, 2, &to, &["gen3", "--rename", "nothing=x"]);
    assert!(text.contains("--rename names the database nothing"), "{text}");
    let text = load(&sr, 2, "host=x password=geheim", &["gen3"]);
    assert!(text.contains("--to-password-file") && !text.contains("geheim"), "{text}");
    let text = load(&sr, 1, &format!("{} port=1", old.to("postgres")), &["gen3"]);
    assert!(text.contains("nothing was changed"), "{text}");
    sr.expect(0, &["credential", "add", "--role", "backup", "--name", "m", "--host", "m", "--output", "m.credential"]);
    let args = ["load", "--to", &to, "--credential", "m.credential"];
    let output = sr.command(&args).env_remove("STRONGROOM_PASSPHRASE").output().unwrap();
    let text = crate::program::said(2, &args, &output);
    assert!(text.contains("the owner's passphrase or a read credential"), "{text}");
}

/// A dump that lacks its end is not loaded, unless that is said.
#[test]
fn a_partial_dump_is_refused() {
    let (old, sr) = (small("fence", 10), Strongroom::init());
    let line = format!("pg_dump -h {} -U postgres fence | sed '/dump complete/,$d'", old.at());
    save_with(&sr, vec![("gen3", vec![old.dump("fence", "plain").with_line(&line)])], &[], Outcome::Partial);
    old.sql("postgres", "drop database fence");
    let to = old.to("postgres");
    let text = load(&sr, 1, &to, &["--partial"]);
    assert!(text.contains("the dump is partial") && text.contains("--force"), "{text}");
    load(&sr, 0, &to, &["--partial", "--force"]);
    assert_eq!(old.sql("fence", "select count(*) from t"), "10");
}

/// The newest set lacks the end of a dump: each database is loaded from its newest good one, and it is said of which set.
#[test]
fn the_newest_good_dump_of_each_database_is_loaded() {
    let (old, sr, new) = (small("fence", 10), Strongroom::init(), Postgres::start());
    add(&old, "wts", 20);
    save(&sr, vec![("gen3", vec![old.dump("fence", "plain"), old.dump("wts", "custom")])]);
    old.sql("wts", "insert into t values (21)");
    let line = format!("pg_dump -h {} -U postgres fence | sed '/dump complete/,$d'", old.at());
    let dumps = vec![old.dump("fence", "plain").with_line(&line), old.dump("wts", "custom")];
    save_with(&sr, vec![("gen3", dumps)], &[], Outcome::Partial);
    let text = load(&sr, 0, &new.to("postgres"), &["--per-source"]);
    assert!(text.contains("the newest of each source of job idp, into ") && text.contains("idp/gen3/wts: snapshot "));
    let count = |database: &str| new.sql(database, "select count(*) from t");
    assert_eq!((count("fence"), count("wts")), ("10".into(), "21".into()), "{text}");
}

/// DH-13, IDP-9, IDP-10: what a description says of commands is printed and not run; `restore` prints what would load
/// each stream, and notes.
#[test]
fn commands_of_descriptions_are_printed_and_run_only_if_that_is_asked_for() {
    let (old, sr) = (small("fence", 10), Strongroom::init());
    let mut docs = old.dump("fence", "custom").with_line("echo docs");
    docs.described.kind = "command".to_owned();
    docs.described.load = Some(format!("cat > {}/ran", sr.folder.path().display()));
    save(&sr, vec![("docs", vec![docs]), ("gen3", vec![old.dump("fence", "custom")])]);
    let to = old.to("postgres");
    let text = load(&sr, 0, &to, &["docs"]);
    assert!(text.contains("skipped idp/docs/fence") && text.contains("its command: cat > "), "{text}");
    assert!(!sr.at("ran").exists());
    load(&sr, 0, &to, &["docs", "--run-commands"]);
    assert_eq!(sr.read("ran"), "docs\n");
    let text = sr.expect(0, &["restore", "--set", "latest", "--job", "idp", "--target", "out"]);
    let file = sr.at("out/idp/gen3/fence/dump").display().to_string();
    assert!(text.contains(&format!("to load it: pg_restore --exit-on-error -d fence {file}")), "{text}");
    assert!(text.contains("/ran < ") && text.ends_with("notes of the job: Restart the pods\n  and look\n"), "{text}");
    let text = sr.expect(0, &["restore", "--set", "latest", "--job", "idp", "--target", "out2", "--json"]);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(
        first["load"].as_str().unwrap().contains("/ran < ") && first["notes"].as_str().unwrap().starts_with("Restart")
    );
    let text = load(&sr, 0, &to, &["gen3", "--json", "--rename", "fence=back"]);
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (line["outcome"].as_str(), line["rows"].as_u64(), line["type"].as_str()),
        (Some("loaded"), Some(10), Some("load"))
    );
}

/// IDP-14: a load that is killed leaves a database that says so and has not the name; the next one goes on. Meanwhile
/// the password is seen in no list of processes.
#[test]
fn a_load_that_was_killed_goes_on_with_what_is_not_loaded() {
    let (old, sr, new) = (small("one", 10), Strongroom::init(), Postgres::start());
    add(&old, "two", 20);
    save(&sr, vec![("gen3", vec![old.dump("one", "custom"), old.dump("two", "custom")])]);
    let to = new.to("postgres");
    load(&sr, 0, &to, &["gen3/one"]);
    // A pg_restore that says when it is asked to load, and waits.
    let (tools, said, held) = (sr.at("tools"), sr.at("said"), sr.at("held"));
    for fifo in [&said, &held] {
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
    }
    let real = new.bin.display();
    let wait = format!("echo loading > '{}'; exec cat < '{}'", said.display(), held.display());
    tool(&tools, "pg_restore", &format!("case \" $* \" in *' -d '*) {wait};; esac; exec {real}/pg_restore \"$@\""));
    tool(&tools, "psql", &format!("exec {real}/psql \"$@\""));
    sr.write("secret", "geheim-admin\n");
    let bin = tools.display().to_string();
    let args = ["load", "--job", "idp", "--to", &to, "--bin", &bin, "--to-password-file", "secret"];
    let mut loading =
        sr.command(&args).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut text = String::new();
    fs::File::open(&said).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "loading\n");
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines: Vec<String> = all.map(|line| String::from_utf8_lossy(&line).into_owned()).collect();
    assert!(lines.iter().any(|line| line.contains("strongroom_loading_")), "the tool was seen");
    assert!(!lines.iter().any(|line| line.contains("geheim-admin")));
    loading.kill().unwrap();
    loading.wait().unwrap();
    assert!(!new.databases().contains(&"two".to_owned()));
    let text = load(&sr, 0, &to, &[]);
    assert!(text.contains("was left by a load that did not finish (strongroom: loading two since "), "{text}");
    assert!(text.contains("idp/gen3/one is loaded already") && text.contains("loaded idp/gen3/two as two"), "{text}");
    assert_eq!(new.databases(), ["one", "postgres", "two"]);
    assert_eq!(new.sql("two", "select count(*) from t"), "20");
}

fn shop(server: &MariaDb) {
    server.sql("create database `sh``op` character set latin1; use `sh``op`; create table t(id int primary key, v blob); \
        insert into t select seq, concat('a\\0\\n\\'USE `x`;\\r\\n', seq) from seq_1_to_500; create table `o dd`(a int); \
        create procedure p() select 1; create view v as select * from t");
}

/// DH-1, DH-11, MYDB-15: databases of MariaDB come back, with or without MariaDB's client; exchanged ones do not.
#[test]
fn databases_of_mariadb_come_back_into_another_server() {
    let (old, new, sr) = (MariaDb::start(), MariaDb::start(), Strongroom::init());
    shop(&old);
    old.sql("create database other; create table other.t(a int)");
    let tables = [("t", 500), ("o dd", 0)];
    let grants = TestDump { ..old.dump("grants", &[], &[]) }.with_line(
        "echo \"CREATE USER 'app'@'%' IDENTIFIED BY 'x'; CREATE USER 'root'@'localhost'; GRANT SELECT ON \\`sh\\`\\`op\\`.\\`t\\` TO 'app'@'%';\"",
    );
    let mut grants = grants;
    (grants.described.format, grants.described.tables) = ("grants".to_owned(), None);
    let dump = old.dump("sh`op", &["--databases", "sh`op"], &tables);
    save(&sr, vec![("my", vec![grants, dump.clone(), old.dump("other", &["other"], &[("t", 0)])])]);
    let to = new.to("root");
    let text = load(&sr, 0, &to, &[]);
    assert!(
        text.contains("2 tables with 500 rows compared") && text.contains("it is the user that is connected"),
        "{text}"
    );
    let sum = "select hex(md5(group_concat(v order by id))), count(*) from `sh``op`.t";
    assert_eq!(new.sql(sum), old.sql(sum));
    assert_eq!(
        new.sql("select default_collation_name from information_schema.schemata where schema_name = 'sh`op'"),
        "latin1_german1_ci"
    );
    assert!(new.sql("show grants for 'app'@'%'").contains("GRANT SELECT ON `sh``op`.`t`"));
    assert_eq!(new.sql("select count(*) from `sh``op`.v; select count(*) from information_schema.routines where routine_schema = 'sh`op'"), "500\n1");
    let text = load(&sr, 0, &to, &["--no-globals"]);
    assert_eq!(text.matches("is loaded already").count(), 2, "{text}");
    new.sql("delete from `sh``op`.t where id = 1");
    let text = load(&sr, 1, &to, &["my/sh`op"]);
    assert!(text.contains("is there already") && text.contains("--if-exists"), "{text}");
    load(&sr, 0, &to, &["my/sh`op", "--rename", "sh`op=copy"]);
    assert_eq!(new.sql("select count(*) from copy.t"), "500");
    load(&sr, 0, &to, &["my/sh`op", "--if-exists", "keep-old"]);
    assert_eq!(new.sql("select count(*) from `sh``op`.t"), "500");
    load(&sr, 0, &to, &["my/sh`op", "--if-exists", "replace"]);
    // Of another tool that knows no sandbox: its client fails at the first line, and is not given it.
    let tools = sr.at("tools");
    tool(
        &tools,
        "mariadb",
        "if [ \"$2\" = --help ]; then echo none; exit; fi; if [[ \"$*\" == *--database=* ]]; then \
        IFS= read -r line; [[ $line != *sandbox* ]] || { echo 'ERROR at line 1' >&2; exit 1; }; fi; exec mariadb \"$@\"",
    );
    let bin = tools.display().to_string();
    load(&sr, 0, &to, &["my/sh`op", "--rename", "sh`op=old_client", "--bin", &bin]);
    assert_eq!(new.sql("select count(*) from old_client.t"), "500");
    let with = sr.expect(0, &["cat", "latest:dump", "--source", "idp/my/sh`op"]);
    let without = sr.expect(0, &["cat", "latest:dump", "--source", "idp/my/sh`op", "--strip-mariadb-sandbox"]);
    assert!(with.starts_with("/*M!999999") && with.ends_with(&without) && without.starts_with("-- MariaDB dump"));
    // Exchanged.
    let swapped = Strongroom::init();
    save(&swapped, vec![("my", exchanged(dump, old.dump("other", &["other"], &[("t", 0)])))]);
    let empty = MariaDb::start();
    let text = load(&swapped, 1, &empty.to("root"), &[]);
    assert_eq!(text.matches("dumps were exchanged").count(), 2, "{text}");
    assert_eq!(
        empty.sql("select count(*) from information_schema.schemata where schema_name in ('sh`op', 'other')"),
        "0"
    );
}

/// A load that could not make its database remembered that it had begun to: the next one removed what somebody else had
/// made under the name meanwhile, as if it were its own half.
#[test]
fn a_database_of_somebody_else_is_not_taken_for_the_half_of_a_load_that_failed() {
    let (server, sr) = (MariaDb::start(), Strongroom::init());
    server.sql("create database shop; create table shop.t(a int); insert into shop.t values (1)");
    server.sql("create user app@localhost");
    let dump = server.dump("shop", &["shop"], &[("t", 1)]);
    save(&sr, vec![("my", vec![dump.with_line("echo 'create table t(a int); insert into t values (1); nonsense;'")])]);
    server.sql("drop database shop");
    // It may not make databases; and then the dump fails at its end.
    for user in ["app", "root"] {
        load(&sr, 1, &server.to(user), &[]);
        assert_eq!(server.sql("select count(*) from information_schema.schemata where schema_name = 'shop'"), "0");
        server.sql("create database shop; create table shop.t(a int); insert into shop.t values (7)");
        let text = load(&sr, 1, &server.to("root"), &[]);
        assert!(text.contains("the database shop is there already"), "{text}");
        assert_eq!(server.sql("select a from shop.t"), "7");
        server.sql("drop database shop");
    }
}
