//! Data directories of Dataiku DSS: how they are known, and what is to be done with one that was restored.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The file in the root of a data directory that names the version it is of.
pub const VERSION_FILE: &str = "dss-version.json";

/// What the product is called in descriptions.
pub const PRODUCT: &str = "Dataiku DSS";

/// The preset that leaves out what DSS makes anew by itself.
pub const PRESET: &str = "dss:temp";

/// A longer file is none of DSS.
const FILE_LEN_MAX: u64 = 64 << 10;
/// A longer version is none.
const VERSION_LEN_MAX: usize = 64;

/// The version of a data directory; empty if it does not say it; `None` if it is none.
pub fn version(root: &Path) -> Option<String> {
    let path = root.join(VERSION_FILE);
    if !path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() <= FILE_LEN_MAX) {
        return None;
    }
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_LEN_MAX).read_to_string(&mut text));
    let json: Option<serde_json::Value> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    let version = json.as_ref().and_then(|json| json.get("product_version")).and_then(|version| version.as_str());
    let is_one = |text: &&str| text.len() <= VERSION_LEN_MAX && !text.contains(char::is_control);
    Some(version.filter(is_one).unwrap_or_default().to_owned())
}

/// Whether a version is older than another one. What cannot be compared is not.
pub fn is_older(one: &str, other: &str) -> bool {
    match (numbers(one), numbers(other)) {
        (Some(one), Some(other)) => one < other,
        _ => false,
    }
}

/// The numbers at the beginning of a version: `13.4.0` of `13.4.0-beta1`.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers = version[..end].split('.').map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>()?;
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}

/// What a person is told about a data directory that was restored to `place`.
pub fn restore_notes(place: &str, version: &str) -> String {
    let (is, least) = match version {
        "" => (PRODUCT.to_owned(), "the version that saved it".to_owned()),
        version => (format!("{PRODUCT} {version}"), version.to_owned()),
    };
    format!(
        "{place} is a data directory of {is}:\n  \
         never start it with an older DSS than {least}\n  \
         on another machine, in another place or with a newer DSS, run INSTALL_DIR/installer.sh -d {place} -u\n  \
         then rebuild the Python environments (pyenv, code environments)\n  \
         and run the integration of R, Hadoop and Spark again (bin/dssadmin install-R-integration, \
         install-hadoop-integration, install-spark-integration)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_data_directory_is_known_by_its_file_and_says_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(VERSION_FILE);
        assert_eq!(version(folder.path()), None);
        for (text, expected) in [
            (r#"{"product_version":"13.4.0","product_commitid":"x"}"#, "13.4.0"),
            (r#"{"conf_version":"20300"}"#, ""),
            ("no json", ""),
            (r#"{"product_version":"1\u001b[2J"}"#, ""),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(version(folder.path()).as_deref(), Some(expected), "{text}");
        }
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert_eq!(version(folder.path()), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (one, other) in [("9.0.7", "13.4.0"), ("13.4", "13.4.1"), ("13.4.0-beta1", "13.5.0")] {
            assert!(is_older(one, other) && !is_older(other, one), "{one} {other}");
        }
        assert!(
            !is_older("13.4", "13.4.0") && !is_older("13.4.0", "13.4") && !is_older("", "1") && !is_older("x", "1")
        );
    }
}
