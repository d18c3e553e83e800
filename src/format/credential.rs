//! The credential file: all that a machine needs to take part, in one small file that is kept secret.
//!
//! ```text
//! strongroom credential 1: whoever reads this file can use it; keep it secret
//! <lines of 64 hexadecimal digits>
//! ```
//!
//! The digits are the bytes below and their BLAKE3; `docs/FORMAT.md`, section "Credential file", has the layout.
//! The file never lies in the store. It names the owner's verifying key, so that no store can pass another
//! repository off as this one.

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::keys::{Domain, DomainKeys, Epoch, EpochKeys};
use crate::crypto::run_key;
use crate::crypto::secret::Secret;
use crate::crypto::sign::{Signer, Verifier};
use crate::primitives::codec::{Reader, Write};
use crate::primitives::ids::{CredentialId, RepositoryId, parse_hex};

use super::envelope::FormatError;
use super::epoch_keys;
use super::record::Role;

const FIRST_WORDS: &str = "strongroom credential 1: whoever reads this file can use it; keep it secret";
const NEWER_WORDS: &str = "strongroom credential ";
const HASH_LEN: usize = 32;
const LINE_BYTES: usize = 32;
/// Bytes of a name, and names in a list, at the most.
const TEXT_LEN_MAX: usize = 4096;

/// What a machine holds to take part.
#[derive(Debug, Clone)]
pub struct CredentialFile {
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The owner's verifying key.
    pub owner: Verifier,
    /// What it may do.
    pub role: Role,
    /// Seed of its signing key.
    pub signing: Secret,
    /// Seed of the X25519 key to which later epochs' keys are sealed.
    pub sealing: Secret,
    /// Its domain.
    pub domain: Domain,
    /// Keys of the domain.
    pub domain_keys: DomainKeys,
    /// Keys of all epochs up to the one it was made in.
    pub epochs: Vec<(Epoch, EpochKeys)>,
    /// Its name.
    pub name: String,
    /// Hosts it may speak for.
    pub hosts: Vec<String>,
    /// Sources it may speak for; empty: any.
    pub sources: Vec<String>,
    /// Where the repository was when the file was made.
    pub location: String,
}

impl CredentialFile {
    /// Signs as this credential.
    pub fn signer(&self) -> Signer {
        Signer::new(&self.signing)
    }

    /// The credential's id.
    pub fn id(&self) -> CredentialId {
        self.signer().public().id()
    }

    /// The key to which later epochs' keys are sealed.
    pub fn sealing_public(&self) -> Verifier {
        Verifier(run_key::public_key(&self.sealing))
    }

    /// The text of the file.
    pub fn encode(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new(Vec::with_capacity(1024));
        let out = &mut *body;
        out.u8(self.role as u8);
        out.raw(&self.repository.0);
        out.raw(&self.owner.0);
        out.raw(self.signing.expose());
        out.raw(self.sealing.expose());
        out.u32(self.domain.0);
        let DomainKeys { chunk_id, chunker, tag } = &self.domain_keys;
        [chunk_id, chunker, tag].iter().for_each(|key| out.raw(key.expose()));
        out.varint(self.epochs.len() as u64);
        for (epoch, keys) in &self.epochs {
            out.u32(epoch.0);
            epoch_keys::write(out, keys, true);
        }
        out.bytes(self.name.as_bytes());
        for names in [&self.hosts, &self.sources] {
            out.varint(names.len() as u64);
            names.iter().for_each(|name| out.bytes(name.as_bytes()));
        }
        out.bytes(self.location.as_bytes());
        let hash = *blake3::hash(out).as_bytes();
        out.raw(&hash);
        let mut text = Zeroizing::new(String::with_capacity(FIRST_WORDS.len() + body.len() * 2 + body.len() / 16 + 8));
        text.push_str(FIRST_WORDS);
        text.push('\n');
        for line in body.chunks(LINE_BYTES) {
            for byte in line {
                text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits are a digit"));
                text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits are a digit"));
            }
            text.push('\n');
        }
        text
    }

    /// Reads the text of a file.
    pub fn decode(text: &str) -> Result<Self, FormatError> {
        let (first, rest) = text.split_once('\n').ok_or(FormatError::NotOurs)?;
        if first.trim_end() != FIRST_WORDS {
            let version = first.strip_prefix(NEWER_WORDS).and_then(|rest| rest.split(':').next()?.parse().ok());
            return Err(version
                .filter(|v| *v > 1)
                .map_or(FormatError::NotOurs, |version| FormatError::Newer { version }));
        }
        let digits: Zeroizing<String> = Zeroizing::new(rest.split_ascii_whitespace().collect());
        let bytes = parse_hex(&digits).map(Zeroizing::new).ok_or(FormatError::Checksum)?;
        let body = bytes.len().checked_sub(HASH_LEN).ok_or(FormatError::Checksum)?;
        let (body, hash) = bytes.split_at(body);
        if blake3::hash(body).as_bytes() != hash {
            return Err(FormatError::Checksum);
        }
        Self::decode_body(Reader::new(body))
    }

    fn decode_body(mut reader: Reader) -> Result<Self, FormatError> {
        let r = &mut reader;
        let number = r.u8()?;
        let role = [Role::Backup, Role::Read].into_iter().find(|role| *role as u8 == number);
        let role = role.ok_or(FormatError::Unknown { what: "role of a credential", number: number.into() })?;
        let secret = |r: &mut Reader| -> Result<Secret, FormatError> {
            let mut bytes = r.array()?;
            let secret = Secret::new(bytes);
            bytes.zeroize();
            Ok(secret)
        };
        let (repository, owner) = (RepositoryId(r.array()?), Verifier(r.array()?));
        let (signing, sealing, domain) = (secret(r)?, secret(r)?, Domain(r.u32()?));
        let domain_keys = DomainKeys { chunk_id: secret(r)?, chunker: secret(r)?, tag: secret(r)? };
        let mut epochs = Vec::new();
        for _ in 0..r.count(101)? {
            let epoch = Epoch(r.u32()?);
            if epoch.0 as usize != epochs.len() {
                return Err(r.invalid("order of epochs").into());
            }
            epochs.push((epoch, epoch_keys::read(r)?));
        }
        if epochs.is_empty() {
            return Err(r.invalid("number of epochs").into());
        }
        let name = text(r)?;
        let mut names = [Vec::new(), Vec::new()];
        for list in &mut names {
            for _ in 0..r.count(1)? {
                list.push(text(r)?);
            }
        }
        let [hosts, sources] = names;
        let location = text(r)?;
        reader.end()?;
        let file = Self {
            repository,
            owner,
            role,
            signing,
            sealing,
            domain,
            domain_keys,
            epochs,
            name,
            hosts,
            sources,
            location,
        };
        Ok(file)
    }
}

fn text(r: &mut Reader) -> Result<String, FormatError> {
    let bytes = r.bytes()?;
    let text = std::str::from_utf8(bytes).ok().filter(|t| t.len() <= TEXT_LEN_MAX);
    Ok(text.ok_or_else(|| r.invalid("text"))?.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn file(role: Role) -> CredentialFile {
        let master = Secret::new([1; 32]);
        let keys = |epoch| {
            let keys = EpochKeys::derive(&master, Epoch(epoch));
            (Epoch(epoch), if role == Role::Read { keys } else { EpochKeys { open: None, ..keys } })
        };
        CredentialFile {
            repository: RepositoryId([2; 16]),
            owner: Signer::new(&Secret::new([3; 32])).public(),
            role,
            signing: Secret::new([4; 32]),
            sealing: Secret::new([5; 32]),
            domain: Domain(0),
            domain_keys: DomainKeys::derive(&master, Domain(0)),
            epochs: vec![keys(0), keys(1)],
            name: "db1".to_owned(),
            hosts: vec!["db1".to_owned(), "db1.example.org".to_owned()],
            sources: vec![],
            location: "s3://bucket/backups".to_owned(),
        }
    }

    #[test]
    fn a_file_comes_back_and_does_not_print_its_secrets() {
        for role in [Role::Backup, Role::Read] {
            let file = file(role);
            let text = file.encode();
            let back = CredentialFile::decode(&text).unwrap();
            assert_eq!(*back.encode(), *text);
            assert_eq!((back.id(), back.role, &back.hosts), (file.id(), role, &file.hosts));
            assert_eq!(back.epochs[1].1.open.is_some(), role == Role::Read);
            let printed = format!("{back:?}");
            assert!(!printed.contains("[4, 4") && !printed.contains("0404"), "{printed}");
        }
    }

    #[test]
    fn any_changed_digit_any_cut_and_any_newer_version_is_an_error() {
        let text = file(Role::Backup).encode();
        for at in (0..text.len()).filter(|at| text.as_bytes()[*at] != b'\n') {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(CredentialFile::decode(&changed).is_err(), "byte {at}");
        }
        for len in 0..text.len() - 1 {
            assert!(CredentialFile::decode(&text[..len]).is_err(), "cut at {len}");
        }
        let newer = text.replacen("credential 1:", "credential 2:", 1);
        assert_eq!(CredentialFile::decode(&newer).err(), Some(FormatError::Newer { version: 2 }));
    }

    #[test]
    fn line_ends_of_other_systems_and_a_missing_last_one_do_no_harm() {
        let text = file(Role::Read).encode();
        assert!(CredentialFile::decode(&text.replace('\n', "\r\n")).is_ok());
        assert!(CredentialFile::decode(text.trim_end()).is_ok());
    }
}
