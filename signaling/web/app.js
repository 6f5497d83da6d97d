/**
 * The web app: which page is shown when.
 */

import { Room, WeirError } from './client/index.js';
import { Call } from './ui/call.js';
import { ended } from './ui/ended.js';
import { landing } from './ui/landing.js';
import { Prejoin } from './ui/prejoin.js';

/** @typedef {{element: HTMLElement, close?: () => void}} Page */

const host = /** @type {HTMLElement} */ (document.getElementById('app'));
/** @type {Page | null} */
let page = null;
/** The call there is, or was last. @type {Room | null} */
let current = null;
/** `?ice=relay` sends all media through the server's relay, to try whether that would do. */
const iceTransportPolicy = new URLSearchParams(location.search).get('ice') === 'relay' ? 'relay' : 'all';
/** Kept in memory only: a token in the address or in storage would outlive its use. */
let token = takeToken();
/** @type {Promise<{authRequired: boolean}> | null} */
let config = null;

/** @param {Page} next */
function show(next) {
  page?.close?.();
  page = next;
  host.replaceChildren(next.element);
}

/** Reads `#token=…` and takes it out of the address bar, so that it is not copied or bookmarked with it. */
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  if (found) history.replaceState(history.state, '', location.pathname + location.search);
  return found;
}

/** What the server asks of its visitors. */
function serverConfig() {
  config ??= fetch('/v1/config')
    .then(async (response) => ({ authRequired: response.ok && (await response.json()).authRequired === true }))
    // Joining tells of an unreachable server in better words.
    .catch(() => ({ authRequired: false }));
  return config;
}

async function route() {
  leaveCall();
  const room = roomInAddress();
  if (!room) {
    document.title = 'Weir';
    show({ element: landing({ open: (name) => go(`/r/${name}`) }) });
    return;
  }
  await showPrejoin(room);
}

/** The room that `/r/{room}` names. */
function roomInAddress() {
  const part = /^\/r\/([^/]+)\/?$/.exec(location.pathname)?.[1] ?? '';
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

/** @param {string} path */
function go(path) {
  history.pushState(null, '', path);
  void route();
}

/** @param {string} room */
async function showPrejoin(room) {
  document.title = `${room} · Weir`;
  const { authRequired } = await serverConfig();
  show(
    new Prejoin({
      room,
      token,
      authRequired,
      join: async (choice) => {
        token = choice.token;
        return enter(room, choice, authRequired);
      },
    }),
  );
}

/**
 * @param {string} name of the room
 * @param {import('./ui/prejoin.js').Choice} choice
 * @param {boolean} authRequired
 */
async function enter(name, choice, authRequired) {
  const room = new Room();
  current = room;
  // For tests, and for the curious at the console.
  Object.assign(window, { weir: room });
  await room.join({ room: name, ...choice, token: choice.token || undefined, iceTransportPolicy });
  // Whoever pressed "back" meanwhile is not dragged into a call.
  if (roomInAddress() !== name) {
    room.leave();
    throw new WeirError('closed');
  }
  room.on('state', ({ state, reason }) => {
    if (state === 'closed' && current === room) showEnded(name, reason ?? 'unknown');
  });
  return () => show(new Call({ room, name: choice.name, authRequired }));
}

/**
 * @param {string} room
 * @param {string} reason
 */
function showEnded(room, reason) {
  show({ element: ended({ room, reason, rejoin: () => void showPrejoin(room) }) });
}

function leaveCall() {
  const room = current;
  current = null;
  room?.leave();
}

addEventListener('popstate', () => void route());
addEventListener('hashchange', () => {
  token = takeToken() || token;
});
// A page brought back from the browser's cache has a call that is long over.
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});
void route();
