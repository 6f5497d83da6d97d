use tokio::io::duplex;

use super::*;
use crate::worker::{Inbox, queues};

const LONG: Duration = Duration::from_secs(5);

/// A check (RFC 8489 section 5) for a participant of this shard: USERNAME, PRIORITY, and a MESSAGE-INTEGRITY of nothing.
fn check(shard: u8) -> Vec<u8> {
    let username = format!("{shard:02x}abcdefgh:peer1");
    let attributes = [(0x06, username.as_bytes()), (0x24, [1, 2, 3, 4].as_slice()), (0x08, [0; 20].as_slice())]
        .map(|(kind, value)| [&[0, kind, 0, value.len() as u8], value].concat())
        .concat();
    [&[0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42], [7; 12].as_slice(), &attributes].concat()
}

fn framed(framing: Framing, packet: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    framing::write(framing, packet, &mut bytes);
    bytes
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], n))
}

fn one_worker() -> (Arc<Streams>, Inbox) {
    let (link, inbox) = queues().expect("queues");
    (Arc::new(Streams::new(vec![link])), inbox)
}

/// The next thing that the worker gets.
async fn stray(inbox: &Inbox) -> Stray {
    for _ in 0..500 {
        if let Some(stray) = inbox.stray() {
            return stray;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing came to the worker");
}

/// Begins a connection and gives the client's end, what the worker knows it by, and the task.
async fn begin(
    streams: &Arc<Streams>,
    inbox: &Inbox,
    framing: Framing,
) -> (tokio::io::DuplexStream, Arc<Connection>, tokio::task::JoinHandle<()>) {
    let (client, server) = duplex(4096);
    let task = {
        let (streams, first) = (Arc::clone(streams), framed(framing, &check(0)));
        tokio::spawn(async move { streams.serve(server, address(1), StreamKind::Tcp, first).await })
    };
    let Stray::Stream(connection, packet) = stray(inbox).await else { panic!("not a packet") };
    assert_eq!((packet, connection.framing), (check(0), framing));
    (client, connection, task)
}

#[tokio::test]
async fn packets_come_and_go_until_the_client_leaves() {
    for framing in [Framing::Ice, Framing::Turn] {
        let (streams, inbox) = one_worker();
        let (mut client, connection, task) = begin(&streams, &inbox, framing).await;
        client.write_all(&framed(framing, &check(0))).await.expect("written");
        assert!(matches!(stray(&inbox).await, Stray::Stream(_, packet) if packet == check(0)));
        connection.send(false, check(0));
        let mut back = vec![0; framed(framing, &check(0)).len()];
        client.read_exact(&mut back).await.expect("read");
        assert_eq!(back, framed(framing, &check(0)));
        assert_eq!(streams.counters.open.load(Ordering::Relaxed), 1);
        drop(client);
        assert!(matches!(stray(&inbox).await, Stray::Closed(closed) if closed.id == connection.id));
        timeout(LONG, task).await.expect("it ends").expect("no panic");
        assert_eq!(streams.counters.open.load(Ordering::Relaxed), 0);
        assert!(streams.sources.lock().expect("a lock").is_empty());
    }
}

#[tokio::test]
async fn what_is_of_no_use_is_closed_at_once() {
    let other_shard = framed(Framing::Ice, &check(9));
    for first in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), other_shard, vec![0; 100]] {
        let (streams, inbox) = one_worker();
        let (client, server) = duplex(4096);
        timeout(LONG, streams.serve(server, address(1), StreamKind::Tcp, first)).await.expect("it ends");
        assert!(inbox.stray().is_none());
        drop(client);
    }
}

#[tokio::test]
async fn the_connections_of_one_source_are_bounded() {
    let (streams, _inbox) = one_worker();
    let places: Vec<_> = (0..MAX_OF_SOURCE as u16).map(|n| streams.admit(address(n)).expect("a place")).collect();
    assert!(streams.admit(address(9999)).is_none());
    assert_eq!(streams.counters.refused.load(Ordering::Relaxed), 1);
    assert!(streams.admit(SocketAddr::from(([192, 0, 2, 2], 1))).is_some(), "others are not touched");
    drop(places);
    assert!(streams.admit(address(9999)).is_some());
    let v6 = |text: &str| source_of(text.parse().expect("an address"));
    assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:2"));
    assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_old_video_and_nothing_else() {
    let (streams, inbox) = one_worker();
    let (mut client, connection, _task) = begin(&streams, &inbox, Framing::Ice).await;
    // Twice what may wait, handed over in steps that the task can follow.
    for n in 0..512u16 {
        connection.send(true, [&n.to_be_bytes(), [0x90; 998].as_slice()].concat());
        if n % 64 == 0 {
            connection.send(false, [&n.to_be_bytes(), [0x91; 98].as_slice()].concat());
            sleep(Duration::from_millis(20)).await;
        }
    }
    let (mut sound, mut video) = (Vec::new(), 0);
    let mut reader = Reader::new(framed(Framing::Ice, &check(0)));
    assert_eq!(reader.next().map(|packet| packet.is_some()), Ok(true));
    while sound.len() < 8 || video == 0 {
        let (from, space) = reader.space();
        let count = timeout(LONG, client.read(&mut space[from..])).await.expect("more").expect("read");
        reader.filled(from, count);
        while let Ok(Some(packet)) = reader.next() {
            match packet[2] {
                0x91 => sound.push(u16::from_be_bytes([packet[0], packet[1]])),
                _ => video += 1,
            }
        }
    }
    assert_eq!(sound, [0, 64, 128, 192, 256, 320, 384, 448]);
    let dropped = streams.counters.dropped.load(Ordering::Relaxed);
    assert!((200..512).contains(&dropped), "{dropped} of 512 given up");
}
