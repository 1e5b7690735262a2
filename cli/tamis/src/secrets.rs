//! Secrets for filters: from a folder, from files, from the environment; read again while the proxy runs.

use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;
use std::fs;
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
#[derive(clap::Args)]
pub(crate) struct SecretArguments {
    /// Folder whose files are secrets for filters, each named like its file (such as a mounted Kubernetes
    /// Secret); changes take effect within seconds.
    #[arg(long = "secrets", value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// One secret: NAME=file:PATH or NAME=env:VARIABLE.
    #[arg(long = "secret", value_name = "NAME=SOURCE", value_parser = parse)]
    single: Vec<(String, Source)>,
}

/// The source of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Environment(String),
}

fn parse(text: &str) -> Result<(String, Source), String> {
    let wrong = || "write a secret as NAME=file:PATH or NAME=env:VARIABLE".to_owned();
    let (name, source) = text.split_once('=').ok_or_else(wrong)?;
    let source = match source.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Source::File(path.into()),
        Some(("env", variable)) if !variable.is_empty() => Source::Environment(variable.to_owned()),
        _ => return Err(wrong()),
    };
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), source)) }
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

fn read(folder: Option<&Path>, single: &[(String, Source)]) -> Result<HashMap<String, Vec<u8>>> {
    let mut values = HashMap::new();
    if let Some(folder) = folder {
        let unread = || format!("the secrets in {} cannot be read", folder.display());
        for entry in fs::read_dir(folder).with_context(unread)? {
            let entry = entry.with_context(unread)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A mounted Kubernetes Secret keeps its versions in entries that begin with a dot.
            if name.starts_with('.') || !entry.path().is_file() {
                continue;
            }
            values.insert(name, file(&entry.path())?);
            if values.len() > MAX_SECRETS {
                bail!("{} has more than {MAX_SECRETS} files", folder.display());
            }
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
    if fs::metadata(path).with_context(unread)?.len() > MAX_BYTES {
        bail!("the secret {} is longer than {MAX_BYTES} bytes", path.display());
    }
    fs::read(path).with_context(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_file_or_a_variable() {
        let file = Source::File("/run/db".into());
        assert_eq!(parse("db=file:/run/db"), Ok(("db".to_owned(), file)));
        assert_eq!(parse("db=env:DB"), Ok(("db".to_owned(), Source::Environment("DB".to_owned()))));
        for wrong in ["db", "db=", "=env:A", "db=hunter2", "db=env:", "db=file:", "db=vault:x"] {
            let said = parse(wrong).unwrap_err();
            assert!(!said.contains("hunter2"), "a value in the wrong place is not repeated");
        }
    }

    #[test]
    fn a_folder_is_read_as_it_is_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("db"), "hunter2\n").unwrap();
        fs::write(folder.path().join("..data"), "old").unwrap();
        fs::create_dir(folder.path().join("more")).unwrap();
        let values = read(Some(folder.path()), &[]).unwrap();
        assert_eq!(values, HashMap::from([("db".to_owned(), b"hunter2\n".to_vec())]));
        let twice = [("db".to_owned(), Source::File(folder.path().join("db")))];
        assert!(read(Some(folder.path()), &twice).unwrap_err().to_string().contains("twice"));
        fs::write(folder.path().join("big"), vec![0; 65_537]).unwrap();
        let said = read(Some(folder.path()), &[]).unwrap_err().to_string();
        assert!(said.contains("big is longer"), "{said}");
        assert!(read(Some(&folder.path().join("none")), &[]).is_err());
    }
}
