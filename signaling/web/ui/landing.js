/**
 * The first page: name a room.
 */

import { brand, h, icon } from './dom.js';
import { randomRoomName, toRoomName } from './names.js';

/**
 * @param {{open: (room: string) => void}} options
 */
export function landing({ open }) {
  const suggestion = randomRoomName();
  const hint = h('p', { class: 'hint', id: 'room-hint' }, 'Leave it empty for a room of your own with a random name.');
  const input = h('input', {
    type: 'text',
    id: 'room',
    'data-testid': 'room-input',
    placeholder: suggestion,
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: false,
    maxLength: 80,
    'aria-describedby': 'room-hint',
    oninput: () => {
      const name = toRoomName(input.value);
      if (input.value && !name) hint.textContent = 'A room’s name needs a letter or a digit.';
      else if (name && name !== input.value) hint.textContent = `The room will be called ${name}.`;
      else hint.textContent = 'Everyone with the link to a room can ask to join it.';
    },
  });
  const form = h(
    'form',
    {
      class: 'card room-form',
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        open(toRoomName(input.value) || suggestion);
      },
    },
    h('label', { for: 'room', class: 'label' }, 'Room'),
    h(
      'div',
      { class: 'field-row' },
      input,
      h(
        'button',
        {
          type: 'button',
          class: 'button quiet square',
          'aria-label': 'Another random name',
          title: 'Another random name',
          'data-testid': 'random-room',
          onclick: () => {
            input.value = randomRoomName();
            input.focus();
          },
        },
        icon('shuffle'),
      ),
    ),
    hint,
    h('button', { type: 'submit', class: 'button primary wide', 'data-testid': 'open-room' }, 'Open room'),
  );
  return h(
    'main',
    { class: 'landing' },
    h('header', { class: 'landing-head' }, brand()),
    h(
      'div',
      { class: 'landing-body' },
      h(
        'section',
        { class: 'pitch' },
        h('h1', {}, 'Open a room. ', h('span', {}, 'Let it flow.')),
        h('p', {}, 'Talk face to face, show your screen, or stream in from OBS. In the browser, with nothing to install.'),
      ),
      form,
    ),
    h(
      'footer',
      { class: 'landing-foot' },
      h('a', { href: '/doctor' }, 'Connection check'),
      h('a', { href: '/openapi.json' }, 'HTTP API'),
      h('a', { href: '/weir.js' }, 'weir.js for your own pages'),
    ),
  );
}
