/**
 * Notices that a network path has died. A browser says so itself, but takes five seconds and more; a call that another path
 * could carry should not stand still for so long.
 *
 * Whatever is sent is answered: media by feedback several times a second, checks at once. So where something has been sent
 * for a while and nothing at all came back, the path is dead, or as good as dead.
 */

/** How often it is looked. Milliseconds. */
const INTERVAL_MS = 400;
/** The time between two looks counts as silence up to this. Milliseconds. */
const LONGEST_LOOK_MS = 600;
/**
 * How long nothing must have come back. Milliseconds. Chromium goes over to another path a second after that answers, and
 * not before the old one has been silent for two and a half: a restart by then costs no time.
 */
const SILENCE_MS = 1_000;
/** Packets sent in that time, or checks without an answer, that make silence a fault. */
const MIN_PACKETS = 10;
const MIN_CHECKS = 2;
/** How long to wait for what was done about it. Milliseconds. */
const REST_MS = 5_000;

/**
 * @typedef {object} Count what has gone and come over the path in use
 * @property {string} id of the path
 * @property {number} sent packets
 * @property {number} received bytes of media, and answers to checks
 * @property {number} unanswered checks
 */

/** Tells from counts when the path has died. Apart from the browser, so that it can be tried without one. */
export class Silence {
  /** The count when something came last. @type {Count | null} */ #last = null;
  /** For how long it was seen that nothing came since. Milliseconds. */ #silent = 0;
  #lookedAt = 0;
  #restUntil = 0;

  /**
   * @param {Count | null} count null where nothing is known
   * @param {number} at milliseconds
   * @returns {boolean} whether the path has just been found dead
   */
  look(count, at) {
    const last = this.#last;
    // A machine that stood still has heard nothing because it did not listen.
    const listened = Math.min(at - this.#lookedAt, LONGEST_LOOK_MS);
    this.#lookedAt = at;
    if (!count || !last || count.id !== last.id || count.received > last.received) {
      this.#last = count;
      this.#silent = 0;
      return false;
    }
    this.#silent += listened;
    const talking = count.sent - last.sent >= MIN_PACKETS || count.unanswered - last.unanswered >= MIN_CHECKS;
    if (!talking || this.#silent < SILENCE_MS || at < this.#restUntil) return false;
    this.#restUntil = at + REST_MS;
    return true;
  }
}

export class Pulse {
  /** @type {RTCPeerConnection} */ #pc;
  /** @type {() => void} */ #onSilence;
  #silence = new Silence();
  #timer = 0;

  /**
   * @param {RTCPeerConnection} pc
   * @param {() => void} onSilence
   */
  constructor(pc, onSilence) {
    this.#pc = pc;
    this.#onSilence = onSilence;
  }

  start() {
    if (!this.#timer) this.#timer = setInterval(() => void this.#look(), INTERVAL_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
  }

  async #look() {
    const report = await this.#pc.getStats().catch(() => null);
    if (!report || !this.#timer) return;
    if (this.#silence.look(countOf(/** @type {Map<string, any>} */ (/** @type {unknown} */ (report))), performance.now())) {
      this.#onSilence();
    }
  }
}

/**
 * @param {Map<string, any>} report
 * @returns {Count | null}
 */
function countOf(report) {
  const pair = selectedPair(report);
  if (!pair) return null;
  const { requestsSent = 0, responsesReceived = 0, bytesReceived = 0, bytesSent = 0 } = pair;
  // Firefox counts no packets of a pair. Sound alone makes about 100 bytes each.
  const { packetsSent = bytesSent / 100 } = pair;
  return {
    id: pair.id,
    sent: packetsSent,
    received: bytesReceived + responsesReceived,
    unanswered: requestsSent - responsesReceived,
  };
}

/**
 * The pair of candidates that is in use.
 *
 * @param {Map<string, any>} report
 */
export function selectedPair(report) {
  const all = [...report.values()];
  const transport = all.find((entry) => entry.type === 'transport');
  return (
    report.get(transport?.selectedCandidatePairId) ??
    all.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded')
  );
}
