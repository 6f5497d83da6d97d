"""Offers that no server may take, each broken in a way that a specification names. A seed gives the same ones for ever."""

import random
import re

import sdp


def drop(text, prefix):
    return "".join(l for l in text.splitlines(True) if not l.startswith(prefix))


def noise(rng, _):
    return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 2000)))


def letters(rng, _):
    return sdp.token(rng.randrange(1, 2000), rng)


def other_format(rng, _):
    return rng.choice(['{"sdp":"v=0"}', "<sdp/>", "null", "v=0", "m=", "\r\n\r\n", "a=b\r\n" * 50, "\0" * 100])


def head_only(rng, text):
    """No media at all."""
    return text[: text.index("m=")]


def cut_early(rng, text):
    """Ends before the credentials of the first line are there."""
    start = text.index("m=") + 2
    ends = [text.index(name) for name in ("a=ice-ufrag", "a=fingerprint", "a=mid") if name in text]
    return text[: rng.randrange(start, max(start + 1, min(ends)))]


def other_version(rng, text):
    return text.replace("v=0", rng.choice(["v=1", "V=0", "v=", "v:0", "x=0", " v=0"]), 1)


def no_fingerprint(rng, text):
    return drop(text, "a=fingerprint")


def bad_fingerprint(rng, text):
    bad = rng.choice(["sha-256 zz:zz", "sha-256", "", "sha-256 00", "rot13 AA:BB", "sha-256 " + "G" * 95])
    return re.sub(r"a=fingerprint:[^\r\n]*", lambda _: f"a=fingerprint:{bad}", text)


def no_ufrag(rng, text):
    return drop(text, "a=ice-ufrag")


def no_password(rng, text):
    return drop(text, "a=ice-pwd")


def short_credentials(rng, text):
    """RFC 8839, section 5.4: at least 4 and 22 characters."""
    name = rng.choice(["ufrag", "pwd"])
    return re.sub(rf"a=ice-{name}:[^\r\n]*", lambda _: f"a=ice-{name}:{sdp.token(rng.randrange(0, 4), rng)}", text)


def no_codec(rng, text):
    name = rng.choice(["X-NONE", "PCMX", "theora", "9", "€"])
    return re.sub(r"(a=rtpmap:\d+ )[^/\r\n]*", lambda m: m.group(1) + name, text)


def one_way_wrong(rng, text):
    """What a publisher may not offer."""
    direction = rng.choice(["a=recvonly", "a=inactive"])
    return re.sub(r"^a=(sendonly|sendrecv|recvonly|inactive)\r?$", direction + "\r", text, flags=re.M)


def strange_media(rng, text):
    strange = ["m=banana 9 UDP/TLS/RTP/SAVPF 111", "m=audio", "m=audio x y z", "m=audio -1 UDP 0", "m= 9 a b"]
    return re.sub(r"^m=[^\r\n]*", lambda _: rng.choice(strange), text, flags=re.M)


def broken_lines(rng, text):
    """Lines without the `=` that every line has (RFC 8866, section 5)."""
    lines = text.splitlines()
    for _ in range(rng.randrange(1, 6)):
        lines.insert(rng.randrange(1, len(lines)), rng.choice(["garbage", "a:mid:0", "=", "1=1", "%%%", "ä"]))
    return "\r\n".join(lines) + "\r\n"


def same_mids(rng, text):
    """RFC 5888, section 4: an identification tag is unique."""
    return re.sub(r"a=mid:[^\r\n]*", "a=mid:same", text)


def long_line(rng, text):
    at = text.index("m=")
    return text[:at] + "a=x:" + "y" * rng.randrange(200_000, 400_000) + "\r\n" + text[at:]


def too_many_lines(rng, text):
    section = text[text.index("m=") :]
    return text + "".join(section.replace("a=mid:", f"a=mid:x{n}") for n in range(rng.randrange(300, 400)))


FAULTS = [
    noise,
    letters,
    other_format,
    head_only,
    cut_early,
    other_version,
    no_fingerprint,
    bad_fingerprint,
    no_ufrag,
    no_password,
    short_credentials,
    no_codec,
    one_way_wrong,
    strange_media,
    broken_lines,
    same_mids,
    long_line,
    too_many_lines,
]
# Rare, because each of them is hundreds of kilobytes.
RARE = (long_line, too_many_lines)


def generate(seed, offers, count):
    """`count` broken offers as (name of the fault, bytes), from publishers' offers that are whole."""
    rng = random.Random(seed)
    common = [fault for fault in FAULTS if fault not in RARE]
    for number in range(count):
        fault = rng.choice(RARE) if number % 50 == 49 else rng.choice(common)
        body = fault(rng, rng.choice(offers))
        yield fault.__name__, body if isinstance(body, bytes) else body.encode("utf-8", "replace")
