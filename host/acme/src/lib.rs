//! Orders certificates of hosts from an ACME server (RFC 8555), keeps them, and renews them.
//!
//! A [`CertificateIssuer`] follows [`IssuerSettings`]. It places an order for each host without a certificate, and for each
//! whose certificate has lived two thirds of its life. It proves control of the host through the
//! [`CertificateOrders`](tamis_transport::CertificateOrders) of the proxy, and writes the new certificate with its key into a
//! file of its folder, which the proxy reads. A certificate that would not work never replaces one.
//!
//! The server is a stranger. Only its directory's scheme, host and port are ever asked, no redirect is followed, and sizes,
//! waits and texts are bounded. The only crate that uses `instant-acme`.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]

mod account;
mod challenge;
mod directory;
mod directory_error;
mod error;
mod issuer;
mod kept;
mod order;
mod pace;
mod text;

pub use challenge::Challenge;
pub use directory_error::DirectoryError;
pub use error::AcmeError;
pub use issuer::{CertificateIssuer, IssuerOptions, IssuerSettings};
pub use kept::KeptCertificates;
pub use pace::Pace;
