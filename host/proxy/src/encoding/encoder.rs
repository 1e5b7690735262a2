//! The encoders themselves. Each writes into memory that is taken from it after every step.

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use tamis_exchange::ContentCoding;

/// Levels at which the codings come to about the same size, and cost little more than at their lowest.
const GZIP_LEVEL: u32 = 4;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// The window is 2 to the power of this: 256 KiB, what a decoder keeps too. RFC 9659 allows up to 8 MiB for `zstd`.
const WINDOW_LOG: u32 = 18;
/// Octets that the encoder of Brotli hands out at once.
const BROTLI_BUFFER: usize = 4_096;

/// An encoder and what it has written.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// An encoder of that coding.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn new(coding: ContentCoding) -> io::Result<Self> {
        Ok(match coding {
            ContentCoding::Gzip => {
                Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))
            }
            ContentCoding::Brotli => {
                let writer =
                    CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, WINDOW_LOG);
                Self::Brotli(Box::new(writer))
            }
            ContentCoding::Zstd => {
                let mut writer = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                writer.window_log(WINDOW_LOG)?;
                Self::Zstd(writer)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(writer) => writer,
            Self::Brotli(writer) => writer,
            Self::Zstd(writer) => writer,
        }
    }

    /// Encodes octets. They may stay inside until the next flush.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.writer().write_all(octets)
    }

    /// Writes what is inside, so that a decoder has everything that came so far.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    /// What was written since this was called last.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Gzip(writer) => writer.get_mut(),
            Self::Brotli(writer) => writer.get_mut(),
            Self::Zstd(writer) => writer.get_mut(),
        })
    }

    /// Everything that is left, with the end of the format.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(writer) => writer.finish(),
            Self::Brotli(writer) => Ok(writer.into_inner()),
            Self::Zstd(writer) => writer.finish(),
        }
    }
}
