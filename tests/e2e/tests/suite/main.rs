//! The guarantees of Tamis, tested with real processes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests: what is wrong here fails the test"
)]

mod acme;
mod admin;
mod agreements;
mod author;
mod authorization;
mod backend_tls;
mod bad_input;
mod call_outs;
mod capture;
mod client_addresses;
mod compression;
mod connections;
mod control;
mod datagrams;
mod docs;
mod examples;
mod filter_run;
mod filters;
mod fleet;
mod grpc_web;
mod guests;
mod hostile;
mod http;
mod http3;
mod identity;
mod lifecycle;
mod listener_hosts;
mod login;
mod loops;
mod lost_key;
mod messages;
mod mistakes;
mod named_files;
mod passwords;
mod paths;
mod planted;
mod policies;
mod registry;
mod retries;
mod shop;
mod streams;
mod swap;
mod tcp;
mod tokens;
mod traffic;
mod translation;
mod tunnels;
