/**
 * The tiles of a call: decides who has one, gives each its slot, and lays them out.
 */

import { h } from './dom.js';
import { GAP, cornerLayout, gridLayout, stageLayout } from './layout.js';
import { Tile } from './tile.js';

/**
 * @typedef {import('../client/room.js').Room} Room
 * @typedef {import('../client/peer.js').Slot} Slot
 * @typedef {import('../client/protocol.js').Participant} Participant
 * @typedef {import('./tile.js').Face} Face
 * @typedef {import('./layout.js').Rect} Rect
 */

/** Tiles without a picture are only company: this many in all, then a number. */
const MAX_TILES = 16;
const MAX_TILES_NARROW = 8;

export class Grid {
  /** @type {Room} */ #room;
  #myName;
  /** @type {Map<string, Tile>} */ #tiles = new Map();
  #more = h('button', { class: 'tile more', type: 'button', hidden: true, 'data-testid': 'more-tile' });
  #alone = h('div', { class: 'alone', hidden: true });
  #frame = 0;
  #resizes = new ResizeObserver(() => {
    this.#layout();
    this.update();
  });
  /** @type {Face[]} */ #faces = [];
  #hidden = 0;
  /** @type {Set<string>} */ #speaking = new Set();

  /**
   * @param {Room} room
   * @param {{myName: string, onMore: () => void, alone: Node}} options
   */
  constructor(room, { myName, onMore, alone }) {
    this.#room = room;
    this.#myName = myName;
    this.#more.addEventListener('click', onMore);
    this.#alone.append(alone);
    this.element = h('div', { class: 'grid', role: 'group', 'aria-label': 'People in the call' }, this.#more, this.#alone);
    this.#resizes.observe(this.element);
  }

  /** @returns {Iterable<Tile>} */
  get tiles() {
    return this.#tiles.values();
  }

  /** Draws soon: many messages make one drawing. */
  update() {
    cancelAnimationFrame(this.#frame);
    // A hidden page paints no frames, and must still play who comes.
    if (document.hidden) this.#draw();
    else this.#frame = requestAnimationFrame(() => this.#draw());
  }

  /** @param {Slot} slot */
  refresh(slot) {
    for (const tile of this.#tiles.values()) if (tile.face?.slot === slot) tile.refresh();
  }

  /** @param {Set<string>} participants */
  setSpeaking(participants) {
    this.#speaking = participants;
    for (const tile of this.#tiles.values()) {
      const { face } = tile;
      tile.setSpeaking(!!face && face.microphone && face.kind !== 'screen' && participants.has(face.participant));
    }
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.#resizes.disconnect();
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
  }

  #draw() {
    this.#chooseFaces();
    const keys = new Set(this.#faces.map(({ key }) => key));
    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      this.#release(tile);
      tile.remove();
      this.#tiles.delete(key);
    }
    for (const face of this.#faces) {
      let tile = this.#tiles.get(face.key);
      if (!tile) {
        tile = new Tile();
        this.#tiles.set(face.key, tile);
      }
      this.#give(tile, face);
    }
    this.#order();
    this.setSpeaking(this.#speaking);
    this.#layout();
  }

  /** The order in the page is the order on the screen, for those who read or tab through it. */
  #order() {
    this.#faces.forEach((face, index) => {
      const element = this.#elementOf(face);
      const there = this.element.children[index];
      if (there !== element) this.element.insertBefore(element, there ?? null);
    });
  }

  /**
   * @param {Tile} tile
   * @param {Face} face
   */
  #give(tile, face) {
    if (tile.face?.slot && tile.face.slot !== face.slot) this.#release(tile);
    tile.show(face);
    const { slot } = face;
    if (slot && slot.element !== tile.video) {
      this.#room.attach(slot, tile.video, { priority: face.kind === 'screen' ? 200 : 100 });
      tile.awaitFrame();
      tile.refresh();
    }
  }

  /** @param {Tile} tile */
  #release(tile) {
    const slot = tile.face?.slot;
    if (slot && slot.element === tile.video) this.#room.detach(slot);
  }

  #chooseFaces() {
    const screens = [];
    const pictured = [];
    const seen = new Set();
    for (const slot of this.#room.slots.values()) {
      if (slot.kind !== 'video' || !slot.participant) continue;
      const participant = this.#room.participants.get(slot.participant);
      if (!participant) continue;
      const face = remoteFace(participant, slot);
      if (face.kind === 'screen') screens.push(face);
      else pictured.push(face);
      if (face.kind !== 'screen') seen.add(participant.id);
    }
    const order = new Map([...this.#room.participants.keys()].map((id, index) => [id, index]));
    pictured.sort((a, b) => (order.get(a.participant) ?? 0) - (order.get(b.participant) ?? 0));
    const others = [...this.#room.participants.values()].filter(({ id }) => !seen.has(id));
    const own = this.#ownFaces();
    const most = this.element.clientWidth < 700 ? MAX_TILES_NARROW : MAX_TILES;
    const room = Math.max(0, most - screens.length - pictured.length - own.length);
    const shown = others.length > room ? others.slice(0, Math.max(0, room - 1)) : others;
    this.#hidden = others.length - shown.length;
    this.#faces = [...screens, ...pictured, ...shown.map((participant) => remoteFace(participant, null)), ...own];
  }

  /** @returns {Face[]} */
  #ownFaces() {
    const { lines, id } = this.#room;
    const line = lines.get('microphone');
    const microphone = !!line?.track && !line.muted;
    const camera = lines.get('camera')?.track ?? null;
    const base = { participant: id, name: this.#myName, microphone, codec: '', slot: null };
    /** @type {Face[]} */
    const faces = [{ ...base, key: 'self', kind: 'self', picture: camera !== null, local: camera }];
    if (lines.get('screen')?.track) faces.unshift({ ...base, key: 'own-screen', kind: 'own-screen', picture: false, local: null });
    return faces;
  }

  #layout() {
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth || !clientHeight) return;
    const area = { left: 0, top: 0, width: clientWidth, height: clientHeight };
    const screens = this.#faces.filter(({ kind }) => kind === 'screen');
    const rest = this.#faces.filter(({ kind }) => kind !== 'screen');
    const others = rest.filter(({ kind }) => kind === 'remote');
    this.#alone.hidden = this.#room.participants.size > 0;
    if (!this.#alone.hidden) area.height -= this.#alone.offsetHeight + GAP;
    this.#setMore(this.#hidden);

    const small = rest.map((face) => this.#elementOf(face));
    for (const tile of this.#tiles.values()) tile.element.classList.remove('corner', 'staged');
    if (screens.length > 0) {
      // One's own tile comes first here: the end of a strip that is too long becomes a number.
      const own = rest.flatMap((face, index) => (face.kind === 'remote' ? [] : small.slice(index, index + 1)));
      const row = [...own, ...small.filter((element) => !own.includes(element))];
      const { stage, strip } = stageLayout(row.length + Math.min(1, this.#hidden), area);
      const unseen = row.length + this.#hidden - strip.length;
      if (unseen > 0) {
        this.#setMore(unseen + 1);
        row.splice(strip.length - 1, Infinity, this.#more);
      }
      for (const element of small) if (!row.includes(element)) place(element, undefined);
      const rects = screens.length === 1 ? [stage] : gridLayout(screens.length, stage);
      screens.forEach((face, index) => {
        const element = this.#elementOf(face);
        element.classList.add('staged');
        place(element, rects[index]);
      });
      row.forEach((element, index) => place(element, strip[index]));
    } else if (others.length === 1 && rest.length === 2 && !this.#hidden) {
      const own = this.#elementOf(rest[1]);
      own.classList.add('corner');
      place(this.#elementOf(rest[0]), gridLayout(1, area)[0]);
      place(own, cornerLayout(area));
    } else {
      if (this.#hidden) small.push(this.#more);
      const rects = gridLayout(small.length, area);
      small.forEach((element, index) => place(element, rects[index]));
    }
  }

  /** @param {number} count of people without a tile */
  #setMore(count) {
    this.#more.hidden = count === 0;
    this.#more.textContent = count > 0 ? `+${count}` : '';
    this.#more.setAttribute('aria-label', `${count} more people. Show all.`);
  }

  /**
   * @param {Face | undefined} face
   * @returns {HTMLElement}
   */
  #elementOf(face) {
    return this.#tiles.get(face?.key ?? '')?.element ?? this.#more;
  }
}

/**
 * @param {Participant} participant
 * @param {Slot | null} slot
 * @returns {Face}
 */
function remoteFace(participant, slot) {
  const track = slot && participant.tracks.find(({ id }) => id === slot.track);
  const screen = track?.source === 'screen';
  const main = participant.tracks.find(({ kind, source }) => kind === 'video' && source !== 'screen');
  const extra = slot !== null && track !== undefined && track !== null && track.id !== main?.id;
  return {
    key: extra ? `${participant.id}:${slot.track}` : participant.id,
    participant: participant.id,
    name: participant.name || participant.identity || 'Guest',
    kind: screen ? 'screen' : 'remote',
    microphone: participant.tracks.some(({ kind, source, muted }) => kind === 'audio' && source !== 'screen-audio' && !muted),
    picture: slot !== null && !track?.muted,
    codec: track?.codec ?? '',
    slot,
    local: null,
  };
}

/**
 * @param {HTMLElement} element
 * @param {Rect | undefined} rect nowhere hides it
 */
function place(element, rect) {
  element.classList.toggle('nowhere', !rect);
  if (!rect) return;
  element.style.left = `${rect.left}px`;
  element.style.top = `${rect.top}px`;
  element.style.width = `${rect.width}px`;
  element.style.height = `${rect.height}px`;
  element.classList.toggle('small', rect.width < 200);
}
