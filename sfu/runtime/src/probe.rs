//! What this machine's sockets can do, for `weir doctor`.

use std::io;
use std::net::SocketAddr;

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::SockRef;

use crate::socket::{self, KERNEL_BUFFER};

/// What a media socket of this machine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketProbe {
    /// The buffers asked for, in bytes.
    pub asked: usize,
    /// The receive buffer got, in bytes.
    pub receive: usize,
    /// The send buffer got, likewise.
    pub send: usize,
    /// The most datagrams in one call into the kernel (GSO); 1: it cannot.
    pub gso: usize,
    /// The most datagrams taken in one buffer (GRO); 1: it cannot.
    pub gro: usize,
}

/// Opens a media socket on a free port of `ip`, looks, and closes it.
///
/// # Errors
/// No socket can be opened there.
pub fn probe(ip: std::net::IpAddr) -> io::Result<SocketProbe> {
    let socket = socket::open(SocketAddr::new(ip, 0), 1)?.swap_remove(0);
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let options = SockRef::from(&socket);
    // Linux says twice what was set: half is for its own book-keeping (socket(7)).
    let halved = |size: usize| if cfg!(target_os = "linux") { size / 2 } else { size };
    Ok(SocketProbe {
        asked: KERNEL_BUFFER,
        receive: halved(options.recv_buffer_size()?),
        send: halved(options.send_buffer_size()?),
        gso: state.max_gso_segments().max(1),
        gro: state.gro_segments().max(1),
    })
}

/// Whether the media port can be bound as the server would. It is free again when this returns.
///
/// # Errors
/// It cannot; the system's reason.
pub fn try_bind(address: SocketAddr) -> io::Result<()> {
    socket::open(address, 1).map(drop)
}
