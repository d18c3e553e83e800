//! Which of the installed tools are used.
//!
//! `pg_dump` refuses a server of a newer major version than its own. On Debian, `pg_dump` on the PATH is a wrapper that
//! chooses a version by the local clusters, and fits a server elsewhere only by chance: the directories of the versions
//! are looked at first.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::databases::tool::Tools;

/// Where packages put one directory for each major version: what stands before the version, and behind it.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// A major version: `15`, or `9.6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Major(u32, u32);

impl Major {
    /// Of a server's `server_version_num`.
    pub(super) fn of_number(number: u32) -> Self {
        if number >= 100_000 { Self(number / 10_000, 0) } else { Self(number / 10_000, number / 100 % 100) }
    }

    /// Of a text that begins with a version: `15.18 (Debian)`, `9.6.24`, `18beta1`.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let first = numbers.next()?.ok()?;
        Some(if first >= 10 { Self(first, 0) } else { Self(first, numbers.next()?.ok()?) })
    }

    /// Of what a tool says: `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0)`.
    pub(super) fn of_tool(said: &str) -> Option<Self> {
        Self::of_text(said.split_once(") ")?.1)
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 10 { write!(f, "{}", self.0) } else { write!(f, "{}.{}", self.0, self.1) }
    }
}

/// Directories in which the tools may be, the best first; `None` is the PATH.
pub(super) fn places(tools: &Tools) -> Vec<Option<PathBuf>> {
    if tools.bin.is_some() || tools.container.is_some() {
        return vec![tools.bin.clone()];
    }
    let mut versions: Vec<(Major, PathBuf)> =
        VERSIONED.iter().flat_map(|(dir, prefix)| versions_in(dir, prefix)).collect();
    versions.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    let configured = Tools { bin: None, ..tools.clone() }.answer_text("pg_config", ["--bindir"], b"").ok();
    let configured = configured.map(PathBuf::from).filter(|bin| bin.join("pg_dump").exists());
    versions.into_iter().map(|(_, bin)| bin).chain(configured).map(Some).chain([None]).collect()
}

fn versions_in(dir: &str, prefix: &str) -> Vec<(Major, PathBuf)> {
    let Ok(entries) = Path::new(dir).read_dir() else { return Vec::new() };
    let found = entries.flatten().filter_map(|entry| {
        let major = Major::of_text(entry.file_name().to_str()?.strip_prefix(prefix)?)?;
        let bin = entry.path().join("bin");
        bin.join("pg_dump").exists().then_some((major, bin))
    });
    found.collect()
}

/// The directory of the oldest tools that are not older than the server, and what `tool` there says of its version. An
/// error names what there is.
///
/// What newer ones write cannot always be loaded into the server again: its own `pg_restore` does not read their archives,
/// and that of version 17 makes settings that older servers do not know.
pub(super) fn choose(
    tools: &Tools,
    tool: &str,
    server: Major,
    version: &str,
) -> Result<(Option<PathBuf>, String), String> {
    let (mut found, mut fits) = (Vec::new(), Vec::new());
    for bin in places(tools) {
        let place = Tools { bin: bin.clone(), ..tools.clone() };
        let shown = bin.as_ref().map_or_else(|| "PATH".to_owned(), |bin| bin.display().to_string());
        let said = match place.answer_text(tool, ["--version"], b"") {
            Ok(said) => said,
            Err(e) => {
                found.push(format!("{shown}: {e}"));
                continue;
            }
        };
        match Major::of_tool(&said) {
            Some(major) if major >= server => fits.push((major, bin, said)),
            _ => found.push(format!("{shown}: {said}")),
        }
    }
    // Of several that are alike, the first.
    if let Some((_, bin, said)) = fits.into_iter().min_by_key(|(major, ..)| *major) {
        return Ok((bin, said));
    }
    found.dedup();
    Err(format!(
        "no {tool} that fits the server, which is PostgreSQL {version}: install the client tools of version {server} or \
         newer, or name their directory with `pg_bin` (found {})",
        found.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        let of = |said: &str| Major::of_tool(said).unwrap();
        assert_eq!(of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Major::of_number(150018));
        assert_eq!(of("pg_dump (PostgreSQL) 9.6.24"), Major::of_number(90624));
        assert_eq!(of("pg_dump (PostgreSQL) 18beta1").to_string(), "18");
        assert!(of("pg_dump (PostgreSQL) 9.6.24") < of("pg_dump (PostgreSQL) 10.1"));
        assert_eq!(Major::of_number(90624).to_string(), "9.6");
        assert!(Major::of_tool("pg_dump: command not found").is_none() && Major::of_text("common").is_none());
    }

    /// With tools of several versions, a dump was written by the newest, and its own server could not load it.
    #[test]
    fn the_tools_of_the_server_s_version_come_before_newer_ones() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("pg_config", &format!("echo {}", folder.path().join("17").display()));
        std::fs::create_dir(folder.path().join("17")).unwrap();
        script("17/pg_dump", "echo 'pg_dump (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)'");
        script("pg_dump", "echo 'pg_dump (PostgreSQL) 16.2'");
        let env = vec![("PATH".into(), format!("{}:/usr/bin:/bin", folder.path().display()).into())];
        let tools = Tools { env, ..Tools::default() };
        let chosen = |number| choose(&tools, "pg_dump", Major::of_number(number), "x").unwrap().0;
        assert_eq!(chosen(160_002), None, "the one on the PATH");
        assert_eq!(chosen(170_000), Some(folder.path().join("17")));
    }

    #[test]
    fn tools_older_than_the_server_are_refused_by_name() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg_dump");
        std::fs::write(&file, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 14.2'\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let tools = Tools { bin: Some(folder.path().to_owned()), ..Tools::default() };
        let error = choose(&tools, "pg_dump", Major::of_number(150018), "15.18").unwrap_err();
        assert!(error.contains("14.2") && error.contains("15.18") && error.contains("`pg_bin`"), "{error}");
        assert!(choose(&tools, "pg_dump", Major::of_number(140010), "14.10").is_ok());
    }
}
