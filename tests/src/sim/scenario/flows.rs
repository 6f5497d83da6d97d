//! The cases of RFC 8867, section 5, without those that compete with TCP. A flow here is what one receiver gets of six
//! publishers, all wanted in 720p: more than any of these links carries.

use super::{Figure, Scenario, Target, publisher, receiver, secs};
use crate::sim::World;
use crate::sim::link::LinkSpec;
use crate::sim::measure::{self, Span};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "rfc8867-variable-single",
            about: "5.1: one flow; 1, 2.5, 0.6, 1 Mbps",
            run: |seed| variable(seed, 1, &[(0, 1000), (40, 2500), (60, 600), (80, 1000)], 100),
        },
        Scenario {
            name: "rfc8867-variable-multiple",
            about: "5.2: two flows share 4, 2, 3.5, 1, 2 Mbps",
            run: |seed| variable(seed, 2, &[(0, 4000), (25, 2000), (50, 3500), (75, 1000), (100, 2000)], 125),
        },
        Scenario {
            name: "rfc8867-congested-feedback",
            about: "5.3: media both ways; 2, 1, 0.5, 2 Mbps down, 0.8 Mbps up from 35 s to 70 s",
            run: congested_feedback,
        },
        Scenario {
            name: "rfc8867-competing-flows",
            about: "5.4: three flows share 3.5 Mbps, the second from 20 s, the third from 40 s",
            run: competing,
        },
        Scenario {
            name: "rfc8867-rtt-fairness",
            about: "5.5: five flows of 20 to 300 ms RTT share 4 Mbps",
            run: rtt_fairness,
        },
        Scenario {
            name: "rfc8867-pause-resume",
            about: "5.8: three flows share 3.5 Mbps, the first hides all its slots from 40 s to 60 s",
            run: pause_resume,
        },
    ]
}

fn publishers(world: &mut World) {
    for _ in 0..6 {
        publisher(world, "r");
    }
    world.run_to(secs(1));
}

/// 50 ms one way and 300 ms of queue, as the RFC has them.
fn bottleneck(world: &mut World, kbps: u64) -> usize {
    world.link(LinkSpec::kbps(kbps).delay_ms(50))
}

/// Sent over capacity and the queue, in a span in which the rate has been the same for a while.
fn usage(world: &World, link: usize, span: Span, names: [&'static str; 2]) -> [Figure; 2] {
    let link = &world.links[link];
    [
        Figure::new(names[0], measure::sent_over_capacity(link, span), Target::Within(0.8, 1.0)),
        Figure::new(names[1], measure::queue_p95(link, span), Target::AtMost(100.0)),
    ]
}

const USAGE: [&str; 2] = ["sent / capacity", "queue p95, ms"];

fn variable(seed: u64, flows: usize, rates: &[(u64, u64)], end: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    publishers(&mut world);
    let down = bottleneck(&mut world, rates[0].1);
    let clients: Vec<usize> = (0..flows).map(|_| receiver(&mut world, "r", down, 6)).collect();
    for (at, kbps) in &rates[1..] {
        world.run_to(secs(*at));
        world.set_rate(down, *kbps);
    }
    world.run_to(secs(end));
    let mut figures = usage(&world, down, Span::secs(0, end), USAGE).to_vec();
    let loss = clients.iter().map(|c| measure::audio_loss_of(&world, *c, Span::secs(5, end)));
    figures.push(Figure::new("audio loss, %", loss.fold(0.0, f64::max), Target::Told));
    figures
}

fn congested_feedback(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    publishers(&mut world);
    let down = bottleneck(&mut world, 2000);
    let up = bottleneck(&mut world, 2000);
    let spec = super::spec(weir_core::api::Role::Member, up, down, 6);
    let client = world.join("r", spec);
    world.watch(client);
    for (at, link, kbps) in [(20, down, 1000), (35, up, 800), (40, down, 500), (60, down, 2000), (70, up, 2000)] {
        world.run_to(secs(at));
        world.set_rate(link, kbps);
    }
    world.run_to(secs(100));
    let mut figures = usage(&world, down, Span::secs(0, 100), USAGE).to_vec();
    let up_queue = measure::queue_p95(&world.links[up], Span::secs(0, 100));
    figures.push(Figure::new("uplink queue p95, ms", up_queue, Target::Told));
    figures
}

/// What the flow that got least had, over an equal share.
fn least_share(world: &World, link: usize, clients: &[usize], span: Span) -> Figure {
    let shares: Vec<f64> = clients.iter().map(|c| measure::share(&world.links[link], *c, span)).collect();
    let fair = shares.iter().sum::<f64>() / shares.len() as f64;
    Figure::new("least share / fair share", shares.iter().copied().fold(f64::MAX, f64::min) / fair, Target::Told)
}

fn competing(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    publishers(&mut world);
    let down = bottleneck(&mut world, 3500);
    let mut clients = Vec::new();
    for start in [1, 20, 40] {
        world.run_to(secs(start));
        clients.push(receiver(&mut world, "r", down, 6));
    }
    world.run_to(secs(120));
    let mut figures = usage(&world, down, Span::secs(20, 120), USAGE).to_vec();
    figures.push(least_share(&world, down, &clients, Span::secs(70, 120)));
    figures
}

fn rtt_fairness(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    publishers(&mut world);
    let down = world.link(LinkSpec::kbps(4000).delay_ms(10));
    let mut clients = Vec::new();
    for (start, extra) in [(1, 0), (10, 15), (20, 40), (30, 90), (40, 140)] {
        world.run_to(secs(start));
        let up = world.link(LinkSpec::default().delay_ms(10));
        let extra = std::time::Duration::from_millis(extra);
        let spec = super::spec(weir_core::api::Role::Member, up, down, 6);
        clients.push(world.join("r", super::ClientSpec { camera: Vec::new(), extra, ..spec }));
    }
    world.run_to(secs(150));
    let mut figures = usage(&world, down, Span::secs(60, 150), USAGE).to_vec();
    figures.push(least_share(&world, down, &clients, Span::secs(60, 150)));
    figures
}

fn pause_resume(seed: u64) -> Vec<Figure> {
    let mut world = World::new(seed);
    publishers(&mut world);
    let down = bottleneck(&mut world, 3500);
    let clients: Vec<usize> = (0..3).map(|_| receiver(&mut world, "r", down, 6)).collect();
    world.run_to(secs(40));
    world.hide(clients[0], true);
    world.run_to(secs(60));
    world.hide(clients[0], false);
    world.run_to(secs(120));
    let mut figures =
        usage(&world, down, Span::secs(20, 40), ["sent / capacity before", "queue p95 before, ms"]).to_vec();
    figures.extend(usage(&world, down, Span::secs(45, 60), ["sent / capacity paused", "queue p95 paused, ms"]));
    figures.extend(usage(&world, down, Span::secs(75, 120), ["sent / capacity after", "queue p95 after, ms"]));
    figures.push(least_share(&world, down, &clients, Span::secs(75, 120)));
    figures
}
