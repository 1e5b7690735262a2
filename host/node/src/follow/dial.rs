//! A connection to a director.

use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tamis_transport::{Address, ClientTls, OwnCertificate, connect};

use super::{DirectorLogin, FollowSettings};
use tamis_exchange::ChannelBody;
use tamis_transport::causes;

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);

fn login(login: &DirectorLogin, host: &str) -> Result<ClientTls, String> {
    match login {
        DirectorLogin::Files { certificate, key, ca, director } => {
            let own = OwnCertificate { certificate, key };
            let expected = director.as_ref().map(|id| id.parse()).transpose();
            let expected = expected.map_err(|error| format!("the director's id: {error}"))?;
            // Read each time, since certificates are renewed.
            ClientTls::from_files(Some(own), ca, expected, host)
        }
        DirectorLogin::Svid { identity, director } => {
            ClientTls::from_identity(identity, Some(director.clone()), host)
        }
    }
    .map_err(|error| causes(&error))
}

/// Connects to one director, over mTLS.
pub(crate) async fn dial(
    follow: &FollowSettings,
    director: &str,
) -> Result<SendRequest<ChannelBody>, String> {
    let (host, _) = director.rsplit_once(':').ok_or("it has no port; write HOST:PORT")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tls = login(&follow.login, host)?.with_alpn(&[b"h2"]);
    let addresses = tokio::net::lookup_host(director).await;
    let addresses = addresses.map_err(|error| format!("it does not resolve: {error}"))?;
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match connect(&Address::Tcp(address), Some(&tls), CONNECT).await {
            Ok(stream) => {
                let mut builder = Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
                let made = builder.handshake(TokioIo::new(stream)).await;
                let (sender, connection) = made.map_err(|error| causes(&error))?;
                drop(tokio::spawn(async move {
                    // It ends with the stream, which reports why.
                    let _ = connection.await;
                }));
                return Ok(sender);
            }
            Err(error) => last = causes(&error),
        }
    }
    Err(last)
}
