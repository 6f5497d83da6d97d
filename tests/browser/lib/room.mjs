// The web app, as a person uses it.

import assert from 'node:assert/strict';
import { join } from 'node:path';

import { newPage } from './browsers.mjs';
import { OUT } from './server.mjs';
import { until } from './wait.mjs';

const byId = (id) => `[data-testid="${id}"]`;

const nothing = async () => {};

/**
 * Opens the room's page in a new page of `browser` and joins under `name`.
 * `prepare` has the page before it loads, `choose` before it joins.
 */
export async function enterRoom(browser, server, room, name, { prepare = nothing, choose = nothing } = {}) {
  const page = await newPage(browser);
  await prepare(page);
  await page.goto(`${server.url}/r/${room}`);
  await choose(page);
  await joinForm(page, name);
  await connected(page);
  return page;
}

/**
 * A small camera of five pictures a second, and sound as it comes. Pages that encode, decode and cancel echoes for more leave
 * two cores no time: pictures stand still, and how fast a page loads says how busy the others are.
 */
const LIGHT = {
  video: { width: 640, height: 360, frameRate: 5 },
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
};

/** For `enterRoom`: the page's devices are `LIGHT`, whatever else it asks for. */
export const lightDevices = (page) =>
  page.evaluateOnNewDocument((light) => {
    const devices = navigator.mediaDevices;
    // The page before the first has none.
    if (!devices) return;
    const open = devices.getUserMedia.bind(devices);
    const lighter = (kind, wanted) => wanted[kind] && { [kind]: { ...wanted[kind], ...light[kind] } };
    devices.getUserMedia = (wanted) => open({ ...wanted, ...lighter('video', wanted), ...lighter('audio', wanted) });
  }, LIGHT);

/** For `enterRoom`: turns microphone and camera off before joining, so that the member only watches and listens. */
export async function withoutDevices(page) {
  for (const toggle of ['prejoin-mic', 'prejoin-camera']) {
    await page.waitForSelector(`${byId(toggle)}[aria-pressed="true"]`);
    await page.click(byId(toggle));
    await page.waitForSelector(`${byId(toggle)}[aria-pressed="false"]`);
  }
}

/** Fills in the form that a room's page begins with. */
export async function joinForm(page, name) {
  const input = await page.waitForSelector(byId('name-input'), { visible: true });
  await input.evaluate((element) => (element.value = ''));
  await input.type(name);
  await page.click(byId('join-button'));
}

/** Joins from the form as a page that was here before finds it: with the name that was given then. */
export async function joinAgain(page, name) {
  await page.waitForSelector(byId('join-button'));
  const remembered = await page.$eval('form', (form) => {
    form.requestSubmit();
    return form.querySelector('[data-testid="name-input"]').value;
  });
  assert.equal(remembered, name, 'the page has forgotten the name');
}

/** Resolves when the page's connection stands. */
export async function connected(page) {
  const states = () =>
    page.evaluate(() => {
      const pc = window.weir?.pc;
      return { connection: pc?.connectionState, ice: pc?.iceConnectionState, signaling: pc?.signalingState };
    });
  let last;
  await until('the page is connected', async () => (last = await states()).connection === 'connected').catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(last)}`);
  });
}

/** By which path media comes, as the app's statistics say. */
export async function shownPath(page) {
  const button = '[data-testid="stats-toggle"]';
  const open = await page.$eval(button, (element) => element.getAttribute('aria-pressed') === 'true');
  if (!open) await page.click(button);
  const text = () => page.$eval('[data-testid="stats-panel"]', (element) => element.textContent);
  const found = await until('the statistics name the path', async () => /over ([A-Z/]+)/.exec(await text())?.[1], 5000);
  return found.toLowerCase();
}

/** The names on the tiles that are shown, sorted. */
export function tileNames(page) {
  return page.evaluate(() => {
    const shown = [...document.querySelectorAll('[data-testid="tile"]')].filter((tile) => tile.checkVisibility());
    return shown.map((tile) => tile.querySelector('[data-testid="tile-name"]')?.textContent?.trim() ?? '').sort();
  });
}

/** Resolves when the tiles of the others name exactly `names`; one's own tile may be there too. */
export async function waitForNames(page, own, names, ms = 20_000) {
  const wanted = [...names].sort().join(', ');
  let seen = '';
  const fits = async () => {
    // Own tiles say so in words of their own ("Ada (you)"): what begins with the own name is not another's.
    seen = (await tileNames(page)).filter((name) => !name.startsWith(own)).join(', ');
    return seen === wanted;
  };
  await until(`${own} sees ${wanted}`, fits, ms).catch((error) => {
    throw new Error(`${error.message}; sees ${seen}`);
  });
}

export async function screenshot(page, name) {
  await page.screenshot({ path: join(OUT, `${name}.png`) });
}
