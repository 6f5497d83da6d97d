#!/usr/bin/env python3
"""Checks a WHIP server (RFC 9725) and a WHEP server (draft-ietf-wish-whep) from outside. See README.md.

Exit code: 0 when no check failed, 1 when one did, 2 when the server cannot be reached.
"""

import argparse
import contextlib
import pathlib
import sys
import time
import traceback

import media
import sdp
import wire

SDP, TRICKLE = "application/sdp", "application/trickle-ice-sdpfrag"
CHECKS = []


class Failed(Exception):
    """The server does what it must not."""


class Skipped(Exception):
    """The check does not apply, or needs what was not given."""


def check(number, title):
    def register(function):
        CHECKS.append((number, title, function))
        return function

    return register


def expect(condition, message):
    if not condition:
        raise Failed(message)


def expect_status(response, *wanted):
    expect(response.status in wanted, f"expected {' or '.join(map(str, wanted))}, got {response}")


class Server:
    """What is tested, and how to speak to it."""

    def __init__(self, options):
        self.options = options
        self.whip, self.whep = options.whip, options.whep

    def authorization(self):
        return {"authorization": f"Bearer {self.options.token}"} if self.options.token else {}

    def post(self, url, body, content_type=SDP, **headers):
        headers = {**self.authorization(), **({"content-type": content_type} if content_type else {}), **headers}
        return wire.request("POST", url, body, headers)

    def patch(self, session, body, if_match=None, content_type=TRICKLE):
        headers = {**self.authorization(), "content-type": content_type}
        return wire.request("PATCH", session, body, {**headers, **({"if-match": if_match} if if_match else {})})

    def delete(self, session, **headers):
        return wire.request("DELETE", session, None, {**self.authorization(), **headers})

    def get(self, url):
        return wire.request("GET", url, None, self.authorization())

    @contextlib.contextmanager
    def session(self, url=None, offer=None):
        """A session without media, ended afterwards."""
        url = url or self.whip
        offer = offer or sdp.offer("sendonly" if url == self.whip else "recvonly")
        response = self.post(url, offer)
        expect_status(response, 201)
        expect(response.get("location"), "201 without Location")
        session = Session(wire.join(url, response.get("location")), offer, response)
        try:
            yield session
        finally:
            self.delete(session.url)

    @contextlib.contextmanager
    def published(self):
        """Somebody publishes: with media where aiortc is there, else as far as HTTP goes."""
        if media.MISSING:
            with self.session() as session:
                yield session
            return
        peer = self.peer(self.whip, publisher=True)
        try:
            expect(peer.connected(), f"the publisher did not connect: {peer.pc.connectionState}")
            yield peer
        finally:
            self.end(peer)

    def peer(self, url, **how):
        """A client with media; the check is skipped where there is none to be had."""
        if media.MISSING:
            raise Skipped(media.MISSING)
        peer = media.Peer(**how)
        response = peer.post(url, self.authorization())
        deadline = time.monotonic() + 5
        # The publisher's first packets may still be on their way.
        while response.status in (404, 409) and url == self.whep and time.monotonic() < deadline:
            time.sleep(0.2)
            response = peer.post(url, self.authorization())
        if response.status != 201:
            peer.close()
        expect_status(response, 201)
        return peer

    def end(self, peer):
        peer.close()
        self.delete(peer.session)


class Session:
    """A session made by an offer without media behind it."""

    def __init__(self, url, offer, response):
        self.url, self.offer, self.response = url, offer, response
        self.etag, self.answer = response.get("etag"), response.text()
        self.ufrag, self.pwd = sdp.credentials(offer)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--whip", required=True, metavar="URL", help="an endpoint to publish to; nobody else may use it meanwhile")
    add("--whep", metavar="URL", help="the endpoint that plays what is published there")
    add("--token", help="a bearer token that may publish and play; with it, requests without are checked too")
    add("--ungranted-token", metavar="TOKEN", help="a valid token that may neither publish nor play there")
    add("--limited", metavar="URL", help="a WHIP endpoint with a rate limit below 500 requests at once")
    add("--full", metavar="URL", help="a WHIP endpoint that is full after at most 20 sessions, and says so")
    add("--redirecting", metavar="URL", help="a WHIP endpoint that sends clients elsewhere, after at most 20 sessions")
    add("--offers", type=pathlib.Path, metavar="DIR", help="recorded offers (*.sdp) of real clients")
    add("--malformed", type=int, default=1000, metavar="N", help="how many broken offers to send (default 1000)")
    add("--max-p99-ms", type=float, metavar="MS", help="fail when the 99th percentile of their answers is slower")
    add("--only", metavar="NUMBER", help="only the checks whose number begins so")
    return parser.parse_args()


def run(server, only):
    counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    for number, title, function in CHECKS:
        if only and not number.startswith(only):
            continue
        started = time.monotonic()
        try:
            result, said = "PASS", function(server)
        except Failed as failure:
            result, said = "FAIL", str(failure)
        except Skipped as reason:
            result, said = "SKIP", str(reason)
        except Exception:
            result, said = "FAIL", "the check broke off: " + traceback.format_exc(limit=-3)
        counts[result] += 1
        took = time.monotonic() - started
        print(f"{result} {number:4} {title}" + (f": {said}" if said else "") + f" ({took:.1f} s)", flush=True)
    print(f"# pass {counts['PASS']}\n# fail {counts['FAIL']}\n# skipped {counts['SKIP']}")
    return 1 if counts["FAIL"] else 0


def main():
    # The checks register themselves where they are imported, in order.
    sys.modules["conformance"] = sys.modules["__main__"]
    import whip  # noqa: F401
    import whep  # noqa: F401

    options = arguments()
    try:
        wire.request("OPTIONS", options.whip)
    except OSError as error:
        print(f"{options.whip} cannot be reached: {error}", file=sys.stderr)
        return 2
    return run(Server(options), options.only)


if __name__ == "__main__":
    sys.exit(main())
