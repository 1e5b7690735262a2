//! The requests of OCI Distribution 1.1 that filters need.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use tamis_trust::Digest;

use crate::api::encoded;
use crate::exchange::{OutgoingCall, Reply};
use crate::{Client, ClientError};

/// Type of manifests.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Most bytes of a manifest or of an index of referrers that are read.
const MANIFEST_BYTES: usize = 8 * 1024 * 1024;

/// How a manifest is named in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestReference {
    /// By tag, which may name another manifest tomorrow.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

impl FromStr for ManifestReference {
    type Err = String;

    /// A tag is 1 to 128 characters of `A-Za-z0-9_.-`; the first is neither a dot nor a dash.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            let digest = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
            return Ok(Self::Digest(digest));
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let sound = text.bytes().next().is_some_and(word)
            && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
            && text.len() <= 128;
        if sound { Ok(Self::Tag(text.to_owned())) } else { Err(no_tag(text)) }
    }
}

fn no_tag(text: &str) -> String {
    let plus = if text.contains('+') {
        "; build metadata (+…) is not allowed in a tag: choose a version without, or use the digest"
    } else {
        ""
    };
    format!(
        "`{text}` is neither a tag (1 to 128 letters, digits, `_`, `.`, `-`) nor a digest (sha256:…){plus}"
    )
}

impl fmt::Display for ManifestReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// The part of an index of referrers that we read.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

/// A manifest that refers to another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Referrer {
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    code: String,
    #[serde(default)]
    message: String,
}

impl Client {
    /// Whether a blob exists.
    pub(crate) async fn has_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let reply = self.send(OutgoingCall::new(Method::HEAD, &path)).await?;
        match reply.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.oci_refusal(&path, &reply)),
        }
    }

    /// Uploads a blob: one request to begin, one with the bytes.
    pub(crate) async fn put_blob(
        &self,
        repository: &str,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), ClientError> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let begun = self.send(OutgoingCall::new(Method::POST, &path)).await?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(self.oci_refusal(&path, &begun));
        }
        let place = self.location(&path, &begun)?;
        let mark = if place.contains('?') { '&' } else { '?' };
        let path = format!("{place}{mark}digest={}", encoded(&digest.to_string()));
        let ask = OutgoingCall::new(Method::PUT, &path)
            .body("application/octet-stream", bytes)
            .transfer();
        let reply = self.send(ask).await?;
        if reply.status == StatusCode::CREATED {
            Ok(())
        } else {
            Err(self.oci_refusal(&path, &reply))
        }
    }

    /// Where an upload continues: a path on this server, absolute or relative.
    fn location(&self, path: &str, reply: &Reply) -> Result<String, ClientError> {
        let strange = |what: &str| ClientError::Strange {
            server: self.server.clone(),
            path: path.to_owned(),
            status: reply.status,
            what: what.to_owned(),
        };
        let field = reply.headers.get(header::LOCATION).map(HeaderValue::to_str);
        let Some(Ok(field)) = field else {
            return Err(strange("no Location header for the upload"));
        };
        let uri: http::Uri =
            field.parse().map_err(|_| strange("a Location header that is not a URI"))?;
        // The token goes only to the registry that the user named, never to a server that the registry
        // points to.
        if uri.authority().is_some_and(|one| one.as_str() != self.server.authority()) {
            return Err(strange("a Location header that names another server"));
        }
        match uri.path_and_query() {
            Some(path) if path.as_str().starts_with('/') => Ok(path.as_str().to_owned()),
            _ => Err(strange("a Location header that is not an absolute path")),
        }
    }

    /// Fetches a blob of at most `limit` bytes and checks its digest.
    pub(crate) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let reply =
            self.send(OutgoingCall::new(Method::GET, &path).limit(limit).transfer()).await?;
        if reply.status != StatusCode::OK {
            return Err(self.oci_refusal(&path, &reply));
        }
        self.genuine(digest, reply.body)
    }

    /// Fetches a manifest by tag or by digest; a digest is checked.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        reference: &ManifestReference,
    ) -> Result<Bytes, ClientError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let ask = OutgoingCall::new(Method::GET, &path).header(header::ACCEPT, MANIFEST_TYPE);
        let reply = self.send(ask.limit(MANIFEST_BYTES)).await?;
        if reply.status != StatusCode::OK {
            return Err(self.oci_refusal(&path, &reply));
        }
        match reference {
            ManifestReference::Digest(digest) => self.genuine(digest, reply.body),
            ManifestReference::Tag(_) => Ok(reply.body),
        }
    }

    /// Uploads a manifest under a tag or its digest.
    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &ManifestReference,
        manifest: &[u8],
    ) -> Result<(), ClientError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let ask = OutgoingCall::new(Method::PUT, &path).body(MANIFEST_TYPE, manifest.to_vec());
        let reply = self.send(ask).await?;
        if reply.status == StatusCode::CREATED {
            Ok(())
        } else {
            Err(self.oci_refusal(&path, &reply))
        }
    }

    /// The manifests of this type that refer to a manifest.
    pub(crate) async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
        kind: &str,
    ) -> Result<Vec<Referrer>, ClientError> {
        let path = format!("/v2/{repository}/referrers/{digest}?artifactType={}", encoded(kind));
        let reply = self.send(OutgoingCall::new(Method::GET, &path).limit(MANIFEST_BYTES)).await?;
        if reply.status != StatusCode::OK {
            return Err(self.oci_refusal(&path, &reply));
        }
        let index: Index = serde_json::from_slice(&reply.body).map_err(|error| {
            let (server, what) = (self.server.clone(), format!("no index of referrers ({error})"));
            ClientError::Strange { server, path: path.clone(), status: reply.status, what }
        })?;
        // Servers may return all types.
        let of_kind = |one: &Referrer| one.artifact_type.as_deref() == Some(kind);
        Ok(index.manifests.into_iter().filter(of_kind).collect())
    }

    fn genuine(&self, digest: &Digest, bytes: Bytes) -> Result<Bytes, ClientError> {
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(ClientError::Tampered { server: self.server.clone(), digest: digest.to_string() })
    }

    /// The error for a response that is not a success: the first error in its body, or the meaning of its
    /// status.
    pub(crate) fn oci_refusal(&self, path: &str, reply: &Reply) -> ClientError {
        let said: Option<Errors> = serde_json::from_slice(&reply.body).ok();
        let said = said.and_then(|errors| errors.errors.into_iter().next());
        let (path, status) = (path.to_owned(), reply.status);
        match said {
            Some(OneError { code, message }) => ClientError::Oci { path, status, code, message },
            None => ClientError::Oci {
                path,
                status,
                code: status.to_string(),
                message: way_out(status),
            },
        }
    }
}

/// The meaning of a status without a body: a response to `HEAD` has none.
fn way_out(status: StatusCode) -> String {
    match status {
        StatusCode::UNAUTHORIZED => "the registry requires a token; use one that it issued",
        StatusCode::FORBIDDEN => "the token does not have this right; ask for one that has",
        StatusCode::NOT_FOUND => "it does not exist",
        StatusCode::TOO_MANY_REQUESTS => "the registry is busy; try again later",
        _ => "the registry gave no reason",
    }
    .to_owned()
}
