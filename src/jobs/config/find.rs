//! Where the configuration is, and that it is nobody else's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name of the file in the user's and in the system's folder.
pub const NAME: &str = "strongroom.toml";
/// The system's folder.
pub const SYSTEM: &str = "/etc/strongroom";

/// The file that is named, or the user's, or the system's; `None` if there is none.
///
/// `config_home` is the user's folder of configurations (`XDG_CONFIG_HOME`).
pub fn find(named: Option<PathBuf>, config_home: Option<PathBuf>) -> Option<PathBuf> {
    let users = config_home.map(|folder| folder.join("strongroom").join(NAME));
    named.or_else(|| users.into_iter().chain([Path::new(SYSTEM).join(NAME)]).find(|file| file.exists()))
}

/// Refuses a file that others can read or write, and says what to type.
///
/// A group may read it: the owner decides who is in it. What a group may write it decides what root runs.
pub fn check_private(file: &Path) -> Result<(), String> {
    let meta = fs::metadata(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let shown = file.display();
    let (mode, owner) = (meta.permissions().mode(), meta.uid());
    if mode & 0o027 != 0 {
        let others = if mode & 0o007 != 0 { "other users can read or write it" } else { "its group can write it" };
        return Err(format!("{shown}: {others}: chmod o=,g-w '{shown}'"));
    }
    let own = rustix::process::geteuid().as_raw();
    if owner != own && owner != 0 {
        return Err(format!("{shown} belongs to user {owner}, who could change it: chown {own} '{shown}'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_read_or_write_is_refused_with_what_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        fs::write(&file, "").unwrap();
        for (mode, refused) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true), (0o602, true)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let found = check_private(&file);
            assert_eq!(found.is_err(), refused, "{mode:o}");
            assert!(found.err().is_none_or(|text| text.contains("chmod")));
        }
        assert!(check_private(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_named_file_is_meant_and_then_the_user_s() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("strongroom").join(NAME);
        assert_eq!(find(Some("x".into()), None), Some("x".into()));
        fs::create_dir(folder.path().join("strongroom")).unwrap();
        fs::write(&users, "").unwrap();
        assert_eq!(find(None, Some(folder.path().to_owned())), Some(users));
    }
}
