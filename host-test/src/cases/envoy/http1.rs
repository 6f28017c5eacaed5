//! An agent that speaks HTTP/1.1: exactly the lines of the case.

use holdgate_authoring::cases::Chunks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::cases::driver::{Reply, Sending};

/// Fields of an answer that are read at most.
const MOST_FIELDS: usize = 256;

/// Writes the head of a request.
pub(super) async fn begin(stream: &mut TcpStream, sending: &Sending) -> std::io::Result<()> {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", sending.method, sending.target, sending.host).into_bytes();
    for (name, value) in &sending.headers {
        head.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
    }
    match framing(sending) {
        Framing::Length => head.extend(format!("Content-Length: {}\r\n", sending.body.len()).into_bytes()),
        Framing::Chunks => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Told { .. } | Framing::Nothing => {}
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await
}

/// Writes what follows the head, and reads the answer; `None` if the connection ends before it is whole.
pub(super) async fn exchange(mut stream: TcpStream, sending: &Sending) -> Option<Reply> {
    let (read, mut write) = stream.split();
    let writing = async {
        // A gateway may answer and hang up while it is still written to.
        let _broken = write_body(&mut write, sending).await;
        std::future::pending().await
    };
    tokio::select! {
        reply = read_reply(read, sending.method == "HEAD") => reply,
        () = writing => None,
    }
}

/// What tells the length of the body.
enum Framing {
    Nothing,
    Length,
    Chunks,
    /// The case does.
    Told {
        chunked: bool,
    },
}

fn framing(sending: &Sending) -> Framing {
    let has = |name: &[u8]| sending.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let chunked = has(b"transfer-encoding");
    if chunked || has(b"content-length") {
        return Framing::Told { chunked };
    }
    match (sending.body.is_empty() && sending.trailers.is_empty(), &sending.chunks) {
        (true, _) => Framing::Nothing,
        (false, Chunks::Whole) if sending.trailers.is_empty() => Framing::Length,
        (false, _) => Framing::Chunks,
    }
}

async fn write_body(write: &mut (impl AsyncWrite + Unpin), sending: &Sending) -> std::io::Result<()> {
    let chunked = matches!(framing(sending), Framing::Chunks | Framing::Told { chunked: true });
    for (at, piece) in sending.pieces().into_iter().enumerate() {
        if at > 0 && !sending.pause.is_zero() {
            tokio::time::sleep(sending.pause).await;
        }
        if chunked {
            let size = format!("{:x}\r\n", piece.len());
            write.write_all(&[size.as_bytes(), piece, b"\r\n"].concat()).await?;
        } else {
            write.write_all(piece).await?;
        }
    }
    if chunked {
        let mut end = b"0\r\n".to_vec();
        for (name, value) in &sending.trailers {
            end.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
        }
        end.extend_from_slice(b"\r\n");
        write.write_all(&end).await?;
    }
    Ok(())
}

/// What has come and is not read yet.
struct Input<R> {
    read: R,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// `None` at the end.
    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 16 * 1024];
        let count = self.read.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        self.bytes.extend_from_slice(buffer.get(..count)?);
        Some(())
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < count {
            self.more().await?;
        }
        let rest = self.bytes.split_off(count);
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// Takes the size that stands before a chunk.
    async fn chunk_size(&mut self) -> Option<usize> {
        loop {
            if let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(&self.bytes).ok()? {
                self.take(line).await?;
                return usize::try_from(size).ok();
            }
            self.more().await?;
        }
    }
}

async fn read_reply(read: impl AsyncRead + Unpin, head_only: bool) -> Option<Reply> {
    let mut input = Input { read, bytes: Vec::new() };
    let mut reply = loop {
        let reply = read_head(&mut input).await?;
        // `100 Continue` and its like are no answer.
        if reply.status >= 200 {
            break reply;
        }
    };
    if head_only || matches!(reply.status, 204 | 304) {
        return Some(reply);
    }
    let length = reply.headers.iter().find(|(name, _)| name == "content-length");
    if let Some((_, length)) = length {
        let length = std::str::from_utf8(length).ok()?.parse().ok()?;
        reply.body = input.take(length).await?;
    } else if reply.headers.iter().any(|(name, _)| name == "transfer-encoding") {
        loop {
            let size = input.chunk_size().await?;
            let chunk = input.take(size).await?;
            reply.body.extend(chunk);
            if size == 0 {
                break;
            }
            input.take(2).await?;
        }
    } else {
        while input.more().await.is_some() {}
        reply.body = input.bytes;
    }
    Some(reply)
}

async fn read_head(input: &mut Input<impl AsyncRead + Unpin>) -> Option<Reply> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        if let httparse::Status::Complete(size) = response.parse(&input.bytes).ok()? {
            let status = response.code?;
            let headers = response.headers.iter();
            let headers = headers.map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
            input.take(size).await?;
            return Some(Reply { status, headers, body: Vec::new() });
        }
        input.more().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str, head_only: bool) -> Option<Reply> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read_reply(answer.as_bytes(), head_only))
    }

    #[test]
    fn answers_are_read_however_their_length_is_told() {
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let reply = read(chunked, false).unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"abcde".as_slice()));
        assert_eq!(reply.headers, [("transfer-encoding".to_owned(), b"chunked".to_vec())]);
        let told = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nnomore";
        assert_eq!(read(told, false).unwrap().body, b"no");
        assert_eq!(read(told, true).unwrap().body, b"");
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\nto the end", false).unwrap().body, b"to the end");
    }

    #[test]
    fn answer_that_breaks_off_is_none() {
        for answer in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        ] {
            assert_eq!(read(answer, false), None, "{answer}");
        }
    }
}
