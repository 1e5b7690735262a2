//! The mesh's certificate authority: who a proxy is, signed for an hour.
//!
//! A [`RootAuthority`] signs intermediates; its key may stay offline. A [`CertificateAuthority`] keeps the
//! current intermediate in a folder and signs X.509 SVIDs for keys of proxies. It decides nothing: the id
//! comes from the caller, who knows the documents, and never from the request of the proxy, of which only the
//! public key is used. A [`JoinLedger`] decides whether a one-time [`JoinToken`] admits a proxy for the first
//! time.
//!
//! ```
//! use std::time::Duration;
//! use tamis_ambient::{Clock, Random};
//! use tamis_authority::CertificateAuthority;
//!
//! let folder = tempfile::tempdir()?;
//! let domain = "shop.example".parse()?;
//! let (clock, random) = (Clock::system(), Random::system());
//! let authority = CertificateAuthority::open(folder.path(), &domain, random, clock.wall())?;
//! let key = rcgen::KeyPair::generate()?;
//! let request = rcgen::CertificateParams::default().serialize_request(&key)?;
//! let id = "spiffe://shop.example/ns/shop/pay".parse()?;
//! let svid = authority.issue(request.der(), &id, Duration::from_secs(3_600), clock.wall())?;
//! assert!(svid.chain.starts_with("-----BEGIN CERTIFICATE-----"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod authority;
mod error;
mod files;
mod intermediate;
mod join;
mod lineage;
mod offline;
mod pem;
mod request;
mod root;
mod validity;

pub use authority::{
    CertificateAuthority, IssuedSvid, SVID_LIFETIME, SVID_LIFETIME_MAX, SVID_LIFETIME_MIN, extends,
    node_subject,
};
pub use error::AuthorityError;
pub use intermediate::IntermediateAuthority;
pub use join::{
    JoinLedger, JoinMaker, JoinRecord, JoinRefusal, JoinToken, JoinTokenError, JoinTokenState,
};
pub use lineage::SvidLineage;
pub use request::request_key;
pub use root::RootAuthority;
pub use validity::{OFFLINE_LIFETIME, OFFLINE_LIFETIME_MAX, OFFLINE_LIFETIME_MIN, issued};
