//! The list of users: a line for each, as `htpasswd` writes it.

use std::collections::HashMap;
use std::fmt;

use tamis_callers::list;

/// Users of a list.
pub const MAX_USERS: usize = 1024;
/// Bytes of a user's name.
const MAX_NAME_OCTETS: usize = 64;
/// How the hashes begin that the host compares with.
const FORMS: [&str; 6] = ["$2a$", "$2b$", "$2y$", "$argon2id$", "$argon2i$", "$argon2d$"];

/// Users and hashes.
#[derive(Clone, PartialEq, Eq)]
pub struct Users {
    hashes: HashMap<String, String>,
    /// The hash that the password of somebody who is not in the list is compared with.
    first: String,
}

/// Shows only how many users there are.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("number", &self.hashes.len()).finish_non_exhaustive()
    }
}

/// What is wrong with a list. Nothing of its content is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsersError {
    /// No line has a user.
    Empty,
    /// More than [`MAX_USERS`].
    Many,
    /// Not text.
    Text,
    /// This line, from 1, is not a name and a hash.
    Line(usize),
    /// The hash of this line is fast, or none at all.
    Form(usize),
    /// This line has the user of an earlier one.
    Twice(usize),
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("it has no user; `htpasswd -nB NAME` prints the line of one")
            }
            Self::Many => write!(
                f,
                "it has more than {MAX_USERS} users; attach the filter twice, with a secret for each route"
            ),
            Self::Text => f.write_str("it is not text in UTF-8"),
            Self::Line(line) => write!(
                f,
                "line {line} is not `NAME:HASH`: a name of letters, digits, `.`, `_`, `-`, `+`, `@`, at most {MAX_NAME_OCTETS}, and a hash"
            ),
            Self::Form(line) => write!(
                f,
                "the hash in line {line} is neither one of bcrypt (`htpasswd -nB NAME`) nor one of Argon2 (`$argon2id$…`)"
            ),
            Self::Twice(line) => {
                write!(f, "line {line} has the user of an earlier line; a user has one password")
            }
        }
    }
}

impl std::error::Error for UsersError {}

impl Users {
    /// Parses a list; empty lines and those that begin with `#` are comments.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(octets: &[u8]) -> Result<Self, UsersError> {
        let (mut hashes, mut first) = (HashMap::new(), None);
        for (number, line) in list::entries(octets).ok_or(UsersError::Text)? {
            let (name, hash) = line.split_once(':').ok_or(UsersError::Line(number))?;
            if !is_name(name) || hash.is_empty() {
                return Err(UsersError::Line(number));
            }
            if !FORMS.iter().any(|form| hash.starts_with(form)) {
                return Err(UsersError::Form(number));
            }
            if hashes.len() == MAX_USERS {
                return Err(UsersError::Many);
            }
            if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(UsersError::Twice(number));
            }
            first.get_or_insert_with(|| hash.to_owned());
        }
        first.map(|first| Self { hashes, first }).ok_or(UsersError::Empty)
    }

    /// The hash of a user's password.
    #[must_use]
    pub fn hash(&self, name: &str) -> Option<&str> {
        self.hashes.get(name).map(String::as_str)
    }

    /// A hash for somebody who is not in the list: a refusal takes as long as that of a wrong password.
    #[must_use]
    pub fn first_hash(&self) -> &str {
        &self.first
    }
}

/// A name that a header and an attribute may carry.
fn is_name(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-+@".contains(&octet);
    (1..=MAX_NAME_OCTETS).contains(&name.len()) && name.bytes().all(plain)
}
