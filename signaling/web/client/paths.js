/**
 * Which ways media can take from here to the server: each is tried by itself, with sound sent and had back over it.
 */

import { WeirError } from './errors.js';
import { deleteSession, postOffer } from './http.js';

/**
 * @typedef {object} Path
 * @property {string} name `UDP, IPv4`
 * @property {'udp' | 'tcp' | 'turn'} kind
 * @property {string} host where it leads first
 * @property {number} port
 * @property {'UDP' | 'TCP'} open the transport to be opened
 * @property {string[]} candidates lines of the server's answer to keep
 * @property {RTCIceServer[]} iceServers
 *
 * @typedef {'ok' | 'shut' | 'dtls' | 'media' | 'refused' | 'elsewhere' | 'session'} Outcome
 *
 * @typedef {object} Result
 * @property {Outcome} outcome
 * @property {number} [connectedMs] from the first packet to the end of DTLS
 * @property {number} [roundTripMs] of a packet
 * @property {string} [detail] in the browser's or the server's words
 * @property {string} [elsewhere] the address that did answer
 *
 * @typedef {object} Entry what opens a room
 * @property {string} room
 * @property {string} [token]
 */

/** How long ICE and DTLS may take, and then the first sound back, in milliseconds. */
const CONNECT_MS = 6_000;
const SOUND_MS = 5_000;
const LOOK_MS = 50;

/**
 * The ways that the server names to its clients.
 *
 * @param {Entry} entry
 * @param {RTCIceServer[]} servers that a member is told
 * @returns {Promise<Path[]>} rejects with a `WeirError` when the server takes no session
 */
export async function findPaths(entry, servers) {
  const pc = new RTCPeerConnection();
  try {
    const sound = silence();
    pc.addTransceiver(sound.track, { direction: 'sendonly' });
    await pc.setLocalDescription(await pc.createOffer());
    const { answer, location } = await postOffer(`/whip/${entry.room}`, pc.localDescription?.sdp ?? '', entry.token);
    sound.stop();
    if (location) deleteSession(location, entry.token);
    return describe(answer, servers);
  } finally {
    pc.close();
  }
}

/**
 * @param {string} answer SDP
 * @param {RTCIceServer[]} iceServers
 * @returns {Path[]}
 */
export function describe(answer, iceServers) {
  /** @type {Map<string, Path>} */
  const direct = new Map();
  for (const line of answer.split(/\r?\n/)) {
    const [, transport = '', host = '', port = ''] = /^a=candidate:\S+ 1 (\S+) \d+ (\S+) (\d+) typ host/i.exec(line) ?? [];
    const kind = transport.toLowerCase();
    if (kind !== 'udp' && kind !== 'tcp') continue;
    const open = kind === 'udp' ? 'UDP' : 'TCP';
    const name = `${open}, ${host.includes(':') ? 'IPv6' : 'IPv4'}`;
    if (!direct.has(`${name} ${host}`))
      direct.set(`${name} ${host}`, { name, kind, host, port: Number(port), open, candidates: [line], iceServers: [] });
  }
  const udp = [...direct.values()].filter(({ kind }) => kind === 'udp').flatMap(({ candidates }) => candidates);
  const relayed = new Map(iceServers.flatMap((server) => relays(server, udp)).map((path) => [`${path.name} ${path.host}`, path]));
  return [...direct.values(), ...relayed.values()];
}

/**
 * @param {RTCIceServer} server
 * @param {string[]} candidates
 * @returns {Path[]}
 */
function relays(server, candidates) {
  return [server.urls].flat().flatMap((url) => {
    const [, scheme, host = '', given, transport] = /^(turns?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/.exec(url) ?? [];
    if (!scheme) return [];
    const tls = scheme === 'turns';
    const port = Number(given ?? (tls ? 5349 : 3478));
    const open = tls || transport === 'tcp' ? 'TCP' : 'UDP';
    const name = tls ? `TURN, TLS ${port}` : `TURN, ${open}`;
    return [{ name, kind: /** @type {const} */ ('turn'), host, port, open: /** @type {'UDP' | 'TCP'} */ (open), candidates, iceServers: [{ ...server, urls: url }] }];
  });
}

/**
 * Sends sound over one way, and has it back over the same.
 *
 * @param {Path} path
 * @param {Entry} entry
 * @returns {Promise<Result>}
 */
export async function tryPath(path, entry) {
  const result = await roundTrip(path, entry);
  if (result.outcome !== 'shut' || path.kind === 'turn') return result;
  // Does the server answer at the address that this page came from, though it names another?
  const elsewhere = location.hostname.replace(/^\[|\]$/g, '');
  const candidates = path.candidates.map((line) => line.replace(` ${path.host} `, ` ${elsewhere} `));
  if (elsewhere === path.host || elsewhere.includes(':') !== path.host.includes(':')) return result;
  const other = await roundTrip({ ...path, candidates }, entry);
  return other.outcome === 'ok' ? { ...other, outcome: 'elsewhere', elsewhere } : result;
}

/**
 * @param {Path} path
 * @param {Entry} entry
 * @returns {Promise<Result>}
 */
async function roundTrip(path, entry) {
  const sound = silence();
  const sender = new Leg(path, entry);
  const receiver = new Leg(path, entry);
  try {
    sender.pc.addTransceiver(sound.track, { direction: 'sendonly' });
    const failed = await sender.connect('whip', entry.room);
    if (failed) return failed;
    receiver.pc.addTransceiver('audio', { direction: 'recvonly' });
    const deaf = await receiver.connect('whep', `${entry.room}?wait=true`);
    if (deaf) return deaf;
    if (!(await until(async () => (await heard(receiver.pc)) > 0, SOUND_MS))) return { outcome: 'media' };
    return { outcome: 'ok', connectedMs: Math.round(sender.connectedMs), roundTripMs: await roundTripOf(sender.pc) };
  } catch (error) {
    return { outcome: 'session', detail: WeirError.from(error, 'unknown').message };
  } finally {
    sender.end();
    receiver.end();
    sound.stop();
  }
}

/** One of the two connections. */
class Leg {
  connectedMs = 0;
  /** @type {string | null} */ #session = null;
  /** The TURN server's last error. @type {RTCPeerConnectionIceErrorEvent | null} */ #refusal = null;
  #path;
  #entry;

  /**
   * @param {Path} path
   * @param {Entry} entry
   */
  constructor(path, entry) {
    this.#path = path;
    this.#entry = entry;
    const iceTransportPolicy = path.kind === 'turn' ? 'relay' : 'all';
    this.pc = new RTCPeerConnection({ iceServers: path.iceServers, iceTransportPolicy, bundlePolicy: 'max-bundle' });
    this.pc.addEventListener('icecandidateerror', (event) => {
      this.#refusal = /** @type {RTCPeerConnectionIceErrorEvent} */ (event);
    });
  }

  /**
   * @param {'whip' | 'whep'} protocol
   * @param {string} rest of the URL
   * @returns {Promise<Result | null>} what went wrong
   */
  async connect(protocol, rest) {
    const { pc } = this;
    await pc.setLocalDescription(await pc.createOffer());
    const { answer, location } = await postOffer(`/${protocol}/${rest}`, pc.localDescription?.sdp ?? '', this.#entry.token);
    this.#session = location;
    const began = performance.now();
    await pc.setRemoteDescription({ type: 'answer', sdp: only(answer, this.#path.candidates) });
    if (await until(() => pc.connectionState === 'connected' || pc.connectionState === 'failed', CONNECT_MS)) {
      this.connectedMs = performance.now() - began;
      if (pc.connectionState === 'connected') return null;
    }
    if (pc.iceConnectionState === 'connected' || pc.iceConnectionState === 'completed') return { outcome: 'dtls' };
    const code = this.#refusal?.errorCode ?? 0;
    if (code >= 300 && code < 700) return { outcome: 'refused', detail: `${code} ${this.#refusal?.errorText ?? ''}`.trim() };
    return { outcome: 'shut' };
  }

  end() {
    this.pc.close();
    if (this.#session) deleteSession(this.#session, this.#entry.token);
  }
}

/**
 * The answer with these candidates in place of its own.
 *
 * @param {string} answer SDP
 * @param {string[]} candidates
 */
function only(answer, candidates) {
  const lines = answer.split(/\r?\n/).filter((line) => line !== '' && !/^a=(candidate|end-of-candidates)/.test(line));
  return [...lines.flatMap((line) => (line.startsWith('a=ice-pwd:') ? [line, ...candidates] : [line])), ''].join('\r\n');
}

/** Sound that nobody hears: its packets are what is looked for. */
function silence() {
  const audio = new AudioContext();
  const destination = audio.createMediaStreamDestination();
  const tone = new OscillatorNode(audio, { frequency: 220 });
  tone.connect(new GainNode(audio, { gain: 0.1 })).connect(destination);
  tone.start();
  const [track] = destination.stream.getAudioTracks();
  if (!track) throw new WeirError('unsupported-browser');
  const stop = () => {
    track.stop();
    void audio.close();
  };
  return { track, stop };
}

/** @param {RTCPeerConnection} pc */
async function heard(pc) {
  let packets = 0;
  (await pc.getStats()).forEach((entry) => {
    if (entry.type === 'inbound-rtp') packets += entry.packetsReceived ?? 0;
  });
  return packets;
}

/** @param {RTCPeerConnection} pc */
async function roundTripOf(pc) {
  /** @type {number | undefined} */ let seconds;
  (await pc.getStats()).forEach((entry) => {
    if (entry.type === 'candidate-pair' && entry.state === 'succeeded') seconds = entry.currentRoundTripTime ?? seconds;
  });
  return seconds === undefined ? undefined : Math.round(seconds * 10_000) / 10;
}

/**
 * @param {() => boolean | Promise<boolean>} condition
 * @param {number} ms
 */
async function until(condition, ms) {
  const deadline = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return true;
}
