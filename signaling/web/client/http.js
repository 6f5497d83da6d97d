/**
 * What WHIP and WHEP have in common: an offer by POST, a session at its `Location`, an end by DELETE.
 */

import { WeirError } from './errors.js';

/**
 * @typedef {object} Session
 * @property {string} answer SDP
 * @property {string | null} location
 * @property {RTCIceServer[]} iceServers from the `Link` headers
 * @property {string | null} events where to ask for events, likewise
 */

const EVENTS = 'urn:ietf:params:whep:ext:core:server-sent-events';

/** An answer of the server that is not the one wanted. */
export class HttpError extends WeirError {
  /**
   * @param {string} code
   * @param {number} status
   * @param {number} retryAfter seconds, 0 where the server did not say
   * @param {string} detail
   */
  constructor(code, status, retryAfter, detail) {
    super(code, detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * @param {string} url
 * @param {string} offer SDP
 * @param {string} [token]
 * @returns {Promise<Session>}
 */
export async function postOffer(url, offer, token) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp', ...authorization(token) },
      body: offer,
    });
  } catch (error) {
    throw WeirError.from(error, 'server-unreachable');
  }
  if (response.status !== 201) throw await refusal(response);
  const location = response.headers.get('location');
  const links = response.headers.get('link') ?? '';
  const events = eachLink(links).find(({ parameters }) => parameters.get('rel') === EVENTS)?.url;
  return {
    answer: await response.text(),
    location: location && new URL(location, response.url).href,
    iceServers: parseLinks(links),
    events: events ? new URL(events, response.url).href : null,
  };
}

/**
 * Listens to the events of a WHEP session; null where there are none.
 *
 * @param {string} url of the session's `events`
 * @param {string[]} names
 * @param {string} [token]
 * @returns {Promise<EventSource | null>}
 */
export async function listen(url, names, token) {
  const headers = { 'content-type': 'application/json', ...authorization(token) };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(names) }).catch(() => null);
  const location = response?.status === 201 ? response.headers.get('location') : null;
  return location && response ? new EventSource(new URL(location, response.url)) : null;
}

/**
 * Ends a session; also while the page goes away.
 *
 * @param {string} location
 * @param {string} [token]
 */
export function deleteSession(location, token) {
  fetch(location, { method: 'DELETE', headers: authorization(token), keepalive: true }).catch(() => {});
}

/**
 * @param {string} [token]
 * @returns {Record<string, string>}
 */
function authorization(token) {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** @param {Response} response */
async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const fallback =
    /** @type {Record<number, string>} */ ({ 401: 'unauthorized', 403: 'forbidden', 503: 'overloaded' })[response.status] ??
    'unknown';
  const seconds = Number.parseInt(response.headers.get('retry-after') ?? '', 10);
  const detail = `${response.status} ${problem.detail ?? problem.title ?? ''}`;
  return new HttpError(problem.code ?? fallback, response.status, Number.isFinite(seconds) ? seconds : 0, detail);
}

/**
 * `Link: <turn:host>; rel="ice-server"; username="u"; credential="c"` (RFC 9725, section 4.6).
 *
 * @param {string} header
 * @returns {RTCIceServer[]}
 */
export function parseLinks(header) {
  const servers = [];
  for (const { url: urls, parameters } of eachLink(header)) {
    if (parameters.get('rel') !== 'ice-server') continue;
    const username = parameters.get('username');
    servers.push({ urls, ...(username && { username, credential: parameters.get('credential') ?? '' }) });
  }
  return servers;
}

/**
 * @param {string} header
 * @returns {{url: string, parameters: Map<string, string>}[]}
 */
function eachLink(header) {
  const links = [];
  for (const [, url, rest] of header.matchAll(/<([^>]+)>((?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^",;\s]+))*)/g)) {
    if (!url || !rest) continue;
    const found = rest.matchAll(/([\w-]+)\s*=\s*(?:"([^"]*)"|([^",;\s]+))/g);
    links.push({ url, parameters: new Map([...found].map(([, key = '', quoted, plain]) => [key, quoted ?? plain ?? ''])) });
  }
  return links;
}
