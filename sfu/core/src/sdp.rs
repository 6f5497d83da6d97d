//! A first reading of an SDP offer, before the WebRTC stack sees it: bounds, directions, and what each line carries.
//!
//! The server is ICE-lite and learns every address from the client's checks, so candidates are stripped here: there is
//! nothing to look up, and no list to fill. Line forms are those of RFC 8866; `a=mid` RFC 5888, `a=rid` RFC 8851,
//! `a=simulcast` RFC 8853, `a=bundle-only` RFC 9143.

use crate::api::{Codec, MediaKind, OfferError, Role};

/// The largest SDP taken of WHIP and WHEP clients, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// The largest SDP taken of members: 49 video slots of 3.5 KiB each, as Chromium writes them.
const MAX_MEMBER_BYTES: usize = 192 * 1024;
/// The most `m=` lines in one SDP.
const MAX_LINES: usize = 64;
/// The most RIDs on one `m=` line.
const MAX_RIDS: usize = 16;
/// The longest single line, in bytes. Real offers stay below 400; `sprop-parameter-sets` is the longest field.
const MAX_LINE_BYTES: usize = 4096;

/// Who sends on a line, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub(crate) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// One `m=` line of audio or video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaLine {
    pub mid: String,
    pub kind: MediaKind,
    /// Inactive also where the line was rejected (port 0 and not bundle-only).
    pub direction: Direction,
    /// The RIDs it sends, in the order of the offer.
    pub rids: Vec<String>,
    /// It names at least one codec that Weir forwards.
    has_codec: bool,
}

/// An offer that passed the bounds.
#[derive(Debug)]
pub(crate) struct ReadOffer {
    /// What the WebRTC stack shall read: no candidates, directions as this role may use them.
    pub sdp: String,
    pub lines: Vec<MediaLine>,
    /// The client acknowledges packets by transport-wide feedback.
    pub transport_cc: bool,
}

/// The lines of an offer, without what ends them, where it is within the bounds and begins as SDP does.
pub(crate) fn lines_of(text: &str, role: Role) -> Result<Vec<&str>, OfferError> {
    let most = if role == Role::Member { MAX_MEMBER_BYTES } else { MAX_BYTES };
    if text.len() > most {
        return Err(OfferError::TooLarge(format!("{} bytes, at most {most} are taken", text.len())));
    }
    if !text.starts_with("v=0") {
        return Err(OfferError::Malformed("it does not begin with `v=0`".into()));
    }
    let lines: Vec<&str> = text.lines().collect();
    if let Some(line) = lines.iter().find(|l| l.len() > MAX_LINE_BYTES) {
        return Err(OfferError::TooLarge(format!(
            "a line of {} bytes, at most {MAX_LINE_BYTES} are taken",
            line.len()
        )));
    }
    Ok(lines.into_iter().map(str::trim_end).collect())
}

/// Reads the lines of an offer for a participant of this role.
pub(crate) fn read_offer(all: &[&str], role: Role) -> Result<ReadOffer, OfferError> {
    let starts = media_starts(all)?;
    let mut sdp = String::with_capacity(all.iter().map(|line| line.len() + 2).sum());
    let mut lines: Vec<MediaLine> = Vec::with_capacity(starts.len());
    all[..starts[0]].iter().for_each(|line| keep(&mut sdp, line));
    for (n, &start) in starts.iter().enumerate() {
        let section = &all[start..starts.get(n + 1).copied().unwrap_or(all.len())];
        let Some(line) = read_section(section)? else {
            section.iter().for_each(|line| keep(&mut sdp, line));
            continue;
        };
        let direction = as_role(role, &line)?;
        section.iter().filter(|l| direction_of(l).is_none()).for_each(|line| keep(&mut sdp, line));
        keep(&mut sdp, direction_line(direction));
        if lines.iter().any(|other| other.mid == line.mid) {
            return Err(OfferError::Malformed(format!("two `m=` lines have the mid {:?}", line.mid)));
        }
        lines.push(MediaLine { direction, ..line });
    }
    check_lines(role, &lines)?;
    let transport_cc = all.iter().any(|line| line.starts_with("a=rtcp-fb:") && line.ends_with(" transport-cc"));
    Ok(ReadOffer { sdp, lines, transport_cc })
}

/// Where the `m=` lines are: at least one.
fn media_starts(all: &[&str]) -> Result<Vec<usize>, OfferError> {
    let starts: Vec<usize> = (0..all.len()).filter(|&i| all[i].starts_with("m=")).collect();
    match starts.len() {
        0 => Err(OfferError::Malformed("it has no `m=` line".into())),
        1..=MAX_LINES => Ok(starts),
        count => Err(OfferError::TooLarge(format!("{count} `m=` lines, at most {MAX_LINES} are taken"))),
    }
}

fn keep(out: &mut String, line: &str) {
    if line.is_empty() || line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates") {
        return;
    }
    out.push_str(line);
    if line.starts_with("a=rtpmap:") && ends_with_opus(line) {
        // GStreamer leaves the channels out; Opus has two in SDP whatever it carries (RFC 7587 section 7).
        out.push_str("/2");
    }
    out.push_str("\r\n");
}

fn ends_with_opus(line: &str) -> bool {
    let end = b" opus/48000";
    line.as_bytes().last_chunk().is_some_and(|last: &[u8; 11]| last.eq_ignore_ascii_case(end))
}

/// Reads one `m=` section; none if it is neither audio nor video.
fn read_section(section: &[&str]) -> Result<Option<MediaLine>, OfferError> {
    let head = section[0];
    let kind = match head[2..].split(' ').next() {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some("application") => return Ok(None),
        other => {
            let name = other.unwrap_or_default();
            return Err(OfferError::Unacceptable(format!("`m={name}`: only audio, video and data channels are taken")));
        }
    };
    let attribute = |name: &'static str| section.iter().filter_map(move |l| l.strip_prefix("a=")?.strip_prefix(name));
    let Some(mid) = attribute("mid:").next() else {
        return Err(OfferError::Malformed(format!("`{head}` has no `a=mid`")));
    };
    // str0m keeps mids and RIDs in 16 bytes; browsers use one or two.
    if mid.is_empty() || mid.len() > 16 || !mid.is_ascii() {
        return Err(OfferError::Malformed(format!("the mid {mid:?} is not 1 to 16 ASCII characters")));
    }
    let rids: Vec<String> = attribute("rid:")
        .filter_map(|value| value.split_once(' ').filter(|(_, way)| way.starts_with("send")))
        .map(|(rid, _)| rid.to_owned())
        .collect();
    if rids.len() > MAX_RIDS {
        return Err(OfferError::TooLarge(format!("{} RIDs on one line, at most {MAX_RIDS} are taken", rids.len())));
    }
    if let Some(rid) = rids.iter().find(|r| r.is_empty() || r.len() > 16) {
        return Err(OfferError::Malformed(format!("the RID {rid:?} is not 1 to 16 characters")));
    }
    let rejected = head.split(' ').nth(1) == Some("0") && !section.contains(&"a=bundle-only");
    let direction = section.iter().find_map(|l| direction_of(l)).unwrap_or(Direction::SendRecv);
    Ok(Some(MediaLine {
        mid: mid.to_owned(),
        kind,
        direction: if rejected { Direction::Inactive } else { direction },
        rids,
        has_codec: attribute("rtpmap:").any(|value| codec_of(value).is_some()),
    }))
}

/// The codec of an `a=rtpmap` value such as `96 VP8/90000`.
fn codec_of(rtpmap: &str) -> Option<Codec> {
    let name = rtpmap.split_once(' ')?.1.split('/').next()?;
    let known =
        [("opus", Codec::Opus), ("vp8", Codec::Vp8), ("vp9", Codec::Vp9), ("h264", Codec::H264), ("av1", Codec::Av1)];
    known.into_iter().find(|(n, _)| name.eq_ignore_ascii_case(n)).map(|(_, codec)| codec)
}

fn direction_of(line: &str) -> Option<Direction> {
    match line {
        "a=sendrecv" => Some(Direction::SendRecv),
        "a=sendonly" => Some(Direction::SendOnly),
        "a=recvonly" => Some(Direction::RecvOnly),
        "a=inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn direction_line(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "a=sendrecv",
        Direction::SendOnly => "a=sendonly",
        Direction::RecvOnly => "a=recvonly",
        Direction::Inactive => "a=inactive",
    }
}

/// The direction as this role may use it: a WHIP client only sends, a WHEP client only receives. `sendrecv` is
/// narrowed, because GStreamer sends it for both (RFC 9725 section 4.2 allows it).
fn as_role(role: Role, line: &MediaLine) -> Result<Direction, OfferError> {
    let refuse = |want: &str| {
        Err(OfferError::Unacceptable(format!(
            "the {:?} line with mid {:?} is {}, here it must be {want}",
            line.kind,
            line.mid,
            direction_line(line.direction).trim_start_matches("a="),
        )))
    };
    match role {
        Role::Member => Ok(line.direction),
        Role::Publisher if line.direction.sends() => Ok(Direction::SendOnly),
        Role::Publisher => refuse("sendonly"),
        Role::Viewer if line.direction.receives() => Ok(Direction::RecvOnly),
        Role::Viewer => refuse("recvonly"),
    }
}

fn check_lines(role: Role, lines: &[MediaLine]) -> Result<(), OfferError> {
    let active = || lines.iter().filter(|l| l.direction != Direction::Inactive);
    if let Some(line) = active().find(|l| !l.has_codec) {
        return Err(OfferError::Unacceptable(format!(
            "the {:?} line with mid {:?} offers no codec known here: Opus, VP8, VP9, H264 and AV1 are",
            line.kind, line.mid
        )));
    }
    if role == Role::Member {
        return Ok(());
    }
    let count = |kind| active().filter(|l| l.kind == kind).count();
    let (audio, video) = (count(MediaKind::Audio), count(MediaKind::Video));
    if audio + video == 0 {
        return Err(OfferError::Unacceptable("it has neither audio nor video".into()));
    }
    if audio > 1 || video > 1 {
        return Err(OfferError::Unacceptable(format!(
            "{audio} audio and {video} video lines: one of each at most is taken here"
        )));
    }
    Ok(())
}

/// Leaves the `ufrag` extension out of an answer's candidates (RFC 8839 section 5.1): it repeats `a=ice-ufrag`, and the
/// stack writes one that it drew before it was given its credentials. Leaves out those where the own relay delivers to:
/// they are nothing to send to.
pub(crate) fn candidates_to_tell(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    for line in answer.lines() {
        if line.starts_with("a=candidate:") && line.contains(" tls ") {
            continue;
        }
        let kept = if line.starts_with("a=candidate:") { line.split(" ufrag ").next().unwrap_or(line) } else { line };
        out.push_str(kept);
        out.push_str("\r\n");
    }
    out
}

/// Gives every sending line of an answer the same MediaStream id, so that a player plays them in step.
///
/// A browser synchronises tracks of one stream only (RFC 8830 section 2); a WHEP viewer gets one source, whose audio
/// and video belong together.
pub(crate) fn one_stream(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    for line in answer.lines() {
        match line.find("msid:").map(|at| line.split_at(at + 5)) {
            Some((head, value)) if head.starts_with("a=msid:") || head.starts_with("a=ssrc:") => {
                let track = value.split(' ').nth(1).unwrap_or("-");
                out.push_str(&format!("{head}weir {track}\r\n"));
            }
            _ => {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_offer(text: &str, role: Role) -> Result<ReadOffer, OfferError> {
        super::read_offer(&lines_of(text, role)?, role)
    }

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n\
        a=sendrecv\r\na=rtpmap:111 OPUS/48000/2\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n\
        a=rid:q send\r\na=rid:f send\r\na=simulcast:send q;f\r\n";

    #[test]
    fn candidates_are_stripped_and_sendrecv_is_narrowed_for_whip() {
        let read = read_offer(OFFER, Role::Publisher).expect("a WHIP offer");
        assert!(!read.sdp.contains("candidate"), "{}", read.sdp);
        assert_eq!(read.sdp.matches("a=sendonly").count(), 2, "{}", read.sdp);
        assert!(!read.sdp.contains("a=sendrecv"));
    }

    #[test]
    fn a_bundle_only_line_with_port_0_is_not_rejected() {
        let read = read_offer(OFFER, Role::Publisher).expect("a WHIP offer");
        assert_eq!(read.lines[1].direction, Direction::SendOnly);
        assert_eq!(read.lines[1].rids, ["q", "f"]);
        let without = OFFER.replace("a=bundle-only\r\n", "");
        assert!(matches!(read_offer(&without, Role::Publisher), Err(OfferError::Unacceptable(_))));
    }

    #[test]
    fn opus_without_channels_is_opus_with_two() {
        let read = read_offer(&OFFER.replace("OPUS/48000/2", "OPUS/48000"), Role::Publisher).expect("a WHIP offer");
        assert!(read.sdp.contains("a=rtpmap:111 OPUS/48000/2\r\n"), "{}", read.sdp);
    }

    #[test]
    fn a_whep_offer_that_sends_is_refused() {
        let sending = OFFER.replace("a=sendrecv", "a=sendonly");
        let error = read_offer(&sending, Role::Viewer).expect_err("must be refused");
        assert!(error.to_string().contains("must be recvonly"), "{error}");
    }

    #[test]
    fn a_line_without_a_known_codec_is_refused() {
        let foreign = OFFER.replace("VP8/90000", "H265/90000");
        assert!(matches!(read_offer(&foreign, Role::Publisher), Err(OfferError::Unacceptable(_))));
    }

    #[test]
    fn bounds_hold() {
        let long = format!("{OFFER}a=x:{}\r\n", "y".repeat(MAX_LINE_BYTES));
        assert!(matches!(read_offer(&long, Role::Member), Err(OfferError::TooLarge(_))));
        let big = format!("{OFFER}{}", "a=x\r\n".repeat(MAX_BYTES / 5));
        assert!(matches!(read_offer(&big, Role::Publisher), Err(OfferError::TooLarge(_))));
        assert!(read_offer(&big, Role::Member).is_ok(), "a member may have many slots");
        let bigger = format!("{OFFER}{}", "a=x\r\n".repeat(MAX_MEMBER_BYTES / 5));
        assert!(matches!(read_offer(&bigger, Role::Member), Err(OfferError::TooLarge(_))));
        let many = format!("{OFFER}{}", "m=audio 9 X 1\r\n".repeat(MAX_LINES));
        assert!(matches!(read_offer(&many, Role::Member), Err(OfferError::TooLarge(_))));
        let rids = format!("{OFFER}{}", "a=rid:z send\r\n".repeat(MAX_RIDS));
        assert!(matches!(read_offer(&rids, Role::Publisher), Err(OfferError::TooLarge(_))));
        assert!(matches!(read_offer("nonsense", Role::Member), Err(OfferError::Malformed(_))));
        assert!(matches!(read_offer("v=0\r\n", Role::Member), Err(OfferError::Malformed(_))));
    }

    #[test]
    fn candidates_of_an_answer_carry_no_user_fragment_and_are_not_relayed() {
        let relayed = "a=candidate:2 1 tls 1 127.0.0.1 3478 typ host ufrag abcd\r\n";
        let answer = "v=0\r\na=candidate:1 1 udp 2130706175 127.0.0.1 3478 typ host ufrag abcd\r\na=ice-ufrag:efgh\r\n";
        let answer = &answer.replace("a=ice", &format!("{relayed}a=ice"));
        let want = "v=0\r\na=candidate:1 1 udp 2130706175 127.0.0.1 3478 typ host\r\na=ice-ufrag:efgh\r\n";
        assert_eq!(candidates_to_tell(answer), want);
    }

    #[test]
    fn one_stream_joins_audio_and_video() {
        let answer = "v=0\r\na=msid:A a1\r\na=ssrc:1 msid:A a1\r\na=msid:B b1\r\na=msid-semantic:WMS A B\r\n";
        let joined = one_stream(answer);
        let want = "v=0\r\na=msid:weir a1\r\na=ssrc:1 msid:weir a1\r\na=msid:weir b1\r\na=msid-semantic:WMS A B\r\n";
        assert_eq!(joined, want);
    }
}
