/**
 * The others in a room and what they publish, kept by the server's messages.
 */

/**
 * @typedef {import('./protocol.js').Participant} Participant
 * @typedef {import('./protocol.js').Track} Track
 * @typedef {import('./room.js').RoomEvents} RoomEvents
 * @typedef {<Name extends keyof RoomEvents>(name: Name, detail: RoomEvents[Name]) => void} Emit
 */

export class Roster {
  /** @type {Map<string, Participant>} */ participants = new Map();
  /** @type {Emit} */ #emit;

  /** @param {Emit} emit */
  constructor(emit) {
    this.#emit = emit;
  }

  /**
   * The room as it stands, after an absence.
   *
   * @param {Participant[]} present
   */
  replace(present) {
    const ids = new Set(present.map(({ id }) => id));
    for (const id of [...this.participants.keys()]) if (!ids.has(id)) this.remove(id, 'left');
    for (const participant of present) this.put(participant);
  }

  /** @param {Participant} participant */
  put(participant) {
    const known = this.participants.has(participant.id);
    this.participants.set(participant.id, { ...participant, tracks: [...(participant.tracks ?? [])] });
    this.#emit(known ? 'participant-updated' : 'participant-joined', { participant });
    this.#emit('participants', {});
  }

  /**
   * @param {string} id
   * @param {string} reason
   */
  remove(id, reason) {
    const participant = this.participants.get(id);
    if (!participant) return;
    this.participants.delete(id);
    this.#emit('participant-left', { participant, reason });
    this.#emit('participants', {});
  }

  /**
   * @param {string} id
   * @param {Track} track
   */
  publish(id, track) {
    const participant = this.participants.get(id);
    if (!participant) return;
    participant.tracks = [...participant.tracks.filter((other) => other.id !== track.id), track];
    this.#emit('track-published', { participant, track });
    this.#emit('participants', {});
  }

  /**
   * @param {string} id
   * @param {string} trackId
   */
  unpublish(id, trackId) {
    const participant = this.participants.get(id);
    const track = participant?.tracks.find((candidate) => candidate.id === trackId);
    if (!participant || !track) return;
    participant.tracks = participant.tracks.filter((other) => other !== track);
    this.#emit('track-unpublished', { participant, track });
    this.#emit('participants', {});
  }

  /**
   * @param {string} id
   * @param {string} trackId
   * @param {boolean} muted
   */
  mute(id, trackId, muted) {
    const participant = this.participants.get(id);
    const track = participant?.tracks.find((candidate) => candidate.id === trackId);
    if (!participant || !track) return;
    track.muted = muted;
    this.#emit('track-muted', { participant, track });
    this.#emit('participants', {});
  }
}
