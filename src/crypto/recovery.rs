//! Recovery words: a passphrase with 128 random bits that can be written on paper and read out.
//!
//! Twelve English words of [BIP-39](https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki), the last of which
//! holds a checksum, so that a word misread is told from a wrong passphrase.

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::primitives::system::{System, random};

/// Twelve fresh words, in lower case, with one space between.
pub fn words(system: &dyn System) -> Zeroizing<String> {
    let entropy: Zeroizing<[u8; 16]> = Zeroizing::new(random(system));
    let words = Mnemonic::from_entropy_in(Language::English, &*entropy).expect("sixteen bytes make twelve words");
    Zeroizing::new(words.to_string())
}

/// The words as [`words`] made them, however they were typed; `None` if these are none.
pub fn normalize(typed: &[u8]) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(std::str::from_utf8(typed).ok()?.to_lowercase());
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '-' | '.');
    let words: Vec<&str> = text.split(separates).filter(|w| !w.is_empty()).collect();
    let joined = Zeroizing::new(words.join(" "));
    Mnemonic::parse_in_normalized(Language::English, &joined).ok().map(|_| joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::system::OsSystem;

    #[test]
    fn words_are_known_however_they_are_typed_and_a_wrong_word_is_none() {
        let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        let typed = " Legal  WINNER thank-year,wave sausage\nworth useful legal winner thank yellow ";
        assert_eq!(normalize(typed.as_bytes()).unwrap().as_str(), words);
        assert!(normalize(words.replace("yellow", "year").as_bytes()).is_none(), "the last word is a checksum");
        assert!(normalize(b"correct horse battery staple").is_none());
    }

    #[test]
    fn fresh_words_differ_and_are_their_own_normal_form() {
        let (one, other) = (super::words(&OsSystem), super::words(&OsSystem));
        assert_ne!(one, other);
        assert_eq!(normalize(one.as_bytes()), Some(one.clone()));
        assert_eq!(one.split(' ').count(), 12);
    }
}
