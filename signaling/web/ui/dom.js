/**
 * Small helpers to build the page.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/** The address of the logo. */
export const ICON = new URL('../icon.svg', import.meta.url).href;

/**
 * Makes an element. `on…` properties are listeners, `class` and attributes with a dash are attributes, and all else
 * is set as a property.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class' || name === 'for' || name === 'role' || name === 'list' || name.includes('-'))
      element.setAttribute(name, String(value));
    else /** @type {any} */ (element)[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(text));
  return element;
}

/** @param {any} child */
function text(child) {
  return typeof child === 'number' ? String(child) : child;
}

/** 24 by 24, drawn with strokes. */
const ICONS = {
  mic: 'M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3',
  'mic-off':
    'M4 4l16 16M15 10.2V6a3 3 0 0 0-5.8-1M9 9v3a3 3 0 0 0 4.4 2.6M5.5 11.5a6.5 6.5 0 0 0 10 5.5M18.5 11.5a6.5 6.5 0 0 1-.6 2.7M12 18v3',
  camera: 'M4.5 6.5h8.5a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2H4.5a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2zM15 11l6.5-3.5v9L15 13',
  'camera-off':
    'M3.5 3.5l17 17M9.5 6.5H13a2 2 0 0 1 2 2v3.3l6.5-4.3v9l-3-2M15 15.5a2 2 0 0 1-2 2H4.5a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2h1',
  screen: 'M4 4.5h16a1.5 1.5 0 0 1 1.5 1.5v9.5A1.5 1.5 0 0 1 20 17H4a1.5 1.5 0 0 1-1.5-1.5V6A1.5 1.5 0 0 1 4 4.5zM8.5 20.5h7M12 13.5v-6M9.2 10l2.8-2.8L14.8 10',
  leave: 'M2.8 14.8c-.9-.9-.9-2.3 0-3.3 5-5 13.4-5 18.4 0 .9 1 .9 2.4 0 3.3l-.8.8c-.6.6-1.5.7-2.2.2l-2-1.3a1.6 1.6 0 0 1-.7-1.8l.3-1.1a12 12 0 0 0-7.6 0l.3 1.1a1.6 1.6 0 0 1-.7 1.8l-2 1.3c-.7.5-1.6.4-2.2-.2z',
  people: 'M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 19.5c0-3 2.9-5 6.5-5s6.5 2 6.5 5M16 4.8a3.5 3.5 0 0 1 0 6.4M18 15c2.1.7 3.5 2.3 3.5 4.5',
  link: 'M10 14a4.5 4.5 0 0 0 6.4 0l3.3-3.3a4.5 4.5 0 0 0-6.4-6.4L12 5.6M14 10a4.5 4.5 0 0 0-6.4 0l-3.3 3.3a4.5 4.5 0 0 0 6.4 6.4L12 18.4',
  broadcast: 'M12 13.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3zM8.5 15.5a5 5 0 0 1 0-7M15.5 8.5a5 5 0 0 1 0 7M5.6 18.4a9 9 0 0 1 0-12.8M18.4 5.6a9 9 0 0 1 0 12.8',
  stats: 'M4 20V11M9.3 20V4M14.7 20v-6M20 20V8',
  close: 'M6 6l12 12M18 6L6 18',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11',
  'sound-off': 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5',
  full: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  shuffle: 'M4 17h3.5c1.5 0 2.5-.7 3.3-2l3-5.2c.8-1.3 1.8-2 3.3-2H20M17.5 5L20 7.8l-2.5 2.7M4 7.8h3.5c1 0 1.8.3 2.4 1M17.5 14.2L20 17l-2.5 2.8M13.8 16c.7.7 1.5 1 2.5 1H20',
};

/**
 * @param {keyof typeof ICONS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** The mark and the name. */
export function brand() {
  return h('a', { class: 'brand', href: '/' }, h('img', { src: ICON, alt: '', width: 28, height: 28 }), h('span', {}, 'Weir'));
}

/**
 * Says something in passing.
 *
 * @param {string} words
 * @param {'plain' | 'bad'} [kind]
 */
export function toast(words, kind = 'plain') {
  const element = h('div', { class: `toast ${kind}` }, words);
  document.getElementById('toasts')?.append(element);
  setTimeout(() => element.remove(), kind === 'bad' ? 7000 : 3500);
}

/**
 * @param {string} content
 * @returns {Promise<boolean>}
 */
export async function copyText(content) {
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    // Pages that are not on HTTPS have no clipboard; a selection can still be copied.
    const area = h('textarea', { value: content, class: 'offscreen', 'aria-hidden': 'true' });
    const host = document.querySelector('dialog[open]') ?? document.body;
    host.append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    return copied;
  }
}

/**
 * Two letters for a name.
 *
 * @param {string} name
 */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = [...(words[0] ?? '?')][0] ?? '?';
  const last = words.length > 1 ? ([...(words[words.length - 1] ?? '')][0] ?? '') : '';
  return (first + last).toUpperCase();
}

/**
 * One of the avatar colours of style.css, always the same for a name.
 *
 * @param {string} name
 */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return ((hash >>> 16) ^ hash) & 7;
}

/**
 * @param {number} bitrate bit/s
 */
export function formatBitrate(bitrate) {
  return bitrate >= 1e6 ? `${(bitrate / 1e6).toFixed(1)} Mbps` : `${Math.round(bitrate / 1000)} kbps`;
}
