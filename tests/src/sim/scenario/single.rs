//! One receiver on one link: what the estimate finds, and what the picture does.

use weir_core::api::Role;

use super::{Figure, Judge, NEVER, Scenario, Target, publisher, receiver, secs, spec};
use crate::sim::World;
use crate::sim::client::ClientSpec;
use crate::sim::link::LinkSpec;
use crate::sim::measure::{self, Span};
use crate::sim::media::LayerSpec;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "capacity-500k",
            about: "video alone, that fills it, towards 500 kbps, 50 ms RTT",
            run: capacity_500k,
        },
        Scenario {
            name: "capacity-800k",
            about: "video alone, that fills it, towards 800 kbps, 50 ms RTT",
            run: capacity_800k,
        },
        Scenario {
            name: "capacity-100k-400ms-rtt",
            about: "video alone, that fills it, towards 100 kbps, 400 ms RTT",
            run: capacity_100k,
        },
        Scenario {
            name: "recovery-0.8-to-10M",
            about: "six 720p simulcasts towards 800 kbps for 20 s, then 10 Mbps",
            run: recovery,
        },
        Scenario { name: "dip", about: "2.5 Mbps, 150 kbps from 40 s to 50 s, 2.5 Mbps again", run: dip },
        Scenario { name: "loss-5pct", about: "5 Mbps with 5 % random loss towards the receiver", run: loss },
        Scenario {
            name: "app-limited",
            about: "10 Mbps, a thumbnail for a minute, then the whole screen",
            run: app_limited,
        },
        Scenario { name: "clean", about: "10 Mbps, nothing lost", run: clean },
        Scenario { name: "join-50ms-rtt", about: "ten receivers join a call one after another", run: join },
    ]
}

/// One publisher and one receiver on a link; the receiver's index and its link's.
fn pair(world: &mut World, link: LinkSpec) -> (usize, usize) {
    publisher(world, "r");
    world.run_to(secs(1));
    let down = world.link(link);
    (receiver(world, "r", down, 1), down)
}

/// libwebrtc's tests, from which the targets are, send what the estimate allows for. So this camera has a layer that nearly
/// fills the link, and one beyond it, so that there is something to look for. There is no sound: a third of its small packets
/// is headers, which the estimate does not count.
fn filling(bitrate: u64) -> Vec<LayerSpec> {
    vec![
        LayerSpec { rid: "q", width: 320, height: 180, bitrate: bitrate / 3 },
        LayerSpec { rid: "h", width: 640, height: 360, bitrate },
        LayerSpec { rid: "f", width: 1280, height: 720, bitrate: 1_700_000 },
    ]
}

fn capacity(seed: u64, link: LinkSpec, after: u64, target: (f64, f64)) -> Vec<Figure> {
    let mut world = World::new(seed);
    let [up, back] = [(); 2].map(|()| world.link(LinkSpec::default().delay_ms(10)));
    let layer = link.rate.unwrap_or_default() * 7 / 10;
    world.join("r", ClientSpec { camera: filling(layer), microphone: false, ..spec(Role::Member, up, back, 0) });
    world.run_to(secs(1));
    let down = world.link(link);
    let client = receiver(&mut world, "r", down, 1);
    let found = secs(1 + after);
    let end = 1 + after + 60;
    world.run_to(secs(end));
    let steady = Span::secs(end - 60, end);
    let link = &world.links[down];
    vec![
        Figure::new(
            "estimate, kbps",
            measure::mean_estimate(&world.samples[&client], Span { from: found - secs(5), to: found }),
            Target::Within(target.0, target.1),
        ),
        Figure::new("queue p95, ms", measure::queue_p95(link, steady), Target::AtMost(100.0)),
        Figure::new("sent / capacity", measure::sent_over_capacity(link, steady), Target::Told),
        Figure::new(
            "layer changes a minute",
            measure::worst_changes(&world.clients[client], steady),
            Target::AtMost(4.0),
        ),
    ]
}

fn capacity_500k(seed: u64) -> Vec<Figure> {
    capacity(seed, LinkSpec::kbps(500), 25, (350.0, 550.0))
}

fn capacity_800k(seed: u64) -> Vec<Figure> {
    capacity(seed, LinkSpec::kbps(800), 20, (600.0, 900.0))
}

fn capacity_100k(seed: u64) -> Vec<Figure> {
    capacity(seed, LinkSpec::kbps(100).delay_ms(200), 50, (65.0, 115.0))
}

fn recovery(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    for _ in 0..6 {
        publisher(&mut world, "r");
    }
    world.run_to(secs(1));
    let down = world.link(LinkSpec::kbps(800));
    let client = receiver(&mut world, "r", down, 6);
    world.run_to(secs(21));
    world.set_rate(down, 10_000);
    world.run_to(secs(61));
    let samples = &world.samples[&client];
    vec![
        Figure::new("estimate before, kbps", measure::estimate_at(samples, secs(21)), Target::Told),
        Figure::new("estimate 40 s after, Mbps", measure::estimate_at(samples, secs(61)) / 1e3, Target::AtLeast(3.0)),
    ]
}

fn dip(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    let (client, down) = pair(&mut world, LinkSpec::kbps(2500));
    world.run_to(secs(40));
    world.set_rate(down, 150);
    world.run_to(secs(50));
    world.set_rate(down, 2500);
    world.run_to(secs(90));
    let before = Span::secs(20, 40);
    let Some(video) = world.clients[client].video.values().next() else { return Vec::new() };
    let height = measure::height_at(video, secs(40));
    let steady = measure::steady_after(video, secs(50), secs(90), height).unwrap_or(NEVER);
    let during = Span::secs(40, 50);
    vec![
        Figure::new("height before", f64::from(height), Target::AtLeast(720.0)),
        Figure::new("steady again after, s", steady, Target::AtMost(15.0)),
        Figure::new(
            "changes a minute before",
            measure::worst_changes(&world.clients[client], before),
            Target::AtMost(4.0),
        ),
        Figure::new("queue p95 in the dip, ms", measure::queue_p95(&world.links[down], during), Target::Told),
        Figure::new("frozen in the dip, %", measure::worst_freezes(&world.clients[client], during).1, Target::Told),
        Figure::new("audio loss in the dip, %", measure::audio_loss_of(&world, client, during), Target::Told),
    ]
}

fn loss(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    let (client, _) = pair(&mut world, LinkSpec::kbps(5000).loss(0.05));
    world.run_to(secs(80));
    let span = Span::secs(20, 80);
    let (freezes, share) = measure::worst_freezes(&world.clients[client], span);
    let Some(video) = world.clients[client].video.values().next() else { return Vec::new() };
    vec![
        Figure { judge: Judge::Mean, ..Figure::new("freezes a minute", freezes, Target::AtMost(1.0)) },
        Figure { judge: Judge::Mean, ..Figure::new("time frozen, %", share, Target::AtMost(2.0)) },
        Figure::new(
            "layer changes a minute",
            measure::worst_changes(&world.clients[client], span),
            Target::AtMost(4.0),
        ),
        Figure::new("height at the end", f64::from(measure::height_at(video, secs(80))), Target::Told),
        Figure::new("longest gap, ms", measure::longest_gap(&video.shown, span), Target::Told),
        Figure::new("keyframes asked for", video.keyframes_asked as f64, Target::Told),
        Figure::new("estimate at the end, kbps", measure::estimate_at(&world.samples[&client], secs(80)), Target::Told),
    ]
}

/// A sender that sends little learns little of its link: the estimate must not stay at what was sent.
fn app_limited(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    let (client, _) = pair(&mut world, LinkSpec::kbps(10_000));
    world.run_to(secs(2));
    world.resize(client, (160, 90));
    world.run_to(secs(62));
    let small = world.clients[client].video.values().next().map_or(0, |video| measure::height_at(video, secs(62)));
    world.resize(client, (1280, 720));
    world.run_to(secs(92));
    let Some(video) = world.clients[client].video.values().next() else { return Vec::new() };
    let large = measure::steady_after(video, secs(62), secs(92), 720).unwrap_or(NEVER);
    vec![
        Figure::new("height of the thumbnail", f64::from(small), Target::Within(180.0, 180.0)),
        Figure::new("whole screen after, s", large, Target::AtMost(3.0)),
    ]
}

fn clean(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    let (client, down) = pair(&mut world, LinkSpec::kbps(10_000));
    world.run_to(secs(80));
    let span = Span::secs(20, 80);
    let (freezes, _) = measure::worst_freezes(&world.clients[client], span);
    let all = Span::secs(0, 80);
    let Some(video) = world.clients[client].video.values().next() else { return Vec::new() };
    vec![
        Figure::new("freezes a minute", freezes, Target::AtMost(0.0)),
        Figure::new(
            "layer changes a minute",
            measure::worst_changes(&world.clients[client], span),
            Target::AtMost(4.0),
        ),
        Figure::new("height at the end", f64::from(measure::height_at(video, secs(80))), Target::AtLeast(720.0)),
        Figure::new("gaps in the picture ids", video.picture_gaps as f64, Target::AtMost(0.0)),
        Figure::new("audio loss, %", measure::audio_loss_of(&world, client, all), Target::AtMost(0.0)),
        Figure::new("queue p95, ms", measure::queue_p95(&world.links[down], span), Target::AtMost(100.0)),
        Figure::new("estimate at the end, kbps", measure::estimate_at(&world.samples[&client], secs(80)), Target::Told),
    ]
}

fn join(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    publisher(&mut world, "r");
    let mut clients = Vec::new();
    for n in 0..10 {
        world.run_to(secs(3 + 3 * n));
        let up = world.link(LinkSpec::default());
        let down = world.link(LinkSpec::kbps(5000));
        clients.push(world.join("r", ClientSpec { camera: Vec::new(), ..spec(Role::Member, up, down, 1) }));
    }
    world.run_to(secs(36));
    let first = |c: &usize| measure::first_frame(&world.clients[*c]).unwrap_or(NEVER * 1e3);
    let values: Vec<f64> = clients.iter().map(first).collect();
    let figure = |name, judge, target| Figure { name, values: values.clone(), target: Target::AtMost(target), judge };
    vec![figure("first frame, median, ms", Judge::Median, 500.0), figure("first frame, p95, ms", Judge::P95, 1000.0)]
}
