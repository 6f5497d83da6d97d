//! Taking out what the stack has to give: datagrams, events, and when it wants to run next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::bwe::BweKind;
use str0m::media::{Mid, Rid};
use str0m::net::Transmit;
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{Event, IceConnectionState, Output, PacerReason, Reason};

use super::{Participant, guarded};
use crate::api::CloseReason;
use crate::link::Measured;

/// The most turns of one drain. A turn gives out one packet or event; a batch of one participant is far below this.
/// Measured: the largest drain of a browser's join (ICE, DTLS flight, first feedback) is under 40 turns.
const MAX_TURNS: usize = 4096;

/// The most turns that the pacer gets in one drain, and how near its next deadline must be for a turn. It hands out one
/// packet a turn and asks for the next 1 µs later (measured on 0.25: without these turns every packet is a wake-up and
/// a send of its own, at twice the cost).
const MAX_PACER_TURNS: usize = 64;
const PACER_STEP: Duration = Duration::from_micros(200);

/// How much later than asked for the stack's idle look at its clocks may come: with the 25 ms that it asks for, more than
/// from picture to picture, so that mostly these come first. Not more: with 70 ms the estimates of 500 viewers rose so slowly
/// that they were sent a third less in their first seconds.
const LAZY: Duration = Duration::from_millis(25);
/// Likewise for statistics and sender reports, which are due ten times a second and once: with 40 ms, pictures at 25 a
/// second bring all of them along, and they need no turn of their own.
const LAZIER: Duration = Duration::from_millis(40);
/// How long the stack gets its exact deadlines after its pacer has counted time: a cluster of probes takes less.
const EXACT: Duration = Duration::from_millis(200);

/// The most SSRCs remembered of one participant: 16 lines of 3 layers, and room for restarts.
const MAX_SOURCES: usize = 64;

/// What a drain brought besides datagrams.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A media packet from this participant.
    Rtp { mid: Mid, rid: Option<Rid>, packet: Box<RtpPacket> },
    /// The bandwidth towards this participant has a new estimate, in bits per second.
    Estimate(u64),
    /// This participant cannot decode what it gets on this slot.
    KeyframeWanted(Mid),
    /// A STUN check passed for the first time.
    IceConnected,
    /// No check has come for 15 seconds.
    IceDisconnected,
    /// The DTLS handshake is done.
    DtlsConnected,
    /// The connection is over.
    Ended(CloseReason),
}

impl Participant {
    /// Takes everything that the stack has to give. Returns when it wants to run next.
    pub(crate) fn drain(
        &mut self,
        now: Instant,
        happenings: &mut Vec<Happening>,
        transmits: &mut VecDeque<Transmit>,
    ) -> Option<Instant> {
        let mut pacer_turns = 0;
        self.due = None;
        for _ in 0..MAX_TURNS {
            let rtc = self.rtc.as_mut()?;
            match guarded(|| rtc.poll_output()) {
                Ok(Ok(Output::Timeout(at))) => {
                    let near = matches!(rtc.last_timeout_reason(), Reason::Pacer(_))
                        && at.saturating_duration_since(now) <= PACER_STEP;
                    if !near || pacer_turns == MAX_PACER_TURNS {
                        let reason = rtc.last_timeout_reason();
                        self.due = Some(at);
                        return Some(self.patient(now, at, reason));
                    }
                    pacer_turns += 1;
                    if let Err(reason) = self.timeout(at) {
                        happenings.push(Happening::Ended(reason));
                        return None;
                    }
                }
                Ok(Ok(Output::Transmit(transmit))) => {
                    transmits.push_back(transmit);
                    let burst = || transmits.extend(std::iter::from_fn(|| rtc.poll_burst()).take(MAX_TURNS));
                    if guarded(burst).is_err() {
                        happenings.push(Happening::Ended(self.broke()));
                        return None;
                    }
                }
                Ok(Ok(Output::Event(event))) => self.on_event(event, happenings),
                Ok(Err(error)) => {
                    if let Err(reason) = self.survive(&error) {
                        happenings.push(Happening::Ended(reason));
                        return None;
                    }
                }
                Err(()) => {
                    happenings.push(Happening::Ended(self.broke()));
                    return None;
                }
            }
        }
        // More to give, but others wait too: come back at once.
        Some(now)
    }

    /// When a deadline is to be met at the latest: not later than what is to be said about what has come in.
    fn patient(&mut self, now: Instant, at: Instant, reason: Reason) -> Instant {
        let patience = self.patience(now, reason);
        if patience.is_zero() {
            return at;
        }
        let receiving = self.rtc.as_ref().and_then(|rtc| rtc.receiving_timeout());
        receiving.map_or(at + patience, |receiving| receiving.clamp(at, at + patience))
    }

    /// How long a deadline may wait for something else that happens to the connection and serves it too: the estimator
    /// and the pacer look at their clocks, and statistics are taken, with each packet. Not while the pacer counts time: it
    /// pads, probes or holds back.
    fn patience(&mut self, now: Instant, reason: Reason) -> Duration {
        let counts = matches!(
            reason,
            Reason::Pacer(PacerReason::Probe1 | PacerReason::Probe2 | PacerReason::Padding | PacerReason::Paced)
                | Reason::BweProbeControl
                | Reason::BweProbeEstimator
        );
        if counts {
            self.counts_time_until = Some(now + EXACT);
        }
        let exact = self.paced || self.counts_time_until.is_some_and(|until| now < until);
        if exact || !self.connected {
            return Duration::ZERO;
        }
        match reason {
            Reason::BweDelayControl | Reason::Pacer(PacerReason::Handle) => LAZY,
            Reason::Stats | Reason::Feedback => LAZIER,
            _ => Duration::ZERO,
        }
    }

    fn on_event(&mut self, event: Event, happenings: &mut Vec<Happening>) {
        match event {
            Event::RtpPacket(packet) => {
                if let Some((mid, rid)) = self.source(packet.header.ssrc) {
                    happenings.push(Happening::Rtp { mid, rid, packet: Box::new(packet) });
                }
            }
            Event::KeyframeRequest(request) => happenings.push(Happening::KeyframeWanted(request.mid)),
            Event::IceConnectionStateChange(state) => match state {
                IceConnectionState::Connected | IceConnectionState::Completed => {
                    happenings.push(Happening::IceConnected);
                }
                IceConnectionState::Disconnected => happenings.push(Happening::IceDisconnected),
                _ => {}
            },
            Event::Connected => {
                self.connected = true;
                happenings.push(Happening::DtlsConnected);
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, can_probe }) => {
                self.has_twcc = can_probe;
                self.estimate.get_or_insert(estimate.as_u64());
            }
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) if !self.has_twcc => {
                self.estimate = Some(estimate.as_u64());
                happenings.push(Happening::Estimate(estimate.as_u64()));
            }
            Event::PeerStats(stats) if self.has_twcc => {
                if let Some(estimate) = stats.bwe_tx {
                    let loss = stats.egress_loss_fraction.unwrap_or(0.0);
                    self.measured = Some(estimate.as_u64());
                    self.debt.on_measured(stats.timestamp, estimate.as_u64(), stats.bytes_tx);
                    let measured =
                        Measured { estimate: estimate.as_u64(), loss, round_trip: stats.rtt, sent: stats.bytes_tx };
                    let estimate = self.link.on_measured(stats.timestamp, measured);
                    self.size_resends(stats.timestamp, loss);
                    self.estimate = Some(estimate);
                    happenings.push(Happening::Estimate(estimate));
                }
            }
            Event::Closed => happenings.push(Happening::Ended(CloseReason::PeerClosed)),
            _ => {}
        }
    }

    fn size_resends(&mut self, now: Instant, loss: f32) {
        let Some(round_trip) = self.link.shortest_round_trip() else { return };
        if self.resend_age.on_round_trip(now, round_trip, loss == 0.0) {
            self.size_resend_caches();
        }
    }

    /// Which line and layer an SSRC belongs to.
    fn source(&mut self, ssrc: Ssrc) -> Option<(Mid, Option<Rid>)> {
        if let Some((_, mid, rid)) = self.sources.iter().find(|(s, ..)| *s == ssrc) {
            return Some((*mid, *rid));
        }
        let mut api = self.rtc.as_mut()?.direct_api();
        let stream = api.stream_rx(&ssrc)?;
        let (mid, rid) = (stream.mid(), stream.rid());
        // OBS and GStreamer negotiate NACK without RTX (RFC 4585): ask them too, they resend on the same SSRC.
        stream.suppress_nack(false);
        if self.sources.len() >= MAX_SOURCES {
            self.sources.remove(0);
        }
        self.sources.push((ssrc, mid, rid));
        Some((mid, rid))
    }
}
