//! Large bodies in both directions: without TLS, with it, and over HTTP/2.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use super::http2::h2load;
use super::mesh::{Mesh, Policies};
use super::peers::{Peers, Secured};
use super::report::{Bar, Report};
use super::turns::Contest;
use super::{Bench, wrk};

const MIB: usize = 1024 * 1024;
/// 32 bodies of 16 MiB at a time take longer than the two seconds after which wrk counts a response as lost.
const PATIENT: [&str; 2] = ["--timeout", "60s"];
const PEERS: [&str; 3] = ["envoy", "nginx", "haproxy"];

/// How a body travels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Plain,
    Tls,
    Http2,
}

/// Sends each body through each proxy in turn.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = serve()?;
    let mesh = Mesh::new(bench, &backend, Policies::Five)?;
    let certificate = mesh.certificate();
    let running = [
        ("tamis", Secured { running: mesh.gateway(bench, false)?, tls: mesh.https() }),
        ("envoy", peers.envoy_secured(bench, &backend, &certificate)?),
        ("nginx", peers.nginx_secured(bench, &backend, &certificate)?),
        ("haproxy", peers.haproxy_secured(bench, &backend, &certificate)?),
    ];
    let headers = mesh.headers()?;
    let folder = TempDir::new()?;
    for (over, name) in
        [(Over::Plain, "plain"), (Over::Tls, "TLS"), (Over::Http2, "HTTP/2 and TLS")]
    {
        for mib in [1, 16] {
            for post in [false, true] {
                let body = post.then(|| written(folder.path(), mib)).transpose()?;
                let mut contest = Contest::new();
                for (name, one) in &running {
                    let (headers, body) = (&headers, body.as_ref());
                    contest.add(*name, vec![&one.running], move |seconds| {
                        let url = url(one, over, if post { 0 } else { mib });
                        match (over, body) {
                            (Over::Http2, body) => {
                                let file = body.map(|body| body.octets.as_str());
                                let data = file.map(|file| ["-d", file]);
                                let mut more = vec!["-c4", "-m1"];
                                more.extend(data.into_iter().flatten());
                                h2load(bench, &url, headers, seconds, &more)
                            }
                            (_, Some(body)) => {
                                let more = [&PATIENT[..], &["-s", &body.script]].concat();
                                wrk::run_at(bench, &url, headers, seconds, &more)
                            }
                            (_, None) => wrk::run_at(bench, &url, headers, seconds, &PATIENT),
                        }
                    });
                }
                contest.run(bench)?;
                let kind = if post { "POST" } else { "GET" };
                let what = format!("CPU of a {kind} of {mib} MiB, {name}");
                contest.report(report, &what, "µs", |turn| turn.cpu_us);
                let best = contest.best(&PEERS, |turn| turn.cpu_us).unwrap_or_default();
                let ratio = contest.ratio("tamis", best, |turn| turn.cpu_us);
                let what = format!("{what} ÷ the best peer ({best})");
                report.ratio("P22", &what, &ratio, Bar::at_most(1.0));
            }
        }
    }
    Ok(())
}

fn url(proxy: &Secured, over: Over, mib: usize) -> String {
    match over {
        Over::Plain => format!("http://{}/{mib}", proxy.running.address),
        Over::Tls | Over::Http2 => format!("https://{}/{mib}", proxy.tls),
    }
}

/// A body on disk, and the script with which wrk sends it.
struct Body {
    octets: String,
    script: String,
}

fn written(folder: &Path, mib: usize) -> Result<Body> {
    let file = |name: String| folder.join(name).display().to_string();
    let (octets, script) = (file(format!("{mib}.body")), file(format!("{mib}.lua")));
    fs::write(&octets, vec![b'x'; mib * MIB])?;
    let text = format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {})\n", mib * MIB);
    fs::write(&script, text)?;
    Ok(Body { octets, script })
}

/// The upstream, in this program: reads every body, and answers `/N` with N MiB.
pub(super) fn serve() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // It ends with its connection.
            std::thread::spawn(move || exchanges(&stream));
        }
    });
    Ok(address)
}

/// Serves one connection; `None` when it ends.
fn exchanges(stream: &TcpStream) -> Option<()> {
    let body = vec![b'x'; 16 * MIB];
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    loop {
        let (mut length, mut chunked, mut mib) = (0_u64, false, None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if mib.is_none() {
                mib = Some(line.split(' ').nth(1)?.trim_start_matches('/').parse().unwrap_or(0));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            chunked |= line.starts_with("transfer-encoding:");
        }
        if chunked {
            skip_chunks(&mut reader)?;
        } else {
            skip(&mut reader, length)?;
        }
        let octets = body.get(..mib.unwrap_or(0) * MIB)?;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", octets.len());
        let mut stream = stream;
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(octets)).ok()?;
    }
}

fn skip(reader: &mut impl std::io::Read, length: u64) -> Option<()> {
    let copied = std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    (copied == length).then_some(())
}

fn skip_chunks(reader: &mut impl std::io::BufRead) -> Option<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = u64::from_str_radix(size.trim(), 16).ok()?;
        // With the end of its line.
        skip(reader, size + 2)?;
        if size == 0 {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_reads_bodies_and_sends_as_much_as_asked() -> Result<()> {
        let mut stream = TcpStream::connect(serve()?)?;
        for (request, length) in [
            ("GET /1 HTTP/1.1\r\n\r\n", MIB),
            ("POST /0 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", 0),
            ("POST /0 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 0),
        ] {
            stream.write_all(request.as_bytes())?;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let mut octets = vec![0; head.len() + length];
            stream.read_exact(&mut octets)?;
            assert!(octets.starts_with(head.as_bytes()), "{request}");
        }
        Ok(())
    }
}
