use std::time::Duration;

use weir_core::api::{Role, Watch};

use super::*;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> Sfu {
    let config = SfuConfig {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        tcp: TcpPort::Off,
        turn: None,
        announce: Vec::new(),
        workers: 2,
        spread_at: 1,
        coalesce: Duration::ZERO,
        loudest: 3,
        max_bitrate: 8_000_000,
    };
    Sfu::start(config).expect("it starts")
}

/// A room with its home on the first worker.
fn room(sfu: &Sfu) -> Arc<str> {
    let names = (0..).map(|number| format!("room-{number}"));
    Arc::from(names.into_iter().find(|name| sfu.home_number(name) == 0).expect("a name"))
}

async fn enter(sfu: &Sfu, room: &Arc<str>, id: u64, role: Role) -> Session {
    let join = Join {
        participant: ParticipantId(id),
        room: Arc::clone(room),
        create: true,
        name: String::new(),
        identity: String::new(),
        role,
        watch: Watch::default(),
        can_publish: true,
        can_subscribe: true,
        metadata: String::new(),
        max_participants: 100,
        max_publishers: 100,
    };
    let joined = tokio::time::timeout(PATIENCE, sfu.join(join)).await.expect("an answer");
    joined.expect("the worker runs").expect("there is a place").0
}

#[tokio::test]
async fn an_administrator_removes_a_viewer_wherever_it_lives() {
    let sfu = start();
    let room = room(&sfu);
    let member = enter(&sfu, &room, 1, Role::Member).await;
    let mut viewer = enter(&sfu, &room, 2, Role::Viewer).await;
    assert_eq!((member._place.worker, viewer._place.worker), (0, 1));
    assert_eq!(sfu.remove(Arc::clone(&room), ParticipantId(3)).await, Ok(false));
    assert_eq!(sfu.remove(Arc::clone(&room), viewer.id()).await, Ok(true));
    let told = tokio::time::timeout(PATIENCE, viewer.next()).await.expect("a notice");
    assert_eq!(told.as_deref(), Some(&Notice::Closed(CloseReason::Removed)));
    sfu.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_the_others_have_given_up_ends_and_is_given_nobody() {
    let sfu = start();
    let room = room(&sfu);
    let _first = enter(&sfu, &room, 1, Role::Member).await;
    let mut second = enter(&sfu, &room, 2, Role::Member).await;
    assert_eq!(second._place.worker, 1);
    let given_up = &sfu.inner.links[1];
    given_up.alive.store(false, Ordering::Release);
    given_up.wake();
    let ended = async { while second.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the stay of who lives there ends");
    for id in 3..6 {
        assert_eq!(enter(&sfu, &room, id, Role::Member).await._place.worker, 0);
    }
    assert!(!sfu.is_running());
    sfu.shutdown().await;
}
