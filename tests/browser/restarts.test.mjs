// FFmpeg as the publisher: how long newcomers wait for a picture, and what its restarts do to those who watch.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { closePage, haveChromium, launchChromium, newPage } from './lib/browsers.mjs';
import { GOOD_VIDEO, end, endAll, ffmpeg, noVenv } from './lib/encoders.mjs';
import { inbound } from './lib/media.mjs';
import { screenshot } from './lib/room.mjs';
import { WITH_TOKENS, makeToken, startServer } from './lib/server.mjs';
import { sleep, until } from './lib/wait.mjs';
import { firstFrame, play, playerPage, stop } from './lib/whep.mjs';

const skip = noVenv || (haveChromium ? false : 'Chromium is not installed');

describe('FFmpeg and those who watch it', { skip }, () => {
  let server;
  let browser;

  before(async () => {
    browser = await launchChromium();
  });

  afterEach(async () => {
    await endAll();
    await server?.stop();
    server = null;
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('it answers no PLI: newcomers wait for its next keyframe, and are told so', async (context) => {
    server = await startServer('keyframes');
    // A keyframe every six seconds.
    ffmpeg(`${server.url}/whip/slow`, { video: GOOD_VIDEO.replace('-g 60', '-g 180') });
    const findings = async () => {
      const answer = await fetch(`${server.url}/v1/rooms/slow`);
      return answer.ok ? (await answer.json()).participants.flatMap(({ findings: found }) => found ?? []) : [];
    };
    await until('the interval is known', async () => (await findings()).some(({ code }) => code === 'keyframe-interval'));
    const page = await playerPage(browser, server);
    const waits = [];
    const told = [];
    for (let join = 0; join < 8; join += 1) {
      const session = await play(page, 'slow');
      const reasons = readReasons(session);
      waits.push(Math.round((await firstFrame(page)).ms));
      told.push(await reasons);
      await stop(page, session);
      await sleep(300);
    }
    const watch = await newPage(browser);
    await watch.goto(`${server.url}/watch/slow`);
    const said = () => watch.$eval('.watch-words', ({ innerText }) => innerText);
    const few = /^The picture comes within \d+ s: the stream has few keyframes$/;
    await until('the watch page says so', async () => few.test(await said()), 5000);
    await screenshot(watch, 'watch-waits');
    await until('and shows the picture', () => watch.$eval('.watch-words', ({ innerText }) => innerText === ''), 8000);
    await closePage(watch);
    await closePage(page);
    const sorted = [...waits].sort((a, b) => a - b);
    context.diagnostic(`first frame after ICE, keyframe every 6 s, ms: median ${sorted[4]}, all ${waits.join(' ')}; told ${told.join(' ')}`);
    assert.ok(sorted.at(-1) < 6800, `one keyframe interval at most: ${waits.join(' ')}`);
    waits.forEach((wait, join) => {
      if (wait > 1500) assert.match(told[join], /keyframe-interval:[567]\d{3}/, `join ${join}, which waited ${wait} ms`);
    });
  });

  /** What a WHEP session's events say of the wait for a picture in their first second. */
  async function readReasons(session) {
    const made = await fetch(`${session}/sse`, { method: 'POST' });
    const stream = new URL(made.headers.get('location'), session);
    const response = await fetch(stream, { signal: AbortSignal.timeout(1200) });
    let text = '';
    try {
      for await (const chunk of response.body) text += Buffer.from(chunk).toString();
    } catch {
      // A second is over.
    }
    const found = /"waiting":\{"code":"([a-z-]+)"(?:,"ms":(\d+))?/.exec(text);
    return found ? `${found[1]}:${found[2]}` : 'nothing';
  }

  test('a restart every five seconds for a minute leaves one publisher, and the viewer plays on', async (context) => {
    server = await startServer('restarts', WITH_TOKENS);
    const encoder = makeToken('live', 'encoder', '--publish');
    const admin = makeToken('live', 'admin', '--admin');
    const publishers = async () => {
      const answer = await fetch(`${server.url}/v1/rooms/live`, { headers: { authorization: `Bearer ${admin}` } });
      const { participants } = answer.ok ? await answer.json() : { participants: [] };
      return participants.filter(({ role }) => role === 'publisher').map(({ id }) => id);
    };
    const begin = () => ffmpeg(`${server.url}/whip/live`, { token: encoder });
    let publisher = begin();
    const viewer = await playerPage(browser, server);
    await play(viewer, 'live', makeToken('live', 'viewer', '--subscribe'));
    await firstFrame(viewer);
    const frames = async () => Object.values(await inbound(viewer)).reduce((sum, line) => sum + line.frames, 0);
    const gaps = [];
    const seen = new Set(await publishers());
    let most = 0;
    for (let restart = 0; restart < 12; restart += 1) {
      const began = performance.now();
      // Every other time as a crash: without a DELETE, and without a goodbye on the wire.
      await end(publisher, restart % 2 ? 'SIGTERM' : 'SIGKILL');
      const ended = performance.now();
      publisher = begin();
      const now = await until('the new one is there', async () => {
        const ids = await publishers();
        most = Math.max(most, ids.length);
        return ids.find((id) => !seen.has(id));
      }, 10_000, 20);
      seen.add(now);
      const before = await frames();
      await until('the viewer plays on', async () => (await frames()) > before + 5, 10_000, 20);
      gaps.push(Math.round(performance.now() - ended));
      assert.deepEqual(await publishers(), [now], `after restart ${restart}`);
      await sleep(Math.max(0, 5000 - (performance.now() - began)));
    }
    context.diagnostic(`picture back after the start of FFmpeg, ms: ${gaps.join(' ')}; at most ${most} publishers at a time`);
    assert.ok(most <= 1, `${most} publishers at once`);
    assert.equal(await viewer.evaluate(() => window.watched.length), 1, 'one session for the viewer');
    const [before, published] = [await frames(), (await publishers()).length];
    await sleep(2000);
    assert.ok((await frames()) - before > 30, 'it plays on');
    assert.equal(published, 1);
    await closePage(viewer);
  });
});
