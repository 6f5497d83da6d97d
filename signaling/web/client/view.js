/**
 * Watches the elements that show slots, and says how large each is on the screen, in device pixels. What cannot be
 * seen is 0 by 0, so that nothing is sent for it.
 */

/**
 * @typedef {import('/assets/client/protocol.js').ViewSlot} ViewSlot
 * @typedef {{element: HTMLElement, priority: number | undefined, visible: boolean}} Watched
 */

/** How long a change waits for others: one layout moves many elements. */
const DEBOUNCE_MS = 120;

export class View {
  /** @type {Map<string, Watched>} mid to its element */ #watched = new Map();
  /** Slots that were spoken of once: a later view must take back what it said. @type {Set<string>} */ #said = new Set();
  /** @type {Map<string, string>} mid to the track it is pinned to */ #pins = new Map();
  #timer = 0;
  #last = '';
  /** @type {(slots: ViewSlot[]) => boolean} */ #send;

  #resizes = new ResizeObserver(() => this.#later());
  #intersections = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      for (const watched of this.#watched.values()) {
        if (watched.element === entry.target) watched.visible = entry.isIntersecting;
      }
    }
    this.#later();
  });

  /** @param {(slots: ViewSlot[]) => boolean} send returns false when it could not be sent */
  constructor(send) {
    this.#send = send;
    document.addEventListener('visibilitychange', this.#later);
  }

  /**
   * @param {string} mid
   * @param {HTMLElement} element
   * @param {number} [priority] 0 to 255
   */
  watch(mid, element, priority) {
    this.unwatch(mid);
    this.#watched.set(mid, { element, priority, visible: true });
    this.#said.add(mid);
    this.#resizes.observe(element);
    this.#intersections.observe(element);
    this.#later();
  }

  /** @param {string} mid */
  unwatch(mid) {
    const watched = this.#watched.get(mid);
    if (!watched) return;
    this.#watched.delete(mid);
    this.#resizes.unobserve(watched.element);
    this.#intersections.unobserve(watched.element);
    this.#later();
  }

  /**
   * Shows one track in a slot whatever the server would choose; null gives the choice back.
   *
   * @param {string} mid
   * @param {string | null} track
   */
  pin(mid, track) {
    if (track) this.#pins.set(mid, track);
    else this.#pins.delete(mid);
    this.#said.add(mid);
    this.#later();
  }

  /** Says everything again: the server may have forgotten it. */
  repeat() {
    this.#last = '';
    this.#later();
  }

  /** Forgets every slot: a new PeerConnection has new ones. */
  clear() {
    for (const mid of [...this.#watched.keys()]) this.unwatch(mid);
    this.#said.clear();
    this.#pins.clear();
    this.#last = '';
  }

  close() {
    this.clear();
    clearTimeout(this.#timer);
    this.#resizes.disconnect();
    this.#intersections.disconnect();
    document.removeEventListener('visibilitychange', this.#later);
  }

  #later = () => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#say(), DEBOUNCE_MS);
  };

  #say() {
    const slots = [...this.#said].map((mid) => this.#measure(mid));
    if (slots.length === 0) return;
    const text = JSON.stringify(slots);
    if (text !== this.#last && this.#send(slots)) this.#last = text;
  }

  /**
   * @param {string} mid
   * @returns {ViewSlot}
   */
  #measure(mid) {
    const track = this.#pins.get(mid);
    const watched = this.#watched.get(mid);
    /** @type {ViewSlot} */
    const slot = { mid, ...(track && { track }) };
    // A slot nobody shows keeps no size: the server may fill it, and what fills it will be shown.
    if (!watched) return slot;
    if (watched.priority !== undefined) slot.priority = watched.priority;
    const seen = watched.visible && (!document.hidden || watched.element === document.pictureInPictureElement);
    const { width, height } = watched.element.getBoundingClientRect();
    slot.width = seen ? Math.round(width * devicePixelRatio) : 0;
    slot.height = seen ? Math.round(height * devicePixelRatio) : 0;
    return slot;
  }
}
