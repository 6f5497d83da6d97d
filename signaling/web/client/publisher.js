/**
 * A WHIP publisher: it sends a stream into a room without becoming a member of it.
 */

import { WeirError } from './errors.js';
import { deleteSession, postOffer } from './http.js';

/**
 * @typedef {object} PublishOptions
 * @property {string} url of the WHIP endpoint, e.g. `/whip/harbour`
 * @property {string} [token]
 * @property {MediaStream} stream its first audio and first video track are sent
 */

export class Publisher {
  /** @type {RTCPeerConnection} */ pc;
  /** @type {string | null} */ #location = null;
  /** @type {PublishOptions} */ #options;

  /** @param {PublishOptions} options */
  constructor(options) {
    this.#options = options;
    if (typeof RTCPeerConnection === 'undefined') throw new WeirError('unsupported-browser');
    this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  }

  async start() {
    const { stream, url, token } = this.#options;
    for (const track of [stream.getAudioTracks()[0], stream.getVideoTracks()[0]]) {
      if (track) this.pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
    }
    try {
      await this.pc.setLocalDescription(await this.pc.createOffer());
      const session = await postOffer(url, this.pc.localDescription?.sdp ?? '', token);
      this.#location = session.location;
      await this.pc.setRemoteDescription({ type: 'answer', sdp: session.answer });
    } catch (error) {
      this.stop();
      throw WeirError.from(error);
    }
    addEventListener('pagehide', this.#onPageHide);
    return this;
  }

  /** Ends the stream. The tracks are not stopped: they belong to the page. */
  stop() {
    removeEventListener('pagehide', this.#onPageHide);
    if (this.#location) deleteSession(this.#location, this.#options.token);
    this.#location = null;
    this.pc.close();
  }

  #onPageHide = () => this.stop();
}

/**
 * Sends a stream into a room.
 *
 * @param {PublishOptions} options
 * @returns {Promise<Publisher>}
 */
export function publish(options) {
  return new Publisher(options).start();
}
