//! `tamis registry`: runs a registry in the foreground, and manages its tokens.

use crate::ending::EndSignal;
use crate::named_file;
use crate::output::{self, Output};
use crate::registry_engine::RegistryEngine;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tamis_oci::{AnonymousRights, Limits, Versions};
use tamis_server::{AssignmentTerms, ControlSettings, Guards};
use tamis_server::{
    MeshOptions, MissingKeyRule, Registry, RegistryOptions, SVID_LIFETIME, SVID_LIFETIME_MAX,
    SVID_LIFETIME_MIN, Storage, TlsFiles,
};
use tamis_transport::{Address, TrustDomain};

mod token;

/// Arguments of `registry`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Make, list, rotate and revoke the tokens of a registry.
    #[command(
        after_help = "Example:\n  tamis registry token create ci --repository 'acme/*' --verb pull --verb push"
    )]
    Token(token::Arguments),
}

/// The folder of a registry by default.
const DATA: &str = ".tamis/registry";

/// What a restored registry cannot know.
const RESTORED: &str = "what was revoked after the backup is trusted again: revoke such tokens, filters, keys and identities \
                        again; if nobody knows which, rotate all tokens (docs/how-to/restore.md)";

/// Where a registry stores everything.
#[derive(clap::Args)]
struct StorageOptions {
    /// Folder for the journal, the blobs and the admin token. Default: .tamis/registry.
    #[arg(long)]
    data: Option<PathBuf>,
    /// PostgreSQL database for the journal, instead of the folder; replicas may share it.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Object store for the blobs, instead of the folder: s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    blobs: Option<String>,
    /// File with the options of the object store, one NAME=VALUE per line, such as aws_region=eu-west-1.
    #[arg(long, value_name = "FILE", requires = "blobs")]
    blobs_options: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Serve {
    #[command(flatten)]
    kept: StorageOptions,
    /// Address to listen on; one that other machines can reach requires a certificate. A unix socket
    /// (unix:/absolute/path) is for the user of the registry and for root.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: Address,
    /// Host name that clear-text requests may carry, in addition to the address, loopback addresses and
    /// localhost; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Certificate chain in PEM, leaf first.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// Key of the certificate in PEM.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// Address that proxies connect to, with mTLS; without it no proxy can connect. It needs
    /// --trust-domain, or a certificate, its key and the proxies' authority as files.
    #[arg(long, value_name = "ADDRESS")]
    proxies: Option<Address>,
    /// Trust domain, such as shop.example: the registry is its authority, signs the identities of proxies
    /// and proves its own. Its root and intermediate are made at the first start, in the folder.
    #[arg(long, value_name = "DOMAIN", requires = "proxies")]
    trust_domain: Option<TrustDomain>,
    /// HOST:PORT at which proxies reach the registry, written into join files; several, separated by commas,
    /// are tried in turn. Default: the address of --proxies.
    #[arg(long, value_name = "ADDRESSES", requires = "trust_domain")]
    proxies_advertise: Option<String>,
    /// Seconds for which the identities of proxies are valid.
    #[arg(long, default_value_t = SVID_LIFETIME.as_secs(), value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(SVID_LIFETIME_MIN.as_secs()..=SVID_LIFETIME_MAX.as_secs()))]
    identity_seconds: u64,
    /// Certificate chain shown to proxies, in PEM, leaf first.
    #[arg(long, value_name = "FILE", requires = "proxies", conflicts_with = "trust_domain")]
    proxies_certificate: Option<PathBuf>,
    /// Key of that certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "proxies", conflicts_with = "trust_domain")]
    proxies_key: Option<PathBuf>,
    /// Authority of the proxies' certificates, in PEM. With --trust-domain: of proxies that still have
    /// certificate files.
    #[arg(long, value_name = "FILE", requires = "proxies")]
    proxies_ca: Option<PathBuf>,
    /// People other than the one who asks who must approve a change.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    approvals: usize,
    /// People other than the one who asks who must approve a filter, a Grant or a TrustPolicy that allows
    /// filters to do more than the previous one, a Service that lets in callers without an identity (`mtls:
    /// permissive`, or `outbound` at every address of a machine), and another trust domain or authority that is recognised.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    growth_approvals: usize,
    /// Namespace for grants and trust policies: whoever has the verb operate on all of it decides what
    /// filters may do; may be repeated.
    #[arg(long, default_value = "security", value_name = "NAMESPACE")]
    security: Vec<String>,
    /// Percent of the services that one change may touch without confirmation; two services are always
    /// allowed.
    #[arg(long, default_value_t = 25, value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    blast_radius: u8,
    /// Hours that assignments are valid; they are renewed after half of that time. A proxy can start
    /// without the registry for that long.
    #[arg(long, default_value_t = 168, value_name = "HOURS",
        value_parser = clap::value_parser!(u64).range(1..=8_760))]
    assignment_hours: u64,
    /// Folder of signed policy metadata, as `tamis policy` writes it; its policies replace TrustPolicy
    /// documents.
    #[arg(long, value_name = "FOLDER", requires = "policy_root")]
    policy: Option<PathBuf>,
    /// Root from which the policy metadata is trusted.
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_root: Option<PathBuf>,
    /// Name of the transparency log, used when the log is created.
    #[arg(long, default_value = "tamis-registry", value_name = "NAME")]
    log_origin: String,
    /// The keys of the director and the log are lost: make new ones, and assign everything again. Proxies
    /// then need the new director.json.
    #[arg(long)]
    make_new_keys: bool,
    /// The journal was restored from a backup: assign everything again, with higher versions than proxies
    /// have seen.
    #[arg(long)]
    restored: bool,
    /// Rights of callers without a token, in every repository.
    #[arg(long, value_enum, default_value_t = AnonymousVerbs::None)]
    anonymous: AnonymousVerbs,
    /// Allow tags that name versions, such as 1.2.3, to move.
    #[arg(long)]
    mutable_tags: bool,
    /// Largest blob in bytes.
    #[arg(long, default_value_t = Limits::default().max_blob_bytes)]
    max_blob_bytes: u64,
    /// Largest manifest in bytes, at least 4 MiB.
    #[arg(long, default_value_t = Limits::default().max_manifest_bytes,
        value_parser = clap::value_parser!(u64).range(4_194_304..=67_108_864))]
    max_manifest_bytes: u64,
    /// Most manifests that may refer to one subject.
    #[arg(long, default_value_t = Limits::default().max_referrers)]
    max_referrers: usize,
    /// Hours for which blobs without a manifest are kept; longer than a push takes.
    #[arg(long, default_value_t = 24)]
    grace_hours: u64,
    /// Seconds that connections have to end.
    #[arg(long, default_value_t = 10)]
    drain_seconds: u64,
}

/// Rights of callers without a token.
#[derive(Clone, Copy, clap::ValueEnum)]
enum AnonymousVerbs {
    /// Nothing.
    None,
    /// Pull.
    Pull,
    /// Pull and push.
    Push,
}

impl StorageOptions {
    /// Whether an argument names the place.
    fn is_named(&self) -> bool {
        self.data.is_some() || self.database_url.is_some() || self.blobs.is_some()
    }

    fn folder(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(DATA))
    }

    fn storage(&self) -> Result<Storage> {
        let objects = match &self.blobs {
            None => None,
            Some(url) => Some((url.clone(), self.options()?)),
        };
        Ok(Storage::folder(self.folder())
            .with_database(self.database_url.clone())
            .with_objects(objects))
    }

    /// Options come from a file, since everybody on the machine can read command lines.
    fn options(&self) -> Result<Vec<(String, String)>> {
        let Some(path) = &self.blobs_options else { return Ok(Vec::new()) };
        let text =
            named_file::text(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut options = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                bail!("{}:{}: write the option as NAME=VALUE", path.display(), index + 1);
            };
            options.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(options)
    }
}

impl Serve {
    /// The address and the files for proxies that have files.
    fn proxies(&self) -> Result<Option<(Address, TlsFiles)>> {
        let Some(listen) = self.proxies.as_ref().filter(|_| self.trust_domain.is_none()) else {
            return Ok(None);
        };
        match (&self.proxies_certificate, &self.proxies_key, &self.proxies_ca) {
            (Some(certificate), Some(key), Some(ca)) => {
                let (certificate, key) = (certificate.clone(), key.clone());
                let client_ca = Some(ca.clone());
                Ok(Some((listen.clone(), TlsFiles { certificate, key, client_ca })))
            }
            _ => bail!(
                "proxies connect with mTLS: give --trust-domain, so that the registry signs their identities, or --proxies-certificate, --proxies-key and --proxies-ca"
            ),
        }
    }

    /// The trust domain whose authority the registry is.
    fn mesh(&self) -> Option<MeshOptions> {
        let (Some(domain), Some(listen)) = (&self.trust_domain, &self.proxies) else { return None };
        Some(MeshOptions {
            advertised: self.proxies_advertise.clone(),
            client_ca: self.proxies_ca.clone(),
            lifetime: Duration::from_secs(self.identity_seconds),
            ..MeshOptions::new(domain.clone(), listen.clone())
        })
    }

    fn policy(&self) -> Result<Option<(PathBuf, Vec<u8>)>> {
        let (Some(folder), Some(root)) = (&self.policy, &self.policy_root) else { return Ok(None) };
        let bytes = named_file::octets(root)
            .with_context(|| format!("the root {} cannot be read", root.display()))?;
        Ok(Some((folder.clone(), bytes)))
    }

    fn rules(&self) -> ControlSettings {
        let lifetime = self.assignment_hours.saturating_mul(3_600);
        ControlSettings {
            guards: Guards {
                approvals: self.approvals,
                blast_radius_percent: self.blast_radius,
                ..Guards::default()
            },
            growth_approvals: self.growth_approvals,
            security: self.security.clone(),
            terms: AssignmentTerms { lifetime, renew: lifetime / 2 },
        }
    }
}

impl Serve {
    /// The options of the registry.
    ///
    /// # Errors
    /// A file or the store that an argument names cannot be used.
    fn options(&self) -> Result<RegistryOptions> {
        let tls = self.certificate.clone().zip(self.key.clone());
        let tls = tls.map(|(certificate, key)| TlsFiles { certificate, key, client_ca: None });
        let lost_keys =
            if self.make_new_keys { MissingKeyRule::MakeNew } else { MissingKeyRule::Refuse };
        Ok(RegistryOptions {
            tls,
            hosts: self.host.clone(),
            proxies: self.proxies()?,
            mesh: self.mesh(),
            rules: self.rules(),
            policy: self.policy()?,
            log_origin: self.log_origin.clone(),
            lost_keys,
            restored: self.restored,
            limits: self.limits(),
            grace: Duration::from_secs(self.grace_hours.saturating_mul(3_600)),
            drain: Duration::from_secs(self.drain_seconds),
            ..RegistryOptions::new(
                self.kept.storage()?,
                self.listen.clone(),
                Arc::new(RegistryEngine),
            )
        })
    }

    fn limits(&self) -> Limits {
        let anonymous = match self.anonymous {
            AnonymousVerbs::None => AnonymousRights::None,
            AnonymousVerbs::Pull => AnonymousRights::Pull,
            AnonymousVerbs::Push => AnonymousRights::Push,
        };
        let versions = if self.mutable_tags { Versions::Mutable } else { Versions::Immutable };
        Limits {
            max_blob_bytes: self.max_blob_bytes,
            max_manifest_bytes: self.max_manifest_bytes,
            max_referrers: self.max_referrers,
            versions,
            anonymous,
            ..Limits::default()
        }
    }
}

/// Runs the registry until it receives a signal to end, or runs a command about tokens.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        None => serve(&arguments.serve, output),
        Some(Command::Token(arguments)) => token::run(arguments, output),
    }
}

fn serve(arguments: &Serve, output: Output) -> Result<ExitCode> {
    // The journal contains configurations, and those contain secrets.
    let data = arguments.kept.folder();
    let closed = || {
        tamis_private::folder(data)
            .and_then(|()| tamis_private::narrow(data))
            .with_context(|| format!("{} cannot be made private to its owner", data.display()))
    };
    closed()?;
    let options = arguments.options()?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let busy = output::busy("opening the registry");
    let registry = Registry::start(options)?;
    drop(busy);
    closed()?;
    let ending = EndSignal::new()?;
    let (address, token) = (registry.address().to_string(), registry.admin_token());
    if let Some(token) = token {
        output::note(&format!("the admin token is in {}", token.display()));
    }
    if arguments.restored {
        output::note(RESTORED);
    }
    let proxies = registry.proxies_address().map(ToString::to_string);
    let ready = json!({
        "event": "ready", "address": address, "scheme": scheme, "adminToken": token,
        "proxies": proxies, "directorKeys": registry.director_document(), "logKey": registry.log_key(),
    });
    output::event(output, &ready, || {
        let proxies = proxies.as_ref().map(|it| format!(", proxies connect to {it}"));
        format!("the registry serves {scheme}://{address}{}", proxies.unwrap_or_default())
    });
    while !ending.within(Duration::from_millis(50)) {
        if registry.has_ended() {
            bail!("the registry ended unexpectedly; see its log");
        }
    }
    registry.stop();
    Ok(ExitCode::SUCCESS)
}
