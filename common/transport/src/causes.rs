//! What is shown of an error.

use std::error::Error;

/// An error with its causes, on one line; a cause that is already in the text before it is not repeated.
///
/// The TLS library ends some of its messages with an address in its manual, which is for its users and not for those of a
/// proxy: the address is left out.
#[must_use]
pub fn causes(error: &(dyn Error + '_)) -> String {
    let said = |error: &dyn Error| {
        let text = error.to_string();
        text.split(": https://docs.rs/").next().unwrap_or_default().to_owned()
    };
    let mut text = said(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let said = said(cause);
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_is_shown_of_an_error_leads_to_no_manual_and_says_nothing_twice() {
        #[derive(Debug)]
        struct Said(&'static str, Option<Box<Self>>);
        impl std::fmt::Display for Said {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Said {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.1.as_deref().map(|cause| cause as _)
            }
        }
        let of = |said: &[&'static str]| {
            let all = said.iter().rev().fold(None, |cause, said| Some(Box::new(Said(said, cause))));
            causes(&*all.unwrap())
        };
        for (said, shown) in [
            (&["no peer certificate"][..], "no peer certificate"),
            (
                &["closed: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html"],
                "closed",
            ),
            (&["broken", "closed: https://docs.rs/rustls/#unexpected-eof"], "broken: closed"),
            (&["broken: closed", "closed"], "broken: closed"),
            (&["a", "b", "c"], "a: b: c"),
            // An address that is the matter itself stays.
            (&["cannot reach https://idp.example/keys"], "cannot reach https://idp.example/keys"),
        ] {
            assert_eq!(of(said), shown, "{said:?}");
        }
    }
}
