// Other stacks than browsers publish and play; Chromium, as a viewer and as a member, is the judge.

import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { closePage, haveChromium, launchChromium } from './lib/browsers.mjs';
import { assertFlows, inbound, waitForMedia } from './lib/media.mjs';
import { enterRoom, screenshot, withoutDevices } from './lib/room.mjs';
import { OUT, startServer } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { play, playerPage } from './lib/whep.mjs';

const INTEROP = join(dirname(fileURLToPath(import.meta.url)), '../interop');
const PYTHON = process.env.TESTS_PYTHON ?? join(INTEROP, '../.venv/bin/python');
/** PyGObject belongs to the distribution's own Python. */
const SYSTEM_PYTHON = '/usr/bin/python3';

const have = (python, modules) => existsSync(python) && spawnSync(python, ['-c', `import ${modules}`]).status === 0;
const noVenv = have(PYTHON, 'aiortc, aiohttp, imageio_ffmpeg') ? false : 'aiortc and imageio-ffmpeg are not installed';
const GSTREAMER = ['webrtcbin', 'nicesrc', 'x264enc', 'vp8enc', 'opusenc', 'dtlsenc'];
const haveGStreamer =
  have(SYSTEM_PYTHON, 'gi') && GSTREAMER.every((name) => spawnSync('gst-inspect-1.0', [name]).status === 0);
const noGStreamer = haveGStreamer ? false : 'GStreamer with webrtcbin and its Python bindings is not installed';

const running = [];

/** Starts a client; its output goes to a log, and to `lines`. */
function start(name, command, args) {
  const log = createWriteStream(join(OUT, `interop-${name}.log`));
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const client = { name, child, lines: [], exit: null };
  child.stdout.on('data', (data) => client.lines.push(...String(data).split('\n').filter(Boolean)));
  for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
  client.exited = new Promise((resolve) => {
    child.once('error', (error) => resolve((client.exit = String(error))));
    child.once('exit', (code, signal) => resolve((client.exit = signal ?? code)));
  });
  running.push(client);
  process.once('exit', () => child.kill('SIGKILL'));
  return client;
}

function ffmpeg(url) {
  const script = 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())';
  const binary = execFileSync(PYTHON, ['-c', script], { encoding: 'utf8' }).trim();
  const video = '-c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -bf 0 -g 60 -pix_fmt yuv420p';
  const inputs = '-re -f lavfi -i testsrc2=s=640x360:r=30 -re -f lavfi -i sine=r=48000';
  const args = `-hide_banner -nostdin ${inputs} ${video} -c:a libopus -ac 2 -f whip`.split(' ');
  return start('ffmpeg', binary, [...args, url]);
}

const python = (name, interpreter, script, ...args) => start(name, interpreter, ['-u', join(INTEROP, script), ...args]);

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
    for (const client of running.splice(0)) {
      client.child.kill('SIGTERM');
      const timer = setTimeout(() => client.child.kill('SIGKILL'), 5000);
      await client.exited;
      clearTimeout(timer);
    }
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
