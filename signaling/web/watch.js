/**
 * The page for those who only watch: one room's stream over WHEP.
 */

import { Player } from './client/index.js';
import { ICON, formatBitrate, h, icon } from './ui/dom.js';
import { frozenText } from './ui/stats.js';

const STATS_MS = 1000;
/** Without a new frame for this long, in milliseconds, the picture is called paused. */
const STALLED_MS = 4000;

const room = roomInAddress();
const video = h('video', { muted: true, playsInline: true, autoplay: true, 'data-testid': 'video' });
const state = h('span', { class: 'watch-state', role: 'status', 'data-testid': 'status-banner' });
const words = h('div', { class: 'watch-words', 'aria-live': 'polite' });
const stats = h('p', { 'data-testid': 'stats-panel' });
const unmute = h('button', { class: 'button primary watch-unmute', 'data-testid': 'unmute', hidden: true, onclick: () => setMuted(false) }, icon('sound'), 'Tap for sound');
const sound = h('button', { class: 'button tool', 'data-testid': 'sound-toggle', onclick: () => setMuted(!video.muted) });
const full = h('button', { class: 'button tool', 'aria-label': 'Full screen', title: 'Full screen (f)', 'aria-keyshortcuts': 'F', 'data-testid': 'fullscreen', onclick: toggleFull }, icon('full'));
const stage = h('div', { class: 'watch-stage' }, video, words, unmute);

let decoded = 0;
let decodedAt = 0;
/** @type {Player} */
let player;

document.title = `${room} · Weir`;
document.getElementById('app')?.replaceChildren(
  h(
    'main',
    { class: 'watch', 'data-testid': 'watch' },
    h(
      'header',
      { class: 'watch-head' },
      h('a', { href: '/', class: 'brand', 'aria-label': 'Weir' }, h('img', { src: ICON, alt: '', width: 26, height: 26 })),
      h('h1', { title: room }, room),
      state,
      h('a', { class: 'button quiet small', href: `/r/${encodeURIComponent(room)}` }, 'Join the room'),
    ),
    stage,
    h('footer', { class: 'watch-foot' }, stats, sound, full),
  ),
);
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || (event.target instanceof Element && event.target.closest('input'))) return;
  if (event.key === 'm') setMuted(!video.muted);
  if (event.key === 'f') toggleFull();
});
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});
setInterval(() => void drawStats(), STATS_MS);
setMuted(true);
start(takeToken());

/** @param {string} token */
function start(token) {
  player = new Player({ url: `/whep/${encodeURIComponent(room)}`, video, token: token || undefined });
  Object.assign(window, { weir: player });
  player.on('state', draw);
  player.start();
}

/** @param {{state: string, words: string, error: import('./client/index.js').WeirError | null}} event */
function draw({ state: now, words: text, error }) {
  state.textContent = now === 'playing' ? 'Live' : now === 'waiting' ? 'Not live' : now === 'failed' ? 'Off' : 'Connecting';
  state.dataset.state = now;
  state.dataset.words = text;
  unmute.hidden = now !== 'playing' || !video.muted;
  decodedAt = performance.now();
  if (now === 'playing') words.replaceChildren();
  else if (error?.code === 'unauthorized' || error?.code === 'forbidden') words.replaceChildren(h('strong', {}, error.sentence), tokenForm());
  else {
    words.replaceChildren(
      ...(now === 'failed' ? [] : [h('span', { class: 'ripple', 'aria-hidden': 'true' })]),
      h('strong', {}, text),
      ...(now === 'waiting' ? [h('span', {}, 'It plays here as soon as somebody is live. You can leave this page open.')] : []),
    );
  }
}

function tokenForm() {
  const input = h('input', { type: 'password', placeholder: 'Token', 'aria-label': 'Token', autocomplete: 'off', 'data-testid': 'token-input' });
  return h(
    'form',
    {
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        player.stop();
        start(input.value.trim());
      },
    },
    input,
    h('button', { class: 'button primary' }, 'Watch'),
  );
}

async function drawStats() {
  const now = await player.stats().catch(() => null);
  if (!now || player.state !== 'playing') {
    stats.textContent = '';
    return;
  }
  if (now.framesDecoded !== decoded) decodedAt = performance.now();
  decoded = now.framesDecoded;
  const stalled = performance.now() - decodedAt > STALLED_MS;
  state.textContent = stalled ? 'Paused' : 'Live';
  // The server knows why, and knows it sooner.
  const why = decoded === 0 || stalled ? frozenText(player.waiting) : '';
  const text = why || (stalled && decoded > 0 ? 'The picture has paused' : stalled ? 'Waiting for a picture' : '');
  words.replaceChildren(...(text ? [h('strong', {}, text)] : []));
  const lost = now.packetsLost > 0 ? `${((100 * now.packetsLost) / (now.packetsLost + now.packetsReceived)).toFixed(1)} % lost` : '';
  stats.textContent = [
    now.frameWidth ? `${now.frameWidth}×${now.frameHeight}` : '',
    now.codec,
    `${Math.round(now.framesPerSecond)} fps`,
    formatBitrate(now.bitrate),
    lost,
  ]
    .filter(Boolean)
    .join('  ·  ');
}

/** @param {boolean} muted */
function setMuted(muted) {
  video.muted = muted;
  if (!muted) void video.play().catch(() => {});
  unmute.hidden = !muted || !player || player.state !== 'playing';
  sound.replaceChildren(icon(muted ? 'sound-off' : 'sound'));
  sound.setAttribute('aria-label', muted ? 'Turn the sound on' : 'Turn the sound off');
  sound.title = `${muted ? 'Turn the sound on' : 'Turn the sound off'} (m)`;
}

function toggleFull() {
  if (document.fullscreenElement) void document.exitFullscreen();
  else if (stage.requestFullscreen) void stage.requestFullscreen();
  // Telephones of one maker let only the video itself fill the screen.
  else if ('webkitEnterFullscreen' in video) /** @type {any} */ (video).webkitEnterFullscreen();
}

function roomInAddress() {
  try {
    return decodeURIComponent(/^\/watch\/([^/]+)/.exec(location.pathname)?.[1] ?? '');
  } catch {
    return '';
  }
}

/** Reads `#token=…` and takes it out of the address bar. */
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  if (found) history.replaceState(history.state, '', location.pathname + location.search);
  return found;
}
