"""HTTP as the checks need it: nothing is followed, nothing is repaired, every header is kept."""

import http.client
import socket
import ssl
import time
import urllib.parse

TIMEOUT = 15


class Response:
    """Status, headers and body of an answer."""

    def __init__(self, status, headers, body, seconds):
        self.status, self.headers, self.body, self.seconds = status, headers, body, seconds

    def all(self, name):
        """The values of every header field of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name, default=""):
        """The first value of that name."""
        return next(iter(self.all(name)), default)

    def media_type(self):
        return self.get("content-type").split(";")[0].strip().lower()

    def text(self):
        return self.body.decode("utf-8", "replace")

    def __str__(self):
        return f"{self.status} {self.text()[:200]!r}"


class Pool:
    """Connections that are kept open, one for each host: what a client that asks again does."""

    def __init__(self):
        self.open = {}

    def connection(self, url):
        key = (url.scheme, url.netloc)
        if key not in self.open:
            self.open[key] = connect(url)
        return self.open[key]

    def drop(self, url):
        connection = self.open.pop((url.scheme, url.netloc), None)
        if connection:
            connection.close()


def connect(url):
    if url.scheme == "https":
        # Test servers have certificates of their own making; who conforms is not a question of trust.
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=TIMEOUT, context=context)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT)


POOL = Pool()


def request(method, url, body=None, headers=None):
    """One request; a connection that the server closed meanwhile is opened again once."""
    parts = urllib.parse.urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    body = body.encode() if isinstance(body, str) else body
    for last in (False, True):
        connection = POOL.connection(parts)
        started = time.monotonic()
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        except (http.client.HTTPException, ConnectionError, socket.timeout) as error:
            POOL.drop(parts)
            if last or isinstance(error, socket.timeout):
                raise
            continue
        if answer.will_close:
            POOL.drop(parts)
        return Response(answer.status, answer.getheaders(), content, time.monotonic() - started)


def join(base, reference):
    return urllib.parse.urljoin(base, reference)


def links(response, base):
    """The Link header fields (RFC 8288) as pairs of URL and parameters."""
    found = []
    for value in response.all("link"):
        for part in split_outside(value, ","):
            part = part.strip()
            if not part.startswith("<") or ">" not in part:
                raise ValueError(f"not a link: {part!r}")
            target, rest = part[1:].split(">", 1)
            params = {}
            for param in split_outside(rest, ";"):
                name, _, text = param.strip().partition("=")
                if name:
                    params[name.lower()] = unquote(text)
            found.append((join(base, target), params))
    return found


def split_outside(text, separator):
    """Splits where the separator is in neither quotes nor angle brackets."""
    parts, quoted, angle, escaped = [""], False, False, False
    for char in text:
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"' and not angle:
            quoted = not quoted
        elif not quoted and char in "<>":
            angle = char == "<"
        if char == separator and not quoted and not angle:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def unquote(text):
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text


class EventStream:
    """Server-sent events of one URL, read until a deadline."""

    def __init__(self, url, headers=None):
        parts = urllib.parse.urlsplit(url)
        self.connection = connect(parts)
        self.connection.request("GET", parts.path, headers={"accept": "text/event-stream", **(headers or {})})
        self.answer = self.connection.getresponse()
        self.status, self.type = self.answer.status, self.answer.getheader("content-type", "")
        self.name, self.ended = None, False

    def next(self, seconds):
        """The next event as (name, data); none when nothing comes in time, or no more will."""
        deadline = time.monotonic() + seconds
        while not self.ended and time.monotonic() < deadline:
            # The answer may have taken the socket over ("Connection: close").
            raw = self.answer.fp.raw._sock if self.answer.fp else None
            if raw is None:
                break
            raw.settimeout(max(0.05, deadline - time.monotonic()))
            try:
                line = self.answer.readline()
            except (socket.timeout, TimeoutError):
                return None
            if not line:
                self.ended = True
                break
            field, _, value = line.decode().rstrip("\r\n").partition(":")
            if field == "event":
                self.name = value.strip()
            elif field == "data":
                return self.name, value.strip()
        return None

    def wait_for(self, name, seconds):
        """The data of the next event of that name, others let go; none if it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            event = self.next(deadline - time.monotonic())
            if event is None:
                return None
            if event[0] == name:
                return event[1]
        return None

    def close(self):
        self.connection.close()
