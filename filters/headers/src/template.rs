//! Values with placeholders: `{source.address}` stands for an attribute of the host.

use std::fmt;

use tamis_sdk::View;

/// An attribute that a value may name. The host sets each of them; neither a client nor a filter can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateAttribute {
    /// IP address of the client.
    SourceAddress,
    /// Listener that accepted the connection.
    ListenerName,
    /// SPIFFE id of the client's certificate.
    PeerSpiffeId,
    /// Version of TLS.
    TlsVersion,
    /// Server name that the client asked for.
    TlsSni,
    /// Rule that matched.
    RouteName,
}

impl TemplateAttribute {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SourceAddress,
        Self::ListenerName,
        Self::PeerSpiffeId,
        Self::TlsVersion,
        Self::TlsSni,
        Self::RouteName,
    ];

    /// As `interest.reads` names it.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::SourceAddress => "@source.address",
            Self::ListenerName => "@listener.name",
            Self::PeerSpiffeId => "@peer.spiffe-id",
            Self::TlsVersion => "@tls.version",
            Self::TlsSni => "@tls.sni",
            Self::RouteName => "@route.name",
        }
    }

    /// As a placeholder names it.
    fn name(self) -> &'static str {
        self.attribute().trim_start_matches('@')
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.name() == name)
    }
}

/// A value of a field, perhaps with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute(TemplateAttribute),
}

/// Why a text is not a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// Longer than [`MAX_OCTETS`].
    Long,
    /// A character that a field's value must not have (RFC 9110 §5.5).
    Character,
    /// `{` without `}`, or `}` alone.
    Brace,
    /// A placeholder that does not exist.
    Unknown(String),
}

/// Bytes of a value, as written and as sent.
pub const MAX_OCTETS: usize = 4096;

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long => write!(f, "a value has at most {MAX_OCTETS} bytes"),
            Self::Character => f.write_str(
                "a value is visible ASCII, with spaces or tabs between words only (RFC 9110 §5.5)",
            ),
            Self::Brace => f.write_str(
                "a brace is open or stands alone: write {{ and }} for the characters themselves",
            ),
            Self::Unknown(name) => {
                let known: Vec<&str> =
                    TemplateAttribute::ALL.iter().map(|fact| fact.name()).collect();
                write!(
                    f,
                    "there is no placeholder {name:?}; there are {}, and {{{{ stands for a brace",
                    known.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses a value; `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_OCTETS {
            return Err(TemplateError::Long);
        }
        if !is_field_value(text.as_bytes()) {
            return Err(TemplateError::Character);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some((after, sign)) = doubled(brace) {
                plain.push(sign);
                rest = after;
                continue;
            }
            let inner = brace.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
            let fact = TemplateAttribute::named(name)
                .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Attribute(fact));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The attributes that it names, in order.
    pub fn facts(&self) -> impl Iterator<Item = TemplateAttribute> {
        self.parts.iter().filter_map(|part| match part {
            Part::Attribute(fact) => Some(*fact),
            Part::Text(_) => None,
        })
    }

    /// The value for an exchange. `None`: an attribute is absent, or what results is no value of a field.
    #[must_use]
    pub fn text(&self, seen: View<'_>) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => value.extend_from_slice(text.as_bytes()),
                Part::Attribute(fact) => {
                    value.extend_from_slice(seen.header(fact.attribute())?);
                }
            }
        }
        (value.len() <= MAX_OCTETS && is_field_value(&value)).then_some(value)
    }
}

/// The text after a doubled brace, and the brace.
fn doubled(text: &str) -> Option<(&str, char)> {
    let open = text.strip_prefix("{{").map(|after| (after, '{'));
    open.or_else(|| text.strip_prefix("}}").map(|after| (after, '}')))
}

/// Visible ASCII with blanks inside only (RFC 9110 §5.5).
fn is_field_value(octets: &[u8]) -> bool {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let ends = octets.first().is_some_and(blank) || octets.last().is_some_and(blank);
    !ends && octets.iter().all(|octet| octet.is_ascii_graphic() || blank(octet))
}
