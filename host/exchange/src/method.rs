//! Methods that servers know, and their one spelling.

use http::Method;

/// The methods of RFC 9110 §9.3 and RFC 5789.
static METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The method that servers know, if this one differs from it in case only. Methods are case-sensitive (RFC 9110 §9.1), so a route
/// or a policy for `POST` does not match `post`, but many frameworks behind a proxy take it for `POST`.
pub fn misspelt_method(method: &Method) -> Option<&'static Method> {
    if METHODS.contains(method) {
        return None;
    }
    METHODS.iter().find(|known| known.as_str().eq_ignore_ascii_case(method.as_str()))
}
