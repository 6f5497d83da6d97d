"""Publishes over WHIP, or plays over WHEP, with aiortc.

Usage: aiortc_client.py publish URL | play URL, with a token in WHIP_TOKEN, if any

`publish` sends VP8 and Opus until it is told to stop; prints "connected". `play` prints how many frames and how many
pieces of sound it has decoded, once a second: "frames=N sound=N".
"""

import asyncio
import fractions
import math
import os
import signal
import struct
import sys
import urllib.parse

import aiohttp
import av
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

AUTHORIZATION = {"Authorization": f"Bearer {os.environ['WHIP_TOKEN']}"} if os.environ.get("WHIP_TOKEN") else {}
SDP = {"Content-Type": "application/sdp", **AUTHORIZATION}


class Picture(VideoStreamTrack):
    """Grey stripes that move: a picture that a codec has work with."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        step = pts // 3000 * 4
        row = bytes((x + step) % 256 for x in range(640))
        frame = av.VideoFrame(640, 360, "yuv420p")
        frame.planes[0].update(row * 360)
        for plane in frame.planes[1:]:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """440 Hz, not too loud."""

    async def recv(self):
        frame = await super().recv()
        samples = frame.samples
        start = frame.pts
        wave = (int(4000 * math.sin(2 * math.pi * 440 * (start + n) / frame.sample_rate)) for n in range(samples))
        frame.planes[0].update(struct.pack(f"<{samples}h", *wave))
        frame.time_base = fractions.Fraction(1, frame.sample_rate)
        return frame


async def negotiate(pc, url):
    """Offers, and gives the session's URL."""
    await pc.setLocalDescription(await pc.createOffer())
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.post(url, data=pc.localDescription.sdp, headers=SDP) as response:
                body = await response.text()
                # Nobody publishes there yet.
                if response.status in (404, 409) and "/whep/" in url:
                    await asyncio.sleep(0.25)
                    continue
                if response.status != 201:
                    raise SystemExit(f"{response.status} {body}\n{pc.localDescription.sdp}")
                location = response.headers["Location"]
                break
    await pc.setRemoteDescription(RTCSessionDescription(body, "answer"))
    return urllib.parse.urljoin(url, location)


async def count(track, counts):
    try:
        while True:
            await track.recv()
            counts[track.kind] += 1
    except MediaStreamError:
        return


async def main(what, url):
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    pc = RTCPeerConnection()
    counts = {"audio": 0, "video": 0}
    tasks = []

    @pc.on("connectionstatechange")
    def on_state():
        print(pc.connectionState, flush=True)
        if pc.connectionState == "failed":
            stop.set()

    if what == "publish":
        pc.addTransceiver(Tone(), direction="sendonly")
        video = pc.addTransceiver(Picture(), direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([c for c in codecs if c.mimeType in ("video/VP8", "video/rtx")])
    else:
        pc.on("track", lambda track: tasks.append(asyncio.ensure_future(count(track, counts))))
        pc.addTransceiver("audio", direction="recvonly")
        pc.addTransceiver("video", direction="recvonly")
    session = await negotiate(pc, url)
    while not stop.is_set():
        if what == "play":
            print(f"frames={counts['video']} sound={counts['audio']}", flush=True)
        try:
            await asyncio.wait_for(stop.wait(), 1)
        except asyncio.TimeoutError:
            pass
    failed = pc.connectionState == "failed"
    async with aiohttp.ClientSession() as http:
        await http.delete(session, headers=AUTHORIZATION)
    await pc.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
