"""Offers to send, and what the checks read in answers."""

import random
import re
import string

ICE = string.ascii_letters + string.digits


def token(length, rng=random):
    return "".join(rng.choice(ICE) for _ in range(length))


def fingerprint(rng=random):
    return ":".join(f"{rng.randrange(256):02X}" for _ in range(32))


AUDIO = ["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"]
VIDEO = [
    "a=rtpmap:96 VP8/90000",
    "a=rtcp-fb:96 nack",
    "a=rtcp-fb:96 nack pli",
    "a=rtcp-fb:96 ccm fir",
    "a=rtpmap:102 H264/90000",
    "a=rtcp-fb:102 nack pli",
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
]
SIMULCAST = ["a=rid:q send", "a=rid:h send", "a=rid:f send", "a=simulcast:send q;h;f"]
EXTENSIONS = [
    "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
]


def line(kind, mid, attributes, direction, setup, creds, port=9):
    formats = " ".join(re.findall(r"^a=rtpmap:(\d+)", "\n".join(attributes), re.M))
    return [
        f"m={kind} {port} UDP/TLS/RTP/SAVPF {formats}",
        "c=IN IP4 0.0.0.0",
        *creds,
        f"a=setup:{setup}",
        f"a=mid:{mid}",
        *EXTENSIONS,
        f"a={direction}",
        "a=rtcp-mux",
        *attributes,
    ]


def offer(direction="sendonly", setup="actpass", video=VIDEO, audio=AUDIO, bundle_only=False, videos=1, candidates=()):
    """An offer of one Opus line and `videos` video lines, with credentials of its own."""
    creds = [
        f"a=ice-ufrag:{token(8)}",
        f"a=ice-pwd:{token(24)}",
        f"a=fingerprint:sha-256 {fingerprint()}",
    ]
    mids = [str(n) for n in range(1 + videos)]
    lines = ["v=0", f"o=- {random.getrandbits(62)} 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines += [f"a=group:BUNDLE {' '.join(mids)}", *line("audio", 0, audio, direction, setup, creds)]
    lines += [f"a=candidate:{c}" for c in candidates]
    for mid in mids[1:]:
        lines += line("video", mid, video, direction, setup, creds, 0 if bundle_only else 9)
        lines += ["a=bundle-only"] if bundle_only else []
    return "\r\n".join(lines) + "\r\n"


class Media:
    """One `m=` section."""

    def __init__(self, head):
        words = head[2:].split()
        self.kind, self.port, self.attributes = words[0], words[1] if len(words) > 1 else "", []

    def values(self, name):
        return [a[len(name) + 1 :] for a in self.attributes if a.startswith(name + ":")]

    def value(self, name):
        return next(iter(self.values(name)), None)

    def direction(self):
        found = [a for a in self.attributes if a in ("sendrecv", "sendonly", "recvonly", "inactive")]
        return found[0] if found else "sendrecv"


class Description:
    """An SDP: the attributes before the first `m=`, and its sections."""

    def __init__(self, text):
        self.attributes, self.media = [], []
        for entry in text.splitlines():
            if entry.startswith("m="):
                self.media.append(Media(entry))
            elif entry.startswith("a="):
                (self.media[-1].attributes if self.media else self.attributes).append(entry[2:])

    def value(self, media, name):
        """Of the section, else of the session."""
        session = [a[len(name) + 1 :] for a in self.attributes if a.startswith(name + ":")]
        return media.value(name) or next(iter(session), None)


def without_candidates(text):
    return "".join(l for l in text.splitlines(True) if not l.startswith(("a=candidate:", "a=end-of-candidates")))


def fragment(ufrag, pwd, candidates=(), mid="0"):
    """A body of application/trickle-ice-sdpfrag (RFC 8840, section 9)."""
    lines = ["a=group:BUNDLE 0 1", "m=audio 9 UDP/TLS/RTP/SAVPF 111", f"a=mid:{mid}"]
    lines += [f"a=ice-ufrag:{ufrag}"] if ufrag else []
    lines += [f"a=ice-pwd:{pwd}"] if pwd else []
    lines += [f"a=candidate:{c}" for c in candidates] + ["a=end-of-candidates"]
    return "\r\n".join(lines) + "\r\n"


def credentials(text):
    """The first user fragment and password in an SDP or a fragment."""
    found = [re.search(rf"^a=ice-{name}:(\S+)", text, re.M) for name in ("ufrag", "pwd")]
    return tuple(match.group(1) if match else None for match in found)
