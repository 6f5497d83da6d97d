//! What does not go through the media socket as it is: connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use weir_core::path::Path;
use weir_core::shard::{Input, Transmit};

use super::Worker;
use crate::stream::{Connection, Framing};

/// The connections that this worker has heard from. As many as there are: each says when it ends.
#[derive(Debug, Default)]
pub(super) struct Indirect {
    /// Those of ICE over TCP: one at a time from an address.
    ice: HashMap<SocketAddr, Arc<Connection>>,
}

impl Worker {
    /// A packet of a connection.
    pub(super) fn on_stream(&mut self, now: Instant, connection: Arc<Connection>, data: &[u8]) {
        let remote = connection.remote;
        match connection.framing {
            Framing::Ice => {
                let known = self.indirect.ice.get(&remote);
                if known.is_none_or(|known| known.id != connection.id) {
                    self.shard.release_stream(remote);
                    self.indirect.ice.insert(remote, connection);
                }
                self.shard.handle(now, Input::Stream { remote, data });
            }
            Framing::Turn => {}
        }
    }

    /// A connection has ended.
    pub(super) fn on_stream_closed(&mut self, connection: &Connection) {
        let remote = connection.remote;
        if self.indirect.ice.get(&remote).is_some_and(|known| known.id == connection.id) {
            self.indirect.ice.remove(&remote);
            self.shard.release_stream(remote);
        }
    }

    /// Sends what does not go over plain UDP.
    pub(super) fn send_indirect(&mut self, path: Path, transmit: &Transmit) {
        if path == Path::Tcp {
            // A connection that has ended takes nothing any more; the client comes back over another one.
            if let Some(connection) = self.indirect.ice.get(&transmit.destination) {
                connection.send(self.shard.is_video(transmit), transmit.contents.to_vec());
            }
        }
    }
}
