/**
 * What became of a way to the server, in words: what was seen, what it means, what to open.
 */

/**
 * @typedef {import('../client/paths.js').Path} Path
 * @typedef {import('../client/paths.js').Result} Result
 *
 * @typedef {object} Verdict
 * @property {'ok' | 'fails' | 'unknown' | 'warning'} verdict
 * @property {string} saw
 * @property {string} [means]
 * @property {string} [mend]
 */

/** @type {Record<Path['kind'], string>} */
const COST = {
  udp: 'No media over UDP: calls take TCP or TURN where those get through, with more delay.',
  tcp: 'Where a network lets no UDP through, there is one way less.',
  turn: 'Who depends on this relay has no picture and no sound.',
};

/**
 * @param {Path} path
 * @param {Result} result
 * @returns {Verdict}
 */
export function verdictOf(path, result) {
  const where = `${path.host}, ${path.open} ${path.port}`;
  switch (result.outcome) {
    case 'ok': {
      const trip = result.roundTripMs === undefined ? '' : `; there and back in ${result.roundTripMs || 'under 1'} ms`;
      return { verdict: 'ok', saw: `${where}: connected in ${result.connectedMs} ms${trip}.` };
    }
    case 'elsewhere':
      return {
        verdict: 'fails',
        saw: `${path.host} is announced, and does not answer; ${result.elsewhere} does, at the same port.`,
        means: 'Clients are told a wrong address: calls have neither picture nor sound.',
        mend: `On the server, set media.announce = ["${result.elsewhere}"].`,
      };
    case 'refused':
      return result.detail?.startsWith('401') || result.detail?.startsWith('441')
        ? {
            verdict: 'fails',
            saw: `${where}: the TURN server refuses the password (${result.detail}).`,
            means: 'Server and TURN server do not share the secret, or one of their clocks is wrong.',
            mend: 'Give both the same TURN secret; then hold their clocks against each other.',
          }
        : { verdict: 'fails', saw: `${where}: the TURN server answers ${result.detail}.`, means: COST.turn };
    case 'dtls':
      return {
        verdict: 'fails',
        saw: `${where}: small packets get through, DTLS does not.`,
        means: 'A firewall looks into packets and drops DTLS, or drops large ones.',
        mend: 'Let DTLS and packets of 1200 bytes through; or use TURN over TLS on 443.',
      };
    case 'media':
      return {
        verdict: 'fails',
        saw: `${where}: connected, and no sound comes back.`,
        means: 'Packets are lost on the way, or the server is overloaded.',
        mend: 'Try again.',
      };
    case 'session':
      return { verdict: 'unknown', saw: `Not tried: ${result.detail}` };
    default:
      return {
        verdict: 'fails',
        saw: `${where}: no answer.`,
        means: COST[path.kind],
        mend: `Open ${path.open} ${path.port} to ${path.host}: in the network here, in the cloud’s rules, and on the server.`,
      };
  }
}
