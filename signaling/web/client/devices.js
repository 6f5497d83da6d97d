/**
 * Microphones, cameras and screens, with errors that can be told to a person.
 */

import { WeirError } from './errors.js';

/** What a camera is asked for. Simulcast divides it by 2 and 4. */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * @typedef {object} Wanted
 * @property {boolean | string} [microphone] true, or a device id
 * @property {boolean | string} [camera] true, or a device id
 *
 * @typedef {object} Opened
 * @property {MediaStreamTrack | null} microphone
 * @property {MediaStreamTrack | null} camera
 * @property {WeirError[]} errors why something wanted is missing
 */

/**
 * Opens what can be opened of what is wanted: a machine without a camera still gives its microphone, and `errors`
 * says what is missing. Both are asked for together first, so that the browser asks its user once.
 *
 * @param {Wanted} wanted
 * @returns {Promise<Opened>}
 */
export async function openDevices({ microphone = false, camera = false }) {
  const opened = /** @type {Opened} */ ({ microphone: null, camera: null, errors: [] });
  if (!microphone && !camera) return opened;
  if (!navigator.mediaDevices?.getUserMedia) {
    opened.errors.push(new WeirError('insecure-context'));
    return opened;
  }
  if (microphone && camera) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: audio(microphone), video: video(camera) });
      opened.microphone = stream.getAudioTracks()[0] ?? null;
      opened.camera = stream.getVideoTracks()[0] ?? null;
      return opened;
    } catch {
      // One of the two is the trouble; asking for each alone finds out which.
    }
  }
  if (microphone) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: audio(microphone) });
      opened.microphone = stream.getAudioTracks()[0] ?? null;
    } catch (error) {
      opened.errors.push(deviceError(error, 'no-microphone'));
    }
  }
  if (camera) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: video(camera) });
      opened.camera = stream.getVideoTracks()[0] ?? null;
    } catch (error) {
      opened.errors.push(deviceError(error, 'no-camera'));
    }
  }
  return opened;
}

/**
 * Lets the user choose a screen, window or tab, with its sound where the browser can.
 *
 * @returns {Promise<{screen: MediaStreamTrack, audio: MediaStreamTrack | null}>}
 * @throws {WeirError} `screen-refused`, `insecure-context`, `unsupported-browser`
 */
export async function openScreen() {
  if (!navigator.mediaDevices) throw new WeirError('insecure-context');
  if (!navigator.mediaDevices.getDisplayMedia) throw new WeirError('unsupported-browser', 'getDisplayMedia');
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true });
    const [screen] = stream.getVideoTracks();
    if (!screen) throw new WeirError('screen-refused', 'no video track');
    return { screen, audio: stream.getAudioTracks()[0] ?? null };
  } catch (error) {
    throw WeirError.from(error, 'screen-refused');
  }
}

/**
 * The microphones and cameras there are. Their labels are empty until the user has allowed one of them.
 *
 * @returns {Promise<{microphones: MediaDeviceInfo[], cameras: MediaDeviceInfo[]}>}
 */
export async function listDevices() {
  if (!navigator.mediaDevices?.enumerateDevices) return { microphones: [], cameras: [] };
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.deviceId !== '');
  return {
    microphones: devices.filter((device) => device.kind === 'audioinput'),
    cameras: devices.filter((device) => device.kind === 'videoinput'),
  };
}

/** @param {boolean | string} wanted */
function audio(wanted) {
  return typeof wanted === 'string' ? { ...MICROPHONE, deviceId: { ideal: wanted } } : MICROPHONE;
}

/** @param {boolean | string} wanted */
function video(wanted) {
  return typeof wanted === 'string' ? { ...CAMERA, deviceId: { ideal: wanted } } : CAMERA;
}

/**
 * @param {unknown} error
 * @param {'no-camera' | 'no-microphone'} missing
 */
function deviceError(error, missing) {
  const name = error instanceof Error ? error.name : '';
  const detail = error instanceof Error ? `${missing}: ${error.message}` : missing;
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return new WeirError('permission-denied', detail, { cause: error });
    case 'NotReadableError':
    case 'AbortError':
      return new WeirError('device-busy', detail, { cause: error });
    default:
      return new WeirError(missing, detail, { cause: error });
  }
}
