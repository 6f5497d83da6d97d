/**
 * What this browser remembers. A browser that keeps nothing forgets it, and nothing else changes.
 */

/**
 * @typedef {'name' | 'microphone' | 'camera' | 'microphone-on' | 'camera-on'} Key
 */

/**
 * @param {Key} key
 * @returns {string}
 */
export function remembered(key) {
  try {
    return localStorage.getItem(`weir.${key}`) ?? '';
  } catch {
    return '';
  }
}

/**
 * @param {Key} key
 * @param {string} value
 */
export function remember(key, value) {
  try {
    localStorage.setItem(`weir.${key}`, value);
  } catch {
    // Storage is full or forbidden.
  }
}
