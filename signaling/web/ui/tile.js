/**
 * One tile of the call: somebody's picture, or the initials in its place.
 */

import { h, hue, icon, initials } from './dom.js';
import { frozenText } from './stats.js';

/**
 * @typedef {import('../client/peer.js').Slot} Slot
 *
 * @typedef {object} Face what a tile shows
 * @property {string} key
 * @property {string} participant
 * @property {string} name
 * @property {'self' | 'remote' | 'screen' | 'own-screen'} kind
 * @property {boolean} microphone whether a microphone is on
 * @property {boolean} picture whether a picture is to be expected
 * @property {string} codec of the video track, for the note when it cannot be played
 * @property {Slot | null} slot
 * @property {MediaStreamTrack | null} local this client's own picture
 */

export class Tile {
  video = h('video', { muted: true, playsInline: true, autoplay: true });
  #initials = h('span', { class: 'initials' });
  #avatar = h('div', { class: 'tile-avatar', 'aria-hidden': 'true' }, this.#initials);
  #name = h('span', { class: 'tile-name', 'data-testid': 'tile-name' });
  #muted = h('span', { class: 'tile-muted', title: 'Microphone off', 'data-testid': 'tile-muted' }, icon('mic-off'));
  #note = h('p', { class: 'tile-note', role: 'status', 'data-testid': 'tile-note', hidden: true });
  #stats = h('pre', { class: 'tile-stats', 'data-testid': 'tile-stats', hidden: true });
  /** Whether a frame of what is shown now has been painted. */
  #painted = false;
  #epoch = 0;
  /** @type {Face | null} */ face = null;

  constructor() {
    this.element = h(
      'article',
      { class: 'tile', 'data-testid': 'tile' },
      this.#avatar,
      this.video,
      this.#note,
      this.#stats,
      h('div', { class: 'tile-bar' }, this.#muted, this.#name),
    );
  }

  /** @param {Face} face */
  show(face) {
    const before = this.face;
    this.face = face;
    const you = face.kind === 'self';
    this.element.dataset.participant = face.participant;
    this.element.dataset.kind = face.kind;
    this.element.dataset.mid = face.slot?.mid ?? '';
    this.element.setAttribute('aria-label', face.name);
    this.#name.textContent = {
      self: `${face.name} (you)`,
      remote: face.name,
      screen: `${face.name}’s screen`,
      'own-screen': 'Your screen',
    }[face.kind];
    this.#initials.textContent = initials(face.name);
    this.#avatar.dataset.hue = String(hue(face.name));
    this.#muted.hidden = face.microphone || face.kind === 'screen' || face.kind === 'own-screen';
    this.video.classList.toggle('mirror', you);
    if (before?.local !== face.local && !face.slot) {
      this.video.srcObject = face.local && new MediaStream([face.local]);
      this.awaitFrame();
    }
    if (face.kind === 'own-screen') this.#say('You are sharing your screen');
    else this.refresh();
  }

  /** The video element now shows something else: the initials stay in front until its first frame. */
  awaitFrame() {
    const epoch = ++this.#epoch;
    this.#painted = false;
    const painted = () => {
      if (epoch !== this.#epoch) return;
      this.#painted = true;
      this.refresh();
    };
    if ('requestVideoFrameCallback' in this.video) this.video.requestVideoFrameCallback(painted);
    else /** @type {HTMLVideoElement} */ (this.video).onplaying = painted;
  }

  /** Draws what depends on the slot's quality and on whether frames have come. */
  refresh() {
    const { face } = this;
    if (!face || face.kind === 'own-screen') return;
    const unplayable = face.slot?.reason?.code === 'codec-not-supported';
    this.element.classList.toggle('has-picture', face.picture && this.#painted && !unplayable);
    this.element.classList.toggle('waiting', face.picture && !this.#painted && !unplayable && face.slot !== null);
    const why = face.picture ? frozenText(face.slot?.reason ?? null) : '';
    this.#say(unplayable ? `Your browser cannot play this video${face.codec ? ` (${face.codec.toUpperCase()})` : ''}` : why);
  }

  /** @param {boolean} speaking */
  setSpeaking(speaking) {
    this.element.classList.toggle('speaking', speaking);
  }

  /** @param {string | null} text null hides it */
  setStats(text) {
    this.#stats.hidden = text === null;
    this.#stats.textContent = text;
  }

  remove() {
    this.#epoch++;
    this.video.srcObject = null;
    this.element.remove();
  }

  /** @param {string} words */
  #say(words) {
    this.#note.hidden = words === '';
    if (this.#note.textContent !== words) this.#note.textContent = words;
  }
}
