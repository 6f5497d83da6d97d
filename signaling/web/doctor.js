/**
 * The page that looks at each way between this browser and the server.
 */

import { WeirError } from './client/errors.js';
import { findPaths, tryPath } from './client/paths.js';
import { brand, h } from './ui/dom.js';
import { verdictOf } from './ui/verdicts.js';

/**
 * @typedef {import('./ui/verdicts.js').Verdict} Verdict
 * @typedef {import('./client/paths.js').Entry} Entry
 */

const WORDS = { ok: 'Works', fails: 'Shut', unknown: 'Not known', warning: 'Beware', running: 'Trying' };
/** A clock off by more than this is said, in milliseconds. `Date` is in whole seconds. */
const CLOCK_MS = 30_000;
const WEBSOCKET_MS = 8_000;

const list = h('ol', { class: 'findings', 'data-testid': 'findings', 'aria-live': 'polite' });
const summary = h('p', { class: 'doctor-summary', role: 'status', 'data-testid': 'doctor-summary' });
const token = h('input', { type: 'password', id: 'token', autocomplete: 'off', value: takeToken(), 'data-testid': 'token-input' });
const tokenField = h(
  'div',
  { hidden: true },
  h('label', { for: 'token', class: 'label' }, 'Token'),
  token,
  h('p', { class: 'hint' }, 'This server asks for one. Take one for a room that nobody uses, with publish and subscribe.'),
);
const button = h('button', { class: 'button primary', 'data-testid': 'check' }, 'Check the connection');
const form = h('form', { class: 'card doctor-form', onsubmit: start }, tokenField, button);

document.getElementById('app')?.replaceChildren(
  h(
    'main',
    { class: 'doctor', 'data-testid': 'doctor' },
    h('header', { class: 'landing-head' }, brand()),
    h(
      'div',
      { class: 'doctor-body' },
      h('h1', {}, 'Connection check'),
      h('p', { class: 'muted' }, 'Tries each way that picture and sound can take from here to this server: sends a tone, and has it sent back. Camera and microphone stay off.'),
      form,
      summary,
      list,
    ),
  ),
);
void fetch('/v1/config')
  .then((response) => response.json())
  .then(({ authRequired }) => (tokenField.hidden = !authRequired))
  .catch(() => {});

/** @param {Event} event */
async function start(event) {
  event.preventDefault();
  button.disabled = true;
  list.replaceChildren();
  summary.textContent = 'Looking…';
  /** @type {Verdict[]} */ const all = [];
  try {
    await examine((verdict) => all.push(verdict));
  } finally {
    const count = (/** @type {Verdict['verdict']} */ kind) => all.filter(({ verdict }) => verdict === kind).length;
    summary.textContent = `${count('ok')} of ${all.length} work${count('fails') ? `, ${count('fails')} shut` : ''}.`;
    summary.dataset.done = count('fails') ? 'fails' : 'ok';
    button.disabled = false;
  }
}

/** @param {(verdict: Verdict) => void} tell */
async function examine(tell) {
  /** @param {string} name @param {() => Promise<Verdict>} look */
  const step = async (name, look) => {
    const row = addRow(name);
    const verdict = await look();
    fill(row, name, verdict);
    tell(verdict);
    return verdict.verdict === 'ok';
  };
  if (!(await step('HTTP', http))) return;
  /** @type {Entry} */
  const entry = { room: roomOf(token.value.trim()) ?? `doctor-${crypto.getRandomValues(new Uint32Array(2)).join('')}`, token: token.value.trim() || undefined };
  /** @type {RTCIceServer[]} */ let servers = [];
  await step('WebSocket', () => webSocket(entry, (told) => (servers = told)));
  /** @type {import('./client/paths.js').Path[]} */ let paths = [];
  try {
    paths = await findPaths(entry, servers);
  } catch (error) {
    const { sentence } = WeirError.from(error, 'unknown');
    await step('Media', async () => ({ verdict: 'unknown', saw: `Not tried: ${sentence}` }));
  }
  for (const path of paths) await step(path.name, async () => verdictOf(path, await tryPath(path, entry)));
}

/** @returns {Promise<Verdict>} */
async function http() {
  const began = performance.now();
  const response = await fetch('/v1/config', { cache: 'no-store' }).catch(() => null);
  const took = Math.round(performance.now() - began);
  if (!response?.ok) return { verdict: 'fails', saw: 'The server does not answer any more.' };
  const off = Date.parse(response.headers.get('date') ?? '') - Date.now();
  if (Math.abs(off) > CLOCK_MS)
    return {
      verdict: 'warning',
      saw: `Answers in ${took} ms; its clock is ${hours(Math.abs(off))} ${off > 0 ? 'ahead of' : 'behind'} this device’s.`,
      means: 'One of the two is wrong. With the server’s, tokens and TURN passwords are refused.',
      mend: 'Set the clock of this device by the network; if it is right, set the server’s.',
    };
  return { verdict: 'ok', saw: `Answers in ${took} ms, over ${location.protocol === 'https:' ? 'HTTPS' : 'HTTP'}.` };
}

/** @param {number} ms */
function hours(ms) {
  const minutes = Math.round(ms / 60_000);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/**
 * Opens the WebSocket and joins: only those who join are told of relays.
 *
 * @param {Entry} entry
 * @param {(servers: RTCIceServer[]) => void} tell
 * @returns {Promise<Verdict>}
 */
function webSocket(entry, tell) {
  const began = performance.now();
  const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/v1/rooms/${encodeURIComponent(entry.room)}/ws`, 'weir.v1');
  return new Promise((resolve) => {
    let opened = 0;
    /** @param {Verdict} verdict */
    const done = (verdict) => {
      clearTimeout(timer);
      socket.close();
      resolve(verdict);
    };
    const opens = (/** @type {string} */ rest) => `Opens in ${Math.round(opened - began)} ms${rest}.`;
    const over = () =>
      opened
        ? done({ verdict: 'unknown', saw: opens(', and no room can be joined'), means: 'The server asks for a token that this one is not.' })
        : done({
            verdict: 'fails',
            saw: 'It does not open.',
            means: 'Nobody can join from here, though pages load.',
            mend: 'A proxy on the way has to let WebSockets through: Upgrade and Connection of /v1/rooms/…/ws.',
          });
    const timer = setTimeout(over, WEBSOCKET_MS);
    socket.onclose = over;
    socket.onopen = () => {
      opened = performance.now();
      socket.send(JSON.stringify({ type: 'join', name: 'doctor', token: entry.token }));
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type !== 'joined') return;
      tell([...(message.iceServers ?? []), ...(message.relayServers ?? [])]);
      done({ verdict: 'ok', saw: opens('; a room can be joined') });
    };
  });
}

/** @param {string} name */
function addRow(name) {
  const row = h('li', { class: 'finding', 'data-path': name });
  fill(row, name, null);
  list.append(row);
  return row;
}

/**
 * @param {HTMLElement} row
 * @param {string} name
 * @param {Verdict | null} verdict null: it is being tried
 */
function fill(row, name, verdict) {
  const kind = verdict?.verdict ?? 'running';
  row.dataset.verdict = kind;
  row.replaceChildren(
    h('h2', {}, name, h('span', { class: 'verdict' }, WORDS[kind])),
    ...(verdict ? [h('p', {}, verdict.saw)] : []),
    ...(verdict?.means ? [h('p', { class: 'muted' }, verdict.means)] : []),
    ...(verdict?.mend ? [h('p', { class: 'mend' }, verdict.mend)] : []),
  );
}

/**
 * The room that a token is for.
 *
 * @param {string} text
 */
function roomOf(text) {
  try {
    const part = text.split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') ?? '';
    const { room } = JSON.parse(atob(part));
    return /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(room) ? String(room) : null;
  } catch {
    return null;
  }
}

/** Reads `#token=…` and takes it out of the address bar. */
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  if (found) history.replaceState(history.state, '', location.pathname + location.search);
  return found;
}
