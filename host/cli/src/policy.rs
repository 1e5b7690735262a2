//! `tamis policy`: the trust policies of an organisation as signed metadata, written and checked.

use crate::output::{self, Output};
use crate::{keys, table, when};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tamis_policy::{
    KeyChange, Lifetimes, Namespace, Repository, Role, Signers, Trusted, Waiting, Withdrawal,
};
use tamis_trust::Digest;

/// What `policy` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Folder of the metadata.
    #[arg(long, global = true, default_value = "policy")]
    folder: PathBuf,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Begin: stage a first root and empty targets, for their keys to sign.
    #[command(
        after_help = "Example:\n  tamis policy init --root-key ann.pub --root-key bob.pub --targets-key sec.pub --online-key registry.pub"
    )]
    Init(Init),
    /// Let more keys sign for a role: root, targets, online or namespace:NAMESPACE.
    #[command(after_help = "Example:\n  tamis policy add-key targets eve.pub --threshold 2")]
    AddKey(ChangeRole),
    /// Let keys sign for a role no more.
    #[command(after_help = "Example:\n  tamis policy remove-key namespace:acme lost.pub")]
    RemoveKey(ChangeRole),
    /// Stage the next root: with other keys, or the same with a later expiry. The old threshold and the new must sign.
    #[command(after_help = "Example:\n  tamis policy rotate-root --add eve.pub --remove ann.pub")]
    RotateRoot(RotateRoot),
    /// Give a namespace and all below it to keys of its own.
    #[command(after_help = "Example:\n  tamis policy delegate acme --key acme-team.pub")]
    Delegate(Delegate),
    /// Take a namespace back.
    #[command(after_help = "Example:\n  tamis policy undelegate acme")]
    Undelegate {
        /// Such as `acme` or `acme/team`.
        namespace: Namespace,
    },
    /// Stage the policy of a namespace: the JSON that `filter verify --policy` reads.
    #[command(after_help = "Example:\n  tamis policy set acme acme.json")]
    Set {
        /// Such as `acme` or `acme/team`; `*` speaks of every filter.
        namespace: Namespace,
        /// The policy. It may speak of what lies in the namespace only.
        file: PathBuf,
    },
    /// Stage the withdrawal of a digest or a key in the policy of a namespace.
    #[command(after_help = "Example:\n  tamis policy revoke acme --key release --from-index 4711")]
    Revoke(Revoke),
    /// Stage a role as it is with a later expiry: targets or namespace:NAMESPACE.
    #[command(after_help = "Example:\n  tamis policy renew namespace:acme")]
    Renew {
        /// The role.
        role: Role,
    },
    /// Sign everything that is staged and waits for this key.
    #[command(after_help = "Example:\n  tamis policy sign --key ann.key")]
    Sign {
        /// The private key.
        #[arg(long)]
        key: PathBuf,
    },
    /// Publish what has enough signatures, under a new snapshot and timestamp.
    #[command(after_help = "Example:\n  tamis policy refresh --key registry.key")]
    Refresh(Refresh),
    /// Show the roles, their keys and ends, and what waits for signatures.
    #[command(after_help = "Example:\n  tamis policy show")]
    Show,
    /// Read what is published as a proxy does that trusts a root.
    #[command(after_help = "Example:\n  tamis policy verify --root 1.root.json")]
    Verify {
        /// The root to begin with; the first one of the folder when left out.
        #[arg(long)]
        root: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Init {
    /// A public key of the root, kept offline; once for each.
    #[arg(long = "root-key", required = true)]
    root: Vec<PathBuf>,
    /// How many root keys must sign; more than half of them when left out.
    #[arg(long)]
    root_threshold: Option<usize>,
    /// A public key of those who decide on policies; once for each.
    #[arg(long = "targets-key", required = true)]
    targets: Vec<PathBuf>,
    /// How many of these must sign; more than half of them when left out.
    #[arg(long)]
    targets_threshold: Option<usize>,
    /// A public key of what publishes; once for each. One of them signs.
    #[arg(long = "online-key", required = true)]
    online: Vec<PathBuf>,
}

#[derive(clap::Args)]
struct ChangeRole {
    /// root, targets, online or namespace:NAMESPACE.
    role: Role,
    /// The public keys.
    #[arg(required = true)]
    keys: Vec<PathBuf>,
    /// How many must sign from now on; as many as before when left out.
    #[arg(long)]
    threshold: Option<usize>,
}

#[derive(clap::Args)]
struct RotateRoot {
    /// A public key that comes in; once for each.
    #[arg(long)]
    add: Vec<PathBuf>,
    /// A public key that goes; once for each.
    #[arg(long)]
    remove: Vec<PathBuf>,
    /// How many must sign from now on; as many as before when left out.
    #[arg(long)]
    threshold: Option<usize>,
}

#[derive(clap::Args)]
struct Delegate {
    /// Such as `acme` or `acme/team`.
    namespace: Namespace,
    /// A public key that signs for it; once for each.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// How many must sign; more than half of them when left out.
    #[arg(long)]
    threshold: Option<usize>,
    /// The delegated namespace that gives it; the role targets when left out.
    #[arg(long)]
    by: Option<Namespace>,
}

#[derive(clap::Args)]
#[group(id = "what", required = true, args = ["digest", "key"])]
struct Revoke {
    /// Such as `acme`; `*` for the policy about every filter.
    namespace: Namespace,
    /// The digest of a manifest.
    #[arg(long)]
    digest: Option<Digest>,
    /// A key of authors, by its name in the policy or by its id.
    #[arg(long)]
    key: Option<String>,
    /// What the log recorded before this index still counts; nothing does when left out.
    #[arg(long, requires = "key")]
    from_index: Option<u64>,
}

#[derive(clap::Args)]
struct Refresh {
    /// The private online key.
    #[arg(long)]
    key: PathBuf,
    /// How many hours a proxy that hears nothing more activates what is new.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    timestamp_hours: u32,
    /// How many days the list of versions is good for.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    snapshot_days: u32,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let now = when::now_ms() / 1_000;
    let open = || Repository::open(folder);
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
            let document = std::fs::read(file)
                .with_context(|| format!("the policy {} cannot be read", file.display()))?;
            changed(&open()?, output, |all| all.set(namespace, &document, now).map(|_| ()))?;
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

fn begin(folder: &Path, init: &Init, now: u64) -> Result<Repository> {
    let root = signers(&init.root, init.root_threshold)?;
    let targets = signers(&init.targets, init.targets_threshold)?;
    let online = signers(&init.online, Some(1))?;
    Ok(Repository::init(folder, &root, &targets, &online, now)?)
}

fn public(paths: &[PathBuf]) -> Result<Vec<tamis_trust::PublicKey>> {
    paths.iter().map(|path| keys::read_public(path)).collect()
}

/// Keys, and more than half of them when no threshold is said.
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
        (None, None) => anyhow::bail!("nothing to withdraw; give --digest or --key"),
    }
}

fn changed(
    repository: &Repository,
    output: Output,
    change: impl FnOnce(&Repository) -> Result<(), tamis_policy::Error>,
) -> Result<()> {
    change(repository)?;
    staged(repository, output)
}

/// Says what waits now.
fn staged(repository: &Repository, output: Output) -> Result<()> {
    let waiting = repository.overview()?.waiting;
    output::result(output, &json!({ "waiting": waiting }), || lines("staged", &waiting));
    Ok(())
}

fn lines(verb: &str, files: &[Waiting]) -> String {
    let line = |one: &Waiting| {
        let Waiting { file, version, signatures, threshold } = one;
        format!("{verb} {file} version {version}: {signatures} of {threshold} signatures\n")
    };
    files.iter().map(line).collect()
}

fn publish(repository: Repository, refresh: &Refresh, now: u64, output: Output) -> Result<()> {
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
        format!("{files}{waiting}timestamp version {version}; refresh again before {expires}")
    });
    Ok(())
}

fn show(repository: &Repository, output: Output) -> Result<()> {
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

fn verify(repository: &Repository, root: Option<&Path>, now: u64, output: Output) -> Result<()> {
    let root = match root {
        Some(path) => std::fs::read(path)
            .with_context(|| format!("the root {} cannot be read", path.display()))?,
        None => repository.first_root()?,
    };
    let trusted = repository.verify(&root, now)?;
    output::result(output, &believed(&trusted, now), || {
        let namespaces: String = (trusted.namespaces())
            .map(|(namespace, role)| format!("{namespace}  by {role}\n"))
            .collect();
        let ends = trusted.expires().into_iter().min_by_key(|one| one.expires);
        let ends = ends.map(|one| format!("{} ends first, at {}", one.role, one.expires));
        format!("{namespaces}{}", ends.unwrap_or_default())
    });
    Ok(())
}

fn believed(trusted: &Trusted, now: u64) -> Value {
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
