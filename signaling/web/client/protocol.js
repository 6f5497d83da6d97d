/**
 * The messages of `weir.v1` as types: see docs/PROTOCOL.md, which is binding. This module has no code.
 *
 * @typedef {'camera' | 'microphone' | 'screen' | 'screen-audio' | 'custom'} Source
 * @typedef {'audio' | 'video'} Kind
 *
 * @typedef {object} Track
 * @property {string} id
 * @property {Kind} kind
 * @property {Source} source
 * @property {string} label
 * @property {boolean} muted
 * @property {'opus' | 'vp8' | 'vp9' | 'h264' | 'av1' | null} codec
 * @property {string[]} layers rids, lowest first; empty without simulcast
 *
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} name
 * @property {string} identity
 * @property {'member' | 'publisher'} role a publisher sends over WHIP and is no member
 * @property {string} metadata
 * @property {Track[]} tracks
 * @property {Finding[]} [findings] what is wrong with what it publishes; of publishers only
 *
 * @typedef {object} Finding
 * @property {string} code
 * @property {string | null} track
 * @property {string} message one sentence, with the numbers
 * @property {{ffmpeg: string, obs: string, gstreamer: string}} remedy the setting that mends it
 *
 * @typedef {object} Limits
 * @property {{audio: number, video: number}} slots
 * @property {number} participants
 *
 * @typedef {object} Joined
 * @property {'joined'} type
 * @property {string} participant
 * @property {string} room
 * @property {Participant[]} participants the others
 * @property {RTCIceServer[]} iceServers
 * @property {RTCIceServer[]} relayServers for `iceTransportPolicy: 'relay'` in place of `iceServers`
 * @property {string} resume
 * @property {Limits} limits
 *
 * @typedef {object} Assignment
 * @property {string} mid
 * @property {Kind} kind
 * @property {string | null} participant
 * @property {string | null} track
 *
 * @typedef {object} Reason why the server sends what it sends
 * @property {string} code
 * @property {number} [wanted] height in pixels, 0 where not known
 * @property {number} [chosen] height in pixels, 0 where not known
 * @property {number} [estimate] bit/s that the link is thought to carry
 * @property {number} [needed] bit/s of the estimate that would be enough
 * @property {number} [slot] the slot that has priority
 * @property {number} [ms] until it will be chosen
 * @property {number} [seconds] until it may go up again
 *
 * @typedef {object} Speaker
 * @property {string} participant
 * @property {number} level dBov, -127 to 0
 *
 * @typedef {object} ViewSlot
 * @property {string} mid
 * @property {string} [track]
 * @property {number} [width] device pixels
 * @property {number} [height] device pixels
 * @property {number} [priority] 0 to 255, higher first
 *
 * @typedef {{type: 'ice-servers', iceServers: RTCIceServer[], relayServers: RTCIceServer[]}} IceServers credentials for later
 * @typedef {{type: 'answer', id: number, sdp: string, tracks: {mid: string, id: string}[]}} Answer
 * @typedef {{type: 'participant-joined' | 'participant-updated', participant: Participant}} ParticipantMessage
 * @typedef {{type: 'participant-left', participant: string, reason: string}} ParticipantLeft
 * @typedef {{type: 'track-published', participant: string, track: Track}} TrackPublished
 * @typedef {{type: 'track-unpublished', participant: string, track: string}} TrackUnpublished
 * @typedef {{type: 'track-muted', participant: string, track: string, muted: boolean}} TrackMuted
 * @typedef {{type: 'slots', assignments: Assignment[]}} Slots
 * @typedef {{type: 'speakers', speakers: Speaker[]}} Speakers
 * @typedef {{type: 'layers', mid: string, active: string[]}} Layers
 * @typedef {{type: 'quality', mid: string, layer: string | null, reason: Reason}} Quality
 * @typedef {{type: 'connection', state: 'ice-connected' | 'dtls-connected' | 'first-packet' | 'first-keyframe'}} Connection
 * @typedef {{type: 'error', id?: number, code: string, message: string}} ErrorMessage
 * @typedef {{type: 'closed', reason: string}} Closed
 * @typedef {{type: 'pong', id?: number}} Pong
 *
 * @typedef {Joined | IceServers | Answer | ParticipantMessage | ParticipantLeft | TrackPublished | TrackUnpublished | TrackMuted
 *   | Slots | Speakers | Layers | Quality | Connection | ErrorMessage | Closed | Pong} ServerMessage
 */

export {};
