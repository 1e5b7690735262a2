//! Splits a body into lines.

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;

/// The longest line, in bytes.
pub(crate) const MAX_LINE_BYTES: usize = 4 << 20;

/// The lines of a body, as they arrive.
pub(crate) struct Lines {
    body: BodyDataStream,
    rest: Vec<u8>,
    /// Number of bytes of `rest` known to contain no line break.
    looked: usize,
}

impl Lines {
    pub(crate) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), rest: Vec::new(), looked: 0 }
    }

    /// The next line without its line break; `None` when the body ends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(line) = self.line() {
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.rest.len() >= MAX_LINE_BYTES {
                return Err(format!("a line has more than {MAX_LINE_BYTES} bytes"));
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.rest.extend_from_slice(&piece),
                Some(Err(error)) => return Err(error.to_string()),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err("the last line is not ended".to_owned()),
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let found = self.rest.iter().skip(self.looked).position(|byte| *byte == b'\n');
        let Some(at) = found.map(|at| at + self.looked) else {
            self.looked = self.rest.len();
            return None;
        };
        let mut line: Vec<u8> = self.rest.drain(..=at).collect();
        line.pop();
        self.looked = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    async fn lines(pieces: &[&'static str]) -> (Vec<String>, Option<String>) {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(*piece))).collect();
        let mut lines = Lines::new(Body::from_stream(futures_util::stream::iter(pieces)));
        let mut found = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => found.push(String::from_utf8(line).unwrap()),
                Ok(None) => return (found, None),
                Err(why) => return (found, Some(why)),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let (found, why) = lines(&["a", "b\nc", "\n\n", "d\ne\n"]).await;
        assert_eq!((found, why), (["ab", "c", "d", "e"].map(str::to_owned).to_vec(), None));
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error() {
        assert!(lines(&["a\nb"]).await.1.is_some());
        let long: &'static str = "x".repeat(MAX_LINE_BYTES).leak();
        assert!(lines(&[long, "y"]).await.1.unwrap().contains("more than"));
    }
}
