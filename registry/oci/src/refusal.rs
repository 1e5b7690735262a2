//! Error responses in the form of OCI Distribution 1.1 ("Error Codes").

use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use tamis_journal::{BlobError, DigestError, JournalError, UploadIdError};

use crate::manifest::ManifestError;
use crate::name::NameError;

/// The codes of the specification, and one for failures of the registry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// There is no such blob in the repository.
    BlobUnknown,
    /// The upload cannot continue like this.
    BlobUploadInvalid,
    /// There is no such upload.
    BlobUploadUnknown,
    /// Not a digest, or not that of the content.
    DigestInvalid,
    /// The manifest refers to something that is not in the repository.
    ManifestBlobUnknown,
    /// Not a manifest.
    ManifestInvalid,
    /// There is no such manifest in the repository.
    ManifestUnknown,
    /// Not the name of a repository.
    NameInvalid,
    /// There is no such repository.
    NameUnknown,
    /// Too large, or not of the stated length.
    SizeInvalid,
    /// Credentials are missing or unknown.
    Unauthorized,
    /// The credentials lack the right, or a rule of the registry refuses.
    Denied,
    /// The registry does not support this.
    Unsupported,
    /// Try again later.
    TooManyRequests,
    /// The registry failed.
    Unknown,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Its status unless the endpoint chooses another.
    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid => StatusCode::BAD_REQUEST,
            Self::SizeInvalid => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone)]
pub struct OciRefusal {
    code: Code,
    status: StatusCode,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl OciRefusal {
    /// A refusal with the status of its code. The message names the rule and the way out.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, status: code.status(), message: message.into(), headers: Vec::new() }
    }

    /// Credentials are missing or unknown, or hold no more. Clients learn from the challenge which to send, and send none
    /// before.
    pub(crate) fn unauthorized(message: &str) -> Self {
        let message = format!(
            "{message}; send a token as the password of Basic, with any user, or as a Bearer token"
        );
        let challenge = "Basic realm=\"tamis\", charset=\"UTF-8\"";
        Self::new(Code::Unauthorized, message).header(header::WWW_AUTHENTICATE, challenge)
    }

    /// With another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With one more header; an invalid one is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// A failure of the registry. The cause goes to the log: clients should not see it.
    pub(crate) fn failed(act: &'static str, error: &dyn std::error::Error) -> Self {
        let causes = tamis_journal::causes(error);
        tracing::error!(act, error = causes, "the registry failed");
        Self::new(Code::Unknown, format!("the registry could not {act}; its log shows why"))
    }

    /// Another request is working at the same place.
    pub(crate) fn later(message: &'static str) -> Self {
        Self::new(Code::TooManyRequests, message).header(header::RETRY_AFTER, "1")
    }

    /// Whether the disk of the registry is full.
    #[must_use]
    pub fn is_out_of_room(&self) -> bool {
        self.status == StatusCode::INSUFFICIENT_STORAGE
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for OciRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused ({}): {}", self.code.text(), self.message)
    }
}

impl std::error::Error for OciRefusal {}

impl IntoResponse for OciRefusal {
    fn into_response(self) -> Response {
        let error = json!({ "code": self.code.text(), "message": self.message });
        let body = json!({ "errors": [error] }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.headers);
        response
    }
}

impl From<NameError> for OciRefusal {
    fn from(error: NameError) -> Self {
        let code = match &error {
            NameError::Repository(_) => Code::NameInvalid,
            NameError::Tag(_) => Code::ManifestInvalid,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ManifestError> for OciRefusal {
    fn from(error: ManifestError) -> Self {
        Self::new(Code::ManifestInvalid, error.to_string())
    }
}

impl From<BlobError> for OciRefusal {
    fn from(error: BlobError) -> Self {
        let code = match &error {
            BlobError::DigestMismatch { .. } => Code::DigestInvalid,
            BlobError::UnknownUpload(_) => Code::BlobUploadUnknown,
            BlobError::Full => return full(&error),
            // If the view has it and storage does not, the registry is at fault: the blob is not unknown.
            _ => return Self::failed("use its storage", &error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<DigestError> for OciRefusal {
    fn from(error: DigestError) -> Self {
        Self::new(Code::DigestInvalid, error.to_string())
    }
}

impl From<UploadIdError> for OciRefusal {
    fn from(error: UploadIdError) -> Self {
        Self::new(Code::BlobUploadUnknown, error.to_string())
    }
}

impl From<JournalError> for OciRefusal {
    fn from(error: JournalError) -> Self {
        if matches!(error, JournalError::Full { .. }) {
            return full(&error);
        }
        let failed = Self::failed("use its journal", &error);
        match error {
            JournalError::Storage { .. }
            | JournalError::Silent { .. }
            | JournalError::Replaced { .. } => Self {
                message: "this registry cannot read its journal, so it does not know who may do what; ask another replica, or \
                          try again; its log shows why"
                    .to_owned(),
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..failed
            },
            _ => failed,
        }
    }
}

/// The disk is full: a request that writes nothing is served.
fn full(error: &dyn std::error::Error) -> OciRefusal {
    tracing::error!(%error, "the disk of the registry is full");
    let message = "the disk of the registry is full; its operators must free some of it, and pulls still work";
    OciRefusal::new(Code::Unknown, message).status(StatusCode::INSUFFICIENT_STORAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_detail_is_not_sent() {
        let inner = std::io::Error::other("/secret/path");
        let refusal = OciRefusal::failed("read", &inner);
        assert!(!refusal.to_string().contains("secret"));
        assert_eq!(refusal.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
