"""Checks 20 to 24: WHEP, draft-ietf-wish-whep, with its two extensions."""

import json

import sdp
import wire
from conformance import Failed, Skipped, check, expect, expect_status

EVENTS = "urn:ietf:params:whep:ext:core:server-sent-events"
LAYER = "urn:ietf:params:whep:ext:core:layer"
JSON = "application/json"
# The first event of a stream, and what follows a change.
SOON = 8


def whep(server):
    if not server.whep:
        raise Skipped("no --whep endpoint was given")
    return server.whep


def extension(session, rel):
    """URL and parameters of an extension; the check is skipped where the server has none."""
    found = [link for link in wire.links(session.response, session.url) if link[1].get("rel") == rel]
    if not found:
        raise Skipped(f'no Link with rel="{rel}" on 201: extensions are optional')
    return found[0]


def offered_events(params):
    return [name.strip() for name in params.get("events", "").split(",") if name.strip()]


class Events:
    """A stream of server-sent events of a session."""

    def __init__(self, server, session, names):
        self.server = server
        url, _ = extension(session, EVENTS)
        response = server.post(url, json.dumps(names), JSON)
        expect_status(response, 201)
        expect(response.get("location"), "201 without Location")
        self.url = wire.join(url, response.get("location"))
        self.stream = wire.EventStream(self.url, server.authorization())
        expect(self.stream.status == 200, f"GET of the stream: {self.stream.status}")
        expect(self.stream.type.startswith("text/event-stream"), f"the stream is {self.stream.type}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def expect(self, name, seconds=SOON):
        data = self.stream.wait_for(name, seconds)
        expect(data is not None, f"no event {name} in {seconds} s")
        try:
            return json.loads(data)
        except json.JSONDecodeError:
            raise Failed(f"the data of {name} is no JSON: {data!r}") from None


@check("20a", "nothing published: 404, or 409 with Retry-After")
def nothing_there(server):
    response = server.post(whep(server), sdp.offer("recvonly"))
    expect_status(response, 404, 409)
    expect(response.status == 404 or response.get("retry-after"), "409 without Retry-After")
    return str(response.status)


@check("20b", "the answer is sendonly, for recvonly and for sendrecv")
def sends(server):
    whep(server)
    with server.published():
        for direction in ("recvonly", "sendrecv"):
            with server.session(server.whep, sdp.offer(direction)) as session:
                found = {line.direction() for line in sdp.Description(session.answer).media}
                expect(found == {"sendonly"}, f"{direction} was answered {found}")


@check("20c", "an offer that does not receive is refused")
def must_receive(server):
    whep(server)
    with server.published():
        for direction in ("sendonly", "inactive"):
            response = server.post(server.whep, sdp.offer(direction))
            expect(400 <= response.status < 500, f"{direction}: {response}")


@check("20d", "a viewer sees pictures")
def plays(server):
    whep(server)
    with server.published():
        viewer = server.peer(server.whep, publisher=False)
        try:
            expect(viewer.connected(), f"not connected: {viewer.pc.connectionState}")
            expect(viewer.plays(10), f"{viewer.frames['video']} pictures in 15 s")
        finally:
            server.end(viewer)


@check("20e", "a viewer's session has ETag, PATCH and DELETE as in WHIP")
def as_whip(server):
    whep(server)
    with server.published():
        with server.session(server.whep) as session:
            body = sdp.fragment(session.ufrag, session.pwd)
            expect_status(server.patch(session.url, body, session.etag), 204)
            expect_status(server.patch(session.url, body), 428)
            expect_status(server.patch(session.url, body, '"another"'), 412)
            response = server.patch(session.url, sdp.fragment(sdp.token(8), sdp.token(24)), "*")
            expect_status(response, 200)
            expect(response.get("etag") not in ("", session.etag), f"ETag: {response.get('etag')!r}")
            expect_status(server.delete(session.url), 200)
            expect_status(server.delete(session.url), 404)


@check("21", "HEAD is 200, and OPTIONS as in WHIP")
def head(server):
    response = wire.request("HEAD", whep(server), None, server.authorization())
    expect_status(response, 200)
    response = wire.request("OPTIONS", server.whep)
    expect_status(response, 200)
    expect("application/sdp" in response.get("accept-post"), f"Accept-Post: {response.get('accept-post')!r}")


@check("22a", "a stream of events can be made, and says active")
def active(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        _, params = extension(session, EVENTS)
        offered = offered_events(params)
        expect({"active", "inactive"} <= set(offered), f"events={params.get('events')!r}")
        with Events(server, session, ["active", "inactive"]) as events:
            events.expect("active")
        return ", ".join(offered)


@check("22b", "inactive when the publisher goes, active when one comes")
def inactive(server):
    whep(server)
    with server.published():
        response = server.post(server.whep, sdp.offer("recvonly"))
        expect_status(response, 201)
        session = Viewer(wire.join(server.whep, response.get("location")), response)
        events = Events(server, session, ["active", "inactive"])
        events.expect("active")
    with events:
        events.expect("inactive")
        with server.published():
            events.expect("active")
    server.delete(session.url)


class Viewer:
    def __init__(self, url, response):
        self.url, self.response = url, response


@check("22c", "viewercount counts viewers")
def viewercount(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        if "viewercount" not in offered_events(extension(session, EVENTS)[1]):
            raise Skipped("the server has no viewercount")
        with Events(server, session, ["viewercount"]) as events:
            first = events.expect("viewercount").get("viewercount")
            expect(first == 1, f"one viewer, counted {first}")
            with server.session(server.whep):
                second = events.expect("viewercount").get("viewercount")
                expect(second == 2, f"two viewers, counted {second}")


@check("22d", "unknown event names are 400, what is no list of names is 4xx")
def unknown_events(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        url, _ = extension(session, EVENTS)
        expect_status(server.post(url, '["active", "weather"]', JSON), 400)
        for body in ("", "{}", '"active"', "[1]", "nonsense"):
            response = server.post(url, body, JSON)
            # An empty body asks for every event.
            expect(400 <= response.status < 500 or body == "" and response.status == 201, f"{body!r}: {response}")


@check("22e", "only the events asked for come")
def subset(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        with Events(server, session, ["inactive"]) as events:
            event = events.stream.next(2)
            expect(event is None, f"asked for inactive, got {event}")


@check("22f", "a deleted stream, and the streams of a deleted session, are 404")
def stream_ends(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        with Events(server, session, ["active"]) as first:
            expect(200 <= server.delete(first.url).status < 300, "DELETE of a stream")
            expect(server.get(first.url).status == 404, "the stream is still there")
        with Events(server, session, ["active"]) as second:
            second.expect("active")
            server.delete(session.url)
            event = second.stream.next(SOON)
            expect(event is None and second.stream.ended, f"the stream goes on after its session: {event}")
        expect(server.get(second.url).status == 404, "the stream is still there after its session")


@check("22g", "reconnect can be asked for")
def reconnect(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        if "reconnect" not in offered_events(extension(session, EVENTS)[1]):
            raise Skipped("the server has no reconnect")
        with Events(server, session, ["reconnect"]):
            return "when it is sent is for the server to choose, so that it comes is not checked"


def simulcast_published(server):
    """RIDs are known from the offer alone: no media is needed."""
    return server.session(server.whip, sdp.offer(video=sdp.VIDEO + sdp.SIMULCAST))


def layers_of(events, mid):
    data = events.expect("layers")
    expect(isinstance(data, dict) and mid in data, f"no media {mid!r} in {data}")
    return data[mid]["layers"] if isinstance(data[mid], dict) else data[mid]


@check("22h", "layers names the encodings of every video line")
def layers(server):
    whep(server)
    with simulcast_published(server), server.session(server.whep) as session:
        if "layers" not in offered_events(extension(session, EVENTS)[1]):
            raise Skipped("the server has no layers")
        with Events(server, session, ["layers"]) as events:
            found = layers_of(events, "1")
            names = sorted({layer.get("encodingId", layer.get("rid")) for layer in found})
            expect(names == ["f", "h", "q"], f"encodings {names}")


@check("23a", "who offers layer selection offers the layers event")
def layer_link(server):
    whep(server)
    with server.published(), server.session(server.whep) as session:
        extension(session, LAYER)
        offered = offered_events(extension(session, EVENTS)[1])
        expect("layers" in offered, f"events={offered}")


@check("23b", "an encoding can be chosen, and the choice taken back")
def choose(server):
    whep(server)
    with simulcast_published(server), server.session(server.whep) as session:
        url, _ = extension(session, LAYER)
        for choice in (
            {"mediaId": "1", "encodingId": "h"},
            {"encodingId": "q", "temporalLayerId": 0},
            {"mediaId": "1", "spatialLayerId": 0, "temporalLayerId": 1},
            {"mediaId": "1"},
        ):
            response = server.post(url, json.dumps(choice), JSON)
            expect(response.status == 200, f"{choice}: {response}")


@check("23c", "a choice that makes no sense is 4xx")
def bad_choice(server):
    whep(server)
    with simulcast_published(server), server.session(server.whep) as session:
        url, _ = extension(session, LAYER)
        bad = ({"mediaId": "1", "encodingId": "nope"}, {"mediaId": "77", "encodingId": "h"}, {"spatialLayerId": "x"}, [])
        for choice in bad:
            response = server.post(url, json.dumps(choice), JSON)
            expect(400 <= response.status < 500, f"{choice}: {response}")
        expect_status(server.post(url, "{}", "text/plain"), 415)


@check("24", "offers that can be answered are answered, without a counter-offer")
def no_counter_offer(server):
    from whip import recorded

    whep(server)
    offers = list(recorded(server, "whep")) or [("our own", sdp.offer("recvonly"))]
    with server.published():
        for name, text in offers:
            response = server.post(server.whep, text)
            expect(response.status == 201, f"{name}: {response}")
            server.delete(wire.join(server.whep, response.get("location")))
    return f"{len(offers)} offers"
