//! Files that only their owner can read, as commands write them.

use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes a new file that only its owner can read; fails when the file exists.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<()> {
    tamis_private::create_new(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Writes a file that only its owner can read, whatever mode it had before.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    tamis_private::file(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Atomically replaces a file by one that only its owner can read.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    tamis_private::put(path, content)
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// A path with an ending appended; dots in the name stay.
pub(crate) fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::filter::artifact;
    use crate::{certificates, keys};

    #[test]
    fn nothing_is_written_through_a_link_that_somebody_planted() {
        // What is written, and the names under which links are planted; `PID` is the number of this process.
        type Row<'a> = (&'a str, &'a dyn Fn(&Path) -> Result<()>, &'a [&'a str]);
        let issued = |folder: &Path| {
            let ca = folder.join("ca.crt");
            certificates::make_authority(&ca)?;
            let issuer = certificates::authority(&ca)?;
            let (certificate, key) = (folder.join("x.crt"), folder.join("x.key"));
            certificates::issue(&issuer, &certificate, &key, Vec::new(), "x")
        };
        let rows: [Row<'_>; 6] = [
            (
                "an artifact",
                &|folder| artifact::put(&folder.join("x.wasm"), b"new"),
                &["x.wasm", "x.wasm.PID.tmp"],
            ),
            ("a pair of keys", &|folder| keys::generate(&folder.join("x")).map(drop), &["x.pub"]),
            ("an authority and a certificate", &issued, &["ca.crt", "x.crt", "x.new", "ca.new"]),
            ("their keys", &issued, &["ca.key", "x.key", "x.PID.new", "ca.PID.new"]),
            (
                "a private file that is replaced",
                &|folder| replace(&folder.join("x"), b"new"),
                &["x", "x.PID.new"],
            ),
            ("a new private file", &|folder| create(&folder.join("x"), b"new"), &["x"]),
        ];
        for (what, written, planted) in rows {
            for planted in planted {
                for precious in [None, Some("precious")] {
                    let (root, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                    let target = out.path().join("target");
                    if let Some(text) = precious {
                        fs::write(&target, text).unwrap();
                    }
                    let name = planted.replace("PID", &std::process::id().to_string());
                    symlink(&target, root.path().join(name)).unwrap();
                    // Whether it is refused, or takes the place of the link: what the link names stays as it is.
                    let done = written(root.path());
                    let there = fs::read_to_string(&target).ok();
                    assert_eq!(there.as_deref(), precious, "{what}, {planted}: {done:?}");
                    assert!(done.is_ok() || *planted == "x" || *planted == "x.pub", "{done:?}");
                }
            }
        }
    }
}
