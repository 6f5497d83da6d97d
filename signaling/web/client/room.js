/**
 * A stay in a room: who is there, what they publish, what this client publishes, and who is shown in which slot.
 */

import { Emitter } from './emitter.js';
import { WeirError } from './errors.js';
import { applyLayers, startLine, stopLine } from './lines.js';
import { Peer } from './peer.js';
import { Roster } from './roster.js';
import { Signal, signalUrl } from './signal.js';
import { StatsReader } from './stats.js';
import { View } from './view.js';

/**
 * @typedef {import('./protocol.js').Participant} Participant
 * @typedef {import('./protocol.js').Track} Track
 * @typedef {import('./protocol.js').Speaker} Speaker
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./protocol.js').Joined} Joined
 * @typedef {import('./protocol.js').Limits} Limits
 * @typedef {import('./protocol.js').ServerMessage} ServerMessage
 * @typedef {import('./peer.js').Slot} Slot
 * @typedef {import('./peer.js').MediaState} MediaState
 * @typedef {import('./lines.js').Line} Line
 *
 * @typedef {object} JoinOptions
 * @property {string} [url] where the server is; this page's own origin by default
 * @property {string} room
 * @property {string} name what others see
 * @property {string} [token]
 * @property {string} [metadata] at most 4 KiB
 * @property {MediaStreamTrack | null} [microphone]
 * @property {MediaStreamTrack | null} [camera]
 * @property {{audio?: number, video?: number}} [slots] 3 audio and 9 video by default
 * @property {RTCIceTransportPolicy} [iceTransportPolicy] `relay`: over the server's relay only
 *
 * @typedef {'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'} RoomState
 *
 * @typedef {object} RoomEvents
 * @property {{state: RoomState, reason?: string, error?: WeirError}} state `reason` with `closed`
 * @property {{state: MediaState}} media whether sound and picture get through
 * @property {{}} participants somebody came, went, or changed what they publish
 * @property {{participant: Participant}} participant-joined
 * @property {{participant: Participant}} participant-updated
 * @property {{participant: Participant, reason: string}} participant-left
 * @property {{participant: Participant, track: Track}} track-published
 * @property {{participant: Participant, track: Track}} track-unpublished
 * @property {{participant: Participant, track: Track}} track-muted
 * @property {{changed: Slot[]}} slots what these slots show has changed
 * @property {{}} reset the slots are new ones: whatever was attached is gone
 * @property {{speakers: Speaker[]}} speakers
 * @property {{slot: Slot}} quality
 * @property {{state: string}} connection the server's view of this client's media connection
 * @property {{line: Line}} local something this client publishes has changed
 * @property {{line: Line}} ended a device was unplugged, or a share stopped from the browser's own bar
 * @property {{element: HTMLMediaElement}} autoplay-blocked call `room.play()` from a click
 * @property {{error: WeirError}} error an error that answers no call
 */

const DEFAULT_SLOTS = { audio: 3, video: 9 };
/** Reasons of `closed` after which the server does not want this client back. */
const FINAL_REASONS = new Set(['left', 'removed', 'room-closed', 'replaced']);
/** How often in a row a stay is begun anew after the server or the media failed. */
const MAX_REJOINS = 4;
/** A stay that lasted this long, in milliseconds, was no failure. */
const STABLE_MS = 30_000;
/** The server's echo of our own `mute` comes within this, in milliseconds; a later one is somebody else's doing. */
const MUTE_ECHO_MS = 1_500;

/** @extends {Emitter<RoomEvents>} */
export class Room extends Emitter {
  /** @type {RoomState} */ state = 'idle';
  /** @type {MediaState} */ media = 'new';
  /** The room's name. */ name = '';
  /** This client's own participant id. */ id = '';
  /** @type {Limits | null} */ limits = null;
  /** What this client publishes, by source. @type {Map<string, Line>} */ lines = new Map();
  /** @type {Speaker[]} */ speakers = [];

  /** @type {Signal | null} */ #signal = null;
  /** @type {Peer | null} */ #peer = null;
  #roster = new Roster((name, detail) => this.emit(name, detail));
  #view = new View(
    () => [...this.slots.values()].filter(({ kind }) => kind === 'video').map(({ mid }) => mid),
    (slots) => this.#signal?.send({ type: 'view', slots }) ?? false,
  );
  #stats = new StatsReader();
  #wantedSlots = DEFAULT_SLOTS;
  /** @type {RTCIceTransportPolicy} */ #policy = 'all';
  /** As told last: credentials are short-lived. @type {RTCIceServer[]} */ #iceServers = [];
  #rejoins = 0;
  #joinedAt = 0;
  #mutedAt = 0;
  /** Elements the browser would not play without a click. @type {Set<HTMLMediaElement>} */ #silent = new Set();

  /** The others, by id. @returns {ReadonlyMap<string, Participant>} */
  get participants() {
    return this.#roster.participants;
  }

  /** The receive slots, by mid. @returns {ReadonlyMap<string, Slot>} */
  get slots() {
    return this.#peer?.slots ?? new Map();
  }

  /** @returns {RTCPeerConnection | null} */
  get pc() {
    return this.#peer?.pc ?? null;
  }

  /**
   * Joins. Resolves when the server has taken the first offer; sound and picture follow within moments.
   *
   * @param {JoinOptions} options
   * @returns {Promise<this>}
   * @throws {WeirError}
   */
  async join({ url = location.origin, room, name, token, metadata, microphone = null, camera = null, slots = {}, iceTransportPolicy = 'all' }) {
    if (this.state !== 'idle') throw new WeirError('unknown', 'a Room joins once; make a new one');
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(room)) throw new WeirError('bad-room-name', room);
    if (typeof RTCPeerConnection === 'undefined') throw new WeirError('unsupported-browser');
    this.name = room;
    this.#wantedSlots = { ...DEFAULT_SLOTS, ...slots };
    if (microphone) this.#setLine('microphone', microphone);
    if (camera) this.#setLine('camera', camera);
    this.#policy = iceTransportPolicy;
    this.#setState('connecting');
    this.#signal = new Signal({
      url: signalUrl(url, room),
      hello: { name, ...(token && { token }), ...(metadata && { metadata }) },
      onMessage: (message) => this.#onMessage(message),
      onDropped: () => this.#setState('reconnecting'),
      onBack: (joined, resumed) => void this.#onBack(joined, resumed),
      onLost: (error) => this.#end(error.code, error),
    });
    try {
      await this.#begin(await this.#signal.join());
    } catch (cause) {
      const error = WeirError.from(cause);
      this.#end(error.code, error);
      throw error;
    }
    addEventListener('pagehide', this.#onPageHide);
    this.#setState('connected');
    return this;
  }

  /** Leaves. Tracks that were handed over are not stopped: they belong to the page. */
  leave() {
    this.#end('left');
  }

  /**
   * Sends this from the microphone; null sends nothing and tells the others so.
   *
   * @param {MediaStreamTrack | null} track
   */
  setMicrophone(track) {
    return this.publish('microphone', track);
  }

  /**
   * Sends this from the camera; null sends nothing. Stop the old track yourself to put its light out.
   *
   * @param {MediaStreamTrack | null} track
   */
  setCamera(track) {
    return this.publish('camera', track);
  }

  /**
   * Publishes a track, replaces the one published as this source, or, with null, switches it off. Offers only where
   * there was no such line before.
   *
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  async publish(source, track) {
    if (!track && !this.lines.has(source)) return;
    const line = this.#setLine(source, track);
    if (line.transceiver?.direction === 'sendonly') {
      await line.transceiver.sender.replaceTrack(track);
      this.#sayMuted(line);
    } else if (track && this.#peer) {
      await startLine(this.#peer.pc, line);
      await this.#peer.negotiate();
    }
  }

  /**
   * Stops publishing for good, e.g. a screen.
   *
   * @param {Source} source
   */
  async unpublish(source) {
    const line = this.lines.get(source);
    if (!line?.track) return;
    await stopLine(line);
    this.emit('local', { line });
    await this.#peer?.negotiate();
  }

  /**
   * Mutes what is published, without letting go of the device.
   *
   * @param {Source} source
   * @param {boolean} muted
   */
  mute(source, muted) {
    const line = this.lines.get(source);
    if (!line?.track) return;
    line.track.enabled = !muted;
    line.muted = muted;
    this.#sayMuted(line);
    this.emit('local', { line });
  }

  /**
   * Shares a screen, and its sound where there is one.
   *
   * @param {{screen: MediaStreamTrack, audio?: MediaStreamTrack | null}} tracks as `openScreen` gives them
   */
  async startScreen({ screen, audio = null }) {
    if (audio) this.#setLine('screen-audio', audio);
    this.#setLine('screen', screen);
    if (!this.#peer) return;
    for (const source of ['screen', 'screen-audio']) {
      const line = this.lines.get(source);
      if (line) await startLine(this.#peer.pc, line);
    }
    await this.#peer.negotiate();
  }

  /** Stops sharing the screen. Its transceivers stay, to be used again. */
  async stopScreen() {
    for (const source of ['screen', 'screen-audio']) {
      const line = this.lines.get(source);
      if (!line) continue;
      line.track?.stop();
      await stopLine(line);
      this.emit('local', { line });
    }
    await this.#peer?.negotiate();
  }

  /**
   * Plays a slot in an element. The server then sends what fits the element's size on the screen, and nothing while
   * it cannot be seen.
   *
   * @param {Slot | string} slot or its mid
   * @param {HTMLMediaElement} element
   * @param {{priority?: number}} [options] 0 to 255, higher first
   * @returns {() => void} detaches it
   */
  attach(slot, element, { priority } = {}) {
    const found = typeof slot === 'string' ? this.slots.get(slot) : slot;
    if (!found) throw new WeirError('unknown', `no slot ${slot}`);
    this.detach(found);
    found.element = element;
    element.srcObject = new MediaStream([found.mediaTrack]);
    if (found.kind === 'video') this.#view.watch(found.mid, element, priority);
    element.play().catch((error) => {
      if (error.name !== 'NotAllowedError') return;
      this.#silent.add(element);
      this.emit('autoplay-blocked', { element });
    });
    return () => {
      if (found.element === element) this.detach(found);
    };
  }

  /** @param {Slot} slot */
  detach(slot) {
    if (!slot.element) return;
    slot.element.srcObject = null;
    this.#silent.delete(slot.element);
    slot.element = null;
    if (slot.kind === 'video') this.#view.unwatch(slot.mid);
  }

  /** Plays what the browser would not play without a click. Call it from one. */
  async play() {
    const elements = [...this.#silent];
    this.#silent.clear();
    await Promise.allSettled(elements.map((element) => element.play()));
  }

  /**
   * Shows one track in a slot whatever the server would choose; null gives the choice back.
   *
   * @param {string} mid
   * @param {string | null} track
   */
  pin(mid, track) {
    this.#view.pin(mid, track);
  }

  /**
   * Makes room for more: offers again with more slots, within the server's limits.
   *
   * @param {{audio?: number, video?: number}} slots how many there shall be in all; there are never fewer than before
   */
  async growSlots({ audio = 0, video = 0 }) {
    const before = this.#wantedSlots;
    const wanted = this.#withinLimits({ audio: Math.max(audio, before.audio), video: Math.max(video, before.video) });
    this.#wantedSlots = wanted;
    const more = { audio: wanted.audio - before.audio, video: wanted.video - before.video };
    if (more.audio > 0 || more.video > 0) await this.#peer?.addSlots(Math.max(0, more.audio), Math.max(0, more.video));
  }

  /**
   * Text that the others see with this participant.
   *
   * @param {string} metadata at most 4 KiB
   */
  setMetadata(metadata) {
    this.#signal?.send({ type: 'metadata', metadata });
  }

  /** Looks for a new way through the network, as it also does by itself when the old one is lost. */
  async restartIce() {
    await this.#peer?.negotiate({ iceRestart: true });
  }

  /** What is received in each slot, what is sent in each layer, and over what. */
  async stats() {
    if (!this.pc) throw new WeirError('closed');
    return this.#stats.read(this.pc, this.slots.values(), this.lines.values());
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  #setLine(source, track) {
    const line = this.lines.get(source) ?? { source, track: null, muted: false, label: '', id: null, transceiver: null };
    line.track = track;
    line.muted = !track || !track.enabled;
    line.label = track?.label ?? line.label;
    this.lines.set(source, line);
    track?.addEventListener('ended', () => {
      if (line.track === track) this.emit('ended', { line });
    });
    this.emit('local', { line });
    return line;
  }

  /** @param {Line} line */
  #sayMuted(line) {
    if (!line.id) return;
    this.#mutedAt = performance.now();
    this.#signal?.send({ type: 'mute', track: line.id, muted: line.muted });
  }

  /** @param {{audio: number, video: number}} wanted */
  #withinLimits({ audio, video }) {
    const most = this.limits?.slots;
    return most ? { audio: Math.min(audio, most.audio), video: Math.min(video, most.video) } : { audio, video };
  }

  /**
   * A new stay: new participant, new PeerConnection.
   *
   * @param {Joined} joined
   */
  async #begin(joined) {
    this.#forgetPeer();
    this.#learnServers(joined);
    this.id = joined.participant;
    this.limits = joined.limits ?? null;
    this.#joinedAt = performance.now();
    this.#roster.replace(joined.participants);
    this.#wantedSlots = this.#withinLimits(this.#wantedSlots);
    const peer = new Peer({
      iceServers: () => this.#iceServers,
      iceTransportPolicy: this.#policy,
      slots: this.#wantedSlots,
      lines: this.lines,
      canOffer: () => this.#signal?.open ?? false,
      offer: async (offer) => {
        const answer = await (this.#signal?.request(offer) ?? Promise.reject(new WeirError('closed')));
        this.#onAnswer(answer, offer.tracks);
        return answer;
      },
      onMedia: (state) => this.#setMedia(state),
      onDead: () => this.#rejoin('media-unreachable'),
    });
    this.#peer = peer;
    this.#setMedia('new');
    this.emit('reset', {});
    await peer.start();
  }

  /**
   * The WebSocket is back, as the same participant or as a new one.
   *
   * @param {Joined} joined
   * @param {boolean} resumed
   */
  async #onBack(joined, resumed) {
    try {
      if (resumed && joined.participant === this.id) {
        this.#learnServers(joined);
        this.#roster.replace(joined.participants);
        this.#clearSlots((slot) => slot.participant !== null && !this.participants.has(slot.participant));
        for (const line of this.lines.values()) this.#sayMuted(line);
        this.#view.repeat();
        await this.#peer?.resume();
      } else {
        await this.#begin(joined);
      }
      this.#setState('connected');
    } catch (cause) {
      const error = WeirError.from(cause);
      if (error.code === 'connection-lost') return;
      this.emit('error', { error });
      this.#rejoin(error.code);
    }
  }

  /**
   * Begins a new stay after the server or the media failed, or gives up.
   *
   * @param {string} reason
   */
  #rejoin(reason) {
    if (this.state === 'closed') return;
    this.#rejoins = performance.now() - this.#joinedAt > STABLE_MS ? 1 : this.#rejoins + 1;
    if (this.#rejoins > MAX_REJOINS) this.#end(reason, new WeirError(reason));
    else this.#signal?.startOver();
  }

  /** @param {ServerMessage} message */
  #onMessage(message) {
    switch (message.type) {
      case 'participant-joined':
      case 'participant-updated':
        if (message.participant.id !== this.id) this.#roster.put(message.participant);
        break;
      case 'participant-left':
        this.#roster.remove(message.participant, message.reason);
        this.#clearSlots((slot) => slot.participant === message.participant);
        break;
      case 'track-published':
        this.#roster.publish(message.participant, message.track);
        break;
      case 'track-unpublished':
        this.#roster.unpublish(message.participant, message.track);
        break;
      case 'track-muted':
        if (message.participant === this.id) this.#onMutedByServer(message.track, message.muted);
        else this.#roster.mute(message.participant, message.track, message.muted);
        break;
      case 'slots':
        this.#onSlots(message.assignments);
        break;
      case 'speakers':
        this.speakers = message.speakers;
        this.emit('speakers', { speakers: message.speakers });
        break;
      case 'quality':
        this.#onQuality(message);
        break;
      case 'layers':
        this.#onLayers(message);
        break;
      case 'ice-servers':
        this.#learnServers(message);
        break;
      case 'connection':
        this.emit('connection', { state: message.state });
        break;
      case 'error':
        this.emit('error', { error: new WeirError(message.code, message.message) });
        break;
      case 'closed':
        if (FINAL_REASONS.has(message.reason)) this.#end(message.reason);
        else this.#rejoin(message.reason);
        break;
    }
  }

  /**
   * @param {import('./protocol.js').Answer} answer
   * @param {{mid?: string | null, muted: boolean}[]} offered
   */
  #onAnswer(answer, offered) {
    for (const line of this.lines.values()) {
      const mid = line.transceiver?.mid;
      const answered = answer.tracks?.find((track) => track.mid === mid);
      if (!mid || !answered) continue;
      line.id = answered.id;
      // Muted or unmuted while the offer was on its way.
      if (offered.find((track) => track.mid === mid)?.muted !== line.muted) this.#sayMuted(line);
      this.emit('local', { line });
    }
  }

  /** @param {import('./protocol.js').Assignment[]} assignments */
  #onSlots(assignments) {
    const changed = [];
    for (const { mid, participant, track } of assignments) {
      const slot = this.slots.get(mid);
      if (!slot || (slot.participant === participant && slot.track === track)) continue;
      Object.assign(slot, { participant, track, layer: null, reason: null });
      changed.push(slot);
    }
    if (changed.length > 0) this.emit('slots', { changed });
  }

  /** @param {(slot: Slot) => boolean} which */
  #clearSlots(which) {
    const gone = [...this.slots.values()].filter(which);
    this.#onSlots(gone.map(({ mid, kind }) => ({ mid, kind, participant: null, track: null })));
  }

  /** @param {import('./protocol.js').Quality} quality */
  #onQuality({ mid, layer, reason }) {
    const slot = this.slots.get(mid);
    if (!slot) return;
    Object.assign(slot, { layer, reason });
    this.emit('quality', { slot });
  }

  /** @param {import('./protocol.js').Layers} layers */
  #onLayers({ mid, active }) {
    const transceiver = this.pc?.getTransceivers().find((candidate) => candidate.mid === mid);
    if (!transceiver) return;
    applyLayers(transceiver.sender, active).catch((error) => console.warn('weir: layers', error));
  }

  /**
   * Somebody with the right to do so has muted us. Nobody can unmute us but ourselves.
   *
   * @param {string} track
   * @param {boolean} muted
   */
  #onMutedByServer(track, muted) {
    const line = [...this.lines.values()].find(({ id }) => id === track);
    const echo = performance.now() - this.#mutedAt < MUTE_ECHO_MS;
    if (!line || !muted || line.muted || echo) return;
    if (line.track) line.track.enabled = false;
    line.muted = true;
    this.emit('local', { line });
  }

  /** @param {{iceServers?: RTCIceServer[], relayServers?: RTCIceServer[]}} told */
  #learnServers({ iceServers = [], relayServers = [] }) {
    this.#iceServers = this.#policy === 'relay' ? relayServers : iceServers;
  }

  /** @param {MediaState} media */
  #setMedia(media) {
    if (this.media === media) return;
    this.media = media;
    this.emit('media', { state: media });
  }

  /**
   * @param {RoomState} state
   * @param {string} [reason]
   * @param {WeirError} [error]
   */
  #setState(state, reason, error) {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    this.emit('state', { state, reason, error });
  }

  #onPageHide = () => this.#end('left');

  #forgetPeer() {
    this.#view.clear();
    for (const slot of this.slots.values()) this.detach(slot);
    this.#peer?.close();
    this.#peer = null;
    this.#stats = new StatsReader();
    for (const line of this.lines.values()) Object.assign(line, { transceiver: null, id: null });
  }

  /**
   * @param {string} reason
   * @param {WeirError} [error]
   */
  #end(reason, error) {
    if (this.state === 'closed') return;
    removeEventListener('pagehide', this.#onPageHide);
    this.#signal?.close();
    this.#forgetPeer();
    this.#view.close();
    this.#setState('closed', reason, error);
  }
}

/**
 * Joins a room: `new Room().join(options)`.
 *
 * @param {JoinOptions} options
 * @returns {Promise<Room>}
 */
export function join(options) {
  return new Room().join(options);
}
