/**
 * Before the call: how you look and sound, and what you are called.
 */

import { WeirError, listDevices, openDevices } from '../client/index.js';
import { brand, h, icon, initials } from './dom.js';
import { meter } from './meter.js';
import { remember, remembered } from './prefs.js';

/**
 * @typedef {object} Choice
 * @property {string} name
 * @property {string} token
 * @property {MediaStreamTrack | null} microphone
 * @property {MediaStreamTrack | null} camera
 *
 * @typedef {object} Options
 * @property {string} room
 * @property {string} token read from the address
 * @property {boolean} authRequired
 * @property {(choice: Choice) => Promise<() => void>} join rejects with a `WeirError`; what it resolves to shows the
 *   call, and is called once the devices are the call's
 */

export class Prejoin {
  /** @type {Options} */ #options;
  /** @type {{microphone: MediaStreamTrack | null, camera: MediaStreamTrack | null}} */
  #tracks = { microphone: null, camera: null };
  #wanted = { microphone: remembered('microphone-on') !== 'no', camera: remembered('camera-on') !== 'no' };
  /** Ends when the devices that are being opened are open, or refused. @type {Promise<void> | null} */
  #opening = null;
  #joining = false;
  #done = false;
  #stopMeter = () => {};

  #video = h('video', { class: 'mirror', muted: true, playsInline: true, autoplay: true, 'data-testid': 'preview' });
  #avatar = h('div', { class: 'preview-avatar', 'aria-hidden': 'true' });
  #level = h('div', { class: 'level', 'aria-hidden': 'true' }, h('i'));
  #notice = h('p', { class: 'notice', role: 'alert', 'data-testid': 'join-error', hidden: true });
  #deviceNotice = h('p', { class: 'notice soft', role: 'status', 'data-testid': 'device-notice', hidden: true });
  #buttons = { microphone: this.#toggle('microphone'), camera: this.#toggle('camera') };
  #selects = { microphone: this.#select('microphone'), camera: this.#select('camera') };
  #name = h('input', {
    type: 'text',
    id: 'name',
    'data-testid': 'name-input',
    autocomplete: 'nickname',
    maxLength: 64,
    placeholder: 'What others will see',
    value: remembered('name'),
    oninput: () => this.#draw(),
  });
  #token = h('input', {
    type: 'password',
    id: 'token',
    'data-testid': 'token-input',
    autocomplete: 'off',
    spellcheck: false,
    placeholder: 'eyJ…',
  });
  #tokenField = h('div', { class: 'field' }, h('label', { for: 'token', class: 'label' }, 'Token'), this.#token, h('p', { class: 'hint' }, 'This server lets in those who were given a token.'));
  #join = h('button', { type: 'submit', class: 'button primary wide', 'data-testid': 'join-button' });

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#token.value = options.token;
    this.#tokenField.hidden = !options.authRequired || options.token !== '';
    this.element = this.#build();
    navigator.mediaDevices?.addEventListener?.('devicechange', this.#onDevices);
    this.#draw();
    void this.#open(this.#wanted);
  }

  /** Lets go of the devices that were not taken into the call. */
  close() {
    this.#done = true;
    this.#stopMeter();
    navigator.mediaDevices?.removeEventListener?.('devicechange', this.#onDevices);
    for (const track of Object.values(this.#tracks)) track?.stop();
    this.#tracks = { microphone: null, camera: null };
    this.#video.srcObject = null;
  }

  #build() {
    return h(
      'main',
      { class: 'prejoin' },
      h('div', { class: 'page-head' }, brand()),
      h(
        'div',
        { class: 'prejoin-body' },
        h(
          'section',
          { class: 'preview-side', 'aria-label': 'Your picture and sound' },
          h(
            'div',
            { class: 'preview' },
            this.#avatar,
            this.#video,
            this.#level,
            h('div', { class: 'preview-controls' }, this.#buttons.microphone, this.#buttons.camera),
          ),
          h(
            'div',
            { class: 'pickers' },
            h('div', { class: 'field' }, h('label', { for: 'microphone-select', class: 'label' }, 'Microphone'), this.#selects.microphone),
            h('div', { class: 'field' }, h('label', { for: 'camera-select', class: 'label' }, 'Camera'), this.#selects.camera),
          ),
          this.#deviceNotice,
        ),
        h(
          'form',
          {
            class: 'card join-form',
            onsubmit: (/** @type {Event} */ event) => {
              event.preventDefault();
              void this.#onJoin();
            },
          },
          h('p', { class: 'eyebrow' }, 'Room'),
          h('h1', { 'data-testid': 'room-name' }, this.#options.room),
          h('div', { class: 'field' }, h('label', { for: 'name', class: 'label' }, 'Your name'), this.#name),
          this.#tokenField,
          this.#notice,
          this.#join,
          h('a', { class: 'button link', href: `/watch/${this.#options.room}` }, 'Only watch the stream'),
        ),
      ),
    );
  }

  /** @param {'microphone' | 'camera'} kind */
  #toggle(kind) {
    return h('button', {
      type: 'button',
      class: 'button round',
      'data-testid': kind === 'microphone' ? 'prejoin-mic' : 'prejoin-camera',
      onclick: () => {
        const on = !this.#tracks[kind];
        this.#wanted[kind] = on;
        remember(`${kind}-on`, on ? 'yes' : 'no');
        if (on) void this.#open({ microphone: kind === 'microphone', camera: kind === 'camera' });
        else this.#put(kind, null);
      },
    });
  }

  /** @param {'microphone' | 'camera'} kind */
  #select(kind) {
    return h('select', {
      id: `${kind}-select`,
      'data-testid': kind === 'microphone' ? 'mic-select' : 'camera-select',
      onchange: () => {
        remember(kind, this.#selects[kind].value);
        this.#wanted[kind] = true;
        void this.#open({ microphone: kind === 'microphone', camera: kind === 'camera' });
      },
    });
  }

  /** @param {{microphone: boolean, camera: boolean}} which */
  async #open(which) {
    // Two openings of one device would fight over it.
    if (this.#opening) return;
    this.#opening = this.#openDevices(which).finally(() => (this.#opening = null));
    await this.#opening;
  }

  /** @param {{microphone: boolean, camera: boolean}} which */
  async #openDevices(which) {
    for (const kind of /** @type {const} */ (['microphone', 'camera'])) if (which[kind]) this.#put(kind, null);
    const opened = await openDevices({
      microphone: which.microphone && (remembered('microphone') || true),
      camera: which.camera && (remembered('camera') || true),
    });
    if (this.#done) {
      opened.microphone?.stop();
      opened.camera?.stop();
      return;
    }
    if (which.microphone) this.#put('microphone', opened.microphone);
    if (which.camera) this.#put('camera', opened.camera);
    this.#tell(opened.errors);
    await this.#onDevices();
  }

  /**
   * @param {'microphone' | 'camera'} kind
   * @param {MediaStreamTrack | null} track
   */
  #put(kind, track) {
    this.#tracks[kind]?.stop();
    this.#tracks[kind] = track;
    if (kind === 'camera') this.#video.srcObject = track && new MediaStream([track]);
    else {
      this.#stopMeter();
      this.#stopMeter = track ? meter(track, /** @type {HTMLElement} */ (this.#level.firstElementChild)) : () => {};
    }
    track?.addEventListener('ended', () => {
      if (this.#tracks[kind] === track) this.#put(kind, null);
    });
    this.#draw();
  }

  /** @param {WeirError[]} errors */
  #tell(errors) {
    const sentences = new Set(errors.map((error) => error.sentence));
    this.#deviceNotice.hidden = sentences.size === 0;
    this.#deviceNotice.textContent = [...sentences].join(' ') + (sentences.size ? ' You can join without.' : '');
  }

  #onDevices = async () => {
    const { microphones, cameras } = await listDevices();
    if (this.#done) return;
    fill(this.#selects.microphone, microphones, this.#tracks.microphone, 'No microphone');
    fill(this.#selects.camera, cameras, this.#tracks.camera, 'No camera');
  };

  async #onJoin() {
    if (this.#joining) return;
    this.#joining = true;
    remember('name', this.#name.value.trim());
    this.#notice.hidden = true;
    this.#draw();
    try {
      // Who joins while the devices open joins with them.
      await this.#opening;
      const enter = await this.#options.join({
        name: this.#name.value.trim() || 'Guest',
        token: this.#token.value.trim(),
        ...this.#tracks,
      });
      this.#tracks = { microphone: null, camera: null };
      enter();
      return;
    } catch (cause) {
      const error = WeirError.from(cause);
      console.warn('weir: join', error);
      this.#notice.textContent = error.sentence;
      this.#notice.dataset.code = error.code;
      this.#notice.hidden = false;
      if (error.code === 'unauthorized') {
        this.#tokenField.hidden = false;
        this.#token.focus();
      }
    }
    this.#joining = false;
    this.#draw();
  }

  #draw() {
    const { microphone, camera } = this.#tracks;
    for (const kind of /** @type {const} */ (['microphone', 'camera'])) {
      const on = this.#tracks[kind] !== null;
      const button = this.#buttons[kind];
      button.replaceChildren(icon(kind === 'microphone' ? (on ? 'mic' : 'mic-off') : on ? 'camera' : 'camera-off'));
      button.classList.toggle('off', !on);
      button.setAttribute('aria-pressed', String(on));
      button.setAttribute('aria-label', `${kind === 'microphone' ? 'Microphone' : 'Camera'} ${on ? 'on' : 'off'}`);
      button.title = `Turn the ${kind} ${on ? 'off' : 'on'}`;
    }
    this.#video.hidden = !camera;
    this.#level.hidden = !microphone;
    this.#avatar.textContent = this.#name.value.trim() ? initials(this.#name.value) : 'Camera off';
    this.#avatar.classList.toggle('words', !this.#name.value.trim());
    this.#join.disabled = this.#joining;
    this.#join.textContent = this.#joining ? 'Joining…' : joinWords(microphone !== null, camera !== null);
  }
}

/**
 * @param {boolean} microphone
 * @param {boolean} camera
 */
function joinWords(microphone, camera) {
  if (microphone && camera) return 'Join';
  if (microphone) return 'Join without camera';
  if (camera) return 'Join without microphone';
  return 'Join to watch and listen';
}

/**
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceInfo[]} devices
 * @param {MediaStreamTrack | null} current
 * @param {string} none
 */
function fill(select, devices, current, none) {
  const chosen = current?.getSettings().deviceId ?? '';
  select.replaceChildren(
    ...(devices.length
      ? devices.map((device, index) => h('option', { value: device.deviceId, selected: device.deviceId === chosen }, device.label || `Device ${index + 1}`))
      : [h('option', { value: '' }, none)]),
  );
  select.disabled = devices.length === 0;
}
