//! The repository: objects in a store, understood.
//!
//! It knows records, packs, blocks, nodes and runs; it does not know file systems or what a backup is. All
//! methods may be called from several threads.
//!
//! * [`log`]: folding and appending; [`crate::log`]: what a record does, purely
//! * [`doubt`]: what contradicts the history
//! * [`write::run`]: adding chunks, nodes and snapshots; [`write::packer`]: the pipeline from blocks to uploaded packs
//! * [`write::rewrite`]: what is there into new packs, the old ones condemned
//! * [`inventory`]: what the store has against what the log says
//! * [`dedup`]: deduplication; [`read::frame`]: blocks and nodes back; [`write::trees`]: directories and content lists
//! * [`crate::cache`] and [`state_dir`]: what this machine keeps

pub mod conditional;
pub mod create;
pub mod dedup;
pub mod doubt;
pub mod error;
pub mod history_check;
pub mod index_sync;
pub mod inventory;
pub mod keyring;
pub mod log;
pub mod per_source;
pub mod read;
pub mod sets;
pub mod snapshots;
pub mod state_dir;
mod suspects;
pub mod write;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::crypto::keys::{Domain, DomainKeys, Epoch, EpochKeys, owner_signer};
use crate::crypto::password::COST_MIN;
use crate::crypto::recovery;
use crate::crypto::secret::Secret;
use crate::crypto::sign::Verifier;
use crate::format::checkpoint;
use crate::format::config::{self, Config, Parameters};
use crate::format::credential::CredentialFile;
use crate::format::envelope::FormatError;
use crate::format::names::{self, ObjectName};
use crate::format::record::{self, Role};
use crate::format::slot::{self, Slot, SlotError, SlotKind};
use crate::format::state::State;
use crate::primitives::ids::{MachineId, ObjectHash, RepositoryId};
use crate::primitives::system::{System, random};
use crate::primitives::text::printable;
use crate::store::{Store, StoreError};

pub use error::{RepositoryError, Result};
use keyring::Keyring;
use state_dir::LocalState;

/// Where this machine keeps its cache and its state.
#[derive(Debug, Clone)]
pub struct LocalPlaces {
    /// May be deleted at any time.
    pub cache: PathBuf,
    /// Must not be.
    pub state: PathBuf,
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    /// Where its objects are.
    pub store: Arc<dyn Store>,
    /// Who it is.
    pub config: Config,
    /// What this credential holds.
    pub keys: Keyring,
    /// Time and randomness.
    pub system: Arc<dyn System>,
    /// The key slot that gave the master key.
    slot: Option<String>,
    /// Held by the one process that writes, where there may be only one.
    writer: Mutex<Option<std::fs::File>>,
    cache: crate::cache::Cache,
    local: LocalState,
    state: Mutex<Arc<State>>,
    places_synced: Mutex<Option<index_sync::PlacesFingerprint>>,
    read_cache: read::frame::ReadCache,
    damage: Mutex<Vec<RepositoryError>>,
    /// Packs that the store's listing has not as the log says.
    suspects: Mutex<std::collections::HashSet<ObjectHash>>,
    /// What made the log untrustworthy: from then on nothing is appended.
    distrust: Mutex<Option<String>>,
    /// Why the log was not folded to its last object.
    gap: Mutex<Option<doubt::Gap>>,
    /// An object that only a later record can have led to.
    beyond: Mutex<Option<doubt::Doubt>>,
    /// That the bucket has other versions of records, if that was found.
    versions: Mutex<Option<doubt::Doubt>>,
}

impl std::fmt::Debug for dyn System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// Makes a repository in an empty store. Returns its id.
///
/// With `single_writer` it is for a store that cannot keep several writers apart: only the owner, and only on that
/// machine, may ever write.
pub fn init(
    store: &dyn Store,
    passphrase: &[u8],
    parameters: Parameters,
    single_writer: Option<MachineId>,
    system: &dyn System,
) -> Result<RepositoryId> {
    init_with(store, passphrase, parameters, single_writer, None, system)
}

/// As [`init`], with the parameters and the chunker key of another repository: what is copied from there and what is
/// backed up here are cut alike, and found again.
pub fn init_like(
    store: &dyn Store,
    passphrase: &[u8],
    like: &Repository,
    single_writer: Option<MachineId>,
    system: &dyn System,
) -> Result<RepositoryId> {
    let chunker = Some(&like.keys.domain_keys.chunker);
    init_with(store, passphrase, like.config.parameters, single_writer, chunker, system)
}

fn init_with(
    store: &dyn Store,
    passphrase: &[u8],
    parameters: Parameters,
    single_writer: Option<MachineId>,
    chunker: Option<&Secret>,
    system: &dyn System,
) -> Result<RepositoryId> {
    if single_writer.is_some() {
        store.assume_single_writer();
    }
    // A config with others would be written, and no reader would take it.
    let parameters = parameters.check().map_err(|e| RepositoryError::Conflict { what: e.to_string() })?;
    match store.get(names::CONFIG) {
        Ok(_) => return Err(RepositoryError::AlreadyInitialized { location: store.location() }),
        Err(StoreError::Missing { .. }) => {
            refuse_remains(store)?;
            refuse_foreign(store)?;
        }
        Err(e) => return Err(e.into()),
    }
    let master = Secret::random(system);
    let owner = owner_signer(&master);
    let config = Config {
        id: RepositoryId(random(system)),
        created_ms: system.now_ms(),
        owner: owner.public(),
        public: Verifier(EpochKeys::derive(&master, Epoch::default()).public),
        parameters,
        single_writer,
        chunker: chunker.map(|key| config::seal_chunker(key, &master, random(system))),
    };
    let slot = slot::seal(SlotKind::Passphrase, COST_MIN, random(system), passphrase, &master)
        .map_err(|e| RepositoryError::Conflict { what: e.to_string() })?;
    // The config comes last: from then on there is a repository, and its key is there.
    create::put(store, &names::slot(&random(system)), &Bytes::from(slot))?;
    match create::settle(store, names::CONFIG, &Bytes::from(config.encode(&owner, random(system))))? {
        create::Stands::Ours => Ok(config.id),
        create::Stands::Theirs => Err(RepositoryError::AlreadyInitialized { location: store.location() }),
    }
}

/// Folders of what is stored in a repository, once there is one.
const STORED: [&str; 5] = [names::LOG, names::DATA, names::META, names::INDEX, names::CHECKPOINT];

/// Refuses a store that holds a repository whose config is gone. Key slots alone are what an interrupted `init`
/// leaves; anything else is somebody's backups.
fn refuse_remains(store: &dyn Store) -> Result<()> {
    let (mut any, mut strangers) = (false, Vec::new());
    for folder in STORED {
        let foreign = store.list(folder, None, &mut |listed| {
            match ObjectName::parse(&listed.name) {
                Some(_) => any = true,
                None => strangers.push(listed.name),
            }
            if any || strangers.len() >= EXAMPLES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        strangers.extend(foreign.examples);
    }
    strangers.truncate(EXAMPLES_MAX);
    match (any, strangers.is_empty()) {
        (true, _) => Err(RepositoryError::Missing { name: names::CONFIG.to_owned() }),
        (false, true) => Ok(()),
        // Where a repository's objects would lie, something else does.
        (false, false) => {
            let examples = strangers.iter().map(|name| printable(name.as_bytes())).collect();
            Err(RepositoryError::NotEmpty { location: store.location(), examples })
        }
    }
}

/// What the top of a file system may hold before anybody uses it.
const ALLOWED_IN_EMPTY: &[&str] = &["lost+found"];

/// So many foreign files and folders are looked for: more than another tool's repository has.
const TOPS_MAX: usize = 12;

/// So many of them are named.
const EXAMPLES_MAX: usize = 5;

/// Refuses a folder that holds something else.
fn refuse_foreign(store: &dyn Store) -> Result<()> {
    let mut examples: Vec<String> = foreign(store)?.into_iter().collect();
    examples.retain(|name| !ALLOWED_IN_EMPTY.contains(&name.as_str()));
    if examples.is_empty() {
        return Ok(());
    }
    examples.truncate(EXAMPLES_MAX);
    let examples = examples.iter().map(|name| printable(name.as_bytes())).collect();
    Err(RepositoryError::NotEmpty { location: store.location(), examples })
}

/// The tool whose repository this is, as far as the names of its files tell.
fn other_tool(store: &dyn Store) -> Option<&'static str> {
    let found = foreign(store).ok()?;
    let has = |name: &str| found.iter().any(|n| n == name);
    match () {
        () if has("snapshots") || has("locks") => Some("restic or rustic"),
        () if has("README") || has("nonce") => Some("borg"),
        () => None,
    }
}

/// The files and folders in a local folder, without what is below them, that are none of a repository's. A bucket is
/// not asked: others may keep much in it, beside ours.
fn foreign(store: &dyn Store) -> Result<BTreeSet<String>> {
    let mut tops = BTreeSet::new();
    if store.is_remote() {
        return Ok(tops);
    }
    let top = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let others = store.list("", None, &mut |listed| {
        if ObjectName::parse(&listed.name).is_none() {
            tops.insert(top(&listed.name));
        }
        // Somebody's whole disk is not listed for a refusal.
        if tops.len() > TOPS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    tops.extend(others.examples.iter().map(|name| top(name)));
    Ok(tops)
}

/// Reads and checks the config of a store.
pub fn read_config(store: &dyn Store) -> Result<(Config, Bytes)> {
    let bytes = match read::object::read(store, names::CONFIG) {
        Ok(whole) => whole.bytes,
        Err(StoreError::Missing { .. }) => return Err(no_config(store)),
        Err(e) => return Err(e.into()),
    };
    let config = Config::decode(&bytes).map_err(|cause| match (&cause, other_tool(store)) {
        (FormatError::Newer { .. }, _) | (_, None) => RepositoryError::object(names::CONFIG)(cause),
        (_, Some(tool)) => RepositoryError::OtherTool { location: store.location(), tool },
    })?;
    Ok((config, bytes))
}

/// A store without a config is no repository, unless other objects say that it was one. Key slots alone are what an
/// interrupted `init` leaves.
fn no_config(store: &dyn Store) -> RepositoryError {
    let mut any = false;
    for folder in STORED {
        let listed = store.list(folder, None, &mut |_| {
            any = true;
            ControlFlow::Break(())
        });
        if let Err(e) = listed {
            return e.into();
        }
    }
    match any {
        true => RepositoryError::Missing { name: names::CONFIG.to_owned() },
        false => RepositoryError::NoRepository { location: store.location() },
    }
}

/// The master key, and the name of the slot that gave it.
fn master_key(store: &dyn Store, config: &Config, passphrase: &[u8]) -> Result<(Secret, String)> {
    let mut slots = Vec::new();
    store.list(names::KEYS, None, &mut |listed| {
        if let Some(ObjectName::Slot(_)) = ObjectName::parse(&listed.name) {
            slots.push(listed.name);
        }
        ControlFlow::Continue(())
    })?;
    if slots.is_empty() {
        return Err(RepositoryError::Missing { name: format!("every key slot below {}/", names::KEYS) });
    }
    let words = recovery::normalize(passphrase);
    let (mut damaged, mut foreign) = (None, None);
    for name in &slots {
        let bytes = read::object::read(store, name)?.bytes;
        let opened = Slot::decode(&bytes).map_err(SlotError::from).and_then(|slot| match &words {
            Some(words) if slot.way == SlotKind::Words => slot.open(words.as_bytes()),
            _ => slot.open(passphrase),
        });
        match opened {
            Ok(master) if owner_signer(&master).public() == config.owner => return Ok((master, name.clone())),
            // Perhaps what an interrupted `init` with the same passphrase left: others are tried first.
            Ok(_) => {
                let what = format!("{name} opens, and its key is not the one that signed the config");
                foreign = Some(RepositoryError::History { what });
            }
            Err(SlotError::WrongPassphrase) => {}
            Err(SlotError::Format(cause)) => damaged = Some(RepositoryError::object(name)(cause)),
        }
    }
    Err(damaged.or(foreign).unwrap_or(RepositoryError::WrongPassphrase { slots: slots.len() }))
}

impl Repository {
    /// Opens the repository in `store` with the owner's passphrase, and folds its log.
    pub fn open(
        store: Arc<dyn Store>,
        passphrase: &Zeroizing<Vec<u8>>,
        places: &LocalPlaces,
        system: Arc<dyn System>,
    ) -> Result<Arc<Self>> {
        Self::open_as_owner(store, passphrase, places, system, false)
    }

    /// As [`Repository::open`], also if the log ends in bytes that stop everyone else: for repairing it.
    pub fn open_for_repair(
        store: Arc<dyn Store>,
        passphrase: &Zeroizing<Vec<u8>>,
        places: &LocalPlaces,
        system: Arc<dyn System>,
    ) -> Result<Arc<Self>> {
        Self::open_as_owner(store, passphrase, places, system, true)
    }

    fn open_as_owner(
        store: Arc<dyn Store>,
        passphrase: &Zeroizing<Vec<u8>>,
        places: &LocalPlaces,
        system: Arc<dyn System>,
        for_repair: bool,
    ) -> Result<Arc<Self>> {
        let (config, config_bytes) = read_config(&*store)?;
        let (master, slot) = master_key(&*store, &config, passphrase)?;
        let keys = Keyring::owner(&master, &config).map_err(RepositoryError::object(names::CONFIG))?;
        Self::open_with(store, (config, config_bytes), keys, Some(slot), places, system, for_repair)
    }

    /// Opens the repository in `store` with a machine's credential, and folds its log.
    pub fn open_as(
        store: Arc<dyn Store>,
        file: &CredentialFile,
        places: &LocalPlaces,
        system: Arc<dyn System>,
    ) -> Result<Arc<Self>> {
        let (config, config_bytes) = read_config(&*store)?;
        if config.id != file.repository {
            return Err(RepositoryError::OtherRepository { expected: file.repository, found: config.id });
        }
        if config.owner != file.owner {
            let what = "its config is signed by another owner than the one this credential was made by".to_owned();
            return Err(RepositoryError::History { what });
        }
        Self::open_with(store, (config, config_bytes), Keyring::of_file(file), None, places, system, false)
    }

    /// The repository as the owner sees it in another store that has the same configuration, with other local places.
    pub fn view(&self, store: Arc<dyn Store>, places: &LocalPlaces) -> Result<Arc<Self>> {
        let (config, config_bytes) = read_config(&*store)?;
        let keys = Keyring::owner(self.master_for("look at another history")?, &config)
            .map_err(RepositoryError::object(names::CONFIG))?;
        Self::open_with(store, (config, config_bytes), keys, None, places, self.system.clone(), true)
    }

    /// The master key, which the owner alone has; an error says that only the owner may do this `action`.
    pub(crate) fn master_for(&self, action: &'static str) -> Result<&Secret> {
        self.keys.master().ok_or(RepositoryError::OwnerOnly { action })
    }

    fn open_with(
        store: Arc<dyn Store>,
        (config, config_bytes): (Config, Bytes),
        keys: Keyring,
        slot: Option<String>,
        places: &LocalPlaces,
        system: Arc<dyn System>,
        for_repair: bool,
    ) -> Result<Arc<Self>> {
        let cache = crate::cache::Cache::open(&places.cache, config.id)?;
        let local = LocalState::open(&places.state, config.id)?;
        let damaged = local.damaged();
        if config.single_writer.is_some() {
            store.assume_single_writer();
        }
        let empty = State::new(config.owner, record::hash(&config_bytes));
        let known = cache.state()?.filter(|s| s.owner == config.owner);
        let repository = Self {
            store,
            config,
            keys,
            slot,
            writer: Mutex::default(),
            system,
            cache,
            local,
            state: Mutex::new(Arc::new(empty)),
            places_synced: Mutex::new(None),
            read_cache: read::frame::ReadCache::default(),
            damage: Mutex::default(),
            suspects: Mutex::new(damaged),
            distrust: Mutex::default(),
            gap: Mutex::default(),
            beyond: Mutex::default(),
            versions: Mutex::default(),
        };
        let start = match known {
            Some(state) => Some(state),
            None => repository.newest_checkpoint()?,
        };
        if let Some(state) = start {
            repository.follow_epochs(&state, 0)?;
            *repository.state.lock() = Arc::new(state);
        }
        // Who has seen nothing yet knows the end of the log by the log alone. Who has looks everywhere once a day, and
        // else where packs of lost runs would be.
        let looks = !repository.store.is_remote() || repository.local.head().ok().flatten().is_none();
        match repository.refresh() {
            Ok(_) if repository.forks() && repository.adopt_settlement()? => {
                let state = repository.refresh()?;
                repository.check_admitted(&state)?;
            }
            Ok(state) => repository.check_admitted(&state)?,
            Err(e) if for_repair && log::is_garbage(&e) => return Ok(Arc::new(repository)),
            Err(RepositoryError::History { .. } | RepositoryError::Fork { .. }) if repository.adopt_settlement()? => {
                let state = repository.refresh()?;
                repository.check_admitted(&state)?;
            }
            Err(e) => return Err(e),
        }
        match looks || repository.is_listing_due() {
            true => repository.look_beyond()?,
            false => repository.look_beyond_in(&[names::META])?,
        }
        Ok(Arc::new(repository))
    }

    /// The newest checkpoint that can be read: where a newcomer starts.
    fn newest_checkpoint(&self) -> Result<Option<State>> {
        let mut names = Vec::new();
        self.store.list(names::CHECKPOINT, None, &mut |listed| {
            if let Some(ObjectName::Checkpoint(_)) = ObjectName::parse(&listed.name) {
                names.push(listed.name);
            }
            ControlFlow::Continue(())
        })?;
        for name in names.iter().rev() {
            let bytes = self.get(name)?;
            match checkpoint::decode(&bytes, &self.config.owner, |e| self.keys.secret(e)) {
                Ok(state) if names::checkpoint(state.number) == *name => {
                    // One that the log does not reach, or contradicts, is told where objects beyond its end are.
                    if self.leads_to(&state)? {
                        return Ok(Some(state));
                    }
                }
                Ok(state) => {
                    let what = format!("it is the checkpoint of record {}", state.number);
                    self.note_damage(RepositoryError::object(name)(FormatError::Malformed(what)));
                }
                // One of a later epoch than this credential's file: the log tells its keys.
                Err(FormatError::NoEpochKeys { .. }) => {}
                // A damaged checkpoint costs time, not safety: the log is folded from further back.
                Err(cause) => self.note_damage(RepositoryError::object(name)(cause)),
            }
        }
        Ok(None)
    }

    /// Whether the record that a checkpoint stands for is the one in the log.
    fn leads_to(&self, checkpoint: &State) -> Result<bool> {
        let bytes = match self.get(&names::record(checkpoint.number)) {
            Ok(bytes) => bytes,
            Err(e) if e.is_missing() => return Ok(false),
            Err(e) => return Err(e),
        };
        // After a void record the state's hash covers more than its bytes; the next valid one is compared.
        let stands = !checkpoint.valid || record::hash(&bytes) == checkpoint.hash;
        if !stands {
            let what = format!("it stands for another record {}", checkpoint.number);
            let name = names::checkpoint(checkpoint.number);
            self.note_damage(RepositoryError::object(name)(FormatError::Malformed(what)));
        }
        Ok(stands)
    }

    /// Refuses to write where only one machine may and this is another, or another process of it writes now; and
    /// where the store, met for the first time, lets several create one object.
    pub(crate) fn check_may_write(&self) -> Result<()> {
        let Some(machine) = self.config.single_writer else { return self.check_endpoint() };
        let not = |what: &str| Err(RepositoryError::NotAllowed { what: what.to_owned() });
        if self.keys.role != Role::Owner || self.local.machine_id(&*self.system)? != machine {
            return not(
                "this repository was made with --single-writer: only its owner, on the machine that made it, may write; \
                        every machine may restore",
            );
        }
        let mut writer = self.writer.lock();
        if writer.is_none() {
            *writer = self.local.lock_writer()?;
        }
        match writer.is_some() {
            true => Ok(()),
            false => not(
                "another process on this machine is writing to the repository, which was made with --single-writer: \
                          try again when it has ended",
            ),
        }
    }

    /// The state before any record: where a full check begins.
    pub fn empty_state(&self) -> Result<State> {
        let (config, bytes) = read_config(&*self.store)?;
        Ok(State::new(config.owner, record::hash(&bytes)))
    }

    /// As [`Repository::open_for_repair`], after forgetting what this machine has seen of the history: its owner gives that
    /// up. If it does not open then either, nothing is forgotten.
    pub fn open_forgetting(
        store: Arc<dyn Store>,
        passphrase: &Zeroizing<Vec<u8>>,
        places: &LocalPlaces,
        system: Arc<dyn System>,
    ) -> Result<Arc<Self>> {
        let (config, _) = read_config(&*store)?;
        let local = LocalState::open(&places.state, config.id)?;
        let seen = local.head()?;
        crate::cache::Cache::open(&places.cache, config.id)?.clear()?;
        local.forget_head()?;
        let opened = Self::open_for_repair(store, passphrase, places, system);
        if let (Err(_), Some(seen)) = (&opened, seen) {
            local.set_head(seen)?;
        }
        opened
    }

    /// Name of the key slot that opened it; `None` for a credential.
    pub fn opened_by(&self) -> Option<&String> {
        self.slot.as_ref()
    }

    /// The cache of this repository.
    pub fn cache(&self) -> &crate::cache::Cache {
        &self.cache
    }

    /// Remembers damage that was met and could be worked around.
    fn note_damage(&self, error: RepositoryError) {
        self.damage.lock().push(error);
    }

    /// Remembers, once for each object, that reading it again helped.
    fn note_unsteady(&self, name: &str) {
        let name = name.to_owned();
        let mut damage = self.damage.lock();
        let is_known = |e: &RepositoryError| matches!(e, RepositoryError::Unsteady { name: known } if *known == name);
        if !damage.iter().any(is_known) {
            damage.push(RepositoryError::Unsteady { name });
        }
    }

    /// Damage that was met and could be worked around so far.
    pub fn take_damage(&self) -> Vec<RepositoryError> {
        std::mem::take(&mut *self.damage.lock())
    }

    /// Writes the folded state to the cache, so that the next command starts here.
    pub fn save_cache(&self) -> Result<()> {
        Ok(self.cache.set_state(&self.state())?)
    }

    /// A chunker's table for this domain.
    pub fn gear_table(&self) -> crate::chunking::GearTable {
        crate::chunking::GearTable::new(&self.keys.domain_keys.chunker)
    }

    /// Keys of the domain.
    pub fn domain_keys(&self) -> &DomainKeys {
        &self.keys.domain_keys
    }

    /// A secret of whoever opened it, the owner or one credential, for one purpose: nobody else can make it.
    pub fn own_secret(&self, purpose: &str) -> Secret {
        self.keys.signer().derive(purpose)
    }

    /// The only domain of this version.
    pub fn domain(&self) -> Domain {
        self.keys.domain
    }
}
