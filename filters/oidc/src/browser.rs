//! What a request says about who sent it: a person who opens a page, or a program; this site, or another one.

use tamis_sdk::{Method, View};

/// The fields that are looked at here.
pub const FIELDS: [&str; 6] = [
    "accept",
    "origin",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-key",
    "x-requested-with",
];

/// Whether a person opens a page, so that a redirect leads somewhere. A program that gets the page of a login instead of data
/// cannot use it; it gets a status.
#[must_use]
pub fn navigates(seen: View<'_>) -> bool {
    let program =
        seen.header("x-requested-with").is_some() || seen.header("sec-websocket-key").is_some();
    if program || seen.method() != Method::Get {
        return false;
    }
    match only(seen, "sec-fetch-mode") {
        SingleField::One(mode) => mode == b"navigate",
        SingleField::Many => false,
        // Browsers before Fetch Metadata, and those without TLS.
        SingleField::None => seen.headers("accept").any(accepts_html),
    }
}

fn accepts_html(accept: &[u8]) -> bool {
    accept.split(|octet| *octet == b',').any(|range| {
        let kind = range.split(|octet| *octet == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

/// Whether a page of this site makes the browser send the request. A browser that says nothing about it counts as another
/// site: everybody who may change something can say it.
#[must_use]
pub fn is_same_origin(seen: View<'_>, origin: &str) -> bool {
    match (only(seen, "sec-fetch-site"), only(seen, "origin")) {
        (SingleField::One(site), SingleField::None) => site == b"same-origin",
        (SingleField::One(site), SingleField::One(named)) => {
            site == b"same-origin" && named.eq_ignore_ascii_case(origin.as_bytes())
        }
        (SingleField::None, SingleField::One(named)) => {
            named.eq_ignore_ascii_case(origin.as_bytes())
        }
        (SingleField::None, SingleField::None)
        | (SingleField::Many, _)
        | (_, SingleField::Many) => false,
    }
}

/// A field that may occur once.
enum SingleField<'a> {
    None,
    One(&'a [u8]),
    Many,
}

fn only<'a>(seen: View<'a>, name: &str) -> SingleField<'a> {
    let mut fields = seen.headers(name);
    match (fields.next(), fields.next()) {
        (None, _) => SingleField::None,
        (Some(one), None) => SingleField::One(one),
        (Some(_), Some(_)) => SingleField::Many,
    }
}
