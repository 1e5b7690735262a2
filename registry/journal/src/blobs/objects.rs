//! Blobs as objects of an S3 bucket: `blobs/ALGORITHM/XX/DIGITS`.
//!
//! Objects cannot be appended to, so each chunk of an upload is an object named by its offset, and a marker
//! object shows that the upload exists: `uploads/ID/begun`, `uploads/ID/OFFSET`. Finishing reads the chunks
//! once, hashes them and writes them as one object, which the store shows only when it is complete.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use futures_util::stream::{BoxStream, StreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
    WriteMultipart,
};

use super::{BlobListing, length, same, within};
use crate::{BlobDigest, BlobError, UploadId};

/// A blob up to this size is composed in memory; a larger one in parts of this size. S3 requires parts of
/// at least 5 MiB and at most 10,000 of them, so the largest upload has 156 GiB.
const PART: usize = 16 * 1024 * 1024;
/// Parts uploaded at the same time.
const PARTS_UNDER_WAY: usize = 3;
/// The marker's name, which is not an offset.
const BEGUN: &str = "begun";

#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Arc<AmazonS3>,
    prefix: String,
}

/// A chunk of an upload.
struct Chunk {
    offset: u64,
    size: u64,
    path: Path,
}

impl Objects {
    pub(super) fn open(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BlobError> {
        let address = |reason: String| BlobError::Address { url: url.to_owned(), reason };
        let place = url.strip_prefix("s3://").map(|place| place.trim_end_matches('/'));
        let (bucket, prefix) = match place.map(|place| place.split_once('/').unwrap_or((place, "")))
        {
            Some((bucket, prefix)) if !bucket.is_empty() => (bucket, prefix),
            _ => return Err(address("it is not s3://BUCKET or s3://BUCKET/PREFIX".to_owned())),
        };
        Path::parse(prefix).map_err(|error| address(error.to_string()))?;
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
        for (name, value) in options {
            let key: AmazonS3ConfigKey =
                name.parse().map_err(|_| address(format!("there is no option {name:?}")))?;
            builder = builder.with_config(key, value);
        }
        let store = builder.build().map_err(|error| address(error.to_string()))?;
        Ok(Self { store: Arc::new(store), prefix: prefix.to_owned() })
    }

    pub(super) async fn begin(&self, owner: &str) -> Result<UploadId, BlobError> {
        let upload = UploadId::random(owner).map_err(BlobError::storage("draw an upload id"))?;
        let marker = self.upload(&upload).join(BEGUN);
        let put = self.store.put(&marker, Bytes::new().into()).await;
        put.map_err(BlobError::storage("begin an upload"))?;
        Ok(upload)
    }

    pub(super) async fn size(&self, upload: &UploadId) -> Result<u64, BlobError> {
        Ok(end(&self.chunks(upload).await?))
    }

    pub(super) async fn append(
        &self,
        upload: &UploadId,
        offset: u64,
        chunk: Bytes,
    ) -> Result<u64, BlobError> {
        let expected = self.size(upload).await?;
        if offset != expected {
            return Err(BlobError::OutOfOrder { expected });
        }
        let after = offset.saturating_add(length(&chunk));
        if chunk.is_empty() {
            // An object here would block the next chunk.
            return Ok(after);
        }
        let path = self.upload(upload).join(format!("{offset:020}"));
        // Of two writers at one place, only one creates the object.
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&path, chunk.clone().into(), create).await {
            Ok(_) => Ok(after),
            // A client that repeats a request whose response was lost finds its own object.
            Err(Error::AlreadyExists { .. }) if self.whole(&path).await? == chunk => Ok(after),
            Err(Error::AlreadyExists { .. }) => {
                Err(BlobError::OutOfOrder { expected: self.size(upload).await? })
            }
            Err(error) => Err(BlobError::storage("write a chunk")(error)),
        }
    }

    pub(super) async fn finish(
        &self,
        upload: &UploadId,
        digest: &BlobDigest,
    ) -> Result<u64, BlobError> {
        let chunks = self.chunks(upload).await?;
        let size = end(&chunks);
        if usize::try_from(size).is_ok_and(|size| size <= PART) {
            let mut bytes = BytesMut::new();
            for chunk in &chunks {
                bytes.extend_from_slice(&self.whole(&chunk.path).await?);
            }
            super::verify(digest, &bytes)?;
            self.put(digest, bytes.freeze()).await?;
        } else {
            self.compose(&chunks, digest).await?;
        }
        self.clear(upload).await?;
        Ok(size)
    }

    /// Writes the chunks as one object, in parts; nothing of it is visible unless all of it has the digest.
    async fn compose(&self, chunks: &[Chunk], digest: &BlobDigest) -> Result<(), BlobError> {
        let act = "finish an upload";
        let begun = self.store.put_multipart(&self.blob(digest)).await;
        let parts = begun.map_err(BlobError::storage(act))?;
        let mut parts = WriteMultipart::new_with_chunk_size(parts, PART);
        match self.pass(chunks, digest, &mut parts).await {
            Ok(()) => parts.finish().await.map(drop).map_err(BlobError::storage(act)),
            Err(error) => {
                // The first error is the one to report; the bucket expires parts that are left behind.
                let _ = parts.abort().await;
                Err(error)
            }
        }
    }

    async fn pass(
        &self,
        chunks: &[Chunk],
        digest: &BlobDigest,
        parts: &mut WriteMultipart,
    ) -> Result<(), BlobError> {
        let act = "finish an upload";
        let mut hasher = digest.hasher();
        for chunk in chunks {
            let got = self.store.get(&chunk.path).await.map_err(BlobError::storage(act))?;
            let mut stream = got.into_stream();
            while let Some(bytes) = stream.try_next().await.map_err(BlobError::storage(act))? {
                hasher.update(&bytes);
                let room = parts.wait_for_capacity(PARTS_UNDER_WAY).await;
                room.map_err(BlobError::storage(act))?;
                parts.put(bytes);
            }
        }
        same(digest, hasher.finish())
    }

    pub(super) async fn cancel(&self, upload: &UploadId) -> Result<(), BlobError> {
        if self.clear(upload).await? == 0 {
            return Err(BlobError::UnknownUpload(upload.clone()));
        }
        Ok(())
    }

    /// The caller has verified the bytes.
    pub(super) async fn put(&self, digest: &BlobDigest, bytes: Bytes) -> Result<(), BlobError> {
        let put = self.store.put(&self.blob(digest), bytes.into()).await;
        put.map(drop).map_err(BlobError::storage("store a blob"))
    }

    pub(super) async fn stat(&self, digest: &BlobDigest) -> Result<Option<u64>, BlobError> {
        match self.store.head(&self.blob(digest)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(BlobError::storage("look at a blob")(error)),
        }
    }

    pub(super) async fn get(
        &self,
        digest: &BlobDigest,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let act = "read a blob";
        let mut options = GetOptions::default();
        if range.is_some() {
            let size = self.stat(digest).await?;
            let size = size.ok_or_else(|| BlobError::NotFound(digest.clone()))?;
            options.range = Some(within(range, size)?.into());
        }
        match self.store.get_opts(&self.blob(digest), options).await {
            Ok(got) => Ok(got.into_stream().map_err(BlobError::storage(act)).boxed()),
            Err(Error::NotFound { .. }) => Err(BlobError::NotFound(digest.clone())),
            Err(error) => Err(BlobError::storage(act)(error)),
        }
    }

    pub(super) async fn delete(&self, digest: &BlobDigest) -> Result<(), BlobError> {
        self.remove(&self.blob(digest)).await
    }

    pub(super) async fn older_than(&self, before_ms: u64) -> Result<Vec<BlobListing>, BlobError> {
        let mut found = Vec::new();
        for object in self.listed(&self.path("blobs")).await? {
            let mut parts = object.location.as_ref().rsplit('/');
            let (Some(digits), Some(_), Some(algorithm)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            // Not named by a digest: not a blob, and not ours to remove.
            let Ok(digest) = BlobDigest::parse(&format!("{algorithm}:{digits}")) else { continue };
            let written_ms = written_ms(&object);
            if written_ms < before_ms {
                found.push(BlobListing { digest, size: object.size, written_ms });
            }
        }
        Ok(found)
    }

    pub(super) async fn stale_uploads(&self, before_ms: u64) -> Result<Vec<UploadId>, BlobError> {
        let mut last = BTreeMap::new();
        for object in self.listed(&self.path("uploads")).await? {
            let name = object.location.as_ref().rsplit('/').nth(1).unwrap_or_default();
            let Ok(upload) = UploadId::parse(name) else { continue };
            let latest = last.entry(upload).or_insert(0);
            *latest = written_ms(&object).max(*latest);
        }
        Ok(last.into_iter().filter(|(_, last)| *last < before_ms).map(|(id, _)| id).collect())
    }

    /// The chunks in order, if the upload exists.
    async fn chunks(&self, upload: &UploadId) -> Result<Vec<Chunk>, BlobError> {
        let mut begun = false;
        let mut chunks = Vec::new();
        for object in self.listed(&self.upload(upload)).await? {
            match object.location.filename() {
                Some(BEGUN) => begun = true,
                Some(name) => chunks.extend(name.parse().ok().map(|offset| Chunk {
                    offset,
                    size: object.size,
                    path: object.location.clone(),
                })),
                None => {}
            }
        }
        if !begun {
            return Err(BlobError::UnknownUpload(upload.clone()));
        }
        chunks.sort_unstable_by_key(|chunk| chunk.offset);
        Ok(chunks)
    }

    /// Removes all objects of an upload and returns their number. The marker goes first: what a crash then
    /// leaves is not an upload, only stale.
    async fn clear(&self, upload: &UploadId) -> Result<usize, BlobError> {
        let objects = self.listed(&self.upload(upload)).await?;
        let (marker, chunks): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|object| object.location.filename() == Some(BEGUN));
        let count = marker.len().saturating_add(chunks.len());
        for object in marker.into_iter().chain(chunks) {
            self.remove(&object.location).await?;
        }
        Ok(count)
    }

    async fn remove(&self, path: &Path) -> Result<(), BlobError> {
        match self.store.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::storage("delete an object")(error)),
        }
    }

    async fn whole(&self, path: &Path) -> Result<Bytes, BlobError> {
        let act = "finish an upload";
        let got = self.store.get(path).await.map_err(BlobError::storage(act))?;
        got.bytes().await.map_err(BlobError::storage(act))
    }

    async fn listed(&self, folder: &Path) -> Result<Vec<ObjectMeta>, BlobError> {
        let objects = self.store.list(Some(folder)).try_collect().await;
        objects.map_err(BlobError::storage("list objects"))
    }

    fn path(&self, place: &str) -> Path {
        Path::from(format!("{}/{place}", self.prefix))
    }

    fn blob(&self, digest: &BlobDigest) -> Path {
        let (algorithm, spread) = (digest.algorithm().name(), digest.spread());
        self.path(&format!("blobs/{algorithm}/{spread}/{}", digest.encoded()))
    }

    fn upload(&self, upload: &UploadId) -> Path {
        self.path(&format!("uploads/{upload}"))
    }
}

/// Where the next chunk begins.
fn end(chunks: &[Chunk]) -> u64 {
    chunks.last().map_or(0, |last| last.offset.saturating_add(last.size))
}

fn written_ms(object: &ObjectMeta) -> u64 {
    u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0)
}
