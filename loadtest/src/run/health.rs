//! Whether the tester kept up. Where it did not, its figures tell of the tester and not of the server.

use super::collect::Collector;
use crate::engine::Engine;
use crate::engine::tally::Tally;
use crate::results::{Distribution, Health};

/// A thread later than this holds up feedback.
pub(super) const LATE_MS: f64 = 20.0;
/// A media thread above this share of a core has no room for a burst.
const BUSY: f64 = 0.9;
/// A machine without idle time in more than this share of the seconds.
const FULL_SHARE: f64 = 0.2;
/// Late frames above this share of a stream's packets.
const LATE_FRAMES: f64 = 0.005;

pub(super) fn judge(collector: &Collector, tally: &Tally, engine: &Engine, ran_s: f64) -> Health {
    let own = collector.own.as_ref();
    let counters = &tally.counters;
    let lag_ms = Distribution::of(&tally.lag, 0.001);
    let machine = &collector.machine;
    let mut reasons = Vec::new();
    let drops = own.map_or(0, |own| own.receive_drops());
    if drops > 0 {
        reasons.push(format!(
            "the kernel dropped {drops} datagrams that the tester did not read in time; the loss shown is partly the \
             tester's: fewer participants, more --workers, or another machine"
        ));
    }
    if counters.send_drops > 0 {
        let drops = counters.send_drops;
        reasons.push(format!("the kernel refused {drops} datagrams that publishers sent: fewer participants"));
    }
    if collector.busiest > BUSY {
        let percent = collector.busiest * 100.0;
        reasons.push(format!("a media thread used {percent:.0} % of its core in its worst second: more --workers"));
    }
    if lag_ms.p99 > LATE_MS {
        reasons.push(format!(
            "media threads were late (1 % of the times {:.0} ms or more): freezes are partly the tester's, and its \
             feedback came late to the server",
            lag_ms.p99
        ));
    }
    if machine.looks > 0 && machine.full as f64 > machine.looks as f64 * FULL_SHARE {
        let own = own.map_or(0.0, |own| own.cpu_s() / ran_s.max(0.1));
        let server = collector.server.as_ref().map_or(0.0, |server| server.cpu_s() / ran_s.max(0.1));
        reasons.push(format!(
            "this machine had no processor time left in {} of {} seconds (tester {own:.2} cores, server {server:.2}, \
             the rest other programs): run the tester on another machine, or fewer participants",
            machine.full, machine.looks
        ));
    }
    if counters.late_frames as f64 > counters.rtp_sent as f64 * LATE_FRAMES {
        reasons.push(format!("publishers sent {} frames late: the load was not even", counters.late_frames));
    }
    if engine.refused() > 0 {
        reasons.push(format!("{} commands to media threads found a full queue", engine.refused()));
    }
    if cfg!(debug_assertions) && !reasons.is_empty() {
        reasons.push("this tester was built without optimisation: use `cargo build --release`".to_owned());
    }
    Health {
        spoiled: !reasons.is_empty(),
        reasons,
        workers: engine.handle().workers() as u64,
        processors: std::thread::available_parallelism().map_or(0, |n| n.get() as u64),
        mean_cores: own.map_or(0.0, |own| own.cpu_s() / ran_s.max(0.1)),
        most_cores: own.map_or(0.0, |own| own.most_cores()),
        busiest_worker: collector.busiest,
        machine_busy: machine.most,
        lag_ms,
        receive_drops: drops,
        send_drops: counters.send_drops,
        late_frames: counters.late_frames,
        cpu_s: own.map_or(0.0, |own| own.cpu_s()),
    }
}
