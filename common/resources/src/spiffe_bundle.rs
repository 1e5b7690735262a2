//! The authorities of a trust domain, as trust domains exchange them: a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4, a
//! JWK set of RFC 7517), or certificates in PEM.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value as Json, json};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Longest text of a bundle, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024;
/// Most authorities of one trust domain: a rotation needs two.
pub const MAX_AUTHORITIES: usize = 16;
/// Bytes of a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// The use of the keys of X.509 authorities (SPIFFE Trust Domain and Bundle §4.2.2).
const X509_USE: &str = "x509-svid";

/// The X.509 authorities of one trust domain, each checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeBundle {
    authorities: Vec<BundleAuthority>,
    /// A number that grows with every change, if its publisher counts.
    pub sequence: Option<u64>,
    /// How often its publisher asks others to look for the next one, in seconds.
    pub refresh_hint: Option<u64>,
}

/// An authority of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleAuthority {
    der: Vec<u8>,
    /// Its subject, in one line.
    pub name: String,
    /// The last second of its validity, since the Unix epoch.
    pub not_after: i64,
}

impl BundleAuthority {
    /// The certificate, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let mut pem = format!("{BEGIN}\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at_checked(PEM_LINE).unwrap_or((rest, ""));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem + END + "\n"
    }

    /// Checks a certificate as an authority of that trust domain (X509-SVID §3.2 and §4.1 to §4.3).
    fn read(der: Vec<u8>, domain: &str) -> Result<Self, String> {
        let (rest, parsed) =
            X509Certificate::from_der(&der).map_err(|_| "it is not a certificate".to_owned())?;
        if !rest.is_empty() {
            return Err("something follows the certificate".to_owned());
        }
        if !parsed.is_ca() {
            return Err("it is not an authority: its basic constraints have no CA".to_owned());
        }
        let usage = parsed.key_usage().map_err(|_| "its key usage cannot be read".to_owned())?;
        if usage.is_none_or(|usage| !usage.value.key_cert_sign()) {
            return Err("it may not sign: its key usage has no keyCertSign".to_owned());
        }
        let names = parsed.subject_alternative_name();
        let names = names.map_err(|_| "its names cannot be read".to_owned())?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let own = format!("spiffe://{domain}");
        for name in names {
            let GeneralName::URI(uri) = name else { continue };
            if *uri != own {
                let uri: String = uri.chars().take(128).collect();
                return Err(format!("it is an authority of {uri}, not of {own}"));
            }
        }
        let (name, not_after) =
            (parsed.subject().to_string(), parsed.validity().not_after.timestamp());
        Ok(Self { der, name, not_after })
    }

    /// Its key as SPIFFE bundles have it.
    fn jwk(&self) -> Json {
        let mut key = Map::new();
        if let Ok((_, parsed)) = X509Certificate::from_der(&self.der) {
            key = public_key(parsed.public_key());
        }
        key.insert("use".to_owned(), json!(X509_USE));
        key.insert("x5c".to_owned(), json!([STANDARD.encode(&self.der)]));
        Json::Object(key)
    }
}

impl SpiffeBundle {
    /// Reads the authorities of that trust domain, from JSON or PEM.
    ///
    /// # Errors
    /// The rule that the text breaks: there is no authority or more than 16, it is longer than 64 KiB, it has a private key, or
    /// one of its certificates is not of an authority or of another trust domain.
    pub fn read(text: &str, domain: &str) -> Result<Self, String> {
        if text.len() > MAX_BUNDLE_BYTES {
            return Err(format!("it is longer than {} KiB", MAX_BUNDLE_BYTES >> 10));
        }
        if text.contains("PRIVATE KEY-----") {
            return Err("it has a private key, which whoever reads this now has: make another authority, and write only its certificate".to_owned());
        }
        let (certificates, sequence, refresh_hint) = if text.trim_start().starts_with('{') {
            of_json(text)?
        } else {
            (of_pem(text)?, None, None)
        };
        if certificates.is_empty() {
            return Err("it has no X.509 authority: write certificates in PEM, or keys with `\"use\": \"x509-svid\"`".to_owned());
        }
        let mut seen = BTreeSet::new();
        let mut authorities = Vec::new();
        for (at, der) in certificates.into_iter().enumerate() {
            if !seen.insert(der.clone()) {
                continue;
            }
            let one = BundleAuthority::read(der, domain);
            let number = at.saturating_add(1);
            authorities.push(one.map_err(|rule| format!("certificate {number}: {rule}"))?);
        }
        if authorities.len() > MAX_AUTHORITIES {
            return Err(format!("it has more than {MAX_AUTHORITIES} authorities"));
        }
        Ok(Self { authorities, sequence, refresh_hint })
    }

    /// Its authorities, in the order of the text.
    #[must_use]
    pub fn authorities(&self) -> &[BundleAuthority] {
        &self.authorities
    }

    /// The certificates in PEM, one after another.
    #[must_use]
    pub fn pem(&self) -> String {
        self.authorities.iter().map(BundleAuthority::pem).collect()
    }

    /// The bundle as trust domains publish it (SPIFFE Trust Domain and Bundle §4).
    #[must_use]
    pub fn json(&self) -> Json {
        let keys: Vec<Json> = self.authorities.iter().map(BundleAuthority::jwk).collect();
        let mut bundle = Map::from_iter([("keys".to_owned(), json!(keys))]);
        let numbers =
            [("spiffe_sequence", self.sequence), ("spiffe_refresh_hint", self.refresh_hint)];
        for (name, number) in numbers {
            bundle.extend(number.map(|number| (name.to_owned(), json!(number))));
        }
        Json::Object(bundle)
    }
}

/// Certificates in DER, the sequence, and the hint.
type ReadBundle = (Vec<Vec<u8>>, Option<u64>, Option<u64>);

fn of_json(text: &str) -> Result<ReadBundle, String> {
    let bundle: Json =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let keys = bundle.get("keys").and_then(Json::as_array);
    let keys = keys.ok_or("it has no list `keys`")?;
    let mut certificates = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let wrong = |rule: &str| format!("keys/{at}: {rule}");
        let has = |name: &str| key.get(name).and_then(Json::as_str);
        if has("kty").is_none() {
            return Err(wrong("it has no `kty`"));
        }
        // Keys of other uses, such as those of JWT-SVIDs, are for others (§4.2.2).
        if has("use") != Some(X509_USE) {
            continue;
        }
        let chain = key.get("x5c").and_then(Json::as_array).map(Vec::as_slice);
        let Some([one]) = chain else { return Err(wrong("`x5c` has exactly one certificate")) };
        let der = one.as_str().and_then(|text| STANDARD.decode(text).ok());
        certificates.push(der.ok_or_else(|| wrong("`x5c` is not base64 of a certificate"))?);
    }
    let number = |name: &str| match bundle.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => {
            let read = value.as_u64().map(Some);
            read.ok_or_else(|| format!("`{name}` is not a number that is 0 or more"))
        }
    };
    Ok((certificates, number("spiffe_sequence")?, number("spiffe_refresh_hint")?))
}

fn of_pem(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (body, next) = after.split_once(END).ok_or("a certificate in PEM has no end")?;
        let body: String = body.split_ascii_whitespace().collect();
        let number = certificates.len().saturating_add(1);
        let der = STANDARD.decode(body);
        certificates.push(der.map_err(|_| format!("certificate {number} is not base64"))?);
        rest = next;
    }
    Ok(certificates)
}

/// The members of a key by its algorithm (RFC 7518 §6, RFC 8037 §2); of an unknown one nothing but its type is said.
fn public_key(info: &SubjectPublicKeyInfo<'_>) -> Map<String, Json> {
    let text = |octets: &[u8]| json!(URL_SAFE_NO_PAD.encode(octets));
    let members = |all: Vec<(&str, Json)>| {
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
    };
    if info.algorithm.algorithm == OID_SIG_ED25519 {
        let x = text(&info.subject_public_key.data);
        return members(vec![("kty", json!("OKP")), ("crv", json!("Ed25519")), ("x", x)]);
    }
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => {
            let strip = |octets: &[u8]| {
                let start = octets.iter().position(|octet| *octet != 0).unwrap_or(0);
                text(octets.get(start..).unwrap_or_default())
            };
            members(vec![
                ("kty", json!("RSA")),
                ("n", strip(key.modulus)),
                ("e", strip(key.exponent)),
            ])
        }
        Ok(PublicKey::EC(point)) if info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY => {
            let parameters = info.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|any| any.as_oid().ok()).and_then(|oid| {
                let known = [
                    (OID_EC_P256, "P-256"),
                    (OID_NIST_EC_P384, "P-384"),
                    (OID_NIST_EC_P521, "P-521"),
                ];
                known.into_iter().find(|(one, _)| *one == oid).map(|(_, name)| name)
            });
            let both = point.data().strip_prefix(&[4]).unwrap_or_default();
            let (x, y) = both.split_at_checked(both.len() / 2).unwrap_or_default();
            let mut all = vec![("kty", json!("EC")), ("x", text(x)), ("y", text(y))];
            all.extend(curve.map(|curve| ("crv", json!(curve))));
            members(all)
        }
        _ => members(vec![("kty", json!("unknown"))]),
    }
}

#[cfg(test)]
mod tests;
