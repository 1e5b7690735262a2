//! `.tamis` belongs to one folder in one place: a copy of the folder does not take its keys along.
//!
//! A copy has other inodes than the original, and a folder that was passed on has those of another machine.
//! So the folder contains a note of its own identity; a `.tamis` with keys and without a matching note is
//! not trusted.

use crate::named_file;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The note's name.
const HOME: &str = "home.json";
/// Entries that make a `.tamis` private to one place: keys, and what was written under them.
const OWN: [&str; 7] = ["keys", "certs", "registry", "state", "cache", "access", "token"];

/// The identity of a `.tamis`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FolderIdentity {
    /// The folder that it was made for.
    folder: String,
    device: u64,
    inode: u64,
}

/// Whether a `.tamis` from another place is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForeignState {
    /// It is not.
    Refuse,
    /// It is: the folder was moved, and there is no other copy.
    Adopt,
}

/// Makes the `.tamis` of a folder if it does not exist, and removes the rights of others from what it
/// contains.
pub(crate) fn open(folder: &Path, elsewhere: ForeignState) -> Result<()> {
    let dot = folder.join(".tamis");
    let shown = dot.display();
    if dot.is_symlink() {
        bail!("{shown} is a symbolic link; keys must be in a real folder of {}", folder.display());
    }
    let is_new = !dot.exists();
    tamis_private::folder(&dot).with_context(|| format!("{shown} cannot be used"))?;
    let about = fs::metadata(&dot).with_context(|| format!("{shown} cannot be read"))?;
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let now = FolderIdentity {
        folder: place.display().to_string(),
        device: about.dev(),
        inode: about.ino(),
    };
    let note = dot.join(HOME);
    let before: Option<FolderIdentity> =
        named_file::octets(&note).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let same = |before: &FolderIdentity| (before.device, before.inode) == (now.device, now.inode);
    let own = is_new
        || before.as_ref().is_some_and(same)
        || (before.is_none() && !OWN.iter().any(|name| dot.join(name).exists()));
    if !own && elsewhere == ForeignState::Refuse {
        let of = before.map(|before| format!(" of {}", before.folder)).unwrap_or_default();
        bail!(
            "{shown} is a copy{of}: its keys and tokens must not be shared, and its compiled code cannot be trusted. Remove it with `rm -r {shown}`, and `tamis up` makes a new one, in which filters of your own have to be signed again; if the folder was moved and there is no other copy, run `tamis up {} --adopt`",
            folder.display()
        );
    }
    if !before.as_ref().is_some_and(same)
        && let Some(link) = link(&dot, DEPTH_MAX)?
    {
        bail!(
            "{} is a link, in a folder that was not made here: `tamis up` writes there, and would write elsewhere. Remove it",
            link.display()
        );
    }
    tamis_private::narrow(&dot)
        .with_context(|| format!("{shown} cannot be made private to its owner"))?;
    if before.as_ref() != Some(&now) {
        let text = serde_json::to_vec_pretty(&now)?;
        tamis_private::file(&note)
            .and_then(|mut file| file.write_all(&text))
            .with_context(|| format!("{} cannot be written", note.display()))?;
    }
    Ok(())
}

/// Folders in folders that are looked at; deeper ones are refused as a link is.
const DEPTH_MAX: usize = 8;

/// A link in a folder, or what lies too deep to be looked at.
fn link(folder: &Path, depth: usize) -> Result<Option<PathBuf>> {
    let unread = || format!("{} cannot be read", folder.display());
    for entry in fs::read_dir(folder).with_context(unread)? {
        let path = entry.with_context(unread)?.path();
        let about = fs::symlink_metadata(&path).with_context(unread)?;
        if about.is_symlink() || (about.is_dir() && depth == 0) {
            return Ok(Some(path));
        }
        if about.is_dir()
            && let Some(link) = link(&path, depth - 1)?
        {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// For commands that read a `.tamis` without owning it: whether it is a copy.
pub(crate) fn is_copy(folder: &Path) -> bool {
    let dot = folder.join(".tamis");
    let (Ok(about), Ok(text)) = (fs::metadata(&dot), named_file::octets(dot.join(HOME))) else {
        return false;
    };
    let before: Option<FolderIdentity> = serde_json::from_slice(&text).ok();
    before.is_some_and(|before| (before.device, before.inode) != (about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;
    use tempfile::TempDir;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_copy_of_a_folder_takes_no_key_along() {
        let root = TempDir::new().unwrap();
        let shop = root.path().join("shop");
        fs::create_dir(&shop).unwrap();
        open(&shop, ForeignState::Refuse).unwrap();
        fs::create_dir(shop.join(".tamis/keys")).unwrap();
        fs::write(shop.join(".tamis/keys/a.key"), "secret").unwrap();
        let authority = shop.join(".tamis/registry/authority");
        fs::create_dir_all(&authority).unwrap();
        fs::write(authority.join("root.pem"), "secret").unwrap();
        open(&shop, ForeignState::Refuse).unwrap();
        let keys = [shop.join(".tamis"), shop.join(".tamis/keys"), shop.join(".tamis/keys/a.key")];
        assert_eq!(keys.map(|path| mode(&path)), [0o700, 0o700, 0o600]);
        assert_eq!(
            [&authority, &authority.join("root.pem")].map(|path| mode(path)),
            [0o700, 0o600]
        );

        for copy in [
            "cp -r shop copy",
            "cp -a shop copy",
            "tar cf - shop | (mkdir copy && tar xf - -C copy --strip-components 1)",
        ] {
            let done = Command::new("sh").args(["-c", copy]).current_dir(root.path()).status();
            assert!(done.unwrap().success(), "{copy}");
            let copied = root.path().join("copy");
            let why = open(&copied, ForeignState::Refuse).unwrap_err().to_string();
            assert!(why.contains("is a copy of /") && why.contains("rm -r"), "{why}");
            assert!(is_copy(&copied) && !is_copy(&shop));
            // Without its note it is not trusted either, nor an authority alone.
            fs::remove_file(copied.join(".tamis/home.json")).unwrap();
            assert!(open(&copied, ForeignState::Refuse).is_err());
            fs::remove_dir_all(copied.join(".tamis/keys")).unwrap();
            assert!(open(&copied, ForeignState::Refuse).is_err());
            fs::remove_dir_all(copied.join(".tamis")).unwrap();
            open(&copied, ForeignState::Refuse).unwrap();
            fs::remove_dir_all(&copied).unwrap();
        }

        // Once moved it is still the same; and `--adopt` makes it the owner's.
        let moved = root.path().join("moved");
        fs::rename(&shop, &moved).unwrap();
        open(&moved, ForeignState::Refuse).unwrap();
        fs::remove_file(moved.join(".tamis/home.json")).unwrap();
        open(&moved, ForeignState::Adopt).unwrap();
        open(&moved, ForeignState::Refuse).unwrap();
    }

    #[test]
    fn a_folder_from_elsewhere_leads_no_file_out_of_it() {
        let root = TempDir::new().unwrap();
        let (mine, folder) = (root.path().join("mine"), root.path().join("folder"));
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("rc"), "precious").unwrap();
        for (name, to) in [
            ("home.json", "rc"),
            ("try.txt", "rc"),
            ("filters.lock.yaml", "rc"),
            ("store", ""),
            ("access", ""),
            ("state", ""),
            ("cache", ""),
            ("registry", ""),
            ("certs", ""),
            ("a/b/c/d", "rc"),
            ("a/b/dangling", "none"),
        ] {
            let planted = folder.join(".tamis").join(name);
            fs::create_dir_all(planted.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(mine.join(to), &planted).unwrap();
            for elsewhere in [ForeignState::Refuse, ForeignState::Adopt] {
                let said = open(&folder, elsewhere).unwrap_err().to_string();
                assert!(said.contains("is a link") || said.contains("is a copy"), "{name}: {said}");
            }
            let adopted = open(&folder, ForeignState::Adopt).unwrap_err().to_string();
            assert!(adopted.contains("is a link"), "{name}: {adopted}");
            assert_eq!(fs::read_to_string(mine.join("rc")).unwrap(), "precious", "{name}");
            assert_eq!(fs::read_dir(&mine).unwrap().count(), 1, "{name}");
            fs::remove_dir_all(&folder).unwrap();
        }
        // What its owner links once it is theirs is their affair.
        fs::create_dir(&folder).unwrap();
        open(&folder, ForeignState::Refuse).unwrap();
        std::os::unix::fs::symlink(&mine, folder.join(".tamis/store")).unwrap();
        open(&folder, ForeignState::Refuse).unwrap();
    }

    #[test]
    fn a_link_to_keys_elsewhere_is_no_folder_of_them() {
        let root = TempDir::new().unwrap();
        let (shop, keys) = (root.path().join("shop"), root.path().join("keys"));
        fs::create_dir(&shop).unwrap();
        fs::create_dir(&keys).unwrap();
        std::os::unix::fs::symlink(&keys, shop.join(".tamis")).unwrap();
        assert!(open(&shop, ForeignState::Adopt).is_err());
        // Content without keys, such as a lock, may come from others.
        let other = root.path().join("other");
        fs::create_dir_all(other.join(".tamis")).unwrap();
        fs::write(other.join(".tamis/filters.lock.yaml"), "x").unwrap();
        open(&other, ForeignState::Refuse).unwrap();
    }
}
