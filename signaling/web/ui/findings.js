/**
 * What the server finds wrong with the streams that come in over WHIP, and the settings that mend it.
 */

import { h } from './dom.js';

/**
 * @typedef {import('../client/protocol.js').Participant} Participant
 * @typedef {import('../client/protocol.js').Finding} Finding
 */

const PROGRAMS = /** @type {const} */ ([
  ['obs', 'OBS'],
  ['ffmpeg', 'FFmpeg'],
  ['gstreamer', 'GStreamer'],
]);

export class Findings {
  #drawn = '';
  element = h('section', { class: 'findings', 'aria-live': 'polite', 'data-testid': 'findings', hidden: true });

  /**
   * Draws what is found wrong now. Returns how much that is.
   *
   * @param {Iterable<Participant>} participants
   */
  update(participants) {
    const streams = [...participants].filter(({ role }) => role === 'publisher');
    const shown = streams.map(({ name, identity, findings = [] }) => ({ name: name || identity, findings }));
    const now = JSON.stringify(shown);
    // Numbers change with every update of the room; what is read is left alone as long as it says the same.
    if (now !== this.#drawn) {
      this.#drawn = now;
      this.element.hidden = shown.length === 0;
      this.element.replaceChildren(...shown.map(({ name, findings }) => stream(name, findings)));
    }
    return shown.reduce((sum, { findings }) => sum + findings.length, 0);
  }
}

/**
 * @param {string} name
 * @param {Finding[]} findings
 */
function stream(name, findings) {
  if (findings.length === 0) return h('p', { class: 'finding good' }, `${name}: comes in, and nothing is wrong with it.`);
  return h('div', {}, h('h3', {}, `${name}: to be mended`), findings.map(finding));
}

/** @param {Finding} finding */
function finding({ code, message, remedy }) {
  const rows = PROGRAMS.map(([key, label]) => [h('dt', {}, label), h('dd', {}, remedy[key])]);
  return h('article', { class: 'finding', 'data-code': code }, h('p', {}, message), h('dl', { class: 'settings' }, rows.flat()));
}
