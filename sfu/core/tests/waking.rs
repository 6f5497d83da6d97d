//! What a worker is woken for, when nothing comes in: each time costs it some twenty microseconds.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::time::Duration;

use net::Net;
use weir_core::api::{Command, Reply, Role};

const FRAME: Duration = Duration::from_millis(33);

/// Sends a picture of nine packets each so often, for so many seconds.
fn send(net: &mut Net, publisher: usize, every: Duration, seconds: std::ops::Range<u32>) {
    let number = |second: u32| u64::from(second * Duration::from_secs(1).div_duration_f64(every) as u32);
    for n in number(seconds.start)..number(seconds.end) {
        net.write_parts(publisher, n * 9, &[1100; 9]);
        net.run(every);
    }
}

#[test]
fn whose_link_carries_all_that_is_wanted_is_not_probed() {
    let mut net = Net::new();
    let publisher = net.add("room", Role::Publisher, true, (0, 0));
    net.add("room", Role::Viewer, false, (1, 1));
    net.connect_all();
    let others = |net: &mut Net| {
        let Some(Reply::Stats(stats)) = net.command(Command::Stats) else { panic!("no stats") };
        stats.datagrams_out - stats.rtp_forwarded
    };
    send(&mut net, publisher, FRAME, 0..30);
    let before = others(&mut net);
    send(&mut net, publisher, FRAME, 30..60);
    let others = others(&mut net) - before;
    // The publisher is told 20 times a second what came, and both get a report each second or so.
    assert!(others < 30 * 23, "{others} packets in 30 s besides what is forwarded");
}
