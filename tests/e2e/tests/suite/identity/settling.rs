//! Proxies that connect and never answer a push.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use serde_json::json;
use tamis_transport::{Address, connect};

use super::member::Member;
use super::{CART, Mesh, PAY, service};

const PATIENCE: Duration = Duration::from_secs(60);

/// The streams of one proxy's certificate, over one connection.
struct SilentProxies {
    sender: SendRequest<Bytes>,
}

/// A stream whose hello was sent.
struct SilentStream {
    answer: ResponseFuture,
    say: SendStream<Bytes>,
}

impl SilentProxies {
    async fn of(member: &Member, address: &str) -> Self {
        let address: Address = address.parse().unwrap();
        let tls = member.tls().with_alpn(&[b"h2"]);
        let stream = connect(&address, Some(&tls), PATIENCE).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    async fn hello(&mut self, node: &str) -> SilentStream {
        let sender = self.sender.clone().ready().await.unwrap();
        self.sender = sender;
        let path = format!("https://registry/v1/nodes/{}/stream", node.replace('/', "%2F"));
        let request = http::Request::post(path).header("content-type", "application/x-ndjson");
        let (answer, mut say) = self.sender.send_request(request.body(()).unwrap(), false).unwrap();
        let hello =
            json!({ "protocol": 1, "node": node, "release": "0", "revision": 0, "parts": {} });
        let line = format!("{}\n", json!({ "hello": hello }));
        say.send_data(Bytes::from(line), false).unwrap();
        SilentStream { answer, say }
    }
}

/// A stream that was accepted, with what keeps it open; `None`: it was put off.
async fn accepted(stream: SilentStream) -> Option<(RecvStream, SendStream<Bytes>)> {
    let answer = tokio::time::timeout(PATIENCE, stream.answer).await.unwrap().unwrap();
    match answer.status().as_u16() {
        200 => Some((answer.into_body(), stream.say)),
        503 => None,
        other => panic!("{other}"),
    }
}

#[test]
fn proxies_that_never_answer_keep_none_of_another_namespace_from_connecting() {
    let mesh = Mesh::start();
    let many = 80;
    let services = format!("{}---\n{}", service("shop", "pay", many), service("other", "cart", 1));
    std::fs::write(mesh.folder.path().join("mesh/services.yaml"), services).unwrap();
    mesh.did(&["apply", "-f", "mesh", "--confirm"]);
    let (silent, other) = (mesh.member(PAY), mesh.member(CART));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut proxies = SilentProxies::of(&silent, &mesh.proxies).await;
        let mut cart = SilentProxies::of(&other, &mesh.proxies).await;
        let mut streams = Vec::new();
        for at in 0..many {
            streams.push(proxies.hello(&format!("sidecar:shop/pay/{at}")).await);
        }
        let mut open = Vec::new();
        for stream in streams {
            open.extend(accepted(stream).await);
        }
        assert!((1..64).contains(&open.len()), "{} of one namespace", open.len());
        let stream = cart.hello(CART).await;
        assert!(accepted(stream).await.is_some(), "another namespace has its own places");
        // Nobody keeps a place for ever: in the end, those that were put off connect, too.
        let wanted = open.len() + 40;
        for _ in 0..60 {
            if open.len() < wanted {
                let stream = proxies.hello(&format!("sidecar:shop/pay/{}", open.len())).await;
                open.extend(accepted(stream).await);
            }
        }
        assert_eq!(open.len(), wanted);
    });
}
