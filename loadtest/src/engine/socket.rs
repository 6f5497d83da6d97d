//! The socket of one client: batches in (recvmmsg, GRO), runs out (GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// One receive buffer: the largest that GRO fills.
const RECEIVE_BUFFER: usize = 64 << 10;
/// Buffers of one call. One client gets a frame's packets at a time, and those of a frame are one run.
const BATCH: usize = 8;
/// The kernel's buffers: at 3 Mbit/s, more than two seconds.
const KERNEL_BUFFER: usize = 1 << 20;
/// The most bytes in one GSO run: what an IPv4 datagram could carry.
const MAX_RUN: usize = 65_000;

/// Buffers to receive into, one set for all clients of a worker.
#[derive(Debug)]
pub struct Buffers(Vec<u8>);

impl Default for Buffers {
    fn default() -> Self {
        Self(vec![0; RECEIVE_BUFFER * BATCH])
    }
}

/// Opens a socket for a client.
///
/// # Errors
/// When the system has no more ports or files.
pub fn open(any: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(any, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // What the system allows; drops are counted.
    _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    Ok(socket.into())
}

/// A client's socket.
#[derive(Debug)]
pub struct ClientSocket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
}

impl ClientSocket {
    /// Takes over a socket of [`open`].
    ///
    /// # Errors
    /// When the system refuses an option.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { io: mio::net::UdpSocket::from_std(socket), state })
    }

    /// Waits for datagrams under this token.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn register(&mut self, registry: &Registry, token: usize) -> io::Result<()> {
        registry.register(&mut self.io, Token(token), Interest::READABLE)
    }

    /// Waits no more.
    pub fn deregister(&mut self, registry: &Registry) {
        // A socket that was never registered is about to be closed anyway.
        _ = registry.deregister(&mut self.io);
    }

    /// Takes one batch from the kernel; each datagram with its sender and, where the kernel tells, the time of its
    /// arrival in microseconds of the system's clock. Returns whether there may be more.
    pub fn receive(&self, buffers: &mut Buffers, mut each: impl FnMut(SocketAddr, Option<u64>, &[u8])) -> bool {
        let mut metas = [RecvMeta::default(); BATCH];
        let count = {
            let mut chunks = buffers.0.chunks_exact_mut(RECEIVE_BUFFER).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| chunks.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            match self.io.try_io(|| self.state.recv(UdpSockRef::from(&self.io), &mut slices, &mut metas)) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An error of one datagram, such as an ICMP answer: read on.
                Err(_) => return true,
            }
        };
        for (meta, buffer) in metas.iter().zip(buffers.0.chunks_exact(RECEIVE_BUFFER)).take(count) {
            let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let at = meta.timestamp.and_then(|t| u64::try_from(t.as_micros()).ok());
            buffer[..meta.len].chunks(meta.stride.max(1)).for_each(|datagram| each(from, at, datagram));
        }
        count == BATCH
    }

    /// Sends datagrams, in order; those that follow one another to one address go in runs of one size (GSO). Returns
    /// how many the kernel did not take.
    pub fn send<'a>(&self, run: &mut Vec<u8>, datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>) -> u64 {
        let most = self.state.max_gso_segments().max(1);
        let mut open: Option<(SocketAddr, usize, usize)> = None;
        let mut dropped = 0;
        for (to, data) in datagrams {
            let joins = open.is_some_and(|(run_to, size, count)| {
                run_to == to && data.len() <= size && count < most && run.len() + data.len() <= MAX_RUN
            });
            if !joins && let Some(last) = open.take() {
                dropped += self.send_run(run, last);
            }
            run.extend_from_slice(data);
            let (size, count) = open.map_or((data.len(), 0), |(_, size, count)| (size, count));
            open = Some((to, size, count + 1));
            // Only the last segment of a run may be shorter.
            if data.len() < size
                && let Some(last) = open.take()
            {
                dropped += self.send_run(run, last);
            }
        }
        dropped + open.map_or(0, |last| self.send_run(run, last))
    }

    fn send_run(&self, run: &mut Vec<u8>, (to, size, count): (SocketAddr, usize, usize)) -> u64 {
        let segment_size = (count > 1).then_some(size);
        let transmit = Transmit { destination: to, ecn: None, contents: run, segment_size, src_ip: None };
        let sent = self.io.try_io(|| self.state.try_send(UdpSockRef::from(&self.io), &transmit));
        run.clear();
        if sent.is_err() { count as u64 } else { 0 }
    }
}
