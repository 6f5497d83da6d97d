// WHEP in Chromium: how soon a late viewer sees, and how soon everyone sees again after loss.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { closePage, haveChromium, launchChromium } from './lib/browsers.mjs';
import { dropPackets, nftWorks } from './lib/loss.mjs';
import { inbound, waitForMedia } from './lib/media.mjs';
import { enterRoom, withoutDevices } from './lib/room.mjs';
import { startServer } from './lib/server.mjs';
import { sleep } from './lib/wait.mjs';
import { firstFrame, play, playerPage, stop } from './lib/whep.mjs';

describe('viewers', { skip: haveChromium ? false : 'Chromium is not installed' }, () => {
  let server;
  let browser;
  let publisher;

  before(async () => {
    server = await startServer('viewers');
    browser = await launchChromium();
    publisher = await enterRoom(browser, server, 'stage', 'Ada');
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('the first frame of a late joiner: median under 500 ms after ICE, over 20 joins', async (context) => {
    const page = await playerPage(browser, server);
    await stop(page, await play(page, 'stage'));
    const waits = [];
    for (let join = 0; join < 20; join += 1) {
      const session = await play(page, 'stage');
      waits.push(Math.round((await firstFrame(page)).ms));
      await stop(page, session);
    }
    await closePage(page);
    const median = [...waits].sort((a, b) => a - b)[10];
    context.diagnostic(`first frame after ICE, ms: median ${median}, all ${waits.join(' ')}`);
    assert.ok(median < 500, `median ${median} ms of ${waits.join(' ')}`);
  });

  const noLoss = nftWorks() ? false : 'needs root and nft to drop packets';
  test('two seconds of 50 % loss: the picture is whole again within a second', { skip: noLoss }, async (context) => {
    const viewer = await playerPage(browser, server);
    await play(viewer, 'stage');
    // Who only watches: a second camera would leave two cores no time for the pictures that are counted.
    const member = await enterRoom(browser, server, 'stage', 'Bo', { choose: withoutDevices });
    const pages = { viewer, member };
    for (const page of Object.values(pages)) await waitForMedia(page, 1);
    const source = await publisher.evaluate(async () => {
      const stats = await window.watched.at(-1).getStats();
      const transport = [...stats.values()].find((report) => report.type === 'transport');
      return stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId).port;
    });
    const before = await Promise.all(Object.values(pages).map(inbound));
    const restore = dropPackets({ from: source, to: server.mediaPort, percent: 50 });
    await sleep(2000);
    restore();
    const during = await Promise.all(Object.values(pages).map(inbound));
    await sleep(1000);
    const healed = await Promise.all(Object.values(pages).map(inbound));
    await sleep(1000);
    const later = await Promise.all(Object.values(pages).map(inbound));
    const frames = (sample) => Object.values(sample).reduce((sum, line) => sum + line.frames, 0);
    Object.keys(pages).forEach((name, index) => {
      const [a, b, c, d] = [before, during, healed, later].map((samples) => frames(samples[index]));
      context.diagnostic(`${name}: ${b - a} frames in 2 s of loss, ${c - b} in the second after, ${d - c} in the next`);
      assert.ok(c > b, `${name}: no frame in the second after the loss`);
      assert.ok(d - c >= 10, `${name}: ${d - c} frames in the second second after the loss`);
    });
    await closePage(viewer);
    await closePage(member);
  });
});
