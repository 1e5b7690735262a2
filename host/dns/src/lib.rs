//! Answers DNS for the applications of one machine: the names of the mesh itself, everything else by asking the resolvers of
//! the machine.
//!
//! A question comes in over UDP or TCP on a loopback address ([`Answerer`]), is answered from the [`Zone`], or is forwarded
//! octet by octet, with a number of ours. Nothing is kept of what resolvers answer. Not an open resolver: it listens on
//! loopback addresses alone.
//!
//! ```
//! use tamis_dns::Zone;
//! let mut zone = Zone::default();
//! zone.insert("payments.shop.mesh", "240.1.2.3".parse()?);
//! assert_eq!(zone.address("Payments.Shop.Mesh."), Some("240.1.2.3".parse()?));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]
// Octets of applications and resolvers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod answerer;
mod forward;
mod resolvers;
mod zone;

pub use answerer::{Answerer, AnswererError};
pub use resolvers::Resolvers;
pub use zone::{TTL_SECONDS, Zone};
