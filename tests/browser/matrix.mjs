// Every encoder at hand against everything that happens to a stream. Prints the table of docs/WHIP.md.
//
//   TESTS_PYTHON=tests/.venv/bin/python node tests/browser/matrix.mjs [PART OF AN ENCODER'S NAME]
//
// Takes about half a minute for each encoder, and needs root for the network drop.

import { closePage, haveChromium, haveFirefox, launchChromium, launchFirefox } from './lib/browsers.mjs';
import { PYTHON, SYSTEM_PYTHON, end, endAll, ffmpeg, noGStreamer, noVenv, start, INTEROP } from './lib/encoders.mjs';
import { dropPackets } from './lib/loss.mjs';
import { inbound } from './lib/media.mjs';
import { WITH_TOKENS, makeToken, startServer } from './lib/server.mjs';
import { sleep, until } from './lib/wait.mjs';
import { play, playerPage } from './lib/whep.mjs';

const WAIT_MS = 15_000;

const script = (name, interpreter, ...args) => (url, token) => {
  const client = start(`matrix-${name}`, interpreter, ['-u', `${INTEROP}/${args[0]}`, ...args.slice(1).map((arg) => arg ?? url)], {
    WHIP_TOKEN: token,
  });
  return { crash: () => end(client, 'SIGKILL'), finish: () => end(client, 'SIGTERM') };
};

const ffmpegWith = (more) => (url, token) => {
  const client = ffmpeg(url, { token, more, name: 'matrix-ffmpeg' });
  return { crash: () => end(client, 'SIGKILL'), finish: () => end(client, 'SIGTERM') };
};

/** The client library of this server, in a page of its own. */
const page = (browser, codec) => async (url, token, server) => {
  const tab = await playerPage(browser(), server);
  await tab.evaluate(
    async (endpoint, bearer, wanted) => {
      const { publish } = await import('/weir.js');
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
      const first = RTCRtpSender.getCapabilities('video').codecs.filter(({ mimeType }) => mimeType === wanted);
      const add = RTCPeerConnection.prototype.addTransceiver;
      RTCPeerConnection.prototype.addTransceiver = function (track, options) {
        const transceiver = add.call(this, track, options);
        if (track.kind === 'video' && first.length > 0) transceiver.setCodecPreferences(first);
        return transceiver;
      };
      window.publisher = await publish({ url: endpoint, token: bearer, stream });
    },
    url,
    token,
    codec,
  );
  return {
    // The old connection stays: for the server, a client that has lost its network and comes back.
    crash: async () => {},
    finish: async () => {
      await tab.evaluate(() => window.publisher.stop());
      await closePage(tab);
    },
  };
};

let chromium;
let firefox;
const encoders = [
  { name: 'FFmpeg 9 (offers `setup:passive`)', codec: 'H264', skip: noVenv, publish: ffmpegWith('') },
  { name: 'FFmpeg 9, `-whip_flags dtls_active`', codec: 'H264', skip: noVenv, publish: ffmpegWith('-whip_flags dtls_active') },
  {
    name: 'GStreamer 1.22 webrtcbin',
    codec: 'H264',
    skip: noGStreamer,
    publish: script('gstreamer', SYSTEM_PYTHON, 'publish_gstreamer.py', null, 'h264'),
  },
  {
    name: 'GStreamer 1.22 webrtcbin',
    codec: 'VP8',
    skip: noGStreamer,
    publish: script('gstreamer', SYSTEM_PYTHON, 'publish_gstreamer.py', null, 'vp8'),
  },
  { name: 'aiortc 1.16', codec: 'VP8', skip: noVenv, publish: script('aiortc', PYTHON, 'aiortc_client.py', 'publish', null) },
  { name: 'Chromium', codec: 'VP8', skip: !haveChromium, publish: page(() => chromium, 'video/VP8') },
  { name: 'Chromium', codec: 'H264', skip: !haveChromium, publish: page(() => chromium, 'video/H264') },
  { name: 'Firefox', codec: 'VP8', skip: !haveFirefox, publish: page(() => firefox, 'video/VP8') },
];

const frames = async (viewer) => {
  const lines = Object.values(await inbound(viewer));
  return {
    frames: lines.filter(({ kind }) => kind === 'video').reduce((sum, line) => sum + line.frames, 0),
    packets: lines.filter(({ kind }) => kind === 'audio').reduce((sum, line) => sum + line.packets, 0),
  };
};

/** When the viewer has five more pictures, and more sound, than now: milliseconds, or why not. */
async function playsOn(viewer, since = performance.now()) {
  const before = await frames(viewer);
  const grown = async () => {
    const now = await frames(viewer);
    return now.frames >= before.frames + 5 && now.packets > before.packets;
  };
  return until('it plays', grown, WAIT_MS, 20).then(
    () => Math.round(performance.now() - since),
    async () => {
      const now = await frames(viewer);
      return `no (${now.frames - before.frames} pictures, ${now.packets - before.packets} packets of sound)`;
    },
  );
}

async function run(server, encoder, number) {
  const room = `matrix-${number}`;
  const url = `${server.url}/whip/${room}`;
  const [publish, watch, admin] = [
    makeToken(room, 'encoder', '--publish'),
    makeToken(room, 'viewer', '--subscribe'),
    makeToken(room, 'admin', '--admin'),
  ];
  const publishers = async () => {
    const answer = await fetch(`${server.url}/v1/rooms/${room}`, { headers: { authorization: `Bearer ${admin}` } });
    const { participants } = answer.ok ? await answer.json() : { participants: [] };
    return participants.filter(({ role }) => role === 'publisher').map(({ id }) => id);
  };
  const row = { name: encoder.name, codec: encoder.codec };
  const viewers = await Promise.all([playerPage(chromium, server), playerPage(firefox, server)]);
  try {
    let publisher = await encoder.publish(url, publish, server);
    const first = (await until('it publishes', publishers).then((ids) => until('', async () => (await publishers())[0])));
    row.publish = 'yes';
    await Promise.all(viewers.map((viewer) => play(viewer, room, watch)));
    [row.chromium, row.firefox] = await Promise.all(viewers.map((viewer) => playsOn(viewer)));
    const works = viewers.filter((_, at) => typeof [row.chromium, row.firefox][at] === 'number');
    const worst = async (since) => {
      const all = await Promise.all(works.map((viewer) => playsOn(viewer, since)));
      return all.find((one) => typeof one === 'string') ?? Math.max(...all);
    };
    const restore = dropPackets({ to: server.mediaPort, percent: 100 });
    await sleep(3000);
    restore();
    row.drop = await worst();
    await publisher.crash();
    const began = performance.now();
    const old = publisher;
    publisher = await encoder.publish(url, publish, server);
    await until('the new one is there', async () => (await publishers()).some((id) => id !== first));
    row.publishers = (await publishers()).length;
    row.restart = await worst(began);
    await publisher.finish();
    row.delete = await until('nobody publishes', async () => (await publishers()).length === 0, 3000).then(() => 'gone', (error) => error.message);
    await old.finish().catch(() => {});
  } catch (error) {
    row.error = error.message;
  }
  await endAll();
  for (const viewer of viewers) await closePage(viewer);
  return row;
}

const server = await startServer('matrix', WITH_TOKENS);
chromium = await launchChromium();
firefox = await launchFirefox();
const ms = (value) => (typeof value === 'number' ? `${value} ms` : (value ?? '-'));
console.log('| encoder | codec | publish | in Chromium | in Firefox | after 3 s without network | restart without DELETE | DELETE |');
console.log('|---|---|---|---|---|---|---|---|');
for (const [number, encoder] of encoders.entries()) {
  if (encoder.skip || !encoder.name.includes(process.argv[2] ?? '')) continue;
  const row = await run(server, encoder, number);
  const restart = `${ms(row.restart)}${row.publishers > 1 ? `, ${row.publishers} publishers` : ''}`;
  const cells = [row.name, row.codec, row.publish ?? 'no', ms(row.chromium), ms(row.firefox), ms(row.drop), restart, row.delete ?? '-'];
  console.log(`| ${cells.join(' | ')} |${row.error ? ` ${row.error}` : ''}`);
}
await chromium.close();
await firefox.close();
await server.stop();
process.exit(0);
