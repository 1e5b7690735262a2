//! gRPC-Web: a client of PyPI and a browser call a gRPC server of PyPI through a gateway that translates.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tamis_e2e::{
    Chromium, Folder, FolderOptions, eventually, free_port, python_environment, request,
};

const PACKAGES: [&str; 3] = ["grpcio==1.85.3", "grpcio-health-checking==1.85.1", "sonora==0.2.3"];

/// A server of the health service of gRPC, which knows the service `shop`.
const SERVER: &str = "
import sys, grpc
from concurrent import futures
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
servicer.set('shop', health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
";

/// Calls once, and calls what the server does not know.
const CLIENT: &str = "
import sys, grpc, sonora.client
from grpc_health.v1.health_pb2 import HealthCheckRequest as Request, HealthCheckResponse as Response
channel = sonora.client.insecure_web_channel('http://' + sys.argv[1])
form = (Request.SerializeToString, Response.FromString)
check = channel.unary_unary('/grpc.health.v1.Health/Check', *form)
print(Response.ServingStatus.Name(check(Request(service='shop')).status))
try:
    check(Request(service='nobody'))
except grpc.RpcError as error:
    print(error.code().name)
";

/// A server of the health service of gRPC.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

/// The Python of the server.
pub(crate) fn environment() -> std::path::PathBuf {
    python_environment("grpc-web", &PACKAGES)
}

impl Server {
    pub(crate) fn start(environment: &Path) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let process = Command::new(environment.join("bin/python"))
            .args(["-c", SERVER, &address.to_string()])
            .spawn()
            .unwrap();
        let server = Self { process, address };
        eventually("the server accepts", || TcpStream::connect(address).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A script of a page: calls with an empty request in Base64, and returns what comes back, read part by part.
const CALL: &str = "
return (async () => {
const asked = await fetch('/grpc.health.v1.Health/Check', {
  method: 'POST', headers: {'content-type': 'application/grpc-web-text'}, body: btoa('\\0\\0\\0\\0\\6\\n\\4shop'),
});
const text = await asked.text();
const parts = text.match(/[^=]+=*/g).map(part => atob(part)).join('');
return [asked.headers.get('content-type'), parts];
})();
";

/// What a call asks, and the message `SERVING` that comes back, as octets and as Base64.
const QUESTION: &[u8] = b"\0\0\0\0\x06\n\x04shop";
const QUESTION_TEXT: &[u8] = b"AAAAAAYKBHNob3A=";
const MESSAGE: &[u8] = b"\0\0\0\0\x02\x08\x01";
const MESSAGE_TEXT: &[u8] = b"AAAAAAIIAQ==";

/// Watches a service whose state does not change, and returns the open connection once the first message arrived.
fn watch(gateway: &str, kind: &str, message: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let question = if kind.is_empty() { QUESTION } else { QUESTION_TEXT };
    let head = format!(
        "POST /grpc.health.v1.Health/Watch HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web{kind}\r\n\
         content-length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(&[head.as_bytes(), question].concat()).unwrap();
    let (mut received, mut octets) = (Vec::new(), [0; 1024]);
    while !received.windows(message.len()).any(|part| part == message) {
        let length = stream.read(&mut octets).unwrap();
        assert!(length > 0, "{}", received.escape_ascii());
        received.extend_from_slice(&octets[..length]);
    }
    assert!(received.starts_with(b"HTTP/1.1 200 "), "{}", received.escape_ascii());
    stream
}

#[test]
fn browsers_call_a_grpc_server_where_a_listener_translates_and_nowhere_else() {
    let environment = environment();
    let server = Server::start(&environment);
    let options = |listener| FolderOptions { listener, protocol: "grpc", ..Default::default() };
    let folder = Folder::gateway_with(&[server.address], &options("grpcWeb: true"));
    let _gateway = folder.start(&[]);
    let call = |folder: &Folder| {
        let mut client = Command::new(environment.join("bin/python"));
        let done =
            client.args(["-c", CLIENT, &folder.http]).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        (String::from_utf8_lossy(&done.stdout).into_owned(), errors)
    };
    let (said, errors) = call(&folder);
    assert_eq!(said, "SERVING\nNOT_FOUND\n", "{errors}");
    // Filters and records see gRPC.
    let record = folder.record("the refused call", |one| one["grpc_status"] == 5);
    assert_eq!(record["path"], "/grpc.health.v1.Health/Check");

    // A stream without an end: each message arrives when it is sent, in both forms.
    for (kind, message) in [("", MESSAGE), ("-text", MESSAGE_TEXT)] {
        let stream = watch(&folder.http, kind, message);
        drop(stream);
    }
    let record = folder.record("the stream that the client left", |one| {
        one["path"] == "/grpc.health.v1.Health/Watch"
    });
    assert_eq!(record["outcome"][0], "client-gone", "{record}");

    let browser = Chromium::start();
    browser.open(&format!("http://{}/grpc.health.v1.Health/Check", folder.http));
    let answer = browser.script(CALL);
    assert_eq!(answer[0], "application/grpc-web-text", "{answer}");
    let parts = answer[1].as_str().unwrap();
    assert!(parts.starts_with("\0\0\0\0\u{2}\u{8}\u{1}\u{80}"), "{parts:?}");
    assert!(parts.contains("grpc-status: 0\r\n"), "{parts:?}");

    // What is not Base64 gets no answer of the server.
    let kind = [("content-type", "application/grpc-web-text")];
    let reply = request(&folder.http, "POST", "/grpc.health.v1.Health/Check", &kind, b"AAAA!");
    assert_ne!(reply.header("grpc-status"), Some("0"), "{reply:?}");
    assert!(!reply.body.contains("grpc-status: 0"), "{reply:?}");

    let folder = Folder::gateway_with(&[server.address], &options(""));
    let _gateway = folder.start(&[]);
    let (said, _) = call(&folder);
    assert_eq!(said, "", "a server of gRPC does not speak gRPC-Web");
}
