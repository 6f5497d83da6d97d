"""The bodies that schemathesis cannot make by itself: offers and trickled fragments, whole and broken."""

import malformed
import schemathesis
import sdp
from hypothesis import strategies as st

WHOLE = [sdp.offer(), sdp.offer("recvonly"), sdp.offer("sendrecv", setup="passive"), sdp.offer("inactive")]
FRAGMENTS = ["", "a=ice-ufrag:abcd\r\n", sdp.fragment("abcd", "a" * 22), sdp.fragment("abcd", "short")]


@st.composite
def broken(draw):
    rng = draw(st.randoms(use_true_random=False))
    common = [fault for fault in malformed.FAULTS if fault not in malformed.RARE]
    body = draw(st.sampled_from(common))(rng, draw(st.sampled_from(WHOLE)))
    return body if isinstance(body, bytes) else body.encode("utf-8", "replace")


@st.composite
def spliced(draw, texts):
    """Something foreign in the midst."""
    body = draw(st.sampled_from(texts)).encode()
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=40)) + body[at + draw(st.integers(0, 40)) :]


def whole(texts):
    return st.sampled_from([text.encode() for text in texts])


schemathesis.openapi.media_type("application/sdp", whole(WHOLE) | broken() | spliced(WHOLE))
schemathesis.openapi.media_type("application/trickle-ice-sdpfrag", whole(FRAGMENTS) | spliced(FRAGMENTS) | st.binary())
