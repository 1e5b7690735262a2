//! The corpus of http-desync-guardian: raw requests, each with a classification.
//!
//! Every request is sent through the gateway to a backend that only listens. A *severe* one must never
//! arrive. An *ambiguous* one must be refused, or both connections must close after it. A *compliant* one
//! must arrive. The corpus comes from the crate's own package; it is not in this repository.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Outcome;
use super::gateway::{Gateway, Way, exchange};
use tamis_harness::Workspace;
use tamis_harness::shell;

const VERSION: &str = "0.1.3";

#[derive(Deserialize)]
struct Case {
    name: String,
    uri: Option<String>,
    method: Option<String>,
    version: Option<String>,
    #[serde(default)]
    headers: Option<Vec<Field>>,
    expected: ExpectedTier,
}

#[derive(Deserialize)]
struct Field {
    name: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct ExpectedTier {
    tier: String,
}

/// A kind of compliant request that this gateway refuses all the same.
struct RefusedKind {
    kind: &'static str,
    /// The status it must be refused with.
    status: &'static str,
    /// The words that the gateway goes by.
    words: &'static str,
}

const REFUSED: [RefusedKind; 5] = [
    RefusedKind {
        kind: "coding",
        status: "501",
        words: "RFC 9112 §6.1: \"A server that receives a request message with a transfer coding it does not understand SHOULD \
                respond with 501 (Not Implemented).\" Only `chunked` is understood: no filter can see what another coding hides.",
    },
    RefusedKind {
        kind: "parameter",
        status: "400",
        words: "RFC 9112 §7.1: \"The chunked coding does not define any parameters. Their presence SHOULD be treated as an error.\"",
    },
    RefusedKind {
        kind: "empty",
        status: "400",
        words: "RFC 9112 §3.2.1: \"If the target URI's path component is empty, the client MUST send \"/\" as the path within \
                the origin-form of request-target.\"",
    },
    RefusedKind {
        kind: "fragment",
        status: "400",
        words: "RFC 9110 §7.1: \"The target URI excludes the reference's fragment component, if any, since fragment \
                identifiers are reserved for client-side processing\"; RFC 9112 §3.2: \"Recipients of an invalid request-line \
                SHOULD respond with either a 400 (Bad Request) error or a 301 (Moved Permanently) redirect\".",
    },
    RefusedKind {
        kind: "octets",
        status: "400",
        words: "RFC 3986 §2: \"A URI is composed from a limited set of characters consisting of digits, letters, and a few \
                graphic symbols\" of US-ASCII; RFC 9112 §3.2: \"Recipients of an invalid request-line SHOULD respond with \
                either a 400 (Bad Request) error or a 301 (Moved Permanently) redirect\".",
    },
];

pub(super) fn run() -> Result<Vec<Outcome>> {
    let cases = corpus()?;
    let arrived = Arc::new(Mutex::new(Vec::<String>::new()));
    let backend = listen(Arc::clone(&arrived))?;
    let gateway = Gateway::start(&backend, Way::Http1)?;
    let mut counts = std::collections::BTreeMap::<String, [u32; 3]>::new();
    let mut misses = Vec::new();
    let mut explained = 0;
    for (number, case) in cases.iter().enumerate() {
        let mark = format!("x-case-{number}");
        let reply = exchange(&gateway.http, &request(case, &mark));
        let text = String::from_utf8_lossy(&reply).into_owned();
        let forwarded = {
            let arrived = arrived.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            arrived.iter().any(|request| request.contains(&mark))
        };
        let status = text.split(' ').nth(1).unwrap_or("none").to_owned();
        let closed = text.to_ascii_lowercase().contains("connection: close");
        let count = counts.entry(case.expected.tier.clone()).or_default();
        let [all, through, missed] = count;
        *all += 1;
        *through += u32::from(forwarded);
        let miss = match case.expected.tier.as_str() {
            "Severe" => forwarded,
            "Ambiguous" => forwarded && !closed,
            "Compliant" => !forwarded,
            _ => false,
        };
        if miss {
            let why = why(case, &status);
            if case.expected.tier == "Compliant" && why.is_some() {
                explained += 1;
            }
            *missed += 1;
            misses.push(json!({
                "name": case.name, "tier": case.expected.tier, "forwarded": forwarded,
                "status": status, "why": why,
            }));
        }
    }
    let unexplained = misses.len() - explained;
    let tiers: Vec<String> = counts
        .iter()
        .map(|(tier, [all, through, _])| format!("{tier} {through}/{all} forwarded"))
        .collect();
    Ok(vec![Outcome {
        name: "desync",
        said: format!(
            "{}; {explained} compliant refused in the words of an RFC, {unexplained} misses",
            tiers.join(", ")
        ),
        passed: unexplained == 0,
        details: json!({ "version": VERSION, "tiers": counts, "misses": Value::Array(misses) }),
    }])
}

/// The words behind the refusal of a compliant request with this status.
fn why(case: &Case, status: &str) -> Option<&'static str> {
    let fields = case.headers.as_deref().unwrap_or_default();
    let codings = fields.iter().filter(|field| {
        let name = field.name.as_deref().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("transfer-encoding")
    });
    let codings = codings.flat_map(|field| field.value.as_deref().unwrap_or_default().split(','));
    let codings: Vec<(bool, bool)> = codings
        .map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            (name.trim().eq_ignore_ascii_case("chunked"), !parameters.is_empty())
        })
        .collect();
    let uri = case.uri.as_deref().unwrap_or_default();
    let kind = match () {
        () if codings.contains(&(true, true)) => "parameter",
        () if codings.iter().any(|(chunked, _)| !chunked) => "coding",
        () if uri.is_empty() => "empty",
        () if !uri.is_ascii() => "octets",
        () if uri.contains('#') => "fragment",
        () => return None,
    };
    let refused = REFUSED.iter().find(|refused| refused.kind == kind && refused.status == status);
    refused.map(|refused| refused.words)
}

/// The raw request, with a host and a mark of its own.
fn request(case: &Case, mark: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let word = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    octets.extend(word(&case.method));
    octets.push(b' ');
    octets.extend(word(&case.uri));
    octets.push(b' ');
    octets.extend(word(&case.version));
    octets.extend(b"\r\n");
    let fields = case.headers.as_deref().unwrap_or_default();
    let mut host = false;
    let mut chunked = false;
    let mut length = 0;
    for field in fields {
        let name = field.name.as_deref().unwrap_or_default();
        let value = field.value.as_deref().unwrap_or_default();
        host |= name.trim().eq_ignore_ascii_case("host");
        chunked |= name.trim().eq_ignore_ascii_case("transfer-encoding");
        if name.trim().eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0).min(4096);
        }
        octets.extend(name.as_bytes());
        octets.extend(b": ");
        octets.extend(value.as_bytes());
        octets.extend(b"\r\n");
    }
    if !host {
        octets.extend(b"Host: test.example\r\n");
    }
    octets.extend(format!("{mark}: 1\r\n\r\n").as_bytes());
    if chunked {
        octets.extend(b"0\r\n\r\n");
    } else {
        octets.extend(std::iter::repeat_n(b'x', length));
    }
    octets
}

/// A backend that keeps every head it gets and answers 200.
fn listen(arrived: Arc<Mutex<Vec<String>>>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let arrived = Arc::clone(&arrived);
            std::thread::spawn(move || {
                let (mut seen, mut octets) = (Vec::new(), [0; 4096]);
                // A connection that says nothing more has ended.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                while let Ok(length @ 1..) = stream.read(&mut octets) {
                    seen.extend_from_slice(octets.get(..length).unwrap_or_default());
                    if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(seen.get(..end).unwrap_or_default())
                            .into_owned();
                        let mut all =
                            arrived.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        all.push(head.to_ascii_lowercase());
                        drop(all);
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                        let _ = stream.write_all(answer);
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Every case of the corpus, from the sources that cargo unpacks.
fn corpus() -> Result<Vec<Case>> {
    let folder = Workspace::load()?.target_directory.join("tools/desync");
    std::fs::create_dir_all(folder.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"corpus\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\nhttp_desync_guardian = \"={VERSION}\"\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest)?;
    std::fs::write(folder.join("src/lib.rs"), "")?;
    let mut metadata = shell::cargo();
    metadata.args(["metadata", "--format-version", "1", "--quiet"]).current_dir(&folder);
    let metadata: Value = serde_json::from_str(&shell::read(&mut metadata)?)?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("no packages")?;
    let package = packages
        .iter()
        .find(|package| package.get("name").and_then(Value::as_str) == Some("http_desync_guardian"))
        .and_then(|package| package.get("manifest_path")?.as_str().map(PathBuf::from))
        .context("cargo did not unpack the corpus")?;
    let mut cases = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(package.with_file_name("tests"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let some: Vec<Case> = serde_norway::from_str(&text)
            .with_context(|| format!("{} is no list of cases", file.display()))?;
        cases.extend(some);
    }
    Ok(cases)
}
