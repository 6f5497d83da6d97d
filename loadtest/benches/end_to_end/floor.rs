//! The least that forwarding a packet to one more receiver costs: to encrypt it, and to give it to the kernel.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| io::Error::other("no AES-256-GCM"))?;
    let key = LessSafeKey::new(key);
    let payload = [0x55; PAYLOAD];
    let mut run = Vec::with_capacity(RUN * (HEADER + PAYLOAD + TAG));
    let before = processor_time()?;
    for n in 0..RUNS {
        run.clear();
        for packet in 0..RUN {
            let start = run.len();
            run.extend_from_slice(&[0x80; HEADER]);
            run.extend_from_slice(&payload);
            let (head, body) = run[start..].split_at_mut(HEADER);
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&((n * RUN + packet) as u64).to_be_bytes());
            let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*head), body);
            let tag = sealed.map_err(|_| io::Error::other("cannot seal"))?;
            run.extend_from_slice(tag.as_ref());
        }
        let transmit = Transmit {
            destination: addresses[n % addresses.len()],
            ecn: None,
            contents: &run,
            segment_size: Some(HEADER + PAYLOAD + TAG),
            src_ip: None,
        };
        state.try_send(UdpSockRef::from(&socket), &transmit)?;
    }
    let spent = processor_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / (RUNS * RUN) as f64)
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
