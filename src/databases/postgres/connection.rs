//! Where a server is, in the words of libpq.

/// Where a server is. What is not said here, libpq takes from its environment, service and pass files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// An entry of `pg_service.conf`.
    pub service: Option<String>,
    /// The host, or the directory of the socket.
    pub host: Option<String>,
    /// The port.
    pub port: Option<String>,
    /// Who connects.
    pub user: Option<String>,
    /// Further words: names and values.
    pub more: Vec<(String, String)>,
}

impl Connection {
    /// The connection string for a database; `None`: the one that libpq chooses. No password stands in it.
    pub fn to(&self, database: Option<&str>) -> String {
        let parts = [
            ("service", self.service.as_deref()),
            ("host", self.host.as_deref()),
            ("port", self.port.as_deref()),
            ("user", self.user.as_deref()),
            ("dbname", database),
        ];
        let parts = parts.iter().filter_map(|(key, value)| Some((*key, (*value)?)));
        let more = self.more.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let parts = more.chain(parts).map(|(key, value)| format!("{key}={}", quoted(value)));
        parts.collect::<Vec<_>>().join(" ")
    }

    /// The option of a tool that names the server, and a database of it.
    pub(super) fn option(&self, database: Option<&str>) -> String {
        format!("--dbname={}", self.to(database))
    }
}

/// A value of a connection string. A single word without `=` would be the name of a database.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The option by which a person names a database on a command line, for a shell.
pub(super) fn shell_option(database: &str) -> String {
    let is_name =
        !database.contains('=') && !database.starts_with("postgres://") && !database.starts_with("postgresql://");
    let value = if is_name { database.to_owned() } else { format!("dbname={}", quoted(database)) };
    // No name holds NUL, the only thing that cannot be quoted.
    let quoted = shlex::try_quote(&value).map_or_else(|_| value.clone(), |text| text.into_owned());
    format!("--dbname={quoted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let server = Connection { host: Some("/run/pg".into()), user: Some("o'neil".into()), ..Connection::default() };
        assert_eq!(server.to(None), r"host='/run/pg' user='o\'neil'");
        assert_eq!(server.to(Some(r"a\ b=c")), r"host='/run/pg' user='o\'neil' dbname='a\\ b=c'");
        assert_eq!(Connection::default().option(Some("")), "--dbname=dbname=''");
        let more = Connection { more: vec![("sslmode".into(), "require".into())], ..Connection::default() };
        assert_eq!(more.to(Some("app")), "sslmode='require' dbname='app'");
        assert_eq!(shell_option("app"), "--dbname=app");
        assert_eq!(shell_option("$(touch x)"), "--dbname='$(touch x)'");
        assert_eq!(shell_option("a=b"), r#"--dbname="dbname='a=b'""#);
    }
}
