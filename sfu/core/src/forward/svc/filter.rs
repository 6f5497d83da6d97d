//! The decision for each packet of one subscription.

use super::super::layer::{Layer, LayerSet, MAX_LAYERS};
use super::history::{Fate, History};
use super::{FrameInfo, TemporalSync};

/// How many changes of layer are remembered for packets that come late: those of a second, at a few a second.
const CHANGES_KEPT: usize = 16;

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterVerdict {
    /// Forward it. Else its sequence number is to be closed up.
    pub pass: bool,
    /// What the RTP marker shall be; none: as it came. The last packet of a picture as forwarded is marked.
    pub marker: Option<bool>,
    /// With this packet the forwarded layer changes.
    pub switched: bool,
}

impl FilterVerdict {
    const DROP: Self = Self { pass: false, marker: None, switched: false };
}

/// Cuts one stream down to a target layer, for one subscription.
///
/// It begins with a keyframe. Then the temporal layers change at once downwards, and upwards as soon as what is added
/// refers to nothing that was dropped. The spatial layer changes downwards with the next picture if the lower one was
/// part of what was forwarded, else, as in the KEY modes and upwards, where the wanted one begins anew.
#[derive(Debug, Clone)]
pub struct LayerFilter {
    target: Layer,
    active: LayerSet,
    /// What was dropped while waiting for a keyframe: it may be newer than that, which then comes late.
    waiting: History,
    running: Option<Box<Running>>,
}

/// The state since the first keyframe.
#[derive(Debug, Clone)]
struct Running {
    /// The spatial layer that is forwarded, and the highest temporal one of it that has been.
    current: Layer,
    history: History,
    changes: Changes,
    picture: Picture,
    /// The spatial layers whose last frame of temporal layer 0 was forwarded, the lowest bit the first.
    alive: u8,
    /// In the picture before, a spatial layer above the current one was dropped.
    cuts_above: bool,
    /// From the next picture on any temporal layer can be added.
    in_sync: bool,
    /// A frame that the receiver needs was dropped, because it refers to a dropped one.
    starved: bool,
}

/// The picture that came last.
#[derive(Debug, Clone, Copy)]
struct Picture {
    number: u64,
    keyframe: bool,
    /// The target as it was when the picture began, brought down to what there is.
    wanted: Layer,
    /// A packet before the publisher's last was marked as the last.
    marked: bool,
    cuts_above: bool,
}

/// Whether a frame can be decoded by the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decodable {
    Yes,
    /// If what is missing still comes.
    Perhaps,
    No,
}

impl Default for LayerFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerFilter {
    /// A filter that waits for a keyframe and lets everything pass from there.
    pub const fn new() -> Self {
        let target = Layer::new(MAX_LAYERS - 1, MAX_LAYERS - 1);
        Self { target, active: LayerSet::EMPTY, waiting: History::new(), running: None }
    }

    /// Sets the highest layer to forward. More than there is stands for all there is.
    pub const fn set_target(&mut self, spatial: u8, temporal: u8) {
        self.target = Layer::new(spatial, temporal);
    }

    /// The stream begins anew: another source, or a pause has ended. The target stays.
    pub fn restart(&mut self) {
        *self = Self { target: self.target, ..Self::new() };
    }

    /// The spatial layer that is forwarded, and the highest temporal layer that has been since the target allows it.
    pub fn current(&self) -> Option<Layer> {
        self.running.as_ref().map(|running| running.current)
    }

    /// The spatial layer that is forwarded with the temporal layer that the target allows: what the receiver may
    /// expect.
    pub fn allowed(&self) -> Option<Layer> {
        self.running.as_ref().map(|r| Layer::new(r.current.spatial, r.picture.wanted.temporal))
    }

    /// The target cannot be reached without a keyframe, or nothing can be forwarded without one.
    pub fn needs_keyframe(&self) -> bool {
        let Some(running) = &self.running else { return true };
        let wanted = self.wanted().spatial;
        running.starved || wanted != running.current.spatial && !running.is_alive(wanted)
    }

    /// What it passed was not sent, and what follows needs it: only a keyframe helps.
    pub fn starve(&mut self) {
        if let Some(running) = &mut self.running {
            running.starved = true;
        }
    }

    /// A packet of this frame cannot be forwarded, whatever layer it is of.
    pub fn lose(&mut self, id: u64) {
        let history = self.running.as_mut().map_or(&mut self.waiting, |running| &mut running.history);
        if history.fate(id) != Fate::Forgotten {
            history.note(id, false);
        }
    }

    /// Decides about a packet. All packets of a frame get the same answer, in whatever order they come.
    pub fn on_packet(&mut self, frame: &FrameInfo) -> FilterVerdict {
        let newest = self.running.as_ref().is_none_or(|r| r.history.is_new(frame.id));
        if newest {
            self.active = frame.active;
        }
        let wanted = self.wanted();
        let Some(running) = &mut self.running else {
            if !(frame.keyframe && frame.start) {
                self.waiting.note(frame.id, false);
                return FilterVerdict::DROP;
            }
            let history = self.waiting.clone().starting(frame.id);
            let running = self.running.insert(Box::new(Running::starting(frame, wanted, history)));
            running.take(frame, wanted);
            return FilterVerdict { pass: true, marker: running.marker(frame, self.active), switched: true };
        };
        let before = running.current;
        let pass = match running.history.fate(frame.id) {
            Fate::Passed => true,
            Fate::Dropped | Fate::Forgotten => false,
            Fate::Unseen if newest => running.take(frame, wanted),
            Fate::Unseen => running.take_late(frame),
        };
        let marker = if pass { running.marker(frame, self.active) } else { None };
        FilterVerdict { pass, marker, switched: running.current != before }
    }

    /// The target, brought down to what the publisher sends.
    fn wanted(&self) -> Layer {
        let spatial = (0..=self.target.spatial.min(MAX_LAYERS - 1)).rev().find(|s| self.active.has_spatial(*s));
        let lowest = || (0..MAX_LAYERS).find(|s| self.active.has_spatial(*s)).unwrap_or(0);
        Layer::new(spatial.unwrap_or_else(lowest), self.target.temporal.min(MAX_LAYERS - 1))
    }
}

impl Running {
    const fn starting(first: &FrameInfo, wanted: Layer, history: History) -> Self {
        Self {
            current: Layer::new(0, 0),
            history,
            changes: Changes::new(),
            picture: Picture::new(first.picture, wanted),
            alive: 0,
            cuts_above: false,
            in_sync: false,
            starved: false,
        }
    }

    const fn is_alive(&self, spatial: u8) -> bool {
        self.alive >> spatial & 1 == 1
    }

    /// A frame that is newer than all before.
    fn take(&mut self, frame: &FrameInfo, wanted: Layer) -> bool {
        if frame.picture != self.picture.number {
            self.enter_picture(frame.picture, wanted);
        }
        if frame.keyframe {
            self.picture.keyframe = true;
            self.starved = false;
            if frame.sync != TemporalSync::Told {
                self.current.temporal = wanted.temporal;
            }
        }
        let decodable = self.decodable(frame);
        self.switch(frame, decodable);
        let pass = self.admits(frame, decodable);
        self.note(frame, pass);
        pass
    }

    fn enter_picture(&mut self, number: u64, wanted: Layer) {
        self.cuts_above = self.picture.cuts_above;
        self.picture = Picture::new(number, wanted);
        if self.in_sync {
            self.current.temporal = wanted.temporal;
            self.in_sync = false;
        }
        self.current.temporal = self.current.temporal.min(wanted.temporal);
    }

    /// Changes the spatial layer, if the wanted one, or one on the way up to it, can begin with this frame.
    fn switch(&mut self, frame: &FrameInfo, decodable: Decodable) {
        let Layer { spatial: wanted, temporal } = self.picture.wanted;
        let current = self.current.spatial;
        // A picture that has been marked as complete must not go on.
        let open = self.picture.keyframe || !self.picture.marked;
        if wanted == current || decodable != Decodable::Yes || !open {
            return;
        }
        // What has been forwarded all along just goes on: the way down where lower layers are part of the higher.
        let goes_on =
            frame.layer.spatial == wanted && self.is_alive(wanted) && (wanted < current || frame.layer.temporal == 0);
        let lowest = if wanted > current { current + 1 } else { wanted };
        let begins = (lowest..=wanted).rev().find(|s| frame.switches.has(Layer::new(*s, temporal)));
        self.current.spatial = if goes_on { wanted } else { begins.unwrap_or(current) };
    }

    fn admits(&mut self, frame: &FrameInfo, decodable: Decodable) -> bool {
        let target = Layer::new(self.current.spatial, self.picture.wanted.temporal);
        if !frame.needed.has(target) {
            return false;
        }
        let admitted = match decodable {
            Decodable::Yes => true,
            Decodable::Perhaps => !self.starved && self.admits_on_trust(frame),
            Decodable::No => false,
        };
        // In the temporal layers above a frame may well be waiting for its layer to begin.
        if frame.layer.temporal == 0 {
            let begins = decodable == Decodable::Yes && frame.switches.has(target);
            self.starved = !begins && (self.starved || decodable == Decodable::No);
        }
        admitted
    }

    /// A frame that refers to something that has not come, or is not told: only of layers that are forwarded already,
    /// for else what comes late may be of a layer that was not. Untold, a temporal layer begins where the frame says.
    fn admits_on_trust(&mut self, frame: &FrameInfo) -> bool {
        let temporal = frame.layer.temporal;
        if !frame.references.untold {
            return temporal <= self.current.temporal;
        }
        // One step at a time: the frame may be referred to by one of a layer between that does not begin here.
        if frame.sync == TemporalSync::Here && temporal == self.current.temporal + 1 {
            self.current.temporal = temporal;
        }
        temporal <= self.current.temporal && self.is_alive(frame.layer.spatial)
    }

    fn decodable(&self, frame: &FrameInfo) -> Decodable {
        let fates = frame.references.told().iter().map(|distance| match frame.id.checked_sub((*distance).into()) {
            Some(id) => self.history.fate(id),
            None => Fate::Forgotten,
        });
        fates.fold(if frame.references.untold { Decodable::Perhaps } else { Decodable::Yes }, |so_far, fate| {
            match (so_far, fate) {
                (Decodable::No, _) | (_, Fate::Dropped) => Decodable::No,
                (Decodable::Perhaps, _) | (_, Fate::Unseen | Fate::Forgotten) => Decodable::Perhaps,
                (Decodable::Yes, Fate::Passed) => Decodable::Yes,
            }
        })
    }

    fn note(&mut self, frame: &FrameInfo, pass: bool) {
        let Layer { spatial, temporal } = frame.layer;
        self.history.note(frame.id, pass);
        if temporal == 0 && spatial < MAX_LAYERS {
            self.alive = self.alive & !(1 << spatial) | u8::from(pass) << spatial;
        }
        self.picture.cuts_above |= !pass && spatial > self.current.spatial;
        if pass {
            self.current.temporal = self.current.temporal.max(temporal);
            self.in_sync |= frame.sync == TemporalSync::After;
        }
        self.changes.note(Change { since: frame.id, allowed: self.allowed(frame), carried: self.current.temporal });
    }

    /// The highest layer that passes now, in a stream of frames like this.
    const fn allowed(&self, like: &FrameInfo) -> Layer {
        let temporal = match like.sync {
            TemporalSync::Told => self.picture.wanted.temporal,
            _ => self.current.temporal,
        };
        Layer::new(self.current.spatial, temporal)
    }

    /// A frame before one that has been decided already: as it would have been then. Nothing begins with it.
    fn take_late(&mut self, frame: &FrameInfo) -> bool {
        let pass = self.changes.at(frame.id).is_some_and(|then| {
            frame.needed.has(then.allowed)
                && match self.decodable(frame) {
                    Decodable::Yes => true,
                    // What was taken on trust in its time may refer to this frame.
                    Decodable::Perhaps => !self.starved && frame.layer.temporal <= then.carried,
                    Decodable::No => false,
                }
        });
        self.history.note(frame.id, pass);
        if !pass && frame.layer.temporal == 0 && frame.layer.spatial < MAX_LAYERS {
            self.alive &= !(1 << frame.layer.spatial);
        }
        pass
    }

    fn marker(&mut self, frame: &FrameInfo, active: LayerSet) -> Option<bool> {
        if !frame.end || frame.layer.spatial != self.top(frame, active)? {
            return None;
        }
        self.picture.marked |= frame.picture == self.picture.number;
        Some(true)
    }

    /// The highest spatial layer of the frame's picture as it is forwarded; none where the publisher's own marker
    /// shows it.
    fn top(&self, frame: &FrameInfo, active: LayerSet) -> Option<u8> {
        if frame.picture != self.picture.number {
            return Some(self.changes.at(frame.id)?.allowed.spatial);
        }
        let (wanted, current) = (self.picture.wanted.spatial, self.current.spatial);
        if self.picture.keyframe {
            return Some(wanted.min(active.top_spatial().unwrap_or(wanted)));
        }
        // On the way up a higher layer may begin within this very picture, unless there is one that is being cut off.
        (wanted <= current || self.cuts_above).then_some(current)
    }
}

impl Picture {
    const fn new(number: u64, wanted: Layer) -> Self {
        Self { number, keyframe: false, wanted, marked: false, cuts_above: false }
    }
}

/// What was forwarded since some frame.
#[derive(Debug, Clone, Copy)]
struct Change {
    since: u64,
    allowed: Layer,
    /// The highest temporal layer that had been forwarded.
    carried: u8,
}

/// The last changes.
#[derive(Debug, Clone)]
struct Changes {
    /// A ring.
    kept: [Option<Change>; CHANGES_KEPT],
    newest: usize,
}

impl Changes {
    const fn new() -> Self {
        Self { kept: [None; CHANGES_KEPT], newest: 0 }
    }

    fn note(&mut self, change: Change) {
        match self.kept[self.newest] {
            Some(known) if (known.allowed, known.carried) == (change.allowed, change.carried) => return,
            Some(_) => self.newest = (self.newest + 1) % CHANGES_KEPT,
            None => {}
        }
        self.kept[self.newest] = Some(change);
    }

    /// What was forwarded when frame `id` would have come.
    fn at(&self, id: u64) -> Option<Change> {
        self.kept.iter().flatten().filter(|change| change.since <= id).max_by_key(|change| change.since).copied()
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
