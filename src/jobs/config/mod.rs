//! The configuration file: where it is found, what it says, and what is in force for each job and source.
//!
//! Values count in this order, strongest first: source, job, the job that it is `like`, `[defaults]`. Tables merge key by
//! key; lists and values replace. Every problem of a file is told at once, each with its place.

pub mod expand;
pub mod find;
pub mod keys;
pub mod problem;
pub mod schema;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use keys::INHERITED as INHERITED_BY_SOURCES;
use keys::{FILE, INHERITED, JOB, SOURCE};
pub use problem::ConfigError;
use problem::{Place, Problem, Problems};
use tree::{Entry, Node, Table, Value, parse};

/// The version of the format that this program reads.
pub const VERSION: i64 = 1;

/// A configuration, checked: what is in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// The files that it was read from, the first one first.
    pub files: Vec<PathBuf>,
    /// What all of it says: `[defaults]`, repositories, retention and so on.
    pub table: Table,
    /// The jobs, in the order of the files.
    pub jobs: Vec<Job>,
}

/// A job, with what it takes from `like` and `[defaults]`.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The job whose sources these are: what it is `like`, or itself. Sources keep their names in it, so that both jobs
    /// have one history.
    pub family: String,
    /// Its keys but `sources`.
    pub table: Table,
    /// Its sources, in the order of the files.
    pub sources: Vec<Source>,
}

/// A source of a job, with what it takes from the job.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub table: Table,
}

impl Job {
    /// Whether it is to be run at all.
    pub fn is_enabled(&self) -> bool {
        is_enabled(&self.table)
    }
}

impl Source {
    /// Whether it is to be run at all.
    pub fn is_enabled(&self) -> bool {
        is_enabled(&self.table)
    }
}

fn is_enabled(table: &Table) -> bool {
    !matches!(table.get("enabled").map(|node| &node.value), Some(Value::Bool(false)))
}

/// Whether this machine runs what these keys describe.
pub fn runs_here(table: &Table, host: &str) -> bool {
    match table.get("hosts").map(|node| &node.value) {
        Some(Value::List(hosts)) => hosts.iter().any(|name| match &name.value {
            Value::Text(name) => name == "*" || name == host,
            _ => false,
        }),
        _ => true,
    }
}

impl Config {
    /// Reads a file and what it includes, and checks everything.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let read = |file: &Path| {
            find::check_private(file).map_err(ConfigError::one)?;
            let text = std::fs::read_to_string(file);
            text.map_err(|e| ConfigError::one(format!("cannot read {}: {e}", file.display())))
        };
        Self::of_files(file, &read)
    }

    /// As [`Config::load`], of files that `read` reads.
    pub fn of_files(file: &Path, read: &dyn Fn(&Path) -> Result<String, ConfigError>) -> Result<Self, ConfigError> {
        let mut table = parse(file, &read(file)?)?;
        let mut files = vec![file.to_owned()];
        let mut problems = Problems::new();
        for included in included(file, &table, &mut problems) {
            let more = parse(&included, &read(&included)?)?;
            join(&mut table, more, &mut problems);
            files.push(included);
        }
        check_version(&table, &mut problems);
        // Jobs are checked with what they take from others: a table may be whole only then.
        schema::check(&table.without(&["jobs", "defaults"]), FILE, &mut problems);
        if let Some(defaults) = table.table("defaults") {
            schema::check(defaults, JOB, &mut problems);
        }
        let jobs = jobs(&table, &mut problems);
        check_references(&table, &jobs, &mut problems);
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        problems.dedup();
        if problems.is_empty() { Ok(Self { files, table, jobs }) } else { Err(ConfigError(problems)) }
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

/// The files that `include` names, sorted; a pattern that matches none is no problem.
fn included(file: &Path, table: &Table, problems: &mut Problems) -> Vec<PathBuf> {
    let mut all = BTreeSet::new();
    let Some(Node { value: Value::List(patterns), .. }) = table.get("include") else { return Vec::new() };
    for node in patterns {
        let Value::Text(pattern) = &node.value else { continue };
        let folder = file.parent().unwrap_or(Path::new("/"));
        let whole = folder.join(pattern);
        let found = whole.to_str().map(glob::glob);
        match found {
            Some(Ok(found)) => all.extend(found.flatten().filter(|found| found.is_file())),
            _ => problems.push(Problem::at(&node.place, format!("{pattern:?} is not a pattern of file names"))),
        }
    }
    all.into_iter().collect()
}

/// Adds what another file says. The same key in two files is a problem, unless it is one of several tables of a kind.
fn join(table: &mut Table, more: Table, problems: &mut Problems) {
    const COLLECTIONS: [&str; 4] = ["repositories", "jobs", "retention", "notify"];
    for entry in more.0 {
        let is_collection = COLLECTIONS.contains(&entry.key.as_str());
        match table.0.iter_mut().find(|known| known.key == entry.key) {
            None => table.0.push(entry),
            Some(Entry { node: Node { value: Value::Table(known), .. }, .. }) if is_collection => {
                let Value::Table(more) = entry.node.value else {
                    problems.push(Problem::at(&entry.node.place, format!("`{}` is a table", entry.key)));
                    continue;
                };
                for entry in more.0 {
                    match known.0.iter().find(|known| known.key == entry.key) {
                        None => known.0.push(entry),
                        Some(first) => problems.push(twice(&entry, first)),
                    }
                }
            }
            Some(first) => problems.push(twice(&entry, first)),
        }
    }
}

fn twice(entry: &Entry, first: &Entry) -> Problem {
    Problem { place: Some(entry.place.clone()), what: format!("`{}` stands in {} already", entry.key, first.place) }
}

fn check_version(table: &Table, problems: &mut Problems) {
    match table.get("version").map(|node| (&node.value, node)) {
        Some((Value::Integer(VERSION), _)) => {}
        Some((Value::Integer(_), node)) => {
            let what = format!("this program reads version {VERSION}: a newer strongroom may read this one");
            problems.push(Problem::at(&node.place, what));
        }
        Some(_) => {}
        None => problems.push(Problem { place: None, what: "`version = 1` is missing".to_owned() }),
    }
}

fn jobs(table: &Table, problems: &mut Problems) -> Vec<Job> {
    let Some(own) = table.table("jobs") else { return Vec::new() };
    let defaults = table.table("defaults").cloned().unwrap_or_default();
    let mut jobs = Vec::new();
    for entry in &own.0 {
        check_name(entry, "job", problems);
        let mut chain = Vec::new();
        match merged(own, entry, &mut chain) {
            Ok(merged) => jobs.push(job(entry, merged.over(&defaults), chain.last(), problems)),
            Err(problem) => problems.push(problem),
        }
    }
    jobs
}

/// A job over the one that it is `like`; `chain` gets the names of those.
fn merged(jobs: &Table, entry: &Entry, chain: &mut Vec<String>) -> Result<Table, Problem> {
    let Value::Table(own) = &entry.node.value else {
        let what = format!("`{}` must be a table, not {}", entry.key, entry.node.value.kind());
        return Err(Problem::at(&entry.node.place, what));
    };
    let Some(like) = own.get("like") else { return Ok(own.clone()) };
    let Value::Text(name) = &like.value else { return Ok(own.clone()) };
    let Some(other) = jobs.0.iter().find(|job| job.key == *name) else {
        return Err(Problem::at(&like.place, format!("there is no job `{name}`")));
    };
    if chain.contains(name) || *name == entry.key {
        return Err(Problem::at(&like.place, format!("job `{name}` is like itself")));
    }
    chain.push(name.clone());
    // What a job is like is not inherited, and neither is that it is disabled.
    Ok(own.over(&merged(jobs, other, chain)?.without(&["like", "enabled"])))
}

fn job(entry: &Entry, table: Table, family: Option<&String>, problems: &mut Problems) -> Job {
    schema::check(&table.without(&["sources"]), JOB, problems);
    let handed_down = table.only(&INHERITED);
    let mut sources = Vec::new();
    match table.get("sources").map(|node| (&node.value, node)) {
        Some((Value::Table(all), _)) => {
            for entry in &all.0 {
                let Value::Table(own) = &entry.node.value else {
                    let what = format!("`{}` must be a table, not {}", entry.key, entry.node.value.kind());
                    problems.push(Problem::at(&entry.node.place, what));
                    continue;
                };
                schema::check(own, SOURCE, problems);
                check_name(entry, "source", problems);
                check_source(entry, own, problems);
                sources.push(Source { name: entry.key.clone(), table: own.over(&handed_down) });
            }
        }
        Some((other, node)) => {
            problems.push(Problem::at(&node.place, format!("`sources` must be a table, not {}", other.kind())));
        }
        None if table.get("for_each").is_none() => {
            let what = format!("job `{}` has no sources", entry.key);
            problems.push(Problem { place: Some(entry.place.clone()), what });
        }
        None => {}
    }
    let family = family.unwrap_or(&entry.key).clone();
    Job { name: entry.key.clone(), place: entry.place.clone(), family, table: table.without(&["sources"]), sources }
}

/// Checks a source that a command listed: an error is what is wrong, without any value.
pub fn check_listed(source: &Source, place: &Place) -> Result<(), String> {
    let mut problems = Problems::new();
    // A list may hold passwords, which a file may not.
    schema::check(&source.table.without(&["password"]), SOURCE, &mut problems);
    let node = tree::Node { value: Value::Table(Table::default()), place: place.clone() };
    check_source(&Entry { key: source.name.clone(), place: place.clone(), node }, &source.table, &mut problems);
    problems.into_iter().next().map_or(Ok(()), |problem| Err(problem.what))
}

/// `JOB/SOURCE` names a source: neither name may hold a slash.
fn check_name(entry: &Entry, what: &str, problems: &mut Problems) {
    if entry.key.is_empty() || entry.key.contains('/') {
        let text = format!("`{}` cannot be the name of a {what}: it is empty, or holds a slash", entry.key);
        problems.push(Problem::at(&entry.place, text));
    }
}

/// What a source of a kind needs.
fn check_source(entry: &Entry, table: &Table, problems: &mut Problems) {
    let needed: &[&str] = match table.text("kind") {
        Some("path") => &["paths"],
        Some("command") => &["command", "file"],
        Some(_) => &[],
        None => &["kind"],
    };
    for key in needed.iter().filter(|key| table.get(key).is_none()) {
        let what = format!("source `{}` needs `{key}`", entry.key);
        problems.push(Problem { place: Some(entry.place.clone()), what });
    }
}

/// Repositories and retentions that are named must exist.
fn check_references(table: &Table, jobs: &[Job], problems: &mut Problems) {
    let named: BTreeMap<&str, Vec<&str>> = [("repository", "repositories"), ("retention", "retention")]
        .into_iter()
        .map(|(key, collection)| {
            let names = table.table(collection).map(|all| all.0.iter().map(|entry| entry.key.as_str()).collect());
            (key, names.unwrap_or_default())
        })
        .collect();
    for job in jobs {
        for (key, names) in &named {
            match job.table.get(key) {
                Some(node @ Node { value: Value::Text(name), .. }) if !names.contains(&name.as_str()) => {
                    problems.push(Problem::at(
                        &node.place,
                        format!("there is no {key} `{name}`; there are: {}", names.join(", ")),
                    ));
                }
                None if *key == "repository" => {
                    let what = format!("job `{}` names no repository", job.name);
                    problems.push(Problem { place: Some(job.place.clone()), what });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        Config::of_files(Path::new("/etc/strongroom.toml"), &|_| Ok(text.to_owned()))
    }

    fn wrong(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    const HEAD: &str =
        "version = 1\n[repositories]\nmain = { url = \"/srv/repo\" }\n[defaults]\nrepository = \"main\"\n";

    fn with(text: &str) -> String {
        format!("{HEAD}{text}")
    }

    #[test]
    fn sources_take_from_jobs_and_these_from_like_and_defaults() {
        let config = load(&with(
            "timeout = \"6h\"\nhosts = [\"one\"]\n[jobs.a]\nschedule = \"daily 02:00\"\ntype = \"Daily\"\nmin_ratio = 0.5\n\
             [jobs.a.sources]\ndb = { kind = \"postgres\", hosts = [\"two\"], timeout = \"1h\" }\nd = { kind = \"path\", paths = [\"/d\"] }\n\
             [jobs.a-weekly]\nlike = \"a\"\nschedule = \"weekly sat 03:00\"\ntype = \"Weekly\"\nsources = { d = { enabled = false } }\n",
        ))
        .unwrap();
        let [daily, weekly] = &config.jobs[..] else { panic!("{:?}", config.jobs) };
        assert_eq!((daily.family.as_str(), weekly.family.as_str()), ("a", "a"));
        assert_eq!(weekly.table.text("type"), Some("Weekly"));
        assert_eq!(daily.sources[0].table.text("timeout"), Some("1h"));
        assert_eq!(daily.sources[1].table.text("timeout"), Some("6h"));
        assert!(runs_here(&daily.sources[0].table, "two") && !runs_here(&daily.sources[0].table, "one"));
        assert!(runs_here(&daily.sources[1].table, "one"));
        assert!(weekly.sources[0].is_enabled() && !weekly.sources[1].is_enabled());
        assert_eq!(weekly.sources[1].table.text("kind"), Some("path"));
    }

    #[test]
    fn every_problem_is_told_with_its_place_and_what_was_perhaps_meant() {
        let text = wrong(&with(
            "retention = \"lots\"\n[jobs.a]\nscedule = \"daily 02:00\"\nparallel = 0\nlabel = 7\nschedule = \"daily\"\n\
             [jobs.a.sources]\nx = { kind = \"path\", path = [\"/\"] }\ny = { kind = \"odd\", password = \"secret\" }\nz = {}\n\
             [jobs.b]\nlike = \"c\"\n[jobs.d]\nlike = \"d\"\n[jobs.e]\n",
        ));
        let lines: Vec<&str> =
            text.lines().map(|line| line.strip_prefix("/etc/strongroom.toml:").unwrap_or(line)).collect();
        for expected in [
            "6:13: there is no retention `lots`; there are: ",
            "8:1: unknown key `scedule`; did you mean `schedule`?",
            "9:12: `parallel` must be 1 or more",
            "10:9: `label` must be a text, not a whole number",
            "11:12: `schedule`: invalid schedule \"daily\"",
            "13:22: unknown key `path`; did you mean `paths`?",
            "13:1: source `x` needs `paths`",
            "14:14: `kind` must be one of path, command, ",
            "14:21: password is a secret: give password_file",
            "15:1: source `z` needs `kind`",
            "17:8: there is no job `c`",
            "19:8: job `d` is like itself",
            "20:7: job `e` has no sources",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\n{text}");
        }
        assert!(!text.contains("\"secret\""), "{text}");
    }

    #[test]
    fn versions_and_repositories_are_checked() {
        assert!(wrong("version = 2\n").contains("reads version 1"));
        assert!(
            wrong("[jobs.a]\nsources = { x = { kind = \"path\", paths = [] } }\n").contains("`version = 1` is missing")
        );
        let text = wrong("version = 1\n[jobs.a]\nsources = { x = { kind = \"path\", paths = [] } }\n");
        assert!(text.ends_with("job `a` names no repository"), "{text}");
    }

    #[test]
    fn a_slash_in_a_name_is_refused() {
        let text = wrong(&with("[jobs.\"a/b\".sources]\n\"\" = { kind = \"path\", paths = [\"/\"] }\n"));
        assert!(text.contains("`a/b` cannot be the name of a job") && text.contains("name of a source"), "{text}");
    }

    /// The names, not the texts: an example of every kind is in the guide.
    #[test]
    fn the_schema_has_every_key_and_secrets_by_their_ways() {
        let schema = schema::json_schema(FILE);
        let source =
            &schema["properties"]["jobs"]["additionalProperties"]["properties"]["sources"]["additionalProperties"];
        assert_eq!(source["additionalProperties"], false);
        for key in schema::names(SOURCE) {
            assert!(source["properties"][&key]["description"].is_string(), "{key}");
        }
        assert!(source["properties"]["password_command"].is_object() && source["properties"]["password"].is_null());
    }
}
