//! The sample service that is no HTTP server: it answers each line with a line, as small databases do.
//!
//! A line is the name of an article, and its answer is that name and the number of them in stock. A connection ends with
//! its client, or with a line that is too long.

use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Longest line, in bytes, with its end.
const LONGEST: u64 = 256;

/// Answers the lines of a connection.
pub(super) async fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(article)) = line(&mut stream).await {
        let answer = format!("{article} {}\n", in_stock(&article));
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Asks for an article. A closed connection is how the mesh refuses one.
pub(super) async fn ask(address: SocketAddr, article: &str) -> Value {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        stream.write_all(format!("{article}\n").as_bytes()).await?;
        line(&mut stream).await
    };
    match asked.await {
        Ok(Some(line)) => json!({ "answer": line }),
        Ok(None) => json!({ "error": "the connection was closed" }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// The next line without its end; `None`: the connection was closed.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut text = String::new();
    stream.take(LONGEST).read_line(&mut text).await?;
    match text.strip_suffix('\n') {
        Some(line) => Ok(Some(line.to_owned())),
        None if text.is_empty() => Ok(None),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The same number for the same article at each start.
fn in_stock(article: &str) -> u32 {
    article.bytes().map(u32::from).sum::<u32>() % 100
}
