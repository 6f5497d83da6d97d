//! A participant, with its place in its room.

use std::time::Instant;

use crate::allocator::Allocator;
use crate::api::Role;
use crate::lipsync::PublisherClock;
use crate::participant::Participant;
use crate::relay::LinkId;
use crate::room::Member;

/// What is known of a participant that lives on another shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mirror {
    pub(super) link: LinkId,
    /// The others see it.
    pub(super) shown: bool,
}

/// A participant with its place in the room.
pub(super) struct Peer {
    /// It lives on another shard: `conn` has no connection, and never will.
    pub(super) mirror: Option<Mirror>,
    pub(super) conn: Participant,
    pub(super) member: Member,
    pub(super) clock: PublisherClock,
    pub(super) allocator: Allocator,
    pub(super) connected_at: Option<Instant>,
    /// Bits per second that the last allocation gives it, sound included.
    pub(super) used: u64,
    /// Its link carries not much more than what it shall get.
    pub(super) near_limit: bool,
    pub(super) last_packet: Option<Instant>,
}

impl Peer {
    pub(super) fn new(conn: Participant, member: Member) -> Self {
        Self {
            mirror: None,
            conn,
            member,
            clock: PublisherClock::default(),
            allocator: Allocator::default(),
            connected_at: None,
            used: 0,
            near_limit: false,
            last_packet: None,
        }
    }

    /// The others see it: not viewers, and no publisher whose first offer has not been taken. Until then, the one of its
    /// identity that it will replace is the room's publisher.
    pub(super) fn is_shown(&self) -> bool {
        match self.conn.role {
            _ if self.mirror.is_some() => self.mirror.is_some_and(|mirror| mirror.shown),
            Role::Member => true,
            Role::Publisher => !self.conn.ufrag().is_empty(),
            Role::Viewer => false,
        }
    }
}
