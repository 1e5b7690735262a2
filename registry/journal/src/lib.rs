//! What happened: one append-only, hash-linked journal, and the blobs it speaks of.
//!
//! Everything the control plane knows is folded from the journal's entries; big things (manifests, components,
//! documents) are blobs named by digest. The crate knows no kind of record: whoever writes one owns its meaning.
