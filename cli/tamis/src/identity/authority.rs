//! `tamis identity authority`: the authority of a trust domain, whose root may stay on another machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Subcommand;
use serde_json::json;
use tamis_ambient::{Clock, Random};
use tamis_authority::{CertificateAuthority, RootAuthority};
use tamis_transport::{CertificateFacts, TrustDomain};

use super::text;
use crate::named_file;
use crate::output::{self, Output};
use crate::private_file;
use crate::remote::RegistryAccess;
use crate::when::{dated, now_ms};

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
const DAY: u64 = 24 * 3_600;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Arguments of `identity authority`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the authority: its trust domain, its roots and its intermediate, and the trust domains that it recognises.
    #[command(after_help = "Example:\n  tamis identity authority show")]
    Show(Show),
    /// Make a root, on the machine where its key is to stay.
    #[command(
        after_help = "The file has the certificate and the key; whoever has it can be anybody in the mesh.\n\nExample:\n  tamis identity authority init --trust-domain shop.example --out root.pem"
    )]
    Init(Init),
    /// Ask for an intermediate, on the machine of the registry: its key is made there, and never shown.
    #[command(
        after_help = "Example:\n  tamis identity authority request --data registry --trust-domain shop.example --out request.pem"
    )]
    Request(Request),
    /// Sign a request, on the machine that has the root's key.
    #[command(
        after_help = "The file has the intermediate and the root's certificate, and no key.\n\nExample:\n  tamis identity authority sign request.pem --root root.pem --days 90 --out chain.pem"
    )]
    Sign(Sign),
    /// Have members trust a new root, on the machine of the registry, before anything is signed with it.
    #[command(
        after_help = "Wait until every member has renewed its identity, an hour by default, before an intermediate of that root is installed.\n\nExample:\n  tamis identity authority trust chain.pem --data registry --trust-domain shop.example"
    )]
    Trust(Install),
    /// Take a signed intermediate, on the machine of the registry; a running registry signs with it within seconds.
    #[command(
        after_help = "Example:\n  tamis identity authority install chain.pem --data registry --trust-domain shop.example"
    )]
    Install(Install),
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    at: RegistryAccess,
}

#[derive(clap::Args)]
struct Init {
    /// The trust domain, such as shop.example. It never changes.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: TrustDomain,
    /// File for the root and its key, readable by its owner only; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct Folder {
    /// Folder of the registry.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The trust domain, such as shop.example. It never changes.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: TrustDomain,
}

impl Folder {
    fn authority(&self) -> PathBuf {
        self.data.join("authority")
    }
}

#[derive(clap::Args)]
struct Request {
    #[command(flatten)]
    of: Folder,
    /// File for the request. Default: it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Sign {
    /// The request.
    #[arg(value_name = "REQUEST")]
    request: PathBuf,
    /// The root and its key.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Days for which the intermediate is valid, at most 730.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=730), default_value_t = 90)]
    days: u64,
    /// File for the intermediate and the root's certificate. Default: they are printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Install {
    /// What `tamis identity authority sign` wrote: the intermediate, then the root's certificate.
    #[arg(value_name = "CHAIN")]
    chain: PathBuf,
    #[command(flatten)]
    of: Folder,
}

/// Runs a command about the authority.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Show(Show { at }) => show(at, output)?,
        Command::Init(arguments) => init(arguments, output)?,
        Command::Request(arguments) => request(arguments, output)?,
        Command::Sign(arguments) => sign(arguments, output)?,
        Command::Trust(arguments) => trust(arguments, output)?,
        Command::Install(arguments) => install(arguments, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(at: &RegistryAccess, output: Output) -> Result<()> {
    let now = at.remote()?.ask("reading", async |client| client.authority().await)?;
    output::result(output, &dated(&now), || text::authority(&now, now_ms()));
    Ok(())
}

fn init(arguments: &Init, output: Output) -> Result<()> {
    let Init { trust_domain, out } = arguments;
    let now = Clock::system().wall();
    let root = RootAuthority::generate(trust_domain, Random::system(), now)?;
    private_file::create(out, format!("{}{}", root.certificate(), root.key()).as_bytes())?;
    output::result(output, &json!({ "trustDomain": trust_domain.as_str(), "file": out }), || {
        format!(
            "{} has the root of {trust_domain} and its key: keep it on this machine\n",
            out.display()
        )
    });
    Ok(())
}

fn request(arguments: &Request, output: Output) -> Result<()> {
    let Request { of, out } = arguments;
    let request = CertificateAuthority::request(&of.authority(), &of.trust_domain)?;
    written(
        output,
        (&request, out.as_deref()),
        &format!("sign it where the root of {} is", of.trust_domain),
    )
}

fn sign(arguments: &Sign, output: Output) -> Result<()> {
    let Sign { request, root: place, days, out } = arguments;
    let same = |out: &Path| std::fs::canonicalize(out).ok() == std::fs::canonicalize(place).ok();
    if out.as_deref().is_some_and(|out| out.exists() && same(out)) {
        return Err(anyhow!(
            "--out {} is the file of the root, whose key would be lost: name another file",
            place.display()
        ));
    }
    let root = RootAuthority::read(place)?;
    let domain = root.domain().ok_or_else(|| {
        anyhow!("{}: the certificate names no trust domain: make a root with `tamis identity authority init`", place.display())
    })?;
    let lifetime = Duration::from_secs(days.saturating_mul(DAY));
    let terms = (lifetime, Random::system(), Clock::system().wall());
    let signed = root.sign(&read(request)?, &domain, terms);
    let signed = signed.with_context(|| request.display().to_string())?;
    let chain = format!("{signed}{}", root.certificate());
    written(output, (&chain, out.as_deref()), &format!("install it at the registry of {domain}"))
}

fn trust(arguments: &Install, output: Output) -> Result<()> {
    let Install { chain, of } = arguments;
    let (_, root) = parts(chain)?;
    let root = root.ok_or_else(|| {
        anyhow!(
            "{} has one certificate: give the file that `tamis identity authority sign` wrote",
            chain.display()
        )
    })?;
    CertificateAuthority::trust(&of.authority(), &of.trust_domain, &root, Clock::system().wall())
        .with_context(|| chain.display().to_string())?;
    output::result(output, &json!({ "trustDomain": of.trust_domain.as_str() }), || {
        "members trust this root, too, once they have renewed their identities\n".to_owned()
    });
    Ok(())
}

fn install(arguments: &Install, output: Output) -> Result<()> {
    let Install { chain, of } = arguments;
    let (certificate, root) = parts(chain)?;
    let both = (certificate.as_str(), root.as_deref());
    let (folder, now) = (of.authority(), Clock::system().wall());
    let made =
        CertificateAuthority::install(&folder, &of.trust_domain, both, Random::system(), now)
            .with_context(|| chain.display().to_string())?;
    let until_ms = made.intermediate().not_after().saturating_mul(1_000);
    let said = json!({ "trustDomain": of.trust_domain.as_str(), "intermediateUntilMs": until_ms });
    output::result(output, &dated(&said), || {
        let until = crate::when::rfc3339(until_ms);
        format!("the registry of {} signs with it, until {until}\n", of.trust_domain)
    });
    Ok(())
}

/// Writes a text that everybody may read to a file, or prints it.
fn written(output: Output, (content, out): (&str, Option<&Path>), next: &str) -> Result<()> {
    let Some(path) = out else {
        output::line(content.trim_end());
        return Ok(());
    };
    std::fs::write(path, content)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    output::result(output, &json!({ "file": path }), || format!("{}: {next}\n", path.display()));
    Ok(())
}

/// The first certificate of a file, and the second one, if there is one.
fn parts(path: &Path) -> Result<(String, Option<String>)> {
    let text = read(path)?;
    CertificateFacts::of_pem(text.as_bytes()).with_context(|| path.display().to_string())?;
    // Nothing behind a certificate is part of it, least of all a key.
    let ended = text.split(BEGIN).skip(1).filter_map(|part| part.split_once(END));
    let all: Vec<String> = ended.map(|(body, _)| format!("{BEGIN}{body}{END}\n")).collect();
    match all.as_slice() {
        [one] => Ok((one.clone(), None)),
        [one, root] => Ok((one.clone(), Some(root.clone()))),
        _ => Err(anyhow!(
            "{} has {} certificates: write the intermediate, then the root",
            path.display(),
            all.len()
        )),
    }
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read as _;
    let file =
        named_file::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(text)
}
