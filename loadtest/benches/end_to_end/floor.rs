//! The least that forwarding a packet to one more receiver costs: to encrypt it, and to give it to the kernel.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

/// The RTP header, and payload of 1200 bytes.
const HEADER: usize = 20;
const PAYLOAD: usize = 1200;
const TAG: usize = 16;
/// Packets of one call.
const RUN: usize = 8;
/// Receivers, by turns.
const RECEIVERS: usize = 50;
/// Calls.
const RUNS: usize = 20_000;
/// Of [`measure_paced`]: the time from frame to frame, how many, and that from report to report of a receiver.
const PACE: Duration = Duration::from_micros(33_333);
const PACED_TICKS: u32 = 150;
const REPORTS: Duration = Duration::from_millis(50);

/// Microseconds of processor time a packet.
pub(crate) fn measure() -> io::Result<f64> {
    let done = Arc::new(AtomicBool::new(false));
    let mut receivers = Vec::new();
    for _ in 0..RECEIVERS {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        receivers.push(socket);
    }
    let addresses = receivers.iter().map(UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
    let stop = Arc::clone(&done);
    // Somebody takes the packets, as somebody does in a call; another thread's time is not counted.
    let taker = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            for receiver in &receivers {
                while receiver.recv(&mut buffer).is_ok() {}
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let measured = send(&addresses);
    done.store(true, Ordering::Relaxed);
    taker.join().map_err(|_| io::Error::other("the receiving thread failed"))?;
    measured
}

fn send(addresses: &[SocketAddr]) -> io::Result<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut sender = Sender::new(UdpSockRef::from(&socket))?;
    let before = processor_time()?;
    for n in 0..RUNS {
        sender.send(UdpSockRef::from(&socket), addresses[n % addresses.len()])?;
    }
    let spent = processor_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / (RUNS * RUN) as f64)
}

/// Seals packets and sends runs of them.
struct Sender {
    state: UdpSocketState,
    key: LessSafeKey,
    run: Vec<u8>,
    sealed: u64,
}

impl Sender {
    fn new(socket: UdpSockRef<'_>) -> io::Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| io::Error::other("no AES-256-GCM"))?;
        let run = Vec::with_capacity(RUN * (HEADER + PAYLOAD + TAG));
        Ok(Self { state: UdpSocketState::new(socket)?, key: LessSafeKey::new(key), run, sealed: 0 })
    }

    fn send(&mut self, socket: UdpSockRef<'_>, destination: SocketAddr) -> io::Result<()> {
        self.run.clear();
        for _ in 0..RUN {
            let start = self.run.len();
            self.run.extend_from_slice(&[0x80; HEADER]);
            self.run.extend_from_slice(&[0x55; PAYLOAD]);
            let (head, body) = self.run[start..].split_at_mut(HEADER);
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&self.sealed.to_be_bytes());
            self.sealed += 1;
            let nonce = Nonce::assume_unique_for_key(nonce);
            let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*head), body);
            let tag = sealed.map_err(|_| io::Error::other("cannot seal"))?;
            self.run.extend_from_slice(tag.as_ref());
        }
        let segment_size = Some(HEADER + PAYLOAD + TAG);
        let transmit = Transmit { destination, ecn: None, contents: &self.run, segment_size, src_ip: None };
        self.state.try_send(socket, &transmit)
    }
}

/// The same at the pace of a call, in microseconds of processor time a packet: 30 times a second a run for each of 50
/// receivers, who wait for it as the load tester's do. With `reports` each of them sends a datagram 20 times a second, which is
/// taken in and not looked at.
pub(crate) fn measure_paced(reports: bool) -> io::Result<f64> {
    let mut socket = mio::net::UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let to = socket.local_addr()?;
    let (stop, addresses, taker) = receivers(reports.then_some(to))?;
    let mut sender = Sender::new(UdpSockRef::from(&socket))?;
    let mut poll = mio::Poll::new()?;
    poll.registry().register(&mut socket, mio::Token(0), mio::Interest::READABLE)?;
    let mut events = mio::Events::with_capacity(16);
    let mut buffer = [0; 2048];
    let (begun, before) = (Instant::now(), processor_time()?);
    for tick in 1..=PACED_TICKS {
        let at = begun + tick * PACE;
        while let Some(left) = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            poll.poll(&mut events, Some(left))?;
            while socket.recv(&mut buffer).is_ok() {}
        }
        for address in &addresses {
            sender.send(UdpSockRef::from(&socket), *address)?;
        }
    }
    let spent = processor_time()?.saturating_sub(before);
    stop.store(true, Ordering::Relaxed);
    taker.join().map_err(|_| io::Error::other("the receiving thread failed"))??;
    Ok(spent.as_secs_f64() * 1e6 / (PACED_TICKS as usize * addresses.len() * RUN) as f64)
}

/// A thread of receivers who wait for packets, and report to somebody if asked to.
#[expect(clippy::type_complexity, reason = "taken apart at once")]
fn receivers(
    report_to: Option<SocketAddr>,
) -> io::Result<(Arc<AtomicBool>, Vec<SocketAddr>, std::thread::JoinHandle<io::Result<()>>)> {
    let mut poll = mio::Poll::new()?;
    let mut sockets = Vec::new();
    for index in 0..RECEIVERS {
        let mut socket = mio::net::UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        poll.registry().register(&mut socket, mio::Token(index), mio::Interest::READABLE)?;
        sockets.push(socket);
    }
    let addresses = sockets.iter().map(mio::net::UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let taker = std::thread::spawn(move || {
        let mut events = mio::Events::with_capacity(64);
        let mut buffer = [0; 2048];
        let mut reports = 0;
        let begun = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let next = begun + reports * REPORTS / RECEIVERS as u32;
            poll.poll(&mut events, Some(next.saturating_duration_since(Instant::now()).min(REPORTS)))?;
            for event in &events {
                while sockets[event.token().0].recv(&mut buffer).is_ok() {}
            }
            if let Some(to) = report_to.filter(|_| next <= Instant::now()) {
                sockets[reports as usize % RECEIVERS].send_to(&[0x55; 100], to)?;
                reports += 1;
            } else if report_to.is_none() {
                reports += 1;
            }
        }
        Ok(())
    });
    Ok((done, addresses, taker))
}

/// The processor time of this thread.
fn processor_time() -> io::Result<Duration> {
    read_schedstat("/proc/thread-self/schedstat")
}

/// The first figure of a `schedstat`: nanoseconds on a processor.
pub(crate) fn read_schedstat(path: &str) -> io::Result<Duration> {
    let text = std::fs::read_to_string(path)?;
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| io::Error::other(format!("{path} is not understood: {text:?}")))
}
