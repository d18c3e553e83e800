//! The command that loads a dump by hand, once it was restored as a file.

use std::path::Path;

use crate::format::description::StreamDescription;

/// What stands for the file in a command of a description; without it the file is its standard input.
const FILE: &str = "{file}";

/// What in a command unpacks its standard input, and has another command behind it.
const UNPACKS: &str = "--directory=DIRECTORY &&";

/// The command, for people: it is never run. `None` of what no command loads.
pub fn by_hand(stream: &StreamDescription, file: &Path) -> Option<String> {
    let file = quoted(&file.to_string_lossy());
    if let Some(command) = stream.load.as_ref().filter(|command| !command.trim().is_empty()) {
        return Some(match command.contains(FILE) {
            true => command.replace(FILE, &file),
            // Of older descriptions: the file is the input of the first command, and not of the last.
            false if command.contains(UNPACKS) => command.replace(UNPACKS, &format!("--file={file} {UNPACKS}")),
            false => format!("{command} < {file}"),
        });
    }
    let database = quoted(stream.member.as_deref().unwrap_or("NAME"));
    match (stream.kind.as_str(), stream.format.as_str()) {
        ("postgres", "globals") => Some(format!("psql -X -d postgres -f {file}")),
        ("postgres", "plain") => Some(format!("psql -X -v ON_ERROR_STOP=1 -d {database} -f {file}")),
        ("postgres", "custom") => Some(format!("pg_restore --exit-on-error -d {database} {file}")),
        ("mysql", "grants") => Some(format!("mariadb < {file}")),
        ("mysql", _) => Some(format!("mariadb {database} < {file}")),
        _ => None,
    }
}

/// A word of a line for a shell.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| "''".to_owned(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_file_that_was_restored() {
        let stream = |format: &str, load: Option<&str>| StreamDescription {
            kind: "postgres".to_owned(),
            format: format.to_owned(),
            member: Some("we ird".to_owned()),
            load: load.map(str::to_owned),
            ..StreamDescription::default()
        };
        let told = |format: &str, load: Option<&str>| by_hand(&stream(format, load), Path::new("/t/$x"));
        assert_eq!(told("custom", None).unwrap(), "pg_restore --exit-on-error -d 'we ird' '/t/$x'");
        assert_eq!(told("", Some("mongorestore --archive")).unwrap(), "mongorestore --archive < '/t/$x'");
        assert_eq!(told("", Some("x {file} y")).unwrap(), "x '/t/$x' y");
        assert_eq!(told("basebackup", None), None);
        let old = "mkdir DIRECTORY && tar --extract --directory=DIRECTORY && pg_restore --dbname=x DIRECTORY";
        let unpacked = "mkdir DIRECTORY && tar --extract --file='/t/$x' --directory=DIRECTORY && pg_restore --dbname=x \
                        DIRECTORY";
        assert_eq!(told("directory", Some(old)).unwrap(), unpacked);
    }
}
