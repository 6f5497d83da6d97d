//! The media TCP port.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use super::{StreamKind, Streams};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What the kernel may hold of a connection without having sent it: old video is ours to drop only while it is here. At
/// 1 Mbps this is a quarter of a second.
const UNSENT: u32 = 32 << 10;
/// How long to wait when there is no descriptor left for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Listens.
pub(crate) fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for the connections of the process before.
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections until the workers stop.
pub(crate) async fn accept(streams: Arc<Streams>, listener: tokio::net::TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = streams.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                tune(&stream);
                let streams = Arc::clone(&streams);
                tokio::spawn(async move { streams.serve(stream, remote, StreamKind::Tcp, Vec::new()).await });
            }
            // Of one connection that broke before it was accepted; or of all, with no descriptor left.
            Err(error) => {
                tracing::debug!(%error, "a media connection was not accepted");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// What the system does not allow is no reason to turn a client away.
fn tune(stream: &TcpStream) {
    _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    }
}
