//! The media socket of one worker: batches in (recvmmsg, GRO), runs out (GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use weir_core::stats::{DELAYS, Histogram, SIZES};

/// The kernel's buffers. At 100 Mbps, 4 MiB hold a third of a second.
pub(crate) const KERNEL_BUFFER: usize = 4 << 20;
/// One receive buffer: the largest that GRO fills.
const RECEIVE_BUFFER: usize = 64 << 10;
/// Nothing waits here for longer. The kernel's clock may be set while something does, which then would seem to.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The most bytes in one GSO run: what an IPv4 datagram could carry.
const MAX_RUN: usize = 65_000;

/// What sending has come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SendStats {
    /// Datagrams given up because the kernel's buffer was full.
    pub dropped: u64,
    /// Calls into the kernel.
    pub runs: u64,
    /// Datagrams in each of them.
    pub sizes: Histogram,
    /// Microseconds that forwarded media were here, a packet.
    pub forward: Histogram,
}

/// Datagrams of one receiver that wait for more of the same.
#[derive(Debug, Clone, Copy)]
struct Run {
    to: SocketAddr,
    /// Bytes of each but the last, which may be shorter.
    size: usize,
    count: usize,
    /// When the first of them had come, if they are forwarded media.
    since: Option<Instant>,
}

/// One that has come.
pub(crate) struct Datagram<'a> {
    pub(crate) remote: SocketAddr,
    pub(crate) data: &'a [u8],
    /// When the kernel got it.
    pub(crate) arrived: Instant,
    /// Who has sent those that follow it, or nobody if it is of the same sender as the one before.
    pub(crate) next: Senders<'a>,
}

/// Who has sent what comes next of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Senders<'a>(&'a [RecvMeta]);

impl Senders<'_> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(sender)
    }
}

fn sender(meta: &RecvMeta) -> SocketAddr {
    SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port())
}

/// Opens so many sockets on one address, among which the kernel shares out what comes.
///
/// The first is bound by itself. Bound to share from the start, it would get the port of another server of the same user
/// without an error, and every now and then even where any free port is asked for.
pub(crate) fn open(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = new(address)?;
    first.bind(&address.into())?;
    let mut all: Vec<UdpSocket> = vec![first.into()];
    let address = all[0].local_addr()?;
    if count > 1 {
        share(SockRef::from(&all[0]))?;
    }
    while all.len() < count {
        let next = new(address)?;
        share(SockRef::from(&next))?;
        next.bind(&address.into())?;
        all.push(next.into());
    }
    Ok(all)
}

fn new(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // What the system allows; `weir doctor` says when it is little.
    _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    Ok(socket)
}

#[cfg(unix)]
fn share(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(unix))]
fn share(_: SockRef<'_>) -> io::Result<()> {
    Ok(())
}

/// A worker's socket with its buffers.
pub(crate) struct MediaSocket {
    pub(crate) io: mio::net::UdpSocket,
    state: UdpSocketState,
    is_v6: bool,
    receive: Vec<u8>,
    /// What has been queued and not sent: the bytes of `open`.
    run: Vec<u8>,
    open: Option<Run>,
    pub(crate) sent: SendStats,
}

impl MediaSocket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            is_v6: socket.local_addr()?.is_ipv6(),
            io: mio::net::UdpSocket::from_std(socket),
            state,
            receive: vec![0; RECEIVE_BUFFER * BATCH_SIZE],
            run: Vec::with_capacity(MAX_RUN),
            open: None,
            sent: SendStats::default(),
        })
    }

    /// Takes one batch from the kernel. Returns how many buffers were filled; 0 when there is nothing more.
    pub(crate) fn receive(&mut self, now: Instant, mut each: impl FnMut(Datagram<'_>)) -> usize {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = {
            let mut slices: Vec<IoSliceMut<'_>> =
                self.receive.chunks_exact_mut(RECEIVE_BUFFER).map(IoSliceMut::new).collect();
            let (io, state) = (&self.io, &self.state);
            match io.try_io(|| state.recv(UdpSockRef::from(io), &mut slices, &mut metas)) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return 0,
                // An error of one datagram, such as an ICMP answer, concerns nobody else: read on.
                Err(_) => return 1,
            }
        };
        let metas = &metas[..count];
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for (index, buffer) in self.receive.chunks_exact(RECEIVE_BUFFER).take(count).enumerate() {
            let (meta, mut next) = (&metas[index], Senders(&metas[index + 1..]));
            let remote = sender(meta);
            let waited = meta.timestamp.and_then(|at| clock.checked_sub(at)).filter(|waited| *waited < MAX_WAIT);
            let arrived = now - waited.unwrap_or_default();
            for data in buffer[..meta.len].chunks(meta.stride.max(1)) {
                each(Datagram { remote, data, arrived, next: std::mem::take(&mut next) });
            }
        }
        count
    }

    /// The most datagrams of one run.
    fn max_segments(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Takes a datagram to send. Those that follow one another to one receiver go in runs of one size (GSO); the last run
    /// waits for [`Self::send_queued`]. `since` is when it had come, if it is forwarded.
    pub(crate) fn queue(&mut self, to: SocketAddr, data: &[u8], since: Option<Instant>) {
        let most = self.max_segments();
        let fits = |run: &Run| {
            run.to == to && data.len() <= run.size && run.count < most && self.run.len() + data.len() <= MAX_RUN
        };
        if !self.open.as_ref().is_some_and(fits) {
            self.send_queued();
        }
        self.run.extend_from_slice(data);
        let mut run = self.open.take().unwrap_or(Run { to, size: data.len(), count: 0, since });
        run.count += 1;
        self.open = Some(run);
        if data.len() < run.size {
            // Only the last segment of a run may be shorter.
            self.send_queued();
        }
    }

    /// Sends what is queued.
    pub(crate) fn send_queued(&mut self) {
        let Some(Run { to, size, count, since }) = self.open.take() else { return };
        let transmit = Transmit {
            destination: if self.is_v6 { mapped(to) } else { to },
            ecn: None,
            contents: &self.run,
            segment_size: (count > 1).then_some(size),
            src_ip: None,
        };
        let (io, state) = (&self.io, &self.state);
        self.sent.runs += 1;
        self.sent.sizes.count(&SIZES, count as u64);
        if io.try_io(|| state.try_send(UdpSockRef::from(io), &transmit)).is_err() {
            self.sent.dropped += count as u64;
        } else if let Some(since) = since {
            let micros = since.elapsed().as_micros();
            self.sent.forward.count_all(&DELAYS, u64::try_from(micros).unwrap_or(u64::MAX), count as u64);
        }
        self.run.clear();
    }
}

/// The address as an IPv6 socket takes it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)),
        v6 => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn the_sockets_of_one_server_share_a_port_that_no_other_server_gets() {
        let first = open(ANY, 3).expect("bind");
        let address = first[0].local_addr().expect("address");
        assert!(first.iter().all(|socket| socket.local_addr().is_ok_and(|a| a == address)));
        let second = open(address, 3).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(second, Err(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn runs_arrive_as_the_datagrams_they_were_made_of() {
        let socket = open(ANY, 1).expect("bind").swap_remove(0);
        let mut sender = MediaSocket::new(socket).expect("socket");
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
        let other = UdpSocket::bind("127.0.0.1:0").expect("bind");
        other.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
        let (a, b) = (receiver.local_addr().expect("address"), other.local_addr().expect("address"));
        let sizes = [1200, 1200, 1200, 300, 1200, 40, 50, 1200, 7];
        let datagrams: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
        let split = |n: usize| if n == 4 { b } else { a };
        datagrams.iter().enumerate().for_each(|(n, datagram)| sender.queue(split(n), datagram, None));
        sender.send_queued();
        let mut buffer = [0; 2000];
        for (n, datagram) in datagrams.iter().enumerate() {
            let socket = if n == 4 { &other } else { &receiver };
            let length = socket.recv(&mut buffer).expect("a datagram");
            assert_eq!(&buffer[..length], datagram.as_slice(), "datagram {n}");
        }
        assert_eq!(sender.sent.sizes.sum, sizes.len() as u64);
        assert!(sender.sent.runs < sizes.len() as u64 || sender.max_segments() == 1, "{:?}", sender.sent);
    }

    #[test]
    fn of_a_batch_it_is_told_who_has_sent_what_comes_next() {
        let mut socket = MediaSocket::new(open(ANY, 1).expect("bind").swap_remove(0)).expect("socket");
        let to = socket.io.local_addr().expect("address");
        let senders: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").expect("bind")).collect();
        let from: Vec<SocketAddr> = senders.iter().map(|s| s.local_addr().expect("address")).collect();
        for (n, sender) in senders.iter().enumerate() {
            sender.send_to(&[n as u8], to).expect("send");
        }
        let (mut came, deadline) = (Vec::new(), std::time::Instant::now() + std::time::Duration::from_secs(5));
        while came.len() < 3 && std::time::Instant::now() < deadline {
            let batch = came.len();
            socket.receive(std::time::Instant::now(), |datagram| {
                came.push((datagram.remote, datagram.data[0], datagram.next.iter().collect::<Vec<_>>()));
            });
            // Those of one batch name each other; what comes in a later one is not known.
            let end = came.len();
            for (at, (remote, number, next)) in came.iter().enumerate().skip(batch) {
                assert_eq!((*remote, usize::from(*number)), (from[at], at));
                assert_eq!(*next, from[at + 1..end]);
            }
        }
        assert_eq!(came.len(), 3, "{came:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_forwarded_counts_from_when_the_kernel_got_it() {
        const WAIT: Duration = Duration::from_millis(30);
        let mut socket = MediaSocket::new(open(ANY, 1).expect("bind").swap_remove(0)).expect("socket");
        let to = socket.io.local_addr().expect("address");
        let other = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let before = Instant::now();
        other.send_to(b"media", to).expect("send");
        let sent = Instant::now();
        // On loopback it is there already; so it waits.
        std::thread::sleep(WAIT);
        let (begun, mut arrived) = (Instant::now(), None);
        socket.receive(begun, |datagram| arrived = Some(datagram.arrived));
        let arrived = arrived.expect("it came");
        // Two clocks are read one after the other, and between them this thread may have to wait.
        let error = begun.elapsed() + Duration::from_millis(1);
        assert!(arrived + error > before && arrived < sent + error, "{:?} of {:?}", arrived - before, sent - before);
        let to = other.local_addr().expect("address");
        for (n, since) in [Some(arrived), None, Some(arrived)].into_iter().enumerate() {
            socket.queue(to, &[0; 1200][n..], since);
            socket.send_queued();
        }
        let forward = socket.sent.forward;
        assert_eq!(forward.counts.iter().sum::<u64>(), 2, "{forward:?}");
        assert!(forward.sum >= 2 * WAIT.as_micros() as u64 * 9 / 10, "{forward:?}");
    }
}
