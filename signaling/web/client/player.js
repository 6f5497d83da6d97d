/**
 * A WHEP player: it shows a room's stream in a video element, and comes back when the stream does.
 */

import { Emitter } from './emitter.js';
import { WeirError } from './errors.js';
import { HttpError, deleteSession, listen, postOffer } from './http.js';
import { askForDependencies } from './peer.js';

/**
 * @typedef {import('./protocol.js').Reason} Reason
 * @typedef {'idle' | 'connecting' | 'waiting' | 'playing' | 'reconnecting' | 'failed' | 'stopped'} PlayerState
 *
 * @typedef {object} WatchOptions
 * @property {string} url of the WHEP endpoint, e.g. `/whep/harbour`
 * @property {string} [token]
 * @property {HTMLVideoElement} video
 *
 * @typedef {object} PlayerEvents
 * @property {{state: PlayerState, words: string, error: WeirError | null}} state
 * @property {{reason: Reason | null}} waiting why there is no picture; null when there is nothing to wait for
 * @property {{}} autoplay-blocked call `video.play()` from a click
 *
 * @typedef {object} PlayerStats
 * @property {number} frameWidth
 * @property {number} frameHeight
 * @property {number} framesPerSecond
 * @property {number} framesDecoded
 * @property {number} packetsReceived
 * @property {number} packetsLost
 * @property {number} bytesReceived
 * @property {number} bitrate bit/s
 * @property {number} jitterBufferDelay seconds, mean
 * @property {string} codec
 */

const WORDS = {
  idle: '',
  connecting: 'Connecting…',
  waiting: 'Waiting for the stream to start',
  playing: 'Live',
  reconnecting: 'The stream was interrupted.',
  failed: 'The stream cannot be played.',
  stopped: 'Stopped',
};
/** Where the server names no time, in seconds. */
const RETRY_S = 3;
const MAX_RETRY_S = 30;
/** How long an interruption may last before a new session is begun, in milliseconds. */
const PATIENCE_MS = 4_000;
/** Statuses with which trying again cannot help. */
const FINAL = new Set([400, 401, 403, 415, 422]);

/** @extends {Emitter<PlayerEvents>} */
export class Player extends Emitter {
  /** @type {PlayerState} */ state = 'idle';
  /** @type {RTCPeerConnection | null} */ pc = null;

  /** @type {WatchOptions} */ #options;
  /** Why there is no picture. @type {Reason | null} */ waiting = null;
  /** @type {string | null} */ #location = null;
  /** @type {EventSource | null} */ #events = null;
  /** Learnt from the last session, for the next one. @type {RTCIceServer[]} */ #iceServers = [];
  #timer = 0;
  #failures = 0;
  #counter = { bytes: 0, at: 0, rate: 0 };

  /** @param {WatchOptions} options */
  constructor(options) {
    super();
    this.#options = options;
  }

  /** What to tell a person. */
  get words() {
    return WORDS[this.state];
  }

  start() {
    addEventListener('pagehide', this.#onPageHide);
    this.#setState('connecting');
    void this.#attempt();
    return this;
  }

  stop() {
    removeEventListener('pagehide', this.#onPageHide);
    this.#endSession();
    this.#options.video.srcObject = null;
    this.#setState('stopped');
  }

  /** @returns {Promise<PlayerStats | null>} null while nothing is received */
  async stats() {
    if (!this.pc) return null;
    const report = /** @type {Map<string, any>} */ (/** @type {unknown} */ (await this.pc.getStats()));
    const inbound = [...report.values()].filter((entry) => entry.type === 'inbound-rtp');
    const video = inbound.find((entry) => entry.kind === 'video');
    const bytes = inbound.reduce((sum, entry) => sum + (entry.bytesReceived ?? 0), 0);
    return {
      frameWidth: video?.frameWidth ?? 0,
      frameHeight: video?.frameHeight ?? 0,
      framesPerSecond: video?.framesPerSecond ?? 0,
      framesDecoded: video?.framesDecoded ?? 0,
      packetsReceived: inbound.reduce((sum, entry) => sum + (entry.packetsReceived ?? 0), 0),
      packetsLost: inbound.reduce((sum, entry) => sum + (entry.packetsLost ?? 0), 0),
      bytesReceived: bytes,
      bitrate: this.#rate(bytes),
      jitterBufferDelay: video?.jitterBufferEmittedCount ? video.jitterBufferDelay / video.jitterBufferEmittedCount : 0,
      codec: report.get(video?.codecId)?.mimeType?.split('/')[1] ?? '',
    };
  }

  async #attempt() {
    const pc = new RTCPeerConnection({ iceServers: this.#iceServers, bundlePolicy: 'max-bundle' });
    this.pc = pc;
    const stream = new MediaStream();
    for (const kind of ['video', 'audio']) {
      const transceiver = pc.addTransceiver(kind, { direction: 'recvonly' });
      if (kind === 'video') askForDependencies(transceiver);
      stream.addTrack(transceiver.receiver.track);
    }
    pc.addEventListener('connectionstatechange', () => this.#onConnection(pc));
    try {
      await pc.setLocalDescription(await pc.createOffer());
      const session = await postOffer(this.#options.url, pc.localDescription?.sdp ?? '', this.#options.token);
      if (this.pc !== pc) {
        if (session.location) deleteSession(session.location, this.#options.token);
        return;
      }
      this.#location = session.location;
      this.#iceServers = session.iceServers;
      await pc.setRemoteDescription({ type: 'answer', sdp: session.answer });
      this.#show(stream);
      if (session.events) void this.#listen(pc, session.events);
    } catch (error) {
      if (this.pc === pc) this.#onFailure(WeirError.from(error));
    }
  }

  /** @param {MediaStream} stream */
  #show(stream) {
    const { video } = this.#options;
    video.srcObject = stream;
    video.play().catch((error) => {
      if (error.name === 'NotAllowedError') this.emit('autoplay-blocked', {});
    });
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {string} url
   */
  async #listen(pc, url) {
    const events = await listen(url, ['layers'], this.#options.token);
    if (this.pc !== pc) {
      events?.close();
      return;
    }
    this.#events = events;
    events?.addEventListener('layers', ({ data }) => {
      const lines = /** @type {{waiting?: Reason}[]} */ (Object.values(JSON.parse(data)));
      this.waiting = lines.find(({ waiting }) => waiting)?.waiting ?? null;
      this.emit('waiting', { reason: this.waiting });
    });
  }

  /** @param {RTCPeerConnection} pc */
  #onConnection(pc) {
    if (this.pc !== pc) return;
    clearTimeout(this.#timer);
    switch (pc.connectionState) {
      case 'connected':
        this.#failures = 0;
        this.#setState('playing');
        break;
      case 'disconnected':
        this.#setState('reconnecting');
        this.#retryIn(PATIENCE_MS);
        break;
      case 'failed':
      case 'closed':
        this.#setState('reconnecting');
        this.#retryIn(this.#backoff());
        break;
    }
  }

  /** @param {WeirError} error */
  #onFailure(error) {
    const status = error instanceof HttpError ? error.status : 0;
    const after = error instanceof HttpError ? error.retryAfter : 0;
    this.#endSession();
    if (FINAL.has(status)) {
      this.#setState('failed', error);
    } else if (status === 404 || status === 409) {
      this.#setState('waiting');
      this.#retryIn((after || RETRY_S) * 1000);
    } else {
      this.#setState('reconnecting', error);
      this.#retryIn(after ? after * 1000 : this.#backoff());
    }
  }

  #backoff() {
    return Math.min(MAX_RETRY_S, RETRY_S * 2 ** this.#failures++ * (0.4 + 0.2 * Math.random())) * 1000;
  }

  /** @param {number} ms */
  #retryIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#endSession();
      void this.#attempt();
    }, ms);
  }

  #endSession() {
    clearTimeout(this.#timer);
    if (this.#location) deleteSession(this.#location, this.#options.token);
    this.#location = null;
    this.#events?.close();
    this.#events = null;
    this.waiting = null;
    this.pc?.close();
    this.pc = null;
    this.#counter = { bytes: 0, at: 0, rate: 0 };
  }

  #onPageHide = () => this.stop();

  /** @param {number} bytes */
  #rate(bytes) {
    const at = performance.now();
    const before = this.#counter;
    if (at - before.at < 900) return before.rate;
    const rate = before.at ? Math.max(0, ((bytes - before.bytes) * 8000) / (at - before.at)) : 0;
    this.#counter = { bytes, at, rate };
    return rate;
  }

  /**
   * @param {PlayerState} state
   * @param {WeirError | null} [error]
   */
  #setState(state, error = null) {
    if (this.state === state) return;
    this.state = state;
    const words = state === 'reconnecting' ? `${error?.sentence ?? WORDS.reconnecting} Trying again…` : (error?.sentence ?? WORDS[state]);
    this.emit('state', { state, words, error });
  }
}

/**
 * Plays a room's stream.
 *
 * @param {WatchOptions} options
 * @returns {Player}
 */
export function watch(options) {
  return new Player(options).start();
}
