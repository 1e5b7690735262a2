//! Responses that `compress` has the host encode, decoded by real clients: libcurl over each version of HTTP, and zlib.

use crate::policies::attachment_of;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tamis_e2e::{Folder, eventually, free_port, get, python_environment, request};

const PACKAGES: [&str; 1] = ["curl-cffi==0.17.0"];

static ENVIRONMENT: LazyLock<PathBuf> =
    LazyLock::new(|| python_environment("compression", &PACKAGES));

/// A server of pages.
const ORIGIN: &str = include_str!("compression/origin.py");
/// Asks for URLs.
const CURL: &str = include_str!("compression/curl.py");
/// Decodes gzip as it comes: writes the number of octets that it has, after each octet that it reads.
const UNZIP: &str = "
import sys, zlib
decoder, whole = zlib.decompressobj(31), b''
for octet in iter(lambda: sys.stdin.buffer.read(1), b''):
    whole += decoder.decompress(octet)
    sys.stdout.write(chr(len(whole)))
    sys.stdout.flush()
sys.stderr.write('end' if decoder.eof else 'open')
";

/// A server of pages, ended when dropped.
struct Origin {
    process: Child,
    address: SocketAddr,
}

impl Origin {
    fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut python = Command::new(ENVIRONMENT.join("bin/python"));
        let process = python.args(["-c", ORIGIN, &address.to_string()]).spawn().unwrap();
        let origin = Self { process, address };
        eventually("the server accepts", || TcpStream::connect(address).ok());
        origin
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A gateway with the filter in front of a server, with more documents.
fn gateway(origin: &Origin, config: &str, more: &str) -> Folder {
    let folder = Folder::gateway(&[origin.address]);
    folder.edit("mesh.yaml", "protocol: HTTPS\n", "protocol: HTTPS\n      http3: { maxAge: 2h }\n");
    let filter = attachment_of("compress", "transform", 20, config);
    folder.write("policies.yaml", &format!("{filter}{more}"));
    folder.prepare();
    folder
}

/// What libcurl gets: each with a version of HTTP, codings and headers.
fn curl(folder: &Folder, asked: &[(&str, u8, &str, &[&str])]) -> Vec<Value> {
    let port = folder.https.rsplit(':').next().unwrap();
    let questions = asked.iter().map(|(path, version, codings, headers)| {
        json!([format!("https://localhost:{port}{path}"), version, codings, headers]).to_string()
    });
    let mut python = Command::new(ENVIRONMENT.join("bin/python"));
    let python = python.args(["-c", CURL]).args(questions);
    let done = python.stderr(Stdio::piped()).output().unwrap();
    let said = serde_json::from_slice::<Vec<Value>>(&done.stdout);
    said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)))
}

#[test]
fn clients_of_every_version_decode_every_coding_and_see_what_they_would_without() {
    let origin = Origin::start();
    let folder = gateway(&origin, "{}", "");
    let _gateway = folder.start(&[]);
    let plain = &curl(&folder, &[("/text", 1, "identity", &[])])[0];
    assert_eq!(plain["headers"]["content-encoding"], Value::Null, "{plain}");
    assert_eq!(plain["headers"]["vary"], "accept-encoding", "{plain}");
    assert_eq!((&plain["headers"]["etag"], &plain["sent"]), (&json!("\"a\""), &plain["length"]));
    let mut asked: Vec<(&str, u8, &str, &[&str])> = Vec::new();
    for version in [1, 2, 3] {
        asked.extend(["gzip", "br", "zstd"].map(|coding| ("/text", version, coding, &[][..])));
    }
    let answers = curl(&folder, &asked);
    for ((_, version, coding, _), answer) in asked.iter().zip(&answers) {
        assert_eq!((&answer["version"], &answer["status"]), (&json!(version), &json!(200)));
        assert_eq!(answer["headers"]["content-encoding"], *coding, "{answer}");
        assert_eq!(answer["headers"]["etag"], "W/\"a\"", "{answer}");
        assert_eq!(answer["headers"]["vary"], "accept-encoding", "{answer}");
        for absent in ["content-length", "accept-ranges"] {
            assert_eq!(answer["headers"][absent], Value::Null, "{answer}");
        }
        assert_eq!((&answer["sum"], &answer["length"]), (&plain["sum"], &plain["length"]));
        assert!(answer["sent"].as_u64() < plain["sent"].as_u64().map(|all| all / 8), "{answer}");
    }
    for coding in ["gzip", "br", "zstd"] {
        let label = format!("coding=\"{coding}\"");
        let metric = |name: &str, more: &str| folder.metric(&[name, &label, more]).unwrap();
        assert!((metric("tamis_encoded_responses_total", "") - 3.0).abs() < 0.1);
        let before = metric("tamis_encoded_bytes_total", "side=\"before\"");
        assert!(before > 8.0 * metric("tamis_encoded_bytes_total", "side=\"after\""));
    }
    // Records count what was sent.
    let sent = answers[0]["sent"].as_u64();
    folder.record("the first encoded one", |one| one["bytes_out"].as_u64() == sent);
}

#[test]
fn what_must_not_be_encoded_arrives_as_it_is() {
    let origin = Origin::start();
    let folder = gateway(&origin, "{}", "");
    let _gateway = folder.start(&[]);
    let gzip = ("accept-encoding", "gzip");
    for (path, vary) in [
        ("/part", None),
        ("/kept", None),
        ("/encoded", None),
        ("/short", None),
        ("/image", None),
        ("/empty", None),
    ] {
        let answer = request(&folder.http, "GET", path, &[gzip], b"");
        let direct = request(&origin.address.to_string(), "GET", path, &[gzip], b"");
        assert_eq!(answer.body, direct.body, "{path}");
        assert_eq!(answer.header("vary"), vary, "{path}");
        for same in ["content-length", "content-encoding", "etag", "accept-ranges"] {
            assert_eq!(answer.header(same), direct.header(same), "{path} {same}");
        }
    }
    // The head alone is that of the encoded body.
    let head = request(&folder.http, "HEAD", "/text", &[gzip], b"");
    assert_eq!((head.status, head.header("content-encoding")), (200, Some("gzip")));
    assert_eq!((head.header("content-length"), head.header("etag")), (None, Some("W/\"a\"")));
    // A client that has it learns that it is the same, with the validator that it has.
    let known = ("if-none-match", "W/\"a\"");
    let same = request(&folder.http, "GET", "/text", &[gzip, known], b"");
    assert_eq!((same.status, same.header("etag")), (304, Some("W/\"a\"")));
    let known = ("if-none-match", "\"a\"");
    let same = request(&folder.http, "GET", "/text", &[gzip, known], b"");
    assert_eq!((same.status, same.header("etag")), (304, Some("\"a\"")));
    // A page of another site learns no length.
    let other = ("sec-fetch-site", "cross-site");
    let answer = request(&folder.http, "GET", "/text", &[gzip, other], b"");
    assert_eq!(
        (answer.header("content-encoding"), answer.header("vary")),
        (None, Some("accept-encoding"))
    );
}

/// Decodes what a response of HTTP/1.1 brings.
struct Unzip {
    process: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Unzip {
    fn start() -> Self {
        let mut python = Command::new(ENVIRONMENT.join("bin/python"));
        let python = python.args(["-c", UNZIP]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.stderr(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        Self { process, input, output }
    }

    /// How many octets there are after these.
    fn push(&mut self, octets: &[u8]) -> u8 {
        let input = self.input.as_mut().unwrap();
        input.write_all(octets).unwrap();
        input.flush().unwrap();
        let mut counts = vec![0; octets.len()];
        self.output.read_exact(&mut counts).unwrap();
        *counts.last().unwrap()
    }

    /// Whether the format has ended.
    fn end(mut self) -> String {
        drop(self.input.take());
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.process.wait().unwrap();
        said
    }
}

/// Reads until the octets end with `end`.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut all, mut one) = (Vec::new(), [0]);
    while !all.ends_with(end) {
        stream.read_exact(&mut one).unwrap();
        all.push(one[0]);
    }
    all
}

/// The next chunk; empty: the last one.
fn chunk(stream: &mut TcpStream) -> Vec<u8> {
    let line = read_until(stream, b"\r\n");
    let size = str::from_utf8(&line).unwrap().trim();
    let mut data = vec![0; usize::from_str_radix(size, 16).unwrap()];
    stream.read_exact(&mut data).unwrap();
    if !data.is_empty() {
        read_until(stream, b"\r\n");
    }
    data
}

#[test]
fn a_slow_response_arrives_part_by_part_with_its_trailers() {
    let origin = Origin::start();
    let folder = gateway(&origin, "{}", "");
    let _gateway = folder.start(&[]);
    let mut stream = TcpStream::connect(&folder.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = "GET /slow HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\nte: trailers\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut unzip = Unzip::start();
    for wanted in ["one ".len(), "one two ".len(), "one two three".len()] {
        let mut there = 0;
        // The server sends no more before it is asked to: what it sent has to be here.
        while usize::from(there) < wanted {
            let data = chunk(&mut stream);
            assert!(!data.is_empty());
            there = unzip.push(&data);
        }
        assert_eq!(usize::from(there), wanted);
        assert_eq!(get(&origin.address.to_string(), "/go").status, 200);
    }
    loop {
        let data = chunk(&mut stream);
        if data.is_empty() {
            break;
        }
        unzip.push(&data);
    }
    assert_eq!(unzip.end(), "end");
    let trailers = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
    assert_eq!(trailers, "x-sum: 13\r\n\r\n", "a digest of other octets does not pass");
}

#[test]
fn without_its_grant_the_filter_does_not_run() {
    let origin = Origin::start();
    let folder = gateway(&origin, "{}", "");
    folder.edit("policies.yaml", "[etag, vary, \":coding\"]", "[etag, vary]");
    let said = tamis_e2e::tamis(folder.path(), &["check"]);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(text.contains(":coding") && text.contains("response.writeHeaders"), "{text}");
}
