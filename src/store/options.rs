//! What a user may say about a store beside its location.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Looks an environment variable up. A function, so that tests need not change the process's own.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Told what the user should know while a store keeps them waiting: one line, without control characters.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Tells nobody.
pub fn quiet() -> Notice {
    Arc::new(|_| {})
}

/// Options of a store: pairs that were given, the environment, and where the user's files are.
#[derive(Clone)]
pub struct StoreOptions {
    /// Pairs given beside the location; they are stronger than those in its query.
    pub pairs: BTreeMap<String, String>,
    /// The environment.
    pub lookup: Lookup,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Who is told that a store keeps the user waiting.
    pub notice: Notice,
    /// No faster than this to a server, in bytes a second.
    pub upload_rate: Option<u64>,
    /// No faster than this from a server, in bytes a second.
    pub download_rate: Option<u64>,
}

impl Default for StoreOptions {
    /// No pairs, an empty environment, no home.
    fn default() -> Self {
        Self {
            pairs: BTreeMap::new(),
            lookup: Arc::new(|_| None),
            home: None,
            notice: quiet(),
            upload_rate: None,
            download_rate: None,
        }
    }
}

impl fmt::Debug for StoreOptions {
    /// Without the environment, in which secrets stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions").field("pairs", &self.pairs).finish_non_exhaustive()
    }
}

impl StoreOptions {
    /// A variable that is set and not empty, without blanks and line breaks around it: files of secrets end with one.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    /// The first of these variables that is set and not empty.
    pub fn first_variable(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.variable(name))
    }
}
