//! Whether a filter's folder was saved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// When the files of a folder were changed last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChangeTimes(BTreeMap<PathBuf, Option<SystemTime>>);

/// Files that are looked at; a filter has a few dozen.
const MAX_FILES: usize = 4_096;
/// Folders that are made by tools.
const MADE: [&str; 3] = ["target", "vendor", ".git"];

impl ChangeTimes {
    /// What is there now: the files of the folder, and `component`, wherever it is. Files that cannot be read count as absent.
    pub(super) fn now(folder: &Path, component: Option<&Path>) -> Self {
        let changed = |file: &Path| file.metadata().and_then(|meta| meta.modified()).ok();
        let mut files: BTreeMap<_, _> =
            component.into_iter().map(|file| (file.to_owned(), changed(file))).collect();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() && !MADE.iter().any(|made| name == *made) {
                    folders.push(entry.path());
                } else if kind.is_file() && name != "Cargo.lock" && files.len() < MAX_FILES {
                    let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
                    files.insert(entry.path(), modified);
                }
            }
        }
        Self(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_an_author_saves_counts_and_what_tools_make_does_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        for made in ["src", "target/run", "vendor/tamis"] {
            fs::create_dir_all(path(made)).unwrap();
        }
        fs::write(path("src/lib.rs"), "a").unwrap();
        let mut before = ChangeTimes::now(folder.path(), None);
        for (file, counts) in [
            ("target/run/run.yaml", false),
            ("vendor/tamis/a.rs", false),
            ("Cargo.lock", false),
            ("src/other.rs", true),
            ("filter.yaml", true),
        ] {
            fs::write(path(file), "b").unwrap();
            let now = ChangeTimes::now(folder.path(), None);
            assert_eq!(now != before, counts, "{file}");
            before = now;
        }
        let old = SystemTime::UNIX_EPOCH;
        fs::File::options()
            .write(true)
            .open(path("src/lib.rs"))
            .unwrap()
            .set_modified(old)
            .unwrap();
        let saved = ChangeTimes::now(folder.path(), None);
        assert!(saved != before, "a file that is saved again");
        fs::remove_file(path("src/other.rs")).unwrap();
        assert!(ChangeTimes::now(folder.path(), None) != saved, "a file that is removed");
        let given = path("target/a.wasm");
        let none = ChangeTimes::now(folder.path(), Some(&given));
        fs::write(&given, "c").unwrap();
        let built = ChangeTimes::now(folder.path(), Some(&given));
        assert!(built != none, "a component that is given counts wherever it is");
    }
}
