//! Completion in shells: options by their own definition; ids of snapshots, hosts, sources and tags from the repository.
//!
//! A shell's script, which `completions` prints, calls the program with [`VARIABLE`] set and the words typed so far.
//! Nothing is asked, nothing but values is printed, and what fails offers nothing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, OnceLock};

use clap::{Arg, Command, CommandFactory, FromArgMatches};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{EnvCompleter, Shells};

use crate::repository::snapshots::Snapshot;

use super::Arguments;
use super::args::GlobalArguments;
use super::env::{Console, Env};
use super::passphrase::SecretSource;
use super::settings::Settings;
use super::time::show;

/// Names the shell that asks what a word may become.
pub const VARIABLE: &str = "STRONGROOM_COMPLETE";
/// For how many seconds a server is asked.
const RETRY_SECONDS: &str = "1";

/// The script that has `shell` ask the program.
pub fn registration(shell: Shell) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    completer(OsStr::new(&shell.to_string()))?.write_registration(
        VARIABLE,
        "strongroom",
        "strongroom",
        "strongroom",
        &mut script,
    )?;
    Ok(script)
}

/// What the last of the words may become, as `shell` wants to be told; `arguments` are those of this process.
pub fn answer(shell: &OsStr, arguments: &[OsString], env: Env) -> io::Result<Vec<u8>> {
    let words = arguments.iter().position(|word| word == "--").map_or(&[][..], |at| &arguments[at + 1..]).to_vec();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let cwd = env.cwd.clone();
    let known = Arc::new(Known { env, words: words.clone(), snapshots: OnceLock::new() });
    let mut command = with_values(Arguments::command(), &known);
    command.build();
    let mut answer = Vec::new();
    completer(shell)?.write_complete(&mut command, words, Some(&cwd), &mut answer)?;
    Ok(answer)
}

fn completer(shell: &OsStr) -> io::Result<&'static dyn EnvCompleter> {
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, format!("there are no completions for {shell:?}"));
    const SHELLS: Shells<'static> = Shells::builtins();
    let found = shell.to_str().and_then(|name| SHELLS.0.iter().find(|known| known.is(name)));
    found.copied().ok_or_else(unknown)
}

/// What a value is one of.
#[derive(Clone, Copy)]
enum Values {
    Snapshots,
    Hosts,
    Sources,
    Tags,
}

impl Values {
    fn of(arg: &Arg) -> Option<Self> {
        let names = arg.get_value_names().unwrap_or_default();
        match arg.get_id().as_str() {
            _ if names.iter().any(|name| name.starts_with("SNAPSHOT")) => Some(Self::Snapshots),
            "host" => Some(Self::Hosts),
            "source" => Some(Self::Sources),
            "tag" => Some(Self::Tags),
            _ => None,
        }
    }
}

fn with_values(command: Command, known: &Arc<Known>) -> Command {
    let command = command.mut_args(|arg| match Values::of(&arg) {
        Some(values) => {
            let known = known.clone();
            arg.add(ArgValueCompleter::new(move |begun: &OsStr| known.candidates(values, begun)))
        }
        None => arg,
    });
    command.mut_subcommands(|command| with_values(command, known))
}

/// The repository that the words name, opened when it is first needed.
struct Known {
    env: Env,
    words: Vec<OsString>,
    snapshots: OnceLock<Vec<Snapshot>>,
}

impl Known {
    fn candidates(&self, values: Values, begun: &OsStr) -> Vec<CompletionCandidate> {
        let Some(begun) = begun.to_str() else { return Vec::new() };
        let snapshots = self.snapshots.get_or_init(|| self.load().unwrap_or_default());
        let all = |of: &dyn Fn(&Snapshot) -> Vec<String>| -> Vec<CompletionCandidate> {
            let values: BTreeSet<String> = snapshots.iter().flat_map(of).filter(|v| v.starts_with(begun)).collect();
            values.into_iter().map(CompletionCandidate::new).collect()
        };
        match values {
            Values::Hosts => all(&|s| vec![s.described.host.clone()]),
            Values::Sources => all(&|s| vec![s.described.member_path()]),
            Values::Tags => all(&|s| s.described.tags.clone()),
            Values::Snapshots => {
                let described = |s: &Snapshot| {
                    format!(
                        "{} {} {}",
                        show(s.state.time_ms, &self.env.zone),
                        s.described.host,
                        s.described.member_path()
                    )
                };
                let newest_first = snapshots.iter().rev().enumerate();
                let ids = newest_first.filter(|(_, s)| s.id.to_string().starts_with(begun)).map(|(at, s)| {
                    let candidate = CompletionCandidate::new(s.id.short()).help(Some(described(s).into()));
                    candidate.display_order(Some(at + 1))
                });
                let latest = CompletionCandidate::new("latest").display_order(Some(0));
                "latest".starts_with(begun).then_some(latest).into_iter().chain(ids).collect()
            }
        }
    }

    fn load(&self) -> Option<Vec<Snapshot>> {
        let global = global(&self.words)?;
        let mut settings = Settings::find(&global, &self.env, false).ok()?;
        if settings.credential.is_none() && settings.secret == SecretSource::Ask {
            return None;
        }
        if settings.location.starts_with("s3:") {
            settings.options.pairs.insert("retry-timeout".to_owned(), RETRY_SECONDS.to_owned());
        }
        settings.open(&global, &self.env).ok()?.snapshots().ok()
    }
}

/// The options among the words that say which repository is meant and what opens it.
fn global(words: &[OsString]) -> Option<GlobalArguments> {
    const NAMES: [(&str, &str); 6] = [
        ("--repo", "-r"),
        ("--option", "-o"),
        ("--password-file", "-p"),
        ("--password-command", ""),
        ("--credential", ""),
        ("--cache-dir", ""),
    ];
    let mut kept = vec![OsString::from("strongroom")];
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else { continue };
        let alone = NAMES.iter().any(|(long, short)| text == *long || (text == *short && !short.is_empty()));
        let joined = |long: &str, short: &str| {
            text.strip_prefix(long).is_some_and(|rest| rest.starts_with('='))
                || (!short.is_empty() && !text.starts_with("--") && text.starts_with(short))
        };
        if alone {
            kept.extend([word.clone(), words.next()?.clone()]);
        } else if NAMES.iter().any(|(long, short)| joined(long, short)) {
            kept.push(word.clone());
        }
    }
    let command = <GlobalArguments as clap::Args>::augment_args(Command::new("strongroom"));
    GlobalArguments::from_arg_matches(&command.try_get_matches_from(kept).ok()?).ok()
}

/// Makes an environment in which nobody is asked and nothing is said.
pub fn silent(env: Env) -> Env {
    Env { errors: Arc::new(Console::new(Box::new(io::sink()))), ask_secret: None, ..env }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn answered(words: &[&str]) -> String {
        let words: Vec<OsString> = ["--", "strongroom"].iter().chain(words).map(OsString::from).collect();
        String::from_utf8(answer(OsStr::new("fish"), &words, silent(testing::env())).unwrap()).unwrap()
    }

    #[test]
    fn commands_and_options_are_completed_and_without_a_repository_nothing_else_is() {
        assert!(answered(&["rest"]).starts_with("restore\t"));
        assert!(answered(&["restore", "--targ"]).starts_with("--target\t"));
        assert_eq!(answered(&["ls", "--host", ""]), "");
        assert_eq!(answered(&["ls", ""]).lines().next(), Some("latest"));
    }

    #[test]
    fn the_repository_is_that_of_the_words() {
        let words = ["x", "ls", "-r", "a", "--tag", "t", "-pb", "--cache-dir=c", "--unknown", "y"];
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let found = global(&words).unwrap();
        assert_eq!(found.repo.as_deref(), Some("a"));
        assert_eq!(found.cache_dir.as_deref(), Some(std::path::Path::new("c")));
    }

    #[test]
    fn each_shell_has_a_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = String::from_utf8(registration(shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE), "{shell}: {script}");
        }
        assert!(answer(OsStr::new("csh"), &["--".into(), "x".into()], testing::env()).is_err());
    }
}
