//! A server of MySQL or MariaDB, asked through its command-line client; and the tool that dumps it.

use std::ffi::OsString;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::databases::tool::Tools;
use crate::source::command::CommandSource;

/// Clients that answer questions, the likelier one first.
const CLIENTS: [&str; 2] = ["mariadb", "mysql"];

/// After how many seconds a server that does not answer is given up.
const CONNECT_SECS: u32 = 20;

/// The variable that takes a password to the tools.
///
/// Nobody but root and the user of a tool can read its environment, and nothing of it stays behind when this program is
/// killed, as a file would. The tools let a password in an option file win; that of the user is set aside by [`HOME`].
const PASSWORD: &str = "MYSQL_PWD";

/// Where the tools look for option files of the user: they would win over what the configuration says.
const HOME: (&str, &str) = ("HOME", "/nonexistent");

/// An option for sockets; tools that do not know it go on.
const SOCKET_NEEDS_NO_CERTIFICATE: &str = "--loose-ssl-verify-server-cert=0";

/// How a server is reached, and the tools that do so.
#[derive(Default)]
pub struct Connection {
    /// How tools are run.
    pub tools: Tools,
    /// A defaults file with `[client]`: user, password and whatever else it says.
    pub login: Option<PathBuf>,
    /// The server's name, or the path of its socket.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<String>,
    /// Who connects.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Zeroizing<String>>,
    /// Options of the tools in place of those that are made of the others.
    pub options: Option<Vec<OsString>>,
}

/// A server that answered.
pub(super) struct Server {
    tools: Tools,
    client: &'static str,
    /// Arguments of all tools; that of a defaults file comes first, as they want it.
    arguments: Vec<OsString>,
    /// What it says of its version.
    pub(super) version: String,
    pub(super) is_mariadb: bool,
}

/// The tool that writes dumps.
pub(super) struct DumpTool {
    pub(super) name: &'static str,
    /// What it says of its version.
    pub(super) version: String,
    /// What it says of its options.
    help: String,
}

impl Connection {
    /// Connects once, and learns what the server is.
    pub(super) fn open(&self) -> Result<Server, String> {
        let mut tools = self.tools.clone();
        if let Some(password) = &self.password {
            tools.env.push((PASSWORD.into(), password.as_str().into()));
        }
        if tools.container.is_none() && (self.login.is_some() || self.password.is_some()) {
            tools.env.push((HOME.0.into(), HOME.1.into()));
        }
        if tools.container.is_some() && self.login.is_some() {
            return Err("`login` names a file that a container does not see: give `user` and `password_file`, \
                        `password_env`, `password_command` or `password_credential`"
                .to_owned());
        }
        let (client, said) = first_of(&tools, &CLIENTS)?;
        let mut arguments = self.arguments();
        arguments.extend(self.of_socket(&said));
        let mut server = Server { tools, client, arguments, version: String::new(), is_mariadb: false };
        let said = server.ask("select version(), @@version_comment")?;
        let [version, comment] = said.first().map(Vec::as_slice).unwrap_or_default() else {
            return Err(format!("{client}: the server did not say what it is"));
        };
        server.is_mariadb = [version, comment].iter().any(|text| text.to_ascii_lowercase().contains("mariadb"));
        server.version.clone_from(version);
        Ok(server)
    }

    /// Clients of MariaDB 11.4 and newer want certificates, also where nothing but a socket of this machine is between.
    fn of_socket(&self, client_version: &str) -> Option<OsString> {
        let is_socket = self.host.as_ref().is_some_and(|host| host.starts_with('/'));
        (is_socket && is_of_mariadb(client_version)).then(|| SOCKET_NEEDS_NO_CERTIFICATE.into())
    }

    fn arguments(&self) -> Vec<OsString> {
        if let Some(options) = &self.options {
            return options.clone();
        }
        let mut all: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| {
            let mut word = OsString::from(name);
            word.push(value);
            all.push(word);
        };
        if let Some(login) = &self.login {
            option("--defaults-extra-file=", login.into());
        }
        match &self.host {
            Some(socket) if socket.starts_with('/') => option("--socket=", socket.into()),
            Some(host) => option("--host=", host.into()),
            None => {}
        }
        self.port.iter().for_each(|port| option("--port=", port.into()));
        self.user.iter().for_each(|user| option("--user=", user.into()));
        all
    }
}

impl Server {
    /// The rows that the client prints for these statements.
    pub(super) fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let mut arguments = self.arguments.clone();
        arguments.extend(client_options());
        // Texts are quoted as the mode without any setting has it.
        let input = format!("set sql_mode = '';\n{sql};\n");
        let said = self.tools.answer(self.client, arguments, input.as_bytes())?;
        Ok(rows(&String::from_utf8_lossy(&said)))
    }

    /// The command that asks this; its answer is for [`rows`]. For questions that take long.
    pub(super) fn asking(&self, name: &str, sql: &str) -> CommandSource {
        let mut arguments = self.arguments.clone();
        arguments.extend(client_options());
        arguments.push(format!("--execute={sql}").into());
        self.tools.command(name, self.client, arguments)
    }

    /// The command that dumps.
    pub(super) fn dumping(&self, name: &str, tool: &DumpTool, more: Vec<OsString>) -> CommandSource {
        let options = tool.options(self).into_iter().map(OsString::from);
        let arguments = self.arguments.iter().cloned().chain(options).chain(more);
        self.tools.command(name, tool.name, arguments)
    }

    /// The tool that fits it best, of those that are there.
    pub(super) fn dump_tool(&self) -> Result<DumpTool, String> {
        let candidates = match self.is_mariadb {
            true => ["mariadb-dump", "mysqldump"],
            false => ["mysqldump", "mariadb-dump"],
        };
        let (name, version) = first_of(&self.tools, &candidates)?;
        let help = self.tools.answer(name, ["--no-defaults", "--help"], b"")?;
        Ok(DumpTool { name, version, help: String::from_utf8_lossy(&help).into_owned() })
    }

    /// The client that loads what was dumped.
    pub(super) fn loader(&self) -> &'static str {
        if self.is_mariadb { "mariadb" } else { "mysql" }
    }

    /// Whether it is a MySQL of at least this version.
    pub(super) fn is_mysql_since(&self, least: (u32, u32, u32)) -> bool {
        !self.is_mariadb && version_of(&self.version) >= least
    }
}

impl DumpTool {
    /// Whether it is MariaDB's.
    pub(super) fn is_mariadb(&self) -> bool {
        is_of_mariadb(&self.version)
    }

    /// Options of each dump: consistent, and the same each night if nothing changes. What an option file of the machine
    /// could say otherwise is said here.
    fn options(&self, server: &Server) -> Vec<&'static str> {
        let mut options = vec![
            "--single-transaction",
            "--quick",
            "--skip-dump-date",
            "--order-by-primary",
            // Without it, old tools write `?` for characters of four bytes.
            "--default-character-set=utf8mb4",
            // Binary values survive every client and every character set.
            "--hex-blob",
            "--max-allowed-packet=1G",
            "--comments",
            "--quote-names",
            "--no-tablespaces",
        ];
        if self.help.contains("set-gtid-purged") {
            options.push("--set-gtid-purged=OFF");
        }
        if self.help.contains("column-statistics") && !server.is_mysql_since((8, 0, 0)) {
            options.push("--column-statistics=0");
        }
        options
    }
}

/// Whether a tool that says this of its version is MariaDB's.
fn is_of_mariadb(said: &str) -> bool {
    said.contains("MariaDB")
}

fn client_options() -> Vec<OsString> {
    let connect = format!("--connect-timeout={CONNECT_SECS}");
    let options = ["--batch", "--skip-column-names", "--default-character-set=utf8mb4", &connect];
    options.map(OsString::from).to_vec()
}

/// The first of these tools that is there, and its version; or what each of them said.
fn first_of(tools: &Tools, names: &[&'static str]) -> Result<(&'static str, String), String> {
    let mut said = Vec::new();
    for name in names {
        match tools.answer_text(name, ["--version"], b"") {
            Ok(version) => return Ok((name, version.trim().to_owned())),
            Err(e) => said.push(e),
        }
    }
    Err(said.join("; "))
}

/// The rows of the client's answer: it writes a line for each, with tabs between values, and marks what would break that.
pub(super) fn rows(answer: &str) -> Vec<Vec<String>> {
    answer.lines().map(|line| line.split('\t').map(unescaped).collect()).collect()
}

fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('0') => out.push('\0'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// A text as SQL has it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn version_of(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_client_are_read_as_it_marks_them() {
        assert_eq!(rows("a\tb\\n\\tc\\\\n\n\\0\t\n"), [["a", "b\n\tc\\n"], ["\0", ""]]);
    }

    #[test]
    fn names_and_texts_cannot_break_out_of_their_quotes() {
        assert_eq!(quoted("a`; drop"), "`a``; drop`");
        assert_eq!(literal("a'\\"), "'a''\\\\'");
    }

    #[test]
    fn a_defaults_file_is_the_first_argument_and_the_password_none() {
        let connection = Connection {
            login: Some("/etc/my login.cnf".into()),
            host: Some("/run/sock".to_owned()),
            port: Some("3307".to_owned()),
            user: Some("backup".to_owned()),
            password: Some("hunter2".to_owned().into()),
            ..Connection::default()
        };
        let expected =
            ["--defaults-extra-file=/etc/my login.cnf", "--socket=/run/sock", "--port=3307", "--user=backup"];
        assert_eq!(connection.arguments(), expected);
    }

    /// The client of MariaDB 11.8 refused the socket of a server without TLS: "SSL is required".
    #[test]
    fn a_socket_needs_no_certificate() {
        let at = |host: &str| Connection { host: Some(host.to_owned()), ..Connection::default() };
        let (maria, oracle) = (
            "mariadb from 11.8.9-MariaDB, client 15.2 for debian-linux-gnu (x86_64)",
            "mysql  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
        );
        assert!(at("/run/sock").of_socket(maria).is_some());
        assert_eq!(at("db.example.org").of_socket(maria), None);
        assert_eq!(at("/run/sock").of_socket(oracle), None);
        let tool = |version: &str| DumpTool { name: "mysqldump", version: version.to_owned(), help: String::new() };
        assert!(tool("mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)").is_mariadb());
        assert!(tool("mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)").is_mariadb());
        assert!(!tool("mysqldump  Ver 9.7.4-2 for Linux on x86_64 ((Debian))").is_mariadb());
    }

    /// What differs between Oracle's tool and MariaDB's, and between their servers.
    #[test]
    fn options_fit_tool_and_server() {
        let server = |version: &str, is_mariadb| Server {
            tools: Tools::default(),
            client: "mysql",
            arguments: Vec::new(),
            version: version.to_owned(),
            is_mariadb,
        };
        let tool = |help: &str| DumpTool { name: "mysqldump", version: String::new(), help: help.to_owned() };
        let has = |tool: &DumpTool, server: &Server, option: &str| tool.options(server).contains(&option);
        let (oracle, maria) = (tool("--set-gtid-purged --column-statistics"), tool("--dump-history"));
        assert!(has(&oracle, &server("8.0.36", false), "--set-gtid-purged=OFF"));
        assert!(!has(&oracle, &server("8.0.36", false), "--column-statistics=0"));
        assert!(has(&oracle, &server("5.7.44-log", false), "--column-statistics=0"));
        assert!(has(&oracle, &server("10.11.19-MariaDB", true), "--column-statistics=0"));
        assert!(!has(&maria, &server("10.11.19-MariaDB", true), "--set-gtid-purged=OFF"));
        assert!(!has(&maria, &server("5.7.44", false), "--column-statistics=0"));
        assert!(has(&maria, &server("11.4.2-MariaDB", true), "--single-transaction"));
    }
}
