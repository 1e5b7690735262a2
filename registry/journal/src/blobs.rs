//! Blobs: bytes named by their digest, visible only when complete.

use std::ops::Range;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use crate::{BlobDigest, BlobError, UploadId};

mod files;
mod objects;

/// A store of blobs. A clone is another handle on the same store.
#[derive(Debug, Clone)]
pub struct Blobs {
    storage: Storage,
}

#[derive(Debug, Clone)]
enum Storage {
    Files(files::Files),
    Objects(objects::Objects),
}

/// A blob in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobListing {
    /// Its name.
    pub digest: BlobDigest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last put or finished, in milliseconds since the Unix epoch by the storage's clock.
    pub written_ms: u64,
}

impl Blobs {
    /// Blobs as files in `folder`: `blobs/ALGORITHM/XX/DIGITS`, uploads in `uploads/`. Other processes may
    /// use the folder too.
    ///
    /// # Errors
    /// [`BlobError::Storage`] when the folders cannot be created.
    pub async fn files(folder: &Path) -> Result<Self, BlobError> {
        Ok(Self { storage: Storage::Files(files::Files::open(folder).await?) })
    }

    /// Blobs as objects of a bucket, below the prefix of `url` (`s3://BUCKET/PREFIX`). The store must
    /// support conditional puts (`If-None-Match`); a lifecycle rule should expire incomplete multipart
    /// uploads, which a crash may leave.
    ///
    /// The options are named as in `object_store`, such as `aws_endpoint`, `aws_region`,
    /// `aws_access_key_id`, `aws_secret_access_key`, `allow_http`. Nothing is read from the environment,
    /// and no request is sent yet.
    ///
    /// # Errors
    /// [`BlobError::Address`] for another kind of address or an unknown option.
    pub async fn objects(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BlobError> {
        Ok(Self { storage: Storage::Objects(objects::Objects::open(url, options)?) })
    }

    /// Checks that the storage responds and can be written to, before anything depends on it. Leaves
    /// nothing behind.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn probe(&self) -> Result<(), BlobError> {
        let upload = self.begin("the registry").await?;
        self.cancel(&upload).await
    }

    /// Begins an upload of no bytes, which is `owner`'s: [`UploadId::is_of`] says so of its id ever after.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn begin(&self, owner: &str) -> Result<UploadId, BlobError> {
        match &self.storage {
            Storage::Files(files) => files.begin(owner).await,
            Storage::Objects(objects) => objects.begin(owner).await,
        }
    }

    /// The size of the upload in bytes: where the next chunk begins.
    ///
    /// # Errors
    /// [`BlobError::UnknownUpload`], [`BlobError::Storage`].
    pub async fn size(&self, upload: &UploadId) -> Result<u64, BlobError> {
        match &self.storage {
            Storage::Files(files) => files.size(upload).await,
            Storage::Objects(objects) => objects.size(upload).await,
        }
    }

    /// Appends a chunk that begins at `offset` and returns the upload's new size.
    ///
    /// After a failure, call [`Blobs::size`] and continue from there: a part of the chunk may have been
    /// stored.
    ///
    /// # Errors
    /// [`BlobError::OutOfOrder`] unless the upload ends at `offset`; [`BlobError::UnknownUpload`];
    /// [`BlobError::Storage`].
    pub async fn append(
        &self,
        upload: &UploadId,
        offset: u64,
        chunk: Bytes,
    ) -> Result<u64, BlobError> {
        match &self.storage {
            Storage::Files(files) => files.append(upload, offset, chunk).await,
            Storage::Objects(objects) => objects.append(upload, offset, chunk).await,
        }
    }

    /// Turns the upload into a blob if its bytes have the digest, and returns its size. Durable when it
    /// returns; the upload is then gone. Finishing a blob that exists already succeeds and renews its age
    /// for [`Blobs::older_than`].
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`], after which the upload still exists; [`BlobError::UnknownUpload`];
    /// [`BlobError::Storage`].
    pub async fn finish(&self, upload: &UploadId, digest: &BlobDigest) -> Result<u64, BlobError> {
        match &self.storage {
            Storage::Files(files) => files.finish(upload, digest).await,
            Storage::Objects(objects) => objects.finish(upload, digest).await,
        }
    }

    /// Deletes an upload.
    ///
    /// # Errors
    /// [`BlobError::UnknownUpload`], [`BlobError::Storage`].
    pub async fn cancel(&self, upload: &UploadId) -> Result<(), BlobError> {
        match &self.storage {
            Storage::Files(files) => files.cancel(upload).await,
            Storage::Objects(objects) => objects.cancel(upload).await,
        }
    }

    /// Stores bytes at once. Durable when it returns. Storing an existing blob renews its age.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`] when the bytes do not have this digest; [`BlobError::Storage`].
    pub async fn put(&self, digest: &BlobDigest, bytes: Bytes) -> Result<(), BlobError> {
        verify(digest, &bytes)?;
        match &self.storage {
            Storage::Files(files) => files.put(digest, bytes).await,
            Storage::Objects(objects) => objects.put(digest, bytes).await,
        }
    }

    /// The blob's size; `None` when it does not exist.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn stat(&self, digest: &BlobDigest) -> Result<Option<u64>, BlobError> {
        match &self.storage {
            Storage::Files(files) => files.stat(digest).await,
            Storage::Objects(objects) => objects.stat(digest).await,
        }
    }

    /// The blob's bytes, or those of `range` (end exclusive; an end beyond the blob's is the blob's), as
    /// they come from storage: a caller that relies on them hashes them, as [`Blobs::read`] does.
    ///
    /// # Errors
    /// [`BlobError::NotFound`]; [`BlobError::Range`] when the range is empty or begins beyond the end;
    /// [`BlobError::Storage`], also within the stream.
    pub async fn get(
        &self,
        digest: &BlobDigest,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        match &self.storage {
            Storage::Files(files) => files.get(digest, range).await,
            Storage::Objects(objects) => objects.get(digest, range).await,
        }
    }

    /// The whole blob, hashed again, so that damage in storage is detected. Holds at most `limit` bytes.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::TooLarge`], [`BlobError::Corrupt`], [`BlobError::Storage`].
    pub async fn read(&self, digest: &BlobDigest, limit: u64) -> Result<Bytes, BlobError> {
        let size = self.stat(digest).await?.ok_or_else(|| BlobError::NotFound(digest.clone()))?;
        let too_large = |size| BlobError::TooLarge { digest: digest.clone(), size, limit };
        if size > limit {
            return Err(too_large(size));
        }
        let mut stream = self.get(digest, None).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
            // A file that has grown since is damaged, and must not grow in memory either.
            if length(&bytes) > limit {
                return Err(BlobError::Corrupt(digest.clone()));
            }
        }
        verify(digest, &bytes).map_err(|_| BlobError::Corrupt(digest.clone()))?;
        Ok(bytes.freeze())
    }

    /// Deletes the blob. Deleting a missing blob succeeds.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn delete(&self, digest: &BlobDigest) -> Result<(), BlobError> {
        match &self.storage {
            Storage::Files(files) => files.delete(digest).await,
            Storage::Objects(objects) => objects.delete(digest).await,
        }
    }

    /// The blobs last written before `before_ms` (milliseconds since the Unix epoch), sorted by digest: the
    /// candidates for garbage collection. Reads the metadata of every blob.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn older_than(&self, before_ms: u64) -> Result<Vec<BlobListing>, BlobError> {
        let mut stored = match &self.storage {
            Storage::Files(files) => files.older_than(before_ms).await?,
            Storage::Objects(objects) => objects.older_than(before_ms).await?,
        };
        stored.sort_unstable_by(|one, other| one.digest.cmp(&other.digest));
        Ok(stored)
    }

    /// The uploads without new bytes since `before_ms` (milliseconds since the Unix epoch), sorted,
    /// including leftovers of a crash during [`Blobs::put`]. Garbage collection cancels them.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn stale_uploads(&self, before_ms: u64) -> Result<Vec<UploadId>, BlobError> {
        let mut stale = match &self.storage {
            Storage::Files(files) => files.stale_uploads(before_ms).await?,
            Storage::Objects(objects) => objects.stale_uploads(before_ms).await?,
        };
        stale.sort_unstable();
        Ok(stale)
    }
}

fn verify(digest: &BlobDigest, bytes: &[u8]) -> Result<(), BlobError> {
    let mut hasher = digest.hasher();
    hasher.update(bytes);
    same(digest, hasher.finish())
}

fn same(expected: &BlobDigest, actual: BlobDigest) -> Result<(), BlobError> {
    if actual == *expected {
        return Ok(());
    }
    Err(BlobError::DigestMismatch { expected: expected.clone(), actual })
}

/// The requested part of a blob of `size` bytes.
fn within(range: Option<Range<u64>>, size: u64) -> Result<Range<u64>, BlobError> {
    let Some(Range { start, end }) = range else { return Ok(0..size) };
    if start >= size || end <= start {
        return Err(BlobError::Range { start, end, size });
    }
    Ok(start..end.min(size))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
