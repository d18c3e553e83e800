//! `cat`.

use std::io::Write;

use crate::operations::cat::{CatError, cat as run};

use super::args::CatArgs;
use super::context::{Context, split_path};
use super::exit::{Code, Failure};
use super::pipe::into_command;

/// Streams a file.
pub fn cat(context: &Context, args: CatArgs) -> Result<Code, Failure> {
    let (name, path) = split_path(&args.snapshot)?;
    let path = path.ok_or_else(|| {
        Failure::new(format!("{:?} names no file", args.snapshot))
            .hint("write SNAPSHOT:PATH, such as latest:datahub.sql")
    })?;
    let repository = context.open()?;
    let snapshot = context.choose(&repository, Some(&name), args.at.as_deref(), &args.filter)?;
    let done = match &args.to_command {
        Some(command) => into_command(context, &repository, &snapshot, &path, command),
        None => {
            let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
            let written = run(&repository, &snapshot, &path, &mut out, &context.terminal);
            match written.and_then(|_| out.flush().map_err(CatError::Write)) {
                Ok(()) => Ok(Code::Done),
                // Whoever read it has had enough: not worth a word, and no success either.
                Err(CatError::Write(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Code::Failed),
                Err(e) => Err(e.into()),
            }
        }
    };
    context.close(&repository);
    done
}
