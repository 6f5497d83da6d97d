/**
 * An `EventTarget` whose events are typed: `Events` maps an event's name to its `detail`.
 *
 * @template {Record<string, any>} Events
 */
export class Emitter extends EventTarget {
  /**
   * Calls `listener` with each event's detail.
   *
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(detail: Events[Name]) => void} listener
   * @returns {() => void} stops listening
   */
  on(name, listener) {
    const handler = /** @param {Event} event */ (event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(name, handler);
    return () => this.removeEventListener(name, handler);
  }

  /**
   * @protected
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {Events[Name]} detail
   */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
