/**
 * Watches the elements that show slots, and says how large each is on the screen, in device pixels. What cannot be
 * seen is 0 by 0, so that nothing is sent for it.
 */

/**
 * @typedef {import('./protocol.js').ViewSlot} ViewSlot
 * @typedef {{element: HTMLElement, priority: number | undefined, visible: boolean}} Watched
 */

/** How long a change waits for others: one layout moves many elements. */
const DEBOUNCE_MS = 120;

export class View {
  /** @type {Map<string, Watched>} mid to its element */ #watched = new Map();
  /** @type {Map<string, string>} mid to the track it is pinned to */ #pins = new Map();
  #timer = 0;
  #last = '';
  /** @type {() => string[]} */ #slots;
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

  /**
   * @param {() => string[]} slots the mids of all video slots
   * @param {(slots: ViewSlot[]) => boolean} send returns false when it could not be sent
   */
  constructor(slots, send) {
    this.#slots = slots;
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
    // A page that attaches nothing leaves the choice to the server.
    if (this.#watched.size + this.#pins.size === 0 && this.#last === '') return;
    const measured = new Map([...this.#watched].map(([mid, watched]) => [mid, measure(watched)]));
    // What fills an empty slot will be shown like the rest: naming its size now spares a change of layers then.
    const usual = [...measured.values()].reduce((most, size) => (size.height > most.height ? size : most), { width: 0, height: 0 });
    const slots = this.#slots().map((mid) => {
      const track = this.#pins.get(mid);
      const priority = this.#watched.get(mid)?.priority;
      const size = measured.get(mid) ?? (usual.height > 0 ? usual : undefined);
      return { mid, ...(track && { track }), ...size, ...(priority !== undefined && { priority }) };
    });
    const text = JSON.stringify(slots);
    if (text !== this.#last && this.#send(slots)) this.#last = text;
  }
}

/**
 * The size of an element on the screen, in device pixels; 0 by 0 if it cannot be seen.
 *
 * @param {Watched} watched
 */
function measure({ element, visible }) {
  const seen = visible && (!document.hidden || element === document.pictureInPictureElement);
  if (!seen) return { width: 0, height: 0 };
  const { width, height } = element.getBoundingClientRect();
  return { width: Math.round(width * devicePixelRatio), height: Math.round(height * devicePixelRatio) };
}
