//! Rooms on several shards while joins, offers, removals and messages between the shards cross: in the end all agree, and
//! nobody was told of anything twice.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use net::Net;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_core::api::*;
use weir_core::relay::LinkId;

const MS: Duration = Duration::from_millis(1);
const SHARDS: u8 = 3;
const MAX_PARTICIPANTS: usize = 8;

/// Who is in a room, and their tracks.
type Told = BTreeMap<ParticipantId, BTreeSet<TrackId>>;

fn told(participants: &[ParticipantInfo]) -> Told {
    let tracks = |who: &ParticipantInfo| who.tracks.iter().map(|track| track.id).collect();
    participants.iter().map(|who| (who.id, tracks(who))).collect()
}

struct Guest {
    id: ParticipantId,
    shard: usize,
    role: Role,
    request: u64,
    joined: Option<Joined>,
}

impl Guest {
    fn is_there(&self, net: &Net) -> bool {
        self.joined.is_some() && !net.notices_of(self.id).any(|notice| matches!(notice, Notice::Closed(_)))
    }

    /// What it was told; panics where that contradicts itself.
    fn told(&self, net: &Net, seed: u64) -> Told {
        let (me, mut left) = (self.id, BTreeSet::new());
        let mut all = told(&self.joined.as_ref().expect("joined").participants);
        for notice in net.notices_of(me) {
            let consistent = match notice {
                Notice::ParticipantJoined(who) => {
                    all.insert(who.id, told(std::slice::from_ref(who))[&who.id].clone()).is_none()
                }
                Notice::ParticipantLeft(who, _) => all.remove(who).is_some() && left.insert(*who),
                Notice::TrackPublished(who, track) => all.get_mut(who).is_some_and(|tracks| tracks.insert(track.id)),
                Notice::TrackUnpublished(who, track) => all.get_mut(who).is_some_and(|tracks| tracks.remove(track)),
                _ => true,
            };
            assert!(consistent, "seed {seed}: {me} on {} is told {notice:?}", self.shard);
        }
        all
    }
}

/// A room, and those who have asked to enter it.
struct World {
    net: Net,
    rng: StdRng,
    guests: Vec<Guest>,
    max_publishers: usize,
    /// Of one who sends, and of one who receives.
    offers: [String; 2],
}

impl World {
    fn new(seed: u64, offers: [String; 2]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut net = Net::with_shards(SHARDS);
        net.relay_delay = (MS, rng.random_range(0..20) * MS);
        Self { net, rng, guests: Vec::new(), max_publishers: if seed.is_multiple_of(2) { 2 } else { 100 }, offers }
    }

    fn enter(&mut self) {
        let role = [Role::Member, Role::Member, Role::Publisher, Role::Viewer][self.rng.random_range(0..4)];
        let shard = self.rng.random_range(0..usize::from(SHARDS));
        let wish = Join {
            identity: ["", "", "ann", "bob"][self.rng.random_range(0..4)].to_owned(),
            create: role != Role::Viewer || self.rng.random(),
            max_participants: MAX_PARTICIPANTS,
            max_publishers: self.max_publishers,
            ..self.net.wish("room", role)
        };
        let (id, join) = (wish.participant, Box::new(wish));
        let command = if shard == 0 { Command::Join(join) } else { Command::JoinFrom(join, LinkId(0)) };
        let request = self.net.post(shard, command);
        self.guests.push(Guest { id, shard, role, request, joined: None });
    }

    fn step(&mut self) {
        let what = self.rng.random_range(0..20);
        if what < 6 || self.guests.is_empty() {
            return self.enter();
        }
        let at = self.rng.random_range(0..self.guests.len());
        let Guest { id, shard, role, ref joined, .. } = self.guests[at];
        match what {
            6..12 if joined.is_some() => {
                let receives = role == Role::Viewer || role == Role::Member && self.rng.random_bool(0.2);
                let offer = Offer { sdp: self.offers[usize::from(receives)].clone(), tracks: Vec::new() };
                self.net.post(shard, Command::Offer(id, Box::new(offer)));
            }
            12..14 if joined.is_some() => _ = self.net.post(shard, Command::Leave(id, CloseReason::Left)),
            14 => _ = self.net.post(0, Command::Remove("room".into(), id)),
            15 => _ = self.net.post(shard, Command::Metadata(id, "new".into())),
            16 if self.rng.random_bool(0.3) => {
                self.net.post(0, Command::CloseRoom("room".into(), CloseReason::RoomClosed));
            }
            _ => {
                let time = self.rng.random_range(0..15) * MS;
                self.net.run(time);
            }
        }
    }

    fn take_answers(&mut self) {
        for guest in &mut self.guests {
            if let Some(Reply::Join(Ok(joined))) = self.net.reply(guest.request) {
                guest.joined = Some(joined);
            }
        }
    }

    fn rooms(&mut self, shard: usize) -> Vec<RoomInfo> {
        match self.net.command_at(shard, Command::Rooms(Some("room".into()))) {
            Some(Reply::Rooms(rooms)) => rooms,
            other => panic!("{other:?}"),
        }
    }

    fn check(&mut self, seed: u64) {
        let pending = |guest: &Guest| self.net.shards[guest.shard].is_pending(guest.request);
        assert!(!self.guests.iter().any(pending), "seed {seed}: no answer");
        self.guests.retain(|guest| guest.joined.is_some());
        let heard: Vec<Told> = self.guests.iter().map(|guest| guest.told(&self.net, seed)).collect();
        let room = self.rooms(0).pop();
        let all = told(room.as_ref().map_or(&[], |room| &room.participants));
        let there = || self.guests.iter().zip(&heard).filter(|(guest, _)| guest.is_there(&self.net));
        assert_eq!(room.is_some(), there().next().is_some(), "seed {seed}");
        assert!(all.keys().all(|id| there().any(|(guest, _)| guest.id == *id)), "seed {seed}: a ghost in {all:?}");
        for (guest, heard) in there().filter(|(guest, _)| guest.role == Role::Member) {
            let without = |told: &Told| told.clone().into_iter().filter(|(id, _)| *id != guest.id).collect::<Told>();
            assert!(all.contains_key(&guest.id), "seed {seed}: {} on {} is not at home", guest.id, guest.shard);
            assert_eq!(without(heard), without(&all), "seed {seed}: {} on {}", guest.id, guest.shard);
        }
        let viewers = there().filter(|(guest, _)| guest.role == Role::Viewer).count();
        assert_eq!(room.as_ref().map_or(0, |room| room.viewers), viewers, "seed {seed}");
        let publishing = all.values().filter(|tracks| !tracks.is_empty()).count();
        assert!(publishing <= self.max_publishers && all.len() <= MAX_PARTICIPANTS, "seed {seed}: {all:?}");
    }

    fn leave_all(&mut self, seed: u64) {
        for guest in &self.guests {
            self.net.post(guest.shard, Command::Leave(guest.id, CloseReason::Left));
        }
        self.net.run(500 * MS);
        for shard in 0..usize::from(SHARDS) {
            assert!(self.rooms(shard).is_empty(), "seed {seed}: shard {shard}");
            let text = format!("{:?}", self.net.shards[shard]);
            assert!(text.contains("peers: 0"), "seed {seed}: {text}");
            let Some(Reply::Stats(stats)) = self.net.command_at(shard, Command::Stats) else { panic!("no reply") };
            assert_eq!(stats.panics, 0, "seed {seed}");
        }
    }
}

/// Offers that any client may make.
fn offers() -> [String; 2] {
    let mut net = Net::with_shards(1);
    [(Role::Publisher, true, (0, 0)), (Role::Viewer, false, (1, 1))].map(|(role, sends, slots)| {
        let mut sdp = String::new();
        net.add_offering("room", role, sends, slots, |offer| {
            sdp.clone_from(&offer);
            offer
        });
        sdp
    })
}

#[test]
fn whatever_crosses_all_shards_agree_in_the_end_and_nobody_is_told_twice() {
    let offers = offers();
    for seed in 0..400 {
        let mut world = World::new(seed, offers.clone());
        for _ in 0..100 {
            world.step();
            world.take_answers();
        }
        world.net.run(500 * MS);
        world.take_answers();
        world.check(seed);
        world.leave_all(seed);
    }
}
