//! Examples of RFC 7515 and RFC 8037, and attacks built from them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair};

use super::*;

const HS: &str = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const RSA: &str = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const P521: &str = r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#;
const ED: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn token(header: &str, signature: &str) -> String {
    format!("{header}.{PAYLOAD}.{signature}")
}

fn hs256() -> String {
    token("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
}

#[test]
fn the_examples_of_rfc_7515_appendix_a_verify() {
    let rs256 = token(
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    let es256 = token(
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    let es512 = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    assert_eq!(check(HS, &hs256(), SigningAlgorithm::Hs256), Ok(()));
    assert_eq!(check(RSA, &rs256, SigningAlgorithm::Rs256), Ok(()));
    assert_eq!(check(P256, &es256, SigningAlgorithm::Es256), Ok(()));
    assert_eq!(check(P521, es512, SigningAlgorithm::Es512), Ok(()));
}

#[test]
fn the_example_of_rfc_8037_appendix_a_verifies() {
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(check(ED, token, SigningAlgorithm::EdDsa), Ok(()));
}

#[test]
fn the_unsecured_example_is_refused() {
    assert_eq!(
        check(HS, &token("eyJhbGciOiJub25lIn0", ""), SigningAlgorithm::Hs256),
        Err(TokenFault::AlgNone)
    );
}

#[test]
fn a_public_key_is_no_secret() {
    // RS/HS confusion: the token says HS256, the issuer has an RSA key and, by mistake, allows HS256.
    assert_eq!(check(RSA, &hs256(), SigningAlgorithm::Hs256), Err(TokenFault::UnknownKey));
    assert_eq!(check(HS, &hs256(), SigningAlgorithm::Rs256), Err(TokenFault::AlgNotAllowed));
}

#[test]
fn a_published_secret_is_not_believed() {
    assert!(KeySet::parse(HS.as_bytes(), KeyOrigin::Fetched).is_err());
    assert!(KeySet::parse(RSA.as_bytes(), KeyOrigin::Fetched).is_ok());
}

#[test]
fn no_flipped_bit_verifies() {
    let token = hs256();
    for bit in 0..token.len() * 8 {
        let mut other = token.clone().into_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        let Ok(parsed) = Token::parse(&other) else { continue };
        let native = Native::default();
        let ring =
            KeySet::parse(HS.as_bytes(), KeyOrigin::Inline).unwrap().import(&native).unwrap();
        assert!(parsed.check(&ring, &SigningAlgorithm::ALL, &native).is_err(), "bit {bit}");
    }
}

#[test]
fn a_p384_signature_verifies_with_its_own_key_alone() {
    let rule = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate(rule).unwrap();
    let signed = format!("{}.{PAYLOAD}", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES384"}"#));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..49]), URL_SAFE_NO_PAD.encode(&point[49..]));
    let key = json!({"kty": "EC", "crv": "P-384", "x": x, "y": y}).to_string();
    assert_eq!(check(&key, &token, SigningAlgorithm::Es384), Ok(()));
    assert_eq!(check(P256, &token, SigningAlgorithm::Es384), Err(TokenFault::UnknownKey));
}
