//! Whole rooms: three, ten and fifty members on mixed links, and ten of whom one has 600 kbps.

use std::time::Duration;

use weir_core::api::Role;

use super::{ClientSpec, Figure, Judge, NEVER, Scenario, Target, secs, spec};
use crate::sim::link::{Burst, LinkSpec};
use crate::sim::measure::{self, Span};
use crate::sim::{Time, World};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario { name: "room-3", about: "three members on mixed links", run: |seed| mixed(World::new(seed), 3, 90) },
        Scenario { name: "room-10", about: "ten members on mixed links", run: |seed| mixed(World::new(seed), 10, 90) },
        Scenario {
            name: "room-10-on-3-shards",
            about: "the same ten, spread over three shards",
            run: |seed| mixed(World::with_shards(seed, 3, Duration::from_micros(300)), 10, 90),
        },
        Scenario {
            name: "room-50",
            about: "fifty members on mixed links, nine tiles each",
            run: |seed| mixed(World::new(seed), 50, 90),
        },
        Scenario { name: "meeting-10-one-600k", about: "ten members, one on 600 kbps", run: one_slow },
        Scenario { name: "meeting-10-one-dips", about: "ten members, one falls to 150 kbps for 10 s", run: one_dips },
    ]
}

const FIBRE: LinkSpec = LinkSpec {
    rate: Some(50_000_000),
    queue: Duration::from_millis(100),
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    loss: 0.0,
    burst: None,
    reorder: 0.0,
};

/// The downlinks of mixed rooms, in turn. The first is clean and wide.
fn links() -> [LinkSpec; 6] {
    let wifi = LinkSpec { jitter: Duration::from_millis(10), reorder: 0.002, ..LinkSpec::kbps(8000).loss(0.005) };
    let burst = Burst { enter: 0.002, leave: 0.2, loss: 0.5 };
    let mobile =
        LinkSpec { jitter: Duration::from_millis(15), burst: Some(burst), ..LinkSpec::kbps(3000).delay_ms(40) };
    [
        FIBRE,
        LinkSpec::kbps(20_000).delay_ms(15),
        wifi,
        LinkSpec::kbps(2000).delay_ms(20),
        mobile,
        LinkSpec::kbps(700).delay_ms(60),
    ]
}

/// A member of a meeting: sends, and sees up to nine others, the speaker large.
fn member(world: &mut World, down: LinkSpec) -> usize {
    let up = world.link(LinkSpec { delay: down.delay, ..LinkSpec::default() });
    let down = world.link(down);
    let shape = ClientSpec { tile: (320, 180), speaker_tile: Some((1280, 720)), ..spec(Role::Member, up, down, 9) };
    let client = world.join("meeting", shape);
    world.clients[client].speaks = client == 0;
    client
}

/// The worst of a figure over some members.
fn worst(members: &[usize], figure: impl Fn(usize) -> f64) -> f64 {
    members.iter().map(|m| figure(*m)).fold(0.0, f64::max)
}

fn mixed(mut world: World, members: usize, end: u64) -> Vec<Figure> {
    let mut clean = Vec::new();
    let mut bounded = Vec::new();
    let all: Vec<usize> = (0..members)
        .map(|n| {
            let client = member(&mut world, links()[n % 6]);
            if n % 6 < 2 {
                clean.push(client)
            } else {
                bounded.push(client)
            }
            world.run_to(world.now + Duration::from_millis(200));
            client
        })
        .collect();
    world.run_to(secs(end));
    let span = Span::secs(end - 60, end);
    let down = |client: usize| &world.links[world.clients[client].spec.down];
    let first = |c: &usize| measure::first_frame(&world.clients[*c]).unwrap_or(NEVER * 1e3);
    vec![
        Figure::new(
            "freezes a minute, clean links",
            worst(&clean, |c| measure::worst_freezes(&world.clients[c], span).0),
            Target::AtMost(0.0),
        ),
        Figure::new(
            "layer changes a minute a slot",
            worst(&all, |c| measure::worst_changes(&world.clients[c], span)),
            Target::AtMost(4.0),
        ),
        Figure::new(
            "audio loss, clean links, %",
            worst(&clean, |c| measure::audio_loss_of(&world, c, span)),
            Target::AtMost(0.0),
        ),
        Figure::new(
            "queue p95, worst link, ms",
            worst(&all, |c| measure::queue_p95(down(c), span)),
            Target::AtMost(100.0),
        ),
        Figure::new(
            "audio loss, other links, %",
            worst(&bounded, |c| measure::audio_loss_of(&world, c, span)),
            Target::Told,
        ),
        Figure {
            name: "first frame, median, ms",
            values: all.iter().skip(1).map(first).collect(),
            target: Target::Told,
            judge: Judge::Median,
        },
    ]
}

/// Ten members of whom the last is on the link given, all others on wide ones. Member 0 speaks.
fn ten(seed: u64, last: LinkSpec) -> (World, usize) {
    let mut world = World::new(seed);
    for _ in 0..9 {
        let client = member(&mut world, LinkSpec { rate: Some(20_000_000), ..FIBRE });
        world.watch(client);
        world.run_to(world.now + Duration::from_millis(300));
    }
    let slow = member(&mut world, last);
    world.watch(slow);
    (world, slow)
}

fn speaker_height(world: &World, client: usize, at: Time) -> f64 {
    let of_speaker = world.clients[client].video.values().flat_map(|v| &v.shown);
    let last = of_speaker.filter(|s| s.source == 0 && s.at <= at).max_by_key(|s| s.at);
    last.map_or(0.0, |s| f64::from(s.height))
}

fn one_slow(seed: u64) -> Vec<Figure> {
    let (mut world, slow) = ten(seed, LinkSpec::kbps(600));
    let end = 75;
    world.run_to(secs(end));
    let (span, others) = (Span::secs(35, end), (1..9).collect::<Vec<_>>());
    let link = &world.links[world.clients[slow].spec.down];
    let least_other = others.iter().map(|c| speaker_height(&world, *c, secs(end))).fold(f64::MAX, f64::min);
    vec![
        Figure::new("audio loss of the slow one, %", measure::audio_loss_of(&world, slow, span), Target::AtMost(0.0)),
        Figure::new(
            "it sees the speaker, % of time",
            100.0 * measure::visible(&world.clients[slow], 0, span),
            Target::AtLeast(100.0),
        ),
        Figure::new(
            "its layer changes a minute a slot",
            measure::worst_changes(&world.clients[slow], span),
            Target::AtMost(4.0),
        ),
        Figure::new("its queue p95, ms", measure::queue_p95(link, span), Target::AtMost(100.0)),
        Figure::new("its sent / capacity", measure::sent_over_capacity(link, span), Target::Told),
        Figure::new("height of the speaker there", speaker_height(&world, slow, secs(end)), Target::Told),
        Figure::new(
            "layer changes of the others",
            worst(&others, |c| measure::worst_changes(&world.clients[c], span)),
            Target::AtMost(0.0),
        ),
        Figure::new(
            "freezes of the others",
            worst(&others, |c| measure::worst_freezes(&world.clients[c], span).0),
            Target::AtMost(0.0),
        ),
        Figure::new("height of the speaker, others", least_other, Target::AtLeast(720.0)),
    ]
}

fn one_dips(seed: u64) -> Vec<Figure> {
    let (mut world, slow) = ten(seed, LinkSpec::kbps(2500));
    let down = world.clients[slow].spec.down;
    world.run_to(secs(40));
    let before = speaker_height(&world, slow, secs(40));
    world.set_rate(down, 150);
    world.run_to(secs(50));
    world.set_rate(down, 2500);
    world.run_to(secs(90));
    let client = &world.clients[slow];
    // The slot of the speaker: the one that shows it most.
    let speaker = client.video.values().max_by_key(|v| v.shown.iter().filter(|s| s.source == 0).count());
    let steady = speaker.and_then(|v| measure::steady_after(v, secs(50), secs(90), before as u16)).unwrap_or(NEVER);
    let dip = Span::secs(40, 50);
    let others: Vec<usize> = (1..9).collect();
    vec![
        Figure::new("height of the speaker before", before, Target::Told),
        Figure::new("speaker steady again after, s", steady, Target::AtMost(15.0)),
        Figure::new("audio loss in the dip, %", measure::audio_loss_of(&world, slow, dip), Target::Told),
        Figure::new(
            "layer changes of the others",
            worst(&others, |c| measure::worst_changes(&world.clients[c], Span::secs(35, 90))),
            Target::AtMost(0.0),
        ),
    ]
}
