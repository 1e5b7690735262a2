//! Edits of a head by filters: for every input the limits hold, all edits of a verdict apply or none, and
//! nothing panics.

use tamis_exchange::{
    Attributes, Edit, Exchange, FieldLine, HeadSide, MAX_FIELDS, MAX_HEAD_OCTETS, Scheme,
    WritableFields, apply, check, head_size, is_host_attribute, is_host_field,
};

/// Verdicts, one after the other, as from a chain of filters.
const VERDICTS_MAX: usize = 64;
/// Edits of one verdict before repetition.
const EDITS_MAX: usize = 256;

/// Octets that an input is blown up to at most, so that its time is that of what is tested.
const BLOWN_UP_MAX: usize = 64 << 20;

/// Takes bytes one after the other; zeros when there are no more. Counts what long values came to.
struct Octets<'a>(&'a [u8], usize);

impl<'a> Octets<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn some(&mut self, count: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        some
    }

    /// Usually short, and sometimes as long as an attacker would make it.
    fn octets(&mut self) -> Vec<u8> {
        let size = usize::from(self.byte());
        let long = match size {
            _ if self.1 > BLOWN_UP_MAX => 0,
            0xff => 363_000,
            0xfe => 70_000,
            0xfd => 4_000,
            _ => 0,
        };
        self.1 += long;
        if long > 0 { vec![b'a'; long] } else { self.some(size % 32).to_vec() }
    }

    fn text(&mut self) -> String {
        const KNOWN: [&str; 10] = [
            "x-a",
            "x-b",
            "cookie",
            "x-forwarded-for",
            "x_forwarded_for",
            "via",
            "x-tamis-reason",
            "content-length",
            "peer.spiffe-id",
            "auth.subject",
        ];
        match KNOWN.get(usize::from(self.byte())) {
            Some(known) => (*known).to_owned(),
            None => String::from_utf8_lossy(&self.octets()).into_owned(),
        }
    }

    fn edit(&mut self) -> Edit {
        match self.byte() % 9 {
            0 => Edit::SetHeader(FieldLine { name: self.text(), value: self.octets() }),
            1 => Edit::AddHeader(FieldLine { name: self.text(), value: self.octets() }),
            2 => Edit::RemoveHeader(self.text()),
            3 => Edit::SetPath(format!("/{}", self.text())),
            4 => Edit::SetAuthority(self.text()),
            5 => Edit::SetStatus(u16::from(self.byte()) * 3),
            6 => Edit::SetMethod(self.text()),
            7 => Edit::EncodeBody(self.text()),
            _ => Edit::SetAttribute {
                name: self.text(),
                value: String::from_utf8_lossy(&self.octets()).into_owned(),
            },
        }
    }

    /// The edits of a verdict. Sometimes one is repeated many times, each time with another name.
    fn verdict(&mut self) -> Vec<Edit> {
        let mut edits: Vec<Edit> =
            (0..usize::from(self.byte()) % EDITS_MAX).map(|_| self.edit()).collect();
        let many = match self.byte() {
            0xff => 30_000,
            0xfe => 1_100,
            0xfd => 600,
            0xfc => 200,
            _ => 0,
        };
        let own = |n: usize| {
            let value = vec![b'v'; n % 700];
            Edit::AddHeader(FieldLine { name: format!("x-own-{n}"), value })
        };
        edits.extend((0..many).map(own));
        edits
    }
}

/// The same values for whoever compares before and after.
fn seen(exchange: &Exchange) -> String {
    format!(
        "{:?} {:?} {} {} {:?}",
        exchange.headers,
        exchange.response_headers,
        exchange.path,
        exchange.authority,
        exchange.attributes
    )
}

fn facts(exchange: &Exchange) -> (Option<String>, Vec<(String, Vec<u8>)>) {
    let peer = exchange.attributes.find("peer.spiffe-id").map(str::to_owned);
    let own = exchange.headers.iter().filter(|(name, _)| is_host_field(name.as_str()));
    (peer, own.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect())
}

/// A chain of filters edits a head. The first byte selects its original size.
pub fn edits(data: &[u8]) {
    let mut octets = Octets(data, 0);
    let mut exchange = Exchange {
        id: 1,
        method: http::Method::GET,
        scheme: Scheme::Https,
        authority: "shop.example".into(),
        path: "/".into(),
        headers: http::HeaderMap::new(),
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes: Attributes::default(),
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    };
    // 0 to 1,020: also heads that came with more fields than any may have afterwards.
    for n in 0..usize::from(octets.byte()) * 4 {
        let name: http::HeaderName = format!("x-came-{n}").parse().unwrap();
        exchange.headers.append(name, http::HeaderValue::from_static("a"));
    }
    exchange.headers.insert("x-forwarded-for", http::HeaderValue::from_static("10.0.0.1"));
    exchange.attributes.set("peer.spiffe-id", "spiffe://mesh/me");
    let (stated, any) = (facts(&exchange), WritableFields::everything());
    for _ in 0..VERDICTS_MAX {
        if octets.0.is_empty() {
            break;
        }
        let side =
            if octets.byte().is_multiple_of(2) { HeadSide::Request } else { HeadSide::Response };
        let edits = octets.verdict();
        let (before, was) = (head_size(&exchange.headers), seen(&exchange));
        let done =
            check(&edits, &any, side).and_then(|()| apply(&edits, &any, &mut exchange, side));
        if done.is_err() {
            assert_eq!(seen(&exchange), was, "refused, and something was changed");
        }
        let (fields, size) = head_size(&exchange.headers);
        assert!(fields <= before.0.max(MAX_FIELDS), "{fields} fields");
        assert!(size <= before.1.max(MAX_HEAD_OCTETS), "{size} octets");
        let (fields, size) = head_size(&exchange.response_headers);
        assert!(fields <= MAX_FIELDS && size <= MAX_HEAD_OCTETS, "{fields} fields, {size} octets");
        assert_eq!(facts(&exchange), stated, "what the host states");
        assert!(exchange.path.starts_with('/') && exchange.path.len() <= 96 * 1024 + 1);
        assert!(exchange.authority.len() < 512);
        let attributes = exchange.attributes.iter().filter(|(name, _)| is_host_attribute(name));
        assert_eq!(attributes.count(), 1);
    }
}
