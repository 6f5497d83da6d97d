//! Limits of this machine: open files, socket buffers, batches.

use weir_sfu::SocketProbe;

use super::super::report::Finding;
use crate::config::Config;

/// Descriptors that are not of sessions: media sockets, event queues, logs.
const OWN_FILES: u64 = 200;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![files(config.limits.max_sessions as u64, open_files())];
    match weir_sfu::probe(config.media.addr.ip()) {
        Ok(probe) => findings.extend([buffers(&probe), batches(&probe)]),
        Err(error) => findings.push(Finding::unknown("buffers", format!("no media socket could be opened: {error}"))),
    }
    findings
}

/// The soft limit of this process; none: there is no limit.
#[cfg(unix)]
fn open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn open_files() -> Option<u64> {
    None
}

fn files(sessions: u64, limit: Option<u64>) -> Finding {
    let needed = sessions + OWN_FILES;
    match limit {
        Some(limit) if limit < needed => {
            let room = limit.saturating_sub(OWN_FILES);
            Finding::warning("files", format!("{limit} files may be open; limits.max_sessions is {sessions}"))
                .means(format!("each session holds a connection open: past about {room} new ones are lost"))
                .mend(format!("LimitNOFILE={} in the service's unit, or ulimit -n in its shell", needed.max(65_536)))
        }
        Some(limit) => Finding::ok("files", format!("{limit} files may be open, {needed} are enough")),
        None => Finding::ok("files", "any number of files may be open"),
    }
}

fn buffers(probe: &SocketProbe) -> Finding {
    let got = probe.receive.min(probe.send);
    let saw = format!(
        "media sockets get {} KiB to receive and {} KiB to send; {} KiB are asked for",
        probe.receive >> 10,
        probe.send >> 10,
        probe.asked >> 10
    );
    if got >= probe.asked {
        return Finding::ok("buffers", saw);
    }
    let asked = probe.asked;
    Finding::warning("buffers", saw)
        .means("bursts, such as keyframes to many viewers, are lost inside this machine once it is busy")
        .mend(format!(
            "sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}, and into /etc/sysctl.d/weir.conf"
        ))
}

fn batches(probe: &SocketProbe) -> Finding {
    let saw = format!("{} datagrams to a call (GSO), {} from one (GRO)", probe.gso, probe.gro);
    if probe.gso > 1 {
        return Finding::ok("batches", saw);
    }
    Finding::warning("batches", saw)
        .means("each packet costs a call into the kernel: fewer viewers per core")
        .mend("Linux 4.18 or newer has UDP_SEGMENT; some virtual machines and containers hide it")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;

    #[test]
    fn too_few_files_for_the_sessions_allowed_are_found() {
        assert_eq!(files(10_000, Some(1024)).verdict, Verdict::Warning);
        assert_eq!(files(10_000, Some(65_536)).verdict, Verdict::Ok);
        assert_eq!(files(10_000, None).verdict, Verdict::Ok);
    }

    #[test]
    fn small_buffers_and_missing_gso_are_found() {
        let good = SocketProbe { asked: 4 << 20, receive: 4 << 20, send: 4 << 20, gso: 64, gro: 64 };
        assert_eq!((buffers(&good).verdict, batches(&good).verdict), (Verdict::Ok, Verdict::Ok));
        let small = SocketProbe { receive: 212_992, ..good };
        let finding = buffers(&small);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.saw.contains("208 KiB to receive"), "{finding:?}");
        assert!(finding.mend.is_some_and(|mend| mend.contains("rmem_max=4194304")));
        assert_eq!(batches(&SocketProbe { gso: 1, ..good }).verdict, Verdict::Warning);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        assert_eq!(examine(&Config::default()).len(), 3);
    }
}
