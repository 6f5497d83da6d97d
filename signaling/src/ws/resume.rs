//! Who can come back: members by the word in their `joined`.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use dashmap::DashMap;
use tokio::sync::mpsc;

use crate::auth::random_text;

/// Members by the word that resumes them.
#[derive(Debug, Default)]
pub(crate) struct Resumes {
    by_word: DashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    room: Arc<str>,
    sockets: mpsc::Sender<Box<WebSocket>>,
}

impl Resumes {
    /// Draws a word, 192 random bits, for a new member. New WebSockets that bring it come out of the receiver.
    pub(crate) fn add(&self, room: &Arc<str>) -> (String, mpsc::Receiver<Box<WebSocket>>) {
        let (sockets, receiver) = mpsc::channel(1);
        let word = random_text::<24>();
        self.by_word.insert(word.clone(), Entry { room: Arc::clone(room), sockets });
        (word, receiver)
    }

    /// Forgets a member that is gone.
    pub(crate) fn remove(&self, word: &str) {
        self.by_word.remove(word);
    }

    /// Hands a WebSocket to the member of that word and room; gives it back if there is none.
    pub(crate) fn hand_over(&self, word: &str, room: &str, socket: Box<WebSocket>) -> Result<(), Box<WebSocket>> {
        // Cloned, so that no lock of the map is held.
        let sockets = self.by_word.get(word).filter(|entry| &*entry.room == room).map(|entry| entry.sockets.clone());
        match sockets {
            Some(sockets) => sockets.try_send(socket).map_err(mpsc::error::TrySendError::into_inner),
            None => Err(socket),
        }
    }
}
