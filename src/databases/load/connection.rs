//! Which server is loaded into: what `--to` says.

use std::ffi::OsString;
use std::path::PathBuf;

use url::Url;

use crate::databases::postgres;
use crate::primitives::text::printable;

/// The server, and who loads into it. There is no password among the words: it is in the environment or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// The words of libpq, or of a client of MySQL: `host`, `port`, `user`, `dbname`.
    words: Vec<(String, String)>,
    /// A file of options for clients of MySQL, with user and password.
    pub login: Option<PathBuf>,
}

/// What `--to` cannot mean.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConnection(String);

impl Connection {
    /// Reads `host=new user=admin`, with values in quotes if they have blanks, or `postgresql://admin@new`.
    pub fn parse(text: &str) -> Result<Self, BadConnection> {
        let words = match text.trim() {
            url if url.starts_with("postgresql://") || url.starts_with("postgres://") => of_url(url)?,
            words => of_words(words)?,
        };
        if words.iter().any(|(key, _)| matches!(key.as_str(), "password" | "passwd" | "sslpassword")) {
            let text = "a password on the command line is seen by everybody on this machine: \
                        use PGPASSWORD or MYSQL_PWD, a password file of the client, or --to-password-file";
            return Err(BadConnection(text.to_owned()));
        }
        Ok(Self { words, login: None })
    }

    /// With a file of options for clients of MySQL.
    #[must_use]
    pub fn with_login(self, login: Option<PathBuf>) -> Self {
        Self { login, ..self }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.words.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The server in words that stay the same from run to run: for people, and to know it again.
    pub fn shown(&self) -> String {
        let known = ["service", "host", "hostaddr", "port", "socket"];
        let words = known.iter().filter_map(|key| Some(format!("{key}={}", self.get(key)?)));
        let shown: Vec<String> = words.collect();
        if shown.is_empty() {
            "the server of the environment".to_owned()
        } else {
            printable(shown.join(" ").as_bytes())
        }
    }

    /// The words with which a source of the kind `postgres` reaches the same server.
    pub(super) fn as_source(&self) -> postgres::Connection {
        let word = |key: &str| self.get(key).map(str::to_owned);
        let named = ["service", "host", "port", "user", "dbname"];
        let more = self.words.iter().filter(|(key, _)| !named.contains(&key.as_str())).cloned().collect();
        postgres::Connection {
            service: word("service"),
            host: word("host"),
            port: word("port"),
            user: word("user"),
            more,
        }
    }

    /// libpq's words for a database of the server. No session is read-only because its database or user is said to be.
    pub(super) fn conninfo(&self, database: Option<&str>) -> String {
        let quoted = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
        let of_environment = std::env::var("PGOPTIONS").unwrap_or_default();
        let options = self.get("options").unwrap_or(&of_environment);
        let options = format!("{options} -c default_transaction_read_only=off").trim().to_owned();
        let mut words: Vec<(&str, &str)> =
            self.words.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        words.retain(|(key, _)| *key != "options" && !(*key == "dbname" && database.is_some()));
        words.extend(database.map(|name| ("dbname", name)));
        words.push(("options", &options));
        words.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join(" ")
    }

    /// The options of a client of MySQL, without a database.
    pub(super) fn client_options(&self) -> Result<Vec<OsString>, BadConnection> {
        let mut options: Vec<OsString> = Vec::new();
        if let Some(login) = &self.login {
            // A client takes it as its first option only.
            let mut option = OsString::from("--defaults-extra-file=");
            option.push(login);
            options.push(option);
        }
        for (key, value) in &self.words {
            match key.as_str() {
                "host" | "port" | "user" | "socket" | "protocol" | "ssl-ca" | "ssl-mode" => {
                    options.push(format!("--{key}={value}").into());
                }
                other => {
                    let text = format!(
                        "--to has the word `{other}`, which a client of MySQL or MariaDB does not \
                                        know: host, port, user, socket, protocol, ssl-ca and ssl-mode are possible"
                    );
                    return Err(BadConnection(text));
                }
            }
        }
        Ok(options)
    }
}

impl Connection {
    /// Whether it is over a socket of this machine.
    pub(super) fn is_socket(&self) -> bool {
        self.words.iter().any(|(key, _)| key == "socket")
    }
}

fn of_words(text: &str) -> Result<Vec<(String, String)>, BadConnection> {
    let bad = |what: &str| BadConnection(format!("invalid --to: {what}; expected words such as host=NAME user=NAME"));
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=').ok_or_else(|| bad("there is a word without `=`"))?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(bad("there is a word without `=`"));
        }
        let (mut value, mut chars) = (String::new(), behind.trim_start().chars());
        let is_quoted = chars.as_str().starts_with('\'');
        if is_quoted {
            chars.next();
        }
        let mut is_closed = !is_quoted;
        while let Some(c) = chars.next() {
            match c {
                '\\' => value.extend(chars.next()),
                '\'' if is_quoted => {
                    is_closed = true;
                    break;
                }
                c if c.is_whitespace() && !is_quoted => break,
                c => value.push(c),
            }
        }
        if !is_closed {
            return Err(bad("a quote is not closed"));
        }
        words.push((key.to_owned(), value));
        rest = chars.as_str().trim_start();
    }
    Ok(words)
}

fn of_url(text: &str) -> Result<Vec<(String, String)>, BadConnection> {
    let bad = |what: String| BadConnection(format!("invalid --to: {what}"));
    // The text itself may hold a password: it is not repeated.
    let url = Url::parse(text).map_err(|e| bad(format!("the URL cannot be read: {e}")))?;
    let decoded = |part: &str| {
        let pair = format!("x={}", part.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let mut words = Vec::new();
    let mut add = |key: &str, value: Option<String>| {
        words.extend(value.filter(|value| !value.is_empty()).map(|value| (key.to_owned(), value)));
    };
    add("host", url.host_str().map(decoded));
    add("port", url.port().map(|port| port.to_string()));
    add("user", Some(decoded(url.username())));
    add("password", url.password().map(decoded));
    add("dbname", Some(decoded(url.path().trim_start_matches('/'))));
    for (key, value) in url.query_pairs() {
        add(&key, Some(value.into_owned()));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_urls_are_read_alike() {
        let open = Connection::parse("user = 'the admin").unwrap_err();
        assert!(open.to_string().contains("a quote is not closed"), "{open}");
        let words = Connection::parse("host=new user='the \\'admin\\'' port=5433").unwrap();
        assert_eq!(words.get("user"), Some("the 'admin'"));
        assert_eq!(words.shown(), "host=new port=5433");
        let url = Connection::parse("postgresql://the%20admin@new:5433/d%2fb?sslmode=require").unwrap();
        let read = ["host", "port", "user", "dbname", "sslmode"].map(|key| url.get(key).unwrap_or_default());
        assert_eq!(read, ["new", "5433", "the admin", "d/b", "require"]);
        assert!(url.conninfo(Some("it's")).contains("dbname='it\\'s' options='"));
        assert!(url.conninfo(Some("x")).contains("default_transaction_read_only=off"));
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        for text in ["host=x password=geheim", "postgresql://u:geheim@h/d"] {
            let error = Connection::parse(text).unwrap_err().to_string();
            assert!(error.contains("--to-password-file") && !error.contains("geheim"), "{error}");
        }
        assert!(Connection::parse("host").is_err());
    }

    #[test]
    fn a_client_of_mysql_is_given_what_it_knows() {
        let to = Connection { login: Some("/l".into()), ..Connection::parse("socket=/s user=root").unwrap() };
        assert_eq!(to.client_options().unwrap(), ["--defaults-extra-file=/l", "--socket=/s", "--user=root"]);
        assert!(Connection::parse("service=x").unwrap().client_options().is_err());
    }
}
