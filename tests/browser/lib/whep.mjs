// A WHEP player of few lines, in a page of the server's own origin.

import { newPage } from './browsers.mjs';
import { until } from './wait.mjs';

/** A page that can play: it shows nothing of the web app. */
export async function playerPage(browser, server) {
  const page = await newPage(browser);
  await page.goto(`${server.url}/livez`);
  return page;
}

/**
 * Plays a room and gives the session's URL. Waits while nobody publishes there yet.
 * The page notes when ICE was connected and when the first frame was decoded: see `firstFrame`.
 */
export async function play(page, room, token = '') {
  return until(`there is something to watch in ${room}`, async () => {
    const { status, location, body } = await page.evaluate(offerAndPlay, `/whep/${room}`, token);
    if (status === 201) return location;
    if (status === 404 || status === 409) return null;
    throw new Error(`WHEP: ${status} ${body}`);
  }, 20_000, 250);
}

async function offerAndPlay(endpoint, token) {
  const pc = new RTCPeerConnection();
  const times = (pc.times = {});
  pc.addEventListener('iceconnectionstatechange', () => {
    if (pc.iceConnectionState === 'connected') times.ice ??= performance.now();
  });
  const stream = new MediaStream();
  pc.addEventListener('track', (event) => stream.addTrack(event.track));
  pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.addTransceiver('video', { direction: 'recvonly' });
  await pc.setLocalDescription();
  const gathered = () => pc.iceGatheringState === 'complete';
  if (!gathered()) {
    await new Promise((resolve) =>
      pc.addEventListener('icegatheringstatechange', () => gathered() && resolve()),
    );
  }
  const headers = { 'content-type': 'application/sdp', ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(endpoint, { method: 'POST', headers, body: pc.localDescription.sdp });
  const body = await response.text();
  if (response.status !== 201) {
    pc.close();
    return { status: response.status, body };
  }
  await pc.setRemoteDescription({ type: 'answer', sdp: body });
  const video = document.createElement('video');
  Object.assign(video, { muted: true, autoplay: true, srcObject: stream });
  document.body.replaceChildren(video);
  const decoded = async () => {
    for (const report of (await pc.getStats()).values()) {
      if (report.type === 'inbound-rtp' && report.framesDecoded > 0) times.frame ??= performance.now();
    }
    if (times.frame === undefined && pc.connectionState !== 'closed') setTimeout(decoded, 5);
  };
  decoded();
  window.player = pc;
  return { status: 201, location: new URL(response.headers.get('location'), document.baseURI).href };
}

/** Milliseconds from ICE connected to the first decoded frame. */
export function firstFrame(page) {
  return until('a first frame', () =>
    page.evaluate(() => {
      const { ice, frame } = window.player.times;
      return ice !== undefined && frame !== undefined ? { ms: Math.max(0, frame - ice) } : null;
    }),
  );
}

/** Ends what `play` began. */
export async function stop(page, location) {
  const status = await page.evaluate(async (url) => {
    // In this order: a closed connection says so over DTLS, and that ends the session too.
    const { status } = await fetch(url, { method: 'DELETE' });
    window.player.close();
    return status;
  }, location);
  if (status !== 200) throw new Error(`DELETE: ${status}`);
}
