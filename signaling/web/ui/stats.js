/**
 * Statistics, on the tiles and in one line for the whole connection. Off until asked for.
 */

import { formatBitrate, h } from '/assets/ui/dom.js';

/**
 * @typedef {import('/assets/client/room.js').Room} Room
 * @typedef {import('/assets/client/peer.js').Slot} Slot
 * @typedef {import('/assets/client/stats.js').Stats} Stats
 */

const INTERVAL_MS = 1000;

export class StatsPanel {
  /** @type {Room} */ #room;
  /** @type {import('/assets/ui/grid.js').Grid} */ #grid;
  #timer = 0;
  element = h('p', { class: 'stats-line', 'data-testid': 'stats-panel', hidden: true });

  /**
   * @param {Room} room
   * @param {import('/assets/ui/grid.js').Grid} grid
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
      transport.protocol ? `${transport.protocol.toUpperCase()}${transport.local === 'relay' ? ' over TURN' : ''}` : '',
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
    `${entry.frameWidth}×${entry.frameHeight}  ${Math.round(entry.framesPerSecond)} fps`,
    `${formatBitrate(entry.bitrate)}  ${entry.codec}`,
    qualityText(slot),
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
 * Why this layer, in words.
 *
 * @param {Slot} slot
 */
export function qualityText({ layer, reason }) {
  if (!reason) return '';
  const which = layer === null ? 'paused' : layer === '' ? 'one layer' : `layer ${layer}`;
  const why = {
    'only-layer': layer === '' ? '' : 'the only one there is',
    'nearest-size': `${reason.chosen}p for ${reason.wanted}p`,
    hidden: 'not on the screen',
    'codec-not-supported': 'codec not supported',
    muted: 'camera off',
  }[reason.code];
  return [which, why ?? reason.code].filter(Boolean).join(': ');
}
