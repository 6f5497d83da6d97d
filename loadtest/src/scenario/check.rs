//! What makes a scenario impossible, in words.

use super::{Kind, Link, Protocol, Scenario};
use crate::media::{Codec, clips};

/// The most participants of one tester.
const MOST: u64 = 100_000;

impl Scenario {
    /// How many participants are in at one time.
    #[must_use]
    pub fn participants(&self) -> u64 {
        let each = u64::from(self.members) + u64::from(self.publishers) + u64::from(self.viewers);
        each.saturating_mul(u64::from(self.rooms))
    }

    /// Puts in what follows from the rest: clips have their own rate of frames and of bits.
    pub fn settle(&mut self) {
        if self.video.kind != Kind::Clips {
            return;
        }
        self.video.fps = clips::FRAME_RATE;
        for layer in &mut self.video.layers {
            let size = clips::Size::nearest(layer.width);
            (layer.width, layer.height) = size.pixels();
            layer.kbps = clips::clip(self.video.codec, size).map_or(layer.kbps, |clip| (clip.bitrate() / 1000) as u32);
        }
    }

    /// Says what cannot be.
    ///
    /// # Errors
    /// The first thing that is wrong: which field, which value, what it may be.
    pub fn check(&self) -> Result<(), String> {
        self.check_people()?;
        self.check_video()?;
        let speakers = self.audio.speakers;
        let ok = |what: &str, good: bool| if good { Ok(()) } else { Err(what.to_owned()) };
        ok("audio.kbps is 6 to 510", !self.audio.enabled || (6..=510).contains(&self.audio.kbps))?;
        ok(&format!("audio.speakers is {speakers}: at most 1000"), speakers <= 1000)?;
        ok("neither audio nor video is enabled: there is nothing to send", self.audio.enabled || self.video.enabled)?;
        let (slots, audio_slots) = (self.view.slots, self.view.audio_slots);
        ok(&format!("view.slots is {slots}: 1 to 49"), (1..=49).contains(&slots))?;
        ok(&format!("view.audio_slots is {audio_slots}: at most 3"), audio_slots <= 3)?;
        ok("view.sizes is empty: give at least one, such as [640, 360]", !self.view.sizes.is_empty())?;
        for pair in &self.links {
            check_link("up", &pair.up)?;
            check_link("down", &pair.down)?;
        }
        Ok(())
    }

    fn check_people(&self) -> Result<(), String> {
        let all = self.participants();
        if all == 0 || all > MOST {
            return Err(format!(
                "the scenario has {all} participants: 1 to {MOST} (rooms, members, publishers, viewers)"
            ));
        }
        if self.members + self.publishers == 0 {
            return Err("nobody sends: members and publishers are both 0".to_owned());
        }
        if self.protocol == Protocol::WhipWhep && (self.members, self.publishers, self.screens) != (0, 1, 0) {
            return Err(format!(
                "with protocol whip-whep each room is one stream: members 0, publishers 1, screens 0, and any number of \
                 viewers; this has members {}, publishers {}, screens {}",
                self.members, self.publishers, self.screens
            ));
        }
        if !(0.0..=1000.0).contains(&self.churn_per_second) {
            return Err(format!("churn_per_second is {}: 0 to 1000", self.churn_per_second));
        }
        if self.duration.is_zero() {
            return Err("duration is 0: the run would be over before it begins".to_owned());
        }
        if self.ramp > self.duration {
            return Err(format!("ramp ({:?}) is longer than duration ({:?})", self.ramp, self.duration));
        }
        Ok(())
    }

    fn check_video(&self) -> Result<(), String> {
        let video = &self.video;
        if !video.enabled {
            return Ok(());
        }
        if !(1..=3).contains(&video.layers.len()) {
            return Err(format!("video.layers holds {}: 1 to 3", video.layers.len()));
        }
        if !(1..=120).contains(&video.fps) {
            return Err(format!("video.fps is {}: 1 to 120", video.fps));
        }
        for layer in &video.layers {
            let rid = &layer.rid;
            if rid.is_empty() || rid.len() > 8 || !rid.chars().all(|c| c.is_ascii_alphanumeric()) {
                return Err(format!("video.layers: rid {rid:?} is not of 1 to 8 letters and digits"));
            }
            if !(16..=100_000).contains(&layer.kbps) || layer.height == 0 || layer.width == 0 {
                return Err(format!("video.layers: layer {rid:?} has no size, or a kbps that is not 16 to 100000"));
            }
        }
        if video.codec == Codec::Opus || (video.kind == Kind::Synthetic && video.codec != Codec::Vp8) {
            return Err(
                "video.codec: synthetic media is vp8; with kind clips it may be vp8, vp9, h264 or av1".to_owned()
            );
        }
        Ok(())
    }
}

fn check_link(direction: &str, link: &Link) -> Result<(), String> {
    let percents = [
        ("loss_percent", link.loss_percent),
        ("burst_percent", link.burst_percent),
        ("reorder_percent", link.reorder_percent),
    ];
    for (name, value) in percents {
        if !(0.0..=100.0).contains(&value) {
            return Err(format!("links: {direction}.{name} is {value}: 0 to 100"));
        }
    }
    for (name, value) in [("delay_ms", link.delay_ms), ("jitter_ms", link.jitter_ms)] {
        if !(0.0..=60_000.0).contains(&value) {
            return Err(format!("links: {direction}.{name} is {value}: 0 to 60000"));
        }
    }
    let freeze_s = f64::from(link.freeze_ms) / 1000.0;
    if !(0.0..=1e6).contains(&link.freeze_every_s) || (link.freeze_every_s > 0.0 && freeze_s >= link.freeze_every_s) {
        return Err(format!("links: {direction}.freeze_ms is as long as freeze_every_s: nothing would pass"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::presets::PRESETS;
    use super::super::{LinkPair, View};
    use super::*;

    #[test]
    fn presets_can_be_run_and_read_back_from_their_own_text() {
        for preset in PRESETS {
            let scenario = preset.scenario();
            assert_eq!(scenario.check(), Ok(()), "{}", preset.name);
            let text = toml::to_string(&scenario).unwrap();
            assert_eq!(toml::from_str::<Scenario>(&text).unwrap(), scenario, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let bad = |change: fn(&mut Scenario)| {
            let mut scenario = Scenario::default();
            change(&mut scenario);
            scenario.check().unwrap_err()
        };
        assert!(bad(|s| s.members = 0).contains("participants"));
        assert!(bad(|s| s.rooms = 1_000_000).contains("3000000"));
        assert!(bad(|s| s.protocol = Protocol::WhipWhep).contains("members 3"));
        assert!(bad(|s| s.video.layers.clear()).contains("layers"));
        assert!(bad(|s| s.video.layers[0].rid = "a b".into()).contains("a b"));
        assert!(bad(|s| s.video.codec = Codec::Av1).contains("clips"));
        assert!(bad(|s| s.churn_per_second = f64::NAN).contains("NaN"));
        assert!(bad(|s| s.ramp = s.duration * 2).contains("ramp"));
        assert!(bad(|s| s.view = View { slots: 50, ..View::default() }).contains("50"));
        let lossy = |s: &mut Scenario| {
            s.links = vec![LinkPair { down: Link { loss_percent: 101.0, ..Link::default() }, ..LinkPair::default() }];
        };
        assert!(bad(lossy).contains("down.loss_percent is 101"));
    }
}
