// Other stacks than browsers publish and play; Chromium, as a viewer and as a member, is the judge.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { closePage, haveChromium, launchChromium } from './lib/browsers.mjs';
import { PYTHON, SYSTEM_PYTHON, endAll, ffmpeg, noGStreamer, noVenv, python } from './lib/encoders.mjs';
import { assertFlows, inbound, waitForMedia } from './lib/media.mjs';
import { enterRoom, screenshot, withoutDevices } from './lib/room.mjs';
import { startServer } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { play, playerPage } from './lib/whep.mjs';

const publishers = [
  { title: 'FFmpeg, H264 and Opus', room: 'ffmpeg', codec: 'video/h264', skip: noVenv, publish: ffmpeg },
  {
    title: 'aiortc, VP8 and Opus',
    room: 'aiortc',
    codec: 'video/vp8',
    skip: noVenv,
    publish: (url) => python('aiortc', PYTHON, 'aiortc_client.py', 'publish', url),
  },
  {
    title: 'GStreamer, H264 and Opus',
    room: 'gstreamer-h264',
    codec: 'video/h264',
    skip: noGStreamer,
    publish: (url) => python('gstreamer-h264', SYSTEM_PYTHON, 'publish_gstreamer.py', url, 'h264'),
  },
  {
    title: 'GStreamer, VP8 and Opus',
    room: 'gstreamer-vp8',
    codec: 'video/vp8',
    skip: noGStreamer,
    publish: (url) => python('gstreamer-vp8', SYSTEM_PYTHON, 'publish_gstreamer.py', url, 'vp8'),
  },
];

describe('publishers over WHIP', { skip: haveChromium ? false : 'Chromium is not installed' }, () => {
  let server;
  let browser;

  before(async () => {
    server = await startServer('interop');
    browser = await launchChromium();
  });

  afterEach(async () => {
    await endAll();
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  for (const { title, room, codec, skip, publish } of publishers) {
    test(`${title}: seen and heard by a viewer and by a member`, { skip }, async () => {
      const client = publish(`${server.url}/whip/${room}`);
      const viewer = await playerPage(browser, server);
      // The viewer follows who speaks: nobody but the publisher may.
      const member = await enterRoom(browser, server, room, 'Ada', { choose: withoutDevices });
      try {
        await play(viewer, room);
        for (const page of [viewer, member]) await waitForMedia(page, 1);
        await assertFlows({ viewer, member }, 1, 4);
        for (const page of [viewer, member]) {
          const video = Object.values(await inbound(page)).find((line) => line.kind === 'video' && line.frames > 0);
          assert.equal(video.codec, codec);
        }
      } catch (error) {
        const tail = client.lines.slice(-3).join(' | ');
        throw new Error(`${error.message} (${client.name}: exit ${client.exit}, last words: ${tail})`);
      } finally {
        await screenshot(member, `interop-${room}`).catch(() => {});
        await closePage(viewer);
        await closePage(member);
      }
      assert.equal(client.exit, null, `${client.name} has ended by itself`);
    });
  }

  test('aiortc plays what Chromium publishes', { skip: noVenv }, async () => {
    const member = await enterRoom(browser, server, 'played', 'Ada');
    const client = python('aiortc-play', PYTHON, 'aiortc_client.py', 'play', `${server.url}/whep/played`);
    await until('aiortc decodes pictures and sound', () => {
      if (client.exit !== null) throw new Error(`aiortc has ended: ${client.exit} ${client.lines.slice(-3).join(' | ')}`);
      const [, frames, sound] = /frames=(\d+) sound=(\d+)/.exec(client.lines.at(-1) ?? '') ?? [];
      return Number(frames) > 50 && Number(sound) > 150;
    });
    await closePage(member);
  });
});
