//! What a path names (OCI Distribution 1.1, "Endpoints").
//!
//! The name of a repository contains slashes itself, so a path is read from its end: its last parts
//! determine the endpoint.

use percent_encoding::percent_decode_str;

use crate::name::{NameError, Repository};

/// What a path names. The part after the repository is still text: only its endpoint can check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/NAME/blobs/DIGEST`
    Blob(Repository, String),
    /// `/v2/NAME/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/NAME/blobs/uploads/ID`
    Upload(Repository, String),
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest(Repository, String),
    /// `/v2/NAME/tags/list`
    Tags(Repository),
    /// `/v2/NAME/referrers/DIGEST`
    Referrers(Repository, String),
}

/// Why a path names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathError {
    /// No endpoint has this form.
    Unknown,
    /// The form is right, but the repository's name is not.
    Name(NameError),
}

impl Route {
    /// Reads the path of a request target, percent-encoded as received.
    pub(crate) fn parse(path: &str) -> Result<Self, PathError> {
        // Some clients encode the colon of a digest.
        let path = percent_decode_str(path).decode_utf8().map_err(|_| PathError::Unknown)?;
        if path == "/v2/" || path == "/v2" {
            return Ok(Self::Base);
        }
        let rest = path.strip_prefix("/v2/").ok_or(PathError::Unknown)?;
        let (form, name, last) = form(rest).ok_or(PathError::Unknown)?;
        let name = name.parse().map_err(PathError::Name)?;
        Ok(match form {
            Form::Blob => Self::Blob(name, last.to_owned()),
            Form::Uploads => Self::Uploads(name),
            Form::Upload => Self::Upload(name, last.to_owned()),
            Form::Manifest => Self::Manifest(name, last.to_owned()),
            Form::Tags => Self::Tags(name),
            Form::Referrers => Self::Referrers(name, last.to_owned()),
        })
    }
}

enum Form {
    Blob,
    Uploads,
    Upload,
    Manifest,
    Tags,
    Referrers,
}

/// The form of a path, the name in it and its last part.
fn form(path: &str) -> Option<(Form, &str, &str)> {
    for end in ["/blobs/uploads/", "/blobs/uploads"] {
        if let Some(name) = path.strip_suffix(end) {
            return Some((Form::Uploads, name, ""));
        }
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Some((Form::Tags, name, ""));
    }
    let (before, last) = path.rsplit_once('/')?;
    let forms = [
        ("/blobs/uploads", Form::Upload),
        ("/blobs", Form::Blob),
        ("/manifests", Form::Manifest),
        ("/referrers", Form::Referrers),
    ];
    forms.into_iter().find_map(|(end, form)| Some((form, before.strip_suffix(end)?, last)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Repository {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_read_from_its_end() {
        for (path, route) in [
            ("/v2/", Route::Base),
            ("/v2", Route::Base),
            ("/v2/a/b/c/manifests/latest", Route::Manifest(name("a/b/c"), "latest".into())),
            ("/v2/a/blobs/sha256:00", Route::Blob(name("a"), "sha256:00".into())),
            ("/v2/a/blobs/sha256%3A00", Route::Blob(name("a"), "sha256:00".into())),
            ("/v2/a/blobs/uploads/", Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads", Route::Uploads(name("a"))),
            ("/v2/a/b/blobs/uploads/7", Route::Upload(name("a/b"), "7".into())),
            ("/v2/a/tags/list", Route::Tags(name("a"))),
            ("/v2/a/referrers/x", Route::Referrers(name("a"), "x".into())),
            // Repositories may have names like the words around them.
            ("/v2/blobs/uploads/manifests/1", Route::Manifest(name("blobs/uploads"), "1".into())),
            ("/v2/tags/list/tags/list", Route::Tags(name("tags/list"))),
            ("/v2/manifests/blobs/blobs/uploads/", Route::Uploads(name("manifests/blobs"))),
        ] {
            assert_eq!(Route::parse(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn what_names_nothing_is_told_from_a_bad_name() {
        for path in
            ["", "/", "/v1/", "/v2/a", "/v2/a/b", "/v2/_catalog", "/v2/a/tags", "/v2/%ff/tags/list"]
        {
            assert_eq!(Route::parse(path), Err(PathError::Unknown), "{path}");
        }
        for path in
            ["/v2/A/tags/list", "/v2//tags/list", "/v2/a/../b/manifests/x", "/v2/a%2F/blobs/x"]
        {
            assert!(matches!(Route::parse(path), Err(PathError::Name(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_name_and_reference_come_back(
            parts in prop::collection::vec("blobs|uploads|tags|list|manifests|referrers|[a-z0-9]{1,4}", 1..6),
            last in "[A-Za-z0-9_:.]{1,20}",
        ) {
            let repository = name(&parts.join("/"));
            for (word, route) in [
                ("manifests", Route::Manifest(repository.clone(), last.clone())),
                ("referrers", Route::Referrers(repository.clone(), last.clone())),
            ] {
                prop_assert_eq!(Route::parse(&format!("/v2/{repository}/{word}/{last}")), Ok(route));
            }
        }

        #[test]
        fn no_path_makes_the_parser_panic(path in ".{0,60}", words in "(/(v2|blobs|uploads|tags|list|%2[fF]|%)){0,8}/?") {
            let _ = Route::parse(&path);
            let _ = Route::parse(&words);
        }
    }
}
