//! Uploads that pass through one instance of a filter at the same time.

use super::limits::RecordBuffer;
use super::live::LiveProxy;
use super::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::Duration;
use tamis_observe::{AccessLog, Recorder};

const PATIENCE: Duration = Duration::from_secs(20);

/// Reads uploads to their end and answers then; reports every piece of a body with the path that it is sent to.
fn upstream() -> (SocketAddr, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (send, received)) = (listener.local_addr().unwrap(), mpsc::channel());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let send = send.clone();
            std::thread::spawn(move || one(stream, &send));
        }
    });
    (address, received)
}

fn one(mut stream: TcpStream, send: &mpsc::Sender<(String, String)>) {
    let (mut text, mut octets, mut told) = (String::new(), [0; 1024], 0);
    while let Ok(length @ 1..) = stream.read(&mut octets) {
        text.push_str(std::str::from_utf8(&octets[..length]).unwrap());
        let Some(start) = text.find("\r\n\r\n").map(|at| at + 4) else { continue };
        let path = text.split(' ').nth(1).unwrap().to_owned();
        if send.send((path, text[start.max(told)..].to_owned())).is_err() {
            return;
        }
        told = text.len();
        if text.ends_with("0\r\n\r\n") {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // The proxy may be gone by then.
            let _ = stream.write_all(answer.as_bytes());
            return;
        }
    }
}

/// An upload in progress.
struct Upload<'a> {
    stream: TcpStream,
    path: &'static str,
    arrived: &'a mpsc::Receiver<(String, String)>,
}

impl<'a> Upload<'a> {
    fn begin(
        live: &LiveProxy,
        path: &'static str,
        arrived: &'a mpsc::Receiver<(String, String)>,
    ) -> Self {
        let mut stream = live.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "host: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
        Self { stream, path, arrived }
    }

    fn send(&mut self, octets: &str) {
        let chunk = format!("{:x}\r\n{octets}\r\n", octets.len());
        self.stream.write_all(chunk.as_bytes()).unwrap();
    }

    /// Sends a chunk and waits until the upstream has it.
    fn passes(&mut self, octets: &str) {
        self.send(octets);
        loop {
            let (path, some) = self.arrived.recv_timeout(PATIENCE).unwrap();
            if path == self.path && some.contains(octets) {
                return;
            }
        }
    }

    /// Status and reason of the response.
    fn response(&mut self) -> (u16, String) {
        let mut octets = Vec::new();
        // It may end in a reset: the upload was not read to its end.
        let _ = self.stream.read_to_end(&mut octets);
        let text = String::from_utf8_lossy(&octets).into_owned();
        let status = text.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
        let reason = text.lines().find_map(|line| line.strip_prefix("x-tamis-reason: "));
        (status, reason.unwrap_or_default().to_owned())
    }
}

fn live(failure: OnFailure, upstream: SocketAddr, written: &RecordBuffer) -> LiveProxy {
    let judge = attached(&json!({ "trap_on_chunk": "bad" }), None, failure);
    let judge = Attachment { name: "test/judge".into(), ..judge };
    let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
    let recorder = Recorder::to(AccessLog::All, written.clone()).unwrap();
    // One worker, so that all uploads pass through one instance.
    let workers = NonZeroUsize::new(1);
    let options = ProxyOptions { workers, recorder, ..ProxyOptions::default() };
    LiveProxy::before(upstream, vec![judge, router], options)
}

#[test]
fn a_fault_on_one_upload_is_no_fault_of_the_client_of_another() {
    // What others do next, after the fault of the first: one more piece, or the end.
    for next in ["more", ""] {
        let (upstream, arrived) = upstream();
        let written = RecordBuffer::default();
        let live = live(OnFailure::Closed, upstream, &written);
        let mut guilty = Upload::begin(&live, "/guilty", &arrived);
        let mut others = ["/one", "/two"].map(|path| Upload::begin(&live, path, &arrived));
        guilty.passes("good");
        others.iter_mut().for_each(|other| other.passes("good"));
        guilty.send("bad");
        assert_eq!(guilty.response(), (503, "filter.failed".to_owned()), "{next:?}");
        for other in &mut others {
            match next {
                "" => other.stream.write_all(b"0\r\n\r\n").unwrap(),
                next => other.send(next),
            }
            let (status, reason) = other.response();
            // Passed, if the filter judges each piece by itself; never blamed on the client.
            assert_eq!((status, reason.as_str()), (503, "filter.failed"), "{next:?}");
        }
        let records = live.until(|_| written.lines(), |records| records.len() == 3);
        let line = |path: &str| {
            let record = records.iter().find(|record| record["path"] == path).unwrap();
            let [reason, filter, detail] = ["reason", "filter", "detail"]
                .map(|name| record[name].as_str().unwrap_or_default().to_owned());
            format!("{path}: {reason}, {filter}\n  {detail}\n")
        };
        let said: String = ["/guilty", "/one", "/two"].map(line).concat();
        assert_eq!(said, include_str!("uploads/fault.txt"), "{next:?}");
        // Those that begin afterwards pass, once there is an instance again.
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let mut later = Upload::begin(&live, "/later", &arrived);
            later.send("good");
            later.stream.write_all(b"0\r\n\r\n").unwrap();
            match later.response() {
                (200, _) => break,
                (503, reason) if reason == "filter.failed" => {}
                other => panic!("{other:?}"),
            }
            assert!(std::time::Instant::now() < until);
        }
    }
}

#[test]
fn what_fails_open_ends_no_upload() {
    let (upstream, arrived) = upstream();
    let live = live(OnFailure::Open, upstream, &RecordBuffer::default());
    let mut uploads = ["/one", "/two"].map(|path| Upload::begin(&live, path, &arrived));
    uploads.iter_mut().for_each(|upload| upload.passes("good"));
    uploads[0].passes("bad");
    for upload in &mut uploads {
        upload.stream.write_all(b"0\r\n\r\n").unwrap();
        assert_eq!(upload.response().0, 200, "{}", upload.path);
    }
}

#[test]
fn a_filter_that_is_not_trusted_any_more_judges_no_upload_that_it_judged_before() {
    for (failure, expected) in
        [(OnFailure::Closed, (503, "filter.failed")), (OnFailure::Open, (200, ""))]
    {
        let (upstream, arrived) = upstream();
        let judge = attached(&json!({ "body": "capitals" }), None, failure);
        let SlotOccupant::Running(filter) = &judge.occupant else { panic!("it runs") };
        let filter = filter.clone();
        let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
        let options = ProxyOptions { workers: NonZeroUsize::new(1), ..ProxyOptions::default() };
        let live = LiveProxy::before(upstream, vec![judge, router], options);
        let mut upload = Upload::begin(&live, "/one", &arrived);
        upload.send("good");
        loop {
            let (_, some) = arrived.recv_timeout(PATIENCE).unwrap();
            if some.contains("GOOD") {
                break;
            }
        }
        filter.end();
        match failure {
            OnFailure::Closed => upload.send("more"),
            OnFailure::Open | OnFailure::SkipAndAlert => upload.passes("more"),
        }
        // What was sent may be read no more.
        let _ = upload.stream.write_all(b"0\r\n\r\n");
        let (status, reason) = upload.response();
        assert_eq!((status, reason.as_str()), expected);
    }
}

/// Begins a response as soon as it has a head, as a service that streams does, and ends it with the upload.
fn streaming() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut octets = [0; 1024];
                let Ok(1..) = stream.read(&mut octets) else { return };
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
                // The proxy may be gone by then.
                let _ = stream.write_all(head.as_bytes());
                while let Ok(1..) = stream.read(&mut octets) {}
            });
        }
    });
    address
}

#[test]
fn what_ends_an_upload_after_the_response_began_is_in_the_record() {
    for (config, reason, detail) in [
        (json!({ "body": "answer-bad" }), "walk.body", "it refused the rest of the request"),
        (json!({ "trap_on_chunk": "bad" }), "filter.failed", "in a part of the body"),
    ] {
        let written = RecordBuffer::default();
        let recorder = Recorder::to(AccessLog::All, written.clone()).unwrap();
        let judge =
            Attachment { name: "test/judge".into(), ..attached(&config, None, OnFailure::Closed) };
        let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
        let options = ProxyOptions { recorder, ..ProxyOptions::default() };
        let live = LiveProxy::before(streaming(), vec![judge, router], options);
        let (_, arrived) = mpsc::channel();
        let mut upload = Upload::begin(&live, "/one", &arrived);
        let (mut head, mut octets) = (String::new(), [0; 1024]);
        while !head.contains("begun") {
            let length = upload.stream.read(&mut octets).unwrap();
            assert!(length > 0, "{head}");
            head.push_str(std::str::from_utf8(&octets[..length]).unwrap());
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        upload.send("bad");
        assert_eq!(upload.response().0, 0, "the response is cut");
        let records = live.until(|_| written.lines(), |records| records.len() == 1);
        let record = &records[0];
        assert_eq!(
            (&record["status"], &record["reason"], &record["filter"]),
            (&json!(200), &json!(reason), &json!("test/judge")),
            "{record}"
        );
        assert!(record["detail"].as_str().unwrap().contains(detail), "{record}");
        let outcome = record["outcome"].to_string();
        assert!(outcome.contains("refused-by-filter"), "{record}");
    }
}
