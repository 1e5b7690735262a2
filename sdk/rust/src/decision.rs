//! Builders for the answers of a filter: replies, edits, decisions.

use crate::types::{Attribute, Edit, Field, Reply};
use crate::{connection, request, request_body, response, response_body, retry, trailers};

/// Starts a reply: `reply(403).header("x-why", "no token").text("forbidden")`.
#[must_use]
pub fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: Vec::new() }
}

/// Starts a gRPC reply with that status and message: `grpc_reply(7, "not for you")` is `PERMISSION_DENIED`. It is
/// a response without a body, whose head has the status ("gRPC over HTTP/2", Trailers-Only).
#[must_use]
pub fn grpc_reply(status: u16, message: &str) -> Reply {
    let reply = reply(200)
        .header("content-type", "application/grpc")
        .header("grpc-status", status.to_string());
    if message.is_empty() { reply } else { reply.header("grpc-message", escaped(message)) }
}

/// A message as gRPC sends it: all but visible ASCII in percent-encoding ("gRPC over HTTP/2", Percent-Encoded).
fn escaped(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for octet in message.bytes() {
        match octet {
            b'%' => text.push_str("%25"),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text.push_str(&format!("%{octet:02X}")),
        }
    }
    text
}

impl Reply {
    /// Adds a header field; the name must be lower case.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(Field { name: name.into(), value: value.into() });
        self
    }

    /// Sets the body; the host writes `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body and the content type `text/plain`.
    #[must_use]
    pub fn text(self, body: impl Into<String>) -> Self {
        self.header("content-type", "text/plain; charset=utf-8").body(body.into())
    }
}

impl Edit {
    /// Replaces every field of that name.
    #[must_use]
    pub fn set(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::SetHeader(Field { name: name.into(), value: value.into() })
    }

    /// Adds a field after those of that name.
    #[must_use]
    pub fn add(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::AddHeader(Field { name: name.into(), value: value.into() })
    }

    /// Removes every field of that name.
    #[must_use]
    pub fn remove(name: impl Into<String>) -> Self {
        Self::RemoveHeader(name.into())
    }

    /// Replaces path and query.
    #[must_use]
    pub fn path(path: impl Into<String>) -> Self {
        Self::SetPath(path.into())
    }

    /// Replaces the authority.
    #[must_use]
    pub fn authority(authority: impl Into<String>) -> Self {
        Self::SetAuthority(authority.into())
    }

    /// Sets the status of a response; its body stays.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::SetStatus(status)
    }

    /// Sets the method of a request.
    #[must_use]
    pub fn method(method: impl Into<String>) -> Self {
        Self::SetMethod(method.into())
    }

    /// Has the host encode the body of a response on its way to the client: `gzip`, `br` or `zstd`.
    #[must_use]
    pub fn encode(coding: impl Into<String>) -> Self {
        Self::set(":coding", coding.into())
    }

    /// Sets an attribute for later filters of this exchange; never sent.
    #[must_use]
    pub fn attribute(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::SetAttribute(Attribute { name: name.into(), value: value.into() })
    }
}

macro_rules! because {
    ($($module:ident),+) => {$(
        impl $module::Decision {
            /// Names the rule behind the decision, for the decision trail: `jwt.expired`.
            #[must_use]
            pub fn because(mut self, reason: impl Into<String>) -> Self {
                self.reason = Some(reason.into());
                self
            }
        }
        impl From<$module::Verdict> for $module::Decision {
            fn from(verdict: $module::Verdict) -> Self {
                Self { verdict, reason: None }
            }
        }
    )+};
}

because!(request, request_body, response, response_body, trailers, connection, retry);

impl trailers::Decision {
    /// Continue, nothing to change.
    #[must_use]
    pub fn pass() -> Self {
        trailers::Verdict::Pass.into()
    }
    /// Continue with these changes, such as `Edit::set("grpc-status", "7")`.
    #[must_use]
    pub fn change(edits: Vec<Edit>) -> Self {
        if edits.is_empty() { Self::pass() } else { trailers::Verdict::Change(edits).into() }
    }
}

macro_rules! heads {
    ($($module:ident),+) => {$(
        impl $module::Decision {
            /// Continue, nothing to change.
            #[must_use]
            pub fn pass() -> Self {
                $module::Verdict::Pass.into()
            }
            /// Continue with these changes; an empty list is the same as [`Self::pass`].
            #[must_use]
            pub fn change(edits: Vec<Edit>) -> Self {
                if edits.is_empty() { Self::pass() } else { $module::Verdict::Change(edits).into() }
            }
            /// Answer with this reply.
            #[must_use]
            pub fn answer(reply: Reply) -> Self {
                $module::Verdict::Answer(reply).into()
            }
        }
    )+};
}

heads!(request, response);

macro_rules! bodies {
    ($($module:ident),+) => {$(
        impl $module::Decision {
            /// Continue with the bytes unchanged.
            #[must_use]
            pub fn pass() -> Self {
                $module::Verdict::Pass.into()
            }
            /// Continue with these changes of the head, which is held (whole bodies only).
            #[must_use]
            pub fn change(edits: Vec<Edit>) -> Self {
                $module::Verdict::Change($module::Change { octets: None, edits }).into()
            }
            /// Continue with other bytes and with these changes of the head (whole bodies only).
            #[must_use]
            pub fn rewrite(octets: impl Into<Vec<u8>>, edits: Vec<Edit>) -> Self {
                let octets = Some(octets.into());
                $module::Verdict::Change($module::Change { octets, edits }).into()
            }
            /// See these bytes again in front of the next ones (chunks only).
            #[must_use]
            pub fn hold() -> Self {
                $module::Verdict::Hold.into()
            }
            /// Continue with other bytes.
            #[must_use]
            pub fn replace(octets: impl Into<Vec<u8>>) -> Self {
                $module::Verdict::Replace(octets.into()).into()
            }
            /// Answer with this reply.
            #[must_use]
            pub fn answer(reply: Reply) -> Self {
                $module::Verdict::Answer(reply).into()
            }
        }
    )+};
}

bodies!(request_body, response_body);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_reply_has_its_status_in_the_head_and_a_message_that_can_be_sent() {
        for (message, sent) in [
            ("", None),
            ("not for you", Some("not for you")),
            ("100% ä\n", Some("100%25 %C3%A4%0A")),
        ] {
            let reply = grpc_reply(7, message);
            let value = |name: &str| {
                let field = reply.headers.iter().find(|field| field.name == name);
                field.map(|field| std::str::from_utf8(&field.value).unwrap())
            };
            assert_eq!((reply.status, value("grpc-status")), (200, Some("7")));
            assert_eq!(value("content-type"), Some("application/grpc"));
            assert_eq!(value("grpc-message"), sent);
        }
    }
}
