//! A configuration to begin with, for what is found on the machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::dss::VERSION_FILE;

/// What was found on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Directory of a PostgreSQL server's socket.
    pub postgres: Option<PathBuf>,
    /// Socket of a MySQL or MariaDB server.
    pub mysql: Option<PathBuf>,
    /// Data directories of Dataiku DSS.
    pub dss: Vec<PathBuf>,
}

/// Where distributions put the directory of PostgreSQL's sockets.
const POSTGRES: [&str; 3] = ["run/postgresql", "var/run/postgresql", "tmp"];
/// Where distributions put the socket of MySQL and MariaDB.
const MYSQL: [&str; 5] = [
    "run/mysqld/mysqld.sock",
    "var/run/mysqld/mysqld.sock",
    "var/lib/mysql/mysql.sock",
    "run/mariadb/mariadb.sock",
    "tmp/mysql.sock",
];
/// Below these directories data directories of DSS are looked for, two levels deep.
const DSS: [&str; 6] = ["data", "home", "opt", "srv", "var/lib", "mnt"];

/// Looks at the machine whose root directory is `root`.
pub fn find(root: &Path) -> Found {
    let postgres = POSTGRES.iter().map(|folder| root.join(folder)).find(|folder| {
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                name.to_string_lossy().starts_with(".s.PGSQL.") && !name.to_string_lossy().ends_with(".lock")
            })
        })
    });
    let mysql = MYSQL.iter().map(|socket| root.join(socket)).find(|socket| socket.exists());
    let mut dss = Vec::new();
    for above in DSS.iter().map(|above| root.join(above)) {
        for entry in walkdir::WalkDir::new(above).max_depth(3).sort_by_file_name().into_iter().flatten() {
            if entry.file_name() == VERSION_FILE
                && let Some(folder) = entry.path().parent()
            {
                dss.push(folder.to_owned());
            }
        }
    }
    dss.sort();
    dss.dedup();
    Found { postgres, mysql, dss }
}

/// The text of a configuration for what was found. `repository` is a location, if one is known.
pub fn text(found: &Found, repository: Option<&str>, credential: Option<&Path>) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let shown = |path: &Path| quoted(&path.to_string_lossy());
    let mut text = String::from(HEAD);
    text.push_str(&format!("url = {}\n", quoted(repository.unwrap_or("/srv/strongroom"))));
    text.push_str(match credential {
        Some(_) => "# This machine's credential: it adds backups and reads nothing.\n",
        None => CREDENTIAL,
    });
    match credential {
        Some(file) => text.push_str(&format!("credential = {}\n", shown(file))),
        None => text.push_str("password_file = \"/etc/strongroom/passphrase\"\n"),
    }
    text.push_str(DEFAULTS);
    if let Some(folder) = &found.postgres {
        text.push_str(&format!(
            "{POSTGRES_JOB}server = {{ kind = \"postgres\", host = {}, run_as = \"postgres\" }}\n",
            shown(folder)
        ));
    }
    if let Some(socket) = &found.mysql {
        text.push_str(&format!("{MYSQL_JOB}server = {{ kind = \"mysql\", host = {} }}\n", shown(socket)));
    }
    for (number, folder) in found.dss.iter().enumerate() {
        let name = if number == 0 { "dss".to_owned() } else { format!("dss{}", number + 1) };
        let stop = shlex::try_quote(&folder.join("bin/dss").to_string_lossy())
            .map(|word| word.into_owned())
            .unwrap_or_default();
        text.push_str(&format!(
            "{DSS_JOB}[jobs.{name}]\nschedule = \"mon-fri 06:15\"\nbefore = {}\nalways = {}\nhook_timeout = \"10m\"\n\
             sources = {{ data_dir = {{ kind = \"path\", paths = [{}], presets = [\"dss:temp\"] }} }}\n",
            quoted(&format!("{stop} stop")),
            quoted(&format!("{stop} start")),
            shown(folder),
        ));
    }
    text.push_str(FILES_JOB);
    text
}

const HEAD: &str = "\
# Jobs of strongroom on this machine. After each change: strongroom config check
# `strongroom run` runs all jobs now; `strongroom run --due`, called every ten minutes, runs those whose time has come.
version = 1

[repositories.main]
# A directory, or a URL such as s3://bucket/prefix?region=eu-central-1
";

const CREDENTIAL: &str = "\
# Better on a machine that only makes backups: a credential of its own, made by `strongroom credential add`.
# credential = \"/etc/strongroom/credential\"
";

const DEFAULTS: &str = "
[defaults]
repository = \"main\"
schedule = \"daily 02:00\"
jitter = \"15m\"
retention = \"default\"
timeout = \"6h\"
min_ratio = 0.5

[retention]
default = { keep_daily = 14, keep_weekly = 8, keep_monthly = 12 }
";

const POSTGRES_JOB: &str = "
# All databases of the PostgreSQL server, and its roles. `databases = [...]` names some; `exclude = [...]` leaves some out.
[jobs.postgres.sources]
";

const MYSQL_JOB: &str = "
# All databases of the MySQL or MariaDB server, with its users and grants.
[jobs.mysql.sources]
";

const DSS_JOB: &str = "
# Dataiku DSS stops before and is started again in any case. Add Govern's database as a source of the same job.
";

const FILES_JOB: &str = "
# What else is to be saved.
[jobs.files.sources]
etc = { kind = \"path\", paths = [\"/etc\"] }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::config::Config;

    #[test]
    fn what_is_found_becomes_jobs_that_the_check_accepts() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        assert_eq!(find(root.path()), Found::default());
        for folder in ["run/postgresql", "run/mysqld", "data/my dss/bin", "home/dataiku/dss_data"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in [
            "run/postgresql/.s.PGSQL.5432",
            "run/mysqld/mysqld.sock",
            "data/my dss/dss-version.json",
            "home/dataiku/dss_data/dss-version.json",
        ] {
            fs::write(at(file), "").unwrap();
        }
        let found = find(root.path());
        assert_eq!(found.dss, [at("data/my dss"), at("home/dataiku/dss_data")]);
        for (found, jobs) in [(found, 5), (Found::default(), 1)] {
            for credential in [None, Some(Path::new("/etc/strongroom/credential"))] {
                let text = text(&found, Some("s3://bucket/\"x\""), credential);
                let config = Config::of_files(Path::new("/etc/x.toml"), &|_| Ok(text.clone()));
                let config = config.unwrap_or_else(|e| panic!("{e}\n{text}"));
                assert_eq!(config.jobs.len(), jobs, "{text}");
            }
        }
    }
}
