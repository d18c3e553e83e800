//! A private MariaDB server.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

/// A private MariaDB server; stopped and removed when it is dropped.
pub(crate) struct MariaDb {
    folder: tempfile::TempDir,
    server: Child,
}

/// A program as the server's user if we are root: the server refuses to be root's.
fn as_server(program: &str) -> Command {
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "mysql", "--regid", "mysql", "--init-groups", program]);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl MariaDb {
    /// A server whose `root` needs no password.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with further options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        if rustix::process::getuid().is_root() {
            let status = Command::new("chown").arg("mysql").arg(folder.path()).status().expect("chown runs");
            assert!(status.success());
        }
        let at = folder.path().display();
        // A server that starts removes temporary tables of others from a directory that they share.
        let temporary = format!("--tmpdir={at}");
        let (data, log) = (format!("--datadir={at}/data"), format!("--log-error={at}/log"));
        let output = as_server("mariadb-install-db")
            .args(["--no-defaults", &data, &temporary, "--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .expect("a MariaDB server is installed (bash .ci/test installs it)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let server = as_server("mariadbd")
            .args(["--no-defaults", &data, &log, &temporary, "--skip-networking", "--innodb-flush-log-at-trx-commit=0"])
            .args([format!("--socket={at}/sock"), format!("--pid-file={at}/pid")])
            .args(options)
            .stderr(Stdio::null())
            .spawn()
            .expect("a MariaDB server is installed (bash .ci/test installs it)");
        let mut this = Self { folder, server };
        loop {
            let ping = this.tool("mariadb-admin").arg("ping").stderr(Stdio::null()).status().expect("it is installed");
            if ping.success() {
                return this;
            }
            let ended = this.server.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "{}", std::fs::read_to_string(this.folder.path().join("log")).unwrap_or_default());
        }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> String {
        self.folder.path().join("sock").display().to_string()
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args(["--no-defaults", "-u", "root", &format!("--socket={}", self.socket())]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// What the server answers to `sql`.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.load("", sql.as_bytes())
    }

    /// Feeds a dump to the client, in this database; what it answers.
    #[track_caller]
    pub(crate) fn load(&self, database: &str, sql: &[u8]) -> String {
        let mut client = self.tool("mariadb");
        client.args(["-BN", "--default-character-set=utf8mb4", "--", database]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = client.stdin.take().expect("it is a pipe");
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A client that fails says so by its status.
                let _ = stdin.write_all(sql);
            });
            client.wait_with_output().expect("it ends")
        });
        let text = String::from_utf8_lossy(&sql[..sql.len().min(400)]).into_owned();
        assert!(output.status.success(), "{}: {text}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Ok(status) = self.tool("mariadb-admin").arg("shutdown").status()
            && !status.success()
        {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
