//! Blobs as objects of an S3 bucket: `blobs/ALGORITHM/XX/DIGITS`.
//!
//! Objects cannot be appended to, so each chunk of an upload is an object named by its offset, and a marker
//! object shows that the upload exists: `uploads/ID/begun`, `uploads/ID/OFFSET`. Finishing reads the chunks
//! once, hashes them and writes them as one object, which the store shows only when it is complete.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

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
/// How long the store may take for an answer, tries of the client included, and for each piece of a body or of a list. Whoever
/// waits for it may keep others waiting.
const ANSWER: Duration = Duration::from_secs(15);
/// How long it may take to store the bytes of one request.
const STORED: Duration = Duration::from_secs(120);
const FINISH: &str = "finish an upload";
/// The marker's name, which is not an offset.
const BEGUN: &str = "begun";

#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Arc<AmazonS3>,
    prefix: String,
}

/// What a store does that it must not.
#[derive(Debug, thiserror::Error)]
enum StoreFault {
    #[error("it did not answer within {} seconds", .0.as_secs())]
    Late(Duration),
    #[error("it sent another number of bytes than it had listed for {0}")]
    Size(Path),
    #[error("it listed chunks that do not follow each other at {0}")]
    Gap(Path),
}

/// What the store answers, within a time.
async fn timely<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Error::Generic { store: "S3", source: StoreFault::Late(limit).into() };
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|over| Err(late(over)))
}

/// A body or a list, each piece of which comes within a time.
fn steady<T: Send + 'static>(
    limit: Duration,
    stream: BoxStream<'static, Result<T, Error>>,
) -> BoxStream<'static, Result<T, Error>> {
    let next = move |stream: Option<BoxStream<'static, Result<T, Error>>>| async move {
        let mut stream = stream?;
        match timely(limit, stream.try_next()).await {
            Ok(Some(piece)) => Some((Ok(piece), Some(stream))),
            Ok(None) => None,
            // After a fault the stream ends.
            Err(fault) => Some((Err(fault), None)),
        }
    };
    futures_util::stream::unfold(Some(stream), next).boxed()
}

/// A chunk of an upload.
struct Chunk {
    offset: u64,
    size: u64,
    path: Path,
}

/// The bytes of a chunk, as many as were listed. A store that sends more could fill the memory, and would make its own fault look
/// like the client's.
struct ListedBytes<'a> {
    pieces: BoxStream<'static, Result<Bytes, Error>>,
    left: u64,
    path: &'a Path,
}

impl ListedBytes<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let other = || BlobError::storage(FINISH)(StoreFault::Size(self.path.clone()));
        let piece = self.pieces.try_next().await.map_err(BlobError::storage(FINISH))?;
        match &piece {
            Some(piece) => self.left = self.left.checked_sub(length(piece)).ok_or_else(other)?,
            None if self.left > 0 => return Err(other()),
            None => {}
        }
        Ok(piece)
    }
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
        let put = timely(ANSWER, self.store.put(&marker, Bytes::new().into())).await;
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
        let put = self.store.put_opts(&path, chunk.clone().into(), create);
        match timely(STORED, put).await {
            Ok(_) => Ok(after),
            // A client that repeats a request whose response was lost finds its own object.
            Err(Error::AlreadyExists { .. }) if self.is_same(&path, &chunk).await? => Ok(after),
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
        let mut size = 0_u64;
        for chunk in &chunks {
            if chunk.offset != size {
                let gap = StoreFault::Gap(chunk.path.clone());
                return Err(BlobError::storage(FINISH)(gap));
            }
            size = size.saturating_add(chunk.size);
        }
        if usize::try_from(size).is_ok_and(|size| size <= PART) {
            let mut bytes = BytesMut::new();
            for chunk in &chunks {
                let mut stream = self.bytes_of(chunk).await?;
                while let Some(piece) = stream.next().await? {
                    bytes.extend_from_slice(&piece);
                }
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
        let act = FINISH;
        let begun = timely(ANSWER, self.store.put_multipart(&self.blob(digest))).await;
        let parts = begun.map_err(BlobError::storage(act))?;
        let mut parts = WriteMultipart::new_with_chunk_size(parts, PART);
        match self.pass(chunks, digest, &mut parts).await {
            Ok(()) => {
                let finished = timely(STORED, parts.finish()).await;
                finished.map(drop).map_err(BlobError::storage(act))
            }
            Err(error) => {
                // The first error is the one to report; the bucket expires parts that are left behind.
                let _ = timely(ANSWER, parts.abort()).await;
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
        let act = FINISH;
        let mut hasher = digest.hasher();
        for chunk in chunks {
            let mut stream = self.bytes_of(chunk).await?;
            while let Some(bytes) = stream.next().await? {
                hasher.update(&bytes);
                let room = timely(STORED, parts.wait_for_capacity(PARTS_UNDER_WAY)).await;
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
        let put = timely(STORED, self.store.put(&self.blob(digest), bytes.into())).await;
        put.map(drop).map_err(BlobError::storage("store a blob"))
    }

    pub(super) async fn stat(&self, digest: &BlobDigest) -> Result<Option<u64>, BlobError> {
        match timely(ANSWER, self.store.head(&self.blob(digest))).await {
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
        match timely(ANSWER, self.store.get_opts(&self.blob(digest), options)).await {
            Ok(got) => {
                Ok(steady(ANSWER, got.into_stream()).map_err(BlobError::storage(act)).boxed())
            }
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
        match timely(ANSWER, self.store.delete(path)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::storage("delete an object")(error)),
        }
    }

    /// Whether an object has exactly these bytes. No more of it is read than that takes.
    async fn is_same(&self, path: &Path, bytes: &[u8]) -> Result<bool, BlobError> {
        let act = "read a chunk";
        let got = timely(ANSWER, self.store.get(path)).await.map_err(BlobError::storage(act))?;
        let (mut stream, mut rest) = (steady(ANSWER, got.into_stream()), bytes);
        while let Some(piece) = stream.try_next().await.map_err(BlobError::storage(act))? {
            match rest.strip_prefix(&piece[..]) {
                Some(after) => rest = after,
                None => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }

    /// The bytes of a chunk.
    async fn bytes_of<'a>(&self, chunk: &'a Chunk) -> Result<ListedBytes<'a>, BlobError> {
        let got = timely(ANSWER, self.store.get(&chunk.path)).await;
        let got = got.map_err(BlobError::storage(FINISH))?;
        Ok(ListedBytes {
            pieces: steady(ANSWER, got.into_stream()),
            left: chunk.size,
            path: &chunk.path,
        })
    }

    async fn listed(&self, folder: &Path) -> Result<Vec<ObjectMeta>, BlobError> {
        let objects = steady(ANSWER, self.store.list(Some(folder))).try_collect().await;
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_waited_for_no_longer_than_that() {
        let limit = Duration::from_millis(1);
        let late = |fault: Error| {
            let text = BlobError::storage("look at a blob")(fault);
            let text = crate::folded::causes(&text);
            assert!(text.contains("did not answer"), "{text}");
        };
        late(timely::<()>(limit, std::future::pending()).await.unwrap_err());
        let first = stream::iter([Ok::<u8, Error>(1)]);
        let mut pieces = steady(limit, first.chain(stream::pending()).boxed());
        assert_eq!(pieces.try_next().await.unwrap(), Some(1));
        late(pieces.try_next().await.unwrap_err());
        assert_eq!(pieces.try_next().await.unwrap(), None, "nothing follows a fault");
        let answered = timely(Duration::from_secs(60), std::future::ready(Ok(1))).await;
        assert_eq!(answered.unwrap(), 1);
    }
}
