//! The requests that reach the REST API, and how its responses are read.

use super::*;
use crate::testing::{FakeServer, answer};
use crate::{ClientOptions, Server};
use std::time::Duration;

const PROBLEM: &str = r#"{"status":404,"code":"not-found","title":"there is no rollout `x`"}"#;

#[tokio::test]
async fn names_travel_whole_whatever_is_in_them() {
    let fake = FakeServer::new(|_| answer(404, PROBLEM)).await;
    let client = fake.client();
    client.rollout("a/b ?#%").await.unwrap_err();
    client.history("*", Some("acme/retry&x=1")).await.unwrap_err();
    client.resource("Service", "shop", "..").await.unwrap_err();
    client.who_ran("shop/a", 7, None).await.unwrap_err();
    let paths: Vec<String> = fake.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(
        paths,
        [
            "/v1/rollouts/a%2Fb%20%3F%23%25",
            "/v1/history?service=%2A&filter=acme%2Fretry%26x%3D1",
            "/v1/resources/Service/shop/..",
            "/v1/who-ran?service=shop%2Fa&atMs=7",
        ]
    );
    assert!(fake.asked().iter().all(|asked| asked.token.as_deref() == Some("Bearer secret")));
}

#[tokio::test]
async fn a_no_comes_back_in_the_words_of_the_control_plane() {
    let fake = FakeServer::new(|_| answer(404, PROBLEM)).await;
    let error = fake.client().rollout("x").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no rollout `x`");
    assert!(error.is_not_found() && error.problem().is_some());
}

#[tokio::test]
async fn questions_are_sent_as_json_and_answers_read() {
    let fake = FakeServer::new(|asked| {
        let request: ApproveRequest = serde_json::from_slice(&asked.body).unwrap();
        let said = ApprovalResult { revision: 4, subject: request.subject, actor: "ada".into() };
        answer(200, serde_json::to_vec(&said).unwrap())
    })
    .await;
    let request = ApproveRequest { subject: "sha256:00".into() };
    let approved = fake.client().approve(&request).await.unwrap();
    assert_eq!((approved.revision, approved.subject.as_str()), (4, "sha256:00"));
    assert_eq!(fake.asked()[0].method, Method::POST);
}

#[tokio::test]
async fn an_answer_that_is_not_of_the_api_is_told_apart() {
    let fake = FakeServer::new(|_| answer(200, "<html>")).await;
    let error = fake.client().pins().await.unwrap_err().to_string();
    assert!(error.contains("/v1/pins") && error.contains("registry of this release"), "{error}");
    let fake = FakeServer::new(|_| answer(502, "<html>")).await;
    let error = fake.client().pins().await.unwrap_err().to_string();
    assert!(error.contains("502"), "{error}");
    let fake = FakeServer::new(|_| answer(401, "")).await;
    let error = fake.client().pins().await.unwrap_err().to_string();
    assert!(error.contains("token"), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let fake = FakeServer::new(|_| answer(200, vec![b'x'; 70 * 1024])).await;
    let error = fake.client().log_key().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 65_536, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server: Server = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let timeout = Duration::from_millis(50);
    let client = Client::new(ClientOptions { timeout, ..ClientOptions::new(server) }).unwrap();
    let error = client.pins().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_breaks_off_and_one_that_is_not_there_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server: Server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let client = Client::new(ClientOptions::new(server)).unwrap();
    let hang_up = async {
        drop(listener.accept().await.unwrap());
        drop(listener);
    };
    let (said, ()) = tokio::join!(client.pins(), hang_up);
    assert!(matches!(said.unwrap_err(), ClientError::Broken { .. }));
    let error = client.pins().await.unwrap_err();
    assert!(error.to_string().contains("is a registry running there?"), "{error}");
}

#[tokio::test]
async fn a_unix_socket_is_a_way_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeServer::on_unix(&folder.path().join("s"), |_| answer(200, "[]")).await;
    assert_eq!(fake.client().pins().await.unwrap(), []);
}

#[tokio::test]
async fn the_token_is_not_sent_in_clear_text_to_others() {
    // TEST-NET-1 (RFC 5737): no host has this address, and no request is sent to it.
    let server: Server = "http://192.0.2.1:5000".parse().unwrap();
    let options = ClientOptions { token: Some("secret".into()), ..ClientOptions::new(server) };
    let error = Client::new(options).unwrap().pins().await.unwrap_err();
    assert!(matches!(error, ClientError::ClearText { .. }), "{error}");
}

#[tokio::test]
async fn tls_reaches_the_registry_that_the_authority_stands_for_and_no_other() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fake = FakeServer::on_tls(folder.path(), |_| answer(200, "[]")).await;
    FakeServer::on_tls(other.path(), |_| answer(200, "[]")).await;
    let client = |ca: &std::path::Path| {
        let (ca, token) = (Some(ca.join("ca.pem")), Some("secret".to_owned()));
        Client::new(ClientOptions { ca, token, ..fake.options() }).unwrap()
    };
    assert_eq!(client(folder.path()).pins().await.unwrap(), []);
    let error = client(other.path()).pins().await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert_eq!(fake.asked().len(), 1);
}
