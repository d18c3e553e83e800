//! A private PostgreSQL server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A private PostgreSQL server; stopped and removed when it is dropped.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    pub bin: PathBuf,
    /// Its superuser.
    pub admin: String,
}

/// The directory of the programs of the server; else it is the newest that is installed.
const BIN: &str = "STRONGROOM_TEST_POSTGRES";

fn newest() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed (bash .ci/test installs it)")
        .map(|entry| entry.expect("readable").path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("a PostgreSQL server is installed (bash .ci/test installs it)")
}

/// Runs a program as the server's user if we are root: the server refuses to be root's.
fn as_server(program: &Path, arguments: &[&str], input: &str) -> Output {
    as_server_fed(program, arguments, input.as_bytes())
}

fn as_server_fed(program: &Path, arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write;
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).current_dir("/").env("PGCONNECT_TIMEOUT", "60");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv and the tools are there");
    child.stdin.take().expect("it is a pipe").write_all(input).expect("it is read");
    child.wait_with_output().expect("it ends")
}

/// A folder that the server's user may fill.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    if rustix::process::getuid().is_root() {
        let status = Command::new("chown").arg("postgres").arg(folder.path()).status().expect("chown runs");
        assert!(status.success());
    }
    folder
}

impl Postgres {
    /// A server that trusts everybody who reaches its socket.
    pub(crate) fn start() -> Self {
        Self::start_as("postgres")
    }

    /// A server that trusts everybody who reaches its socket, with a superuser of this name.
    pub(crate) fn start_as(admin: &str) -> Self {
        Self::start_with(admin, &["-A", "trust"], None)
    }

    /// A server that lets a system user in as the role of the same name.
    pub(crate) fn start_with_peers() -> Self {
        Self::start_with("postgres", &["-A", "peer"], None)
    }

    /// A server that asks for a password; that of `postgres` is this one.
    pub(crate) fn start_with_password(password: &str) -> Self {
        Self::start_with("postgres", &["-A", "scram-sha-256"], Some(password))
    }

    fn start_with(admin: &str, options: &[&str], password: Option<&str>) -> Self {
        let bin = std::env::var_os(BIN).map_or_else(newest, PathBuf::from);
        let server = Self { folder: folder(), bin, admin: admin.to_owned() };
        let data = server.at() + "/data";
        let mut words = vec!["-D", &data, "-U", admin, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"];
        words.extend(options);
        let file = server.at() + "/password";
        std::fs::write(&file, password.unwrap_or_default()).expect("it is ours");
        let option = format!("--pwfile={file}");
        words.extend(password.map(|_| option.as_str()));
        server.must("initdb", &words, "");
        server.up(&data);
        server
    }

    /// A standby of this server, which has reached its state.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self { folder: folder(), bin: self.bin.clone(), admin: self.admin.clone() };
        let data = standby.at() + "/data";
        let from = format!("--dbname=host='{}' user=postgres", self.at());
        standby.must("pg_basebackup", &["-D", &data, "-R", "--checkpoint=fast", "--no-sync", &from], "");
        standby.up(&data);
        standby
    }

    /// A server that begins with what a base backup holds, a tar file.
    pub(crate) fn of_base_backup(&self, tar: &Path) -> Self {
        let server = Self { folder: folder(), bin: self.bin.clone(), admin: self.admin.clone() };
        let data = server.at() + "/data";
        let script = format!("umask 077 && mkdir '{data}' && tar -x -C '{data}'");
        let unpacked = as_server_fed(Path::new("/bin/sh"), &["-c", &script], &std::fs::read(tar).expect("it is there"));
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        server.up(&data);
        server
    }

    /// A server that is to begin with a data directory that is brought to [`Postgres::data`].
    pub(crate) fn beside(&self) -> Self {
        Self { folder: folder(), bin: self.bin.clone(), admin: self.admin.clone() }
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> String {
        self.at() + "/data"
    }

    /// Starts it on its data directory.
    pub(crate) fn start_on_data(&self) {
        self.up(&self.data());
    }

    /// An empty directory that the server may fill.
    pub(crate) fn directory(&self, name: &str) -> String {
        let path = format!("{}/{name}", self.at());
        let made = as_server(Path::new("/bin/mkdir"), &["-m", "700", &path], "");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        path
    }

    /// A server that begins with a data directory, which it then runs in.
    pub(crate) fn of_directory(&self, data: &Path) -> Self {
        let server = Self { folder: folder(), bin: self.bin.clone(), admin: self.admin.clone() };
        let own = server.at() + "/data";
        std::fs::rename(data, &own).expect("they are on one file system");
        server.up(&own);
        server
    }

    fn up(&self, data: &str) {
        let options = format!("-c listen_addresses= -k {} -c fsync=off", self.at());
        self.must("pg_ctl", &["-D", data, "-o", &options, "-l", &(self.at() + "/log"), "-w", "start"], "");
    }

    #[track_caller]
    fn must(&self, tool: &str, arguments: &[&str], input: &str) -> String {
        let output = as_server(&self.bin.join(tool), arguments, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The folder of its socket, which is its host.
    pub(crate) fn at(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// What `sql` answers in a database that the superuser connects to; the server must trust.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let name = database.replace('\\', "\\\\").replace('\'', "\\'");
        let connection = format!("--dbname=host='{}' user={} dbname='{name}'", self.at(), self.admin);
        self.must("psql", &["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-f", "-", &connection], sql)
    }

    /// Makes a database of this name, and runs `sql` in it.
    #[track_caller]
    pub(crate) fn database(&self, name: &str, sql: &str) {
        self.sql("postgres", &format!("create database \"{}\"", name.replace('"', "\"\"")));
        self.sql(name, sql);
    }

    /// The server is asked for its end at once.
    fn stop(&self) {
        as_server(&self.bin.join("pg_ctl"), &["-D", &(self.at() + "/data"), "-m", "immediate", "-w", "stop"], "");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
