// The page `/doctor`: what it says of each way, in real browsers, with and without a fault.

import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { closePage, haveChromium, haveFirefox, launchChromium, launchFirefox, newPage } from './lib/browsers.mjs';
import { lookByPage } from './lib/doctor.mjs';
import { nftWorks } from './lib/loss.mjs';
import { block, unblock } from './lib/network.mjs';
import { makeToken, OUT, startServer, WITH_TOKENS } from './lib/server.mjs';

/** An address that is not loopback: Firefox pairs nothing relayed with loopback. */
const host = Object.values(networkInterfaces())
  .flat()
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

const failing = (found) => Object.entries(found).filter(([, { verdict }]) => verdict !== 'ok').map(([path]) => path);

for (const [name, have, launch] of [
  ['Chromium', haveChromium, launchChromium],
  ['Firefox', haveFirefox, launchFirefox],
])
  test(name, { skip: !have ? `${name} is not installed` : host ? false : 'this machine has no address but loopback' }, async (t) => {
    let server;
    let browser;
    before(async () => {
      server = await startServer(`paths-${name}`, WITH_TOKENS, host);
      browser = await launch();
    });
    after(async () => {
      unblock();
      await browser?.close();
      await server?.stop();
    });

    await t.test('every way works', async (t) => {
      let page;
      const look = async () => {
        if (page) await closePage(page);
        page = await newPage(browser);
        const seen = await lookByPage(page, server.url, makeToken('doctor', 'ann', '--publish', '--subscribe'));
        for (const [path, { text }] of Object.entries(seen)) t.diagnostic(`${path}: ${text.replaceAll('\n', ' | ')}`);
        return seen;
      };
      let found = await look();
      // A browser that had no processor time for its checks is asked once more; what is shut stays shut.
      if (failing(found).length > 0) found = await look();
      await page.screenshot({ path: join(OUT, `paths-${name}.png`), fullPage: true });
      assert.deepEqual(failing(found), []);
      assert.deepEqual(Object.keys(found), ['HTTP', 'WebSocket', 'UDP, IPv4', 'TCP, IPv4', 'TURN, TCP', 'TURN, UDP']);
      await closePage(page);
    });

    await t.test('a shut port is named', { skip: nftWorks() ? false : 'needs root and nft' }, async (t) => {
      const page = await newPage(browser);
      block(server.mediaPort, 'udp');
      const found = await lookByPage(page, server.url, makeToken('doctor', 'ann', '--publish', '--subscribe'));
      unblock();
      t.diagnostic(found['UDP, IPv4'].text.replaceAll('\n', ' | '));
      await page.setViewport({ width: 390, height: 844 });
      await page.screenshot({ path: join(OUT, `paths-${name}-shut.png`), fullPage: true });
      assert.deepEqual(failing(found), ['UDP, IPv4', 'TURN, UDP']);
      assert.match(found['UDP, IPv4'].text, new RegExp(`Open UDP ${server.mediaPort} to ${host}`));
      await closePage(page);
    });
  });

test('a server that asks for tokens', { skip: haveChromium ? false : 'Chromium is not installed' }, async (t) => {
  const server = await startServer('paths-token', WITH_TOKENS);
  const browser = await launchChromium();
  t.after(async () => {
    await browser.close();
    await server.stop();
  });
  const page = await newPage(browser);
  const without = await lookByPage(page, server.url);
  assert.equal(without.Media.verdict, 'unknown');
  assert.ok(await page.$eval('[data-testid="token-input"]', (input) => input.offsetParent !== null && input.labels.length === 1));
  const fresh = await newPage(browser);
  const found = await lookByPage(fresh, server.url, makeToken('doctor-room', 'ann', '--publish', '--subscribe'));
  assert.deepEqual(failing(found), []);
  assert.doesNotMatch(fresh.url(), /token/);
});
