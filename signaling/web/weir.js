/**
 * Weir's client library for browsers. A page of any origin may import it:
 *
 *     import { join, openDevices } from 'https://sfu.example/weir.js';
 *
 *     const { microphone, camera } = await openDevices({ microphone: true, camera: true });
 *     const room = await join({ url: 'https://sfu.example', room: 'harbour', name: 'Ada', microphone, camera });
 *     room.on('slots', ({ changed }) => {
 *       for (const slot of changed) if (slot.kind === 'video') room.attach(slot, tileFor(slot).video);
 *     });
 *     await room.leave();
 *
 * `watch` plays a room over WHEP and `publish` sends a stream into one over WHIP; neither becomes a member.
 * The protocol underneath is described in docs/PROTOCOL.md.
 *
 * @module weir
 */

export { Room, join } from '/assets/client/room.js';
export { Player, watch } from '/assets/client/player.js';
export { Publisher, publish } from '/assets/client/publisher.js';
export { openDevices, openScreen, listDevices } from '/assets/client/devices.js';
export { WeirError, SENTENCES, CLOSED } from '/assets/client/errors.js';
