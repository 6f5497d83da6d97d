//! The tester's own condition, and the server's, once a second.

use std::collections::BTreeMap;

use super::procfs;
use crate::results::ServerUse;

/// Drops of many sockets, some of which may be gone by now.
#[derive(Debug, Default)]
struct Drops {
    at_start: BTreeMap<u64, u64>,
    seen: BTreeMap<u64, u64>,
}

impl Drops {
    fn look(&mut self, pid: u32) {
        self.seen.extend(procfs::udp_drops(pid));
    }

    fn total(&self) -> u64 {
        self.seen
            .iter()
            .map(|(inode, drops)| drops.saturating_sub(self.at_start.get(inode).copied().unwrap_or(0)))
            .sum()
    }
}

/// A process under watch.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    cpu_at_start: f64,
    cpu: f64,
    cpu_before: f64,
    memory_before: u64,
    memory: u64,
    memory_most: u64,
    most_cores: f64,
    drops: Drops,
}

impl Process {
    /// None where the process cannot be looked at.
    pub(super) fn watch(pid: u32) -> Option<Self> {
        let cpu = procfs::cpu_s(pid)?;
        let memory = procfs::memory(pid).unwrap_or(0);
        let drops = Drops { at_start: procfs::udp_drops(pid), seen: BTreeMap::new() };
        Some(Self {
            pid,
            cpu_at_start: cpu,
            cpu,
            cpu_before: cpu,
            memory_before: memory,
            memory,
            memory_most: memory,
            most_cores: 0.0,
            drops,
        })
    }

    /// After `span_s` seconds: the cores used in that time, and memory. None when the process is gone.
    pub(super) fn look(&mut self, span_s: f64) -> Option<(f64, u64)> {
        self.cpu = procfs::cpu_s(self.pid)?;
        self.memory = procfs::memory(self.pid)?;
        self.memory_most = self.memory_most.max(self.memory);
        self.drops.look(self.pid);
        let cores = (self.cpu - std::mem::replace(&mut self.cpu_before, self.cpu)) / span_s.max(0.1);
        self.most_cores = self.most_cores.max(cores);
        Some((cores, self.memory))
    }

    /// CPU seconds since the start.
    pub(super) fn cpu_s(&self) -> f64 {
        self.cpu - self.cpu_at_start
    }

    /// The most cores in one span.
    pub(super) fn most_cores(&self) -> f64 {
        self.most_cores
    }

    /// Datagrams that the kernel dropped on its sockets since the start.
    pub(super) fn receive_drops(&self) -> u64 {
        self.drops.total()
    }

    /// The sum of a run of `ran_s` seconds, `packets` forwarded, `participants` at most.
    pub(super) fn server_use(&self, found_by: &str, ran_s: f64, packets: u64, participants: u64) -> ServerUse {
        let grown = self.memory_most.saturating_sub(self.memory_before);
        ServerUse {
            pid: self.pid,
            name: procfs::name(self.pid).unwrap_or_else(|| "gone".to_owned()),
            found_by: found_by.to_owned(),
            cpu_s: self.cpu_s(),
            mean_cores: self.cpu_s() / ran_s.max(0.1),
            most_cores: self.most_cores,
            cpu_s_per_million_packets: (packets > 0).then(|| self.cpu_s() * 1e6 / packets as f64),
            memory_before: self.memory_before,
            memory_most: self.memory_most,
            memory_per_participant: grown.checked_div(participants),
            receive_drops: self.receive_drops(),
        }
    }
}

/// How busy the whole machine is.
#[derive(Debug, Default)]
pub(super) struct Machine {
    before: Option<(u64, u64)>,
    /// The worst so far, 0 to 1.
    pub(super) most: f64,
    /// Looks, and those of them that found hardly anything idle.
    pub(super) looks: u64,
    pub(super) full: u64,
}

impl Machine {
    pub(super) fn look(&mut self) {
        let now = procfs::machine();
        if let Some(((busy, all), (busy_before, all_before))) = now.zip(self.before) {
            let share = (busy - busy_before) as f64 / (all - all_before).max(1) as f64;
            self.most = self.most.max(share);
            self.looks += 1;
            self.full += u64::from(share > 0.97);
        }
        self.before = now;
    }
}
