// Two machines of one network, as network namespaces: one for the server, one for its clients.

import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { BINARY, OUT } from './server.mjs';
import { until } from './wait.mjs';

/** Addresses of the server; those of the client end in 2. */
export const V4 = '10.99.0.1';
export const V6 = 'fd99::1';

/** Whether this machine lets us. */
export function netnsWorks() {
  const name = `weir-try-${process.pid}`;
  const made = spawnSync('ip', ['netns', 'add', name]).status === 0;
  if (made) spawnSync('ip', ['netns', 'delete', name]);
  return made && spawnSync('nft', ['--version']).status === 0;
}

let worlds = 0;

/** @param {{v4?: boolean, v6?: boolean}} [families] */
export function makeWorld({ v4 = true, v6 = false } = {}) {
  const id = `${process.pid}-${worlds++}`;
  const [server, client] = [`weir-s-${id}`, `weir-c-${id}`];
  const directory = mkdtempSync(join(tmpdir(), 'weir-net-'));
  const ip = (...words) => execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
  /** What still runs in it. */
  const running = new Set();
  const remove = () => {
    for (const child of running) child.kill('SIGKILL');
    for (const name of [server, client]) spawnSync('ip', ['netns', 'delete', name]);
    rmSync(directory, { recursive: true, force: true });
  };
  process.once('exit', remove);
  for (const name of [server, client]) ip('netns', 'add', name);
  ip('link', 'add', 'eth0', 'netns', server, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', client);
  for (const [name, last] of [[server, 1], [client, 2]]) {
    if (v4) ip('-n', name, 'address', 'add', `10.99.0.${last}/24`, 'dev', 'eth0');
    // Without waiting whether somebody has the address already.
    if (v6) ip('-n', name, 'address', 'add', `fd99::${last}/64`, 'dev', 'eth0', 'nodad');
    for (const device of ['lo', 'eth0']) ip('-n', name, 'link', 'set', device, 'up');
  }

  /** In the namespace of the server: rules for what comes in. */
  const nft = (...words) => execFileSync('ip', ['netns', 'exec', server, 'nft', ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  const rules = (...lines) => {
    spawnSync('ip', ['netns', 'exec', server, 'nft', 'delete', 'table', 'inet', 'weir']);
    nft('add', 'table', 'inet', 'weir');
    nft('add', 'chain', 'inet', 'weir', 'in', '{ type filter hook input priority 0; }');
    for (const line of lines) nft('add', 'rule', 'inet', 'weir', 'in', ...line.split(' '));
  };

  /**
   * @param {string} name of the log
   * @param {string} toml
   */
  const serve = async (name, toml) => {
    const config = join(directory, `${name}.toml`);
    writeFileSync(config, toml);
    const log = createWriteStream(join(OUT, `${name}.server.log`));
    const env = withoutSettings();
    const child = spawn('ip', ['netns', 'exec', server, BINARY, 'serve', '--config', config], { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    child.once('exit', () => running.delete(child));
    let said = '';
    let exit = null;
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        said += chunk;
        log.write(chunk);
      });
    const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve((exit = signal ?? code))));
    process.once('exit', () => child.kill('SIGKILL'));
    await until('the server is up', () => {
      if (exit !== null) throw new Error(`the server has stopped (${exit}): ${said}`);
      return said.includes('weir is up');
    });
    const stop = async () => {
      child.kill('SIGTERM');
      await exited;
    };
    const grants = ['--room', 'doctor', '--identity', 'tester', '--publish', '--subscribe'];
    const token = execFileSync(BINARY, ['token', '--config', config, ...grants], { env, encoding: 'utf8' }).trim();
    return { config, token, stop, log: () => said };
  };

  /** Runs `weir doctor` on the machine of the client, or of the server; its JSON, and how it ended. */
  const doctor = async (where, args, settings = {}) => {
    const words = ['netns', 'exec', where, BINARY, 'doctor', '--json', ...args];
    const options = { cwd: directory, env: { ...withoutSettings(), ...settings }, timeout: 120_000 };
    const run = await promisify(execFile)('ip', words, options).catch((error) => error);
    if (!run.stdout) throw new Error(`no report: ${run.stderr || run}`);
    return { ...JSON.parse(run.stdout), status: run.code ?? 0 };
  };
  return { server, client, directory, rules, serve, doctor, remove };
}

function withoutSettings() {
  return Object.fromEntries(Object.entries(process.env).filter(([variable]) => !variable.startsWith('WEIR_')));
}

/**
 * A certificate for the server's addresses, by an authority of its own, in `directory`.
 * @param {string} directory
 * @param {number} days for which it holds; below zero it has expired already
 */
export function makeCertificate(directory, days = 30) {
  const path = (name) => join(directory, name);
  const openssl = (...words) => execFileSync('openssl', words, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
  for (const name of ['ca', 'server']) openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
  openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=An authority of the tests', '-days', '30', '-out', 'ca.pem');
  openssl('req', '-new', '-key', 'server.key', '-subj', '/CN=weir.test', '-addext', `subjectAltName=DNS:weir.test,IP:${V4},IP:${V6}`, '-out', 'server.csr');
  const signing = ['x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-copy_extensions', 'copyall'];
  openssl(...signing, '-days', String(days), '-out', 'server.pem');
  return { cert: path('server.pem'), key: path('server.key'), authority: path('ca.pem') };
}
