//! What Linux tells of processes and sockets in `/proc`. Elsewhere nothing is found, and nothing is said.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::IpAddr;

/// Clock ticks a second in `/proc`: Linux fixes it at 100 for what user space sees (`USER_HZ`).
const TICKS: f64 = 100.0;

/// CPU seconds that a process has used so far, all its threads.
pub(super) fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    cpu_of_stat(&stat)
}

fn cpu_of_stat(stat: &str) -> Option<f64> {
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Resident memory of a process in bytes.
pub(super) fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// A process's name.
pub(super) fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Jiffies of the whole machine so far: busy, and all.
pub(super) fn machine() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let numbers: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are in user's already.
    let all: u64 = numbers.iter().take(8).sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    Some((all - idle, all))
}

/// The inodes of a process's sockets.
fn sockets(pid: u32) -> HashSet<u64> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    files.flatten().filter_map(|file| socket_inode(&fs::read_link(file.path()).ok()?.to_string_lossy())).collect()
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Datagrams that the kernel has dropped on each UDP socket of a process, by inode: those the process did not read in
/// time.
pub(super) fn udp_drops(pid: u32) -> BTreeMap<u64, u64> {
    let own = sockets(pid);
    let mut drops = BTreeMap::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let table = fs::read_to_string(file).unwrap_or_default();
        drops.extend(table.lines().skip(1).filter_map(udp_line).filter(|(inode, _)| own.contains(inode)));
    }
    drops
}

fn udp_line(line: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fields.get(9)?.parse().ok()?, fields.last()?.parse().ok()?))
}

/// The one process that listens on this TCP port; none where there is no such process, or several, or others' are
/// hidden from us.
pub(super) fn listener(port: u16) -> Option<u32> {
    let mut inodes = HashSet::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = fs::read_to_string(file).unwrap_or_default();
        inodes.extend(table.lines().skip(1).filter_map(|line| listening_inode(line, port)));
    }
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut owners = pids.filter(|pid| !inodes.is_empty() && !sockets(*pid).is_disjoint(&inodes));
    let owner = owners.next()?;
    owners.next().is_none().then_some(owner)
}

fn listening_inode(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = fields.get(1)?.rsplit_once(':')?.1;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local, 16).ok()? == port;
    listens.then(|| fields.get(9)?.parse().ok()).flatten()
}

/// The address is one of this machine's.
pub(super) fn is_here(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read_right() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 4 0 1000 1 1";
        assert_eq!(cpu_of_stat(stat), Some(2.0));
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 1 0 100";
        assert_eq!(listening_inode(tcp, 8080), Some(12345));
        assert_eq!(listening_inode(tcp, 8081), None);
        let udp = "  11: 0100007F:0D96 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 777 2 0000 31";
        assert_eq!(udp_line(udp), Some((777, 31)));
        assert_eq!(socket_inode("socket:[99]"), Some(99));
        assert_eq!(socket_inode("/dev/null"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found_by_the_port_it_listens_on() {
        let listener_socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener_socket.local_addr().unwrap().port();
        assert_eq!(listener(port), Some(std::process::id()));
        drop(listener_socket);
        assert_eq!(listener(port), None);
        assert!(memory(std::process::id()).unwrap() > 100_000);
        assert!(cpu_s(std::process::id()).is_some() && machine().is_some());
        assert!(is_here(IpAddr::from([127, 0, 0, 1])) && !is_here(IpAddr::from([192, 0, 2, 1])));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn datagrams_that_nobody_reads_are_seen_as_dropped() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let drops = || udp_drops(std::process::id()).values().sum::<u64>();
        let before = drops();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2000 {
            sender.send_to(&[0; 1200], socket.local_addr().unwrap()).unwrap();
        }
        assert!(drops() > before);
    }
}
