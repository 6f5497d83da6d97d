//! What workers say to each other about rooms that are on several of them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use weir_core::relay::{LinkId, RelayMessage};

use crate::worker::Link;

/// How many messages with media may wait at a worker: a turn makes about one for each worker that it concerns, so a few
/// hundred milliseconds.
const MEDIA: usize = 256;
/// How many others may. What does not fit waits at the sender.
const CONTROL: usize = 1024;
/// How many may wait at the sender for one worker. One that takes none for so long is taken for dead.
const BACKLOG: usize = 65_536;
/// The most messages taken in one turn: what came in by the socket must go out meanwhile.
const MAX_CONTROL: usize = 256;
const MAX_MEDIA: usize = 32;
/// Video that waited longer is left out, so that sound, which is little, does not wait behind it.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a worker looks whether the others are alive.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

type Media = (u8, Instant, RelayMessage);

/// Where others put what they say to a worker.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    control: SyncSender<(u8, RelayMessage)>,
    media: SyncSender<Media>,
}

/// Where the worker finds it.
pub(crate) struct Inbox {
    control: Receiver<(u8, RelayMessage)>,
    media: Receiver<Media>,
}

/// The queues of one worker.
pub(crate) fn queues() -> (Slots, Inbox) {
    let (control_tx, control) = sync_channel(CONTROL);
    let (media_tx, media) = sync_channel(MEDIA);
    (Slots { control: control_tx, media: media_tx }, Inbox { control, media })
}

/// One worker's ends of its links to the others.
pub(crate) struct Relays {
    me: u8,
    inbox: Inbox,
    links: Vec<Peer>,
    /// Some link has to be woken.
    sent: bool,
    looked: Instant,
    /// Media packets dropped: their queue was full, or they had waited for too long.
    pub(crate) dropped: u64,
}

#[derive(Default)]
struct Peer {
    /// What its queue has not taken yet, in order.
    backlog: VecDeque<RelayMessage>,
    /// The media for which its queue had no room, if none has been put there since: the next tells of it.
    dropped: Option<RelayMessage>,
    /// Something was put into its queues since it was woken.
    wake: bool,
    lost: Loss,
}

#[derive(Default, PartialEq, Eq)]
enum Loss {
    #[default]
    Alive,
    /// The shard has not been told.
    News,
    Known,
}

impl Relays {
    pub(crate) fn new(me: u8, workers: usize, inbox: Inbox, now: Instant) -> Self {
        let links = (0..workers).map(|_| Peer::default()).collect();
        Self { me, inbox, links, sent: false, looked: now, dropped: 0 }
    }

    /// Puts a message into another worker's queue: media if there is room, everything else in any case.
    pub(crate) fn send(&mut self, now: Instant, links: &[Link], to: LinkId, mut message: RelayMessage) {
        let number = usize::from(to.0);
        let (Some(peer), Some(link)) = (self.links.get_mut(number), links.get(number)) else { return };
        if peer.lost != Loss::Alive {
            return;
        }
        let packets = message.packets();
        if packets == 0 {
            peer.backlog.push_back(message);
            peer.advance(self.me, link);
        } else {
            peer.dropped.take().iter().for_each(|dropped| message.follow(dropped));
            match link.relays.media.try_send((self.me, now, message)) {
                Ok(()) => peer.wake = true,
                Err(TrySendError::Full((.., mut message))) => {
                    self.dropped += packets as u64;
                    message.shed_video();
                    peer.dropped = Some(message);
                }
                Err(TrySendError::Disconnected(_)) => peer.lose(),
            }
        }
        self.sent = true;
    }

    /// Tries again what waits, and wakes whom it is for. Cheap if there is nothing.
    pub(crate) fn wake(&mut self, links: &[Link]) {
        if !std::mem::take(&mut self.sent) {
            return;
        }
        for (peer, link) in self.links.iter_mut().zip(links) {
            peer.advance(self.me, link);
            if std::mem::take(&mut peer.wake) {
                link.wake();
            }
            self.sent |= !peer.backlog.is_empty();
        }
    }

    /// Something waits for another worker's full queue.
    pub(crate) fn has_backlog(&self) -> bool {
        self.sent
    }

    /// A worker that is gone, once.
    pub(crate) fn lost(&mut self, now: Instant, links: &[Link]) -> Option<LinkId> {
        if now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            let gone = |(_, (_, link)): &(usize, (&mut Peer, &Link))| !link.alive.load(Ordering::Acquire);
            self.links.iter_mut().zip(links).enumerate().filter(gone).for_each(|(_, (peer, _))| peer.lose());
        }
        let number = self.links.iter().position(|peer| peer.lost == Loss::News)?;
        self.links[number].lost = Loss::Known;
        Some(LinkId(number as u8))
    }

    /// Gives `take` what others have said: what matters first, for as long as `has_time`, then media. True if there may be more.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        mut has_time: impl FnMut() -> bool,
        mut take: impl FnMut(LinkId, RelayMessage),
    ) -> bool {
        let mut more = true;
        for _ in 0..MAX_CONTROL {
            if !has_time() {
                break;
            }
            let Ok((from, message)) = self.inbox.control.try_recv() else {
                more = false;
                break;
            };
            take(LinkId(from), message);
        }
        for _ in 0..MAX_MEDIA {
            let Ok((from, sent, mut message)) = self.inbox.media.try_recv() else { return more };
            if now.saturating_duration_since(sent) > PATIENCE {
                self.dropped += message.shed_video() as u64;
            }
            take(LinkId(from), message);
        }
        true
    }
}

impl Peer {
    /// Moves what waits into the queue, as far as that takes it.
    fn advance(&mut self, me: u8, link: &Link) {
        while let Some(message) = self.backlog.pop_front() {
            match link.relays.control.try_send((me, message)) {
                Ok(()) => self.wake = true,
                Err(TrySendError::Full((_, message))) => {
                    self.backlog.push_front(message);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => return self.lose(),
            }
        }
        if self.backlog.len() > BACKLOG {
            tracing::error!(worker = me, "another media worker has taken no messages for too long: it is given up");
            link.alive.store(false, Ordering::Release);
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.backlog = VecDeque::new();
        if self.lost == Loss::Alive {
            self.lost = Loss::News;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use weir_core::api::{Codec, Command, Join, ParticipantId, Role, Watch};
    use weir_core::fuzzing::relayed;
    use weir_core::shard::{Input, Output, Shard, ShardConfig, new_certificate};

    use super::*;
    use crate::worker;

    /// Two workers: their links, and each one's ends.
    fn pair(now: Instant) -> (Vec<Link>, Relays, Relays) {
        let ends = [worker::queues().expect("queues"), worker::queues().expect("queues")];
        let links = ends.iter().map(|(link, _)| link.clone()).collect();
        let [a, b] = ends.map(|(_, inbox)| inbox.relays);
        (links, Relays::new(0, 2, a, now), Relays::new(1, 2, b, now))
    }

    /// Control messages that can be told apart: requests to enter, by their numbers.
    fn requests(now: Instant, count: u64) -> Vec<RelayMessage> {
        let candidates = vec![SocketAddr::from(([192, 0, 2, 1], 3478))];
        let config = ShardConfig {
            number: 0,
            cert: new_certificate(),
            candidates,
            tcp_candidates: Vec::new(),
            loudest: 3,
            max_bitrate: 1,
        };
        let mut shard = Shard::new(config, 1, now);
        for request in 0..count {
            let join = Join {
                participant: ParticipantId(request),
                room: "room".into(),
                create: true,
                name: String::new(),
                identity: String::new(),
                role: Role::Member,
                watch: Watch::default(),
                can_publish: true,
                can_subscribe: true,
                metadata: String::new(),
                max_participants: 1,
                max_publishers: 1,
            };
            shard.handle(now, Input::Command { request, command: Command::JoinFrom(Box::new(join), LinkId(1)) });
        }
        let relayed = std::iter::from_fn(|| shard.poll_output());
        relayed
            .filter_map(|output| if let Output::Relay { message, .. } = output { Some(message) } else { None })
            .collect()
    }

    #[test]
    fn what_the_queue_does_not_take_waits_and_arrives_in_order() {
        let now = Instant::now();
        let (links, mut a, mut b) = pair(now);
        let count = CONTROL as u64 + 600;
        let messages = requests(now, count);
        assert_eq!(messages.len() as u64, count);
        let expected: Vec<String> = messages.iter().map(|message| format!("{message:?}")).collect();
        for message in messages {
            a.send(now, &links, LinkId(1), message);
            a.wake(&links);
        }
        assert!(a.has_backlog());
        let mut arrived = Vec::new();
        for _ in 0..count {
            b.receive(
                now,
                || true,
                |from, message| {
                    assert_eq!(from, LinkId(0));
                    arrived.push(format!("{message:?}"));
                },
            );
            a.wake(&links);
        }
        assert!(!a.has_backlog());
        assert!(arrived == expected, "{} of {count} arrived, or not in order", arrived.len());
    }

    #[test]
    fn media_that_finds_no_room_is_dropped_and_counted_and_control_goes_on() {
        let now = Instant::now();
        let (links, mut a, mut b) = pair(now);
        (0..MEDIA + 5).for_each(|_| a.send(now, &links, LinkId(1), relayed(now, Codec::Vp8, 3)));
        assert_eq!(a.dropped, 15);
        requests(now, 2).into_iter().for_each(|message| a.send(now, &links, LinkId(1), message));
        let mut first = Vec::new();
        assert!(b.receive(now, || true, |_, message| first.push(message.packets())), "there is more");
        assert_eq!(first[..3], [0, 0, 3], "what matters comes first");
    }

    #[test]
    fn words_for_which_there_is_no_time_wait_in_order_and_media_do_not() {
        let now = Instant::now();
        let (links, mut a, mut b) = pair(now);
        a.send(now, &links, LinkId(1), relayed(now, Codec::Opus, 3));
        requests(now, 3).into_iter().for_each(|message| a.send(now, &links, LinkId(1), message));
        let mut packets = Vec::new();
        let mut time_for = 2;
        let mut has_time = || {
            time_for -= 1;
            time_for >= 0
        };
        assert!(b.receive(now, &mut has_time, |_, message| packets.push(message.packets())), "there is more");
        assert_eq!(packets, [0, 0, 3]);
        assert!(!b.receive(now, || true, |_, message| packets.push(message.packets())));
        assert_eq!(packets, [0, 0, 3, 0]);
    }

    #[test]
    fn the_next_media_that_finds_room_tells_of_video_that_found_none() {
        let now = Instant::now();
        let (links, mut a, mut b) = pair(now);
        let send = |a: &mut Relays, codec| a.send(now, &links, LinkId(1), relayed(now, codec, 3));
        (0..MEDIA).for_each(|_| send(&mut a, Codec::Opus));
        // The last of these says nothing of video itself.
        [Codec::Vp8, Codec::Vp8, Codec::Opus].into_iter().for_each(|codec| send(&mut a, codec));
        let mut told = Vec::new();
        while b.receive(now, || true, |_, message| told.push(!format!("{message:?}").ends_with("shed: [] })"))) {}
        assert_eq!(told, [false; MEDIA]);
        (0..2).for_each(|_| send(&mut a, Codec::Vp8));
        b.receive(now, || true, |_, message| told.push(!format!("{message:?}").ends_with("shed: [] })")));
        assert_eq!(told[MEDIA..], [true, false], "once");
    }

    #[test]
    fn video_that_has_waited_is_left_out_and_sound_is_not() {
        let now = Instant::now();
        let (links, mut a, mut b) = pair(now);
        for codec in [Codec::Vp8, Codec::Opus] {
            a.send(now, &links, LinkId(1), relayed(now, codec, 4));
        }
        let mut packets = Vec::new();
        b.receive(now + PATIENCE * 2, || true, |_, message| packets.push(message.packets()));
        assert_eq!((packets, b.dropped), (vec![0, 4], 4));
    }

    #[test]
    fn a_worker_that_is_gone_is_told_once() {
        let now = Instant::now();
        let (links, mut a, b) = pair(now);
        assert_eq!(a.lost(now, &links), None);
        drop(b);
        a.send(now, &links, LinkId(1), relayed(now, Codec::Opus, 1));
        assert_eq!(a.lost(now, &links), Some(LinkId(1)));
        assert_eq!(a.lost(now, &links), None);
        let (links, mut a, _b) = pair(now);
        links[1].alive.store(false, Ordering::Release);
        assert_eq!(a.lost(now, &links), None, "it is looked at now and then");
        assert_eq!(a.lost(now + LOOK, &links), Some(LinkId(1)));
        assert_eq!(a.lost(now + 2 * LOOK, &links), None);
    }
}
