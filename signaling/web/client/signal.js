/**
 * The WebSocket of `weir.v1`: joins, matches answers to requests, notices a dead connection, and comes back with the
 * `resume` token. It knows nothing of media.
 */

import { WeirError } from './errors.js';

/**
 * @typedef {import('./protocol.js').ServerMessage} ServerMessage
 * @typedef {import('./protocol.js').Joined} Joined
 *
 * @typedef {object} SignalOptions
 * @property {string} url of the WebSocket
 * @property {{name: string, token?: string, metadata?: string}} hello sent in every `join`
 * @property {(message: ServerMessage) => void} onMessage everything but answers to requests
 * @property {() => void} onDropped the WebSocket is gone; it is being opened again
 * @property {(joined: Joined, resumed: boolean) => void} onBack it is there again: the same participant, or a new one
 * @property {(error: WeirError) => void} onLost it will not come back
 */

/** Pauses between attempts to reconnect, in milliseconds. The server waits 15 s, so the first ones are quick. */
const BACKOFF_MS = [100, 300, 700, 1500, 3000, 5000];
/** When to give up, in milliseconds after the WebSocket was lost. A restarting server is back well within it. */
const GIVE_UP_MS = 60_000;
const CONNECT_TIMEOUT_MS = 8_000;
const REQUEST_TIMEOUT_MS = 15_000;
const PING_MS = 10_000;
/** Silence after which the WebSocket is taken for dead: two pings that nobody answered. */
const SILENCE_MS = 22_000;
/** Error codes after which trying again cannot help. */
const FINAL = new Set(['unauthorized', 'forbidden', 'room-full', 'bad-message', 'not-joined', 'removed', 'room-closed']);

export class Signal {
  /** @type {SignalOptions} */ #options;
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {string | null} */ #resume = null;
  /** @type {Map<number, {resolve: (message: any) => void, reject: (error: WeirError) => void, timer: number}>} */
  #requests = new Map();
  #nextId = 1;
  #closed = false;
  #heardAt = 0;
  #pingTimer = 0;
  /** Wakes a pause between two attempts early. @type {() => void} */ #hurry = () => {};

  /** @param {SignalOptions} options */
  constructor(options) {
    this.#options = options;
    addEventListener('online', this.#onOnline);
  }

  /** Whether a message sent now would leave. */
  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /**
   * Connects and joins for the first time. No attempt is repeated: the caller can tell its user at once.
   *
   * @returns {Promise<Joined>}
   */
  async join() {
    try {
      return await this.#connect(null);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * @param {{type: string} & Record<string, unknown>} message
   * @returns {boolean} false when there is no connection to send on
   */
  send(message) {
    if (!this.#socket || !this.open) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Sends a message with an `id` and waits for its answer.
   *
   * @param {{type: string} & Record<string, unknown>} message
   * @returns {Promise<any>} rejects with the server's error, or `connection-lost`
   */
  request(message) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      if (!this.send({ ...message, id })) {
        reject(new WeirError('connection-lost', 'no connection to send on'));
        return;
      }
      const timer = setTimeout(() => {
        this.#requests.delete(id);
        reject(new WeirError('connection-lost', `no answer to ${message.type}`));
        this.#drop();
      }, REQUEST_TIMEOUT_MS);
      this.#requests.set(id, { resolve, reject, timer });
    });
  }

  /** Drops the session and joins as a new participant, as after `resume-failed`. */
  startOver() {
    this.#resume = null;
    this.#drop();
  }

  /** Ends it for good, with `leave` where there is a connection. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    removeEventListener('online', this.#onOnline);
    this.send({ type: 'leave' });
    this.#socket?.close(1000);
    this.#forgetSocket();
    this.#hurry();
  }

  /**
   * One attempt: WebSocket, `join`, `joined`.
   *
   * @param {string | null} resume
   * @returns {Promise<Joined>}
   */
  #connect(resume) {
    return new Promise((resolve, reject) => {
      /** @type {WebSocket} */
      let socket;
      try {
        socket = new WebSocket(this.#options.url, 'weir.v1');
      } catch (error) {
        reject(WeirError.from(error, 'server-unreachable'));
        return;
      }
      const fail = /** @param {WeirError} error */ (error) => {
        clearTimeout(timer);
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close();
        reject(error);
      };
      const timer = setTimeout(() => fail(new WeirError('server-unreachable', 'timed out')), CONNECT_TIMEOUT_MS);
      socket.onopen = () => {
        socket.send(JSON.stringify({ type: 'join', ...this.#options.hello, ...(resume ? { resume } : {}) }));
      };
      socket.onclose = (event) => fail(new WeirError('server-unreachable', `closed with ${event.code}`));
      socket.onmessage = (event) => {
        const message = parse(event.data);
        if (message?.type === 'error') fail(new WeirError(message.code, message.message));
        if (message?.type === 'closed') fail(new WeirError(message.reason));
        if (message?.type !== 'joined') return;
        clearTimeout(timer);
        if (this.#closed) {
          fail(new WeirError('closed'));
          return;
        }
        this.#adopt(socket, message);
        resolve(message);
      };
    });
  }

  /**
   * @param {WebSocket} socket
   * @param {Joined} joined
   */
  #adopt(socket, joined) {
    this.#socket = socket;
    this.#resume = joined.resume;
    this.#heardAt = performance.now();
    socket.onmessage = (event) => this.#onMessage(parse(event.data));
    socket.onclose = () => this.#drop();
    this.#pingTimer = setInterval(() => {
      if (performance.now() - this.#heardAt > SILENCE_MS) this.#drop();
      else this.send({ type: 'ping' });
    }, PING_MS);
  }

  /** @param {ServerMessage | null} message */
  #onMessage(message) {
    this.#heardAt = performance.now();
    if (!message) return;
    const id = message.type === 'answer' || message.type === 'error' ? message.id : undefined;
    const request = id === undefined ? undefined : this.#requests.get(id);
    if (id !== undefined && request) {
      this.#requests.delete(id);
      clearTimeout(request.timer);
      if (message.type === 'error') request.reject(new WeirError(message.code, message.message));
      else request.resolve(message);
      return;
    }
    if (message.type !== 'pong') this.#options.onMessage(message);
  }

  #onOnline = () => this.#hurry();

  /** Forgets a dead WebSocket and tries for another one. */
  #drop() {
    if (this.#closed || !this.#socket) return;
    this.#socket.close();
    this.#forgetSocket();
    this.#options.onDropped();
    void this.#reconnect();
  }

  #forgetSocket() {
    clearInterval(this.#pingTimer);
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket = null;
    for (const request of this.#requests.values()) {
      clearTimeout(request.timer);
      request.reject(new WeirError('connection-lost'));
    }
    this.#requests.clear();
  }

  async #reconnect() {
    const lostAt = performance.now();
    /** @type {WeirError} */
    let last = new WeirError('server-unreachable');
    for (let attempt = 0; performance.now() - lostAt < GIVE_UP_MS; attempt++) {
      await this.#pause(BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)] ?? 5000);
      if (this.#closed) return;
      const resume = this.#resume;
      try {
        const joined = await this.#connect(resume);
        this.#options.onBack(joined, resume !== null);
        return;
      } catch (error) {
        last = WeirError.from(error, 'server-unreachable');
        if (last.code === 'resume-failed') this.#resume = null;
        else if (FINAL.has(last.code)) break;
      }
    }
    if (!this.#closed) this.#options.onLost(last);
  }

  /** @param {number} ms a fifth of it more or less, so that a room's clients do not all come back at once */
  #pause(ms) {
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms * (0.8 + 0.4 * Math.random()));
        this.#hurry = () => {
          clearTimeout(timer);
          resolve();
        };
      })
    );
  }
}

/**
 * @param {unknown} data
 * @returns {ServerMessage | null}
 */
function parse(data) {
  try {
    return typeof data === 'string' ? JSON.parse(data) : null;
  } catch {
    return null;
  }
}

/**
 * The WebSocket address of a room.
 *
 * @param {string} base where the server is, e.g. `https://sfu.example`
 * @param {string} room
 */
export function signalUrl(base, room) {
  const url = new URL(`/v1/rooms/${encodeURIComponent(room)}/ws`, base);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}
