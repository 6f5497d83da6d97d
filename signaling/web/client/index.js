/**
 * All that the client library gives to pages; `/weir.js` is its address.
 */

export { Room, join } from './room.js';
export { Player, watch } from './player.js';
export { Publisher, publish } from './publisher.js';
export { openDevices, openScreen, listDevices } from './devices.js';
export { WeirError, SENTENCES, CLOSED } from './errors.js';
