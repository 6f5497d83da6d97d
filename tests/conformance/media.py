"""Clients that really connect, with aiortc. Without it the checks that need media are skipped."""

import asyncio
import datetime
import threading

try:
    import av
    from aiortc import RTCCertificate, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
    from aiortc.mediastreams import AudioStreamTrack, MediaStreamError
    from aiortc.rtcdtlstransport import SSL
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa

    MISSING = None
except ImportError as error:
    MISSING = f"aiortc is not installed ({error})"

import sdp
import wire

if not MISSING:

    class Picture(VideoStreamTrack):
        """Small grey stripes that move."""

        async def recv(self):
            pts, time_base = await self.next_timestamp()
            row = bytes((x + pts // 3000 * 4) % 256 for x in range(320))
            frame = av.VideoFrame(320, 180, "yuv420p")
            frame.planes[0].update(row * 180)
            for plane in frame.planes[1:]:
                plane.update(bytes([128]) * plane.buffer_size)
            frame.pts, frame.time_base = pts, time_base
            return frame

    class RsaCertificate(RTCCertificate):
        """A certificate with an RSA key, as GStreamer makes them."""

        def _create_ssl_context(self, srtp_profiles):
            context = SSL.Context(SSL.DTLS_METHOD)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
            context.use_certificate(self._cert)
            context.use_privatekey(self._key)
            context.set_cipher_list(
                b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                b"ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA"
            )
            context.set_tlsext_use_srtp(b":".join(p.openssl_profile for p in srtp_profiles))
            # OpenSSL takes the path for 256 bytes wide otherwise, and cuts the larger certificate into a dozen records.
            context.set_options(SSL.OP_NO_QUERY_MTU)
            context.set_info_callback(lambda connection, *_: connection.set_ciphertext_mtu(1200))
            return context

    def rsa_certificate():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "conformance")])
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        built = built.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
        return RsaCertificate(key=key, cert=built.sign(key, hashes.SHA256()))


class Loop:
    """An event loop in a thread of its own: aiortc wants one, the checks do not."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine, seconds=30):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)


LOOP = Loop()


class Peer:
    """One client. `publisher` sends Opus and VP8; else it receives one of each."""

    def __init__(self, publisher, setup="actpass", candidates=True, rsa=False):
        self.setup, self.candidates, self.session = setup, candidates, None
        self.frames = {"audio": 0, "video": 0}
        LOOP.run(self._build(publisher, rsa))

    async def _build(self, publisher, rsa):
        self.pc = RTCPeerConnection()
        if rsa:
            self.pc._RTCPeerConnection__certificates = [rsa_certificate()]
        if publisher:
            self.pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
            video = self.pc.addTransceiver(Picture(), direction="sendonly")
            codecs = RTCRtpSender.getCapabilities("video").codecs
            video.setCodecPreferences([c for c in codecs if c.mimeType in ("video/VP8", "video/rtx")])
        else:
            self.pc.on("track", lambda track: asyncio.ensure_future(self._count(track)))
            self.pc.addTransceiver("audio", direction="recvonly")
            self.pc.addTransceiver("video", direction="recvonly")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        text = self.pc.localDescription.sdp.replace("a=setup:actpass", f"a=setup:{self.setup}")
        self.offer = text if self.candidates else sdp.without_candidates(text)

    async def _count(self, track):
        try:
            while True:
                await track.recv()
                self.frames[track.kind] += 1
        except MediaStreamError:
            return

    def post(self, url, headers):
        """Sends the offer and takes the answer; gives the HTTP response."""
        response = wire.request("POST", url, self.offer, {"content-type": "application/sdp", **headers})
        if response.status == 201:
            self.session = wire.join(url, response.get("location"))
            self.etag, self.answer = response.get("etag"), response.text()
            LOOP.run(self.pc.setRemoteDescription(RTCSessionDescription(self.answer, "answer")))
        return response

    def until(self, condition, seconds):
        """Waits until the condition holds; false if it does not in time."""

        async def wait():
            deadline = asyncio.get_running_loop().time() + seconds
            while not condition():
                if asyncio.get_running_loop().time() > deadline:
                    return False
                await asyncio.sleep(0.02)
            return True

        return LOOP.run(wait(), seconds + 10)

    def connected(self, seconds=10):
        return self.until(lambda: self.pc.connectionState == "connected", seconds)

    def plays(self, more=1, seconds=15):
        """True when that many more pictures were decoded."""
        goal = self.frames["video"] + more
        return self.until(lambda: self.frames["video"] >= goal, seconds)

    def close(self):
        LOOP.run(self.pc.close())
