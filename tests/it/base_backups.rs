//! Base backups of PostgreSQL: saved with their tablespaces, unpacked, verified, and started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::program::Strongroom;
use crate::servers::postgres::Postgres;

fn private(sr: &Strongroom, name: &str, text: &str) {
    fs::set_permissions(sr.write(name, text), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A configuration with one source, in a job of its own.
fn configure(sr: &Strongroom, server: &Postgres, format: &str, more: &str) {
    private(sr, "home/pass", "open sesame\n");
    let folder = sr.folder.path().display();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{{env:HOME}}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n[jobs.idp.sources]\n\
         db = {{ kind = \"postgres\", host = \"{}\", user = \"postgres\", format = \"{format}\"{more} }}\n",
        server.at()
    );
    private(sr, "strongroom.toml", &text);
}

fn script(at: &Path, line: &str) {
    fs::write(at, format!("#!/bin/bash\n{line}\n")).unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
}

const RUN: [&str; 3] = ["run", "--config", "strongroom.toml"];

/// CC-6: a base backup is restored as the directory that it is; its tablespaces go where they are to, and the links to
/// them are right; it is verified, and a server starts with it.
#[test]
fn a_base_backup_with_tablespaces_is_unpacked_verified_and_started() {
    let (server, sr) = (Postgres::start(), Strongroom::init());
    let places = ["fa st", "s=low"].map(|name| server.directory(name));
    server.sql("postgres", &format!("create tablespace fast location '{}'", places[0]));
    server.sql("postgres", &format!("create tablespace \"slow one\" location '{}'", places[1]));
    server.sql("postgres", "create database app tablespace fast");
    server.sql("app", "create table a as select generate_series(1, 100) n");
    server.sql("app", "create table b tablespace \"slow one\" as select generate_series(1, 50) n");
    // Without room for it, that is said by name.
    configure(&sr, &server, "basebackup", "");
    let said = sr.expect(1, &["config", "check", "--config", "strongroom.toml"]);
    assert!(said.contains("tablespaces of its own (fast, slow one)") && said.contains("`scratch_dir`"), "{said}");
    let scratch = sr.at("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::set_permissions(sr.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let run_as = if rustix::process::getuid().is_root() { ", run_as = \"postgres\"" } else { "" };
    configure(&sr, &server, "basebackup", &format!(", scratch_dir = \"{}\"{run_as}", scratch.display()));
    sr.expect(0, &["config", "check", "--config", "strongroom.toml"]);
    sr.expect(0, &RUN);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left in the scratch directory");
    let (one, other) = (server.beside(), server.beside());
    let (data, fast) = (one.data(), one.at() + "/fast");
    let mapping = format!("{}={fast}", places[0].replace('=', "\\="));
    let said = sr.expect(0, &["restore", "latest", "--target", &data, "--tablespace-mapping", &mapping]);
    for part in [
        "pg_verifybackup found no errors".to_owned(),
        format!("is in {fast}; it was in {}", places[0]),
        format!("is in {data}.tablespaces/"),
        format!("pg_ctl -D {data} start"),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    one.start_on_data();
    assert_eq!(one.sql("app", "select (select sum(n) from a), (select sum(n) from b)"), "5050|1275");
    let of =
        "select pg_tablespace_location(oid) from pg_tablespace where spcname in ('fast', 'slow one') order by spcname";
    let oid = server.sql("postgres", "select oid from pg_tablespace where spcname = 'slow one'");
    assert_eq!(one.sql("postgres", of), format!("{fast}\n{data}.tablespaces/{oid}"));
    assert_eq!(server.sql("postgres", of), places.join("\n"), "the first server is as it was");
    // What cannot be meant is refused before anything is written.
    let target = other.data();
    let wrong = ["restore", "latest", "--target", &target, "--tablespace-mapping", "/none=/x"];
    assert!(sr.expect(2, &wrong).contains(&format!("the backup has tablespaces in {}", places[0])));
    let said = sr.expect(2, &["restore", "latest", "--target", &target, "--include", "base"]);
    assert!(said.contains("--no-unpack") && !Path::new(&target).exists(), "{said}");
    assert!(sr.expect(1, &["restore", "latest", "--target", &data]).contains("is not empty"));
    // A set; without the tool, that is said with the command.
    let set = ["restore", "--set", "latest", "--job", "idp", "--target", &target, "--bin", "/none", "--json"];
    let line = sr.expect(0, &set);
    let json: Value = serde_json::from_str(line.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    let base = &json["base_backup"];
    assert_eq!((base["verified"].as_str(), base["tablespaces"].as_array().map(Vec::len)), (Some("not_run"), Some(2)));
    assert_eq!(base["verify"], format!("pg_verifybackup --ignore tablespace_map {target}/idp/db"));
    assert!(json["findings"][0]["text"].as_str().unwrap().contains("install the client tools of that version"));
    // The tar file as it is.
    sr.expect(0, &["restore", "latest", "--target", "tar", "--no-unpack"]);
    let tar = std::process::Command::new("tar").arg("-tf").arg(sr.at("tar/basebackup.tar")).output().unwrap();
    assert!(String::from_utf8_lossy(&tar.stdout).starts_with("base.tar\n"), "{tar:?}");
}

/// CC-6: what is not as the server's manifest says is an error, and what was unpacked is kept to be looked at.
#[test]
fn a_damaged_base_backup_is_refused_by_pg_verifybackup() {
    let (server, sr) = (Postgres::start(), Strongroom::init());
    server.database("app", "create table t as select 'strongroom-was-here-1' v");
    fs::create_dir(sr.at("bin")).unwrap();
    let bin = server.bin.display();
    script(&sr.at("bin/psql"), &format!("exec {bin}/psql \"$@\""));
    // A tool, or a disk, that changes a byte of a table.
    let line = format!(
        "[ \"$1\" != --version ] || exec {bin}/pg_basebackup --version\n\
         set -o pipefail; {bin}/pg_basebackup \"$@\" | LC_ALL=C sed 's/strongroom-was-here-1/strongroom-was-here-2/'"
    );
    script(&sr.at("bin/pg_basebackup"), &line);
    configure(&sr, &server, "basebackup", &format!(", pg_bin = \"{}\"", sr.at("bin").display()));
    sr.expect(0, &RUN);
    let said = sr.expect(3, &["restore", "latest", "--target", "back", "--bin", &bin.to_string()]);
    assert!(said.contains("is damaged: pg_verifybackup: error: checksum mismatch for file"), "{said}");
    assert!(!said.contains("to start it") && sr.at("back/PG_VERSION").exists(), "{said}");
}

/// MYDB-3: the command that `restore` prints for a dump in directory format loads it.
#[test]
fn the_command_that_restore_prints_loads_a_dump_in_directory_format() {
    let (server, sr) = (Postgres::start(), Strongroom::init());
    server.database("app", "create table t as select generate_series(1, 7) n");
    let scratch = sr.at("scratch");
    fs::create_dir(&scratch).unwrap();
    configure(&sr, &server, "directory", &format!(", databases = [\"app\"], scratch_dir = \"{}\"", scratch.display()));
    sr.expect(0, &RUN);
    let said = sr.expect(0, &["restore", "latest", "--target", "back"]);
    let command = said.lines().find_map(|line| line.trim().strip_prefix("to load it: ")).unwrap();
    server.sql("postgres", "drop database app; create database app");
    let loaded = std::process::Command::new("bash")
        .args(["-ec", command])
        .current_dir(sr.at("back"))
        .env("PATH", format!("{}:{}", server.bin.display(), std::env::var("PATH").unwrap()))
        .envs([("PGHOST", server.at()), ("PGUSER", "postgres".to_owned())])
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{command}: {}", String::from_utf8_lossy(&loaded.stderr));
    assert_eq!(server.sql("app", "select sum(n) from t"), "28");
}
