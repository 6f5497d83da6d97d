//! Takes TLS connections, and tells from within whether they are HTTP.

use std::future::Future;
use std::io;
use std::pin::Pin;

use axum_server::accept::Accept;
use rustls_acme::is_tls_alpn_challenge;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use weir_sfu::{Sfu, StreamKind};

use super::Configs;
use crate::limits::HEADER_READ_TIMEOUT;

/// Takes TLS connections: HTTP for the server that asks, TURN for the media workers.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    configs: Configs,
    sfu: Sfu,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Http,
    Turn,
}

impl Acceptor {
    pub(crate) fn new(configs: Configs, sfu: Sfu) -> Self {
        Self { configs, sfu }
    }

    /// The connection, if it is HTTP. Any other has been handed on, or is over.
    async fn take(self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let remote = stream.peer_addr()?;
        _ = stream.set_nodelay(true);
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        if let Some(challenge) = &self.configs.challenge
            && is_tls_alpn_challenge(&hello.client_hello())
        {
            let mut proven = hello.into_stream(challenge.clone()).await?;
            proven.shutdown().await?;
            return Err(io::Error::other("a certificate authority has looked whether the name is ours"));
        }
        let mut stream = hello.into_stream(self.configs.usual.clone()).await?;
        match speaker(&mut stream).await? {
            Speaker::Http => Ok(stream),
            Speaker::Turn => {
                tokio::spawn(async move { self.sfu.serve_stream(stream, remote, StreamKind::Tls, Vec::new()).await });
                Err(io::Error::other("TURN, which the media workers have taken"))
            }
        }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Acceptor {
    type Stream = TlsStream<TcpStream>;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let taken = self.clone().take(stream);
        Box::pin(async move {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            Ok((timeout(HEADER_READ_TIMEOUT, taken).await.map_err(late)??, service))
        })
    }
}

/// By the protocol agreed on; where none was, by the first byte, which is left to be read.
async fn speaker(stream: &mut TlsStream<TcpStream>) -> io::Result<Speaker> {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"stun.turn" | b"stun.nat-discovery") => Ok(Speaker::Turn),
        Some(_) => Ok(Speaker::Http),
        None => Ok(by_first(stream.fill_buf().await?.first().copied())),
    }
}

/// The first byte of a STUN message is 0 to 3 (RFC 7983), and a TURN client has no channel to begin with. A method of
/// HTTP begins with a letter.
fn by_first(byte: Option<u8>) -> Speaker {
    match byte {
        Some(0..=3) => Speaker::Turn,
        _ => Speaker::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_is_told_by_the_first_byte_of_all_256() {
        for byte in 0..=u8::MAX {
            let expected = if byte < 4 { Speaker::Turn } else { Speaker::Http };
            assert_eq!(by_first(Some(byte)), expected, "{byte}");
        }
        assert_eq!(by_first(None), Speaker::Http, "closed before a word");
    }
}
