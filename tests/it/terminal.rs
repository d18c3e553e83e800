//! The program on a terminal, as `script` (of util-linux) makes one: what is shown fits it, and the program ends.

use std::process::Command;

use crate::program::Strongroom;

/// The lines that were shown, one after the other also where they replaced each other, without commands to the terminal.
fn shown(sr: &Strongroom, columns: u32, args: &str) -> Vec<String> {
    let line = format!("stty cols {columns} rows 24; exec {} {args}", env!("CARGO_BIN_EXE_strongroom"));
    let plain = sr.command(&[]);
    let known = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let output = Command::new("timeout")
        .args(["300", "script", "--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .envs(known)
        .env("TERM", "xterm")
        .current_dir(sr.folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "it did not end well: {text}");
    let commands = regex::Regex::new("\x1b\\[[0-9;?]*[A-Za-z]").expect("it is an expression");
    let lines = commands.replace_all(&text, "").replace('\r', "\n");
    lines.lines().map(|l| l.trim_end().to_owned()).filter(|l| !l.is_empty()).collect()
}

/// The line was wider than 80 columns and stayed behind in pieces; once, while it was made narrower, it waited for itself.
#[test]
fn progress_fits_the_terminal() {
    let sr = Strongroom::init();
    for n in 0..2_000 {
        sr.write(&format!("d/a-folder-with-a-long-name/and-one-below-{}/file-{n}.txt", n % 40), vec![n as u8; 3_000]);
    }
    for columns in [40, 80, 200] {
        let lines = shown(&sr, columns, "backup --read-all d");
        let bars: Vec<&String> = lines.iter().filter(|l| l.contains('%') && l.contains(" left")).collect();
        // The name of the phase and how much there is are drawn however quick the machine is.
        assert!(!bars.is_empty(), "{columns}: {lines:#?}");
        for bar in bars {
            assert!(bar.chars().count() < columns as usize, "{columns}: {bar}");
        }
    }
}

#[test]
fn tables_fit_the_terminal() {
    let sr = Strongroom::init();
    sr.write("d/a-folder-with-a-long-name/and-another-with-a-longer-one/a", "a");
    sr.expect(
        0,
        &["backup", "d/a-folder-with-a-long-name/and-another-with-a-longer-one", "--tag", "a,b", "--host", "h"],
    );
    for columns in [60, 80, 100, 200] {
        let lines = shown(&sr, columns, "snapshots");
        assert!(lines.iter().all(|l| l.chars().count() <= columns as usize), "{columns}: {lines:#?}");
        assert!(lines[0].contains("TIME (UTC)") && lines.iter().any(|l| l.contains("a,b")), "{lines:#?}");
        assert_eq!(lines[0].contains("SOURCE"), columns >= 80, "{lines:#?}");
    }
}
