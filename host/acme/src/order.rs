//! One order: the host is shown to be ours, a key is made, and its certificate is fetched.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tamis_transport::{CertificateOrders, LiveChallenge};

use crate::AcmeError;
use crate::challenge::Challenge;
use crate::error::refused;

/// Longest token of a challenge; RFC 8555 §8 has 128 bits in base64url, which are 22 characters.
const TOKEN_MAX: usize = 128;
/// Octets of a SHA-256.
const DIGEST: usize = 32;
/// How long the server may take to look, and later to sign.
const LOOK_MAX: Duration = Duration::from_secs(90);
/// Between two questions how far it is, at first; each wait is longer than the one before.
const ASK: Duration = Duration::from_millis(250);

/// What an order gave: PEM texts.
pub(crate) struct NewCertificate {
    pub(crate) key: String,
    pub(crate) chain: String,
}

/// Places an order for a host, and sees it through.
///
/// # Errors
/// [`AcmeError`].
pub(crate) async fn place(
    account: &Account,
    host: &str,
    way: Challenge,
    orders: &CertificateOrders,
) -> Result<NewCertificate, AcmeError> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let live = prove(&mut order, host, way, orders).await?;
    let policy = RetryPolicy::new().initial_delay(ASK).backoff(1.5).timeout(LOOK_MAX);
    if order.state().status == OrderStatus::Pending
        && order.poll_ready(&policy).await.map_err(late)? == OrderStatus::Invalid
    {
        return Err(why_invalid(&mut order).await);
    }
    drop(live);
    let key = KeyPair::generate().map_err(AcmeError::Key)?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(AcmeError::Key)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(AcmeError::Key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&policy).await.map_err(late)?;
    Ok(NewCertificate { key: key.serialize_pem(), chain })
}

fn late(error: instant_acme::Error) -> AcmeError {
    match error {
        instant_acme::Error::Timeout(_) => AcmeError::Late(LOOK_MAX),
        other => other.into(),
    }
}

/// Begins to answer the challenge of the order, and asks the server to look; `None`: it believes us already.
async fn prove(
    order: &mut Order,
    host: &str,
    way: Challenge,
    orders: &CertificateOrders,
) -> Result<Option<LiveChallenge>, AcmeError> {
    let answer = |why: &str| AcmeError::Answer(why.to_owned());
    if order.state().authorizations.len() != 1 {
        return Err(answer("its order does not have the one authorization of the one host"));
    }
    let mut all = order.authorizations();
    let next = all.next().await.ok_or_else(|| answer("its order has no authorization"))?;
    let mut authorization = next?;
    if !matches!(authorization.identifier().identifier, Identifier::Dns(name) if name == host) {
        return Err(answer("its authorization is for another host"));
    }
    match authorization.status {
        AuthorizationStatus::Valid => return Ok(None),
        AuthorizationStatus::Pending => {}
        _ => return Err(answer("its authorization is neither pending nor valid")),
    }
    let kind = match way {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    let challenge = authorization.challenge(kind);
    let mut challenge = challenge.ok_or(AcmeError::NoChallenge(way.name()))?;
    let live = answered(&challenge, host, way, orders)?;
    challenge.set_ready().await?;
    Ok(Some(live))
}

/// Answers a challenge from now on.
fn answered(
    challenge: &ChallengeHandle<'_>,
    host: &str,
    way: Challenge,
    orders: &CertificateOrders,
) -> Result<LiveChallenge, AcmeError> {
    if !is_token(&challenge.token) {
        let why = "the token of its challenge is not 1 to 128 characters of base64url";
        return Err(AcmeError::Answer(why.to_owned()));
    }
    let authorization = challenge.key_authorization();
    match way {
        Challenge::Http01 => {
            let answer = authorization.as_str().to_owned();
            Ok(orders.answer_requests(host, challenge.token.clone(), answer))
        }
        Challenge::TlsAlpn01 => {
            let digest = authorization.digest();
            let digest = <[u8; DIGEST]>::try_from(digest.as_ref())
                .map_err(|_| AcmeError::Answer("the digest has another length".to_owned()))?;
            let key = KeyPair::generate().map_err(AcmeError::Key)?;
            let mut params = CertificateParams::new([host.to_owned()]).map_err(AcmeError::Key)?;
            params.distinguished_name = DistinguishedName::new();
            params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
            let certificate = params.self_signed(&key).map_err(AcmeError::Key)?;
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            orders.answer_handshakes(host, certificate.der().clone(), key).map_err(AcmeError::Shown)
        }
    }
}

/// Whether a text is a token: its characters are those of a path, and it names nothing else (RFC 8555 §8.3).
fn is_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// Why the server did not believe us, as its challenge says.
async fn why_invalid(order: &mut Order) -> AcmeError {
    let unknown = AcmeError::Refused {
        kind: "invalid".to_owned(),
        detail: "it does not believe that the host is ours, and does not say why".to_owned(),
    };
    let mut all = order.authorizations();
    let Some(Ok(mut authorization)) = all.next().await else { return unknown };
    let Ok(state) = authorization.refresh().await else { return unknown };
    let mut problems = state.challenges.iter().filter_map(|one| one.error.as_ref());
    problems.next().map_or(unknown, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base64url_and_nothing_else() {
        let long = "a".repeat(TOKEN_MAX);
        for text in ["a", "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", "-_", &long] {
            assert!(is_token(text), "{text}");
        }
        let longer = format!("{long}a");
        for text in ["", "a/b", "../a", "a b", "a%2f", "a.b", "a?b", "a\r\n", "\u{e9}", &longer] {
            assert!(!is_token(text), "{text}");
        }
    }
}
