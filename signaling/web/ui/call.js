/**
 * The call: tiles, controls, and words for whatever happens.
 */

import { WeirError, openDevices, openScreen } from '../client/index.js';
import { ICON, copyText, h, icon, toast } from './dom.js';
import { Grid } from './grid.js';
import { Findings } from './findings.js';
import { streamHelp } from './help.js';
import { People } from './people.js';
import { remembered } from './prefs.js';
import { StatsPanel } from './stats.js';

/**
 * @typedef {import('../client/room.js').Room} Room
 * @typedef {'microphone' | 'camera'} Device
 *
 * @typedef {object} CallOptions
 * @property {Room} room that has joined
 * @property {string} name
 * @property {boolean} authRequired
 */

/** Above this many, comings and goings are no news. */
const QUIET_ABOVE = 12;

export class Call {
  /** @type {Room} */ #room;
  /** @type {Grid} */ #grid;
  /** @type {People} */ #people;
  /** @type {StatsPanel} */ #stats;
  /** @type {(() => void)[]} */ #undo = [];
  /** @type {Set<string>} */ #busy = new Set();
  /** @type {Map<string, HTMLAudioElement>} */ #audio = new Map();

  #banner = h('p', { class: 'banner', role: 'status', 'aria-live': 'polite', 'data-testid': 'status-banner', hidden: true });
  #hear = h('button', { class: 'button primary hear', 'data-testid': 'tap-to-hear', hidden: true, onclick: () => this.#onHear() }, icon('sound'), 'Tap to hear the others');
  #sounds = h('div', { hidden: true });
  #count = h('span', { 'data-testid': 'participant-count' }, '1');
  #buttons = {
    microphone: control('mic-toggle', 'm', () => void this.#toggle('microphone')),
    camera: control('camera-toggle', 'v', () => void this.#toggle('camera')),
    screen: control('screen-toggle', 's', () => void this.#toggleScreen()),
  };
  #findings = new Findings();
  /** @type {HTMLElement} */ #streamButton;
  #peopleButton = tool('people', 'People', 'people-toggle', () => this.#togglePeople());
  #statsButton = tool('stats', 'Statistics', 'stats-toggle', () => this.#toggleStats());

  /** @param {CallOptions} options */
  constructor({ room, name, authRequired }) {
    this.#room = room;
    const invite = () => void this.#onInvite();
    this.#people = new People(room, { myName: name, onClose: () => this.#togglePeople() });
    this.#grid = new Grid(room, {
      myName: name,
      onMore: () => this.#togglePeople(),
      alone: h('div', {}, h('strong', {}, 'Nobody else is here yet'), h('button', { class: 'button primary', onclick: invite }, icon('link'), 'Copy invitation link')),
    });
    this.#stats = new StatsPanel(room, this.#grid);
    const help = streamHelp({ room: room.name, authRequired, findings: this.#findings.element });
    this.#streamButton = tool('broadcast', 'Stream into this room', 'stream-toggle', () => help.showModal());
    this.#peopleButton.append(this.#count);
    this.element = h(
      'main',
      { class: 'call', 'data-testid': 'call' },
      h(
        'header',
        { class: 'call-head' },
        h('img', { src: ICON, alt: '', width: 26, height: 26 }),
        h('h1', { title: room.name }, room.name),
        h(
          'nav',
          { class: 'tools', 'aria-label': 'Room' },
          tool('link', 'Copy invitation link', 'copy-link', invite),
          this.#streamButton,
          this.#statsButton,
          this.#peopleButton,
        ),
      ),
      h('div', { class: 'call-body' }, h('div', { class: 'stage' }, this.#grid.element, this.#banner, this.#hear), this.#people.element),
      this.#stats.element,
      h(
        'footer',
        { class: 'controls', 'aria-label': 'Your microphone, camera and screen' },
        this.#buttons.microphone,
        this.#buttons.camera,
        'getDisplayMedia' in (navigator.mediaDevices ?? {}) ? this.#buttons.screen : null,
        h('button', { class: 'button round leave', 'data-testid': 'leave-button', 'aria-label': 'Leave', title: 'Leave', onclick: () => this.#room.leave() }, icon('leave')),
      ),
      this.#sounds,
      help,
    );
    this.#listen();
    this.#attachAudio();
    this.#draw();
  }

  close() {
    for (const undo of this.#undo) undo();
    this.#stats.close();
    this.#grid.close();
    for (const line of this.#room.lines.values()) line.track?.stop();
  }

  #listen() {
    const room = this.#room;
    const draw = () => this.#draw();
    this.#undo = [
      room.on('participants', draw),
      room.on('slots', draw),
      room.on('local', draw),
      room.on('reset', () => {
        this.#attachAudio();
        this.#draw();
      }),
      room.on('quality', ({ slot }) => this.#grid.refresh(slot)),
      room.on('speakers', ({ speakers }) => this.#grid.setSpeaking(new Set(speakers.map(({ participant }) => participant)))),
      room.on('participant-joined', ({ participant }) => this.#news(`${participant.name} joined`)),
      room.on('participant-left', ({ participant, reason }) =>
        this.#news(reason === 'timeout' ? `${participant.name} lost the connection` : `${participant.name} left`),
      ),
      room.on('state', () => this.#drawBanner()),
      room.on('media', () => this.#drawBanner()),
      room.on('ended', ({ line }) => void this.#onEnded(line.source)),
      room.on('autoplay-blocked', ({ element }) => {
        if (element instanceof HTMLAudioElement) this.#hear.hidden = false;
      }),
      room.on('error', ({ error }) => {
        console.warn('weir:', error);
        toast(error.sentence, 'bad');
      }),
    ];
    const onKey = /** @param {KeyboardEvent} event */ (event) => this.#onKey(event);
    document.addEventListener('keydown', onKey);
    this.#undo.push(() => document.removeEventListener('keydown', onKey));
  }

  #draw() {
    this.#grid.update();
    this.#people.update();
    const faults = this.#findings.update(this.#room.participants.values());
    const words = faults > 0 ? `Stream into this room: ${faults} to be mended` : 'Stream into this room';
    this.#streamButton.setAttribute('aria-label', words);
    this.#streamButton.title = words;
    this.#streamButton.classList.toggle('faulty', faults > 0);
    const everyone = this.#room.participants.size + 1;
    this.#count.textContent = String(everyone);
    this.#peopleButton.setAttribute('aria-label', `People: ${everyone}`);
    for (const source of /** @type {const} */ (['microphone', 'camera', 'screen'])) this.#drawControl(source);
    this.#drawBanner();
  }

  /** @param {'microphone' | 'camera' | 'screen'} source */
  #drawControl(source) {
    const line = this.#room.lines.get(source);
    const on = !!line?.track && !line.muted;
    const button = this.#buttons[source];
    const words = {
      microphone: on ? 'Mute' : 'Unmute',
      camera: on ? 'Turn camera off' : 'Turn camera on',
      screen: on ? 'Stop sharing' : 'Share screen',
    }[source];
    const shape = source === 'microphone' ? (on ? 'mic' : 'mic-off') : source === 'camera' ? (on ? 'camera' : 'camera-off') : 'screen';
    button.replaceChildren(icon(shape));
    button.classList.toggle('off', source !== 'screen' && !on);
    button.classList.toggle('live', source === 'screen' && on);
    button.setAttribute('aria-pressed', String(on));
    button.setAttribute('aria-label', words);
    button.title = `${words} (${button.getAttribute('aria-keyshortcuts')?.toLowerCase()})`;
  }

  #drawBanner() {
    const { state, media } = this.#room;
    const words =
      state === 'reconnecting'
        ? 'The connection to the server was lost. Reconnecting…'
        : media === 'interrupted'
          ? 'Sound and picture are interrupted. Finding another way…'
          : media === 'new' && state === 'connected'
            ? 'Connecting sound and picture…'
            : '';
    this.#banner.hidden = words === '';
    this.#banner.dataset.kind = state === 'reconnecting' || media === 'interrupted' ? 'bad' : 'plain';
    if (this.#banner.textContent !== words) this.#banner.textContent = words;
  }

  /** @param {string} words */
  #news(words) {
    if (this.#room.participants.size <= QUIET_ABOVE && this.#room.state === 'connected') toast(words);
  }

  /** Every audio slot plays in an element of its own, whoever is in it. */
  #attachAudio() {
    for (const slot of this.#room.slots.values()) {
      if (slot.kind !== 'audio' || slot.element) continue;
      let element = this.#audio.get(slot.mid);
      if (!element) {
        element = h('audio', { autoplay: true });
        this.#audio.set(slot.mid, element);
        this.#sounds.append(element);
      }
      this.#room.attach(slot, element);
    }
  }

  /** @param {Device} device */
  async #toggle(device) {
    if (this.#busy.has(device)) return;
    this.#busy.add(device);
    try {
      const line = this.#room.lines.get(device);
      if (!line?.track) await this.#start(device);
      else if (device === 'microphone') this.#room.mute('microphone', !line.muted);
      else {
        line.track.stop();
        await this.#room.setCamera(null);
      }
    } catch (error) {
      this.#complain(error);
    }
    this.#busy.delete(device);
  }

  /** @param {Device} device */
  async #start(device) {
    const opened = await openDevices({ [device]: remembered(device) || true });
    const track = opened[device];
    const [error] = opened.errors;
    if (error) throw error;
    if (this.#room.state === 'closed') track?.stop();
    else await this.#room.publish(device, track);
  }

  async #toggleScreen() {
    if (this.#busy.has('screen')) return;
    this.#busy.add('screen');
    try {
      if (this.#room.lines.get('screen')?.track) await this.#room.stopScreen();
      else await this.#room.startScreen(await openScreen());
    } catch (error) {
      this.#complain(error);
    }
    this.#busy.delete('screen');
  }

  /**
   * A device was unplugged, or the share was stopped from the browser's own bar.
   *
   * @param {string} source
   */
  async #onEnded(source) {
    try {
      if (source === 'screen') await this.#room.stopScreen();
      else if (source === 'microphone' || source === 'camera') {
        toast(`Your ${source} was unplugged.`, 'bad');
        await this.#room.publish(source, null);
      }
    } catch (error) {
      this.#complain(error);
    }
  }

  /** @param {unknown} cause */
  #complain(cause) {
    const error = WeirError.from(cause);
    console.warn('weir:', error);
    toast(error.sentence, error.code === 'screen-refused' ? 'plain' : 'bad');
  }

  async #onInvite() {
    const link = `${location.origin}/r/${this.#room.name}`;
    if (await copyText(link)) toast('Invitation link copied');
    else toast(link);
  }

  async #onHear() {
    this.#hear.hidden = true;
    await this.#room.play();
  }

  #togglePeople() {
    this.#people.open = !this.#people.open;
    this.#peopleButton.setAttribute('aria-pressed', String(this.#people.open));
  }

  #toggleStats() {
    this.#stats.open = !this.#stats.open;
    this.#statsButton.setAttribute('aria-pressed', String(this.#stats.open));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (target instanceof HTMLElement && target.closest('input, textarea, select, dialog')) return;
    if (key === 'm') void this.#toggle('microphone');
    if (key === 'v') void this.#toggle('camera');
    if (key === 's') void this.#toggleScreen();
    if (key === 'Escape' && this.#people.open) this.#togglePeople();
  }
}

/**
 * @param {string} testid
 * @param {string} key
 * @param {() => void} onclick
 */
function control(testid, key, onclick) {
  return h('button', { type: 'button', class: 'button round', 'data-testid': testid, 'aria-keyshortcuts': key.toUpperCase(), onclick });
}

/**
 * @param {Parameters<typeof icon>[0]} shape
 * @param {string} words
 * @param {string} testid
 * @param {() => void} onclick
 */
function tool(shape, words, testid, onclick) {
  return h('button', { type: 'button', class: 'button tool', title: words, 'aria-label': words, 'data-testid': testid, onclick }, icon(shape));
}
