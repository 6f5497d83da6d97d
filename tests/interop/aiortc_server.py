#!/usr/bin/env python3
"""A WHIP and WHEP server of another stack, for the load tester: what is published at /NAME/whip is played at /NAME/whep.

usage: aiortc_server.py PORT

It decodes and encodes again, as aiortc does; so it shows nothing of speed, only that the tester needs nothing of Weir.
"""

import sys
import uuid

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay

relay = MediaRelay()
published = {}
sessions = {}


async def answer(request, connection):
    """Sets the connection up by the offer in the request, and answers 201."""
    await connection.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    return connection


async def created(request, connection):
    await connection.setLocalDescription(await connection.createAnswer())
    path = f"/session/{uuid.uuid4()}"
    sessions[path] = connection
    headers = {"Location": path}
    return web.Response(status=201, text=connection.localDescription.sdp, content_type="application/sdp", headers=headers)


async def whip(request):
    connection = RTCPeerConnection()
    tracks = published[request.match_info["name"]] = []
    connection.on("track", tracks.append)
    return await created(request, await answer(request, connection))


async def whep(request):
    tracks = published.get(request.match_info["name"])
    if not tracks:
        raise web.HTTPNotFound(text="nobody publishes here")
    connection = await answer(request, RTCPeerConnection())
    for track in tracks:
        connection.addTrack(relay.subscribe(track))
    return await created(request, connection)


async def delete(request):
    connection = sessions.pop(request.path, None)
    if connection is None:
        raise web.HTTPNotFound(text="no such session")
    await connection.close()
    return web.Response()


app = web.Application()
app.add_routes([web.post("/{name}/whip", whip), web.post("/{name}/whep", whep), web.delete("/session/{id}", delete)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
