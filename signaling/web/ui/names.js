/**
 * Room names that are easy to say over the telephone.
 */

const FIRST =
  'amber brisk calm clear copper dapper early fern gentle golden hazel indigo jolly keen lively lunar mellow misty noble olive opal pearl quick quiet rapid rosy rustic silver sunny swift tidal velvet vivid warm wild willow'.split(' ');
const SECOND =
  'bay beacon bridge brook canal cove creek current dam delta eddy falls ferry fjord ford glade grove harbour inlet island jetty lagoon lake lock marsh meadow mill otter pier pond rapids reef ridge river shore sluice spring stream'.split(' ');

/** A friendly name that is not guessed by chance: three parts, about 800,000 of them. */
export function randomRoomName() {
  return `${pick(FIRST)}-${pick(SECOND)}-${100 + random(600)}`;
}

/** @param {string[]} words */
function pick(words) {
  return words[random(words.length)] ?? 'weir';
}

/** @param {number} below */
function random(below) {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % below;
}

/**
 * Makes a room name of what somebody typed: spaces become dashes, and what no name can hold is dropped.
 *
 * @param {string} typed
 */
export function toRoomName(typed) {
  return typed
    .trim()
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]/g, '')
    .replace(/\s+/g, '-')
    .replace(/[^A-Za-z0-9._-]/g, '')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64);
}
