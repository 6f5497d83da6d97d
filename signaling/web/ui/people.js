/**
 * The list of everyone in the room.
 */

import { h, hue, icon, initials } from './dom.js';

/**
 * @typedef {import('../client/room.js').Room} Room
 */

/** Nobody reads more rows than this, and a thousand of them would be slow to draw. */
const MAX_ROWS = 200;

export class People {
  /** @type {Room} */ #room;
  #myName;
  #list = h('ul', { class: 'people', 'data-testid': 'participant-list' });
  #title = h('h2', {}, 'People');

  /**
   * @param {Room} room
   * @param {{myName: string, onClose: () => void}} options
   */
  constructor(room, { myName, onClose }) {
    this.#room = room;
    this.#myName = myName;
    this.element = h(
      'aside',
      { class: 'side', 'aria-label': 'People in the room', hidden: true },
      h(
        'header',
        { class: 'side-head' },
        this.#title,
        h('button', { class: 'button quiet square', 'aria-label': 'Close the list', onclick: onClose }, icon('close')),
      ),
      this.#list,
    );
  }

  get open() {
    return !this.element.hidden;
  }

  /** @param {boolean} open */
  set open(open) {
    this.element.hidden = !open;
    if (open) this.update();
  }

  update() {
    if (!this.open) return;
    const everyone = [...this.#room.participants.values()];
    this.#title.textContent = `People (${everyone.length + 1})`;
    const rows = everyone.slice(0, MAX_ROWS).map((participant) => {
      const live = participant.tracks.filter(({ muted }) => !muted);
      return row(participant.name || participant.identity, {
        stream: participant.role === 'publisher',
        microphone: live.some(({ source, kind }) => kind === 'audio' && source !== 'screen-audio'),
        camera: live.some(({ source, kind }) => kind === 'video' && source !== 'screen'),
        screen: live.some(({ source }) => source === 'screen'),
      });
    });
    const lines = this.#room.lines;
    const on = /** @param {'microphone' | 'camera' | 'screen'} source */ (source) => {
      const line = lines.get(source);
      return !!line?.track && !line.muted;
    };
    const me = row(this.#myName, { you: true, stream: false, microphone: on('microphone'), camera: on('camera'), screen: on('screen') });
    const rest = everyone.length - rows.length;
    this.#list.replaceChildren(me, ...rows, ...(rest > 0 ? [h('li', { class: 'muted' }, `and ${rest} more`)] : []));
  }
}

/**
 * @param {string} name
 * @param {{you?: boolean, stream: boolean, microphone: boolean, camera: boolean, screen: boolean}} state
 */
function row(name, { you = false, stream, microphone, camera, screen }) {
  const light = (/** @type {boolean} */ on, /** @type {'mic' | 'camera'} */ what, /** @type {string} */ words) =>
    h('span', { class: on ? 'on' : 'off', title: `${words} ${on ? 'on' : 'off'}`, role: 'img', 'aria-label': `${words} ${on ? 'on' : 'off'}` }, icon(on ? what : `${what}-off`));
  const avatar = h('span', { class: 'avatar', 'aria-hidden': 'true' }, initials(name));
  avatar.dataset.hue = String(hue(name));
  return h(
    'li',
    { 'data-testid': 'participant' },
    avatar,
    h('span', { class: 'person' }, you ? `${name} (you)` : name, stream ? h('em', { class: 'badge' }, 'stream') : null),
    screen ? h('span', { class: 'on', title: 'Shares a screen', role: 'img', 'aria-label': 'Shares a screen' }, icon('screen')) : null,
    light(microphone, 'mic', 'Microphone'),
    light(camera, 'camera', 'Camera'),
  );
}
