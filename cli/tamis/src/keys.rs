//! `tamis keys`: signing keys, and certificates for machines of one's own.

use crate::certificates;
use crate::named_file;
use crate::output::{self, Output};
use crate::private_file;
use anyhow::{Context as _, Result, bail};
use rcgen::SanType;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_transport::{CertificateFacts, SpiffeId};
use tamis_trust::{PrivateKey, PublicKey};

mod replace;

/// Arguments of `keys`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make an ECDSA P-256 key pair: NAME.key (keep it secret) and NAME.pub.
    #[command(after_help = "Example:\n  tamis keys generate release")]
    Generate {
        /// Path of the files without their endings.
        name: PathBuf,
    },
    /// Make a certificate for mTLS, for 90 days: NAME.crt and NAME.key (keep it secret).
    #[command(
        after_help = "Example:\n  tamis keys certificate registry --authority ca.crt --id spiffe://shop.example/registry --host 127.0.0.1"
    )]
    Certificate(Certificate),
    /// Put a new signing key in the place of one that was lost or stolen: signs what was in force before that again, lists the
    /// rest, checks that nothing depends on the old key, and revokes it. What is done already is left alone: after a
    /// step that needs you, run it again.
    #[command(
        after_help = "Example:\n  tamis keys replace release --with release-2.key --stolen-since 2027-01-31 --reason 'laptop stolen'"
    )]
    Replace(replace::Arguments),
}

/// Arguments of `certificate`.
#[derive(clap::Args)]
struct Certificate {
    /// Path of the files without their endings.
    name: PathBuf,
    /// Certificate of the authority; its key has the same path with the ending .key. Both are made when
    /// they do not exist.
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// SPIFFE id.
    #[arg(long)]
    id: Option<SpiffeId>,
    /// DNS name or IP address that the certificate is for; may be repeated.
    #[arg(long)]
    host: Vec<String>,
    /// Replace an existing certificate and key, for the same names unless others are given. Proxies load
    /// the new pair within seconds.
    #[arg(long)]
    renew: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let name = match &arguments.command {
        Command::Generate { name } => name,
        Command::Certificate(arguments) => return certificate(arguments, output),
        Command::Replace(arguments) => return replace::run(arguments, output),
    };
    let pair = generate(name)?;
    let value = json!({ "key": pair.key, "public": pair.public, "id": pair.id });
    output::result(output, &value, || {
        let (key, public) = (pair.key.display(), pair.public.display());
        format!("{key}  signs; keep it secret\n{public}  verifies; id {}", pair.id)
    });
    Ok(ExitCode::SUCCESS)
}

fn certificate(arguments: &Certificate, output: Output) -> Result<ExitCode> {
    let Certificate { name, authority, id, host, renew } = arguments;
    let (certificate, key) =
        (private_file::with_ending(name, ".crt"), private_file::with_ending(name, ".key"));
    if *renew {
        return renewed(arguments, &certificate, &key, output);
    }
    if certificate.exists() || key.exists() {
        bail!(
            "{} or its .key exists already, and a key is never overwritten; renew it with --renew, or choose another name",
            certificate.display()
        );
    }
    let names = names(id.as_ref(), host)?;
    if names.is_empty() {
        bail!("a certificate needs a name: give --id, --host, or both");
    }
    let made = !authority.exists();
    if made {
        certificates::make_authority(authority)?;
    }
    issue(arguments, &certificate, &key, names, made, output)
}

/// Replaces a pair by a new one, for the same names unless others are given.
fn renewed(
    arguments: &Certificate,
    certificate: &Path,
    key: &Path,
    output: Output,
) -> Result<ExitCode> {
    let before = CertificateFacts::read(certificate)
        .context("there is no certificate to renew; leave --renew out to make one")?;
    let mut names = names(arguments.id.as_ref(), &arguments.host)?;
    if names.is_empty() {
        for name in &before.names {
            names.push(match name.contains("://") {
                true => SanType::URI(name.as_str().try_into()?),
                false => host(name)?,
            });
        }
    }
    issue(arguments, certificate, key, names, false, output)
}

fn host(name: &str) -> Result<SanType> {
    Ok(match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().context("--host")?),
    })
}

fn names(id: Option<&SpiffeId>, hosts: &[String]) -> Result<Vec<SanType>> {
    let mut names = Vec::new();
    if let Some(id) = id {
        let id = id.to_string();
        names.push(SanType::URI(id.as_str().try_into().context("--id")?));
    }
    for name in hosts {
        names.push(host(name)?);
    }
    Ok(names)
}

fn issue(
    arguments: &Certificate,
    certificate: &Path,
    key: &Path,
    names: Vec<SanType>,
    made: bool,
    output: Output,
) -> Result<ExitCode> {
    let authority = &arguments.authority;
    let issuer = certificates::authority(authority)?;
    let common_name = arguments.name.file_name().unwrap_or_default().to_string_lossy();
    certificates::issue(&issuer, certificate, key, names, &common_name)?;
    let days = certificates::DAYS;
    let value = json!({
        "certificate": certificate, "key": key, "authority": authority, "authorityMade": made, "days": days,
    });
    output::result(output, &value, || {
        let by = if made { " (made now; keep its .key secret)" } else { "" };
        format!(
            "{}  for {days} days, by {}{by}\n{}  keep it secret",
            certificate.display(),
            authority.display(),
            key.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// A key pair on disk.
pub(crate) struct KeyPairFiles {
    pub(crate) key: PathBuf,
    pub(crate) public: PathBuf,
    pub(crate) id: String,
}

/// Makes a pair of files; never overwrites one.
pub(crate) fn generate(name: &Path) -> Result<KeyPairFiles> {
    let (key, public) =
        (private_file::with_ending(name, ".key"), private_file::with_ending(name, ".pub"));
    if key.exists() || public.exists() {
        bail!(
            "{} or its .pub exists already, and a key is never overwritten; choose another name",
            key.display()
        );
    }
    let made = PrivateKey::generate()?;
    private_file::create(&key, made.to_pem()?.as_bytes())?;
    tamis_private::put_readable(&public, made.public_key().to_pem().as_bytes())
        .with_context(|| format!("{} cannot be written", public.display()))?;
    Ok(KeyPairFiles { key, public, id: made.public_key().id().to_string() })
}

/// Reads a private key.
pub(crate) fn read_private(path: &Path) -> Result<PrivateKey> {
    let text = named_file::text(path)
        .with_context(|| format!("the key {} cannot be read", path.display()))?;
    PrivateKey::from_pem(&text).with_context(|| format!("{} is not a private key", path.display()))
}

/// Reads a public key.
pub(crate) fn read_public(path: &Path) -> Result<PublicKey> {
    let text = named_file::text(path)
        .with_context(|| format!("the key {} cannot be read", path.display()))?;
    PublicKey::from_pem(&text).with_context(|| format!("{} is not a public key", path.display()))
}

#[cfg(test)]
mod tests;
