//! A WebRTC client over one wire: sends sound with the time in it, or tells the time of the sound that comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{DatagramRecv, Receive};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcConfig};
use tokio::sync::mpsc;

use super::wire::{Shut, Wire};

/// Opus has a packet this often.
const INTERVAL: Duration = Duration::from_millis(20);
/// In the clock of Opus, 48 kHz (RFC 7587 section 4.1).
const TICKS: u32 = 960;
/// Where in a packet the time of its sending is: behind the byte that says how Opus coded it.
const STAMP_AT: usize = 1;
/// Bytes of a packet: as a voice has.
const SIZE: usize = 60;

/// What becomes of a client.
#[derive(Debug)]
pub(super) enum Said {
    /// ICE has found that packets get through both ways.
    Ice,
    /// DTLS is done.
    Dtls,
    /// A packet that was sent so long ago has come.
    Heard(Duration),
    /// It is over.
    Over(Shut),
}

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Sender,
    Receiver,
}

/// A client that waits for its answer.
pub(super) struct Offered {
    pub(super) sdp: String,
    /// Boxed, here and below: it is large, and waits in futures.
    rtc: Box<Rtc>,
    pending: SdpPendingOffer,
    mid: Mid,
    wire: Wire,
    part: Part,
}

/// Makes an offer over a wire.
pub(super) fn offer(wire: Wire, part: Part) -> Result<Offered, String> {
    let mut rtc = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .clear_codecs()
        .enable_opus(true, false)
        .set_rtp_mode(true)
        .build(Instant::now());
    rtc.add_local_candidate(wire.candidate().map_err(|error| error.to_string())?);
    let direction = if part == Part::Sender { Direction::SendOnly } else { Direction::RecvOnly };
    let mut api = rtc.sdp_api();
    let mid = api.add_media(MediaKind::Audio, direction, None, None, None);
    let (offer, pending) = api.apply().ok_or("no offer came of it")?;
    Ok(Offered { sdp: offer.to_sdp_string(), rtc: Box::new(rtc), pending, mid, wire, part })
}

/// The addresses that an answer names: true where over TCP.
pub(super) fn candidates(answer: &str) -> Vec<(bool, std::net::SocketAddr)> {
    let mut all = Vec::new();
    for line in answer.lines().filter_map(|line| line.trim().strip_prefix("a=")) {
        let Ok(candidate) = str0m::Candidate::from_sdp_string(line) else { continue };
        let found = (candidate.tcptype().is_some(), candidate.addr());
        if !all.contains(&found) {
            all.push(found);
        }
    }
    all
}

impl Offered {
    /// Takes the answer and runs, in a task that ends with the receiver of what is said. Of the answer's addresses the one
    /// that the wire leads to is used, and no other.
    pub(super) fn answered(mut self, answer: &str, epoch: Instant) -> Result<mpsc::Receiver<Said>, String> {
        let kept = answer.lines().filter(|line| !line.starts_with("a=candidate:"));
        let stripped: String = kept.map(|line| format!("{}\r\n", line.trim_end())).collect();
        let parsed = SdpAnswer::from_sdp_string(&stripped).map_err(|error| error.to_string())?;
        self.rtc.sdp_api().accept_answer(self.pending, parsed).map_err(|error| error.to_string())?;
        let remote = self.wire.remote_candidate().map_err(|error| error.to_string())?;
        self.rtc.add_remote_candidate(remote);
        let (said, heard) = mpsc::channel(64);
        let peer = Peer {
            rtc: self.rtc,
            mid: self.mid,
            wire: self.wire,
            part: self.part,
            said,
            epoch,
            due: None,
            sent: 0,
            refused: false,
        };
        tokio::spawn(peer.run());
        Ok(heard)
    }
}

struct Peer {
    rtc: Box<Rtc>,
    mid: Mid,
    wire: Wire,
    part: Part,
    said: mpsc::Sender<Said>,
    /// Times in packets count from here.
    epoch: Instant,
    /// When the next packet is to be sent.
    due: Option<Instant>,
    sent: u32,
    refused: bool,
}

impl Peer {
    async fn run(mut self) {
        let stop = self.said.clone();
        tokio::select! {
            () = stop.closed() => {}
            shut = self.go() => self.say(Said::Over(shut)),
        }
    }

    fn say(&self, said: Said) {
        // Who does not listen has heard enough.
        _ = self.said.try_send(said);
    }

    async fn go(&mut self) -> Shut {
        loop {
            let now = Instant::now();
            self.send_due(now);
            if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
                return Shut::Other(error.to_string());
            }
            let until = match self.drain().await {
                Ok(deadline) => self.due.map_or(deadline, |due| due.min(deadline)),
                Err(shut) => return shut,
            };
            tokio::select! {
                packet = self.wire.receive() => match packet {
                    Ok(packet) => self.take(&packet),
                    // Said once: the peer's port was shut to one packet at least.
                    Err(Shut::Refused) if !std::mem::replace(&mut self.refused, true) => self.say(Said::Over(Shut::Refused)),
                    Err(Shut::Refused) => {}
                    Err(shut) => return shut,
                },
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let Ok(contents) = DatagramRecv::try_from(packet) else { return };
        let (proto, destination, source) = self.wire.ends();
        // An error of one packet ends the connection or nothing; the next turn sees which.
        _ = self.rtc.handle_input(Input::Receive(Instant::now(), Receive { proto, source, destination, contents }));
    }

    /// All outputs up to the next deadline.
    async fn drain(&mut self) -> Result<Instant, Shut> {
        loop {
            match self.rtc.poll_output().map_err(|error| Shut::Other(error.to_string()))? {
                Output::Timeout(_) if !self.rtc.is_alive() => return Err(Shut::NoAnswer),
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(packet) => self.wire.send(&packet.contents).await?,
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::IceConnectionStateChange(IceConnectionState::Connected | IceConnectionState::Completed) => {
                self.say(Said::Ice);
            }
            Event::Connected => {
                self.say(Said::Dtls);
                self.due = (self.part == Part::Sender).then(Instant::now);
            }
            Event::RtpPacket(packet) => {
                let stamp = packet.payload.get(STAMP_AT..STAMP_AT + 8).and_then(|bytes| bytes.try_into().ok());
                let sent = stamp.map(|bytes| Duration::from_nanos(u64::from_be_bytes(bytes)));
                if let Some(took) = sent.and_then(|sent| self.epoch.elapsed().checked_sub(sent)) {
                    self.say(Said::Heard(took));
                }
            }
            _ => {}
        }
    }

    fn send_due(&mut self, now: Instant) {
        let Some(due) = self.due.filter(|due| *due <= now) else { return };
        self.due = Some(if due + INTERVAL < now { now } else { due } + INTERVAL);
        let Some(pt) = self.opus() else { return };
        let mut payload = vec![0; SIZE];
        payload[0] = 0x78;
        let stamp = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        payload[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp.to_be_bytes());
        let loud = ExtensionValues { audio_level: Some(-20), voice_activity: Some(true), ..Default::default() };
        let number = u64::from(self.sent) + 1;
        let packet = RtpWrite::new(pt, number.into(), self.sent.wrapping_mul(TICKS), now, payload).ext_vals(loud);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            stream.write_rtp(packet);
            self.sent += 1;
        }
    }

    fn opus(&self) -> Option<Pt> {
        let negotiated = self.rtc.media(self.mid)?.remote_pts();
        let mut all = self.rtc.codec_config().iter();
        all.find(|p| p.spec().codec == Codec::Opus && negotiated.contains(&p.pt())).map(|p| p.pt())
    }
}
