//! Artifacts in and out: the OCI Distribution API over the journal and its blobs.
