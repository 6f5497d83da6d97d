// A publisher of several layers and a viewer that shows it in one tile, in bare pages of the server's own origin that use
// weir.js alone. Both note what happens when, in milliseconds since 1970, so that what one does explains what the other
// sees.

import { newPage } from './browsers.mjs';

/** Publishes the fake camera as `setup` says: `{codec, encodings, width, height, fps}`. */
export async function layeredPublisher(browser, server, room, setup) {
  const page = await newPage(browser);
  await page.evaluateOnNewDocument(sendAs, setup);
  await page.goto(`${server.url}/livez`);
  await page.evaluate(publishCamera, room, setup);
  return page;
}

/** A page that is ready to join: `enter` does. `prepare` runs in it before anything else. */
export async function viewerPage(browser, server, prepare = () => {}) {
  const page = await newPage(browser);
  await page.evaluateOnNewDocument(prepare);
  await page.goto(`${server.url}/livez`);
  await page.evaluate(() => import('/weir.js'));
  return page;
}

/** Joins and shows the first video slot in a tile of this size in CSS pixels; gives the time at which it began. */
export function enter(page, room, size) {
  return page.evaluate(joinAndShow, room, size);
}

/** Gives the tile another size, or hides it with null; gives the time. */
export function resize(page, size) {
  return page.evaluate((size) => window.tile.resize(size), size);
}

/** The time at a page. */
export function clock(page) {
  return page.evaluate(() => performance.timeOrigin + performance.now());
}

/** The frames presented since `from`: `{at, height}`. */
export function presented(page, from) {
  return page.evaluate((from) => window.tile.frames.filter(({ at }) => at >= from), from);
}

/** The frames that the publisher's encoders gave since `from`: `{at, source, spatial, height, type}`. */
export function encoded(page, from) {
  return page.evaluate((from) => window.encoded.filter(({ at }) => at >= from), from);
}

/** What the server has told the publisher of its layers since `from`: `{at, active}`. */
export function told(page, from) {
  return page.evaluate((from) => window.told.filter(({ at }) => at >= from), from);
}

/** The RIDs of the encodings that are switched on; `''` for the only one. */
export function activeLayers(page) {
  return page.evaluate(async () => {
    const active = [];
    for (const report of (await window.weir.pc.getStats()).values()) {
      if (report.type === 'outbound-rtp' && report.kind === 'video' && report.active) active.push(report.rid ?? '');
    }
    return active.sort();
  });
}

/** What has come by now: packets of video and, by the resend stream, of padding; frames; bytes of anything. */
export function received(page) {
  return page.evaluate(async () => {
    const sum = { at: performance.timeOrigin + performance.now(), packets: 0, padding: 0, frames: 0, bytes: 0 };
    for (const report of (await window.weir.pc.getStats()).values()) {
      if (report.type === 'transport') sum.bytes += report.bytesReceived;
      if (report.type !== 'inbound-rtp' || report.kind !== 'video') continue;
      const resent = report.retransmittedPacketsReceived ?? 0;
      sum.packets += report.packetsReceived - resent;
      sum.padding += resent;
      sum.frames += report.framesReceived ?? 0;
    }
    return sum;
  });
}

/** What the server has said since `from` of the layer that the tile gets, and why: `{at, layer, reason}`. */
export function reasons(page, from) {
  return page.evaluate((from) => window.tile.reasons.filter(({ at }) => at >= from), from);
}

/** The longest time without a new frame between `from` and `to`, in milliseconds. Needs a frame before and after. */
export function longestGap(frames, from, to) {
  let longest = 0;
  for (let n = 1; n < frames.length; n += 1) {
    const [earlier, later] = [frames[n - 1].at, frames[n].at];
    if (later > from && earlier < to) longest = Math.max(longest, later - earlier);
  }
  return Math.round(longest);
}

// What follows runs in the pages.

function sendAs({ codec, encodings }) {
  window.encoded = [];
  window.told = [];
  const clock = () => performance.timeOrigin + performance.now();
  // Of the frames on their way from the encoder to the network only the time is noted.
  const source = `onrtctransform = ({ transformer }) => {
    const note = new TransformStream({ transform(frame, controller) {
      const { synchronizationSource: source, spatialIndex: spatial, height, rtpTimestamp: time } = frame.getMetadata();
      postMessage({ at: performance.timeOrigin + performance.now(), source, spatial, height, time, type: frame.type });
      controller.enqueue(frame);
    } });
    transformer.readable.pipeThrough(note).pipeTo(transformer.writable);
  }`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  worker.onmessage = ({ data }) => window.encoded.push(data);
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (what, init) {
    if (!(what instanceof MediaStreamTrack) || what.kind !== 'video') return add.call(this, what, init);
    const transceiver = add.call(this, what, { ...init, sendEncodings: encodings });
    const wanted = ({ mimeType, sdpFmtpLine = '' }) =>
      /rtx$/i.test(mimeType) ||
      (mimeType.toLowerCase() === `video/${codec}` && !/packetization-mode=0|profile-id=[1-3]|profile=1/.test(sdpFmtpLine));
    transceiver.setCodecPreferences(RTCRtpSender.getCapabilities('video').codecs.filter(wanted));
    transceiver.sender.transform = new RTCRtpScriptTransform(worker);
    return transceiver;
  };
  const set = RTCRtpSender.prototype.setParameters;
  RTCRtpSender.prototype.setParameters = function (parameters) {
    const active = parameters.encodings.filter((encoding) => encoding.active).map(({ rid }) => rid ?? '');
    window.told.push({ at: clock(), active });
    return set.call(this, parameters);
  };
}

async function publishCamera(room, { width, height, fps }) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: fps } });
  const { join } = await import('/weir.js');
  const [camera] = stream.getVideoTracks();
  window.weir = await join({ room, name: 'Publisher', camera, slots: { audio: 1, video: 1 } });
}

async function joinAndShow(room, size) {
  const clock = () => performance.timeOrigin + performance.now();
  const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, playsInline: true });
  document.body.replaceChildren(video);
  document.body.style.margin = '0';
  video.style.objectFit = 'fill';
  const frames = [];
  const onFrame = (now, { presentationTime, height }) => {
    frames.push({ at: performance.timeOrigin + presentationTime, height });
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  const resize = (size) => {
    video.style.display = size ? 'block' : 'none';
    if (size) Object.assign(video.style, { width: `${size.width}px`, height: `${size.height}px` });
    return clock();
  };
  const reasons = [];
  window.tile = { frames, resize, reasons };
  resize(size);
  const { Room } = await import('/weir.js');
  window.weir = new Room();
  window.weir.on('quality', ({ slot: { layer, reason } }) => reasons.push({ at: clock(), layer, reason }));
  const began = clock();
  await window.weir.join({ room, name: 'Viewer', slots: { audio: 1, video: 1 } });
  const slot = [...window.weir.slots.values()].find(({ kind }) => kind === 'video');
  window.weir.attach(slot, video);
  return began;
}
