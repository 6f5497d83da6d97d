// The page `/doctor`.

import assert from 'node:assert/strict';

/**
 * Looks, and gives what the page says: `{[path]: {verdict, text}}`.
 * @param {import('puppeteer-core').Page} page
 * @param {string} url of the server
 * @param {string} [token]
 */
export async function lookByPage(page, url, token) {
  await page.goto(`${url}/doctor${token ? `#token=${token}` : ''}`, { waitUntil: 'load' });
  await page.click('[data-testid="check"]');
  await page.waitForSelector('[data-testid="doctor-summary"][data-done]', { timeout: 90_000 });
  const rows = await page.$$eval('.finding', (all) => all.map((row) => [row.dataset.path, { verdict: row.dataset.verdict, text: row.innerText }]));
  // Firefox says to the console as well that a way is shut.
  assert.deepEqual(page.complaints.filter((words) => !words.includes('WebRTC: ICE failed')), []);
  return Object.fromEntries(rows);
}
