//! Requests, one by one: RFC 8489 section 9.2.4 for the proof, RFC 8656 for what each does.

use std::net::SocketAddr;
use std::time::Duration;

use stun_types::attribute::{
    Attribute, AttributeStaticType, AttributeType, ErrorCode, Fingerprint, MessageIntegrity, MessageIntegritySha256,
    Nonce, Realm, Software, UnknownAttributes, Username, XorMappedAddress,
};
use stun_types::message::{BINDING, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteVec};
use turn_types::AddressFamily;
use turn_types::attribute::{
    ChannelNumber, DontFragment, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport, ReservationToken,
    XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};

use super::allocation::{Allocation, Full};
use super::answer::{Known, Refusal, error, signed};
use super::{CHANNEL, Client, Clock, LIFETIME, PERMISSION, SWEEP, Turn, credentials, wire};

/// PASSWORD-ALGORITHM and USERHASH of RFC 8489 are not taken: nobody is offered them, since that would make the first
/// answer longer than a request.
const UNDERSTOOD: [AttributeType; 14] = [
    Username::TYPE,
    Realm::TYPE,
    Nonce::TYPE,
    MessageIntegrity::TYPE,
    MessageIntegritySha256::TYPE,
    Fingerprint::TYPE,
    Software::TYPE,
    Lifetime::TYPE,
    RequestedTransport::TYPE,
    RequestedAddressFamily::TYPE,
    DontFragment::TYPE,
    EvenPort::TYPE,
    ReservationToken::TYPE,
    XorPeerAddress::TYPE,
];

/// The most peers of one CreatePermission that are looked at; there are never more than there are announced addresses.
const MAX_PEERS: usize = 16;

impl Turn {
    /// Answers a request; none if it is no request, or the answer may not be given.
    pub(super) fn on_request(&mut self, clock: Clock, client: Client, request: &Message<'_>) -> Option<Vec<u8>> {
        if !request.has_class(MessageClass::Request) {
            return None;
        }
        if request.has_method(BINDING) {
            let answer = wire::binding_success(request, client.remote())?;
            return self.within_budget(client, answer);
        }
        let method = request.method();
        if ![ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND].contains(&method) {
            return self.within_budget(client, error(request, ErrorCode::BAD_REQUEST).finish());
        }
        let known = match self.prove(clock, client, request) {
            Ok(known) => known,
            Err(code @ (ErrorCode::UNAUTHORIZED | ErrorCode::STALE_NONCE)) => {
                return self.challenge(clock, client, request, code);
            }
            Err(code) => return self.within_budget(client, error(request, code).finish()),
        };
        let unknown: Vec<_> = request.iter_attributes().map(|(_, raw)| raw.get_type()).filter(is_unknown).collect();
        if !unknown.is_empty() {
            let mut answer = error(request, ErrorCode::UNKNOWN_ATTRIBUTE);
            answer.add_attribute(&UnknownAttributes::new(&unknown)).ok()?;
            return signed(answer, &known);
        }
        let done = match method {
            ALLOCATE => self.allocate(clock, client, request, &known),
            REFRESH => self.refresh(clock, client, request, &known),
            CREATE_PERMISSION => self.permit(clock, client, request, &known),
            _ => self.bind_channel(clock, client, request, &known),
        };
        let answer = done.unwrap_or_else(|code| {
            self.stats.refused += 1;
            error(request, code)
        });
        signed(answer, &known)
    }

    /// RFC 8489 section 9.2.4. That the credential has expired is looked at when it allocates: a call may last longer.
    fn prove(&self, clock: Clock, client: Client, request: &Message<'_>) -> Result<Known, Refusal> {
        let has = |kind| request.has_attribute(kind);
        if !has(MessageIntegrity::TYPE) && !has(MessageIntegritySha256::TYPE) {
            return Err(ErrorCode::UNAUTHORIZED);
        }
        if !has(Username::TYPE) || !has(Realm::TYPE) || !has(Nonce::TYPE) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        let username = request.attribute::<Username>().map_err(|_| ErrorCode::BAD_REQUEST)?;
        let nonce = request.attribute::<Nonce>().map_err(|_| ErrorCode::BAD_REQUEST)?;
        if !self.nonces.is_fresh(clock.unix, client.remote(), nonce.nonce()) {
            return Err(ErrorCode::STALE_NONCE);
        }
        let username = username.username().to_owned();
        let credentials = self.credentials_of(&username);
        let algorithm = request.validate_integrity(&credentials).map_err(|_| ErrorCode::UNAUTHORIZED)?;
        Ok(Known { username, credentials, algorithm })
    }

    /// RFC 8656 section 7.2.
    fn allocate(
        &mut self,
        clock: Clock,
        client: Client,
        request: &Message<'_>,
        known: &Known,
    ) -> Result<MessageWriteVec, Refusal> {
        let now = clock.now;
        let worker = self.config.worker;
        if let Some((place, allocation)) = self.allocations.of(client, now) {
            if allocation.request != request.transaction_id() {
                return Err(ErrorCode::ALLOCATION_MISMATCH);
            }
            let left = allocation.expires.saturating_duration_since(now);
            return allocated(request, allocation.relayed(worker, place), left, client);
        }
        if credentials::expiry(&known.username).is_none_or(|expiry| expiry <= clock.unix) {
            return Err(ErrorCode::UNAUTHORIZED);
        }
        let v4 = self.family(request)?;
        let lifetime = lifetime(request)?.max(Duration::from_secs(1));
        if let Some(place) = self.allocations.place_of(client) {
            // Expired, and not swept yet.
            self.allocations.remove(place, now);
        }
        let allocation = Allocation::new(client, known.username.clone(), request.transaction_id(), v4, now + lifetime);
        let relayed = self.allocations.add(allocation, now).map_err(|full| match full {
            Full::User => ErrorCode::ALLOCATION_QUOTA_REACHED,
            Full::All => ErrorCode::INSUFFICIENT_CAPACITY,
        })?;
        self.next_sweep.get_or_insert(now + SWEEP);
        allocated(request, relayed, lifetime, client)
    }

    /// Whether the relayed address shall be of IPv4, after what else an Allocate may ask for and not get.
    fn family(&self, request: &Message<'_>) -> Result<bool, Refusal> {
        let transport = request.attribute::<RequestedTransport>().map_err(|_| ErrorCode::BAD_REQUEST)?;
        if transport.protocol() != RequestedTransport::UDP {
            return Err(ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL);
        }
        let wanted = request.attribute::<RequestedAddressFamily>().ok().map(|family| family.family());
        let has = |kind| request.has_attribute(kind);
        if has(ReservationToken::TYPE) && (has(EvenPort::TYPE) || wanted.is_some()) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        // There are no ports here to reserve.
        let next_port = request.attribute::<EvenPort>().is_ok_and(|even| even.requested());
        if has(ReservationToken::TYPE) || next_port {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        let announced = |v4: bool| self.config.peers.iter().any(|peer| peer.is_ipv4() == v4);
        match wanted {
            Some(family) => {
                let v4 = family == AddressFamily::IPV4;
                if announced(v4) { Ok(v4) } else { Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED) }
            }
            // RFC 8656 section 7.2 means IPv4. Where there is none, IPv6 is of more use than a refusal.
            None => Ok(announced(true)),
        }
    }

    /// RFC 8656 section 8.2.
    fn refresh(
        &mut self,
        clock: Clock,
        client: Client,
        request: &Message<'_>,
        known: &Known,
    ) -> Result<MessageWriteVec, Refusal> {
        let lifetime = lifetime(request)?;
        let allocation = self.own(clock, client, known)?;
        if let Ok(family) = request.attribute::<RequestedAddressFamily>()
            && (family.family() == AddressFamily::IPV4) != allocation.v4
        {
            return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
        }
        // With a lifetime of 0 it has expired by now; the next sweep takes it away.
        allocation.expires = clock.now + lifetime;
        let mut answer = Message::builder_success(request, MessageWriteVec::with_capacity(96));
        add(&mut answer, &Lifetime::new(lifetime.as_secs() as u32))?;
        Ok(answer)
    }

    /// The allocation of a client, who must be who made it.
    fn own(&mut self, clock: Clock, client: Client, known: &Known) -> Result<&mut Allocation, Refusal> {
        let (_, own) = self.allocations.of(client, clock.now).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if own.username == known.username { Ok(own) } else { Err(ErrorCode::WRONG_CREDENTIALS) }
    }

    /// RFC 8656 section 10.2. All peers must be permitted, or none is.
    fn permit(
        &mut self,
        clock: Clock,
        client: Client,
        request: &Message<'_>,
        known: &Known,
    ) -> Result<MessageWriteVec, Refusal> {
        let v4 = self.own(clock, client, known)?.v4;
        let peers = peers(request)?;
        for peer in &peers {
            if !self.is_peer_ip(peer.ip()) {
                return Err(ErrorCode::FORBIDDEN);
            }
            if peer.is_ipv4() != v4 {
                return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
            }
        }
        let allocation = self.own(clock, client, known)?;
        peers.iter().for_each(|peer| allocation.permit(peer.ip(), clock.now + PERMISSION));
        Ok(Message::builder_success(request, MessageWriteVec::with_capacity(64)))
    }

    /// RFC 8656 section 12.2.
    fn bind_channel(
        &mut self,
        clock: Clock,
        client: Client,
        request: &Message<'_>,
        known: &Known,
    ) -> Result<MessageWriteVec, Refusal> {
        let v4 = self.own(clock, client, known)?.v4;
        let number = request.attribute::<ChannelNumber>().map_err(|_| ErrorCode::BAD_REQUEST)?.channel();
        if !(0x4000..0x5000).contains(&number) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        let wanted = peers(request)?[0];
        let peer = self.config.peers.iter().position(|peer| *peer == wanted).ok_or(ErrorCode::FORBIDDEN)?;
        if wanted.is_ipv4() != v4 {
            return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
        }
        let allocation = self.own(clock, client, known)?;
        if !allocation.bind(number, peer, clock.now, clock.now + CHANNEL) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        allocation.permit(wanted.ip(), clock.now + PERMISSION);
        Ok(Message::builder_success(request, MessageWriteVec::with_capacity(64)))
    }
}

fn is_unknown(kind: &AttributeType) -> bool {
    kind.comprehension_required() && !UNDERSTOOD.contains(kind) && *kind != ChannelNumber::TYPE
}

/// How long the client wants it to last: at most ten minutes, and as long if it does not say.
fn lifetime(request: &Message<'_>) -> Result<Duration, Refusal> {
    if !request.has_attribute(Lifetime::TYPE) {
        return Ok(LIFETIME);
    }
    let wanted = request.attribute::<Lifetime>().map_err(|_| ErrorCode::BAD_REQUEST)?;
    Ok(Duration::from_secs(wanted.seconds().into()).min(LIFETIME))
}

/// The peers that a request names: at least one.
fn peers(request: &Message<'_>) -> Result<Vec<SocketAddr>, Refusal> {
    let named = request.iter_attributes().filter(|(_, raw)| raw.get_type() == XorPeerAddress::TYPE);
    let read = named.map(|(_, raw)| {
        let peer = XorPeerAddress::try_from(&raw).map_err(|_| ErrorCode::BAD_REQUEST)?;
        Ok(peer.addr(request.transaction_id()))
    });
    let peers: Vec<_> = read.take(MAX_PEERS + 1).collect::<Result<_, Refusal>>()?;
    if (1..=MAX_PEERS).contains(&peers.len()) { Ok(peers) } else { Err(ErrorCode::BAD_REQUEST) }
}

fn allocated(
    request: &Message<'_>,
    relayed: SocketAddr,
    lifetime: Duration,
    client: Client,
) -> Result<MessageWriteVec, Refusal> {
    let id = request.transaction_id();
    let mut answer = Message::builder_success(request, MessageWriteVec::with_capacity(128));
    add(&mut answer, &XorRelayedAddress::new(relayed, id))?;
    add(&mut answer, &Lifetime::new(lifetime.as_secs() as u32))?;
    add(&mut answer, &XorMappedAddress::new(client.remote(), id))?;
    Ok(answer)
}

fn add(message: &mut MessageWriteVec, attribute: &dyn stun_types::attribute::AttributeWrite) -> Result<(), Refusal> {
    message.add_attribute(attribute).map_err(|_| ErrorCode::SERVER_ERROR)
}
