//! Blobs as files. A file is an upload until a rename turns it into a blob.
//!
//! Order at the end: bytes, fsync of the file, rename, fsync of the folder. A crash before the rename
//! leaves an upload that [`super::Blobs::stale_uploads`] lists, never a part of a blob.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tamis_ambient::Clock;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{BlobListing, length, same, within};
use crate::digest::DigestAlgorithm;
use crate::{BlobDigest, BlobError, UploadId};

/// Bytes per read from a file.
const CHUNK: usize = 128 * 1024;
/// Bytes of a disk that uploads leave free, so that whoever may push cannot keep others from writing to the journal;
/// on a small disk at most one [`KEPT_PART`]th of it.
const KEPT_FREE: u64 = 64 * 1024 * 1024;
/// The share of a small disk that stays free: one byte in this many.
const KEPT_PART: u64 = 16;

#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) async fn open(folder: &Path) -> Result<Self, BlobError> {
        let files = Self { folder: folder.to_owned() };
        let (blobs, uploads) = (files.blobs(), files.folder.join("uploads"));
        blocking("make its folders", move || {
            make_folder(&uploads)?;
            Ok(make_folder(&blobs)?)
        })
        .await?;
        Ok(files)
    }

    pub(super) async fn begin(&self, owner: &str) -> Result<UploadId, BlobError> {
        let upload = UploadId::random(owner).map_err(BlobError::storage("draw an upload id"))?;
        let path = self.upload(&upload);
        blocking("begin an upload", move || Ok(create(&path).map(drop)?)).await?;
        Ok(upload)
    }

    pub(super) async fn size(&self, upload: &UploadId) -> Result<u64, BlobError> {
        let (path, upload) = (self.upload(upload), upload.clone());
        blocking("look at an upload", move || match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(unknown(error, &upload)),
        })
        .await
    }

    pub(super) async fn append(
        &self,
        upload: &UploadId,
        offset: u64,
        chunk: Bytes,
    ) -> Result<u64, BlobError> {
        let (path, upload) = (self.upload(upload), upload.clone());
        blocking("write a chunk", move || {
            let mut file = locked(&path, &upload)?;
            let expected = file.seek(SeekFrom::End(0))?;
            if offset != expected {
                return Err(BlobError::OutOfOrder { expected }.into());
            }
            has_room(&path, length(&chunk))?;
            if let Err(error) = file.write_all(&chunk) {
                // A disk that was full later accepts the whole chunk, or nothing.
                file.set_len(offset)?;
                return Err(error.into());
            }
            Ok(expected.saturating_add(length(&chunk)))
        })
        .await
    }

    pub(super) async fn finish(
        &self,
        upload: &UploadId,
        digest: &BlobDigest,
    ) -> Result<u64, BlobError> {
        let (from, to) = (self.upload(upload), self.blob(digest));
        let (upload, digest) = (upload.clone(), digest.clone());
        blocking("finish an upload", move || {
            let mut file = locked(&from, &upload)?;
            let size = hashed(&mut file, &digest)?;
            publish(&file, &from, &to)?;
            Ok(size)
        })
        .await
    }

    pub(super) async fn cancel(&self, upload: &UploadId) -> Result<(), BlobError> {
        let (path, upload) = (self.upload(upload), upload.clone());
        blocking("cancel an upload", move || {
            fs::remove_file(&path).map_err(|error| unknown(error, &upload))
        })
        .await
    }

    /// The caller has verified the bytes.
    pub(super) async fn put(&self, digest: &BlobDigest, bytes: Bytes) -> Result<(), BlobError> {
        let (from, to) = (
            self.upload(
                &UploadId::random("the registry")
                    .map_err(BlobError::storage("draw an upload id"))?,
            ),
            self.blob(digest),
        );
        blocking("store a blob", move || {
            let mut file = create(&from)?;
            let stored = file.write_all(&bytes).and_then(|()| publish(&file, &from, &to));
            if stored.is_err() {
                // If it cannot be removed now, it becomes stale.
                let _ = fs::remove_file(&from);
            }
            Ok(stored?)
        })
        .await
    }

    pub(super) async fn stat(&self, digest: &BlobDigest) -> Result<Option<u64>, BlobError> {
        let path = self.blob(digest);
        blocking("look at a blob", move || match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    pub(super) async fn get(
        &self,
        digest: &BlobDigest,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let act = "read a blob";
        let storage = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => BlobError::NotFound(digest.clone()),
            _ => BlobError::storage(act)(error),
        };
        let mut file = tokio::fs::File::open(self.blob(digest)).await.map_err(storage)?;
        let range = within(range, file.metadata().await.map_err(storage)?.len())?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(storage)?;
        let left = range.end.saturating_sub(range.start);
        let chunks = stream::try_unfold((file, left), move |(mut file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut chunk = BytesMut::with_capacity(wanted);
            let mut part = (&mut file).take(u64::try_from(wanted).unwrap_or(left));
            let read = part.read_buf(&mut chunk).await.map_err(BlobError::storage(act))?;
            if read == 0 {
                return Err(BlobError::storage(act)(io::Error::from(ErrorKind::UnexpectedEof)));
            }
            let left = left.saturating_sub(length(&chunk));
            Ok(Some((chunk.freeze(), (file, left))))
        });
        Ok(chunks.boxed())
    }

    pub(super) async fn delete(&self, digest: &BlobDigest) -> Result<(), BlobError> {
        let path = self.blob(digest);
        blocking("delete a blob", move || match fs::remove_file(&path) {
            Ok(()) => Ok(sync_folder_of(&path)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        })
        .await
    }

    pub(super) async fn older_than(&self, before_ms: u64) -> Result<Vec<BlobListing>, BlobError> {
        let blobs = self.blobs();
        blocking("list the blobs", move || {
            let mut found = Vec::new();
            for algorithm in DigestAlgorithm::ALL {
                for (folder, _) in listed(&blobs.join(algorithm.name()))? {
                    for (path, name) in listed(&folder)? {
                        let name = format!("{}:{name}", algorithm.name());
                        // Not named by a digest: not a blob, and not ours to remove.
                        let Ok(digest) = BlobDigest::parse(&name) else { continue };
                        let Some((size, written_ms)) = looked_at(&path)? else { continue };
                        if written_ms < before_ms {
                            found.push(BlobListing { digest, size, written_ms });
                        }
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn stale_uploads(&self, before_ms: u64) -> Result<Vec<UploadId>, BlobError> {
        let uploads = self.folder.join("uploads");
        blocking("list the uploads", move || {
            let mut found = Vec::new();
            for (path, name) in listed(&uploads)? {
                let Ok(upload) = UploadId::parse(&name) else { continue };
                if looked_at(&path)?.is_some_and(|(_, written_ms)| written_ms < before_ms) {
                    found.push(upload);
                }
            }
            Ok(found)
        })
        .await
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// Digests consist of letters and digits, so no path leads out of the folder.
    fn blob(&self, digest: &BlobDigest) -> PathBuf {
        let algorithm = self.blobs().join(digest.algorithm().name());
        algorithm.join(digest.spread()).join(digest.encoded())
    }

    fn upload(&self, upload: &UploadId) -> PathBuf {
        self.folder.join("uploads").join(upload.as_str())
    }
}

/// Failures inside a blocking call: an error for the caller, or one of the system.
enum Failure {
    Answer(BlobError),
    System(io::Error),
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::Answer(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

async fn blocking<T: Send + 'static>(
    act: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure::Answer(error))) => Err(error),
        Ok(Err(Failure::System(source))) if is_full(&source) => Err(BlobError::Full),
        Ok(Err(Failure::System(source))) => Err(BlobError::storage(act)(source)),
        Err(stopped) => Err(BlobError::storage(act)(stopped)),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether the disk of a file has room for so many bytes, and for what is kept free.
fn has_room(file: &Path, bytes: u64) -> Result<(), Failure> {
    let disk = rustix::fs::statvfs(file).map_err(io::Error::from)?;
    if leaves_enough(disk.f_blocks, disk.f_bavail, disk.f_frsize, bytes) {
        Ok(())
    } else {
        Err(BlobError::Full.into())
    }
}

/// Whether `bytes` more leave free what is kept, of a disk of so many blocks of which some are free.
fn leaves_enough(blocks: u64, free: u64, block: u64, bytes: u64) -> bool {
    let kept = KEPT_FREE.min(blocks.saturating_mul(block) / KEPT_PART);
    free.saturating_mul(block) >= kept.saturating_add(bytes)
}

fn unknown(error: io::Error, upload: &UploadId) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => BlobError::UnknownUpload(upload.clone()).into(),
        _ => error.into(),
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The upload's file, exclusively locked until it is dropped.
fn locked(path: &Path, upload: &UploadId) -> Result<File, Failure> {
    let open = OpenOptions::new().read(true).write(true).open(path);
    let file = open.map_err(|error| unknown(error, upload))?;
    file.lock()?;
    // The previous holder of the lock may have turned the file into a blob, and a blob takes no more bytes.
    let now = fs::metadata(path).map_err(|error| unknown(error, upload))?;
    let held = file.metadata()?;
    if (now.dev(), now.ino()) != (held.dev(), held.ino()) {
        return Err(BlobError::UnknownUpload(upload.clone()).into());
    }
    Ok(file)
}

/// The size of a file whose bytes have the digest.
fn hashed(file: &mut File, digest: &BlobDigest) -> Result<u64, Failure> {
    let mut hasher = digest.hasher();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0_u64;
    file.rewind()?;
    loop {
        let read = file.read(&mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        size = size.saturating_add(length(bytes));
    }
    same(digest, hasher.finish())?;
    Ok(size)
}

/// Makes a complete file durable, then visible, then durably visible.
fn publish(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    // Its age counts from now, not from its last chunk.
    file.set_modified(Clock::system().wall())?;
    file.sync_all()?;
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Creates a folder and its parents, each durable in its parent.
fn make_folder(folder: &Path) -> io::Result<()> {
    // The parent of a relative path's first part is the current folder.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder_of(folder),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The entries of a folder, with names; empty when the folder does not exist.
fn listed(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}

/// A file's size and time of last change; `None` when it was removed meanwhile.
fn looked_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some((metadata.len(), u64::try_from(since.as_millis()).unwrap_or(u64::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_leave_the_journal_its_part_of_a_disk() {
        let mib = 1 << 20;
        // Blocks of 4 KiB; MiB of the disk, MiB free, bytes wanted.
        for (disk, free, wanted, fits) in [
            (10_000, 1_000, mib, true),
            (10_000, 65, mib, true),
            (10_000, 65, mib + 1, false),
            (10_000, 64, 1, false),
            (10_000, 0, 0, false),
            // A small disk keeps a sixteenth of it.
            (160, 11, mib, true),
            (160, 10, 1, false),
            (160, 10, 0, true),
            (u64::MAX >> 20, 1_000, u64::MAX, false),
        ] {
            let blocks = |mib: u64| mib << 8;
            let found = leaves_enough(blocks(disk), blocks(free), 4096, wanted);
            assert_eq!(found, fits, "{disk} {free} {wanted}");
        }
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            assert!(is_full(&kind.into()));
        }
        assert!(!is_full(&ErrorKind::NotFound.into()));
    }
}
