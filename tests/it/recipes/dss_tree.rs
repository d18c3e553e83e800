//! A data directory of Dataiku DSS: the folders that it has, small. A night changes what a night of DSS changes.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use strongroom::primitives::system::{Scripted, System};

use crate::harness::text;

/// Projects, one of which is called like a folder of temporary files.
const PROJECTS: [&str; 4] = ["PROJ01", "PROJ02", "tmp", "jobs"];

/// Length of a page of the embedded databases.
const PAGE_LEN: u64 = 2048;

/// A page of an embedded database.
fn page(number: u64) -> Vec<u8> {
    text(number, PAGE_LEN as usize)
}

/// A data directory.
pub(super) struct DssTree {
    at: PathBuf,
    random: Scripted,
}

impl DssTree {
    /// A new one with its first day.
    pub(super) fn create(at: &Path) -> Self {
        let tree = Self { at: at.to_owned(), random: Scripted::new(0, 7) };
        tree.write("dss-version.json", br#"{"product_version":"13.4.0"}"#, 0o644);
        tree.write("install.ini", b"[server]\nport = 11200\n", 0o644);
        tree.write("privtmp/key", &tree.blob(64), 0o600);
        fs::set_permissions(at.join("privtmp"), fs::Permissions::from_mode(0o700)).unwrap();
        // The script of DSS writes down what it is asked.
        let script = b"#!/bin/sh\necho \"$1\" >> \"$(dirname \"$0\")/../run/state\"\n";
        tree.write("bin/dss", script, 0o755);
        tree.write("config/users.json", &text(1, 40_000), 0o600);
        tree.write("config/connections.json", br#"{"pg":{"password":"e:AES:xxxx"}}"#, 0o600);
        for project in PROJECTS {
            (0..12).for_each(|number| tree.recipe(project, number, 0));
            (0..3).for_each(|number| tree.dataset(project, number));
            tree.write(&format!("saved_models/{project}/m1/versions/v0/clf.pkl.gz"), &tree.blob(60_000), 0o644);
            tree.write(&format!("analysis-data/{project}/AN1/splits/train.csv"), &text(2, 20_000), 0o644);
            tree.write(&format!("timelines/{project}/tl.h2.db"), &tree.blob(16_000), 0o600);
        }
        for number in 0..40 {
            let path = format!("code-envs/python/env1/lib/pkg{}/mod{number}.py", number / 10);
            tree.write(&path, &text(100 + number, 2000), 0o644);
        }
        fs::create_dir_all(at.join("code-envs/python/env1/bin")).unwrap();
        symlink("/usr/bin/python3", at.join("code-envs/python/env1/bin/python")).unwrap();
        for (name, pages) in [("jobs", 1500), ("flow_state", 400)] {
            let content: Vec<u8> = (0..pages).flat_map(page).collect();
            tree.write(&format!("databases/{name}.h2.db"), &content, 0o600);
        }
        tree.write("_pre_migration_backup_20250101/config.tar.gz", &tree.blob(30_000), 0o644);
        tree.logs(0);
        tree
    }

    /// What a day changes: recipes, pages of databases, a model, data sets that are built again, logs.
    pub(super) fn night(&self, day: u64) {
        for number in 0..4 {
            self.recipe("PROJ01", (number * 3 + day) % 13, day);
        }
        for name in ["jobs", "flow_state"] {
            let at = self.at.join(format!("databases/{name}.h2.db"));
            let mut file = fs::OpenOptions::new().read(true).write(true).open(at).unwrap();
            let pages = file.seek(SeekFrom::End(0)).unwrap() / PAGE_LEN;
            for n in 0..pages / 200 {
                file.seek(SeekFrom::Start((n * 199 + day * 17) % pages * PAGE_LEN)).unwrap();
                file.write_all(&page(n + day * 10_000)).unwrap();
            }
            file.seek(SeekFrom::End(0)).unwrap();
            (0..8).for_each(|n| file.write_all(&page(n + day * 20_000)).unwrap());
        }
        self.write(&format!("saved_models/PROJ02/m1/versions/v{day}/clf.pkl.gz"), &self.blob(60_000), 0o644);
        self.dataset("tmp", day % 3);
        self.logs(day);
    }

    /// Writes a file as DSS does: beside it, and then in its place.
    fn write(&self, path: &str, bytes: &[u8], mode: u32) {
        let at = self.at.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let beside = at.with_extension("tmp~");
        fs::write(&beside, bytes).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(beside, at).unwrap();
    }

    /// Bytes that do not compress and of which no part is like another.
    fn blob(&self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.random.fill_random(&mut bytes);
        bytes
    }

    fn recipe(&self, project: &str, number: u64, day: u64) {
        let of = format!("config/projects/{project}/recipes/r{number:02}");
        let json = format!("{{\"type\":\"python\",\"lastModifiedOn\":{day}}}\n");
        self.write(&format!("{of}.json"), json.as_bytes(), 0o644);
        let code = [b"import dataiku\n".to_vec(), text(number * 100 + day, 800)].concat();
        self.write(&format!("{of}.py"), &code, 0o644);
    }

    fn dataset(&self, project: &str, number: u64) {
        let gz = [b"\x1f\x8b\x08\0".to_vec(), self.blob(20_000)].concat();
        self.write(&format!("managed_datasets/{project}.ds{number}/out.csv.gz"), &gz, 0o644);
    }

    fn logs(&self, day: u64) {
        for project in PROJECTS {
            self.write(&format!("jobs/{project}/Build_{day}/output.log"), &text(day, 3000), 0o644);
            self.write(&format!("scenarios/{project}/NIGHTLY/{day}/run.log"), &text(day, 1000), 0o644);
        }
        self.write("run/backend.log", &text(day, 5000), 0o644);
        self.write(&format!("diagnosis/diag-{day}.zip"), &self.blob(20_000), 0o644);
        for number in 0..5 {
            self.write(&format!("tmp/t{day}-{number}"), &self.blob(3000), 0o644);
            self.write(&format!("caches/samples/{day}/{number}"), &self.blob(3000), 0o644);
        }
        self.write(&format!("data-catalog/index/_{day}.cfs"), &self.blob(20_000), 0o644);
        self.write(&format!("exports/e{day}/data.csv.gz"), &self.blob(3000), 0o644);
    }
}
