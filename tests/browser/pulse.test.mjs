// When the app takes a network path for dead: by counts alone, in a browser that has no call.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { haveChromium, launchChromium, newPage } from './lib/browsers.mjs';
import { startServer } from './lib/server.mjs';

describe('silence of a path', { skip: haveChromium ? false : 'Chromium is not installed' }, () => {
  let browser;
  let server;
  let page;

  before(async () => {
    server = await startServer('pulse');
    browser = await launchChromium();
    page = await newPage(browser);
    await page.goto(server.url);
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /**
   * When `Silence` says that the path is dead, in ms.
   * @param {[at: number, sent: number, received: number, unanswered?: number, id?: string][]} looks
   */
  const deaths = (looks) =>
    page.evaluate(async (all) => {
      const { Silence } = await import('/assets/client/pulse.js');
      const silence = new Silence();
      const dead = ([at, sent, received, unanswered = 0, id = 'pair']) => silence.look({ id, sent, received, unanswered }, at);
      return all.filter(dead).map(([at]) => at);
    }, looks);

  test('media that nothing answers for a second is sent in vain', async () => {
    const looks = [[0, 0, 0], [400, 20, 900], [800, 40, 900], [1200, 60, 900], [1600, 80, 900], [2000, 100, 900]];
    assert.deepEqual(await deaths(looks), [1600]);
  });

  test('checks that nothing answers, too, where there is no media', async () => {
    const looks = [[0, 0, 9], [400, 0, 9, 1], [800, 0, 9, 2], [1200, 0, 9, 2], [1600, 0, 9, 3]];
    assert.deepEqual(await deaths(looks), [1200]);
  });

  test('whoever sends next to nothing need not be answered', async () => {
    const looks = [[0, 0, 9], [400, 2, 9], [800, 4, 9, 1], [1200, 6, 9, 1], [1600, 8, 9, 1], [2000, 9, 9, 1]];
    assert.deepEqual(await deaths(looks), []);
  });

  test('another path begins anew', async () => {
    const looks = [[0, 0, 9], [400, 20, 9], [800, 40, 9], [1200, 60, 9, 0, 'other'], [1600, 80, 9, 0, 'other'], [2000, 100, 10, 0, 'other']];
    assert.deepEqual(await deaths(looks), []);
  });

  test('a machine that stood still blames no path for it', async () => {
    const looks = [[0, 0, 0], [400, 20, 900], [2400, 70, 900], [2800, 90, 1800], [3200, 110, 1800]];
    assert.deepEqual(await deaths(looks), []);
  });

  test('a machine that stands still now and then finds out all the same', async () => {
    const looks = [[0, 0, 0], [400, 20, 900], [2400, 70, 900], [2800, 90, 900], [3200, 110, 900]];
    assert.deepEqual(await deaths(looks), [2800]);
  });

  test('what was done about it has five seconds', async () => {
    const looks = [[0, 0, 9]];
    for (let at = 400; at <= 8000; at += 400) looks.push([at, at / 20, 9]);
    assert.deepEqual(await deaths(looks), [1200, 6400]);
  });
});
