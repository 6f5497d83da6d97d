//! The scenarios by name, and the figures that each gives.

mod flows;
mod rooms;
mod single;

use std::time::Duration;

use weir_core::api::Role;

use super::client::ClientSpec;
use super::link::LinkSpec;
use super::measure::percentile;
use super::media::CAMERA;
use super::{Time, World};

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Between these, inclusive.
    Within(f64, f64),
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// No target: told for comparison.
    Told,
}

impl Target {
    /// The value is as it must be.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Within(low, high) => (low..=high).contains(&value),
            Self::AtMost(high) => value <= high,
            Self::AtLeast(low) => value >= low,
            Self::Told => true,
        }
    }

    /// How far the value is on the bad side; greater is worse.
    #[must_use]
    pub fn badness(self, value: f64) -> f64 {
        match self {
            Self::Within(low, high) => (value - f64::midpoint(low, high)).abs(),
            Self::AtMost(_) | Self::Told => value,
            Self::AtLeast(_) => -value,
        }
    }
}

/// Which value of all seeds the target is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// Every one.
    Every,
    /// The median.
    Median,
    /// The 95th percentile.
    P95,
    /// The mean: for rates of what is rare, over all the minutes of all seeds.
    Mean,
}

/// One figure of one run.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Its values in this run: one, or one per joining client.
    pub values: Vec<f64>,
    /// What they must be.
    pub target: Target,
    /// Which of them.
    pub judge: Judge,
}

impl Figure {
    /// A figure that must hold in every run.
    #[must_use]
    pub fn new(name: &'static str, value: f64, target: Target) -> Self {
        Self { name, values: vec![value], target, judge: Judge::Every }
    }

    /// The value that is held against the target.
    #[must_use]
    pub fn judged(&self) -> f64 {
        let mut values = self.values.clone();
        match self.judge {
            Judge::Every => {
                values.into_iter().max_by(|a, b| self.badness(*a).total_cmp(&self.badness(*b))).unwrap_or(0.0)
            }
            Judge::Median => percentile(&mut values, 0.5),
            Judge::P95 => percentile(&mut values, 0.95),
            Judge::Mean => values.iter().sum::<f64>() / values.len().max(1) as f64,
        }
    }

    fn badness(&self, value: f64) -> f64 {
        if value.is_nan() { f64::INFINITY } else { self.target.badness(value) }
    }

    /// The target holds.
    #[must_use]
    pub fn passes(&self) -> bool {
        !self.values.is_empty() && self.target.holds(self.judged())
    }
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// Runs it. Call within [`super::run_seeded`], with the same seed.
    pub run: fn(u64) -> Vec<Figure>,
}

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [single::scenarios(), flows::scenarios(), rooms::scenarios()].concat()
}

/// The most that a run which never got there is said to have taken, in seconds.
const NEVER: f64 = 999.0;

/// A publisher with an ample uplink.
fn publisher(world: &mut World, room: &str) -> usize {
    let up = world.link(LinkSpec::default().delay_ms(10));
    let down = world.link(LinkSpec::default().delay_ms(10));
    let client = world.join(room, spec(Role::Member, up, down, 0));
    world.clients[client].speaks = client == 0;
    client
}

/// A member who only receives, in so many video slots of 1280x720, over this downlink.
fn receiver(world: &mut World, room: &str, down: usize, slots: usize) -> usize {
    let delay = world.links[down].spec.delay;
    let up = world.link(LinkSpec { delay, ..LinkSpec::default() });
    let client = world.join(room, ClientSpec { camera: Vec::new(), ..spec(Role::Member, up, down, slots) });
    world.watch(client);
    client
}

fn spec(role: Role, up: usize, down: usize, video_slots: usize) -> ClientSpec {
    ClientSpec {
        role,
        camera: CAMERA.to_vec(),
        microphone: true,
        audio_slots: if video_slots == 0 { 0 } else { 3 },
        video_slots,
        tile: (1280, 720),
        speaker_tile: None,
        up,
        down,
        extra: Duration::ZERO,
    }
}

fn secs(seconds: u64) -> Time {
    Time::from_secs(seconds)
}
