//! What was loaded into which server: a file of JSON lines on this machine.
//!
//! It lets a command that was interrupted go on with what is not loaded yet, and says which loads began and never ended.
//! Each line is written and made durable before what it says is relied on. Lines that cannot be read are passed over: the
//! databases that they speak of count as not loaded.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::options::LoadError;

/// What happened to a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// `begun`; `loaded`; `replacing` and `kept` of a database that is about to be replaced, and was not.
    pub event: String,
    /// The server.
    pub to: String,
    /// The database.
    pub database: String,
    /// What tells the database from one of the same name that was made later.
    pub identity: String,
    /// The snapshot.
    pub snapshot: String,
    /// When, in milliseconds since the epoch.
    pub time_ms: i64,
    /// Whether the load made the database.
    #[serde(default)]
    pub made: bool,
}

/// The last line about a database of a server.
pub(super) fn last(file: &Path, to: &str, database: &str) -> Option<Line> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.rfind(|line| line.to == to && line.database == database)
}

/// All lines, from the oldest on, as they stand.
pub(super) fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Adds a line.
pub(super) fn append(file: &Path, line: &impl Serialize) -> Result<(), LoadError> {
    let failed = |source| LoadError::State { action: "remember what is loaded in", path: file.to_owned(), source };
    let mut text = serde_json::to_string(line).unwrap_or_default();
    // A line that was cut short by a crash must not take this one with it.
    text.insert(0, '\n');
    text.push('\n');
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut opened = OpenOptions::new().create(true).append(true).mode(0o600).open(file).map_err(failed)?;
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_data()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_database_counts_and_torn_ones_do_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("below/loads");
        assert_eq!(last(&file, "s", "d"), None);
        let line = |event: &str, database: &str| Line {
            event: event.to_owned(),
            to: "s".to_owned(),
            database: database.to_owned(),
            identity: "1".to_owned(),
            snapshot: "a".to_owned(),
            time_ms: 5,
            made: true,
        };
        append(&file, &line("begun", "d")).unwrap();
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"event\":\"lo").unwrap();
        append(&file, &line("loaded", "d")).unwrap();
        append(&file, &line("begun", "e")).unwrap();
        assert_eq!(last(&file, "s", "d"), Some(line("loaded", "d")));
        assert_eq!(last(&file, "t", "d"), None);
    }
}
