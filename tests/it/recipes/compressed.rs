//! Dumps that arrive compressed: what they cost, and what is said.

use std::fs;

use serde_json::Value;

use crate::harness::text;
use crate::program::{Strongroom, said};

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
