//! The journal as a transparency log, which anybody can check without trusting the server.
//!
//! The leaves are the entries' canonical bytes in the order of their revisions, so revision `r` is leaf
//! `r - 1`. Hashing is that of RFC 6962 §2.1; tiles and entry bundles are those of C2SP tlog-tiles, checkpoints
//! those of C2SP tlog-checkpoint, signed according to C2SP signed-note.

use tokio::sync::RwLock;

use crate::{Hash, Head, Journal, JournalError};

mod error;
mod note;
mod proof;
mod tile;
mod tree;

pub use error::LogError;
pub use note::{Checkpoint, NoteKey, NoteVerifier};
pub use proof::{verify_consistency, verify_inclusion};
pub use tile::{TILE_WIDTH, TilePath};
pub use tree::Tree;

/// Entries read at a time.
const PAGE: usize = 1_000;

/// The Merkle tree over a journal, kept in memory: 64 bytes per entry. It contains the entries up to the
/// last [`Log::catch_up`] and reads bundles from the journal.
#[derive(Debug)]
pub struct Log {
    journal: Journal,
    known: RwLock<KnownTree>,
}

/// The proof that some entries are in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Signed note about the size and the root of the tree (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// The entries, each with its path to that root.
    pub entries: Vec<IncludedEntry>,
}

/// An entry of an [`InclusionProof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludedEntry {
    /// Revision of the entry: 1 and above.
    pub revision: u64,
    /// The bytes whose hash is the leaf.
    pub canonical: Vec<u8>,
    /// The path from the leaf to the root (RFC 6962 §2.1.1), for [`verify_inclusion`].
    pub hashes: Vec<Hash>,
}

#[derive(Debug, Default)]
struct KnownTree {
    tree: Tree,
    head: Head,
}

impl Log {
    /// The log of a journal, with all its entries.
    ///
    /// # Errors
    /// As [`Log::catch_up`].
    pub async fn open(journal: Journal) -> Result<Self, LogError> {
        let log = Self { journal, known: RwLock::default() };
        log.catch_up().await?;
        Ok(log)
    }

    /// Adds the entries appended since and returns the size of the tree, which is the journal's revision.
    ///
    /// Cancel-safe: entries added so far stay.
    ///
    /// # Errors
    /// [`LogError::Journal`], also when an entry does not link to the previous one.
    pub async fn catch_up(&self) -> Result<u64, LogError> {
        let mut known = self.known.write().await;
        loop {
            let page = self.journal.read(known.head.revision, PAGE).await?;
            if page.is_empty() {
                return Ok(known.tree.size());
            }
            for entry in page {
                if entry.previous != known.head.hash {
                    let what = "it does not link to the previous entry";
                    return Err(JournalError::Tampered { revision: entry.revision, what }.into());
                }
                known.tree.push(entry.leaf()?);
                known.head = Head { revision: entry.revision, hash: entry.hash };
            }
        }
    }

    /// The root hash over the first `size` entries.
    ///
    /// # Errors
    /// [`LogError::Size`] when the tree is smaller.
    pub async fn root(&self, size: u64) -> Result<Hash, LogError> {
        self.known.read().await.tree.root(size)
    }

    /// The proof that the entry of this revision is among the first `size` (RFC 6962 §2.1.1), for
    /// [`verify_inclusion`] with the index `revision - 1`.
    ///
    /// # Errors
    /// [`LogError::Size`] when the tree is smaller, [`LogError::Index`] when the revision is 0 or above `size`.
    pub async fn inclusion(&self, revision: u64, size: u64) -> Result<Vec<Hash>, LogError> {
        let Some(index) = revision.checked_sub(1) else {
            return Err(LogError::Index { index: revision, size });
        };
        self.known.read().await.tree.inclusion(index, size)
    }

    /// The proof that the first `old` entries are the beginning of the first `new` (RFC 6962 §2.1.2), for
    /// [`verify_consistency`].
    ///
    /// # Errors
    /// [`LogError::Size`] when the tree is smaller than `new`, or `new` than `old`.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        self.known.read().await.tree.consistency(old, new)
    }

    /// The bytes of a tile or an entry bundle; `None` when the tree has not grown that far.
    ///
    /// # Errors
    /// [`LogError::Journal`] when a bundle's entries cannot be read.
    pub async fn tile(&self, path: TilePath) -> Result<Option<Vec<u8>>, LogError> {
        let (TilePath::Hashes { width, .. } | TilePath::Entries { width, .. }) = path;
        if !(1..=TILE_WIDTH).contains(&width) {
            return Ok(None);
        }
        let tree_size = self.size().await;
        match path {
            TilePath::Hashes { level, index, width } => {
                let known = self.known.read().await;
                let hashes = known.tree.tile(level, index, width);
                Ok(hashes.map(|hashes| hashes.iter().flat_map(|hash| hash.0).collect()))
            }
            TilePath::Entries { index, width } => {
                let first = index.saturating_mul(u64::from(TILE_WIDTH));
                if first.saturating_add(u64::from(width)) > tree_size {
                    return Ok(None);
                }
                self.bundle(first, width).await.map(Some)
            }
        }
    }

    /// Each entry, preceded by its length as a big-endian 16-bit number.
    async fn bundle(&self, first: u64, width: u16) -> Result<Vec<u8>, LogError> {
        let mut bundle = Vec::new();
        for entry in self.journal.read(first, usize::from(width)).await? {
            let bytes = entry.canonical()?;
            let length = u16::try_from(bytes.len()).map_err(|_| JournalError::TooLarge {
                kind: entry.record.kind.clone(),
                bytes: bytes.len(),
            })?;
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&bytes);
        }
        Ok(bundle)
    }

    /// The number of entries in the tree.
    pub async fn size(&self) -> u64 {
        self.known.read().await.tree.size()
    }

    /// A signed checkpoint of the whole tree: a note whose origin is the key's name.
    ///
    /// # Errors
    /// [`LogError::Size`] never, since the tree knows its own size; kept as an error rather than a panic.
    pub async fn checkpoint(&self, key: &NoteKey) -> Result<String, LogError> {
        self.known.read().await.checkpoint(key)
    }

    /// The proof that the entries of these revisions are in the log: a signed checkpoint of the whole tree, and for
    /// each entry its canonical bytes and the path to the root of that checkpoint. One look at the tree
    /// serves both, so entries that are appended meanwhile do not separate them.
    ///
    /// # Errors
    /// [`LogError::Index`] when a revision is 0 or not in the tree, [`LogError::Journal`] when an entry cannot be read.
    pub async fn prove(
        &self,
        key: &NoteKey,
        revisions: impl IntoIterator<Item = u64>,
    ) -> Result<InclusionProof, LogError> {
        let (checkpoint, paths) = {
            let known = self.known.read().await;
            let paths = revisions.into_iter().map(|revision| Ok((revision, known.path(revision)?)));
            (known.checkpoint(key)?, paths.collect::<Result<Vec<_>, LogError>>()?)
        };
        let mut entries = Vec::with_capacity(paths.len());
        for (revision, hashes) in paths {
            // Paths exist for revisions above 0 only.
            let found = self.journal.read(revision.saturating_sub(1), 1).await?;
            let entry = found.first().ok_or(JournalError::Tampered {
                revision,
                what: "it is in the tree and no longer in the journal",
            })?;
            entries.push(IncludedEntry { revision, canonical: entry.canonical()?, hashes });
        }
        Ok(InclusionProof { checkpoint, entries })
    }
}

impl KnownTree {
    fn checkpoint(&self, key: &NoteKey) -> Result<String, LogError> {
        let (origin, size) = (key.name().to_owned(), self.tree.size());
        Ok(key.sign(&Checkpoint { origin, size, root: self.tree.root(size)? }))
    }

    /// The inclusion proof of an entry in the whole tree.
    fn path(&self, revision: u64) -> Result<Vec<Hash>, LogError> {
        let size = self.tree.size();
        let index = revision.checked_sub(1).ok_or(LogError::Index { index: revision, size })?;
        self.tree.inclusion(index, size)
    }
}
