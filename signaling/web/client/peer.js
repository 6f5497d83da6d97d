/**
 * The one PeerConnection of a stay in a room: its slots, its negotiation, and how it finds its way back when the
 * network changes. It offers for itself only; who is shown in a slot is none of its business.
 */

import { WeirError } from './errors.js';
import { describeLines, startLine } from './lines.js';
import { Pulse } from './pulse.js';

/**
 * @typedef {import('./protocol.js').Kind} Kind
 * @typedef {import('./protocol.js').Reason} Reason
 * @typedef {import('./protocol.js').Answer} Answer
 * @typedef {import('./lines.js').Line} Line
 *
 * @typedef {object} Slot a receive line, and what the server shows in it
 * @property {string} mid
 * @property {Kind} kind
 * @property {string | null} participant
 * @property {string | null} track the id of a published track
 * @property {MediaStreamTrack} mediaTrack the same one for as long as the slot lives
 * @property {HTMLMediaElement | null} element
 * @property {string | null} layer rid, `''` without simulcast, null while paused
 * @property {Reason | null} reason why this layer
 *
 * @typedef {'new' | 'connected' | 'interrupted'} MediaState
 *
 * @typedef {object} PeerOptions
 * @property {() => RTCIceServer[]} iceServers with credentials that still hold
 * @property {RTCIceTransportPolicy} iceTransportPolicy
 * @property {{audio: number, video: number}} slots
 * @property {Map<string, Line>} lines
 * @property {(message: {type: 'offer', sdp: string, tracks: ReturnType<typeof describeLines>}) => Promise<Answer>} offer
 * @property {() => boolean} canOffer whether there is a connection to offer over
 * @property {(media: MediaState) => void} onMedia
 * @property {() => void} onDead nothing helped: a new PeerConnection is needed
 */

/** A short interruption mends itself; a longer one is a changed network. Milliseconds. */
const DISCONNECTED_PATIENCE_MS = 2_000;
/** How long an ICE restart may take before the next one, in milliseconds. */
const RESTART_PATIENCE_MS = 5_000;
const MAX_RESTARTS = 3;

export class Peer {
  /** @type {RTCPeerConnection} */ pc;
  /** By mid. @type {Map<string, Slot>} */ slots = new Map();

  /** @type {PeerOptions} */ #options;
  /** Offers follow one another. @type {Promise<unknown>} */ #negotiation = Promise.resolve();
  /** Whether the server has not seen what an offer would say now. */
  #dirty = true;
  #answered = false;
  #restarts = 0;
  #timer = 0;
  /** @type {Pulse} */ #pulse;
  #closed = false;

  /** @param {PeerOptions} options */
  constructor(options) {
    this.#options = options;
    if (typeof RTCPeerConnection === 'undefined') throw new WeirError('unsupported-browser');
    this.pc = new RTCPeerConnection({
      iceServers: options.iceServers(),
      iceTransportPolicy: options.iceTransportPolicy,
      bundlePolicy: 'max-bundle',
      rtcpMuxPolicy: 'require',
    });
    this.#pulse = new Pulse(this.pc, () => this.#onSilence());
    this.pc.addEventListener('iceconnectionstatechange', () => this.#onIce());
    this.pc.addEventListener('connectionstatechange', () => {
      // ICE works and the connection failed all the same: DTLS did, and a restart does not mend that.
      if (this.pc.connectionState === 'failed' && this.pc.iceConnectionState !== 'failed') this.#die();
    });
  }

  /** The first offer: what is published, and the empty slots. */
  async start() {
    for (const line of this.#options.lines.values()) await startLine(this.pc, line);
    const { audio, video } = this.#options.slots;
    await this.addSlots(audio, video);
  }

  /**
   * @param {number} audio
   * @param {number} video
   */
  async addSlots(audio, video) {
    for (let i = 0; i < audio; i++) this.pc.addTransceiver('audio', { direction: 'recvonly' });
    const codecs = video > 0 ? usefulCodecs() : [];
    for (let i = 0; i < video; i++) {
      const transceiver = this.pc.addTransceiver('video', { direction: 'recvonly' });
      if (codecs.length > 0) transceiver.setCodecPreferences?.(codecs);
      askForDependencies(transceiver);
    }
    await this.negotiate();
  }

  /**
   * Offers what the PeerConnection is now. Without a connection to the server, it waits for `resume`.
   *
   * @param {{iceRestart?: boolean}} [options]
   * @returns {Promise<void>}
   */
  negotiate({ iceRestart = false } = {}) {
    this.#dirty = true;
    if (iceRestart && this.#answered) this.#restartIce();
    const turn = this.#negotiation.then(() => this.#offer());
    this.#negotiation = turn.catch(() => {});
    return turn;
  }

  /** The connection to the server is back: says what could not be said meanwhile. */
  async resume() {
    const { iceConnectionState } = this.pc;
    const broken = iceConnectionState === 'disconnected' || iceConnectionState === 'failed';
    if (this.#dirty || broken) await this.negotiate({ iceRestart: broken });
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#pulse.stop();
    this.pc.close();
  }

  async #offer() {
    const { pc } = this;
    if (this.#closed || !this.#dirty) return;
    if (this.#answered && !this.#options.canOffer()) return;
    this.#dirty = false;
    await pc.setLocalDescription(await pc.createOffer());
    this.#findSlots();
    try {
      const answer = await this.#options.offer({
        type: 'offer',
        sdp: pc.localDescription?.sdp ?? '',
        tracks: describeLines(this.#options.lines.values()),
      });
      if (this.#closed) return;
      await pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
      this.#answered = true;
    } catch (error) {
      if (this.#closed) return;
      if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
      // The answer was lost with the WebSocket; the same offer is made again when it is back.
      const lost = error instanceof WeirError && error.code === 'connection-lost';
      if (lost) this.#dirty = true;
      if (!lost || !this.#answered) throw error;
    }
  }

  /** A slot has its mid from the first local description that holds it. */
  #findSlots() {
    for (const { mid, direction, receiver } of this.pc.getTransceivers()) {
      if (!mid || direction !== 'recvonly' || this.slots.has(mid)) continue;
      const kind = /** @type {Kind} */ (receiver.track.kind);
      this.slots.set(mid, {
        mid,
        kind,
        participant: null,
        track: null,
        mediaTrack: receiver.track,
        element: null,
        layer: null,
        reason: null,
      });
    }
  }

  #onIce() {
    switch (this.pc.iceConnectionState) {
      case 'connected':
      case 'completed':
        clearTimeout(this.#timer);
        this.#restarts = 0;
        this.#pulse.start();
        this.#options.onMedia('connected');
        break;
      case 'disconnected':
        this.#options.onMedia('interrupted');
        this.#restartIn(DISCONNECTED_PATIENCE_MS);
        break;
      case 'failed':
        this.#options.onMedia('interrupted');
        this.#restartIn(0);
        break;
    }
  }

  /** Nothing comes back, well before the browser calls it disconnected. */
  #onSilence() {
    const { iceConnectionState } = this.pc;
    if (this.#closed || !this.#options.canOffer()) return;
    if (iceConnectionState !== 'connected' && iceConnectionState !== 'completed') return;
    this.negotiate({ iceRestart: true }).catch((error) => console.warn('weir: ICE restart', error));
  }

  #restartIce() {
    try {
      this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: this.#options.iceServers() });
    } catch (error) {
      // Old browsers cannot: they go on with the servers that they have.
      console.warn('weir: ICE servers', error);
    }
    this.pc.restartIce();
  }

  /** @param {number} ms */
  #restartIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#restart(), ms);
  }

  #restart() {
    if (this.#closed) return;
    if (this.pc.iceConnectionState === 'connected' || this.pc.iceConnectionState === 'completed') {
      this.#onIce();
      return;
    }
    if (this.#options.canOffer()) {
      if (++this.#restarts > MAX_RESTARTS) {
        this.#die();
        return;
      }
      this.negotiate({ iceRestart: true }).catch((error) => console.warn('weir: ICE restart', error));
    }
    this.#restartIn(RESTART_PATIENCE_MS);
  }

  #die() {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#options.onDead();
  }
}

/**
 * Asks for the dependency descriptor, which Chromium knows but offers only where it sends several layers: without it a
 * decoder cannot tell the spatial layers of AV1 apart.
 *
 * @param {RTCRtpTransceiver & {getHeaderExtensionsToNegotiate?: () => {uri: string, direction: string}[],
 *   setHeaderExtensionsToNegotiate?: (extensions: {uri: string, direction: string}[]) => void}} transceiver
 */
export function askForDependencies(transceiver) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.();
  const descriptor = extensions?.find(({ uri }) => uri.endsWith('#dependency-descriptor-rtp-header-extension'));
  if (!extensions || !descriptor) return;
  descriptor.direction = 'sendrecv';
  transceiver.setHeaderExtensionsToNegotiate?.(extensions);
}

/**
 * What a slot may have to play, and its retransmission. A browser lists all it knows in every line: three times the
 * text, for forms that nobody sends here.
 */
function usefulCodecs() {
  const all = globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs ?? [];
  return all.filter(({ mimeType, sdpFmtpLine = '' }) => {
    switch (mimeType.toLowerCase()) {
      case 'video/vp8':
      case 'video/av1':
      case 'video/rtx':
        return true;
      case 'video/vp9':
        return !/profile-id=[1-3]/.test(sdpFmtpLine);
      case 'video/h264':
        return sdpFmtpLine.includes('packetization-mode=1');
      default:
        return false;
    }
  });
}
