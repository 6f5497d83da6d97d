#!/usr/bin/python3
"""Publishes a test picture and a tone over WHIP with GStreamer's webrtcbin, until it is told to stop.

Usage: publish_gstreamer.py URL {h264|h264-bframes|vp8}, with a token in WHIP_TOKEN, if any. Prints "connected" when ICE and DTLS are done; exits with 1 when they fail.
"""

import os
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

AUTHORIZATION = {"Authorization": f"Bearer {os.environ['WHIP_TOKEN']}"} if os.environ.get("WHIP_TOKEN") else {}
VIDEO = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=60"
    " ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 aggregate-mode=zero-latency"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=102",
    # As encoders are that were made for files: pictures out of order.
    "h264-bframes": "x264enc speed-preset=ultrafast bframes=2 bitrate=800 key-int-max=60 ! video/x-h264,profile=main"
    " ! rtph264pay config-interval=-1 ! application/x-rtp,media=video,encoding-name=H264,payload=102",
    "vp8": "vp8enc deadline=1 cpu-used=8 target-bitrate=800000 keyframe-max-dist=60 error-resilient=default"
    " ! rtpvp8pay picture-id-mode=15-bit ! application/x-rtp,media=video,encoding-name=VP8,payload=96",
}
PIPELINE = """
webrtcbin name=peer bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! videoconvert ! queue
  ! {video} ! peer.
audiotestsrc is-live=true freq=440 ! audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer.
"""


class Publisher:
    """One WHIP session."""

    def __init__(self, url, codec):
        self.url = url
        self.session = None
        self.failed = False
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(PIPELINE.format(video=VIDEO[codec]))
        self.peer = self.pipeline.get_by_name("peer")
        # libnice binds each socket to the interface of its address, and leaves loopback out: from there no packet would
        # reach a server on loopback. The agent is kept: GStreamer 1.22 hands out a reference that it does not own.
        self.ice = self.peer.get_property("ice-agent")
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        self.peer.connect("on-negotiation-needed", self.on_negotiation_needed)
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        self.peer.connect("notify::connection-state", self.on_connection)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        for name in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_HIGH, name, self.loop.quit)
        self.loop.run()
        if self.session and not self.failed:
            request = urllib.request.Request(self.session, headers=AUTHORIZATION, method="DELETE")
            urllib.request.urlopen(request, timeout=5)
        self.pipeline.set_state(Gst.State.NULL)
        return 1 if self.failed else 0

    def fail(self, why):
        print(f"failed: {why}", file=sys.stderr, flush=True)
        self.failed = True
        self.loop.quit()

    def on_error(self, _bus, message):
        self.fail(message.parse_error())

    def on_negotiation_needed(self, _peer):
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.on_offer))

    def on_offer(self, promise):
        # The reply owns the offer: it has to outlive the call.
        reply = promise.get_reply()
        self.peer.emit("set-local-description", reply.get_value("offer"), None)

    def on_gathering(self, peer, _property):
        if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.offer)

    def offer(self):
        """Posts the offer with all candidates: no trickle."""
        sdp = self.peer.get_property("local-description").sdp.as_text()
        headers = {"Content-Type": "application/sdp", **AUTHORIZATION}
        request = urllib.request.Request(self.url, sdp.encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                self.session = urllib.parse.urljoin(self.url, response.headers["Location"])
                answer = response.read().decode()
        except urllib.error.HTTPError as error:
            self.fail(f"{error} {error.read().decode()}\n{sdp}")
            return False
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", description, None)
        return False

    def on_connection(self, peer, _property):
        state = peer.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            print("connected", flush=True)
        elif state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            GLib.idle_add(self.fail, "the connection failed")


if __name__ == "__main__":
    Gst.init(None)
    sys.exit(Publisher(sys.argv[1], sys.argv[2]).run())
