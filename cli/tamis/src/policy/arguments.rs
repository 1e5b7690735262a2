//! What `tamis policy` takes.

use std::path::PathBuf;
use tamis_trust::Digest;
use tamis_tuf::{Namespace, Role};

/// What `policy` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Folder of the metadata.
    #[arg(long, global = true, default_value = "policy")]
    pub(super) folder: PathBuf,
}

#[derive(clap::Subcommand)]
pub(super) enum Command {
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
    /// Stage the end of a namespace's policy: what lies in it falls to a wider policy, or is believed by none.
    #[command(after_help = "Example:\n  tamis policy unset acme/team")]
    Unset {
        /// Such as `acme` or `acme/team`.
        namespace: Namespace,
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
pub(super) struct Init {
    /// A public key of the root, kept offline; once for each.
    #[arg(long = "root-key", required = true)]
    pub(super) root: Vec<PathBuf>,
    /// How many root keys must sign; more than half of them when left out.
    #[arg(long)]
    pub(super) root_threshold: Option<usize>,
    /// A public key of those who decide on policies; once for each.
    #[arg(long = "targets-key", required = true)]
    pub(super) targets: Vec<PathBuf>,
    /// How many of these must sign; more than half of them when left out.
    #[arg(long)]
    pub(super) targets_threshold: Option<usize>,
    /// A public key of what publishes; once for each. One of them signs.
    #[arg(long = "online-key", required = true)]
    pub(super) online: Vec<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct ChangeRole {
    /// root, targets, online or namespace:NAMESPACE.
    pub(super) role: Role,
    /// The public keys.
    #[arg(required = true)]
    pub(super) keys: Vec<PathBuf>,
    /// How many must sign from now on; as many as before when left out.
    #[arg(long)]
    pub(super) threshold: Option<usize>,
}

#[derive(clap::Args)]
pub(super) struct RotateRoot {
    /// A public key that comes in; once for each.
    #[arg(long)]
    pub(super) add: Vec<PathBuf>,
    /// A public key that goes; once for each.
    #[arg(long)]
    pub(super) remove: Vec<PathBuf>,
    /// How many must sign from now on; as many as before when left out.
    #[arg(long)]
    pub(super) threshold: Option<usize>,
}

#[derive(clap::Args)]
pub(super) struct Delegate {
    /// Such as `acme` or `acme/team`.
    pub(super) namespace: Namespace,
    /// A public key that signs for it; once for each.
    #[arg(long, required = true)]
    pub(super) key: Vec<PathBuf>,
    /// How many must sign; more than half of them when left out.
    #[arg(long)]
    pub(super) threshold: Option<usize>,
    /// The delegated namespace that gives it; the role targets when left out.
    #[arg(long)]
    pub(super) by: Option<Namespace>,
}

#[derive(clap::Args)]
#[group(id = "what", required = true, args = ["digest", "key"])]
pub(super) struct Revoke {
    /// Such as `acme`; `*` for the policy about every filter.
    pub(super) namespace: Namespace,
    /// The digest of a manifest.
    #[arg(long)]
    pub(super) digest: Option<Digest>,
    /// A key of authors, by its name in the policy or by its id.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// What the log recorded before this index still counts; nothing does when left out.
    #[arg(long, requires = "key")]
    pub(super) from_index: Option<u64>,
}

#[derive(clap::Args)]
pub(super) struct Refresh {
    /// The private online key.
    #[arg(long)]
    pub(super) key: PathBuf,
    /// How many hours a proxy that hears nothing more activates what is new.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) timestamp_hours: u32,
    /// How many days the list of versions is good for.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) snapshot_days: u32,
}
