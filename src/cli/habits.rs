//! What users of other tools type, and what to use here: advice in place of the parser's guesses, which go by spelling.
//!
//! The habits are those of restic, rustic, borg and kopia. A word that means the same here is an alias and never comes to
//! this table.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands that do not exist here, and what to use.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["mount", "umount"], "there is no mount yet: use `strongroom ls`, `find` and `cat` to look into a snapshot"),
    (&["create"], "use `strongroom backup PATH`"),
    (&["extract", "export-tar"], "use `strongroom restore SNAPSHOT --target DIR`"),
    (&["compact", "gc", "cleanup"], "use `strongroom prune`"),
    (
        &["delete", "remove", "rm"],
        "use `strongroom forget ID` to remove a snapshot, and `strongroom prune` to free its space",
    ),
    (&["info", "status", "du", "usage"], "use `strongroom stats`; `strongroom snapshots` lists the snapshots"),
    (&["history"], "use `strongroom log`"),
    (&["list", "snapshot", "archives"], "use `strongroom snapshots`; `strongroom ls SNAPSHOT` lists the files of one"),
    (&["browse"], "use `strongroom ls SNAPSHOT`"),
    (
        &["rebuild-index", "reindex"],
        "not needed: the index is a cache that is rebuilt by itself; for a damaged repository use `strongroom repair`",
    ),
    (&["recover"], "use `strongroom repair`"),
    (&["doctor", "drill", "validate"], "use `strongroom verify --read-data`"),
    (&["migrate", "upgrade"], "not needed: there is one repository format"),
    (&["break-lock", "with-lock"], "there are no locks: `strongroom unlock` explains why"),
    (&["cache"], "the cache manages itself; its directory may be deleted at any time"),
    (
        &["self-update", "features", "options"],
        "not available: install a new version to update; `strongroom help` lists the commands",
    ),
    (&["generate"], "use `strongroom completions SHELL` and `strongroom man --output DIR`"),
    (&["rcreate", "repository", "repo-create"], "use `strongroom init`"),
    (&["policy"], "the policy is given to `strongroom forget` as --keep-* options"),
    (&["maintenance"], "use `strongroom prune` and `strongroom verify`"),
    (
        &["server", "serve"],
        "not needed: all machines use the bucket directly; `strongroom credential add` makes their credentials",
    ),
    (&["rewrite", "tag", "rename"], "not available: snapshots are never changed; `strongroom forget ID` removes one"),
    (&["sync", "replicate"], "use `strongroom copy --to REPO`"),
];

/// Options that do not exist here, and what to use. An empty command stands for all.
const OPTIONS: &[(&str, &[&str], &str)] = &[
    ("", &["--no-lock", "--retry-lock"], "not needed: there are no locks"),
    (
        "",
        &["--no-cache", "--cleanup-cache", "--with-cache"],
        "not needed: the cache is always checked against the repository; --cache-dir moves it",
    ),
    ("", &["--repository-file"], "use --repo LOCATION or the variable STRONGROOM_REPO"),
    ("", &["--cacert"], "use -o ca=FILE"),
    ("", &["--insecure-tls"], "not available; -o ca=FILE trusts a certificate of your own"),
    (
        "",
        &["--insecure-no-password"],
        "not available: a repository is always encrypted; --password-file names a file with the passphrase",
    ),
    (
        "",
        &["--profile", "--config"],
        "the configuration file is for jobs (`strongroom config`); use options and the STRONGROOM_ variables",
    ),
    ("", &["--pack-size"], "not needed: the size of packs is fixed when a repository is created"),
    ("backup", &["--parent"], "not needed: the newest snapshot of the same source is used"),
    ("backup", &["--skip-if-unchanged"], "not needed: a snapshot of unchanged files adds next to nothing"),
    ("backup", &["--with-atime"], "not available: access times are not saved"),
    ("backup", &["--group-by"], "not needed: --source names what a backup is compared with"),
    ("backup", &["--no-scan"], "use --no-progress, which also skips the scan"),
    ("backup", &["--read-concurrency"], "not needed: files are read on all cores"),
    ("backup", &["--comment", "--description"], "use --label TEXT"),
    ("backup", &["--stats", "--list"], "not needed: the summary is always printed; -v lists the files"),
    ("restore", &["--verify"], "not needed: every chunk is verified while it is restored"),
    ("restore", &["--exclude-xattr", "--include-xattr"], "use --no-xattrs"),
    ("cat", &["--archive", "-a"], "not available: `strongroom restore` restores directories"),
    ("dump", &["--archive", "-a"], "not available: `strongroom restore` restores directories"),
    (
        "ls",
        &["--ncdu", "--sort", "--human-readable", "-R", "-a"],
        "not available; -l shows sizes, --json prints all fields",
    ),
    (
        "find",
        &["--snapshot", "-s"],
        "use `strongroom ls SNAPSHOT`, or select snapshots with --host, --source, --path and --tag",
    ),
    ("find", &["--oldest"], "use --newer-than TIME"),
    ("find", &["--newest"], "use --older-than TIME"),
    ("snapshots", &["--last"], "use --latest N"),
    ("forget", &["--unsafe-allow-remove-all"], "use --all with --host, --source, --path or --tag"),
    ("forget", &["--compact", "-c"], "not needed: only what changes is listed"),
    (
        "forget",
        &["-l", "-d", "-w", "-m", "-y"],
        "use the long options: --keep-last, --keep-daily, --keep-weekly, --keep-monthly, --keep-yearly",
    ),
    ("check", &["--repair"], "use `strongroom repair`; --dry-run shows what it would do"),
    ("verify", &["--repair"], "use `strongroom repair`; --dry-run shows what it would do"),
    (
        "prune",
        &["--max-repack-size", "--repack-small", "--repack-uncompressed", "--repack-cacheable-only"],
        "use --max-unused to choose how much is rewritten",
    ),
    ("copy", &["--from-repo"], "the direction is the other way round: --repo is the source and --to the destination"),
    ("init", &["--from-repo", "--copy-chunker-params"], "use --copy-parameters-from REPO"),
    ("stats", &["--mode"], "not needed: all figures are shown; --by source or --by night splits them"),
    ("unlock", &["--remove-all"], "there are no locks"),
    ("key", &["--user", "--host"], "not available: `strongroom credential add` makes a credential for a machine"),
];

/// Variables of restic that are not read here, with ours.
const VARIABLES: [(&str, &str); 4] = [
    ("RESTIC_REPOSITORY", "STRONGROOM_REPO"),
    ("RESTIC_PASSWORD", "STRONGROOM_PASSPHRASE"),
    ("RESTIC_PASSWORD_FILE", "STRONGROOM_PASSWORD_FILE"),
    ("RESTIC_PASSWORD_COMMAND", "STRONGROOM_PASSWORD_COMMAND"),
];

/// What to use instead of what the parser did not understand; its guesses are taken out of `error`.
pub fn advice(error: &mut clap::Error, command: Option<&str>) -> Option<&'static str> {
    let found = match error.kind() {
        ErrorKind::InvalidSubcommand => text(error, ContextKind::InvalidSubcommand).and_then(of_command),
        ErrorKind::UnknownArgument => {
            text(error, ContextKind::InvalidArg).and_then(|word| of_option(command.unwrap_or_default(), word))
        }
        _ => None,
    };
    // "To pass '--x' as a value" would back up a file of that name.
    error.remove(ContextKind::Suggested);
    if found.is_some() {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
    }
    found
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

fn of_command(word: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(words, _)| words.contains(&word)).map(|(_, advice)| *advice)
}

fn of_option(command: &str, option: &str) -> Option<&'static str> {
    let option = option.split_once('=').map_or(option, |(name, _)| name);
    if !option.starts_with('-') && command == "repair" && ["index", "snapshots", "packs"].contains(&option) {
        return Some("use `strongroom repair` alone: it repairs indexes, packs and snapshots");
    }
    let rows = OPTIONS.iter().filter(|(of, options, _)| (of.is_empty() || *of == command) && options.contains(&option));
    rows.map(|(.., advice)| *advice).next()
}

/// Says which variables of restic are set and not read, for an error that says that something was not given.
pub fn ignored_variables(is_set: impl Fn(&str) -> bool) -> Option<String> {
    let set: Vec<String> = VARIABLES
        .iter()
        .filter(|(theirs, _)| is_set(theirs))
        .map(|(theirs, ours)| format!("{theirs} is not read: use {ours}"))
        .collect();
    (!set.is_empty()).then(|| set.join("; "))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Arguments;
    use super::*;

    fn advice_on(line: &str) -> (Option<&'static str>, String) {
        let words: Vec<&str> = line.split(' ').collect();
        let mut error = Arguments::try_parse_from(std::iter::once("strongroom").chain(words.iter().copied()))
            .err()
            .unwrap_or_else(|| panic!("`{line}` is understood and needs no advice"));
        let advice = advice(&mut error, words.first().copied());
        (advice, error.to_string())
    }

    #[test]
    fn habits_of_other_tools_get_advice_and_no_guess() {
        for (line, part) in [
            ("mount /mnt", "no mount"),
            ("rebuild-index", "repair"),
            ("backup --parent x /srv", "newest snapshot"),
            ("backup --parent=x /srv", "newest snapshot"),
            ("check --repair", "strongroom repair"),
            ("restore latest --verify", "verified while"),
            ("repair index", "alone"),
            ("ls --no-lock", "no locks"),
        ] {
            let (advice, text) = advice_on(line);
            assert!(advice.is_some_and(|a| a.contains(part)), "{line}: {advice:?}");
            assert!(!text.contains("tip:"), "{text}");
        }
    }

    #[test]
    fn what_is_misspelt_gets_the_parser_s_guess_and_is_never_told_to_be_a_value() {
        let (advice, text) = advice_on("backup --exclud x /srv");
        assert!(advice.is_none() && text.contains("'--exclude'"), "{text}");
        assert!(!advice_on("backup --something /srv").1.contains("as a value"));
    }

    /// Who adds a command or an option takes it out of the table.
    #[test]
    fn nothing_in_the_table_exists() {
        let arguments = Arguments::command();
        let named = |word: &str| {
            arguments.get_subcommands().find(|c| c.get_all_aliases().chain([c.get_name()]).any(|n| n == word))
        };
        for word in COMMANDS.iter().flat_map(|(words, _)| *words) {
            assert!(named(word).is_none(), "{word} is a command");
        }
        for (command, options, _) in OPTIONS.iter().filter(|(command, ..)| !command.is_empty()) {
            let command = named(command).unwrap_or_else(|| panic!("{command} is no command"));
            for option in *options {
                let is = |a: &clap::Arg| {
                    let long = a
                        .get_long_and_visible_aliases()
                        .unwrap_or_default()
                        .iter()
                        .any(|n| format!("--{n}") == *option);
                    long || a.get_short().is_some_and(|s| format!("-{s}") == *option)
                };
                assert!(!command.get_arguments().any(is), "{option} exists");
            }
        }
    }

    #[test]
    fn variables_of_restic_are_named_with_ours() {
        let said = ignored_variables(|name| name == "RESTIC_PASSWORD").expect("one is set");
        assert_eq!(said, "RESTIC_PASSWORD is not read: use STRONGROOM_PASSPHRASE");
        assert_eq!(ignored_variables(|_| false), None);
    }
}
