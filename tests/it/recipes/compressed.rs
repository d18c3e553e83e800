//! Dumps that arrive compressed: what they cost, and what is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::text;
use crate::program::{Strongroom, said};
use crate::servers::postgres::Postgres;

/// What a backup of the output of a command says, and how many bytes were new.
fn saved(sr: &Strongroom, name: &str, command: &str) -> (String, u64) {
    let stream = format!("{name}={command}");
    let args = ["backup", "--json", "--source", name, "--from-command", &stream];
    let output = sr.command(&args).output().unwrap();
    said(0, &args, &output);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let new = report["sources"][0]["figures"]["bytes_new"].as_u64().unwrap();
    (String::from_utf8(output.stderr).unwrap(), new)
}

/// S3, DH-2, MYDB-5: two nights of one dump, in each form in which teams make it. Of the plain one a small part is new in
/// the second night, of compressed ones nearly all; each of these is named once, with what to leave out.
#[test]
fn s3_a_dump_that_arrives_compressed_is_named_and_shares_nothing() {
    let sr = Strongroom::init();
    let night = |changed: u64| {
        let mut dump = text(1, 1_000_000);
        dump[1000..1060].copy_from_slice(&text(changed, 60));
        dump
    };
    for (n, changed) in [("1", 2), ("2", 3)] {
        sr.write(&format!("dump{n}"), night(changed));
        // The beginning of an archive of mongodump, whose marker is that of no compressed format.
        sr.write(&format!("archive{n}"), [b"\x6d\xe2\x99\x81".to_vec(), night(changed)].concat());
    }
    for (name, command, advice) in [
        ("plain", "cat dumpN", None),
        ("archive", "cat archiveN", None),
        ("gz", "gzip -n < dumpN", Some("drop the `| gzip`")),
        ("archive-gz", "gzip -n < archiveN", Some("mongodump: drop `--gzip`")),
        ("zst", "zstd -qc dumpN", Some("drop the `| zstd`")),
    ] {
        let command = |night: &str| command.replace('N', night);
        let (first, _) = saved(&sr, name, &command("1"));
        let (second, new) = saved(&sr, name, &command("2"));
        let bytes = sr.expect(0, &["cat", "latest", "--source", name, "--to-command", "wc -c"]);
        let bytes: u64 = bytes.trim().parse().unwrap();
        match advice {
            None => assert!(!first.contains("compressed") && new < bytes / 5, "{name}: {new} of {bytes}: {first}"),
            Some(advice) => {
                for told in [&first, &second] {
                    assert_eq!(
                        (told.matches("arrives compressed").count(), told.contains(advice)),
                        (1, true),
                        "{told}"
                    );
                }
                assert!(new > bytes / 2, "{name}: {new} of {bytes}");
            }
        }
    }
    // What was stored compressed comes back as it was.
    sr.expect(0, &["cat", "latest", "--source", "gz", "--to-command", "gunzip > back"]);
    assert!(fs::read(sr.at("back")).unwrap() == night(3));
}

/// S2, DH-4, CC-7: two nights of a PostgreSQL database of which a hundredth of the rows changed. In both formats that the
/// jobs make, most of the second night is that of the first; of what pg_dump compresses itself, nothing is. A server that
/// is gone leaves no snapshot.
#[test]
fn s2_nights_of_postgresql_share_most_unless_pg_dump_compresses() {
    let (server, sr) = (Postgres::start(), Strongroom::init());
    let table = "create table t (a int primary key, v text); \
        insert into t select g, md5(g::text) || md5((g * 7)::text) || repeat('x', g % 50) from generate_series(1, 12000) g";
    server.database("app", table);
    let (folder, at) = (sr.folder.path().display(), server.at());
    let source = |format: &str| {
        format!(
            "{format} = {{ kind = \"postgres\", host = \"{at}\", user = \"postgres\", databases = [\"app\"], format = \"{format}\" }}\n"
        )
    };
    let jobs = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{folder}/pass\" }}\n\
         [jobs.pg]\nrepository = \"main\"\n[jobs.pg.sources]\n{}{}\
         fc = {{ kind = \"command\", file = \"fc.dump\", command = \"pg_dump -h {at} -U postgres -Fc app\" }}\n",
        source("plain"),
        source("custom"),
    );
    for (name, text) in [("pass", "open sesame\n"), ("jobs.toml", &jobs)] {
        fs::set_permissions(sr.write(name, text), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let run = ["run", "--config", "jobs.toml"];
    let text = sr.expect(0, &run);
    assert_eq!((text.matches("arrives compressed").count(), text.contains("-Z0")), (1, true), "{text}");
    server.sql("app", "update t set v = v || '.' where a between 6000 and 6120");
    sr.expect(0, &run);
    let share = |source: &str| -> u64 {
        let text = sr.expect(0, &["snapshots", "--json", "--source", &format!("pg/{source}")]);
        let newest: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let figure = |key: &str| newest["figures"][key].as_u64().unwrap();
        figure("bytes_new") * 100 / figure("bytes")
    };
    let shares = ["plain", "custom", "fc"].map(share);
    assert!(shares[0] < 40 && shares[1] < 40 && shares[2] > 80, "percent that was new: {shares:?}");
    drop(server);
    sr.expect(1, &run);
    assert!(sr.expect(0, &["snapshots"]).contains("6 snapshots"));
}
