// Encoders that are set badly: what is wrong is found, and said in the API, in the log and on the page.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, afterEach, before, describe, test } from 'node:test';

import { closePage, haveChromium, launchChromium } from './lib/browsers.mjs';
import { GOOD_AUDIO, GOOD_VIDEO, SYSTEM_PYTHON, end, endAll, ffmpeg, noGStreamer, noVenv, python } from './lib/encoders.mjs';
import { dropPackets, nftWorks } from './lib/loss.mjs';
import { enterRoom, screenshot, withoutDevices } from './lib/room.mjs';
import { startServer } from './lib/server.mjs';
import { sleep, until } from './lib/wait.mjs';

const LIMIT_KBPS = 2000;
// Not ultrafast: that uses nothing of the High profile, and says so.
const HIGH = '-c:v libx264 -profile:v high -preset veryfast -tune zerolatency -bf 0 -g 60 -b:v 800k -pix_fmt yuv420p';
const FILLED = `${GOOD_VIDEO.replace('800k', '4M')} -minrate 4M -maxrate 4M -bufsize 1M -x264-params nal-hrd=cbr:filler=1`;

const faults = [
  {
    code: 'b-frames',
    title: 'GStreamer, x264enc bframes=2',
    skip: noGStreamer,
    publish: (url) => python('doctor-b-frames', SYSTEM_PYTHON, 'publish_gstreamer.py', url, 'h264-bframes'),
    words: /^B-frames: \d+ of \d+ pictures in a second are sent out of order/,
  },
  {
    code: 'keyframe-interval',
    title: 'FFmpeg, -g 300',
    publish: (url) => ffmpeg(url, { video: GOOD_VIDEO.replace('-g 60', '-g 300') }),
    words: /^\d+(\.\d)? s between keyframes, and none when asked for: .*; 4 s at most$/,
  },
  {
    code: 'profile',
    title: 'FFmpeg, High profile under an offer of 42e01f, as OBS does',
    publish: (url, rewritten) => ffmpeg(url.replace(/^http:\/\/[^/]+/, rewritten), { video: HIGH }),
    words: /^H264 High \(6400\) is sent, Constrained Baseline \(42e0\) was offered/,
  },
  {
    code: 'no-audio',
    title: 'FFmpeg, -an',
    publish: (url) => ffmpeg(url, { audio: '-an' }),
    words: /^no sound: the offer has no line for it$/,
  },
  {
    code: 'bitrate',
    title: 'FFmpeg, 4 Mbps where 2 are the limit',
    publish: (url) => ffmpeg(url, { video: FILLED }),
    words: /^[34]\d{3} kbps are sent, 2000 kbps are the most there should be$/,
  },
  {
    code: 'timestamps',
    title: 'FFmpeg, five seconds ahead after two',
    // Without sound: FFmpeg interleaves, and would hold the pictures back until the sound is as far.
    publish: (url) => ffmpeg(url, { video: `${GOOD_VIDEO} -bsf:v setts=ts=TS+gte(N\\,60)*5/TB`, audio: '-an' }),
    words: /^timestamps jump, \d+ times in a second, by up to [45](\.\d)? s/,
  },
  {
    code: 'loss',
    title: 'FFmpeg, a tenth of the packets dropped by nftables',
    skip: nftWorks() ? false : 'needs root and nft to drop packets',
    publish: (url) => ffmpeg(url, { video: GOOD_VIDEO.replace('800k', '1600k') }),
    percent: 10,
    words: /^\d+ of \d+ packets in a second got lost between the encoder and the server \(\d+ %\)$/,
  },
];

/** Offers go to the server with the profile of OBS in them, whatever the encoder said. */
function startRewriter(server) {
  const rewriter = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const offer = Buffer.concat(chunks).toString().replace(/profile-level-id=\w+/g, 'profile-level-id=42e01f');
    const { method, headers, url } = request;
    const body = method === 'POST' ? offer : undefined;
    const answer = await fetch(server.url + url, { method, headers: { 'content-type': headers['content-type'] ?? '' }, body });
    const text = await answer.text();
    const location = answer.headers.get('location');
    // FFmpeg reads no chunked answer.
    const size = { 'content-length': Buffer.byteLength(text) };
    response.writeHead(answer.status, { 'content-type': 'application/sdp', ...size, ...(location && { location }) }).end(text);
  });
  return new Promise((resolve) => rewriter.listen(0, '127.0.0.1', () => resolve(rewriter)));
}

describe('the doctor', { skip: noVenv }, () => {
  let server;
  let rewriter;

  before(async () => {
    server = await startServer('doctor', { WEIR_ROOMS_PUBLISHER_KBPS: String(LIMIT_KBPS) });
    rewriter = await startRewriter(server);
  });

  afterEach(endAll);

  after(async () => {
    rewriter?.close();
    await server?.stop();
  });

  async function findings(room) {
    const answer = await fetch(`${server.url}/v1/rooms/${room}`);
    const { participants } = answer.ok ? await answer.json() : { participants: [] };
    return participants.find(({ role }) => role === 'publisher')?.findings ?? [];
  }

  const logged = (room) =>
    readFileSync(server.logFile, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
      .filter((entry) => entry.room === room && entry.code && entry.level === 'WARN');

  for (const { code, title, skip = false, publish, words, percent } of faults) {
    test(`${code}: ${title}`, { skip }, async (context) => {
      const client = publish(`${server.url}/whip/${code}`, `http://127.0.0.1:${rewriter.address().port}`);
      let restore = () => {};
      if (percent) {
        await until('the encoder sends', async () => (await fetch(`${server.url}/v1/rooms/${code}`)).ok);
        await sleep(2000);
        restore = dropPackets({ to: server.mediaPort, percent });
      }
      const found = await until(`${code} is found`, async () => {
        if (client.exit !== null) throw new Error(`the encoder has ended: ${client.exit}`);
        return (await findings(code)).find((finding) => finding.code === code);
      }).finally(restore);
      assert.match(found.message, words);
      for (const program of ['ffmpeg', 'obs', 'gstreamer']) assert.ok(found.remedy[program].length > 5, program);
      context.diagnostic(`${found.message} [FFmpeg: ${found.remedy.ffmpeg}]`);
      await sleep(2500);
      const lines = logged(code).filter((entry) => entry.code === code);
      assert.equal(lines.length, 1, `said once: ${JSON.stringify(lines)}`);
      assert.equal(lines[0].ffmpeg, found.remedy.ffmpeg);
      const others = (await findings(code)).map((finding) => finding.code).filter((other) => other !== code);
      // What was not planted is not found; the jump is planted into a stream without sound.
      assert.deepEqual(others.filter((other) => code !== 'timestamps' || other !== 'no-audio'), []);
    });
  }

  test('a well set encoder is left in peace', async () => {
    ffmpeg(`${server.url}/whip/well`);
    await until('it publishes', async () => (await fetch(`${server.url}/v1/rooms/well`)).ok);
    await sleep(9000);
    assert.deepEqual(await findings('well'), []);
    assert.deepEqual(logged('well'), []);
  });

  test('the page shows it, and when it is over', { skip: haveChromium ? false : 'Chromium is not installed' }, async () => {
    const browser = await launchChromium();
    try {
      const bad = ffmpeg(`${server.url}/whip/shown`, { audio: '-an', video: FILLED });
      const member = await enterRoom(browser, server, 'shown', 'Ada', { choose: withoutDevices });
      await member.click('[data-testid="stream-toggle"]');
      const codes = () =>
        member.$$eval('[data-testid="findings"] [data-code]', (shown) => shown.map(({ dataset }) => dataset.code).sort());
      await until('both are shown', async () => (await codes()).join() === 'bitrate,no-audio');
      const text = await member.$eval('[data-testid="findings"]', (element) => element.innerText);
      assert.match(text, /no sound: the offer has no line for it/);
      assert.match(text, /-map 0:a -c:a libopus/);
      await screenshot(member, 'doctor');
      await end(bad);
      await until('it is gone with the stream', async () => (await codes()).length === 0);
      ffmpeg(`${server.url}/whip/shown`, { audio: GOOD_AUDIO });
      await member.waitForSelector('.finding.good');
      await closePage(member);
    } finally {
      await browser.close();
    }
  });
});
