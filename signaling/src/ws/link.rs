//! One WebSocket: writing with a time limit, and closing with the right code.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use tokio::time::timeout;
use weir_sfu::api::CloseReason;

use super::outgoing::ServerMessage;
use crate::error::Code;

/// How long one message may wait for the client to read. Notices queue meanwhile, in a queue with a bound.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a message was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The connection broke.
    Broken,
    /// The client does not read.
    Slow,
}

/// One WebSocket.
#[derive(Debug)]
pub(super) struct Link {
    socket: Box<WebSocket>,
}

impl Link {
    pub(super) fn new(socket: Box<WebSocket>) -> Self {
        Self { socket }
    }

    pub(super) fn into_socket(self) -> Box<WebSocket> {
        self.socket
    }

    /// The next frame. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Option<Result<Message, axum::Error>> {
        self.socket.recv().await
    }

    pub(super) async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Cut> {
        self.write(Message::Text(message.to_text().into())).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), Cut> {
        self.write(Message::Ping(Default::default())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), Cut> {
        match timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Cut::Broken),
            Err(_) => Err(Cut::Slow),
        }
    }

    /// Says `closed` and closes.
    pub(super) async fn close_with(mut self, reason: CloseReason) {
        let code = match reason {
            CloseReason::ServerShutdown => close_code::AWAY,
            CloseReason::Internal => close_code::ERROR,
            CloseReason::SlowReader => close_code::POLICY,
            _ => close_code::NORMAL,
        };
        let text = ServerMessage::Closed { reason }.to_text();
        let said = timeout(CLOSE_TIMEOUT, self.socket.send(Message::Text(text.into()))).await;
        if matches!(said, Ok(Ok(()))) {
            self.close(code).await;
        }
    }

    /// Closes after an error.
    pub(super) async fn close_after(self, code: Code) {
        let code = match code {
            Code::Overloaded | Code::RoomFull => close_code::AGAIN,
            Code::Internal => close_code::ERROR,
            Code::ResumeFailed => close_code::NORMAL,
            _ => close_code::POLICY,
        };
        self.close(code).await;
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code, reason: Default::default() };
        let closing = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                // Reads until the client has answered: cutting at once could lose it what was said last.
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }

    /// After the client's close frame: reads to the end, which sends the answer to it.
    pub(super) async fn closed_by_client(mut self) {
        let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
    }
}
