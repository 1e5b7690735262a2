//! The destination of access records.

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::SIGHUP;
use std::path::Path;
use std::sync::Arc;
use tamis_observe::{AccessLog, LogFile, Recorder};

/// A file, or standard output.
pub(crate) struct RecordFile(Option<LogFile>);

impl RecordFile {
    /// Opens the file, created with the rights `mode`; `None` means standard output. From now on SIGHUP
    /// reopens it, and does not end the process.
    pub(crate) fn open(path: Option<&Path>, mode: u32) -> Result<Self> {
        let file = path.map(|path| {
            LogFile::open(path, mode)
                .with_context(|| format!("{} cannot be written", path.display()))
        });
        let file = file.transpose()?;
        let reopen = file.as_ref().map_or_else(Arc::default, LogFile::reopen);
        signal_hook::flag::register(SIGHUP, reopen).context("cannot listen for signals")?;
        Ok(Self(file))
    }

    /// A recorder that writes to it.
    pub(crate) fn recorder(self, mode: AccessLog) -> Result<Recorder> {
        let started = match (mode, self.0) {
            (AccessLog::Off, _) => return Ok(Recorder::off()),
            (mode, None) => Recorder::to(mode, std::io::stdout()),
            (mode, Some(file)) => Recorder::to(mode, file),
        };
        started.context("access records cannot be written")
    }
}

/// Rights of a file as chmod takes them: the owner must have read and write, and nobody may have execute.
pub(crate) fn mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| mode & !0o666 == 0 && mode & 0o600 == 0o600);
    let Some(mode) = mode else {
        bail!("write it like 600 or 640: its owner must be able to read and write it")
    };
    Ok(mode)
}
