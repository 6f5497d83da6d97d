//! Rooms that are on several shards, on a virtual clock: what members see, hear and are told is what it is on one.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test starts its virtual clock from the real one")]

mod net;

use std::time::Duration;

use net::Net;
use str0m::rtp::RtpPacket;
use weir_core::api::*;
use weir_core::relay::LinkId;
use weir_core::shard::Input;
use weir_core::stats::Stats;

const FRAME: Duration = Duration::from_millis(33);
const MS: Duration = Duration::from_millis(1);

fn add_at(net: &mut Net, shard: usize, role: Role, sends: bool, slots: (usize, usize)) -> usize {
    net.place = shard;
    let client = net.add("room", role, sends, slots);
    net.run(MS);
    client
}

/// Every one of these sends, a keyframe whenever it is asked for one.
fn flow(net: &mut Net, senders: &[usize], numbers: std::ops::Range<u64>) {
    let mut asked = vec![usize::MAX; senders.len()];
    for n in numbers {
        for (sender, asked) in senders.iter().zip(&mut asked) {
            let now = net.clients[*sender].keyframe_requests;
            net.write_video(*sender, n, std::mem::replace(asked, now) != now);
            net.write_audio(*sender, n);
        }
        net.run(FRAME);
    }
}

fn stats(net: &mut Net, shard: usize) -> Stats {
    match net.command_at(shard, Command::Stats) {
        Some(Reply::Stats(stats)) => *stats,
        other => panic!("{other:?}"),
    }
}

/// Participants that a shard knows, those of others included.
fn known(net: &Net, shard: usize) -> usize {
    let text = format!("{:?}", net.shards[shard]);
    let peers = text.split("peers: ").nth(1).expect("peers").trim_end_matches(" }");
    peers.parse().expect("a number")
}

fn room_of(net: &mut Net) -> RoomInfo {
    match net.command_at(0, Command::Rooms(None)) {
        Some(Reply::Rooms(mut rooms)) if rooms.len() == 1 => rooms.remove(0),
        other => panic!("{other:?}"),
    }
}

fn assert_contiguous(packets: &[&RtpPacket]) {
    let mut by_source: std::collections::BTreeMap<u32, Vec<u64>> = std::collections::BTreeMap::new();
    for packet in packets {
        by_source.entry(*packet.header.ssrc).or_default().push(*packet.seq_no);
    }
    for numbers in by_source.values() {
        assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "a gap: {numbers:?}");
    }
}

#[test]
fn over_two_and_three_shards_everybody_sees_and_hears_everybody() {
    for shards in [2, 3] {
        let mut net = Net::with_shards(shards);
        let members: Vec<usize> =
            (0..4).map(|n| add_at(&mut net, n % usize::from(shards), Role::Member, true, (3, 3))).collect();
        net.connect_all();
        flow(&mut net, &members, 0..60);
        for member in &members {
            assert_eq!(net.shown(*member).len(), 6, "three pictures and three sounds of member {member}");
            for (packets, what) in [(net.video_of(*member), "pictures"), (net.audio_of(*member), "sounds")] {
                assert!(packets.len() >= 3 * 50, "{} {what} at member {member} of {shards} shards", packets.len());
                assert_contiguous(&packets);
            }
            assert_eq!(net.clients[*member].nacks_sent, 0);
            let told =
                |wanted: fn(&Notice) -> bool| net.notices_of(net.clients[*member].id).filter(|n| wanted(n)).count();
            let joined = told(|n| matches!(n, Notice::ParticipantJoined(_)));
            assert_eq!(joined, 3 - member, "of those who came later");
            assert_eq!(told(|n| matches!(n, Notice::TrackPublished(..))), 2 * joined);
        }
        let info = room_of(&mut net);
        let mut ids: Vec<_> = info.participants.iter().map(|p| p.id).collect();
        ids.dedup();
        assert_eq!(ids, members.iter().map(|m| net.clients[*m].id).collect::<Vec<_>>());
        let codecs = info.participants.iter().flat_map(|p| &p.tracks).filter(|t| t.codec.is_some()).count();
        assert_eq!(codecs, 8, "the home knows the codecs of all");
    }
}

#[test]
fn each_packet_goes_once_to_each_shard_that_wants_it_whatever_the_number_of_viewers() {
    let mut net = Net::with_shards(3);
    let publisher = add_at(&mut net, 0, Role::Publisher, true, (0, 0));
    let viewers: Vec<usize> = (0..10).map(|n| add_at(&mut net, n % 2, Role::Viewer, false, (1, 1))).collect();
    net.connect_all();
    flow(&mut net, &[publisher], 0..10);
    net.relayed.clear();
    flow(&mut net, &[publisher], 10..110);
    assert_eq!(net.relayed, [((0, 1), 200)].into(), "a picture and a sound a frame, to one shard of two");
    for viewer in viewers {
        assert!(net.video_of(viewer).len() >= 108);
        assert_contiguous(&net.video_of(viewer));
    }
    let (here, there) = (stats(&mut net, 0), stats(&mut net, 1));
    assert_eq!((here.relay_out, here.relay_in), (there.relay_in, there.relay_out));
    assert_eq!((here.rooms, there.rooms, here.tracks, there.tracks), (1, 0, 2, 0), "counted once");
    assert_eq!((here.participants, there.participants), (6, 5));
}

#[test]
fn a_hundred_viewers_elsewhere_cost_the_publisher_no_more_keyframes_than_here() {
    let asked = |place: usize| {
        let mut net = Net::with_shards(2);
        let publisher = add_at(&mut net, 0, Role::Publisher, true, (0, 0));
        net.connect_all();
        flow(&mut net, &[publisher], 0..30);
        let before = net.clients[publisher].keyframe_requests;
        (0..100).for_each(|_| _ = add_at(&mut net, place, Role::Viewer, false, (1, 1)));
        flow(&mut net, &[publisher], 30..120);
        assert!((1..=100).all(|viewer| net.video_of(viewer).len() > 60), "everybody has a picture");
        net.clients[publisher].keyframe_requests - before
    };
    let (here, there) = (asked(0), asked(1));
    assert!((1..=here + 1).contains(&there), "{there} requests for those elsewhere, {here} for those here");
}

#[test]
fn speaker_and_loudest_are_the_same_on_all_shards() {
    let mut net = Net::with_shards(3);
    let members: Vec<usize> = (0..6).map(|n| add_at(&mut net, n % 3, Role::Member, true, (3, 1))).collect();
    net.connect_all();
    for (turn, speaker) in [1, 5, 3].into_iter().enumerate() {
        for n in 0..150 {
            for member in &members {
                let level = if *member == speaker { -20 } else { -90 };
                net.write_voice(*member, n + 150 * turn as u64, Some(level));
            }
            net.run(Duration::from_millis(20));
        }
        let who = net.clients[speaker].id;
        for member in &members {
            let last = net.notices_of(net.clients[*member].id).filter_map(|notice| match notice {
                Notice::Speakers(speakers) => Some(speakers.iter().map(|s| s.participant).collect::<Vec<_>>()),
                _ => None,
            });
            assert_eq!(last.last(), Some(vec![who]), "as member {member} is told");
        }
        // The one video slot of everybody else shows who holds the floor.
        let video = |net: &mut Net, member| net.subscriptions("room", member).into_iter().map(|s| s.participant).next();
        for member in members.iter().filter(|member| **member != speaker) {
            assert_eq!(video(&mut net, *member), Some(who), "member {member} sees the speaker");
        }
        let shown: Vec<_> = [0, 1, 2].map(|shard| sounds(&net, &members, shard)).into();
        assert!(shown.iter().all(|sounds| sounds.contains(&who)), "{shown:?}");
        // Of six tracks only the four loudest cross; of these, nobody gets his own.
        let heard: std::collections::BTreeSet<_> = shown.into_iter().flatten().collect();
        assert!(heard.len() <= 4, "{heard:?}");
    }
}

/// Whose audio the members of a shard hear.
fn sounds(net: &Net, members: &[usize], shard: usize) -> std::collections::BTreeSet<ParticipantId> {
    let mut now = std::collections::BTreeMap::new();
    for member in members.iter().filter(|member| net.clients[**member].shard == shard) {
        for notice in net.notices_of(net.clients[*member].id) {
            let Notice::Slots(slots) = notice else { continue };
            for slot in slots.iter().filter(|slot| slot.kind == MediaKind::Audio) {
                now.insert((*member, slot.mid.clone()), slot.participant);
            }
        }
    }
    now.into_values().flatten().collect()
}

#[test]
fn a_pinned_track_of_another_shard_is_shown() {
    let mut net = Net::with_shards(2);
    let members: Vec<usize> = (0..4).map(|n| add_at(&mut net, n % 2, Role::Member, true, (1, 1))).collect();
    net.connect_all();
    flow(&mut net, &members, 0..20);
    let watcher = members[0];
    for (turn, pinned) in [3, 2, 1].into_iter().enumerate() {
        let info = room_of(&mut net);
        let wanted = info.participants.iter().find(|p| p.id == net.clients[pinned].id).expect("it is there");
        let track = wanted.tracks.iter().find(|t| t.kind == MediaKind::Video).expect("its camera").id;
        let mid = net.subscriptions("room", watcher)[0].mid.clone();
        let slot = SlotView { mid, track: Some(track), width: 640, height: 360, priority: 0 };
        net.command(Command::View(net.clients[watcher].id, View { auto: true, slots: vec![slot] }));
        let before = net.video_of(watcher).len();
        flow(&mut net, &members, turn as u64 * 30 + 20..turn as u64 * 30 + 50);
        let [shown] = net.subscriptions("room", watcher).try_into().expect("one slot");
        assert_eq!((shown.participant, shown.track), (net.clients[pinned].id, track));
        assert!(shown.current.is_some() && net.video_of(watcher).len() > before + 20, "{shown:?}");
    }
}

#[test]
fn what_an_administrator_mutes_is_muted_on_all_shards_until_heard_again_from_a_keyframe_on() {
    let mut net = Net::with_shards(3);
    // The administrator speaks to the home; the publisher is on one shard, the watchers on all.
    let publisher = add_at(&mut net, 1, Role::Member, true, (0, 0));
    let watchers: Vec<usize> = (0..3).map(|shard| add_at(&mut net, shard, Role::Member, false, (1, 1))).collect();
    net.connect_all();
    let id = net.clients[publisher].id;
    let mut count = 0;
    let mut send = |net: &mut Net, frames: u64, keyframe_at: u64| {
        for n in 0..frames {
            net.write_video(publisher, count, n == keyframe_at);
            count += 1;
            net.run(FRAME);
        }
        watchers.iter().map(|w| net.video_of(*w).len()).collect::<Vec<_>>()
    };
    send(&mut net, 5, 0);
    assert_eq!(send(&mut net, 10, 0).iter().map(|n| n / 14).collect::<Vec<_>>(), [1; 3], "all see it");
    let track = net.subscriptions("room", watchers[0])[0].track;
    let mute = |muted| Command::MuteFor("room".into(), id, track, muted);
    assert!(matches!(net.command_at(0, mute(true)), Some(Reply::Done(true))));
    assert!(matches!(
        net.command_at(0, Command::MuteFor("room".into(), id, TrackId(1), true)),
        Some(Reply::Done(false))
    ));
    net.run(50 * MS);
    let before = send(&mut net, 1, 9);
    assert_eq!(send(&mut net, 10, 0), before, "nothing is passed on");
    for watcher in &watchers {
        let told = net.notices_of(net.clients[*watcher].id).any(|n| *n == Notice::TrackMuted(id, track, true));
        assert!(told, "watcher {watcher} is told");
    }
    net.command_at(0, mute(false));
    net.run(50 * MS);
    let after = send(&mut net, 10, 5);
    assert_eq!(after, before.iter().map(|n| n + 5).collect::<Vec<_>>(), "from the next keyframe on");
    for watcher in watchers {
        assert_contiguous(&net.video_of(watcher));
        assert_eq!(net.clients[watcher].nacks_sent, 0, "what was left out leaves no gap");
    }
}

#[test]
fn layers_are_asked_for_while_somebody_elsewhere_wants_them_and_stop_with_the_last() {
    let mut net = Net::with_shards(2);
    net.place = 0;
    let publisher = net.add_simulcast_as("room", Role::Member, &["q", "h", "f"]);
    let viewers: Vec<usize> = (0..2).map(|_| add_at(&mut net, 1, Role::Member, false, (0, 1))).collect();
    net.connect_all();
    viewers.iter().for_each(|viewer| net.view(*viewer, 720));
    let (mut count, mut keyframes) = (0, 0);
    let mut send = |net: &mut Net, frames: u64| {
        for _ in 0..frames {
            let asked = net.clients[publisher].keyframe_requests;
            let active = active_layers(net, publisher);
            for (index, rid) in ["q", "h", "f"].into_iter().enumerate().filter(|(_, rid)| active.contains(*rid)) {
                net.write_layer(publisher, rid, 180 << index, count, asked != keyframes || count == 0, true);
            }
            (keyframes, count) = (asked, count + 1);
            net.run(FRAME);
        }
    };
    send(&mut net, 150);
    let height = |net: &Net, viewer: usize| net.clients[viewer].received.last().map(|p| u16::from(p.payload[7]) * 4);
    assert_eq!(viewers.iter().map(|v| height(&net, *v)).collect::<Vec<_>>(), [Some(720); 2]);
    net.relayed.clear();
    send(&mut net, 30);
    assert_eq!(net.relayed, [((0, 1), 30)].into(), "one encoding crosses");
    net.view(viewers[0], 180);
    send(&mut net, 90);
    assert_eq!(viewers.iter().map(|v| height(&net, *v)).collect::<Vec<_>>(), [Some(180), Some(720)]);
    net.relayed.clear();
    send(&mut net, 30);
    assert_eq!(net.relayed, [((0, 1), 60)].into(), "two do");
    net.command(Command::Leave(net.clients[viewers[1]].id, CloseReason::Left));
    send(&mut net, 90);
    assert_eq!(active_layers(&net, publisher), ["q".to_owned()].into(), "the publisher is told");
    net.command(Command::Leave(net.clients[viewers[0]].id, CloseReason::Left));
    send(&mut net, 60);
    assert_eq!(active_layers(&net, publisher), [].into());
    net.relayed.clear();
    send(&mut net, 30);
    assert_eq!(net.relayed.get(&(0, 1)), None);
    assert_eq!(known(&net, 1), 0, "and nothing is left of the room there");
}

/// The RIDs that a publisher was told to be wanted; all before the first word.
fn active_layers(net: &Net, publisher: usize) -> std::collections::BTreeSet<String> {
    let told = net.notices_of(net.clients[publisher].id).filter_map(|notice| match notice {
        Notice::Layers { active, .. } => Some(active.iter().cloned().collect()),
        _ => None,
    });
    told.last().unwrap_or_else(|| ["q", "h", "f"].map(str::to_owned).into())
}

#[test]
fn an_identity_is_replaced_wherever_it_was() {
    for (old, new) in [(0, 1), (1, 0), (1, 2), (1, 1)] {
        for role in [Role::Member, Role::Publisher] {
            let mut net = Net::with_shards(3);
            let mut offers = Vec::new();
            for shard in [old, new] {
                net.place = shard;
                let mut sdp = String::new();
                net.add_offering("elsewhere", role, true, (0, 0), |offer| {
                    sdp.clone_from(&offer);
                    offer
                });
                offers.push(sdp);
            }
            let watcher = add_at(&mut net, 2, Role::Member, false, (1, 1));
            net.place = old;
            let first = net.join_as("room", role, "a", "ann").expect("joins").0;
            net.offer(first, offers.remove(0)).expect("an answer");
            net.run(MS);
            net.place = new;
            let second = net.join_as("room", role, "b", "ann").expect("joins").0;
            net.offer(second, offers.remove(0)).expect("an answer");
            net.run(10 * MS);
            assert_eq!(net.notices_of(first).last(), Some(&Notice::Closed(CloseReason::Replaced)), "{old} to {new}");
            let Some(Reply::Rooms(rooms)) = net.command_at(0, Command::Rooms(Some("room".into()))) else { panic!() };
            let there: Vec<_> = rooms[0].participants.iter().map(|p| p.id).collect();
            assert_eq!(there, [net.clients[watcher].id, second], "{role:?} {old} to {new}");
            let told: Vec<String> = net
                .notices_of(net.clients[watcher].id)
                .filter_map(|notice| match notice {
                    Notice::ParticipantJoined(who) => Some(format!("+{}", who.id)),
                    Notice::ParticipantLeft(who, CloseReason::Replaced) => Some(format!("-{who}")),
                    _ => None,
                })
                .collect();
            assert_eq!(
                told,
                [format!("+{first}"), format!("-{first}"), format!("+{second}")],
                "{role:?} {old} to {new}"
            );
        }
    }
}

#[test]
fn limits_hold_over_shards() {
    let mut net = Net::with_shards(3);
    let enter = |net: &mut Net, shard: usize, role: Role| {
        net.place = shard;
        let wish = Join { max_participants: 3, max_publishers: 1, ..net.wish("room", role) };
        net.enter(wish).map(|(id, _)| id)
    };
    let first = enter(&mut net, 0, Role::Member).expect("the first");
    let second = enter(&mut net, 1, Role::Member).expect("the second");
    let third = enter(&mut net, 2, Role::Publisher).expect("the third");
    assert_eq!(enter(&mut net, 1, Role::Member), Err(JoinError::RoomFull { limit: 3 }));
    assert_eq!(enter(&mut net, 0, Role::Member), Err(JoinError::RoomFull { limit: 3 }));
    net.place = 1;
    let viewer = Join { create: true, max_participants: 3, ..net.wish("room", Role::Viewer) };
    assert!(net.enter(viewer).is_ok(), "viewers do not count");
    let offer = |net: &mut Net| {
        let mut sdp = String::new();
        net.place = 0;
        net.add_offering("other", Role::Member, true, (0, 0), |offer| {
            sdp.clone_from(&offer);
            offer
        });
        sdp
    };
    let sdp = offer(&mut net);
    // Not by a second offer while the first one waits, either.
    let hurry = Command::Offer(second, Box::new(Offer { sdp: sdp.clone(), tracks: Vec::new() }));
    net.shards[1].handle(net.now, Input::Command { request: u64::MAX - 1, command: hurry });
    for id in [second, first, second] {
        assert!(matches!(net.offer(id, sdp.clone()), Err(OfferError::Taken(_))), "somebody publishes already");
    }
    net.command(Command::Leave(third, CloseReason::Left));
    net.run(MS);
    assert_eq!(net.offer(second, "v=0".into()).map(|_| ()).map_err(|_| ()), Err(()), "a broken offer");
    net.run(MS);
    assert!(net.offer(second, sdp.clone()).is_ok(), "now one may");
    assert!(matches!(net.offer(first, sdp), Err(OfferError::Taken(_))));
    assert_eq!(enter(&mut net, 2, Role::Publisher), Err(JoinError::PublishersFull { limit: 1 }));
    assert_eq!(enter(&mut net, 1, Role::Member).map(|_| ()), Ok(()), "there is a place again");
}

#[test]
fn errors_of_joining_are_those_of_the_home() {
    let mut net = Net::with_shards(2);
    net.place = 1;
    assert_eq!(net.join("room", Role::Viewer, "v").unwrap_err(), JoinError::UnknownRoom);
    assert_eq!(known(&net, 1), 0);
    let member = add_at(&mut net, 1, Role::Member, false, (1, 1));
    assert_eq!(net.join("room", Role::Viewer, "v").unwrap_err(), JoinError::NothingPublished);
    let wish = net.wish("room", Role::Viewer);
    let unknown = Watch { participant: Some(ParticipantId(4)), track: None };
    assert_eq!(net.enter(Join { watch: unknown, ..wish }).unwrap_err(), JoinError::UnknownSource);
    net.command(Command::Leave(net.clients[member].id, CloseReason::Left));
    net.run(MS);
    assert_eq!((known(&net, 0), known(&net, 1)), (0, 0));
    assert_eq!(net.join("room", Role::Viewer, "v").unwrap_err(), JoinError::UnknownRoom, "it has ended everywhere");
}

#[test]
fn viewers_are_counted_over_shards_and_a_viewer_follows_the_source_it_named() {
    let mut net = Net::with_shards(3);
    let a = add_at(&mut net, 0, Role::Publisher, true, (0, 0));
    let b = add_at(&mut net, 1, Role::Publisher, true, (0, 0));
    let mut viewers = Vec::new();
    for shard in [0, 1, 1, 2] {
        viewers.push(add_at(&mut net, shard, Role::Viewer, false, (1, 1)));
    }
    net.connect_all();
    flow(&mut net, &[a, b], 0..40);
    assert_eq!(room_of(&mut net).viewers, 4);
    for viewer in &viewers {
        let watched = net.command(Command::Watched(net.clients[*viewer].id));
        let Some(Reply::Watched(Some(watched))) = watched else { panic!("{watched:?}") };
        assert_eq!(watched.viewers, 4);
        assert!(watched.is_active());
        let shown = net.subscriptions("room", *viewer);
        assert_eq!(shown[0].participant, net.clients[a].id, "all see the same: who came first");
    }
    net.command(Command::Leave(net.clients[viewers[1]].id, CloseReason::Left));
    net.command(Command::Leave(net.clients[a].id, CloseReason::Left));
    flow(&mut net, &[b], 40..80);
    assert_eq!(room_of(&mut net).viewers, 3);
    for viewer in [0, 2, 3] {
        let shown = net.subscriptions("room", viewers[viewer]);
        assert_eq!(shown[0].participant, net.clients[b].id, "the other one, now");
        assert!(net.video_of(viewers[viewer]).len() > 60);
    }
}

#[test]
fn whichever_of_media_and_control_is_the_faster_does_no_harm() {
    for delays in [(0, 40), (40, 0), (15, 15)] {
        let mut net = Net::with_shards(3);
        net.relay_delay = (delays.0 * MS, delays.1 * MS);
        let members: Vec<usize> = (0..3).map(|n| add_at(&mut net, n, Role::Member, true, (2, 2))).collect();
        net.connect_all();
        flow(&mut net, &members, 0..60);
        // One leaves and another comes while packets are on their way.
        net.command(Command::Leave(net.clients[members[2]].id, CloseReason::Left));
        let late = add_at(&mut net, 2, Role::Member, true, (2, 2));
        net.connect_all_but(members[2]);
        flow(&mut net, &[members[0], members[1], late], 60..120);
        for member in [members[0], members[1], late] {
            let video = net.video_of(member);
            assert!(video.len() > 90, "{} of {delays:?}", video.len());
            assert_contiguous(&video);
            assert_eq!(net.clients[member].nacks_sent, 0, "of {delays:?}");
        }
        for shard in 0..3 {
            let stats = stats(&mut net, shard);
            assert_eq!((stats.panics, stats.participants), (0, 1));
            assert_eq!(known(&net, shard), 3);
        }
    }
}

#[test]
fn who_comes_while_the_only_publisher_leaves_finds_an_orderly_room() {
    for ms in 0..8 {
        let mut net = Net::with_shards(2);
        net.relay_delay = (2 * MS, 3 * MS);
        let publisher = add_at(&mut net, 0, Role::Member, true, (0, 0));
        net.connect_all();
        flow(&mut net, &[publisher], 0..10);
        // The request is on its way when the publisher goes.
        net.place = 1;
        let wish = net.wish("room", Role::Member);
        let id = wish.participant;
        let request = Input::Command { request: 7, command: Command::JoinFrom(Box::new(wish), LinkId(0)) };
        net.shards[1].handle(net.now, request);
        net.run(ms * MS);
        net.command(Command::Leave(net.clients[publisher].id, CloseReason::Left));
        net.run(20 * MS);
        let Some(Reply::Rooms(rooms)) = net.command_at(0, Command::Rooms(None)) else { panic!("no reply") };
        let there: Vec<_> = rooms[0].participants.iter().map(|p| p.id).collect();
        assert_eq!(there, [id], "{ms} ms");
        let Some(Reply::Rooms(rooms)) = net.command_at(1, Command::Rooms(Some("room".into()))) else {
            panic!("no reply")
        };
        assert_eq!(rooms[0].participants.len(), 1, "{ms} ms");
        assert_eq!((known(&net, 0), known(&net, 1)), (1, 1));
        net.command_at(1, Command::Leave(id, CloseReason::Left));
        net.run(20 * MS);
        assert_eq!((known(&net, 0), known(&net, 1)), (0, 0), "{ms} ms");
    }
}

#[test]
fn packets_lost_between_shards_are_made_up_by_a_keyframe() {
    let mut net = Net::with_shards(2);
    let publisher = add_at(&mut net, 0, Role::Publisher, true, (0, 0));
    let viewer = add_at(&mut net, 1, Role::Viewer, false, (1, 1));
    net.connect_all();
    flow(&mut net, &[publisher], 0..30);
    net.lose_media = 10;
    flow(&mut net, &[publisher], 30..60);
    let video = net.video_of(viewer);
    assert_eq!(video.last().map(|packet| packet.payload[7]), Some(59), "the newest picture has come");
    assert!(video.len() > 45, "{} pictures: one is asked for at once", video.len());
    assert_contiguous(&video);
    assert_eq!(net.clients[viewer].nacks_sent, 0, "nobody asks for what has never been here");
}

#[test]
fn video_left_out_between_shards_costs_a_picture_but_no_sound_and_no_gap() {
    let mut net = Net::with_shards(2);
    let publisher = add_at(&mut net, 0, Role::Publisher, true, (0, 0));
    let viewer = add_at(&mut net, 1, Role::Viewer, false, (1, 1));
    net.connect_all();
    flow(&mut net, &[publisher], 0..30);
    let (before, sounds) = (net.clients[publisher].keyframe_requests, net.audio_of(viewer).len());
    net.shed_media = 20;
    flow(&mut net, &[publisher], 30..90);
    net.run(FRAME);
    assert!(net.clients[publisher].keyframe_requests > before, "a keyframe is asked for at once");
    assert_eq!(net.audio_of(viewer).len(), sounds + 60, "no sound is missing");
    let video = net.video_of(viewer);
    assert_contiguous(&video);
    assert_eq!(net.clients[viewer].nacks_sent, 0, "nobody asks for what was left out");
    assert_eq!(video.last().map(|packet| packet.payload[7]), Some(89), "the picture is back");
}

#[test]
fn a_room_that_is_closed_is_closed_on_all_shards() {
    let mut net = Net::with_shards(3);
    let mut all: Vec<usize> = (0..3).map(|n| add_at(&mut net, n, Role::Member, true, (2, 2))).collect();
    all.push(add_at(&mut net, 2, Role::Viewer, false, (1, 1)));
    net.connect_all();
    let closed = net.command_at(0, Command::CloseRoom("room".into(), CloseReason::RoomClosed));
    assert!(matches!(closed, Some(Reply::Done(true))));
    net.run(10 * MS);
    for client in all {
        let told = net.notices_of(net.clients[client].id).last();
        assert_eq!(told, Some(&Notice::Closed(CloseReason::RoomClosed)));
    }
    assert_eq!([0, 1, 2].map(|shard| known(&net, shard)), [0; 3]);
}

#[test]
fn an_administrator_removes_who_lives_elsewhere_and_who_comes_back_has_all_slots_told() {
    let mut net = Net::with_shards(2);
    let members: Vec<usize> = (0..4).map(|n| add_at(&mut net, n % 2, Role::Member, true, (3, 3))).collect();
    net.connect_all();
    flow(&mut net, &members, 0..30);
    let gone = net.clients[members[3]].id;
    let removed = net.command_at(0, Command::Remove("room".into(), gone));
    assert!(matches!(removed, Some(Reply::Done(true))));
    net.run(10 * MS);
    assert_eq!(net.notices_of(gone).last(), Some(&Notice::Closed(CloseReason::Removed)));
    for member in &members[..3] {
        let told = net.notices_of(net.clients[*member].id);
        let left = told.filter(|n| **n == Notice::ParticipantLeft(gone, CloseReason::Removed));
        assert_eq!(left.count(), 1);
    }
    assert_eq!(room_of(&mut net).participants.len(), 3);
    let back = net.clients[members[1]].id;
    net.notices.clear();
    let Some(Reply::Rooms(rooms)) = net.command(Command::Resume(back)) else { panic!("no reply") };
    assert_eq!(rooms[0].participants.len(), 3, "the whole room");
    assert_eq!(net.shown(members[1]).len(), 4, "two pictures and two sounds");
}

#[test]
fn who_lived_on_a_shard_that_is_gone_has_left_and_a_room_whose_home_is_gone_ends() {
    let mut net = Net::with_shards(3);
    let members: Vec<usize> = (0..3).map(|n| add_at(&mut net, n, Role::Member, true, (2, 2))).collect();
    net.connect_all();
    flow(&mut net, &members, 0..30);
    // The second shard is gone: the others are told.
    [0, 2].into_iter().for_each(|shard| net.lose_link(shard, 1));
    net.run(10 * MS);
    let lost = net.clients[members[1]].id;
    for member in [members[0], members[2]] {
        let left = net
            .notices_of(net.clients[member].id)
            .filter(|n| matches!(n, Notice::ParticipantLeft(id, _) if *id == lost));
        assert_eq!(left.count(), 1, "member {member}");
    }
    assert_eq!(room_of(&mut net).participants.len(), 2);
    let before = net.video_of(members[0]).len();
    flow(&mut net, &[members[0], members[2]], 30..60);
    assert!(net.video_of(members[0]).len() >= before + 29, "the rest goes on");
    // And then the home: who waits for it is told, who lives on is closed.
    net.lose_link(2, 0);
    let told = net.notices_of(net.clients[members[2]].id).last();
    assert_eq!(told, Some(&Notice::Closed(CloseReason::Internal)));
    assert_eq!(known(&net, 2), 0);
    let Some(Reply::Stats(stats)) = net.command_at(2, Command::Stats) else { panic!("no stats") };
    assert_eq!(stats.panics, 0, "nothing panicked there");
    net.run(100 * MS);
    assert!(!net.clients[members[2]].rtc.is_alive(), "it was said goodbye to");
    net.place = 2;
    assert_eq!(net.join("room", Role::Member, "late").unwrap_err(), JoinError::Unavailable);
}

#[test]
fn a_join_that_waits_for_a_home_that_is_gone_is_answered() {
    let mut net = Net::with_shards(2);
    net.place = 1;
    let wish = net.wish("room", Role::Member);
    let id = wish.participant;
    net.shards[1].handle(net.now, Input::Command { request: 9, command: Command::JoinFrom(Box::new(wish), LinkId(0)) });
    assert!(net.shards[1].is_pending(9));
    net.shards[1].handle(net.now, Input::LinkLost(LinkId(0)));
    assert!(!net.shards[1].is_pending(9));
    assert!(net.notices_of(id).next().is_none());
}

#[test]
fn sound_and_picture_of_another_shard_carry_their_extensions_and_capture_time() {
    let mut net = Net::with_shards(2);
    let publisher = add_at(&mut net, 1, Role::Member, true, (0, 0));
    let here = add_at(&mut net, 1, Role::Member, false, (1, 1));
    let there = add_at(&mut net, 0, Role::Member, false, (1, 1));
    net.connect_all();
    // Long enough for sender reports, by which receivers keep lips in step.
    let (mut sounds, mut pictures) = (0, 0);
    for step in 0..100 * 15 {
        // In 100 ms, five sounds and three pictures.
        if step % 3 == 0 {
            net.write_voice(publisher, sounds, Some(-31));
            sounds += 1;
        }
        if step % 5 == 0 {
            net.write_video(publisher, pictures, pictures % 30 == 0);
            pictures += 1;
        }
        net.run(Duration::from_nanos(100_000_000 / 15));
    }
    let report = |client: usize, size: usize| {
        let packets = &net.clients[client].received;
        let last = packets.iter().rfind(|p| p.payload.len() == size || (size > 500 && p.payload.len() > 500));
        let packet = last.expect("a packet");
        let info = packet.last_sender_info.as_ref().expect("a sender report");
        let rtp = packet.header.timestamp.wrapping_sub(info.rtp_time.numer() as u32) as i32;
        let rate = if size == 80 { 48.0 } else { 90.0 };
        (packet.header.ext_vals.audio_level, info.ntp_time, f64::from(rtp) / rate)
    };
    let offset = |client| {
        let ((level, sound_at, sound), (_, picture_at, picture)) = (report(client, 80), report(client, 907));
        assert_eq!(level, Some(-31));
        let between = |a: std::time::SystemTime, b: std::time::SystemTime| match a.duration_since(b) {
            Ok(d) => d.as_secs_f64() * 1e3,
            Err(e) => -e.duration().as_secs_f64() * 1e3,
        };
        // When the last sound was captured, less when the last picture was.
        between(sound_at, picture_at) + sound - picture
    };
    let (here, there) = (offset(here), offset(there));
    assert!(here.abs() < 40.0 && (here - there).abs() < 2.0, "{here} ms here, {there} ms there");
}

#[test]
fn a_room_on_one_shard_says_nothing_to_the_others() {
    let mut net = Net::with_shards(2);
    let members: Vec<usize> = (0..3).map(|_| add_at(&mut net, 0, Role::Member, true, (2, 2))).collect();
    net.connect_all();
    flow(&mut net, &members, 0..60);
    assert!(net.relayed.is_empty());
    assert_eq!(known(&net, 1), 0);
}

#[test]
fn the_only_sound_of_a_room_is_heard_on_all_shards_though_it_tells_no_level() {
    for place in [0, 1, 2] {
        let mut net = Net::with_shards(3);
        let listeners: Vec<usize> = (0..3).map(|n| add_at(&mut net, n, Role::Member, false, (1, 1))).collect();
        net.connect_all();
        // Who publishes over WHIP from OBS or FFmpeg tells no levels, so nothing changes in who is heard afterwards.
        let publisher = add_at(&mut net, place, Role::Publisher, true, (0, 0));
        net.connect_all();
        for n in 0..60 {
            net.write_audio(publisher, n);
            net.run(Duration::from_millis(20));
        }
        let heard: Vec<usize> = listeners.iter().map(|listener| net.audio_of(*listener).len()).collect();
        assert!(heard.iter().all(|sounds| *sounds >= 58), "{heard:?} of 60, from shard {place}");
    }
}

#[test]
fn who_is_heard_changes_on_other_shards_no_more_often_than_at_home() {
    let mut net = Net::with_shards(2);
    let speakers: Vec<usize> = (0..4).map(|n| add_at(&mut net, n % 2, Role::Member, true, (0, 0))).collect();
    let listeners: Vec<usize> = (0..2).map(|n| add_at(&mut net, n, Role::Member, false, (3, 0))).collect();
    net.connect_all();
    // Four rooms with the window open: now one is the louder, now another.
    let noise = |net: &mut Net, numbers: std::ops::Range<u64>| {
        for n in numbers {
            for (turn, speaker) in speakers.iter().enumerate() {
                let loud = (n / 25) % 4 == turn as u64;
                net.write_voice(*speaker, n, Some(if loud { -72 } else { -80 }));
            }
            net.run(Duration::from_millis(20));
        }
    };
    let changes = |net: &Net| {
        let told = |listener: &usize| {
            net.notices_of(net.clients[*listener].id).filter(|n| matches!(n, Notice::Slots(_))).count()
        };
        listeners.iter().map(told).collect::<Vec<_>>()
    };
    noise(&mut net, 0..100);
    let before = changes(&net);
    noise(&mut net, 100..600);
    let after: Vec<usize> = changes(&net).iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(after[1] <= after[0], "{after:?} changes of slots, here and there");
}

#[test]
fn members_of_all_shards_are_told_of_the_codecs() {
    let mut net = Net::with_shards(3);
    let members: Vec<usize> = (0..3).map(|n| add_at(&mut net, n, Role::Member, false, (1, 1))).collect();
    net.connect_all();
    let publisher = add_at(&mut net, 1, Role::Publisher, true, (0, 0));
    net.connect_all();
    flow(&mut net, &[publisher], 0..60);
    for member in members {
        let last = net.notices_of(net.clients[member].id).filter_map(|notice| match notice {
            Notice::ParticipantUpdated(who) if who.id == net.clients[publisher].id => Some(who.tracks.clone()),
            _ => None,
        });
        let codecs: Vec<_> = last.last().into_iter().flatten().filter_map(|track| track.codec).collect();
        assert_eq!(codecs, [Codec::Opus, Codec::Vp8], "as member {member} is told");
    }
}

#[test]
fn a_picture_whose_publisher_was_away_is_back_elsewhere_as_here() {
    let back_after = |place: usize| {
        let mut net = Net::with_shards(2);
        let publisher = add_at(&mut net, 0, Role::Publisher, true, (0, 0));
        let viewer = add_at(&mut net, place, Role::Viewer, false, (1, 1));
        net.connect_all();
        flow(&mut net, &[publisher], 0..60);
        net.run(Duration::from_millis(2600));
        let (before, seen) = (net.clients[publisher].keyframe_requests, net.video_of(viewer).len());
        assert!(seen > 50);
        let mut frames = 60;
        while net.clients[publisher].keyframe_requests == before {
            net.write_video(publisher, frames, false);
            net.run(FRAME);
            frames += 1;
            assert!(frames < 200, "no keyframe is asked for, from shard {place}");
        }
        frames - 60
    };
    let (here, there) = (back_after(0), back_after(1));
    // What can be had is looked at with every tick, of 200 ms.
    assert!(there <= here + 7, "asked for after {here} frames here, {there} there");
}

#[test]
fn who_is_replaced_does_not_come_back_with_word_that_was_on_its_way() {
    let mut net = Net::with_shards(2);
    let watcher = add_at(&mut net, 1, Role::Member, false, (1, 1));
    let mut offers = Vec::new();
    for shard in [0, 1] {
        net.place = shard;
        let mut sdp = String::new();
        net.add_offering("elsewhere", Role::Publisher, true, (0, 0), |offer| {
            sdp.clone_from(&offer);
            offer
        });
        offers.push(sdp);
    }
    net.relay_delay = (MS, 20 * MS);
    net.place = 0;
    let first = net.join_as("room", Role::Publisher, "a", "ann").expect("joins").0;
    net.offer(first, offers.remove(0)).expect("an answer");
    net.run(50 * MS);
    net.place = 1;
    let second = net.join_as("room", Role::Publisher, "b", "ann").expect("joins").0;
    // The home's word of something new crosses that of the one who takes the place.
    net.command(Command::Metadata(first, "new".into()));
    net.offer(second, offers.remove(0)).expect("an answer");
    net.run(100 * MS);
    let told: Vec<String> = net
        .notices_of(net.clients[watcher].id)
        .filter_map(|notice| match notice {
            Notice::ParticipantJoined(who) => Some(format!("+{}", who.id)),
            Notice::ParticipantLeft(who, CloseReason::Replaced) => Some(format!("-{who}")),
            _ => None,
        })
        .collect();
    assert_eq!(told, [format!("+{first}"), format!("-{first}"), format!("+{second}")]);
    assert_eq!((known(&net, 0), known(&net, 1)), (3 + 1, 3 + 1));
}
