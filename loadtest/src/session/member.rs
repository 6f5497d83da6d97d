//! Who takes part.

use crate::scenario::{Protocol, Scenario};

/// What a participant does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends and watches.
    Member,
    /// Sends.
    Publisher,
    /// Watches.
    Viewer,
}

impl Role {
    /// It sends.
    #[must_use]
    pub fn sends(self) -> bool {
        self != Self::Viewer
    }

    /// It watches.
    #[must_use]
    pub fn watches(self) -> bool {
        self != Self::Publisher
    }
}

/// One participant of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number in the run.
    pub number: usize,
    /// What it does.
    pub role: Role,
    /// Its room or stream, counted from 1 (or from the first of this tester).
    pub room: u32,
    /// Its number among those of its room who send; 0 for viewers.
    pub seat: u32,
    /// How many send in its room.
    pub seats: u32,
    /// Sends video.
    pub camera: bool,
    /// Shares a screen.
    pub screen: bool,
}

/// All participants, in the order in which they join: those who send first, room after room.
#[must_use]
pub fn roster(scenario: &Scenario) -> Vec<Member> {
    let mut all = Vec::new();
    let seats = scenario.members + scenario.publishers;
    let mut add = |room: u32, role: Role, seat: u32| {
        let sends = role.sends();
        all.push(Member {
            number: all.len(),
            role,
            room,
            seat,
            seats,
            camera: sends && scenario.video.enabled && seat < scenario.cameras,
            screen: sends && scenario.video.enabled && seat < scenario.screens,
        });
    };
    for seat in 0..seats {
        for room in 1..=scenario.rooms {
            add(room, if seat < scenario.publishers { Role::Publisher } else { Role::Member }, seat);
        }
    }
    for _ in 0..scenario.viewers {
        (1..=scenario.rooms).for_each(|room| add(room, Role::Viewer, 0));
    }
    debug_assert!(scenario.protocol != Protocol::WhipWhep || scenario.members == 0);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_joins_first_and_everybody_has_a_place() {
        let scenario =
            Scenario { rooms: 2, members: 2, publishers: 1, viewers: 3, cameras: 1, screens: 1, ..Scenario::default() };
        let all = roster(&scenario);
        assert_eq!(all.len(), 12);
        assert!(all.iter().enumerate().all(|(n, m)| m.number == n));
        let first_viewer = all.iter().position(|m| m.role == Role::Viewer).unwrap();
        assert_eq!(first_viewer, 6);
        assert!(all[first_viewer..].iter().all(|m| !m.camera && !m.screen));
        assert_eq!(all.iter().filter(|m| m.camera).count(), 2);
        assert_eq!(all.iter().filter(|m| m.role == Role::Publisher).map(|m| m.room).collect::<Vec<_>>(), [1, 2]);
    }
}
