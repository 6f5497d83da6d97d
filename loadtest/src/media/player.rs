//! Plays a clip for ever, and goes back to its keyframe when asked.

use super::clips::{Clip, FRAME_RATE, Picture};

/// Least number of frames from one keyframe to the next, 300 ms: an encoder in a browser answers no faster either, so a
/// server that asks for a keyframe on every loss cannot turn a publisher into a stream of nothing else.
pub const KEYFRAME_GAP: usize = FRAME_RATE as usize * 3 / 10;

/// The place in a clip of one publisher's one encoding.
#[derive(Debug)]
pub struct Player {
    clip: &'static Clip,
    /// The frame to play next.
    next: usize,
    wanted: bool,
}

impl Player {
    /// Starts before the clip's keyframe.
    #[must_use]
    pub fn new(clip: &'static Clip) -> Self {
        Self { clip, next: 0, wanted: false }
    }

    /// Makes the next frame a keyframe, or the first one that is [`KEYFRAME_GAP`] away from the last.
    pub fn request_keyframe(&mut self) {
        self.wanted = true;
    }

    /// The frame to send now; every call goes on by one.
    pub fn next_frame(&mut self) -> Picture {
        if self.next >= self.clip.frames.len() || (self.wanted && self.next >= KEYFRAME_GAP) {
            self.next = 0;
        }
        let frame = self.clip.frames[self.next];
        // A request that comes while the keyframe is still to be sent is answered by it.
        self.wanted &= !frame.keyframe;
        self.next += 1;
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Codec;
    use crate::media::clips::{Size, clip};

    fn keyframes(player: &mut Player, frames: usize) -> Vec<usize> {
        (0..frames).filter(|_| player.next_frame().keyframe).collect()
    }

    #[test]
    fn loops_from_its_end_to_its_keyframe() {
        let mut player = Player::new(clip(Codec::Vp8, Size::Low).unwrap());
        assert_eq!(keyframes(&mut player, 200), [0, 90, 180]);
    }

    #[test]
    fn answers_a_request_with_the_next_frame() {
        let mut player = Player::new(clip(Codec::H264, Size::Low).unwrap());
        assert_eq!(keyframes(&mut player, 50), [0]);
        player.request_keyframe();
        assert_eq!(keyframes(&mut player, 50), [0]);
    }

    #[test]
    fn holds_requests_apart() {
        let mut player = Player::new(clip(Codec::Av1, Size::Low).unwrap());
        let mut keyframes = Vec::new();
        for i in 0..40 {
            player.request_keyframe();
            if player.next_frame().keyframe {
                keyframes.push(i);
            }
        }
        assert_eq!(keyframes, [0, 9, 18, 27, 36]);
    }
}
