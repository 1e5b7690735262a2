//! The arguments of `tamis policy`.

use std::path::PathBuf;
use tamis_trust::Digest;
use tamis_tuf::{Namespace, Role};

/// Arguments of `policy`.
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
    Init(PolicyInitArguments),
    /// Let more keys sign for a role: root, targets, online or namespace:NAMESPACE.
    #[command(after_help = "Example:\n  tamis policy add-key targets eve.pub --threshold 2")]
    AddKey(ChangeRole),
    /// Remove keys from those that sign for a role.
    #[command(after_help = "Example:\n  tamis policy remove-key namespace:acme lost.pub")]
    RemoveKey(ChangeRole),
    /// Stage the next root: with other keys, or with the same keys and a later expiry. Both the old and the
    /// new threshold must sign.
    #[command(after_help = "Example:\n  tamis policy rotate-root --add eve.pub --remove ann.pub")]
    RotateRoot(RotateRoot),
    /// Delegate a namespace and all below it to keys of its own.
    #[command(after_help = "Example:\n  tamis policy delegate acme --key acme-team.pub")]
    Delegate(Delegate),
    /// End the delegation of a namespace.
    #[command(after_help = "Example:\n  tamis policy undelegate acme")]
    Undelegate {
        /// Such as `acme` or `acme/team`.
        namespace: Namespace,
    },
    /// Stage the policy of a namespace: the JSON that `filter verify --policy` reads.
    #[command(after_help = "Example:\n  tamis policy set acme acme.json")]
    Set {
        /// Such as `acme` or `acme/team`; `*` covers every filter.
        namespace: Namespace,
        /// The policy. It may only cover filters in the namespace.
        file: PathBuf,
    },
    /// Stage the removal of a namespace's policy: a wider policy then covers its filters, or they are not
    /// trusted.
    #[command(after_help = "Example:\n  tamis policy unset acme/team")]
    Unset {
        /// Such as `acme` or `acme/team`.
        namespace: Namespace,
    },
    /// Stage the revocation of a digest or a key in the policy of a namespace.
    #[command(after_help = "Example:\n  tamis policy revoke acme --key release --from-index 4711")]
    Revoke(Revoke),
    /// Stage a role unchanged with a later expiry: targets or namespace:NAMESPACE.
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
    /// Show the roles, their keys and expiry, and what waits for signatures.
    #[command(after_help = "Example:\n  tamis policy show")]
    Show,
    /// Read the published metadata as a proxy does that trusts a root.
    #[command(after_help = "Example:\n  tamis policy verify --root 1.root.json")]
    Verify {
        /// The root to start from; default: the first one in the folder.
        #[arg(long)]
        root: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
pub(super) struct PolicyInitArguments {
    /// A public key of the root, kept offline; repeat for each key.
    #[arg(long = "root-key", required = true)]
    pub(super) root: Vec<PathBuf>,
    /// Number of root keys that must sign; default: more than half.
    #[arg(long)]
    pub(super) root_threshold: Option<usize>,
    /// A public key of the people who decide on policies; repeat for each key.
    #[arg(long = "targets-key", required = true)]
    pub(super) targets: Vec<PathBuf>,
    /// Number of these keys that must sign; default: more than half.
    #[arg(long)]
    pub(super) targets_threshold: Option<usize>,
    /// A public key of the service that publishes; repeat for each key. One of them signs.
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
    /// Number of keys that must sign from now on; default: unchanged.
    #[arg(long)]
    pub(super) threshold: Option<usize>,
}

#[derive(clap::Args)]
pub(super) struct RotateRoot {
    /// A public key to add; repeat for each key.
    #[arg(long)]
    pub(super) add: Vec<PathBuf>,
    /// A public key to remove; repeat for each key.
    #[arg(long)]
    pub(super) remove: Vec<PathBuf>,
    /// Number of keys that must sign from now on; default: unchanged.
    #[arg(long)]
    pub(super) threshold: Option<usize>,
}

#[derive(clap::Args)]
pub(super) struct Delegate {
    /// Such as `acme` or `acme/team`.
    pub(super) namespace: Namespace,
    /// A public key that signs for it; repeat for each key.
    #[arg(long, required = true)]
    pub(super) key: Vec<PathBuf>,
    /// Number of keys that must sign; default: more than half.
    #[arg(long)]
    pub(super) threshold: Option<usize>,
    /// The delegated namespace that delegates further; default: the role targets.
    #[arg(long)]
    pub(super) by: Option<Namespace>,
}

#[derive(clap::Args)]
#[group(id = "what", required = true, args = ["digest", "key"])]
pub(super) struct Revoke {
    /// Such as `acme`; `*` for the policy that covers every filter.
    pub(super) namespace: Namespace,
    /// The digest of a manifest.
    #[arg(long)]
    pub(super) digest: Option<Digest>,
    /// A key of an author, by its name in the policy or by its id.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Signatures that the log recorded before this index stay valid; default: all become invalid.
    #[arg(long, requires = "key")]
    pub(super) from_index: Option<u64>,
}

#[derive(clap::Args)]
pub(super) struct Refresh {
    /// The private online key.
    #[arg(long)]
    pub(super) key: PathBuf,
    /// Hours that a proxy without contact keeps activating new filters.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) timestamp_hours: u32,
    /// Days that the list of versions is valid.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) snapshot_days: u32,
}
