// What `weir doctor` says of each fault that is planted: between two machines, with a firewall, over real sockets.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { makeCertificate, makeWorld, netnsWorks, V4, V6 } from './lib/netns.mjs';
import { haveChromium, launchChromiumIn, newPage } from './lib/browsers.mjs';
import { lookByPage } from './lib/doctor.mjs';
import { assertFlows, waitForMedia } from './lib/media.mjs';
import { enterRoom, shownPath } from './lib/room.mjs';
import { BINARY } from './lib/server.mjs';

const skip = netnsWorks() ? false : 'needs root, network namespaces and nft';
const MEDIA = 3478;
const KEY = '[[keys]]\nid = "main"\nsecret = "a-secret-of-the-tests-long-enough-for-HS256"\n';
const SETTINGS = `[http]\naddr = "[::]:8080"\n[media]\naddr = "[::]:${MEDIA}"\nworkers = 1\nannounce = ["${V4}"]\n${KEY}`;
const URL = `http://${V4}:8080`;

/** One finding of a report, whose words are told: docs/NETWORK.md has them. */
function of(t, report, path) {
  const found = report.findings.find((finding) => finding.path === path);
  assert.ok(found, `${path} in ${JSON.stringify(report.findings, null, 1)}`);
  t.diagnostic(`${found.verdict} ${path}: ${found.saw} / ${found.means ?? ''} / ${found.do ?? ''}`);
  return found;
}

/** What a report finds failing. */
const failing = (report) => report.findings.filter(({ verdict }) => verdict === 'fails').map(({ path }) => path);

test('from outside', { skip }, async (t) => {
  const world = makeWorld();
  t.after(world.remove);
  const server = await world.serve('faults', SETTINGS);
  const look = (...args) => world.doctor(world.client, [URL, '--config', server.config, ...args]);

  await t.test('nothing is wrong', async (t) => {
    const report = await look();
    assert.deepEqual(failing(report), []);
    assert.equal(report.status, 0);
    for (const path of ['http', 'clock', 'websocket', 'UDP, IPv4', 'TCP, IPv4', 'TURN, UDP', 'TURN, TCP']) assert.equal(of(t, report, path).verdict, 'ok');
  });
  await t.test('UDP is dropped', async (t) => {
    world.rules(`udp dport ${MEDIA} drop`);
    const report = await look();
    assert.equal(report.status, 1);
    const udp = of(t, report, 'UDP, IPv4');
    assert.match(udp.saw, /UDP 3478: no answer/);
    assert.match(udp.do, /open UDP 3478 to 10\.99\.0\.1/);
    assert.deepEqual(failing(report), ['UDP, IPv4', 'TURN, UDP']);
  });
  await t.test('UDP is rejected', async (t) => {
    world.rules(`udp dport ${MEDIA} reject`);
    const udp = of(t, await look(), 'UDP, IPv4');
    assert.match(udp.saw, /the port is shut/);
  });
  await t.test('TCP is dropped', async (t) => {
    world.rules(`tcp dport ${MEDIA} drop`);
    const report = await look();
    const tcp = of(t, report, 'TCP, IPv4');
    assert.match(tcp.saw, /TCP 3478: no answer/);
    assert.match(tcp.do, /open TCP 3478/);
    assert.deepEqual(failing(report), ['TCP, IPv4', 'TURN, TCP']);
  });
  await t.test('HTTP is dropped', async (t) => {
    world.rules('tcp dport 8080 drop');
    const report = await look();
    assert.deepEqual(failing(report), ['http']);
    assert.match(of(t, report, 'http').do, /Open TCP 8080/);
  });
  world.rules();
  await t.test('the clocks are a day apart', async (t) => {
    const report = await look('--now', new Date(Date.now() + 86_400_000).toISOString());
    assert.match(of(t, report, 'clock').saw, /the server's is 1 day behind this machine's/);
    assert.deepEqual(failing(report), ['clock']);
  });
  await t.test('there is no token', async (t) => {
    const report = await world.doctor(world.client, [URL]);
    assert.equal(of(t, report, 'media').verdict, 'unknown');
    assert.match(of(t, report, 'media').saw, /asks for a token/);
  });
  await server.stop();

  await t.test('another address is announced', async (t) => {
    const wrong = await world.serve('faults-announce', SETTINGS.replace(`announce = ["${V4}"]`, 'announce = ["10.99.0.77"]'));
    const report = await world.doctor(world.client, [URL, '--config', wrong.config]);
    const udp = of(t, report, 'UDP, IPv4');
    assert.match(udp.saw, /10\.99\.0\.77 is announced, and does not answer; 10\.99\.0\.1 does/);
    assert.match(udp.do, /media\.announce = \["10\.99\.0\.1"\]/);
    await wrong.stop();
  });
  await t.test('the TURN server has another secret', async (t) => {
    const relay = await world.serve('faults-relay', SETTINGS.replace('[::]:8080', '[::]:8081').replace(`:${MEDIA}"`, ':3479"'));
    const servers = `[turn]\nenabled = false\n[[ice_servers]]\nurl = "turn:${V4}:3479?transport=udp"\nusername = "9999999999:x"\ncredential = "wrong"\n`;
    const wrong = await world.serve('faults-turn', SETTINGS + servers);
    const report = await world.doctor(world.client, [URL, '--config', wrong.config]);
    for (const each of [relay, wrong]) await each.stop();
    assert.match(of(t, report, 'TURN, UDP').saw, /refuses the password/);
    assert.doesNotMatch(JSON.stringify(report), /"wrong"|9999999999/);
    assert.deepEqual(failing(report), ['TURN, UDP']);
  });
  await t.test('certificates', async (t) => {
    for (const [days, words] of [[-1, /expired .* ago/], [30, /holds for (29|30) days more/]]) {
      const { cert, key, authority } = makeCertificate(world.directory, days);
      const https = SETTINGS.replace('[media]', `tls_cert = "${cert}"\ntls_key = "${key}"\n[media]`).replace('8080', '443');
      const server = await world.serve(`faults-tls${days}`, https);
      const look = (settings) => world.doctor(world.client, [`https://${V4}`, '--config', server.config], settings);
      const report = await look({ SSL_CERT_FILE: authority });
      assert.match(of(t, report, 'certificate').saw, words);
      assert.deepEqual(failing(report), days < 0 ? ['certificate'] : []);
      assert.equal(of(t, report, 'TURN, TLS 443').verdict, 'ok');
      if (days > 0) assert.match(of(t, await look({}), 'certificate').saw, /not trusted here/);
      const local = await world.doctor(world.server, ['--config', server.config, '--ntp', '127.0.0.1:9']);
      assert.match(of(t, local, 'certificate').saw, words);
      await server.stop();
    }
  });
  await t.test('Chromium by port 443 alone', { skip: haveChromium ? false : 'Chromium is not installed' }, async (t) => {
    const { cert, key } = makeCertificate(world.directory);
    const https = SETTINGS.replace('[media]', `tls_cert = "${cert}"\ntls_key = "${key}"\n[media]`).replace('8080', '443');
    const server = await world.serve('faults-443', https);
    world.rules(`udp dport ${MEDIA} drop`, `tcp dport ${MEDIA} drop`);
    const browser = await launchChromiumIn(world.client, world.directory, '--ignore-certificate-errors');
    t.after(() => browser.close());
    const found = await lookByPage(await newPage(browser), `https://${V4}`, server.token);
    for (const [path, { text }] of Object.entries(found)) t.diagnostic(`${path}: ${text.replaceAll('\n', ' | ')}`);
    const working = Object.entries(found).filter(([, { verdict }]) => verdict === 'ok');
    assert.deepEqual(working.map(([path]) => path), ['HTTP', 'WebSocket', 'TURN, TLS 443']);
    world.rules();
    await server.stop();
  });
  await t.test('a call in Chromium by port 443 alone', { skip: haveChromium ? false : 'Chromium is not installed' }, async (t) => {
    const { cert, key } = makeCertificate(world.directory);
    const https = SETTINGS.replace('[media]', `tls_cert = "${cert}"\ntls_key = "${key}"\n[media]`).replace('8080', '443');
    const server = await world.serve('faults-call', https);
    world.rules(`udp dport ${MEDIA} drop`, `tcp dport ${MEDIA} drop`);
    const pages = {};
    for (const name of ['Ada', 'Bo']) {
      const browser = await launchChromiumIn(world.client, world.directory, '--ignore-certificate-errors');
      t.after(() => browser.close());
      const grants = ['--room', 'call', '--identity', name, '--publish', '--subscribe'];
      const token = execFileSync(BINARY, ['token', '--config', server.config, ...grants], { encoding: 'utf8' }).trim();
      const began = performance.now();
      pages[name] = await enterRoom(browser, { url: `https://${V4}` }, `call#token=${token}`, name);
      t.diagnostic(`${name} is connected ${Math.round(performance.now() - began)} ms after opening the page`);
    }
    for (const page of Object.values(pages)) await waitForMedia(page, 1);
    await assertFlows(pages, 1, 3);
    for (const page of Object.values(pages)) assert.equal(await shownPath(page), 'turn/tls');
    world.rules();
    await server.stop();
  });
});

test('on the server', { skip }, async (t) => {
  const world = makeWorld();
  t.after(world.remove);
  const server = await world.serve('faults-local', SETTINGS);
  const look = (...args) => world.doctor(world.server, ['--config', server.config, '--ntp', '127.0.0.1:9', ...args]);
  await t.test('a server that runs is told from a foreign program', async (t) => {
    const report = await look();
    assert.deepEqual(failing(report), []);
    assert.match(of(t, report, 'http port').saw, /Weir runs here/);
    assert.match(of(t, report, 'media port').saw, /Weir runs here/);
    assert.equal(of(t, report, 'clock').verdict, 'unknown');
    await server.stop();
    assert.match(of(t, await look(), 'media port').saw, /is free/);
  });
  await t.test('a clock a day off is found by NTP', async (t) => {
    const ntp = await ntpServer();
    const now = new Date(Date.now() - 86_400_000).toISOString();
    const { stdout } = await promisify(execFile)(BINARY, ['doctor', '--json', '--now', now, '--ntp', `127.0.0.1:${ntp.port}`]).catch((error) => error);
    const { findings } = JSON.parse(stdout);
    ntp.close();
    assert.match(of(t, { findings }, 'clock').saw, /^(1 day|23 h 59 min) behind 127\.0\.0\.1/);
  });
});

test('IPv6', { skip }, async (t) => {
  for (const [name, families, announce] of [
    ['alone', { v4: false, v6: true }, [V6]],
    ['and IPv4', { v4: true, v6: true }, [V4, V6]],
  ])
    await t.test(name, async (t) => {
      const world = makeWorld(families);
      t.after(world.remove);
      const settings = SETTINGS.replace(/announce = .*/, `announce = ${JSON.stringify(announce)}`);
      const server = await world.serve(`faults-v6-${announce.length}`, settings);
      for (const address of announce) {
        const url = `http://${address.includes(':') ? `[${address}]` : address}:8080`;
        const report = await world.doctor(world.client, [url, '--config', server.config]);
        assert.deepEqual(failing(report), [], `by ${url}`);
        for (const each of announce) {
          const family = each.includes(':') ? 'IPv6' : 'IPv4';
          for (const transport of ['UDP', 'TCP']) assert.equal(of(t, report, `${transport}, ${family}`).verdict, 'ok');
        }
      }
      if (haveChromium) {
        const browser = await launchChromiumIn(world.client, world.directory);
        const page = await newPage(browser);
        const found = await lookByPage(page, `http://${announce.length > 1 ? V4 : `[${V6}]`}:8080`, server.token);
        await browser.close();
        t.diagnostic(`Chromium: ${JSON.stringify(found)}`);
        assert.deepEqual(Object.values(found).filter(({ verdict }) => verdict !== 'ok'), []);
        for (const each of announce) assert.ok(found[`UDP, ${each.includes(':') ? 'IPv6' : 'IPv4'}`]);
      }
      await server.stop();
    });
});

/** @returns {Promise<{port: number, close: () => void}>} an NTP server with this machine's clock */
function ntpServer() {
  const socket = createSocket('udp4');
  socket.on('message', (question, { port, address }) => {
    const answer = Buffer.alloc(48);
    answer.writeUInt8(0x24, 0);
    answer.writeUInt8(1, 1);
    question.copy(answer, 24, 40, 48);
    answer.writeUInt32BE(Math.floor(Date.now() / 1000) + 2_208_988_800, 40);
    socket.send(answer, port, address);
  });
  return new Promise((resolve) => {
    socket.bind(0, '127.0.0.1', () => resolve({ port: socket.address().port, close: () => socket.close() }));
  });
}
