//! TLS on the one port: certificates that change, and who speaks what.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir::Config;
use weir_tests::poll_until;
use weir_tests::server::Server;

/// The server looks at the files every five seconds.
const RELOADED: Duration = Duration::from_secs(30);

/// A directory of files that is removed at the end.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("weir-tls-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    /// Writes a new certificate, and gives it.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).expect("a certificate");
        std::fs::write(self.0.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
        std::fs::write(self.0.join("cert.pem"), made.cert.pem()).expect("written");
        made.cert.der().clone()
    }

    async fn server(&self) -> Server {
        let mut config = Config::default();
        config.http.tls_cert = Some(self.0.join("cert.pem"));
        config.http.tls_key = Some(self.0.join("key.pem"));
        Server::start_with(config).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A connection to the server if it shows exactly this certificate.
async fn connect(
    server: &Server,
    cert: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(server.http_addr()).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// One request on a connection that stays; the head of the answer.
async fn livez(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let (mut all, mut buffer) = (Vec::new(), [0; 1024]);
    while !all.ends_with(b"ok\n") {
        match tokio::time::timeout(weir_tests::PATIENCE, stream.read(&mut buffer)).await?? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&all).lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_changes_is_taken_and_connections_that_stand_go_on() {
    let files = Files::new();
    let first = files.renew();
    let server = files.server().await;
    let mut old = connect(&server, &first, &["http/1.1"]).await.expect("the first certificate");
    assert_eq!(livez(&mut old).await.expect("an answer"), "HTTP/1.1 200 OK");

    // Half of it: a key that is not the certificate's. The old pair stays.
    std::fs::write(files.0.join("key.pem"), "-----BEGIN PRIVATE KEY-----\n").expect("written");
    assert!(connect(&server, &first, &[]).await.is_ok());
    let second = files.renew();
    let taken = || async { connect(&server, &second, &["http/1.1"]).await.ok() };
    let mut new = poll_until("the second certificate", RELOADED, taken).await;
    assert_eq!(livez(&mut new).await.expect("an answer"), "HTTP/1.1 200 OK");
    assert!(connect(&server, &first, &[]).await.is_err(), "the first is shown no more");
    assert_eq!(livez(&mut old).await.expect("the connection that stood"), "HTTP/1.1 200 OK");
}

/// A STUN binding request with this transaction (RFC 8489 section 5).
fn binding(transaction: [u8; 12]) -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], transaction.as_slice()].concat()
}

/// The first bytes of what answers a binding request.
async fn bound(stream: &mut TlsStream<TcpStream>) -> std::io::Result<[u8; 20]> {
    stream.write_all(&binding([7; 12])).await?;
    let mut head = [0; 20];
    tokio::time::timeout(weir_tests::PATIENCE, stream.read_exact(&mut head)).await??;
    Ok(head)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_turn_share_the_port_by_protocol_and_by_first_byte() {
    let files = Files::new();
    let cert = files.renew();
    let server = files.server().await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = connect(&server, &cert, protocols).await.expect("TLS");
        assert_eq!(livez(&mut stream).await.expect("a page"), "HTTP/1.1 200 OK", "{protocols:?}");
    }
    for protocols in [&["stun.turn"][..], &["stun.nat-discovery"], &[]] {
        let mut stream = connect(&server, &cert, protocols).await.expect("TLS");
        let answer = bound(&mut stream).await.expect("an answer to STUN");
        assert_eq!(answer[..2], [1, 1], "a binding response over {protocols:?}");
        assert_eq!(answer[8..], [7; 12], "of our transaction");
    }
    // What was agreed on is kept to: HTTP is not spoken where STUN was agreed on, nor the other way round.
    let mut stream = connect(&server, &cert, &["stun.turn"]).await.expect("TLS");
    assert!(livez(&mut stream).await.is_err());
    let mut stream = connect(&server, &cert, &["http/1.1"]).await.expect("TLS");
    assert!(!matches!(bound(&mut stream).await, Ok(answer) if answer[..2] == [1, 1]));
    assert!(connect(&server, &cert, &["spdy/3"]).await.is_err(), "an unknown protocol");
}
