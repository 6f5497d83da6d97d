/**
 * Everything that can go wrong, as a code for programs and a sentence for people.
 *
 * @typedef {keyof typeof SENTENCES} ErrorCode
 */

/** One sentence for each error code, the server's and the browser's. */
export const SENTENCES = {
  // From the server (docs/PROTOCOL.md, "Errors").
  'bad-message': 'This page and the server do not understand each other. Reload the page.',
  'not-joined': 'The server lost track of this call. Join again.',
  unauthorized: 'The token is missing, has expired, or belongs to another room.',
  forbidden: 'Your token does not allow this.',
  'room-full': 'This room is full. Try again when somebody has left.',
  'bad-offer': 'The server could not read this browser’s media offer.',
  'offer-too-large': 'This browser’s media offer is too large for the server.',
  'unacceptable-offer': 'The server cannot take what this browser offers to send.',
  'resume-failed': 'The call could not be picked up where it was. Join again.',
  overloaded: 'The server is too busy at the moment. Try again shortly.',
  // From the browser and the network.
  'server-unreachable': 'The server cannot be reached. Check your connection.',
  'media-unreachable':
    'The server answers, but neither sound nor picture gets through. A firewall may block UDP and TCP to its media port.',
  'connection-lost': 'The connection to the server was lost.',
  'permission-denied': 'The browser was not allowed to use your microphone or camera. Allow it next to the address bar.',
  'no-camera': 'No camera was found.',
  'no-microphone': 'No microphone was found.',
  'device-busy': 'Another program is using your camera or microphone.',
  'screen-refused': 'Screen sharing was cancelled.',
  'insecure-context': 'Browsers give out the microphone and camera only to pages on HTTPS or localhost.',
  'unsupported-browser': 'This browser has no WebRTC.',
  'bad-room-name': 'A room’s name has 1 to 64 letters, digits, dots, dashes and underscores, and starts with a letter or digit.',
  closed: 'The call is over.',
  unknown: 'Something went wrong.',
};

/** One sentence for each `reason` of `closed` (docs/PROTOCOL.md). */
export const CLOSED = {
  left: 'You have left the room.',
  removed: 'You were removed from the room.',
  'room-closed': 'The room was closed.',
  'server-shutdown': 'The server is shutting down.',
  replaced: 'You joined from another window or device, so this one has left.',
  timeout: 'Your connection to the server timed out.',
  'peer-closed': 'Your browser closed the media connection.',
  'dtls-failed': 'The encrypted media connection could not be set up.',
  'slow-reader': 'Your connection was too slow to keep up with the room.',
  internal: 'The server had a problem with this call.',
};

/** An error with a stable `code`, and a `sentence` that may be shown to a person. */
export class WeirError extends Error {
  /**
   * @param {string} code
   * @param {string} [detail] for the log; the sentence is made from the code
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, detail, options) {
    super(detail ? `${code}: ${detail}` : code, options);
    this.name = 'WeirError';
    this.code = code;
    this.detail = detail ?? '';
  }

  /** What to tell a person. */
  get sentence() {
    return /** @type {Record<string, string>} */ (SENTENCES)[this.code] ?? SENTENCES.unknown;
  }

  /**
   * @param {unknown} error
   * @param {ErrorCode} [code] of an error that is not already a `WeirError`
   */
  static from(error, code = 'unknown') {
    if (error instanceof WeirError) return error;
    return new WeirError(code, error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/**
 * What to tell a person about a `closed` or `participant-left` reason, or an error code in its place.
 *
 * @param {string} reason
 */
export function sentenceForClosed(reason) {
  return (
    /** @type {Record<string, string>} */ (CLOSED)[reason] ??
    /** @type {Record<string, string>} */ (SENTENCES)[reason] ??
    SENTENCES.unknown
  );
}
