//! The nightly job from an empty machine to new servers: one configuration, one command a night, everything back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::program::{Strongroom, said};
use crate::s3::weed::{MACHINE_KEY, OWNER_KEY, Weed};
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::Postgres;

/// Nine databases, some with names that a shell, a path or a connection string would misread.
const DATABASES: [&str; 9] = ["arborist", "audit", "fence", "a\nb", "wts", "we ird", "$(touch x)", "../../x", "Ünï"];

/// A machine: a folder with its home, and what it knows of the bucket.
struct Machine<'w> {
    sr: Strongroom,
    weed: &'w Weed,
    key: &'static str,
}

impl Machine<'_> {
    #[track_caller]
    fn says(&self, code: i32, args: &[&str], owner: bool) -> String {
        let mut command = self.sr.command(args);
        command.env_remove("STRONGROOM_PASSPHRASE").env("STRONGROOM_REPO", "s3://bucket/prod");
        command.envs(self.weed.variables(self.key));
        if owner {
            command.env("STRONGROOM_PASSPHRASE", "open sesame");
        }
        said(code, args, &command.output().expect("the program runs"))
    }
}

fn machine<'w>(weed: &'w Weed, key: &'static str) -> Machine<'w> {
    Machine { sr: Strongroom { folder: tempfile::tempdir().unwrap() }, weed, key }
}

fn of_table(server: &Postgres, database: &str) -> String {
    let sql = "select count(*), md5(string_agg(t::text, ',' order by id)), \
               (select pg_get_userbyid(datdba) from pg_database where datname = current_database()) from t";
    server.sql(database, sql)
}

fn filled() -> (Postgres, MariaDb) {
    let (pg, my) = (Postgres::start(), MariaDb::start());
    pg.sql("postgres", "create role app login password 'hunter2'; create role ro nologin; create role owner1");
    for (n, name) in (1..).zip(DATABASES) {
        let rows = n * 100;
        let sql = format!(
            "create table t (id int primary key, v text); grant select on t to ro; \
             insert into t select g, md5(g::text) from generate_series(1, {rows}) g"
        );
        pg.database(name, &sql);
        pg.sql("postgres", &format!("alter database \"{name}\" owner to owner1"));
    }
    my.sql(
        "create database datahub; create user app@localhost identified by 'hunter2'; \
         grant select on datahub.* to app@localhost; use datahub; \
         create table metadata_aspect_v2 (urn varchar(100), aspect varchar(50), version bigint, metadata longtext, \
         primary key (urn, aspect, version)) default charset utf8mb4 collate utf8mb4_bin; \
         insert into metadata_aspect_v2 select concat('urn:', seq), 'status', 0, concat('{\"a\":\"', md5(seq), '\\'),(\"}') \
         from seq_1_to_2000",
    );
    (pg, my)
}

/// A data directory with its script, which writes down what it is asked.
fn data_directory(at: &Path) {
    for (name, text) in [("config/projects/tmp/x", "kept"), ("tmp/y", "left out"), ("databases/h2.db", "pages")] {
        fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
        fs::write(at.join(name), text).unwrap();
    }
    fs::write(at.join("dss-version.json"), "{\"product_version\":\"13.1.0\"}").unwrap();
    fs::create_dir_all(at.join("bin")).unwrap();
    fs::write(at.join("bin/dss"), "#!/bin/sh\necho $1 >> \"$(dirname \"$0\")/../run\"\n").unwrap();
    fs::set_permissions(at.join("bin/dss"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// DH-1, DH-14, DSS-2, DSS-14, MYDB-3, MYDB-4, MYDB-14, MYDB-15, IDP-4, IDP-7: on a machine that may only add, one job
/// saves nine databases, roles, a table of MariaDB and a data directory in one set in a bucket. Then everything of the
/// machine is gone, and URL and passphrase alone bring all of it into new servers.
#[test]
fn a_night_of_all_sources_comes_back_from_url_and_passphrase() {
    let weed = Weed::start();
    let (pg, my) = filled();
    let owner = machine(&weed, OWNER_KEY);
    let own = machine(&weed, MACHINE_KEY);
    owner.says(0, &["init"], true);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let credential = own.sr.at("credential").display().to_string();
    owner.says(0, &["credential", "add", "--role", "backup", "--host", &host, "--output", &credential], true);

    let file = own.sr.at("strongroom.toml");
    let shown = file.display().to_string();
    let text = own.says(0, &["config", "init", "--config", &shown, "--credential", &credential], false);
    assert!(text.contains("strongroom config check --config"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = own.says(1, &["config", "init", "--config", &shown], false);
    assert!(again.contains("hint: edit it, or name another file with --config"), "{again}");
    let dss = own.sr.at("dss data");
    data_directory(&dss);
    let begun = fs::read_to_string(&file).unwrap();
    let (pg_at, my_at, dss_at) = (pg.at(), my.socket(), dss.display());
    let jobs = format!(
        "[jobs.nightly]\nnotes = \"start it again\"\nbefore = \"'{dss_at}/bin/dss' stop\"\n\
         always = \"'{dss_at}/bin/dss' start\"\n[jobs.nightly.sources]\n\
         pg = {{ kind = \"postgres\", host = \"{pg_at}\", user = \"postgres\" }}\n\
         my = {{ kind = \"mysql\", host = \"{my_at}\", user = \"root\", databases = [\"datahub\"], globals = \"all\" }}\n\
         aspects = {{ kind = \"mysql\", host = \"{my_at}\", user = \"root\", tables = [\"datahub.metadata_aspect_v2\"] }}\n\
         dss = {{ kind = \"path\", paths = [\"{dss_at}\"], presets = [\"dss:temp\"] }}\n"
    );
    let at = begun.find("# What else is to be saved").expect("the file's last job");
    fs::write(&file, format!("{}{jobs}", &begun[..at])).unwrap();
    let text = own.says(0, &["config", "check", "--config", &shown], false);
    assert!(text.contains("no errors found"), "{text}");
    own.says(0, &["run", "--config", &shown], false);
    assert_eq!(fs::read_to_string(dss.join("run")).unwrap(), "stop\nstart\n");
    let text = own.says(0, &["runs"], false);
    assert!(text.contains("complete") && !text.contains("partial"), "{text}");
    let before: Vec<String> = DATABASES.iter().map(|name| of_table(&pg, name)).collect();
    let checksum = |my: &MariaDb| my.sql("checksum table datahub.metadata_aspect_v2");
    let checked = checksum(&my);
    drop((own, pg, my));

    let (pg, my) = (Postgres::start(), MariaDb::start());
    let new = machine(&weed, OWNER_KEY);
    let to = format!("host={} user=postgres", pg.at());
    let text = new.says(0, &["load", "--set", "latest", "--job", "nightly", "pg", "--to", &to], true);
    assert_eq!(text.matches("rows compared").count(), DATABASES.len() + 1, "{text}");
    let after: Vec<String> = DATABASES.iter().map(|name| of_table(&pg, name)).collect();
    assert_eq!(after, before);
    assert_eq!(pg.sql("we ird", "select has_table_privilege('ro', 't', 'select')"), "t");
    let to = format!("socket={} user=root", my.socket());
    let text = new.says(0, &["load", "--set", "latest", "--job", "nightly", "my", "--to", &to], true);
    assert!(text.contains("2,000 rows compared"), "{text}");
    assert_eq!(checksum(&my), checked);
    assert!(my.sql("show grants for app@localhost").contains("GRANT SELECT ON `datahub`.*"));
    let text = new.says(0, &["restore", "--set", "latest", "--job", "nightly", "--target", "out"], true);
    assert!(text.contains("notes of the job: start it again") && text.contains("to load it: pg_restore"), "{text}");
    let restored = new.sr.at(&format!("out/nightly/dss{}", dss_at));
    assert_eq!(fs::read_to_string(restored.join("config/projects/tmp/x")).unwrap(), "kept");
    assert!(restored.join("tmp").is_dir() && !restored.join("tmp/y").exists());
    assert!(new.sr.at("out/nightly/pg/..%2f..%2fx/..%2f..%2fx.dump").is_file());
    assert!(!new.sr.at("x").exists() && !new.sr.at("out/nightly/x").exists());
}
