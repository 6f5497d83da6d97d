// What pages receive, and whether it grows.

import assert from 'node:assert/strict';

import { sleep, until } from './wait.mjs';

/**
 * What a page receives, by `a=mid`, over all of its connections that are not closed.
 * @returns {Promise<{[mid: string]: {kind: string, packets: number, frames: number, keyFrames: number, codec: string}}>}
 */
export function inbound(page) {
  return page.evaluate(async () => {
    const received = {};
    const open = window.watched.filter((pc) => pc.connectionState !== 'closed');
    for (const [index, pc] of open.entries()) {
      const stats = await pc.getStats();
      const midOf = new Map(pc.getTransceivers().map((t) => [t.receiver.track.id, t.mid]));
      for (const report of stats.values()) {
        if (report.type !== 'inbound-rtp') continue;
        const mid = `${index}/${report.mid ?? midOf.get(report.trackIdentifier)}`;
        const line = (received[mid] ??= { kind: report.kind, packets: 0, frames: 0, keyFrames: 0, codec: '' });
        line.packets += report.packetsReceived ?? 0;
        line.frames += report.framesDecoded ?? 0;
        line.keyFrames += report.keyFramesDecoded ?? 0;
        line.codec = stats.get(report.codecId)?.mimeType?.toLowerCase() ?? line.codec;
      }
    }
    return received;
  });
}

/** How many video lines have decoded something, and how many audio lines have got something, since `before`. */
export function flowing(before, now) {
  const grown = Object.entries(now).map(([mid, line]) => ({
    kind: line.kind,
    frames: line.frames - (before[mid]?.frames ?? 0),
    packets: line.packets - (before[mid]?.packets ?? 0),
  }));
  return {
    video: grown.filter((line) => line.kind === 'video' && line.frames > 0).length,
    audio: grown.filter((line) => line.kind === 'audio' && line.packets > 0).length,
  };
}

/**
 * Fails unless each page receives media of exactly `others` others in every two seconds of `seconds`.
 * Two, because a key frame that is lost to a busy machine is a pause, not a fault.
 * @param {{[name: string]: import('puppeteer-core').Page}} pages
 */
export async function assertFlows(pages, others, seconds) {
  const names = Object.keys(pages);
  const sample = () => Promise.all(names.map((name) => inbound(pages[name])));
  const samples = [await sample()];
  for (let second = 1; second <= seconds; second += 1) {
    await sleep(1000);
    samples.push(await sample());
    if (second < 2) continue;
    names.forEach((name, index) => {
      const flows = flowing(samples[second - 2][index], samples[second][index]);
      const wanted = { video: others, audio: others };
      assert.deepEqual(flows, wanted, `what ${name} receives in seconds ${second - 2} to ${second}`);
    });
  }
}

/** Resolves when the page receives media of `others` others. */
export async function waitForMedia(page, others, ms = 20_000) {
  const deadline = performance.now() + ms;
  let before = await inbound(page);
  for (;;) {
    await sleep(250);
    const now = await inbound(page);
    const { video, audio } = flowing(before, now);
    if (video >= others && audio >= others) return;
    if (performance.now() > deadline) {
      throw new Error(`not within ${ms} ms: media of ${others} others; last: ${JSON.stringify({ video, audio, now })}`);
    }
    before = now;
  }
}

/** What a renegotiation would change, a line for each part of it: `changes` compares two of these. */
export function negotiationState(page) {
  return page.evaluate(() =>
    window.watched.flatMap((pc, index) => [
      ...Object.entries(pc.counts).map(([name, count]) => `${index} ${name}: ${count}`),
      `${index} signaling: ${pc.signalingState}`,
      ...(pc.localDescription?.sdp ?? '').split('\r\n').map((line) => `${index} local ${line}`),
      ...(pc.remoteDescription?.sdp ?? '').split('\r\n').map((line) => `${index} remote ${line}`),
    ]),
  );
}

/**
 * The lines that have gone and come, or that their order is another: two whole SDPs side by side tell nobody what the
 * trouble is. Empty only where all is as it was.
 * @param {string[]} earlier
 * @param {string[]} now
 */
export function changes(earlier, now) {
  const only = (some, others, sign) => {
    const rest = [...others];
    const missing = (line) => {
      const at = rest.indexOf(line);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    };
    return some.filter(missing).map((line) => `${sign} ${line}`);
  };
  const found = [...only(earlier, now, '-'), ...only(now, earlier, '+')];
  const moved = earlier.findIndex((line, at) => line !== now[at]);
  return found.length === 0 && moved >= 0 ? [`in another order from ${earlier[moved]}`] : found;
}

/** Resolves when the page decodes no more than `others` others: what waited in its buffers has been decoded. */
export async function waitForSilence(page, others, ms = 3000) {
  let before = await inbound(page);
  await until(
    `media of ${others} others only`,
    async () => {
      await sleep(250);
      const now = await inbound(page);
      const { video, audio } = flowing(before, now);
      before = now;
      return video <= others && audio <= others;
    },
    ms,
  );
}
