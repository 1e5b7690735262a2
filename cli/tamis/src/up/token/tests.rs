//! Tokens and the keys that check them.

use super::*;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

fn json(part: &str) -> Value {
    serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
}

#[test]
fn a_token_says_for_whom_and_how_long_and_its_key_set_checks_it() {
    let key = Key::generate().unwrap();
    let token = key.sign("https://idp.example", "shop").unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let (head, claims, set) = (json(parts[0]), json(parts[1]), key.key_set());
    assert_eq!((&head["alg"], &head["kid"]), (&json!("ES256"), &set["keys"][0]["kid"]));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("https://idp.example"), &json!("shop")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), SECONDS);

    let half = |name: &str| BASE64URL.decode(set["keys"][0][name].as_str().unwrap()).unwrap();
    let point = [vec![4], half("x"), half("y")].concat();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    let signed = format!("{}.{}", parts[0], parts[1]);
    let signature = BASE64URL.decode(parts[2]).unwrap();
    public.verify(signed.as_bytes(), &signature).unwrap();
    assert!(public.verify(signed.replace("ey", "eY").as_bytes(), &signature).is_err());
}

#[test]
fn a_key_written_and_read_again_is_the_same_and_the_set_holds_no_secret() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("key");
    let key = Key::generate().unwrap();
    std::fs::write(&path, key.pkcs8()).unwrap();
    assert_eq!(Key::read(&path).unwrap().key_set(), key.key_set());
    assert!(key.key_set()["keys"][0].get("d").is_none());
    std::fs::write(&path, "no key").unwrap();
    let said = format!("{:#}", Key::read(&path).err().unwrap());
    assert!(said.contains("is not a private key"), "{said}");
}
