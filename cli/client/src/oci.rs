//! The requests of OCI Distribution 1.1 that filters need.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use tamis_trust::Digest;

use crate::api::encoded;
use crate::exchange::{Ask, Reply};
use crate::{Client, ClientError};

/// Type of manifests.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Bytes of a manifest or an index of referrers that are read at most.
const MANIFEST_BYTES: usize = 8 * 1024 * 1024;

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By tag, which may mean another manifest tomorrow.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = String;

    /// A tag is 1 to 128 of `A-Za-z0-9_.-`, the first of them no dot and no dash.
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
        "; build metadata (+…) cannot stand in a tag: choose a version without, or use the digest"
    } else {
        ""
    };
    format!(
        "`{text}` is no tag (1 to 128 letters, digits, `_`, `.`, `-`) and no digest (sha256:…){plus}"
    )
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// An index of referrers, as far as it is of interest.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

/// A manifest that speaks about another.
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
    /// Whether a blob is there.
    pub(crate) async fn has_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let reply = self.send(Ask::new(Method::HEAD, &path)).await?;
        match reply.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.oci_refusal(&path, &reply)),
        }
    }

    /// Puts a blob there, in one request after the one that begins it.
    pub(crate) async fn put_blob(
        &self,
        repository: &str,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), ClientError> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let begun = self.send(Ask::new(Method::POST, &path)).await?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(self.oci_refusal(&path, &begun));
        }
        let place = self.location(&path, &begun)?;
        let mark = if place.contains('?') { '&' } else { '?' };
        let path = format!("{place}{mark}digest={}", encoded(&digest.to_string()));
        let ask = Ask::new(Method::PUT, &path).body("application/octet-stream", bytes).transfer();
        let reply = self.send(ask).await?;
        if reply.status == StatusCode::CREATED {
            Ok(())
        } else {
            Err(self.oci_refusal(&path, &reply))
        }
    }

    /// Where an upload goes on: a path of this server, whichever way it was written.
    fn location(&self, path: &str, reply: &Reply) -> Result<String, ClientError> {
        let strange = |what: &str| ClientError::Strange {
            server: self.server.clone(),
            path: path.to_owned(),
            status: reply.status,
            what: what.to_owned(),
        };
        let field = reply.headers.get(header::LOCATION).map(HeaderValue::to_str);
        let Some(Ok(field)) = field else { return Err(strange("no Location for the upload")) };
        let uri: http::Uri = field.parse().map_err(|_| strange("a Location that is no URI"))?;
        // The token goes to the registry that was named and to no other that it points to.
        if uri.authority().is_some_and(|one| one.as_str() != self.server.authority()) {
            return Err(strange("a Location on another server"));
        }
        match uri.path_and_query() {
            Some(path) if path.as_str().starts_with('/') => Ok(path.as_str().to_owned()),
            _ => Err(strange("a Location that is no absolute path")),
        }
    }

    /// A blob, which has its digest; at most so many bytes.
    pub(crate) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let reply = self.send(Ask::new(Method::GET, &path).limit(limit).transfer()).await?;
        if reply.status != StatusCode::OK {
            return Err(self.oci_refusal(&path, &reply));
        }
        self.genuine(digest, reply.body)
    }

    /// A manifest by tag or digest; by digest, it has it.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<Bytes, ClientError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let ask = Ask::new(Method::GET, &path).header(header::ACCEPT, MANIFEST_TYPE);
        let reply = self.send(ask.limit(MANIFEST_BYTES)).await?;
        if reply.status != StatusCode::OK {
            return Err(self.oci_refusal(&path, &reply));
        }
        match reference {
            Reference::Digest(digest) => self.genuine(digest, reply.body),
            Reference::Tag(_) => Ok(reply.body),
        }
    }

    /// Puts a manifest there under a tag or its digest.
    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &Reference,
        manifest: &[u8],
    ) -> Result<(), ClientError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let ask = Ask::new(Method::PUT, &path).body(MANIFEST_TYPE, manifest.to_vec());
        let reply = self.send(ask).await?;
        if reply.status == StatusCode::CREATED {
            Ok(())
        } else {
            Err(self.oci_refusal(&path, &reply))
        }
    }

    /// The manifests of this type that speak about a manifest.
    pub(crate) async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
        kind: &str,
    ) -> Result<Vec<Referrer>, ClientError> {
        let path = format!("/v2/{repository}/referrers/{digest}?artifactType={}", encoded(kind));
        let reply = self.send(Ask::new(Method::GET, &path).limit(MANIFEST_BYTES)).await?;
        if reply.status != StatusCode::OK {
            return Err(self.oci_refusal(&path, &reply));
        }
        let index: Index = serde_json::from_slice(&reply.body).map_err(|error| {
            let (server, what) = (self.server.clone(), format!("no index of referrers ({error})"));
            ClientError::Strange { server, path: path.clone(), status: reply.status, what }
        })?;
        // Servers need not filter.
        let of_kind = |one: &Referrer| one.artifact_type.as_deref() == Some(kind);
        Ok(index.manifests.into_iter().filter(of_kind).collect())
    }

    fn genuine(&self, digest: &Digest, bytes: Bytes) -> Result<Bytes, ClientError> {
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(ClientError::Tampered { server: self.server.clone(), digest: digest.to_string() })
    }

    /// An answer that is no success: the first error of the body, or what its status says.
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

/// What a status means when nobody says more: the body of an answer to `HEAD` is empty.
fn way_out(status: StatusCode) -> String {
    match status {
        StatusCode::UNAUTHORIZED => "the registry wants a token; give one that it made",
        StatusCode::FORBIDDEN => "the token does not suffice for this; ask for one that does",
        StatusCode::NOT_FOUND => "there is no such thing",
        StatusCode::TOO_MANY_REQUESTS => "the registry is busy; try again in a while",
        _ => "the registry said no more",
    }
    .to_owned()
}
