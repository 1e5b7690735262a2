//! The lines that a director sends.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use tamis_transport::causes;

/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 4 << 20;

/// The lines of a response.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    /// Number of bytes of `rest` known to contain no line end.
    looked: usize,
}

impl Lines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, rest: Vec::new(), looked: 0 }
    }

    /// The next line; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let unseen = self.rest.get(self.looked..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=self.looked + at).collect();
                self.looked = 0;
                line.pop();
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.looked = self.rest.len();
            if self.rest.len() >= MAX_LINE_BYTES {
                return Err(format!("a line has more than {MAX_LINE_BYTES} bytes"));
            }
            match self.body.frame().await {
                None if self.rest.is_empty() => return Ok(None),
                None => return Err("the last line does not end with a line break".to_owned()),
                Some(Err(error)) => return Err(causes(&error)),
                Some(Ok(frame)) => {
                    let piece = frame.into_data().unwrap_or_default();
                    self.rest.extend_from_slice(&piece);
                }
            }
        }
    }
}
