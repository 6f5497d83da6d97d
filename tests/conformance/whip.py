"""Checks 1 to 19: WHIP, RFC 9725."""

import pathlib
import re
import statistics
import time

import malformed
import sdp
import wire
from conformance import SDP, TRICKLE, Failed, Skipped, check, expect, expect_status

UNUSABLE = (
    "1 1 udp 2122260223 6ba7b810-9dad-11d1-80b4-00c04fd430c8.local 50000 typ host",
    "2 1 udp 2122260222 a-name-that-nobody-has.invalid 50001 typ host",
    "3 1 quic 2122260221 192.0.2.1 50002 typ host",
    "4 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
    "5 1 udp 1 2001:db8::1 50003 typ prflx raddr :: rport 9",
)


def description(response):
    found = sdp.Description(response.text())
    expect(found.media, f"the answer has no m= line: {response.text()[:200]!r}")
    return found


# 1: creating a session


@check("1a", "POST of an offer is answered 201 with an answer and a Location")
def created(server):
    with server.session() as session:
        kind = session.response.media_type()
        expect(kind == SDP, f"the answer is {kind or 'of no type'}, not {SDP}")
        description(session.response)


@check("1b", "parameters of the content type do not matter")
def parameters(server):
    for kind in ("application/sdp; charset=utf-8", "Application/SDP"):
        response = server.post(server.whip, sdp.offer(), kind)
        expect(response.status == 201, f"{kind}: {response}")
        server.delete(wire.join(server.whip, response.get("location")))


@check("1c", "the session's URL cannot be guessed")
def unguessable(server):
    urls = []
    for _ in range(4):
        with server.session() as session:
            urls.append(session.url)
    expect(len(set(urls)) == len(urls), f"one URL for several sessions: {urls[0]}")
    same = next(n for n in range(len(urls[0])) if len({u[: n + 1] for u in urls}) > 1)
    tails = [re.sub(r"[^0-9A-Za-z]", "", url[same:]) for url in urls]
    # 16 characters of base64 are 96 bits; of hexadecimal digits, 64.
    expect(min(map(len, tails)) >= 16, f"only {min(map(len, tails))} characters differ: {tails}")
    expect(not all(t.isdigit() for t in tails), f"the URLs count up: {tails}")
    return f"{min(map(len, tails))} characters differ"


# 2: what is refused


@check("2a", "another content type is 415")
def content_types(server):
    for kind in ("text/plain", "application/json", "application/sdpx", TRICKLE, None):
        response = server.post(server.whip, sdp.offer(), kind)
        expect(response.status == 415, f"{kind}: {response}")


@check("2b", "what is no SDP is 400")
def no_sdp(server):
    for body in ("", "hello", "v=0\r\n", '{"sdp": "v=0"}', "v=0\r\nm=audio\r\nnonsense\r\n", b"\xff\xfe\x00v=0"):
        response = server.post(server.whip, body)
        expect(response.status == 400, f"{body!r}: {response}")


@check("2c", "an offer that is too large is 413")
def too_large(server):
    body = sdp.offer() + "a=x:" + "y" * 60 + "\r\n"
    body += "a=x\r\n" * 400_000
    try:
        expect_status(server.post(server.whip, body), 413)
    except (BrokenPipeError, ConnectionError):
        raise Failed("the connection was cut before an answer could be read") from None


@check("2d", "generated malformed offers are all 4xx, and answered soon")
def many_malformed(server):
    seeds = pathlib.Path(__file__).with_name("seeds.txt").read_text().split()
    offers = [sdp.offer(), sdp.offer(video=sdp.VIDEO + sdp.SIMULCAST)] + [text for _, text in recorded(server, "whip")]
    times, codes = [], {}
    for seed in seeds:
        for fault, body in malformed.generate(int(seed), offers, server.options.malformed // len(seeds)):
            response = server.post(server.whip, body)
            where = f"seed {seed}, {fault}"
            if response.status == 201:
                server.delete(wire.join(server.whip, response.get("location")))
            expect(400 <= response.status < 500, f"{where}: {response} to {body[:2000]!r}")
            expect(response.status != 429, f"{where}: 429; the rate limit must be off for this check")
            times.append(response.seconds * 1000)
            codes[response.status] = codes.get(response.status, 0) + 1
    if len(times) < 2:
        raise Skipped("--malformed is too small to say anything")
    p99 = statistics.quantiles(times, n=100)[98]
    said = f"{len(times)} offers, p50 {statistics.median(times):.1f} ms, p99 {p99:.1f} ms, {max(times):.1f} ms at most"
    said += ", " + ", ".join(f"{n} x {code}" for code, n in sorted(codes.items()))
    limit = server.options.max_p99_ms
    expect(limit is None or p99 <= limit, f"slower than {limit} ms: {said}")
    return said


# 3 to 7: the answer


@check("3a", "the answer to a sending offer is recvonly; sendrecv is taken")
def receives(server):
    for direction in ("sendonly", "sendrecv"):
        with server.session(offer=sdp.offer(direction)) as session:
            found = [line.direction() for line in description(session.response).media]
            expect(set(found) == {"recvonly"}, f"{direction} was answered {found}")


@check("3b", "an offer that does not send is refused")
def must_send(server):
    for direction in ("recvonly", "inactive"):
        response = server.post(server.whip, sdp.offer(direction))
        expect(400 <= response.status < 500, f"{direction}: {response}")


@check("4a", "the answer bundles everything, with rtcp-mux")
def bundled(server):
    with server.session() as session:
        answer = description(session.response)
        groups = [a.split()[1:] for a in answer.attributes if a.startswith("group:BUNDLE")]
        mids = [line.value("mid") for line in answer.media]
        expect(groups == [mids], f"lines {mids}, bundled {groups}")
        for line in answer.media:
            expect("rtcp-mux" in line.attributes, f"no rtcp-mux on mid {line.value('mid')}")


@check("4b", "a bundle-only line with port 0 is taken")
def bundle_only(server):
    with server.session(offer=sdp.offer(bundle_only=True)) as session:
        answer = description(session.response)
        groups = " ".join(a for a in answer.attributes if a.startswith("group:BUNDLE")).split()
        for line in answer.media:
            expect(line.value("mid") in groups, f"mid {line.value('mid')} is not in the bundle: rejected")
            expect(line.port != "0" or "bundle-only" in line.attributes, f"mid {line.value('mid')} is rejected")


@check("5a", "an offer of foreign codecs only is 422")
def foreign_codecs(server):
    foreign = ["a=rtpmap:96 X-NONE/90000"]
    expect_status(server.post(server.whip, sdp.offer(video=foreign, audio=["a=rtpmap:111 X-NONE/48000"])), 422)


@check("5b", "no line is rejected alone: one foreign codec, or too many lines, is 422 for the whole offer")
def no_partial(server):
    response = server.post(server.whip, sdp.offer(video=["a=rtpmap:96 X-NONE/90000"]))
    expect(response.status == 422, f"a line with a foreign codec: {response}")
    response = server.post(server.whip, sdp.offer(videos=3))
    if response.status == 201:
        server.delete(wire.join(server.whip, response.get("location")))
        rejected = [line.value("mid") for line in description(response).media if line.port == "0"]
        expect(not rejected, f"lines {rejected} of three video lines were rejected alone")
        return "three video lines are taken"
    expect(response.status == 422, f"three video lines: {response}")


@check("6a", "active, passive and actpass offers are answered by the other role")
def setups(server):
    for setup, wanted in (("active", ["passive"]), ("passive", ["active"]), ("actpass", ["passive", "active"])):
        with server.session(offer=sdp.offer(setup=setup)) as session:
            answer = description(session.response)
            found = {answer.value(line, "setup") for line in answer.media}
            expect(len(found) == 1 and found <= set(wanted), f"{setup} was answered {found}")


def connects(server, **how):
    peer = server.peer(server.whip, publisher=True, **how)
    try:
        expect(peer.connected(), f"not connected after 10 s: {peer.pc.connectionState}")
    finally:
        server.end(peer)


for letter, setup in zip("bcd", ("actpass", "active", "passive")):
    check(f"6{letter}", f"setup:{setup} connects")(lambda server, setup=setup: connects(server, setup=setup))
check("6e", "a peer with an RSA certificate connects as DTLS client")(
    lambda server: connects(server, rsa=True, setup="active")
)
check("6f", "a peer with an RSA certificate connects as DTLS server")(
    lambda server: connects(server, rsa=True, setup="passive")
)


@check("7", "the answer holds candidates, and PATCH brings no more")
def all_candidates(server):
    with server.session() as session:
        answer = description(session.response)
        found = [c for line in answer.media for c in line.values("candidate")]
        expect(found, "no a=candidate in the answer")
        response = server.patch(session.url, sdp.fragment(session.ufrag, session.pwd), session.etag)
        expect(not response.body, f"PATCH brought {response}")
        return f"{len(found)} candidates"


# 8: GET, HEAD, OPTIONS, CORS


@check("8a", "GET on endpoint and session is 2xx and empty")
def empty_get(server):
    with server.session() as session:
        for url in (server.whip, session.url):
            response = server.get(url)
            expect(200 <= response.status < 300 and not response.body, f"GET {url}: {response}")


def words(value):
    return {word.strip().lower() for word in value.split(",")}


@check("8b", "a preflight needs no authorization, and says Accept-Post and what pages may send")
def preflight(server):
    asked = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    response = wire.request("OPTIONS", server.whip, None, asked)
    expect_status(response, 200)
    expect(SDP in words(response.get("accept-post")), f"Accept-Post: {response.get('accept-post')!r}")
    expect(response.get("access-control-allow-origin") in ("*", "https://page.example"), "pages are not allowed")
    methods = words(response.get("access-control-allow-methods"))
    expect("post" in methods or "*" in methods, f"Access-Control-Allow-Methods: {methods}")
    allowed = words(response.get("access-control-allow-headers"))
    # A wildcard does not cover Authorization (Fetch, section 3.3.3).
    expect("authorization" in allowed, f"Access-Control-Allow-Headers: {allowed}")
    expect("content-type" in allowed or "*" in allowed, f"Access-Control-Allow-Headers: {allowed}")


@check("8c", "pages may PATCH and DELETE a session, with If-Match")
def session_preflight(server):
    with server.session() as session:
        asked = {"origin": "https://page.example", "access-control-request-method": "PATCH"}
        response = wire.request("OPTIONS", session.url, None, asked)
        expect(200 <= response.status < 300, str(response))
        methods = words(response.get("access-control-allow-methods"))
        expect({"patch", "delete"} <= methods or "*" in methods, f"Access-Control-Allow-Methods: {methods}")
        allowed = words(response.get("access-control-allow-headers"))
        expect("authorization" in allowed, f"Access-Control-Allow-Headers: {allowed}")
        expect("if-match" in allowed or "*" in allowed, f"Access-Control-Allow-Headers: {allowed}")


@check("8d", "pages may read Location, ETag and Link")
def exposed(server):
    response = server.post(server.whip, sdp.offer(), origin="https://page.example")
    expect_status(response, 201)
    server.delete(wire.join(server.whip, response.get("location")))
    expect(response.get("access-control-allow-origin") in ("*", "https://page.example"), "pages are not allowed")
    names = words(response.get("access-control-expose-headers"))
    expect({"location", "etag", "link"} <= names or "*" in names, f"Access-Control-Expose-Headers: {names}")


# 9 to 12: PATCH


@check("9", "201 carries a strong, quoted ETag, another for every session")
def etag(server):
    tags = set()
    for _ in range(2):
        with server.session() as session:
            expect(re.fullmatch(r'"[\x21\x23-\x7e\x80-\xff]+"', session.etag), f"ETag: {session.etag!r}")
            tags.add(session.etag)
    expect(len(tags) == 2, f"two sessions have the ETag {tags}")


@check("10a", "PATCH of another content type is 415")
def patch_type(server):
    with server.session() as session:
        for kind in (SDP, "text/plain"):
            body = sdp.fragment(session.ufrag, session.pwd)
            expect_status(server.patch(session.url, body, session.etag, kind), 415)


@check("10b", "PATCH with the ETag is 204, without a body and without an ETag")
def trickle(server):
    with server.session() as session:
        candidate = "1 1 udp 2122260223 192.0.2.1 50000 typ host"
        response = server.patch(session.url, sdp.fragment(session.ufrag, session.pwd, [candidate]), session.etag)
        expect_status(response, 204)
        expect(not response.body, f"a body: {response.text()!r}")
        expect(not response.all("etag"), f"ETag: {response.get('etag')}")


@check("10c", "PATCH without If-Match is 428")
def no_condition(server):
    with server.session() as session:
        expect_status(server.patch(session.url, sdp.fragment(session.ufrag, session.pwd)), 428)


@check("10d", "PATCH with another ETag, or a weak one, is 412")
def stale(server):
    with server.session() as session:
        for tag in ('"another"', "W/" + session.etag):
            response = server.patch(session.url, sdp.fragment(session.ufrag, session.pwd), tag)
            expect(response.status == 412, f"{tag}: {response}")


@check("10e", "one of several ETags is enough")
def list_of_tags(server):
    with server.session() as session:
        body = sdp.fragment(session.ufrag, session.pwd)
        expect_status(server.patch(session.url, body, f'"another, one", {session.etag}'), 204)


@check("10f", "a malformed fragment is 4xx")
def bad_fragment(server):
    with server.session() as session:
        for body in ("hello", '{"candidate": ""}', "a=ice-ufrag:\r\n", b"\xff\xfe"):
            response = server.patch(session.url, body, session.etag)
            expect(400 <= response.status < 500, f"{body!r}: {response}")


def restart(server, session, if_match):
    ufrag, pwd = sdp.token(8), sdp.token(24)
    response = server.patch(session.url, sdp.fragment(ufrag, pwd), if_match)
    expect(response.status == 200, f"If-Match: {if_match}: {response}")
    expect(response.media_type() == TRICKLE, f"the answer is {response.media_type()!r}")
    new = sdp.credentials(response.text())
    expect(all(new), f"no credentials in {response.text()!r}")
    old = sdp.credentials(session.answer)
    expect(new[0] != old[0] and new[1] != old[1], "the credentials are the old ones")
    tag = response.get("etag")
    expect(re.fullmatch(r'"[^"]+"', tag) and tag != session.etag, f"ETag: {tag!r}, before: {session.etag}")
    after = server.patch(session.url, sdp.fragment(ufrag, pwd), session.etag)
    expect(after.status == 412, f"the old ETag after the restart: {after}")
    after = server.patch(session.url, sdp.fragment(ufrag, pwd), tag)
    expect(after.status == 204, f"the new ETag after the restart: {after}")


@check("11a", "If-Match: * restarts ICE: new credentials, new ETag")
def restart_star(server):
    with server.session() as session:
        restart(server, session, "*")


@check("11b", 'so does If-Match: "*", as the examples of RFC 9725 have it')
def restart_quoted(server):
    with server.session() as session:
        restart(server, session, '"*"')


@check("11c", "new credentials with the current ETag restart ICE too")
def restart_tag(server):
    with server.session() as session:
        restart(server, session, session.etag)


@check("11d", "a restart that fails leaves the session as it was")
def failed_restart(server):
    with server.session() as session:
        for body in (sdp.fragment(None, None), sdp.fragment("abcdefgh", None), sdp.fragment("a", "b"), "hello"):
            response = server.patch(session.url, body, "*")
            expect(400 <= response.status < 500, f"{body!r}: {response}")
        response = server.patch(session.url, sdp.fragment(session.ufrag, session.pwd), session.etag)
        expect(response.status == 204, f"the session afterwards: {response}")


@check("12", "candidates that cannot be used are skipped, and no name is looked up")
def unusable(server):
    started = time.monotonic()
    with server.session(offer=sdp.offer(candidates=UNUSABLE)) as session:
        body = sdp.fragment(session.ufrag, session.pwd, UNUSABLE)
        expect_status(server.patch(session.url, body, session.etag), 204)
    took = time.monotonic() - started
    expect(took < 2, f"it took {took:.1f} s: are names looked up?")


# 13 to 16: the end, other servers, tokens


@check("13a", "DELETE is 200 whatever If-Match says, and final")
def deleted(server):
    with server.session() as session:
        expect_status(server.delete(session.url, **{"if-match": '"stale"'}), 200)
        expect(server.delete(session.url).status == 404, "a second DELETE is not 404")
        expect(server.get(session.url).status == 404, "GET afterwards is not 404")
        response = server.patch(session.url, sdp.fragment(session.ufrag, session.pwd), session.etag)
        expect(response.status == 404, f"PATCH afterwards: {response}")


@check("13b", "DELETE closes the connection at once")
def closes(server):
    peer = server.peer(server.whip, publisher=True)
    try:
        expect(peer.connected(), "not connected")
        expect_status(server.delete(peer.session), 200)
        closed = peer.until(lambda: peer.pc.connectionState in ("closed", "failed"), 3)
        expect(closed, f"three seconds later the connection is {peer.pc.connectionState}")
    finally:
        peer.close()


def until_taken(server, url, most=20):
    """Sessions are opened until one is not: the answer to that one, and the others, closed again."""
    opened = []
    try:
        for _ in range(most):
            response = server.post(url, sdp.offer())
            if response.status != 201:
                return response
            opened.append(wire.join(url, response.get("location")))
    finally:
        for session in opened:
            server.delete(session)
    raise Failed(f"{url} took {most} sessions")


@check("14a", "a server that sends clients elsewhere says 307 with Location")
def redirects(server):
    url = server.options.redirecting
    if not url:
        raise Skipped("no --redirecting endpoint was given")
    response = until_taken(server, url)
    expect_status(response, 307)
    target = wire.join(url, response.get("location"))
    expect(response.get("location") and target != url, f"Location: {target!r}")
    followed = server.post(target, sdp.offer())
    expect(followed.status == 201, f"{target}: {followed}")
    server.delete(wire.join(target, followed.get("location")))


@check("14b", "a server that is full says 503 with Retry-After")
def full(server):
    if not server.options.full:
        raise Skipped("no --full endpoint was given")
    response = until_taken(server, server.options.full)
    expect_status(response, 503)
    expect(response.get("retry-after"), "no Retry-After")


@check("15", "ICE servers come as Link fields with 201, and not on a preflight")
def ice_servers(server):
    asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
    response = wire.request("OPTIONS", server.whip, None, asked)
    expect("ice-server" not in response.get("link"), "Link on a preflight")
    with server.session() as session:
        found = [(u, p) for u, p in wire.links(session.response, session.url) if p.get("rel") == "ice-server"]
        if not found:
            raise Skipped("the server names no ICE servers")
        for url, params in found:
            expect(re.match(r"(stun|stuns|turn|turns):", url), f"not an ICE server: {url}")
            if url.startswith("turn"):
                expect(params.get("username") and params.get("credential"), f"no credentials for {url}")
        return ", ".join(url for url, _ in found)


@check("16a", "without a token, or with a bad one, POST is 401 with WWW-Authenticate")
def unauthorized(server):
    if not server.options.token:
        raise Skipped("no --token was given")
    for bad in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic YTpi"}):
        response = wire.request("POST", server.whip, sdp.offer(), {"content-type": SDP, **bad})
        expect(response.status == 401, f"{bad}: {response}")
        challenge = response.get("www-authenticate")
        expect(challenge.lower().startswith("bearer"), f"WWW-Authenticate: {challenge!r}")


@check("16b", "without a token, PATCH and DELETE are 401 and change nothing")
def unauthorized_session(server):
    if not server.options.token:
        raise Skipped("no --token was given")
    with server.session() as session:
        body = sdp.fragment(session.ufrag, session.pwd)
        headers = {"content-type": TRICKLE, "if-match": session.etag}
        expect_status(wire.request("PATCH", session.url, body, headers), 401)
        expect_status(wire.request("DELETE", session.url), 401)
        expect(server.patch(session.url, body, session.etag).status == 204, "the session is gone")


@check("16c", "a token without the grant is 403")
def forbidden(server):
    if not server.options.ungranted_token:
        raise Skipped("no --ungranted-token was given")
    headers = {"content-type": SDP, "authorization": f"Bearer {server.options.ungranted_token}"}
    expect_status(wire.request("POST", server.whip, sdp.offer(), headers), 403)


# 17 to 19: encoders, limits


@check("17", "a simulcast offer is answered with simulcast:recv and its RIDs")
def simulcast(server):
    with server.session(offer=sdp.offer(video=sdp.VIDEO + sdp.SIMULCAST)) as session:
        video = next(line for line in description(session.response).media if line.kind == "video")
        said = video.value("simulcast") or ""
        expect(said.startswith("recv "), f"a=simulcast:{said}")
        wanted = said[5:].replace("~", "").split(";")
        named = [rid.split()[0] for rid in video.values("rid") if rid.split()[1:2] == ["recv"]]
        expect(sorted(wanted) == sorted(named) and set(named) <= {"q", "h", "f"}, f"{wanted} of {named}")


@check("18a", "offers without candidates connect")
def no_candidates(server):
    connects(server, candidates=False)


def recorded(server, kind):
    """The recorded offers of one kind, by the direction of their lines."""
    folder = server.options.offers
    for path in sorted(folder.glob("*.sdp")) if folder else []:
        text = path.read_bytes().decode()
        plays = all(line.direction() == "recvonly" for line in sdp.Description(text).media)
        if plays == (kind == "whep"):
            yield path.stem, text


@check("18b", "recorded offers of encoders and browsers are taken")
def real_offers(server):
    offers = list(recorded(server, "whip"))
    if not offers:
        raise Skipped("no --offers folder was given")
    for name, text in offers:
        response = server.post(server.whip, text)
        expect(response.status == 201, f"{name}: {response}")
        server.delete(wire.join(server.whip, response.get("location")))
        asked = [line.value("mid") for line in sdp.Description(text).media]
        answered = [line.value("mid") for line in description(response).media]
        expect(asked == answered, f"{name}: lines {asked} were answered {answered}")
    return f"{len(offers)} offers"


@check("19", "POST, PATCH and DELETE over the rate limit are 429 with Retry-After")
def rate_limit(server):
    url = server.options.limited
    if not url:
        raise Skipped("no --limited endpoint was given")
    session = url.rstrip("/") + "/" + sdp.token(32)
    tries = {
        "POST": lambda: server.post(url, "hello"),
        "PATCH": lambda: server.patch(session, "hello", "*"),
        "DELETE": lambda: server.delete(session),
    }
    for method, send in tries.items():
        for _ in range(500):
            response = send()
            if response.status == 429:
                break
        expect(response.status == 429, f"no 429 to 500 {method}s: {response}")
        expect(response.get("retry-after"), f"429 to {method} without Retry-After")
