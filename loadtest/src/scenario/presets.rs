//! Scenarios by name.

use std::time::Duration;

use super::{Audio, Layer, Protocol, Scenario, Video, View};

/// A named scenario.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// What `--preset` takes.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    make: fn() -> Scenario,
}

impl Preset {
    /// Its scenario.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        Scenario { name: self.name.to_owned(), ..(self.make)() }
    }
}

/// All of them.
pub const PRESETS: [Preset; 6] = [
    Preset {
        name: "meeting-10",
        about: "one room of 10, all with camera and microphone, all seeing nine",
        make: meeting_10,
    },
    Preset { name: "meeting-50", about: "one room of 50, 16 cameras, everybody sees nine tiles", make: meeting_50 },
    Preset { name: "webinar-1-500", about: "one presenter of 1 Mbit/s, 500 viewers", make: webinar },
    Preset { name: "audio-stage", about: "five rooms of 20 microphones each and no picture", make: audio_stage },
    Preset { name: "whip-whep", about: "five WHIP streams with ten WHEP viewers each", make: whip_whep },
    Preset { name: "churn", about: "a room of 10 in which two people a second leave and come back", make: churn },
];

/// The one of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn meeting_10() -> Scenario {
    Scenario { members: 10, view: View { sizes: vec![(320, 180)], ..View::default() }, ..Scenario::default() }
}

fn meeting_50() -> Scenario {
    Scenario {
        members: 50,
        cameras: 16,
        ramp: Duration::from_secs(10),
        duration: Duration::from_secs(40),
        view: View { sizes: vec![(320, 180)], ..View::default() },
        ..Scenario::default()
    }
}

fn webinar() -> Scenario {
    Scenario {
        // Viewers by WHEP: members of a room may do more than look on, and a room holds fewer of them.
        protocol: Protocol::WhipWhep,
        members: 0,
        publishers: 1,
        viewers: 500,
        ramp: Duration::from_secs(15),
        duration: Duration::from_secs(45),
        video: Video { layers: vec![layer("f", 1280, 720, 1000)], ..Video::default() },
        ..Scenario::default()
    }
}

fn audio_stage() -> Scenario {
    Scenario {
        rooms: 5,
        members: 20,
        video: Video { enabled: false, ..Video::default() },
        audio: Audio { speakers: 3, ..Audio::default() },
        ramp: Duration::from_secs(5),
        ..Scenario::default()
    }
}

fn whip_whep() -> Scenario {
    Scenario {
        protocol: Protocol::WhipWhep,
        rooms: 5,
        members: 0,
        publishers: 1,
        viewers: 10,
        video: Video { layers: vec![layer("f", 1280, 720, 1000)], ..Video::default() },
        ramp: Duration::from_secs(5),
        ..Scenario::default()
    }
}

fn churn() -> Scenario {
    Scenario { churn_per_second: 2.0, ..meeting_10() }
}

fn layer(rid: &str, width: u16, height: u16, kbps: u32) -> Layer {
    Layer { rid: rid.to_owned(), width, height, kbps }
}
