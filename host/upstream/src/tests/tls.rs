//! TLS: what is offered, and handshakes that never end.

use super::server::{ServerLog, respond, serve_http1, tcp};
use super::*;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use tamis_exchange::Cause;
use tamis_transport::{ClientTls, ServerTls};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::spawn_local;

#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        drop(spawn_local(async move { drop(task.await) }));
    }
}

/// Both sides, by certificates of one authority.
fn sides() -> (ServerTls, Arc<ClientTls>, TempDir) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ca.pem"), issuer.pem()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://shop/server".try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    let server = ServerTls::from_files(&path("server.pem"), &path("server.key"), None).unwrap();
    let client = ClientTls::from_files(None, &path("ca.pem"), None, "localhost").unwrap();
    (server, Arc::new(client), folder)
}

fn secure(protocol: Protocol, target: EndpointTarget, tls: &Arc<ClientTls>) -> ServiceConfig {
    let mut config = config(protocol, [target]);
    config.endpoints[0].tls = Some(Arc::clone(tls));
    config.endpoints[0].tls_key = "a".to_owned();
    config
}

#[tokio::test]
async fn each_protocol_is_agreed_on_and_an_upgrade_is_always_http1() {
    on_worker(async {
        let (server, client, _folder) = sides();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (target, seen) = (tcp(&listener), Rc::new(ServerLog::default()));
        let shared = Rc::clone(&seen);
        drop(spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (io, identity) = server.accept(stream).await.unwrap();
                if identity.is_http2() {
                    let seen = Rc::clone(&shared);
                    let service = service_fn(move |request| respond(Rc::clone(&seen), request));
                    let builder = hyper::server::conn::http2::Builder::new(Local);
                    drop(spawn_local(builder.serve_connection(TokioIo::new(io), service)));
                } else {
                    drop(spawn_local(serve_http1(Rc::clone(&shared), io)));
                }
            }
        }));
        let (_one, plain) = worker(secure(Protocol::Http1, target.clone(), &client));
        assert_eq!(fetch(&plain, get("/1")).await.unwrap(), "/1");
        assert_eq!(seen.connections.get(), 1, "only HTTP/1.1 connections are counted here");
        let (_two, multiplexed) = worker(secure(Protocol::Http2, target, &client));
        let mut attempt = attempt(&multiplexed).await;
        assert!(attempt.is_secure());
        let response = attempt.send(get("/2"), false, || None).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(seen.connections.get(), 1);
        let mut wanted = get("/upgrade");
        for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
            wanted.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(attempt.send(wanted, true, || None).await.unwrap().status(), 101);
        assert_eq!(seen.connections.get(), 2);
    })
    .await;
}

/// With TLS 1.3 a client has finished its handshake when the server judges its certificate, so the refusal comes where a response
/// would. Nothing read the request, so that another endpoint may have it, a POST too.
#[tokio::test]
async fn an_endpoint_that_refuses_our_certificate_is_not_connected_to() {
    on_worker(async {
        let (_, client, folder) = sides();
        let path = |name: &str| folder.path().join(name);
        let (certificate, key, authority) =
            (path("server.pem"), path("server.key"), path("ca.pem"));
        let server = ServerTls::from_files(&certificate, &key, Some(&authority)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = tcp(&listener);
        drop(spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let refused = server.accept(stream).await.err().unwrap();
                assert_eq!(refused.reason(), "no-certificate");
            }
        }));
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (_worker, upstream) = worker(secure(protocol, target.clone(), &client));
            for method in ["GET", "POST"] {
                let mut request = get("/");
                *request.method_mut() = method.parse().unwrap();
                let failure = fetch(&upstream, request).await.unwrap_err();
                let what = format!("{protocol:?} {method}: {failure:?}");
                assert_eq!(failure.cause, Cause::ConnectFailure, "{what}");
                assert!(failure.untouched && !failure.protocol, "{what}");
                assert!(failure.detail.contains("refuses the certificate"), "{what}");
            }
        }
    })
    .await;
}

/// All wait for the one that connects; each would wait as long again if its failure did not count for them
/// too.
#[tokio::test]
async fn those_who_wait_for_a_connection_fail_with_it() {
    on_worker(async {
        let (_, client, _folder) = sides();
        // Only the operating system accepts: no handshake is ever answered.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_worker, upstream) = worker(secure(Protocol::Http2, tcp(&listener), &client));
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let all: Vec<_> = (0..10)
            .map(|_| {
                let upstream = Rc::clone(&upstream);
                spawn_local(async move { fetch(&upstream, get("/")).await })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap().unwrap_err().cause, Cause::ConnectFailure);
        }
        let limit = ServiceSettings::default().connect_timeout;
        assert!(began.elapsed() < limit * 2, "{:?}", began.elapsed());
        drop(listener);
    })
    .await;
}
