//! The program itself, run on a folder of its own.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

pub(crate) struct Strongroom {
    pub folder: tempfile::TempDir,
}

impl Strongroom {
    pub(crate) fn init() -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        this.expect(0, &["init"]);
        this
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.at("home"))
            .env("TZ", "UTC")
            .env("STRONGROOM_REPO", self.at("repo"))
            .env("STRONGROOM_PASSPHRASE", "open sesame")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> String {
        said(code, args, &self.command(args).output().expect("the program runs"))
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, bytes).unwrap();
        at
    }

    pub(crate) fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.at(path)).unwrap()).into_owned()
    }

    /// `latest:` and the absolute path of `path`.
    pub(crate) fn latest(&self, path: &str) -> String {
        format!("latest:{}", self.at(path).display())
    }

    /// Restores `d` into `target`.
    #[track_caller]
    pub(crate) fn restore(&self, code: i32, target: &str, more: &[&str]) -> String {
        let part = self.latest("d");
        self.expect(code, &[&["restore", &part, "--target", target], more].concat())
    }
}

#[track_caller]
pub(crate) fn said(code: i32, args: &[&str], output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

pub(crate) fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A file system of its own; gone when it is dropped. Only root may make one.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    pub(crate) fn new(at: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size},mode=755");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &options, "none", at.to_str().unwrap()]);
        assert!(mounted, "this test mounts a file system: run it as root");
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

/// Bytes that do not compress and of which no part is like another.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}
