//! The request as a value.
//!
//! An [`Exchange`] is one request and its response, without bodies and without sockets. Filters see a
//! [`View`] of it, which contains exactly the fields they declared ([`ReadableFields`]), and answer with values:
//! [`Decision`], [`Choice`], [`RetryDecision`], [`Circuit`]. Edits are checked against what a filter may
//! write ([`WritableFields`]) before any of them applies. A request that cannot be served gives a [`Refusal`].
//!
//! This crate does no I/O: it opens nothing, reads no clock and knows no filter.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
// Octets of strangers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod accept;
mod body;
mod client_address;
mod coding;
mod edit;
mod exchange;
mod field_values;
mod fields;
mod head_bounds;
mod head_side;
mod hooks;
mod host_pattern;
mod kept;
mod method;
mod prefixes;
mod refusal;
mod reply;
mod spare;
mod target;
mod upgrade;
mod view;

pub use accept::{accept_head, accept_whole_body, chunk_rule};
pub use body::{Body, BodyError, ChannelBody, FrameSender};
pub use client_address::{ChainNode, ClientChain, ForwardedField, MAX_CHAIN, TrustedProxies};
pub use coding::ContentCoding;
pub use edit::{
    Edit, EditError, FieldLine, MAX_ATTRIBUTES, MAX_ATTRIBUTES_OCTETS, MAX_RESPONSE_HEAD_OCTETS,
    ROUTER_REASON, WritableFields, apply, change_trailers, check, head_size, is_framing_header,
    is_host_attribute,
};
pub use exchange::{Attributes, Exchange, Scheme};
pub use field_values::trim_values;
pub use fields::{
    is_host_field, is_host_look_alike, is_odd, is_origin_field, is_same_name, may_follow_a_body,
};
pub use head_bounds::{HeadBound, HeadBounds, MAX_FIELDS, MAX_HEAD_OCTETS};
pub use head_side::HeadSide;
pub use hooks::{
    Cause, Choice, Circuit, ConnectionDecision, ConnectionVerdict, Decision, ExchangeEnding,
    Failure, Mirror, NONE, NameKind, Outcome, RetryDecision, RetryVerdict, Selection, Summary,
    Verdict, Window,
};
pub use host_pattern::HostPattern;
pub use kept::{KeptFieldSpan, KeptFields, MAX_KEPT_OCTETS};
pub use method::misspelt_method;
pub use prefixes::{AddressPrefixes, InvalidPrefix};
pub use refusal::{Fault, Refusal};
pub use reply::{Reply, check_reply};
pub use spare::{header_value, text};
pub use target::{
    AmbiguityRule, EmptySegmentRule, Escapes, PathRules, TargetError, normal_authority, normal_path,
};
pub use upgrade::{Protocols, is_agreed, is_carried};
pub use view::{
    FieldSpan, MAX_VIEW_OCTETS, Method, ReadableFields, ReadsError, Selector, TRAILER, View,
};
