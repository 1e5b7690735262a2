//! Checkpoints as signed notes (C2SP tlog-checkpoint and signed-note), signed with Ed25519.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tamis_ambient::Random;

use super::LogError;
use crate::{Hash, hex};

/// The signature type of Ed25519 in key ids and keys.
const ED25519_TYPE: u8 = 1;
/// Longest note in bytes: a checkpoint has a few hundred, and witnesses add some.
const MAX_NOTE_BYTES: usize = 64 * 1024;
/// An em dash and a space begin a signature line.
const SIGNATURE: &str = "\u{2014} ";

/// The state of a log: its number of entries and their root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log, by the name of its key.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The signed text: three lines, each with a line end.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Parses the first three lines of a signed text; further lines are extensions, which are ignored.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let parsed: u64 = size.parse().ok()?;
        let root = STANDARD.decode(root).ok()?.try_into().ok().map(Hash)?;
        // One notation: no sign, no leading zeros.
        (parsed.to_string() == size).then(|| Self { origin: origin.to_owned(), size: parsed, root })
    }
}

/// A key that signs checkpoints. Its private part is never shown.
pub struct NoteKey {
    pair: Ed25519KeyPair,
    verifier: NoteVerifier,
}

impl NoteKey {
    /// The key of a name and a seed of RFC 8032 §5.1.5, which its owner keeps secret.
    ///
    /// # Errors
    /// [`LogError::Key`] for a name that is empty or has white space, a control character or a `+`.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, LogError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| LogError::Key("the cryptographic library refuses the seed"))?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| LogError::Key("its public part is not 32 bytes"))?;
        Ok(Self { verifier: NoteVerifier::new(name, public)?, pair })
    }

    /// A new seed for [`NoteKey::from_seed`].
    ///
    /// # Errors
    /// [`LogError::Key`] when the system has no randomness.
    pub fn random_seed() -> Result<[u8; 32], LogError> {
        Random::system().octets().map_err(|_| LogError::Key("there is no randomness"))
    }

    /// Its name, the origin of the checkpoints that it signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.verifier.name
    }

    /// The public part for verifiers.
    #[must_use]
    pub fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The note: text, empty line, one signature line.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let signature = self.pair.sign(text.as_bytes());
        let signed = [&self.verifier.id[..], signature.as_ref()].concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.name(), STANDARD.encode(signed))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// The public part of a key, written `NAME+ID+BASE64` (C2SP signed-note).
#[derive(Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    public: [u8; 32],
    id: [u8; 4],
}

impl NoteVerifier {
    fn new(name: &str, public: [u8; 32]) -> Result<Self, LogError> {
        let bad = |one: char| one.is_whitespace() || one.is_control() || one == '+';
        if name.is_empty() || name.chars().any(bad) {
            return Err(LogError::Key("its name is empty or has white space or a '+'"));
        }
        let hash = Hash::of(&[name.as_bytes(), b"\n", &[ED25519_TYPE], &public].concat());
        let [first, second, third, fourth, ..] = hash.0;
        Ok(Self { name: name.to_owned(), public, id: [first, second, third, fourth] })
    }

    /// Reads `NAME+ID+BASE64`.
    ///
    /// # Errors
    /// [`LogError::Key`] for another form, another type of key, or an id that is not this key's.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let form = LogError::Key("it is not NAME+ID+BASE64 (C2SP signed-note)");
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(form);
        };
        let Ok(key) = STANDARD.decode(key) else { return Err(form) };
        let public = match key.split_first() {
            Some((&ED25519_TYPE, public)) => public.try_into().ok(),
            _ => None,
        };
        let public = public.ok_or(LogError::Key("it is not an Ed25519 key"))?;
        let verifier = Self::new(name, public)?;
        if hex::encode(&verifier.id) != id {
            return Err(LogError::Key("its id is not that of its name and key"));
        }
        Ok(verifier)
    }

    /// The checkpoint of a note that this key signed. Signatures of other keys are ignored.
    ///
    /// # Errors
    /// [`LogError::Note`] when the note is malformed, this key did not sign it, or it belongs to another
    /// log.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, LogError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(LogError::Note("it has more than 65,536 bytes"));
        }
        if note.chars().any(|one| one < ' ' && one != '\n') {
            return Err(LogError::Note("it has a control character"));
        }
        // The last empty line: the text may contain others.
        let split =
            note.rfind("\n\n").and_then(|place| note.split_at_checked(place.checked_add(1)?));
        let (text, rest) = split.ok_or(LogError::Note("it has no signature"))?;
        let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(LogError::Note("its last line does not end with a line break"))?;
        let mut signed = false;
        for line in lines.split('\n') {
            signed |= self.signed(text, line)?;
        }
        if !signed {
            return Err(LogError::Note("this key did not sign it"));
        }
        let checkpoint =
            Checkpoint::parse(text).ok_or(LogError::Note("it is not origin, size and root"))?;
        if checkpoint.origin != self.name {
            return Err(LogError::Note("it belongs to another log than the key"));
        }
        Ok(checkpoint)
    }

    /// Whether a signature line is this key's; a line that names this key and does not verify makes the
    /// note invalid.
    fn signed(&self, text: &str, line: &str) -> Result<bool, LogError> {
        let parts = line.strip_prefix(SIGNATURE).and_then(|line| line.split_once(' '));
        let (name, encoded) = parts.ok_or(LogError::Note("a signature line is malformed"))?;
        let decoded = STANDARD.decode(encoded).ok();
        let decoded = decoded.ok_or(LogError::Note("a signature is not base64"))?;
        let (id, signature) =
            decoded.split_at_checked(4).ok_or(LogError::Note("a signature has no key id"))?;
        if name != self.name || id != self.id {
            return Ok(false);
        }
        let key = ParsedPublicKey::new(&ED25519, self.public);
        let holds = key.is_ok_and(|key| key.verify_sig(text.as_bytes(), signature).is_ok());
        if holds { Ok(true) } else { Err(LogError::Note("this key's signature does not hold")) }
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519_TYPE][..], &self.public].concat());
        write!(f, "{}+{}+{key}", self.name, hex::encode(&self.id))
    }
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> NoteKey {
        NoteKey::from_seed("log.example/shop", &[7; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "log.example/shop".into(), size: 20, root: Hash::leaf(b"x") }
    }

    #[test]
    fn a_signed_checkpoint_verifies_with_the_written_key() {
        let note = key().sign(&checkpoint());
        let verifier = NoteVerifier::parse(&key().verifier().to_string()).unwrap();
        assert_eq!(verifier.verify(&note).unwrap(), checkpoint());
    }

    #[test]
    fn the_key_of_the_go_implementations_documentation_is_read_and_verifies_its_note() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let verifier = NoteVerifier::parse(key).unwrap();
        assert_eq!(verifier.to_string(), key);
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann \
                    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        assert!(verifier.signed(text, line).unwrap());
        assert!(verifier.signed("another text\n", line).is_err());
    }

    #[test]
    fn signatures_of_others_and_extension_lines_are_passed_over() {
        let note = key().sign(&checkpoint());
        let witnessed = format!("{note}\u{2014} witness.example AAAAAAA=\n");
        assert_eq!(key().verifier().verify(&witnessed).unwrap(), checkpoint());
        let stranger = NoteKey::from_seed("log.example/shop", &[8; 32]).unwrap();
        let refused = stranger.verifier().verify(&note).unwrap_err();
        assert!(refused.to_string().contains("did not sign"), "{refused}");
    }

    #[test]
    fn names_that_cannot_stand_in_a_note_are_refused() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
            assert!(NoteKey::from_seed(name, &[7; 32]).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_anywhere_in_a_note_is_refused(place in any::<usize>(), byte in 0_u8..128) {
            let note = key().sign(&checkpoint());
            let mut bytes = note.clone().into_bytes();
            let place = place % bytes.len();
            bytes[place] = byte;
            if let Ok(changed) = String::from_utf8(bytes) && changed != note {
                prop_assert!(key().verifier().verify(&changed).is_err(), "{}", changed);
            }
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in any::<String>()) {
            let _ = NoteVerifier::parse(&text);
            let _ = key().verifier().verify(&text);
            let _ = key().verifier().verify(&format!("{text}\n\n\u{2014} {text}\n"));
        }
    }
}
