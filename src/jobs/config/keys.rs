//! The keys of `strongroom.toml`.

use jiff::tz::TimeZone;

use super::schema::{Key, Kind};
use crate::jobs::schedule::Schedule;

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, doc }
}

/// A duration as a person types it: `90m`, `36h`, `7d`.
pub fn duration(text: &str) -> Result<(), String> {
    let bad = || format!("invalid duration {text:?} (examples: 90m, 36h, 7d)");
    let span: jiff::Span = text.parse().map_err(|_| bad())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    if length.is_negative() { Err(bad()) } else { Ok(()) }
}

fn schedule(text: &str) -> Result<(), String> {
    text.parse::<Schedule>().map(drop)
}

fn zone(text: &str) -> Result<(), String> {
    let bad = || format!("{text:?} is not a time zone of this system (example: America/Los_Angeles)");
    TimeZone::get(text).map(drop).map_err(|_| bad())
}

const DURATION: Kind = Kind::Read(duration, "90m");
const RATE: Kind = Kind::Text;
const BEFORE: Key = key("before", Kind::Command, "runs first; if it fails, nothing is saved");
const AFTER: Key = key("after", Kind::Command, "runs after success");
const ON_FAILURE: Key = key("on_failure", Kind::Command, "runs after a failure");
const ALWAYS: Key = key("always", Kind::Command, "runs in the end, whatever happened; must bear being run twice");
const HOOK_TIMEOUT: Key = key("hook_timeout", DURATION, "after which a hook is ended");
const HOSTS: Key = key("hosts", Kind::Texts, "the machines that run it; [\"*\"]: all");
const ENABLED: Key = key("enabled", Kind::Bool, "false: it is not run, and nothing of it is forgotten");
const TIMEOUT: Key = key("timeout", DURATION, "after which a source is ended");
const RETRIES: Key = key("retries", Kind::Integer(0), "how often a source that failed is tried again");
const MIN_RATIO: Key = key("min_ratio", Kind::Number, "least length, compared with the median of the last good ones");
const MAX_RATIO: Key =
    key("max_ratio", Kind::Number, "greatest length, compared with the median of the last good ones");
const RUN_AS: Key = key("run_as", Kind::Text, "the system user that runs tools and hooks");
const COMPRESSION: Key =
    key("compression", Kind::OneOf(&["off", "fast", "default", "max"]), "time spent on compressing new data");
const LIMIT_UPLOAD: Key = key("limit_upload", RATE, "greatest rate to a server, such as 2M a second");

const SCRATCH_DIR: Key = key("scratch_dir", Kind::Text, "databases: where what cannot be streamed is put for a while");

/// Keys that jobs hand down to their sources.
pub const INHERITED: [&str; 8] =
    ["hosts", "timeout", "retries", "min_ratio", "max_ratio", "run_as", "hook_timeout", "scratch_dir"];

const SOURCE_KINDS: [&str; 6] = ["path", "command", "postgres", "mysql", "mariadb", "sqlite"];

/// A source of a job.
pub const SOURCE: &[Key] = &[
    key("kind", Kind::OneOf(&SOURCE_KINDS), "what it is"),
    ENABLED,
    HOSTS,
    TIMEOUT,
    RETRIES,
    MIN_RATIO,
    MAX_RATIO,
    RUN_AS,
    BEFORE,
    AFTER,
    ON_FAILURE,
    ALWAYS,
    HOOK_TIMEOUT,
    key("env", Kind::Environment, "environment variables of its commands"),
    key("notes", Kind::Text, "kept with the backup, printed after restore"),
    key("allow_empty", Kind::Bool, "a stream of no bytes is no failure"),
    key("paths", Kind::Texts, "path, sqlite: what is saved"),
    key("presets", Kind::Texts, "path: presets of exclusions, such as dss:temp"),
    key("exclude", Kind::Texts, "path: patterns with gitignore syntax; databases: names that are left out"),
    key("include", Kind::Texts, "databases: names that are saved"),
    key("exclude_caches", Kind::Bool, "path: leave out what CACHEDIR.TAG marks"),
    key("exclude_larger_than", Kind::Text, "path: leave out longer files, such as 10G"),
    key("one_file_system", Kind::Bool, "path: stay on the file system of each path"),
    key("first", Kind::Texts, "path: relative paths that are read before the rest"),
    key("command", Kind::Command, "command: runs with bash -o pipefail; what it prints is saved"),
    key("file", Kind::Text, "command: the name of the stream"),
    key("restore", Kind::Command, "command: what would load it again"),
    key("trailer", Kind::Text, "command: the last line of a whole stream"),
    key("min_size", Kind::Text, "command: least length of a whole stream, such as 10K"),
    key("host", Kind::Text, "databases: the server, or its socket"),
    key("port", Kind::Any(&[Kind::Integer(1), Kind::Text]), "databases: its port"),
    key("user", Kind::Text, "databases: who connects"),
    key("password", Kind::Secret, "databases: the password"),
    key("service", Kind::Text, "postgres: an entry of pg_service.conf"),
    key("login", Kind::Text, "mysql: a defaults file with [client] user and password"),
    key("bin", Kind::Text, "databases: the directory of the tools"),
    key("pg_bin", Kind::Text, "postgres: the directory of the tools"),
    key("container", Kind::Text, "databases: run the tools in this container"),
    key("databases", Kind::Texts, "databases: names; {a,b}_x stands for several"),
    key("tables", Kind::Texts, "databases: only these tables"),
    key("format", Kind::OneOf(&["custom", "plain", "directory", "basebackup"]), "postgres: of the dumps"),
    key(
        "globals",
        Kind::OneOf(&["all", "no-passwords", "none"]),
        "postgres: roles and tablespaces; mysql: users and grants",
    ),
    key("count", Kind::Any(&[Kind::Bool, Kind::OneOf(&["checksum"])]), "databases: count the rows of each table"),
    key("lock_timeout", DURATION, "postgres: how long a dump waits for a lock on a table"),
    SCRATCH_DIR,
    key("record", Kind::Environment, "commands whose output is kept with the set"),
];

const FOR_EACH: &[Key] = &[
    key("command", Kind::Command, "prints CSV with a heading: a source for each line"),
    key("with", Kind::Table(SOURCE), "keys of all these sources"),
];

/// A job.
pub const JOB: &[Key] = &[
    key("like", Kind::Text, "another job whose keys count where this one has none"),
    ENABLED,
    key("repository", Kind::Text, "one of [repositories]"),
    key("schedule", Kind::Read(schedule, "daily 02:00"), "when it is due"),
    key("time_zone", Kind::Read(zone, "UTC"), "of its schedule and labels"),
    key("jitter", DURATION, "by how much its start differs between hosts at the most"),
    key("grace", DURATION, "how long after its slot it counts as overdue"),
    key("retention", Kind::Text, "one of [retention]"),
    key("type", Kind::Text, "a word such as Daily: retention and `latest` never mix types"),
    key("parallel", Kind::Integer(1), "how many dumps are made at a time"),
    key("label", Kind::Text, "of its snapshots; %Y-%m-%d is filled in"),
    key("notes", Kind::Text, "kept with the backup, printed after restore"),
    HOSTS,
    TIMEOUT,
    RETRIES,
    MIN_RATIO,
    MAX_RATIO,
    RUN_AS,
    SCRATCH_DIR,
    COMPRESSION,
    LIMIT_UPLOAD,
    BEFORE,
    AFTER,
    ON_FAILURE,
    ALWAYS,
    HOOK_TIMEOUT,
    key("after_load", Kind::Command, "runs after `load`"),
    key("record", Kind::Environment, "commands whose output is kept with the set"),
    key("for_each", Kind::Table(FOR_EACH), "sources that a command lists"),
    key("sources", Kind::Named(SOURCE), "what it saves"),
];

const REPOSITORY: &[Key] = &[
    key("url", Kind::Text, "a directory or URL"),
    key("credential", Kind::Text, "this machine's credential file"),
    key("password", Kind::Secret, "the passphrase"),
    COMPRESSION,
    LIMIT_UPLOAD,
];

macro_rules! rules {
    ($($more:expr),*) => {
        &[
            key("keep_last", Kind::Integer(0), "the newest so many"),
            key("keep_hourly", Kind::Integer(0), "the newest of so many hours"),
            key("keep_daily", Kind::Integer(0), "the newest of so many days"),
            key("keep_weekly", Kind::Integer(0), "the newest of so many weeks"),
            key("keep_monthly", Kind::Integer(0), "the newest of so many months"),
            key("keep_quarterly", Kind::Integer(0), "the newest of so many quarters"),
            key("keep_yearly", Kind::Integer(0), "the newest of so many years"),
            key("keep_within", Kind::Text, "all of such a time before the newest"),
            key("keep_within_hourly", Kind::Text, "hourly for such a time"),
            key("keep_within_daily", Kind::Text, "daily for such a time"),
            key("keep_within_weekly", Kind::Text, "weekly for such a time"),
            key("keep_within_monthly", Kind::Text, "monthly for such a time"),
            key("keep_within_quarterly", Kind::Text, "quarterly for such a time"),
            key("keep_within_yearly", Kind::Text, "yearly for such a time"),
            key("keep", Kind::Texts, "intervals, such as \"1h for 24h\""),
            key("expire_after", Kind::Text, "older ones go"),
            key("min_count", Kind::Integer(1), "so many stay however old they are"),
            key("max_count", Kind::Integer(1), "so many stay at the most"),
            $($more),*
        ]
    };
}
const TYPE_RULES: &[Key] = rules!();
const RETENTION: &[Key] = rules!(key("types", Kind::Named(TYPE_RULES), "rules of each type of job"));

const MAINTAIN: &[Key] = &[
    HOSTS,
    key("schedule", Kind::Read(schedule, "daily 05:00"), "when it is due"),
    key("steps", Kind::Texts, "copy, verify, forget, prune, drill, audit"),
    key(
        "verify",
        Kind::Table(&[
            key("budget", DURATION, "how long it may take"),
            key("all_within", DURATION, "in which everything is to be read"),
        ]),
        "how data is read back",
    ),
    key("copy", Kind::Table(&[key("to", Kind::Texts, "repositories")]), "where sets are copied"),
    key(
        "drill",
        Kind::Table(&[
            key("jobs", Kind::Texts, "which jobs are restored on trial"),
            key("each_within", DURATION, "in which each is to be tried"),
            key("budget", DURATION, "how long it may take"),
        ]),
        "restores on trial",
    ),
];

const NOTIFY: &[Key] = &[
    key(
        "mail",
        Kind::Table(&[
            key("to", Kind::Texts, "addresses"),
            key("from", Kind::Text, "an address"),
            key("smtp", Kind::Text, "a server; without it: sendmail"),
            key("password", Kind::Secret, "of the server"),
        ]),
        "mail",
    ),
    key("url", Kind::Text, "is asked; /start and /fail are added"),
    key("textfile", Kind::Text, "a file for Prometheus' node exporter"),
    key(
        "status",
        Kind::Table(&[key("file", Kind::Text, "the file"), key("jobs", Kind::Texts, "which jobs")]),
        "a file with [OK] or [ALERT]",
    ),
    key("on", Kind::Any(&[Kind::Texts, Kind::OneOf(&["always"])]), "what is told"),
    key("jobs", Kind::Texts, "which jobs; default: all"),
    key("output", Kind::Bool, "the output of commands is told too"),
];

/// The whole file.
pub const FILE: &[Key] = &[
    key("version", Kind::Integer(1), "of this format: 1"),
    key("include", Kind::Texts, "other files, by name, beside this one"),
    key("env_file", Kind::Text, "lines NAME=\"value\"; the environment of the process takes precedence"),
    key("time_zone", Kind::Read(zone, "America/Los_Angeles"), "of schedules, labels and reports"),
    key("log_file", Kind::Text, "what is printed is written there too"),
    key("repositories", Kind::Named(REPOSITORY), "where backups are stored"),
    key("defaults", Kind::Table(JOB), "keys of all jobs"),
    key("jobs", Kind::Named(JOB), "what is saved, and when"),
    key("retention", Kind::Named(RETENTION), "how long sets are kept"),
    key("maintain", Kind::Table(MAINTAIN), "upkeep of the repository"),
    key("notify", Kind::Named(NOTIFY), "who is told"),
];
