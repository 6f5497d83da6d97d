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

export * from '/assets/client/index.js';
