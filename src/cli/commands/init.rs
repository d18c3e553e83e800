//! `init`: makes a repository.

use crate::format::config::{Parameters, Profile};
use crate::repository::RepositoryError;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::passphrase::SecretSource;
use super::super::settings::{NewRepository, Settings, write_key_file};
use crate::cli::args::OtherArguments;
use crate::cli::values;
use clap::Args;
use serde::Serialize;

/// Options of `init`: sizes for measurements, not for people, who have no reason to choose them.
#[derive(Args, Default)]
pub struct InitArguments {
    /// Use the chunking parameters of this repository, so that `copy` between them deduplicates
    #[arg(long, value_name = "REPO", conflicts_with_all = ["chunk_fine", "chunk_coarse", "block_len", "meta_block_len", "pack_len"])]
    pub copy_parameters_from: Option<String>,
    /// The other's passphrase.
    #[command(flatten)]
    pub other: OtherArguments,
    /// For a store without conditional writes (Garage, rclone): only this machine may ever write
    #[arg(long)]
    pub single_writer: bool,
    /// Chunk sizes of what can be compressed, in KiB: LEAST,NOMINAL,MOST
    #[arg(long, hide = true, value_parser = values::sizes)]
    pub chunk_fine: Option<[u32; 3]>,
    /// Chunk sizes of what is compressed already, in KiB: LEAST,NOMINAL,MOST
    #[arg(long, hide = true, value_parser = values::sizes)]
    pub chunk_coarse: Option<[u32; 3]>,
    /// Length of blocks, in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub block_len: Option<u32>,
    /// Length of blocks of trees, in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub meta_block_len: Option<u32>,
    /// Length of packs, in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub pack_len: Option<u32>,
}

/// `type: "init"`: a repository was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InitJson {
    /// `init`.
    pub r#type: &'static str,
    /// Id of the repository.
    pub repository: String,
    /// Where it is.
    pub location: String,
    /// The file with its passphrase, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<String>,
}

/// Makes the repository that is configured.
pub(crate) fn run(session: &Session, arguments: &InitArguments) -> Result<Exit> {
    let settings = Settings::find(session.global, session.env, false)?;
    // Nobody is asked for a new passphrase of what is there already.
    if settings.exists(session.env)? {
        return Err(RepositoryError::AlreadyInitialized { location: settings.location }.into());
    }
    let passphrase = settings.secret.get(session.env, true)?;
    let (parameters, single_writer) = (parameters(arguments), arguments.single_writer);
    let like = match &arguments.copy_parameters_from {
        Some(location) => {
            let other = Settings::other(location, &arguments.other, session.global, session.env)?;
            Some(other.open(session.global, session.env)?)
        }
        None => None,
    };
    let new = NewRepository { passphrase, parameters, like, single_writer };
    let id = settings.make(&new, session.global, session.env)?;
    if session.global.json {
        session.print_json(&InitJson {
            r#type: "init",
            repository: id.to_string(),
            location: settings.location,
            passphrase_file: None,
        })?;
    } else if session.global.tells() {
        session.print(&format!(
            "created repository {} at {}\nkeep the passphrase safe: without it nothing can be restored",
            id.short(),
            settings.location
        ))?;
        if arguments.single_writer {
            session.print(
                "only this machine may write here, one process at a time, and never again once its state folder is lost; \
                 no machine can be given a backup credential. A second writer, by whatever mistake, could overwrite records",
            )?;
        }
    }
    Ok(Exit::Done)
}

fn parameters(arguments: &InitArguments) -> Parameters {
    let kib = |n: u32| n << 10;
    let profile = |[min, avg, max]: [u32; 3]| Profile { min: kib(min), avg: kib(avg), max: kib(max) };
    let usual = Parameters::default();
    Parameters {
        fine: arguments.chunk_fine.map_or(usual.fine, profile),
        coarse: arguments.chunk_coarse.map_or(usual.coarse, profile),
        block_len: arguments.block_len.map_or(usual.block_len, kib),
        meta_block_len: arguments.meta_block_len.map_or(usual.meta_block_len, kib),
        pack_len: arguments.pack_len.map_or(usual.pack_len, kib),
    }
}

/// Makes the repository if there is none: `backup --init`. A default one gets a passphrase of its own if none was
/// given, in a file.
pub(crate) fn make_if_missing(session: &Session, settings: &mut Settings) -> Result<Option<InitJson>> {
    if settings.exists(session.env)? {
        return Ok(None);
    }
    let mut passphrase_file = None;
    if let (SecretSource::Ask, Some(defaults)) = (&settings.secret, &settings.defaults) {
        write_key_file(&defaults.key_file, &*session.env.system)?;
        settings.secret = SecretSource::File(defaults.key_file.clone());
    }
    if let (SecretSource::File(file), Some(defaults)) = (&settings.secret, &settings.defaults)
        && *file == defaults.key_file
    {
        passphrase_file = Some(file.to_str().map(str::to_owned).ok_or_else(|| {
            CliError::Usage("the path of the passphrase file is not UTF-8: use --password-file".to_owned())
        })?);
    }
    let passphrase = settings.secret.get(session.env, true)?;
    let new = NewRepository { passphrase, parameters: Parameters::default(), like: None, single_writer: false };
    let id = settings.make(&new, session.global, session.env)?;
    let location = settings.location.clone();
    // Also for those who asked for quiet: nobody but this message knows where the passphrase is.
    session.progress.line(&format!("created repository {} at {location}", id.short()));
    match &passphrase_file {
        Some(file) => session.progress.line(&format!(
            "its passphrase is in {file}: keep a copy of both elsewhere, for whoever loses one has lost all\n\
             to recover everything: strongroom -r {location} --password-file {file} restore latest --target DIR"
        )),
        None => session.progress.line("keep the passphrase safe: without it nothing can be restored"),
    }
    Ok(Some(InitJson { r#type: "init", repository: id.to_string(), location, passphrase_file }))
}
