//! `tamis policy`: writes and checks the trust policies of an organisation as signed metadata.

use crate::named_file;
use crate::output::{self, Output};
use crate::{keys, table, when};
use anyhow::{Context as _, Result};
use arguments::{Command, Delegate, PolicyInitArguments, Refresh, Revoke, RotateRoot};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tamis_tuf::{
    KeyChange, Lifetimes, PolicyRepository, Role, Signers, StagedFile, TrustedPolicies, Withdrawal,
};

mod arguments;

pub(crate) use arguments::Arguments;

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let now = when::now_ms() / 1_000;
    let open = || PolicyRepository::open(folder);
    match &arguments.command {
        Command::Init(init) => staged(&begin(folder, init, now)?, output)?,
        Command::AddKey(change) => {
            let add = public(&change.keys)?;
            let keys = KeyChange { add, threshold: change.threshold, ..KeyChange::default() };
            changed(&open()?, output, |all| all.change_keys(&change.role, &keys, now))?;
        }
        Command::RemoveKey(change) => {
            let remove = public(&change.keys)?;
            let keys = KeyChange { remove, threshold: change.threshold, ..KeyChange::default() };
            changed(&open()?, output, |all| all.change_keys(&change.role, &keys, now))?;
        }
        Command::RotateRoot(RotateRoot { add, remove, threshold }) => {
            let (add, remove) = (public(add)?, public(remove)?);
            let keys = KeyChange { add, remove, threshold: *threshold };
            changed(&open()?, output, |all| all.change_keys(&Role::Root, &keys, now))?;
        }
        Command::Delegate(Delegate { namespace, key, threshold, by }) => {
            let signers = signers(key, *threshold)?;
            changed(&open()?, output, |all| all.delegate(namespace, &signers, by.as_ref(), now))?;
        }
        Command::Undelegate { namespace } => {
            changed(&open()?, output, |all| all.undelegate(namespace, now))?;
        }
        Command::Set { namespace, file } => {
            let document = named_file::octets(file)
                .with_context(|| format!("the policy {} cannot be read", file.display()))?;
            changed(&open()?, output, |all| all.set(namespace, &document, now).map(|_| ()))?;
        }
        Command::Unset { namespace } => {
            changed(&open()?, output, |all| all.unset(namespace, now).map(|_| ()))?;
        }
        Command::Revoke(revoke) => {
            let what = withdrawal(revoke)?;
            changed(&open()?, output, |all| all.revoke(&revoke.namespace, &what, now).map(|_| ()))?;
        }
        Command::Renew { role } => changed(&open()?, output, |all| all.renew(role, now))?,
        Command::Sign { key } => {
            let signed = open()?.sign(&keys::read_private(key)?)?;
            output::result(output, &json!({ "signed": signed }), || lines("signed", &signed));
        }
        Command::Refresh(refresh) => publish(open()?, refresh, now, output)?,
        Command::Show => show(&open()?, output)?,
        Command::Verify { root } => verify(&open()?, root.as_deref(), now, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn begin(folder: &Path, init: &PolicyInitArguments, now: u64) -> Result<PolicyRepository> {
    let root = signers(&init.root, init.root_threshold)?;
    let targets = signers(&init.targets, init.targets_threshold)?;
    let online = signers(&init.online, Some(1))?;
    Ok(PolicyRepository::init(folder, &root, &targets, &online, now)?)
}

fn public(paths: &[PathBuf]) -> Result<Vec<tamis_trust::PublicKey>> {
    paths.iter().map(|path| keys::read_public(path)).collect()
}

/// The keys, and their threshold: by default more than half of them.
fn signers(paths: &[PathBuf], threshold: Option<usize>) -> Result<Signers> {
    let keys = public(paths)?;
    let threshold = threshold.unwrap_or(keys.len() / 2 + 1);
    Ok(Signers { keys, threshold })
}

fn withdrawal(revoke: &Revoke) -> Result<Withdrawal> {
    match (&revoke.digest, &revoke.key) {
        (Some(digest), _) => Ok(Withdrawal::Digest(*digest)),
        (None, Some(key)) => {
            Ok(Withdrawal::Key { key: key.clone(), from_index: revoke.from_index })
        }
        (None, None) => anyhow::bail!("nothing to revoke; give --digest or --key"),
    }
}

fn changed(
    repository: &PolicyRepository,
    output: Output,
    change: impl FnOnce(&PolicyRepository) -> Result<(), tamis_tuf::TufError>,
) -> Result<()> {
    change(repository)?;
    staged(repository, output)
}

/// Prints what is waiting for signatures.
fn staged(repository: &PolicyRepository, output: Output) -> Result<()> {
    let waiting = repository.overview()?.waiting;
    output::result(output, &json!({ "waiting": waiting }), || lines("staged", &waiting));
    Ok(())
}

fn lines(verb: &str, files: &[StagedFile]) -> String {
    let line = |one: &StagedFile| {
        let StagedFile { file, version, signatures, threshold } = one;
        format!("{verb} {file} version {version}: {signatures} of {threshold} signatures\n")
    };
    files.iter().map(line).collect()
}

fn publish(
    repository: PolicyRepository,
    refresh: &Refresh,
    now: u64,
    output: Output,
) -> Result<()> {
    let key = keys::read_private(&refresh.key)?;
    let repository = repository.with_lifetimes(Lifetimes {
        timestamp: Duration::from_secs(u64::from(refresh.timestamp_hours) * 3_600),
        snapshot: Duration::from_secs(u64::from(refresh.snapshot_days) * 86_400),
        ..Lifetimes::default()
    });
    let published = repository.refresh(&key, now)?;
    output::result(output, &published, || {
        let files: String =
            published.files.iter().map(|file| format!("published {file}\n")).collect();
        let waiting = lines("waits", &published.waiting);
        let (version, expires) = (published.timestamp, published.expires);
        format!("{files}{waiting}timestamp version {version}; run `refresh` again before {expires}")
    });
    Ok(())
}

fn show(repository: &PolicyRepository, output: Output) -> Result<()> {
    let overview = repository.overview()?;
    output::result(output, &overview, || {
        let rows: Vec<[String; 5]> = (overview.roles.iter())
            .map(|role| {
                [
                    role.role.clone(),
                    role.version.map_or_else(|| "-".to_owned(), |version| version.to_string()),
                    role.expires.map_or_else(|| "-".to_owned(), |expires| expires.to_string()),
                    format!("{} of {}", role.threshold, role.keys.len()),
                    role.documents.join(" "),
                ]
            })
            .collect();
        let roles = table::table(["ROLE", "VERSION", "EXPIRES", "SIGN", "POLICIES"], &rows);
        format!("{roles}{}", lines("waits", &overview.waiting))
    });
    Ok(())
}

fn verify(
    repository: &PolicyRepository,
    root: Option<&Path>,
    now: u64,
    output: Output,
) -> Result<()> {
    let root = match root {
        Some(path) => named_file::octets(path)
            .with_context(|| format!("the root {} cannot be read", path.display()))?,
        None => repository.first_root()?,
    };
    let trusted = repository.verify(&root, now)?;
    output::result(output, &believed(&trusted, now), || {
        let namespaces: String = (trusted.namespaces())
            .map(|(namespace, role)| format!("{namespace}  by {role}\n"))
            .collect();
        let ends = trusted.expires().into_iter().min_by_key(|one| one.expires);
        let ends = ends.map(|one| format!("{} expires first, at {}", one.role, one.expires));
        format!("{namespaces}{}", ends.unwrap_or_default())
    });
    Ok(())
}

fn believed(trusted: &TrustedPolicies, now: u64) -> Value {
    let namespaces: Vec<Value> = (trusted.namespaces())
        .map(|(namespace, role)| json!({ "namespace": namespace.to_string(), "role": role }))
        .collect();
    let roles: Vec<Value> = (trusted.expires().iter())
        .map(|one| json!({ "role": one.role, "version": one.version, "expires": one.expires }))
        .collect();
    json!({ "namespaces": namespaces, "roles": roles, "ageSeconds": trusted.age(now).as_secs() })
}

#[cfg(test)]
mod tests;
