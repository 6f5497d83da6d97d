// Encoders that publish over WHIP: FFmpeg, GStreamer, aiortc.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { OUT } from './server.mjs';

export const INTEROP = join(dirname(fileURLToPath(import.meta.url)), '../../interop');
export const PYTHON = process.env.TESTS_PYTHON ?? join(INTEROP, '../.venv/bin/python');
/** PyGObject belongs to the distribution's own Python. */
export const SYSTEM_PYTHON = '/usr/bin/python3';

const have = (python, modules) => existsSync(python) && spawnSync(python, ['-c', `import ${modules}`]).status === 0;
export const noVenv = have(PYTHON, 'aiortc, aiohttp, imageio_ffmpeg') ? false : 'aiortc and imageio-ffmpeg are not installed';
const GSTREAMER = ['webrtcbin', 'nicesrc', 'x264enc', 'vp8enc', 'opusenc', 'dtlsenc'];
const haveGStreamer =
  have(SYSTEM_PYTHON, 'gi') && GSTREAMER.every((name) => spawnSync('gst-inspect-1.0', [name]).status === 0);
export const noGStreamer = haveGStreamer ? false : 'GStreamer with webrtcbin and its Python bindings is not installed';

const running = [];

/** Starts a client; its output goes to a log, and to `lines`. */
export function start(name, command, args, env = {}) {
  const log = createWriteStream(join(OUT, `interop-${name}.log`));
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
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

/** What browsers like: no B-frames, a keyframe every two seconds. */
export const GOOD_VIDEO =
  '-c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -bf 0 -g 60 -b:v 800k -pix_fmt yuv420p';
export const GOOD_AUDIO = '-c:a libopus -ac 2';

/** FFmpeg with a WHIP muxer, which no distribution has in its stable release yet. */
export function ffmpeg(url, { video = GOOD_VIDEO, audio = GOOD_AUDIO, name = 'ffmpeg', token = '', more = '' } = {}) {
  const inputs = '-re -f lavfi -i testsrc2=s=640x360:r=30 -re -f lavfi -i sine=r=48000';
  const args = `-hide_banner -nostdin ${inputs} ${video} ${audio} ${token && `-authorization ${token}`} ${more} -f whip`;
  return start(name, ffmpegBinary(), [...args.split(' ').filter(Boolean), url]);
}

let binary;

function ffmpegBinary() {
  const script = 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())';
  binary ??= execFileSync(PYTHON, ['-c', script], { encoding: 'utf8' }).trim();
  return binary;
}

/** Ends what was started; SIGKILL: without a DELETE. */
export async function end(client, signal = 'SIGTERM') {
  client.child.kill(signal);
  const timer = setTimeout(() => client.child.kill('SIGKILL'), 5000);
  await client.exited;
  clearTimeout(timer);
}

/** Ends all that runs still. */
export async function endAll() {
  for (const client of running.splice(0)) await end(client);
}

export const python = (name, interpreter, script, ...args) => start(name, interpreter, ['-u', join(INTEROP, script), ...args]);
