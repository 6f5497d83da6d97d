#!/usr/bin/env python3
"""Makes the encoded frames in this folder: two frames of every codec, a keyframe and what follows it.

Needs PyAV, and aiortc for its H264 packetizer. Each file is a list of RTP payloads, one a line:
    <frame number> <payload in hexadecimal>
Payloads are cut after 96 bytes, since the parsers read heads only; H264's aggregates (STAP-A) are whole.
"""

import fractions
import pathlib

import av
from aiortc.codecs.h264 import H264Encoder

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 322, 182  # not multiples of 16: H264 has to crop


def encode(codec, options):
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base = fractions.Fraction(1, 30)
    context.bit_rate = 200_000
    context.options = options
    frames = []
    for number in range(3):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for index, plane in enumerate(frame.planes):
            plane.update(bytes((number * 40 + index * 60 + i % 7) % 256 for i in range(plane.buffer_size)))
        frame.pts = number
        frames += [bytes(packet) for packet in context.encode(frame)]
    frames += [bytes(packet) for packet in context.encode(None)]
    return frames[:2]


def write(name, frames, whole=lambda payload: False):
    """frames: per frame, its RTP payloads."""
    cut = lambda payload: payload if whole(payload) else payload[:96]
    lines = [f"{n} {cut(payload).hex()}" for n, payloads in enumerate(frames) for payload in payloads]
    (HERE / name).write_text("\n".join(lines) + "\n")


def leb128(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def obus(frame):
    """The OBUs of a temporal unit without their size fields, temporal delimiters left out (AV1 RTP, section 5)."""
    at, found = 0, []
    while at < len(frame):
        header, extension = frame[at], frame[at] >> 2 & 1
        at += 1 + extension
        size, shift = 0, 0
        while True:
            byte = frame[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if header >> 3 & 0xF != 2:
            found.append(bytes([header & ~2]) + frame[at : at + size])
        at += size
    return found


def main():
    vp8 = encode("libvpx", {"deadline": "realtime", "lag-in-frames": "0"})
    # X=1 S=1; I L T K; 15-bit picture id, TL0PICIDX, TID 0 with KEYIDX.
    write("vp8.hex", [[bytes([0x90, 0xF0, 0x80 | n >> 8, n, n, 0x01]) + f] for n, f in enumerate(vp8)])

    vp9 = encode("libvpx-vp9", {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8"})
    # I B E, with P for what follows a keyframe; 15-bit picture id.
    write("vp9.hex", [[bytes([0x8C | (0x40 if n else 0), 0x80, n]) + f] for n, f in enumerate(vp9)])

    h264 = encode("libx264", {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"})
    write("h264.hex", [list(H264Encoder._packetize(H264Encoder._split_bitstream(f))) for f in h264], whole=lambda p: p[0] & 0x1F == 24)

    av1 = encode("libsvtav1", {"preset": "12", "svtav1-params": "pred-struct=1:rc=2:lp=1"})
    units = []
    for number, frame in enumerate(av1):
        elements = obus(frame)
        # One packet, W=0: every element with its length; N for the first of the sequence.
        body = b"".join(leb128(len(e)) + e for e in elements)
        units.append([bytes([0x08 if number == 0 else 0x00]) + body])
    write("av1.hex", units)


main()
