//! What a receiver makes of the packets of one slot: frames that can be decoded, and sound without gaps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Time;
use super::media::Mark;

/// A decoder that has shown nothing for this long, though packets come, asks for a keyframe; and so again after it.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(500);
/// A frame that is not whole after this is given up.
const GIVE_UP: Duration = Duration::from_secs(2);
/// Frames remembered as references.
const REFERENCES: usize = 32;

/// A frame as it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// When.
    pub at: Time,
    /// The client that published it.
    pub source: u16,
    /// Height of the picture.
    pub height: u16,
}

/// One layer of one publisher.
type Stream = (u16, u16);

#[derive(Debug)]
struct Partial {
    mark: Mark,
    got: BTreeSet<u16>,
    since: Time,
}

/// The video of one slot.
#[derive(Debug, Default)]
pub struct VideoReceiver {
    /// Every frame shown.
    pub shown: Vec<Shown>,
    /// Frames whose picture id did not follow that of the frame shown before. At a change of layers one may be missing.
    pub picture_gaps: u64,
    /// Requests for a keyframe.
    pub keyframes_asked: u64,
    pending: BTreeMap<(Stream, u32), Partial>,
    current: Option<Stream>,
    references: BTreeSet<u32>,
    last_frame: u32,
    last_picture: Option<u16>,
    last_packet: Option<Time>,
    last_asked: Option<Time>,
    started: Option<Time>,
}

impl VideoReceiver {
    /// Takes a packet. Returns how many frames can be shown now.
    pub fn on_packet(&mut self, now: Time, mark: Mark) -> usize {
        self.last_packet = Some(now);
        self.started.get_or_insert(now);
        let stream = (mark.source, mark.height);
        if self.current == Some(stream) && mark.frame <= self.last_frame {
            return 0;
        }
        let new = || Partial { mark, got: BTreeSet::new(), since: now };
        self.pending.entry((stream, mark.frame)).or_insert_with(new).got.insert(mark.index);
        let before = self.shown.len();
        while let Some(next) = self.next_decodable() {
            self.show(now, next);
        }
        self.shown.len() - before
    }

    /// The oldest whole frame whose reference was shown; a keyframe needs none.
    fn next_decodable(&self) -> Option<(Stream, u32)> {
        let whole = self.pending.iter().filter(|(_, p)| p.got.len() == usize::from(p.mark.count));
        let decodable = |stream: Stream, mark: &Mark| {
            mark.reference == mark.frame || (self.current == Some(stream) && self.references.contains(&mark.reference))
        };
        whole.filter(|((stream, _), p)| decodable(*stream, &p.mark)).map(|(key, _)| *key).next()
    }

    fn show(&mut self, now: Time, key: (Stream, u32)) {
        let Some(frame) = self.pending.remove(&key) else { return };
        let (stream, number) = key;
        if frame.mark.reference == number {
            self.references.clear();
            self.pending.retain(|(s, n), p| (*s == stream && *n > number) || (*s != stream && p.since > frame.since));
        }
        let switched = self.current.replace(stream) != Some(stream);
        self.last_frame = number;
        self.references.insert(number);
        if self.references.len() > REFERENCES {
            self.references.pop_first();
        }
        self.pending.retain(|(s, n), _| *s != stream || *n > number);
        let picture = frame.mark.picture;
        // A frame of the old layer that the switch cut leaves one gap.
        let step = self.last_picture.map_or(1, |last| picture.wrapping_sub(last) & 0x7fff);
        self.picture_gaps += u64::from(step != 1 && !(switched && step == 2));
        self.last_picture = Some(picture);
        self.shown.push(Shown { at: now, source: stream.0, height: stream.1 });
    }

    /// Looks after frames that do not come. True: ask for a keyframe.
    pub fn needs_keyframe(&mut self, now: Time) -> bool {
        self.pending.retain(|_, p| now - p.since < GIVE_UP);
        let long_ago = |at: Option<Time>| at.is_none_or(|at| now - at >= KEYFRAME_PATIENCE);
        let flows = !long_ago(self.last_packet);
        let stuck = long_ago(self.shown.last().map(|s| s.at)) && long_ago(self.started);
        let ask = flows && stuck && long_ago(self.last_asked);
        if ask {
            self.last_asked = Some(now);
            self.keyframes_asked += 1;
        }
        ask
    }
}

/// The sound of one slot.
#[derive(Debug, Default)]
pub struct AudioReceiver {
    /// Arrival and extended sequence number of every packet, each once.
    pub packets: Vec<(Time, u64)>,
    seen: BTreeSet<u64>,
}

impl AudioReceiver {
    /// Takes a packet.
    pub fn on_packet(&mut self, now: Time, seq: u64) {
        if self.seen.insert(seq) {
            self.packets.push((now, seq));
        }
        if self.seen.len() > 1000 {
            self.seen.pop_first();
        }
    }
}
