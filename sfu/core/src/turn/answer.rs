//! Answers, and who may have them.

use stun_types::attribute::{ErrorCode, Nonce, Realm};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials, MessageWrite, MessageWriteExt,
    MessageWriteVec,
};

use super::{Client, Clock, Turn};

/// Who asks, after the proof.
pub(super) struct Known {
    pub(super) username: String,
    pub(super) credentials: MessageIntegrityCredentials,
    pub(super) algorithm: IntegrityAlgorithm,
}

/// A refusal: an error code (RFC 8489 section 14.8, RFC 8656 section 19).
pub(super) type Refusal = u16;

/// An error without words: they would only make the answer longer.
pub(super) fn error(request: &Message<'_>, code: Refusal) -> MessageWriteVec {
    let mut message = Message::builder_error(request, MessageWriteVec::with_capacity(96));
    if let Ok(code) = ErrorCode::new(code, "") {
        _ = message.add_attribute(&code);
    }
    message
}

/// Signs an answer as the request was signed.
pub(super) fn signed(mut message: MessageWriteVec, known: &Known) -> Option<Vec<u8>> {
    message.add_message_integrity(&known.credentials, known.algorithm).ok()?;
    Some(message.finish())
}

impl Turn {
    /// Tells a client how to prove who it is: with 401, or with 438 that its nonce is too old. What it gets is not signed.
    pub(super) fn challenge(
        &mut self,
        clock: Clock,
        client: Client,
        request: &Message<'_>,
        code: Refusal,
    ) -> Option<Vec<u8>> {
        let mut message = error(request, code);
        message.add_attribute(&Realm::new(&self.config.realm).ok()?).ok()?;
        message.add_attribute(&Nonce::new(&self.nonces.make(clock.unix, client.remote())).ok()?).ok()?;
        self.stats.refused += 1;
        self.within_budget(client, message.finish())
    }

    /// An answer to a stranger: over UDP no more than was asked. A connection has proved its address.
    pub(super) fn within_budget(&mut self, client: Client, answer: Vec<u8>) -> Option<Vec<u8>> {
        let allowed = match client {
            Client::Udp(remote) => self.budget.allows(remote.ip(), answer.len()),
            Client::Stream { .. } => true,
        };
        self.stats.withheld += u64::from(!allowed);
        allowed.then_some(answer)
    }

    pub(super) fn credentials_of(&self, username: &str) -> MessageIntegrityCredentials {
        let password = super::credentials::password(&self.config.secret, username);
        LongTermKeyCredentials::new(username.to_owned(), password, self.config.realm.clone()).into()
    }
}
