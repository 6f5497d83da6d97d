//! What a forwarded packet costs a shard, without sockets: `cargo bench -p weir-core --bench path [-- NAME...]`.
//!
//! Processor time of the shard alone, of several the busiest, media packets in and all that comes of them: feedback, timers, reports. Several
//! worlds take turns, so that what else the machine does strikes all alike; the median of the rounds is printed. Names
//! choose among the lines; `--profile NAME` runs one line for a profiler (see `docs/PERFORMANCE.md`).

#![allow(clippy::disallowed_methods, missing_docs, reason = "a benchmark starts its virtual clock from the real one")]
#![allow(unreachable_pub, reason = "the parts of one program")]

#[path = "path/memory.rs"]
mod memory;
#[path = "path/payload.rs"]
mod payload;
#[path = "path/world.rs"]
mod world;

use str0m::format::Codec;
use world::{MEMBER, PUBLISHER, VIEWER, Video, Work, World};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// 240 packets a second.
const CAMERA: Video = Video { codec: Codec::Vp8, every: 33, packets: 8 };
/// So little that nine of them fit through what is believed of a link at first.
const SMALL: Video = Video { codec: Codec::Vp8, every: 100, packets: 8 };

/// One line of the table.
struct Line {
    name: &'static str,
    make: fn(bool) -> World,
    /// Receivers whose memory is counted.
    viewers: usize,
    /// Milliseconds until it is measured, and of each round.
    warm_up: u64,
    round: u64,
    /// Each turn finds the processor's caches full of something else.
    cold: bool,
}

const fn line(name: &'static str, make: fn(bool) -> World, viewers: usize, warm_up: u64, round: u64) -> Line {
    Line { name, make, viewers, warm_up, round, cold: false }
}

const LINES: &[Line] = &[
    line("1-to-1", |timed| webinar(timed, 1, true), 1, 5000, 4000),
    line("1-to-50", |timed| webinar(timed, 50, true), 50, 15_000, 1000),
    line("1-to-50-bwe-off", |timed| webinar(timed, 50, false), 50, 15_000, 1000),
    Line { cold: true, ..line("1-to-50-cold", |timed| webinar(timed, 50, true), 50, 15_000, 1000) },
    Line { cold: true, ..line("1-to-50-bwe-off-cold", |timed| webinar(timed, 50, false), 50, 15_000, 1000) },
    line("1-to-200", |timed| webinar(timed, 200, true), 200, 8000, 330),
    line("1-to-500", |timed| webinar(timed, 500, true), 500, 8000, 330),
    line("1-to-500-on-2-shards", |timed| spread_webinar(timed, 500, true, 2), 500, 8000, 330),
    line("1-to-3000", |timed| webinar(timed, 3000, true), 3000, 3000, 132),
    line("10-rooms-of-10", |timed| meetings(timed, true), 100, 5000, 300),
    line("10-rooms-of-10-bwe-off", |timed| meetings(timed, false), 100, 5000, 300),
];

const ROUNDS: usize = 7;

fn main() {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let profiling = arguments.first().is_some_and(|a| a == "--profile");
    let names = &arguments[usize::from(profiling)..];
    let chosen: Vec<&Line> =
        LINES.iter().filter(|l| names.is_empty() || names.iter().any(|name| name == l.name)).collect();
    if chosen.is_empty() {
        let all: Vec<_> = LINES.iter().map(|l| l.name).collect();
        eprintln!("no line of that name; there are {}", all.join(", "));
        std::process::exit(2);
    }
    if profiling {
        chosen.iter().for_each(|line| profile(line));
        return;
    }
    let mut worlds: Vec<(World, i64)> = chosen.iter().map(|line| warm(line, true)).collect();
    let mut rounds: Vec<Vec<Work>> = vec![Vec::new(); chosen.len()];
    for _ in 0..ROUNDS {
        for (index, line) in chosen.iter().enumerate() {
            rounds[index].push(worlds[index].0.send(line.round));
        }
    }
    println!(
        "{:24} {:>10} {:>8} {:>8} {:>9} {:>10} {:>10}",
        "", "ns/packet", "best", "worst", "allocs/p", "packets", "kB/viewer"
    );
    for ((line, rounds), (_, bytes)) in chosen.iter().zip(&rounds).zip(&worlds) {
        let mut cost: Vec<f64> = rounds.iter().map(Work::nanoseconds).collect();
        cost.sort_by(f64::total_cmp);
        let forwarded: u64 = rounds.iter().map(|r| r.forwarded).sum();
        let allocations: u64 = rounds.iter().map(|r| r.allocations).sum();
        println!(
            "{:24} {:10.0} {:8.0} {:8.0} {:9.2} {:10} {:10.1}",
            line.name,
            cost[cost.len() / 2],
            cost[0],
            cost[cost.len() - 1],
            allocations as f64 / forwarded.max(1) as f64,
            forwarded,
            *bytes as f64 / 1000.0 / line.viewers as f64,
        );
    }
}

/// A world that has run until its estimates have settled and its caches are full, and the bytes that its shard holds.
fn warm(line: &Line, timed: bool) -> (World, i64) {
    let before = memory::bytes();
    let mut world = (line.make)(timed);
    world.send(line.warm_up);
    if line.cold {
        world.make_cold();
    }
    let work = world.send(line.round);
    assert!(work.forwarded > 0, "{}: nothing was forwarded", line.name);
    assert!(world.received() * 10 >= work.forwarded * 9, "{}: the clients got too little", line.name);
    (world, memory::bytes() - before)
}

/// One line, for a profiler that counts in `work` only, or to see what goes on in it.
fn profile(line: &Line) {
    let (mut world, _) = warm(line, false);
    let work = profiled(&mut world, line.round * 2);
    println!("{}: {} packets forwarded, {} datagrams in", line.name, work.forwarded, work.datagrams_in);
    let late: u64 = world.stats().iter().map(|stats| stats.late_pictures).sum();
    println!("{late} pictures given up");
    world.describe("webinar").iter().chain(&world.describe("meeting 3")).for_each(|line| println!("{line}"));
}

/// Begun when all is warm: a profiler can be told to forget what was before.
#[inline(never)]
fn profiled(world: &mut World, milliseconds: u64) -> Work {
    world.send(milliseconds)
}

fn webinar(timed: bool, viewers: usize, feedback: bool) -> World {
    spread_webinar(timed, viewers, feedback, 1)
}

/// The publisher on the first shard, the viewers spread over all.
fn spread_webinar(timed: bool, viewers: usize, feedback: bool, shards: u8) -> World {
    let mut world = World::new(CAMERA, feedback, timed, shards);
    world.add("webinar", PUBLISHER);
    for viewer in 0..viewers {
        world.place = viewer % usize::from(shards);
        world.add("webinar", VIEWER);
    }
    world.connect();
    world
}

fn meetings(timed: bool, feedback: bool) -> World {
    let mut world = World::new(SMALL, feedback, timed, 1);
    for room in 0..10 {
        (0..10).for_each(|_| world.add(&format!("meeting {room}"), MEMBER));
    }
    world.connect();
    world
}
