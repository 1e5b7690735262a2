//! Secrets for filters: from a folder, from files, from the environment; read again while the proxy runs.

use crate::named_file;
use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tamis_node::Secrets;

/// Interval at which files are read again.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest secret in bytes.
const MAX_BYTES: u64 = 64 * 1024;
/// Most secrets in a folder.
const MAX_SECRETS: usize = 1_000;

/// The sources of secrets.
#[derive(clap::Args, Default)]
pub(crate) struct SecretArguments {
    /// Folder whose files are secrets for filters, each named like its file (such as a mounted Kubernetes
    /// Secret); those in a folder NAMESPACE below it are for attachments of that namespace alone. Changes take effect within
    /// seconds.
    #[arg(id = "secrets", long = "secrets", value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// One secret: NAME=file:PATH or NAME=env:VARIABLE; with NAMESPACE/NAME it is for attachments of that namespace alone.
    #[arg(id = "secret", long = "secret", value_name = "NAME=SOURCE", value_parser = parse)]
    single: Vec<(String, Source)>,
}

/// The source of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Environment(String),
}

fn parse(text: &str) -> Result<(String, Source), String> {
    let wrong = || {
        "write a secret as NAME=file:PATH or NAME=env:VARIABLE, where NAME may be NAMESPACE/NAME"
            .to_owned()
    };
    let (name, source) = text.split_once('=').ok_or_else(wrong)?;
    let source = match source.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Source::File(path.into()),
        Some(("env", variable)) if !variable.is_empty() => Source::Environment(variable.to_owned()),
        _ => return Err(wrong()),
    };
    let parts: Vec<&str> = name.split('/').collect();
    let is_name = parts.len() <= 2 && !parts.contains(&"");
    if is_name { Ok((name.to_owned(), source)) } else { Err(wrong()) }
}

/// Reads all secrets now, and again at intervals. If a later reading fails, the secrets stay as they were.
///
/// # Errors
/// A secret cannot be read now.
pub(crate) fn kept(arguments: &SecretArguments) -> Result<Secrets> {
    let (folder, single) = (arguments.folder.clone(), arguments.single.clone());
    let secrets = Secrets::new(read(folder.as_deref(), &single)?);
    let files = single.iter().any(|(_, source)| matches!(source, Source::File(_)));
    if folder.is_none() && !files {
        return Ok(secrets);
    }
    let kept = secrets.clone();
    let again = move || {
        loop {
            std::thread::sleep(AGAIN);
            match read(folder.as_deref(), &single) {
                Ok(values) => {
                    if kept.replace(values) {
                        tracing::info!("secrets changed");
                    }
                }
                Err(error) => tracing::warn!("secrets stay as they were: {error:#}"),
            }
        }
    };
    std::thread::Builder::new().name("tamis-secrets".to_owned()).spawn(again)?;
    Ok(secrets)
}

/// As [`kept`], for somebody who runs a folder of documents: what others may read, or what lies in that folder and is copied
/// and checked in with it, is refused.
///
/// # Errors
/// Names the file and the way out; and as [`kept`].
pub(crate) fn kept_apart(arguments: &SecretArguments, documents: &Path) -> Result<Secrets> {
    let documents = documents.canonicalize().unwrap_or_else(|_| documents.to_owned());
    let mut files: Vec<PathBuf> = Vec::new();
    for (_, source) in &arguments.single {
        if let Source::File(path) = source {
            files.push(path.clone());
        }
    }
    if let Some(folder) = &arguments.folder {
        files.extend(in_folder(folder)?.into_iter().map(|(_, path)| path));
    }
    for file in files {
        let unread = || format!("the secret {} cannot be read", file.display());
        // Where a link leads to is what counts.
        let real = file.canonicalize().with_context(unread)?;
        if real.starts_with(&documents) {
            bail!(
                "the secret {} lies in {}, which is copied and checked in: keep it elsewhere",
                file.display(),
                documents.display()
            );
        }
        let mode = fs::metadata(&real).with_context(unread)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!(
                "the secret {} can be read by others (mode {:03o}): `chmod 600` it",
                file.display(),
                mode & 0o777
            );
        }
    }
    kept(arguments)
}

/// The files of a folder that are secrets, with their names; those of a folder in it have its name in front.
fn in_folder(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    add_folder(folder, None, &mut files)?;
    Ok(files)
}

fn add_folder(
    folder: &Path,
    namespace: Option<&str>,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    let unread = || format!("the secrets in {} cannot be read", folder.display());
    for entry in fs::read_dir(folder).with_context(unread)? {
        let entry = entry.with_context(unread)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Names with a dot in front are how a mounted Secret keeps its versions apart.
        if name.starts_with('.') {
            continue;
        }
        match namespace {
            None if entry.path().is_dir() => add_folder(&entry.path(), Some(&name), files)?,
            _ if !entry.path().is_file() => continue,
            None => files.push((name, entry.path())),
            Some(namespace) => files.push((format!("{namespace}/{name}"), entry.path())),
        }
        if files.len() > MAX_SECRETS {
            bail!("{} has more than {MAX_SECRETS} files", folder.display());
        }
    }
    Ok(())
}

fn read(folder: Option<&Path>, single: &[(String, Source)]) -> Result<HashMap<String, Vec<u8>>> {
    let mut values = HashMap::new();
    if let Some(folder) = folder {
        for (name, path) in in_folder(folder)? {
            values.insert(name, file(&path)?);
        }
    }
    for (name, source) in single {
        let value = match source {
            Source::File(path) => file(path)?,
            Source::Environment(variable) => std::env::var_os(variable)
                .with_context(|| format!("the secret {name}: the variable {variable} is not set"))?
                .into_encoded_bytes(),
        };
        if values.insert(name.clone(), value).is_some() {
            bail!("the secret {name} is given twice");
        }
    }
    Ok(values)
}

/// The content of a file, unchanged: a line break at its end is part of the secret.
fn file(path: &Path) -> Result<Vec<u8>> {
    let unread = || format!("the secret {} cannot be read", path.display());
    named_file::up_to(path, MAX_BYTES).with_context(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_file_or_a_variable() {
        let file = Source::File("/run/db".into());
        assert_eq!(parse("db=file:/run/db"), Ok(("db".to_owned(), file)));
        assert_eq!(parse("db=env:DB"), Ok(("db".to_owned(), Source::Environment("DB".to_owned()))));
        assert!(parse("shop/db=env:DB").is_ok_and(|(name, _)| name == "shop/db"));
        for wrong in [
            "/db=env:A",
            "shop/=env:A",
            "a/b/c=env:A",
            "db",
            "db=",
            "=env:A",
            "db=hunter2",
            "db=env:",
            "db=file:",
            "db=vault:x",
        ] {
            let said = parse(wrong).unwrap_err();
            assert!(!said.contains("hunter2"), "a value in the wrong place is not repeated");
        }
    }

    #[test]
    fn a_folder_is_read_as_it_is_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("db"), "hunter2\n").unwrap();
        fs::write(folder.path().join("..data"), "old").unwrap();
        fs::create_dir_all(folder.path().join("shop/deeper")).unwrap();
        fs::create_dir(folder.path().join(".hidden")).unwrap();
        for more in ["shop/db", "shop/..data", "shop/deeper/db", ".hidden/db"] {
            fs::write(folder.path().join(more), "of shop").unwrap();
        }
        let values = read(Some(folder.path()), &[]).unwrap();
        let wanted = [("db", "hunter2\n"), ("shop/db", "of shop")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(values, HashMap::from(wanted));
        let twice = [("db".to_owned(), Source::File(folder.path().join("db")))];
        assert!(read(Some(folder.path()), &twice).unwrap_err().to_string().contains("twice"));
        fs::write(folder.path().join("big"), vec![0; 65_537]).unwrap();
        let said = format!("{:#}", read(Some(folder.path()), &[]).unwrap_err());
        assert!(said.contains("big cannot be read: it is longer than 65536 bytes"), "{said}");
        assert!(read(Some(&folder.path().join("none")), &[]).is_err());
    }

    #[test]
    fn what_replaces_a_secret_is_read_the_next_time() {
        let root = tempfile::tempdir().unwrap();
        let mounted = root.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        // As Kubernetes mounts a Secret: each name leads through `..data` to a folder that is swapped as a whole.
        let version = |name: &str, value: &str| {
            let folder = mounted.join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("db"), value).unwrap();
            let next = mounted.join("..data_tmp");
            std::os::unix::fs::symlink(name, &next).unwrap();
            fs::rename(next, mounted.join("..data")).unwrap();
        };
        version("..2026_01", "first");
        std::os::unix::fs::symlink("..data/db", mounted.join("db")).unwrap();
        let renamed = root.path().join("session");
        fs::write(&renamed, "first").unwrap();
        let single = [("session".to_owned(), Source::File(renamed.clone()))];

        let now = || read(Some(&mounted), &single);
        let secrets = Secrets::new(now().unwrap());
        assert!(!secrets.replace(now().unwrap()), "nothing changed");
        let both = |value: &str| {
            let pair = ["db", "session"].map(|name| (name.to_owned(), value.as_bytes().to_vec()));
            HashMap::from(pair)
        };
        version("..2026_02", "second");
        let new = root.path().join("session.new");
        fs::write(&new, "second").unwrap();
        fs::rename(&new, &renamed).unwrap();
        assert_eq!(now().unwrap(), both("second"));
        assert!(secrets.replace(now().unwrap()));
        for broken in [&renamed, &mounted.join("..data")] {
            let aside = root.path().join("aside");
            fs::rename(broken, &aside).unwrap();
            let read = now();
            // A link that leads nowhere is no file, so the secret is gone; a named file has to be there.
            assert_ne!(read.ok(), Some(both("second")), "{}", broken.display());
            fs::rename(&aside, broken).unwrap();
        }
        assert!(!secrets.replace(now().unwrap()), "all is as it was");
    }

    #[test]
    fn a_mesh_from_a_folder_takes_secrets_that_are_its_users_alone_and_not_in_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let (documents, own) = (root.path().join("shop"), root.path().join("own"));
        fs::create_dir_all(documents.join(".tamis")).unwrap();
        fs::create_dir(&own).unwrap();
        let put = |path: &Path, mode| {
            fs::write(path, "hunter2").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let one = |path: &Path| SecretArguments {
            folder: None,
            single: vec![("db".to_owned(), Source::File(path.to_owned()))],
        };
        let all = |path: &Path| SecretArguments { folder: Some(path.to_owned()), single: vec![] };
        let said = |arguments: &SecretArguments| {
            let refused = kept_apart(arguments, &documents).unwrap_err();
            let said = format!("{refused:#}");
            assert!(!said.contains("hunter2"), "{said}");
            said
        };

        put(&own.join("db"), 0o600);
        for good in [one(&own.join("db")), all(&own), SecretArguments::default()] {
            kept_apart(&good, &documents).unwrap();
        }
        for mode in [0o644, 0o640, 0o604, 0o660] {
            put(&own.join("db"), mode);
            for wide in [one(&own.join("db")), all(&own)] {
                assert!(said(&wide).contains("chmod 600"), "{mode:o}");
            }
        }
        put(&own.join("db"), 0o600);
        let inside = documents.join(".tamis/db");
        put(&inside, 0o600);
        std::os::unix::fs::symlink(&inside, own.join("linked")).unwrap();
        let around = documents.join("../shop/.tamis/db");
        for within in [one(&inside), one(&own.join("linked")), one(&around), all(&own)] {
            assert!(said(&within).contains("keep it elsewhere"));
        }
        assert!(said(&one(&own.join("none"))).contains("cannot be read"));
    }
}
