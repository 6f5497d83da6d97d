//! What the core must not do. A part of it only where `planted` is set: see `run` beside this file.

/// One offence of each kind.
pub(crate) fn planted(map: &std::collections::HashMap<u8, u8>) -> usize {
    let now = std::time::Instant::now();
    let _ = now.elapsed();
    let _ = std::time::SystemTime::now();
    std::thread::sleep(std::time::Duration::ZERO);
    let _ = std::thread::spawn(|| ());
    let _ = std::net::UdpSocket::bind("127.0.0.1:0");
    let _ = std::sync::Mutex::new(0);
    map.values().count()
}
