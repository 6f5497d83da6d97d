/**
 * Statistics, on the tiles and in one line for the whole connection. Off until asked for.
 */

import { formatBitrate, h } from './dom.js';

/**
 * @typedef {import('../client/room.js').Room} Room
 * @typedef {import('../client/peer.js').Slot} Slot
 * @typedef {import('../client/stats.js').Stats} Stats
 */

const INTERVAL_MS = 1000;

export class StatsPanel {
  /** @type {Room} */ #room;
  /** @type {import('./grid.js').Grid} */ #grid;
  #timer = 0;
  element = h('p', { class: 'stats-line', 'data-testid': 'stats-panel', hidden: true });

  /**
   * @param {Room} room
   * @param {import('./grid.js').Grid} grid
   */
  constructor(room, grid) {
    this.#room = room;
    this.#grid = grid;
  }

  get open() {
    return !this.element.hidden;
  }

  /** @param {boolean} open */
  set open(open) {
    this.element.hidden = !open;
    clearInterval(this.#timer);
    if (open) {
      this.#timer = setInterval(() => void this.#draw(), INTERVAL_MS);
      void this.#draw();
    } else {
      for (const tile of this.#grid.tiles) tile.setStats(null);
    }
  }

  close() {
    clearInterval(this.#timer);
  }

  async #draw() {
    const stats = await this.#room.stats().catch(() => null);
    if (!stats || !this.open) return;
    for (const tile of this.#grid.tiles) {
      if (tile.face?.slot) tile.setStats(slotText(stats, tile.face.slot));
      else tile.setStats(tile.face?.kind === 'self' ? senderText(stats) : null);
    }
    const { transport } = stats;
    this.element.textContent = [
      `receiving ${formatBitrate(transport.receivedBitrate)}`,
      `sending ${formatBitrate(transport.sentBitrate)}`,
      transport.roundTripTime === null ? '' : `round trip ${Math.round(transport.roundTripTime * 1000)} ms`,
      transport.path ? `over ${transport.path.toUpperCase()}` : '',
    ]
      .filter(Boolean)
      .join('  ·  ');
  }
}

/**
 * @param {Stats} stats
 * @param {Slot} slot
 */
function slotText(stats, slot) {
  const entry = stats.slots.find(({ mid }) => mid === slot.mid);
  if (!entry) return null;
  return [
    `now ${entry.frameWidth}×${entry.frameHeight}  ${Math.round(entry.framesPerSecond)} fps`,
    `${formatBitrate(entry.bitrate)}  ${entry.codec}`,
    `target ${qualityText(slot)}`,
  ]
    .filter(Boolean)
    .join('\n');
}

/** @param {Stats} stats */
function senderText(stats) {
  const layers = stats.senders.find(({ source }) => source === 'camera')?.layers ?? [];
  return (
    layers
      .map(({ rid, active, frameWidth, frameHeight, framesPerSecond, bitrate }) =>
        active && bitrate > 0
          ? `${rid || 'one'}  ${frameWidth}×${frameHeight}  ${Math.round(framesPerSecond)} fps  ${formatBitrate(bitrate)}`
          : `${rid || 'one'}  paused`,
      )
      .join('\n') || 'nothing sent'
  );
}

/**
 * The layer that the server chose, and why, in words.
 *
 * @param {Slot} slot
 */
export function qualityText({ layer, reason }) {
  if (!reason) return '';
  const which = layer === null ? 'paused' : layer === '' ? 'one layer' : `layer ${layer}`;
  return [which, reasonText(reason)].filter(Boolean).join(': ');
}

/**
 * A reason of the server, in words: `docs/PROTOCOL.md` lists the codes.
 *
 * @param {import('../client/protocol.js').Reason} reason
 */
export function reasonText({ code, wanted = 0, chosen = 0, estimate = 0, needed = 0, slot = 0, ms = 0, seconds = 0 }) {
  const short = `the link carries ${formatBitrate(estimate)}, needed are ${formatBitrate(needed)}`;
  switch (code) {
    case 'only-layer':
      return 'the only one there is';
    case 'nearest-size':
      if (wanted === 0) return 'the best there is';
      // What is well below the size on screen is what the publisher sends at most.
      return `${chosen || '?'}p${chosen < wanted * 0.85 ? ', the best that comes,' : ''} for ${wanted}p`;
    case 'estimate-too-low':
      return chosen === wanted ? `fewer frames: ${short}` : `${chosen || '?'}p, not ${wanted || '?'}p: ${short}`;
    case 'priority-to-others':
      return `slot ${slot} has priority`;
    case 'waiting-for-stability':
      return `a better one in ${(ms / 1000).toFixed(1)} s, if it lasts`;
    case 'recently-downgraded':
      return `went down a moment ago, up in ${seconds} s at the soonest`;
    case 'paused-no-bandwidth':
      return short;
    case 'server-overloaded':
      return 'the server has too much to do';
    case 'hidden':
      return 'not on the screen';
    case 'audio':
      return 'always whole';
    case 'codec-not-supported':
      return 'this browser cannot play the codec';
    case 'muted':
      return 'camera off';
    case 'no-packets':
      return 'nothing comes from the publisher';
    case 'keyframe-interval':
      return `the publisher sends a keyframe every ${Math.ceil(ms / 1000)} s only`;
    case 'no-keyframe':
      return 'no keyframe has come from the publisher';
    default:
      return code;
  }
}

/**
 * Why a picture stands still, for those who do not look at statistics; `''` where it does not.
 *
 * @param {import('../client/protocol.js').Reason | null} reason
 */
export function frozenText(reason) {
  switch (reason?.code) {
    case 'paused-no-bandwidth':
      return 'Paused: your connection is too slow';
    case 'server-overloaded':
      return 'Paused: the server is overloaded';
    case 'no-packets':
      return 'No picture is being sent';
    case 'codec-not-supported':
      return 'Your browser cannot play this video';
    case 'keyframe-interval':
      return `The picture comes within ${Math.ceil((reason.ms ?? 0) / 1000)} s: the stream has few keyframes`;
    case 'no-keyframe':
      return 'Waiting for the picture';
    default:
      return '';
  }
}
