// Starts the server's binary on free ports, and looks after it.

import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { until } from './wait.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..');
/** Where logs and screenshots go. */
export const OUT = process.env.TESTS_OUT ?? join(ROOT, 'tests/out');
export const BINARY = process.env.TESTS_SERVER ?? join(ROOT, 'target/debug/weir');

mkdirSync(OUT, { recursive: true });

function freeTcpPort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function freeUdpPort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.bind(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

/**
 * @param {string} name of the log file
 * @param {{[variable: string]: string}} [settings] `WEIR_…` variables
 * @param {string} [mediaHost] where media is received; what is not loopback needs keys
 * @returns {Promise<{url: string, mediaPort: number, logFile: string, stop: () => Promise<void>}>}
 */
export async function startServer(name, settings = {}, mediaHost = '127.0.0.1') {
  const [http, media] = await Promise.all([freeTcpPort(), freeUdpPort()]);
  const url = `http://127.0.0.1:${http}`;
  const logFile = join(OUT, `${name}.server.log`);
  const log = createWriteStream(logFile);
  const args = ['serve', '--http', `127.0.0.1:${http}`, '--media', `${mediaHost}:${media}`];
  // Defaults, whatever the settings of who runs the tests.
  const env = Object.fromEntries(Object.entries(process.env).filter(([variable]) => !variable.startsWith('WEIR_')));
  const child = spawn(BINARY, args, { cwd: OUT, env: { ...env, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
  let exit = null;
  const exited = new Promise((resolve) => {
    child.once('error', (error) => resolve((exit = String(error))));
    child.once('exit', (code, signal) => resolve((exit = signal ?? code)));
  });
  process.once('exit', () => child.kill('SIGKILL'));
  await until('the server is ready', async () => {
    if (exit !== null) throw new Error(`the server has stopped (${exit}): see ${logFile}`);
    return (await fetch(`${url}/readyz`).catch(() => null))?.ok;
  });
  const stop = async () => {
    if (exit !== null) throw new Error(`the server had stopped before the test's end (${exit}): see ${logFile}`);
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
    const how = await exited;
    clearTimeout(timer);
    if (how !== 0) throw new Error(`the server ended with ${how} on SIGTERM: see ${logFile}`);
    if (/panicked/.test(readFileSync(logFile, 'utf8'))) throw new Error(`the server panicked: see ${logFile}`);
  };
  return { url, mediaPort: media, logFile, stop };
}

const SECRET = 'a-secret-of-the-browser-tests-long-enough-for-HS256';
/** Settings of a server that asks for tokens. */
export const WITH_TOKENS = { WEIR_KEYS: `main:${SECRET}` };

/** A token for such a server. `grants`: `--publish`, `--subscribe`, `--admin`. */
export function makeToken(room, identity, ...grants) {
  const env = { ...process.env, ...WITH_TOKENS };
  return execFileSync(BINARY, ['token', '--room', room, '--identity', identity, ...grants], { env, encoding: 'utf8' }).trim();
}
