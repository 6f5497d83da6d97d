/**
 * What `getStats` says, gathered by slot and by published layer.
 */

import { selectedPair } from './pulse.js';

/**
 * @typedef {object} SlotStats
 * @property {string} mid
 * @property {string} kind
 * @property {string | null} participant
 * @property {string | null} track
 * @property {number} packetsReceived
 * @property {number} packetsLost
 * @property {number} bytesReceived
 * @property {number} bitrate bit/s
 * @property {number} jitter seconds
 * @property {number} framesDecoded
 * @property {number} framesDropped
 * @property {number} framesPerSecond
 * @property {number} freezeCount
 * @property {number} frameWidth
 * @property {number} frameHeight
 * @property {number} totalAudioEnergy
 * @property {string} codec
 *
 * @typedef {object} LayerStats
 * @property {string} rid `''` without simulcast
 * @property {boolean} active
 * @property {number} packetsSent
 * @property {number} bytesSent
 * @property {number} bitrate bit/s
 * @property {number} framesEncoded
 * @property {number} framesPerSecond
 * @property {number} frameWidth
 * @property {number} frameHeight
 * @property {number} nackCount
 * @property {number} pliCount
 *
 * @typedef {object} SenderStats
 * @property {string} mid
 * @property {string} source
 * @property {string | null} track
 * @property {LayerStats[]} layers
 *
 * @typedef {object} TransportStats
 * @property {number | null} roundTripTime seconds
 * @property {number | null} availableOutgoingBitrate bit/s
 * @property {string} local type of this side's candidate: host, srflx, prflx, relay
 * @property {string} protocol udp or tcp
 * @property {string} path how media goes: udp, tcp, turn/udp, turn/tcp, turn/tls; `''` while not known
 * @property {number} receivedBitrate bit/s
 * @property {number} sentBitrate bit/s
 *
 * @typedef {{slots: SlotStats[], senders: SenderStats[], transport: TransportStats}} Stats
 */

/** Bitrates are over at least this long, however often they are asked for. */
const MIN_INTERVAL_MS = 900;

export class StatsReader {
  /** @type {Map<string, {bytes: number, at: number, rate: number}>} */ #counters = new Map();

  /**
   * @param {RTCPeerConnection} pc
   * @param {Iterable<{mid: string, kind: string, participant: string | null, track: string | null}>} slots
   * @param {Iterable<import('./lines.js').Line>} lines
   * @returns {Promise<Stats>}
   */
  async read(pc, slots, lines) {
    const report = /** @type {Map<string, any>} */ (/** @type {unknown} */ (await pc.getStats()));
    const all = [...report.values()];
    const inbound = all.filter((entry) => entry.type === 'inbound-rtp');
    const outbound = all.filter((entry) => entry.type === 'outbound-rtp');
    return {
      slots: [...slots].map((slot) => this.#slot(slot, inbound.find((entry) => entry.mid === slot.mid), report)),
      senders: [...lines]
        .filter(({ transceiver }) => transceiver?.mid)
        .map((line) => this.#sender(line, outbound.filter((entry) => entry.mid === line.transceiver?.mid))),
      transport: this.#transport(all, report),
    };
  }

  /**
   * @param {{mid: string, kind: string, participant: string | null, track: string | null}} slot
   * @param {any} entry
   * @param {Map<string, any>} report
   * @returns {SlotStats}
   */
  #slot({ mid, kind, participant, track }, entry, report) {
    return {
      mid,
      kind,
      participant,
      track,
      packetsReceived: entry?.packetsReceived ?? 0,
      packetsLost: entry?.packetsLost ?? 0,
      bytesReceived: entry?.bytesReceived ?? 0,
      bitrate: entry ? this.#rate(entry.id, entry.bytesReceived) : 0,
      jitter: entry?.jitter ?? 0,
      framesDecoded: entry?.framesDecoded ?? 0,
      framesDropped: entry?.framesDropped ?? 0,
      framesPerSecond: entry?.framesPerSecond ?? 0,
      freezeCount: entry?.freezeCount ?? 0,
      frameWidth: entry?.frameWidth ?? 0,
      frameHeight: entry?.frameHeight ?? 0,
      totalAudioEnergy: entry?.totalAudioEnergy ?? 0,
      codec: report.get(entry?.codecId)?.mimeType?.split('/')[1] ?? '',
    };
  }

  /**
   * @param {import('./lines.js').Line} line
   * @param {any[]} entries
   * @returns {SenderStats}
   */
  #sender(line, entries) {
    return {
      mid: line.transceiver?.mid ?? '',
      source: line.source,
      track: line.id,
      layers: inOrder(entries, line).map((entry) => ({
        rid: entry.rid ?? '',
        active: entry.active ?? true,
        packetsSent: entry.packetsSent ?? 0,
        bytesSent: entry.bytesSent ?? 0,
        bitrate: this.#rate(entry.id, entry.bytesSent ?? 0),
        framesEncoded: entry.framesEncoded ?? 0,
        framesPerSecond: entry.framesPerSecond ?? 0,
        frameWidth: entry.frameWidth ?? 0,
        frameHeight: entry.frameHeight ?? 0,
        nackCount: entry.nackCount ?? 0,
        pliCount: entry.pliCount ?? 0,
      })),
    };
  }

  /**
   * @param {any[]} all
   * @param {Map<string, any>} report
   * @returns {TransportStats}
   */
  #transport(all, report) {
    const pair = selectedPair(report);
    const local = report.get(pair?.localCandidateId);
    return {
      roundTripTime: pair?.currentRoundTripTime ?? null,
      availableOutgoingBitrate: pair?.availableOutgoingBitrate ?? null,
      local: local?.candidateType ?? '',
      protocol: local?.protocol ?? '',
      path: pathOf(local),
      receivedBitrate: pair ? this.#rate(`${pair.id} in`, pair.bytesReceived ?? 0) : 0,
      sentBitrate: pair ? this.#rate(`${pair.id} out`, pair.bytesSent ?? 0) : 0,
    };
  }

  /**
   * Bits per second since the last reading that is old enough.
   *
   * @param {string} id
   * @param {number} bytes
   */
  #rate(id, bytes) {
    const at = performance.now();
    const before = this.#counters.get(id);
    if (before && at - before.at < MIN_INTERVAL_MS) return before.rate;
    const rate = before ? Math.max(0, ((bytes - before.bytes) * 8000) / (at - before.at)) : 0;
    this.#counters.set(id, { bytes, at, rate });
    return rate;
  }
}

/** @param {{candidateType?: string, protocol?: string, relayProtocol?: string} | undefined} local candidate in use */
function pathOf(local) {
  if (local?.candidateType === 'relay') return `turn/${local.relayProtocol || 'udp'}`;
  return local?.protocol ?? '';
}

/**
 * The layers as the sender has them, lowest first: the report has them in any order.
 *
 * @param {any[]} entries
 * @param {import('./lines.js').Line} line
 */
function inOrder(entries, line) {
  const rids = line.transceiver?.sender.getParameters().encodings.map(({ rid }) => rid) ?? [];
  return [...entries].sort((a, b) => rids.indexOf(a.rid) - rids.indexOf(b.rid));
}
