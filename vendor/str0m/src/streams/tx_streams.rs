use crate::rtp_::{Mid, MidRid, Ssrc};

use weir_prefetch as prefetch;
use super::StreamTx;

/// All outgoing encoded streams, and which of them may have something to do.
///
/// An SFU has a stream for each of the slots of a receiver, and most of them are idle at any one
/// time: nothing is queued in them, nobody has asked them for anything. They are left alone until
/// somebody gets hold of them again, which is the only way in which that can change.
#[derive(Debug, Default)]
pub(crate) struct TxStreams {
    /// SSRC under which a stream was declared, and where it belongs.
    keys: Vec<(Ssrc, MidRid)>,
    /// In the order of their keys.
    streams: Vec<StreamTx>,
    /// Indexes of those that may have something to do, ascending. One of those that can send
    /// padding always is among them: the one that sent last.
    awake: Vec<usize>,
    /// The one that something was sent on last.
    recent: usize,
}

impl TxStreams {
    pub(crate) fn declare(
        &mut self,
        ssrc: Ssrc,
        midrid: MidRid,
        new: impl FnOnce() -> StreamTx,
    ) -> &mut StreamTx {
        let index = self.index(&ssrc).unwrap_or_else(|| {
            self.keys.push((ssrc, midrid));
            self.streams.push(new());
            self.streams.len() - 1
        });
        self.wake(index)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(Ssrc, &StreamTx) -> bool) {
        for index in (0..self.streams.len()).rev() {
            if !keep(self.keys[index].0, &self.streams[index]) {
                self.keys.remove(index);
                self.streams.remove(index);
            }
        }
        self.wake_all();
    }

    pub(crate) fn contains(&self, ssrc: Ssrc) -> bool {
        self.index(&ssrc).is_some()
    }

    pub(crate) fn first_ssrc(&self) -> Option<Ssrc> {
        self.keys.first().map(|(ssrc, _)| *ssrc)
    }

    pub(crate) fn get_mut(&mut self, ssrc: &Ssrc) -> Option<&mut StreamTx> {
        let index = self.index(ssrc)?;
        Some(self.wake(index))
    }

    pub(crate) fn find_mut(&mut self, midrid: MidRid) -> Option<&mut StreamTx> {
        let index = self.keys.iter().position(|(_, own)| midrid.special_equals(own))?;
        Some(self.wake(index))
    }

    /// The stream, if a packet may be sent on it at once. It wakes only if it can send padding:
    /// then it is the one that sent last.
    pub(crate) fn clear_mut(&mut self, mid: Mid) -> Option<&mut StreamTx> {
        let midrid = MidRid(mid, None);
        let index = self.keys.iter().position(|(_, own)| midrid.special_equals(own))?;
        self.recent = index;
        if !self.streams[index].is_clear() {
            return None;
        }
        if self.streams[index].padding_enabled() {
            return Some(self.wake(index));
        }
        Some(&mut self.streams[index])
    }

    pub(crate) fn peek(&self, mid: Mid) -> Option<&StreamTx> {
        let midrid = MidRid(mid, None);
        let index = self.keys.iter().position(|(_, own)| midrid.special_equals(own))?;
        self.streams.get(index)
    }

    /// See [`crate::Rtc::prefetch_pointed`]. Mostly the stream that was sent on last is sent on next.
    pub(crate) fn prefetch_pointed(&self) {
        prefetch::first(4, &self.keys);
        prefetch::first(4, &self.awake);
        if let Some(stream) = self.streams.get(self.recent) {
            prefetch::value(stream);
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &StreamTx> {
        self.streams.iter()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut StreamTx> {
        self.wake_all();
        self.streams.iter_mut()
    }

    /// For what gives none of them anything to do.
    pub(crate) fn all_asleep_mut(&mut self) -> impl Iterator<Item = &mut StreamTx> {
        self.streams.iter_mut()
    }

    pub(crate) fn awake(&self) -> impl Iterator<Item = &StreamTx> {
        self.awake.iter().map(|index| &self.streams[*index])
    }

    pub(crate) fn awake_mut(&mut self) -> impl Iterator<Item = &mut StreamTx> {
        let mut awake = self.awake.iter().copied().peekable();
        let streams = self.streams.iter_mut().enumerate();
        streams.filter_map(move |(index, stream)| awake.next_if_eq(&index).map(|_| stream))
    }

    pub(crate) fn wake_all(&mut self) {
        self.awake.clear();
        self.awake.extend(0..self.streams.len());
    }

    /// Leaves those alone that have nothing to do. What they had to tell the pacer, it was told.
    pub(crate) fn settle(&mut self) {
        let streams = &self.streams;
        let pads = self.awake.iter().filter(|index| streams[**index].padding_enabled());
        let last = pads.max_by_key(|index| streams[**index].last_emitted()).copied();
        self.awake.retain(|index| Some(*index) == last || !streams[*index].is_idle());
    }

    fn index(&self, ssrc: &Ssrc) -> Option<usize> {
        self.keys.iter().position(|(own, _)| own == ssrc)
    }

    fn wake(&mut self, index: usize) -> &mut StreamTx {
        if let Err(place) = self.awake.binary_search(&index) {
            self.awake.insert(place, index);
        }
        &mut self.streams[index]
    }
}

#[cfg(test)]
mod test {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::streams::RtpWrite;

    fn streams() -> TxStreams {
        let mut streams = TxStreams::default();
        for n in 0..3_u32 {
            let midrid = MidRid(Mid::from(format!("m{n}").as_str()), None);
            let new = || StreamTx::new(n.into(), Some((n + 10).into()), midrid, false, 1200);
            streams.declare(n.into(), midrid, new).make_ready(96.into());
        }
        streams
    }

    fn awake(streams: &TxStreams) -> Vec<u32> {
        streams.awake().map(|stream| *stream.ssrc()).collect()
    }

    fn write(streams: &mut TxStreams, ssrc: u32, now: Instant) {
        let stream = streams.get_mut(&ssrc.into()).unwrap();
        stream.write_rtp(RtpWrite::new(96.into(), 1.into(), 0, now, vec![0; 10]));
        stream.send_queued(now);
    }

    #[test]
    fn idle_streams_sleep_but_for_the_one_that_would_pad() {
        let start = Instant::now();
        let mut streams = streams();
        assert_eq!(awake(&streams), [0, 1, 2], "new ones have something to tell");
        streams.settle();
        assert_eq!(awake(&streams), [2], "of those that never sent, the last one");
        write(&mut streams, 0, start);
        streams.settle();
        assert_eq!(awake(&streams), [0], "the one that sent last");
        write(&mut streams, 1, start + Duration::from_millis(1));
        streams.settle();
        assert_eq!(awake(&streams), [1]);
        streams.wake_all();
        streams.settle();
        assert_eq!(awake(&streams), [1], "it is that of all of them");
    }

    #[test]
    fn who_gets_hold_of_a_stream_wakes_it_until_it_has_nothing_to_do() {
        let start = Instant::now();
        let mut streams = streams();
        streams.settle();
        let midrid = MidRid(Mid::from("m1"), None);
        let stream = streams.find_mut(midrid).unwrap();
        stream.write_rtp(RtpWrite::new(96.into(), 1.into(), 0, start, vec![0; 10]));
        streams.settle();
        assert_eq!(awake(&streams), [1, 2], "it has a packet queued");
        assert_eq!(streams.awake_mut().map(|s| *s.ssrc()).collect::<Vec<_>>(), [1, 2]);
        streams.find_mut(midrid).unwrap().send_queued(start);
        streams.settle();
        assert_eq!(awake(&streams), [1]);
    }

    #[test]
    fn what_is_removed_is_gone_and_the_rest_wakes() {
        let mut streams = streams();
        streams.settle();
        streams.retain(|ssrc, _| *ssrc != 1);
        assert_eq!(awake(&streams), [0, 2]);
        assert!(!streams.contains(1.into()));
        assert!(streams.get_mut(&1.into()).is_none());
        assert_eq!(streams.first_ssrc(), Some(0.into()));
    }
}
