/**
 * The page after a call, whatever ended it.
 */

import { sentenceForClosed } from '../client/errors.js';
import { brand, h } from './dom.js';

/** @type {Record<string, string>} */
const HEADLINES = {
  left: 'You left the room',
  removed: 'You were removed',
  'room-closed': 'The room was closed',
  replaced: 'You are here in another window',
  'room-full': 'The room is full',
  'server-shutdown': 'The server is gone',
  'server-unreachable': 'The server is gone',
  'media-unreachable': 'No way through for sound and picture',
};

/**
 * @param {{room: string, reason: string, rejoin: () => void}} options
 */
export function ended({ room, reason, rejoin }) {
  const button = h('button', { class: 'button primary', 'data-testid': 'rejoin-button', onclick: rejoin }, reason === 'replaced' ? 'Use this window instead' : 'Join again');
  queueMicrotask(() => button.focus());
  return h(
    'main',
    { class: 'centred' },
    h('div', { class: 'page-head' }, brand()),
    h(
      'section',
      { class: 'card ended', 'data-testid': 'ended', 'data-reason': reason },
      h('p', { class: 'eyebrow' }, room),
      h('h1', {}, HEADLINES[reason] ?? 'The call ended'),
      reason === 'left' ? null : h('p', { class: 'muted' }, sentenceForClosed(reason)),
      h('div', { class: 'actions' }, button, h('a', { class: 'button quiet', href: '/' }, 'Another room')),
    ),
  );
}
