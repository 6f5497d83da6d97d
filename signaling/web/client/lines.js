/**
 * The sending lines of a PeerConnection: one transceiver for each thing this client publishes.
 */

/**
 * @typedef {import('./protocol.js').Source} Source
 *
 * @typedef {object} Line something this client publishes, or published and may publish again
 * @property {Source} source
 * @property {MediaStreamTrack | null} track null while it is switched off
 * @property {boolean} muted
 * @property {string} label
 * @property {string | null} id the track's id, once the server has answered
 * @property {RTCRtpTransceiver | null} transceiver
 */

/** Three layers for a camera, smallest first, as the server ranks them. Bitrates are upper limits in bit/s. */
const CAMERA_LAYERS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];
/** A screen is read, not watched: one layer, sharp rather than smooth. */
const SCREEN_LAYERS = [{ maxBitrate: 2_500_000 }];

/**
 * Gives a line its transceiver, or puts the one it had back to work.
 *
 * @param {RTCPeerConnection} pc
 * @param {Line} line with a track
 */
export async function startLine(pc, line) {
  const { track } = line;
  if (!track) return;
  if (line.source === 'screen') track.contentHint ||= 'detail';
  if (line.transceiver) {
    line.transceiver.direction = 'sendonly';
    await line.transceiver.sender.replaceTrack(track);
    return;
  }
  const sendEncodings = line.source === 'camera' ? CAMERA_LAYERS : line.source === 'screen' ? SCREEN_LAYERS : undefined;
  try {
    line.transceiver = pc.addTransceiver(track, { direction: 'sendonly', ...(sendEncodings && { sendEncodings }) });
  } catch {
    // A browser without simulcast throws at the layers; it then sends one.
    line.transceiver = pc.addTransceiver(track, { direction: 'sendonly' });
  }
}

/**
 * Ends a line but keeps its transceiver for the next time, so that the SDP does not grow with every start and stop.
 *
 * @param {Line} line
 */
export async function stopLine(line) {
  line.track = null;
  line.id = null;
  if (!line.transceiver) return;
  line.transceiver.direction = 'inactive';
  await line.transceiver.sender.replaceTrack(null);
}

/**
 * What an `offer` says of the lines.
 *
 * @param {Iterable<Line>} lines
 */
export function describeLines(lines) {
  return [...lines]
    .filter(({ transceiver }) => transceiver?.mid && transceiver.direction === 'sendonly')
    .map(({ transceiver, source, label, muted }) => ({ mid: transceiver?.mid, source, label, muted }));
}

/**
 * The last change of a sender's parameters, done or under way.
 *
 * @type {WeakMap<RTCRtpSender, Promise<void>>}
 */
const changes = new WeakMap();

/**
 * Switches a sender's layers on and off, as the server's `layers` says somebody wants them; one word after another. While
 * parameters are being set, Firefox gives back those from before, so that "all on" just after "all off" would change
 * nothing, and Chromium takes no others.
 *
 * @param {RTCRtpSender} sender
 * @param {string[]} wanted rids; of a line without rids, anything means its one layer
 * @returns {Promise<void>}
 */
export function applyLayers(sender, wanted) {
  const before = changes.get(sender) ?? Promise.resolve();
  const change = before.catch(() => {}).then(() => switchLayers(sender, wanted));
  changes.set(sender, change);
  return change;
}

/**
 * @param {RTCRtpSender} sender whose parameters are not being set
 * @param {string[]} wanted
 */
async function switchLayers(sender, wanted) {
  const parameters = sender.getParameters();
  const { encodings } = parameters;
  if (!encodings?.length) return;
  let changed = false;
  for (const encoding of encodings) {
    const active = encoding.rid ? wanted.includes(encoding.rid) : wanted.length > 0;
    changed ||= encoding.active !== active;
    encoding.active = active;
  }
  if (changed) await sender.setParameters(parameters);
}
