//! `cat`: one file of a snapshot to standard output, or into a command.

use std::io::{self, Write};

use crate::format::tree::NodeKind;
use crate::ops::cat::{CatError, cat};
use crate::ops::list;
use crate::primitives::progress::{Observer, Severity, Silent, Unit};
use crate::repository::{Repository, RepositoryError};

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::pipe::{self, Reads, into_command};
use super::super::select::{Chosen, choose_at, only_file};
use crate::cli::args::SnapshotArguments;
use crate::databases::load::SandboxFilter;
use clap::Args;
use std::ffi::OsString;

pub(super) const CAT_EXAMPLES: &str = "\
Examples:
  strongroom cat latest:shop.sql > shop.sql
  strongroom cat latest~1:/etc/passwd
  strongroom cat --tag dump latest:shop.sql --to-command 'psql shop'";

/// Options of `cat`.
#[derive(Args, Default)]
pub struct CatArguments {
    /// The file.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// The path of the file, if it is not given after the colon
    #[arg(value_name = "PATH")]
    pub file: Option<OsString>,
    /// Pipe the file to CMD, run with `bash -o pipefail`, and exit with its status
    #[arg(long, value_name = "CMD")]
    pub to_command: Option<String>,
    /// Allow CMD to exit with status 0 before it has read the whole file (for `pg_restore --list`)
    #[arg(long, requires = "to_command")]
    pub allow_partial_read: bool,
    /// Leave out the first line of a MariaDB dump that switches on the client's sandbox, which other clients fail at
    #[arg(long)]
    pub strip_mariadb_sandbox: bool,
}

/// How a command is fed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Feeding {
    /// It may end before it has read all of the file.
    pub may_leave: bool,
    /// It is not given the line that switches on MariaDB's sandbox.
    pub strips: bool,
}

/// Streams the file.
pub(crate) fn run(session: &Session, arguments: &CatArguments) -> Result<Exit> {
    session.with_repository(|repository| {
        let chosen = choose_at(repository, &arguments.snapshot, arguments.file.as_deref(), session.env)?;
        match &arguments.to_command {
            Some(command) => {
                let how = Feeding { may_leave: arguments.allow_partial_read, strips: arguments.strip_mariadb_sandbox };
                feed(session, repository, &chosen, command, how)
            }
            None => to_output(session, repository, &chosen, arguments.strip_mariadb_sandbox),
        }
    })
}

/// Streams the file into a command. Without a path, the snapshot has one file.
pub(crate) fn feed(
    session: &Session,
    repository: &Repository,
    chosen: &Chosen,
    command: &str,
    how: Feeding,
) -> Result<Exit> {
    session.listen()?;
    let path = path_of_file(repository, chosen)?;
    begin(session, repository, chosen, &path);
    let reads = if how.may_leave { Reads::Enough } else { Reads::All };
    let read = into_command(command, reads, &session.env.signals, |input| {
        write(repository, chosen, &path, input, (how.strips, &session.progress)).map_err(|e| match e {
            CatError::Write(e) if e.kind() == io::ErrorKind::BrokenPipe => pipe::Feeding::Left,
            e => pipe::Feeding::Failed(e.into()),
        })
    })?;
    if read.is_none() {
        let text = "the command ended before it had read all of the file, which --allow-partial-read allows";
        session.progress.finding(Severity::Note, text);
    }
    Ok(Exit::Done)
}

fn to_output(session: &Session, repository: &Repository, chosen: &Chosen, strips: bool) -> Result<Exit> {
    let path = path_of_file(repository, chosen)?;
    // On a terminal, a bar would stand in the middle of the file.
    let observer: &dyn Observer = if session.env.output_is_terminal { &Silent } else { &session.progress };
    if !session.env.output_is_terminal {
        begin(session, repository, chosen, &path);
    }
    let mut out = session.env.out();
    let done = write(repository, chosen, &path, &mut *out, (strips, observer));
    let flushed = out.flush();
    match done {
        Ok(_) => flushed.map(|()| Exit::Done).map_err(CliError::Output),
        Err(CatError::Write(e)) => Err(CliError::Output(e)),
        Err(e) => Err(e.into()),
    }
}

/// Writes the file to `out`, without MariaDB's first line if `strips`.
fn write(
    repository: &Repository,
    chosen: &Chosen,
    path: &[u8],
    out: &mut dyn Write,
    (strips, observer): (bool, &dyn Observer),
) -> Result<(), CatError> {
    if !strips {
        return cat(repository, &chosen.snapshot, path, out, observer).map(drop);
    }
    let mut filter = SandboxFilter::new(out);
    cat(repository, &chosen.snapshot, path, &mut filter, observer)?;
    filter.finish().map_err(CatError::Write)
}

/// Tells the progress bar what comes. What is wrong with the path, `cat` says.
fn begin(session: &Session, repository: &Repository, chosen: &Chosen, path: &[u8]) {
    let node = list::find(repository, &chosen.snapshot, path).ok().flatten();
    let total = node.and_then(|n| if let NodeKind::File(file) = n.kind { Some(file.size) } else { None });
    session.progress.phase("reading", total, Unit::Bytes);
}

/// The path, or that of the only file if none was named.
fn path_of_file(repository: &Repository, chosen: &Chosen) -> Result<Vec<u8>> {
    if !chosen.path.is_empty() {
        return Ok([b"/", &chosen.path[..]].concat());
    }
    match only_file(repository, chosen) {
        Err(CliError::Repository(RepositoryError::Interrupted)) => Err(CliError::Interrupted),
        found => found,
    }
}
