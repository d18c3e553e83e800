//! `init`, and the default repository of `backup --init`.

use serde_json::json;

use crate::formats::config::{Parameters, Profile};
use crate::machinery::repository;

use super::args::InitArgs;
use super::context::{Context, generate_passphrase};
use super::exit::{Code, Failure};

/// Makes the configured repository.
pub fn init(context: &Context, args: &InitArgs) -> Result<Code, Failure> {
    let store = context.new_store()?;
    if repository::read_config(&*store).is_ok() {
        return Err(repository::RepositoryError::AlreadyInitialized { location: store.location() }.into());
    }
    let passphrase = context.passphrase(true)?;
    if passphrase.is_empty() {
        return Err(Failure::new("the passphrase is empty"));
    }
    let id = repository::init(&*store, &passphrase, parameters(args), &*context.world)?;
    if context.global.json {
        super::show::line(
            &mut std::io::stdout().lock(),
            &json!({ "repository": id.to_string(), "location": store.location() }).to_string(),
        );
    } else {
        context.terminal.say(&format!("made repository {} at {}", id.short(), store.location()));
        context.terminal.say("without its passphrase nothing in it can be restored, by anyone: keep it elsewhere, too");
    }
    Ok(Code::Done)
}

fn parameters(args: &InitArgs) -> Parameters {
    let mut parameters = Parameters::default();
    let profile = |sizes: &[u32; 3]| Profile { min: sizes[0] << 10, avg: sizes[1] << 10, max: sizes[2] << 10 };
    if let Some(sizes) = &args.chunk_fine {
        parameters.fine = profile(sizes);
    }
    if let Some(sizes) = &args.chunk_coarse {
        parameters.coarse = profile(sizes);
    }
    let kib = |len: u32| len.saturating_mul(1 << 10);
    parameters.block_len = args.block_len.map_or(parameters.block_len, kib);
    parameters.meta_block_len = args.meta_block_len.map_or(parameters.meta_block_len, kib);
    parameters.pack_len = args.pack_len.map_or(parameters.pack_len, kib);
    parameters
}

/// Makes the default repository if none is configured, and says where it is and how to recover it.
pub fn default_repository(context: &mut Context) -> Result<(), Failure> {
    if context.location()?.is_some() {
        return Ok(());
    }
    let (place, file) = Context::default_places()?;
    context.global.repo = Some(place.to_string_lossy().into_owned());
    let store = context.new_store()?;
    let given = context.passphrase(true);
    let (passphrase, kept) = match given {
        Ok(passphrase) => (passphrase, false),
        Err(_) if file.exists() => {
            context.global.password_file = Some(file.clone());
            (context.passphrase(true)?, true)
        }
        Err(_) => (generate_passphrase(&file, &*context.world)?, true),
    };
    repository::init(&*store, &passphrase, Parameters::default(), &*context.world)?;
    let say = |text: String| context.terminal.say(&text);
    say(format!("made a repository at {}", place.display()));
    if kept {
        context.global.password_file = Some(file.clone());
        let say = |text: String| context.terminal.say(&text);
        say(format!(
            "its passphrase is in {}; without it nothing can be restored: copy it somewhere else",
            file.display()
        ));
        say(format!(
            "to recover on another machine: strongroom --repo COPY-OF-THE-REPOSITORY --password-file COPY-OF-{} restore latest --target DIR",
            file.file_name().map(|n| n.to_string_lossy().to_uppercase()).unwrap_or_default()
        ));
    } else {
        say("to recover on another machine: strongroom --repo COPY-OF-THE-REPOSITORY restore latest --target DIR"
            .to_owned());
    }
    Ok(())
}
