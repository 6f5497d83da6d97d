/**
 * "Stream into this room": what to type into OBS, FFmpeg and GStreamer.
 */

import { copyText, h, icon, toast } from './dom.js';

/**
 * @param {{room: string, authRequired: boolean, findings: HTMLElement}} options `findings`: what is wrong with what comes in
 * @returns {HTMLDialogElement}
 */
export function streamHelp({ room, authRequired, findings }) {
  const whip = `${location.origin}/whip/${room}`;
  const watchUrl = `${location.origin}/watch/${room}`;
  const token = authRequired ? 'TOKEN' : '';
  const tabs = [
    { id: 'obs', label: 'OBS', body: obs(whip, authRequired) },
    { id: 'ffmpeg', label: 'FFmpeg', body: command('FFmpeg 8 or newer', ffmpeg(whip, token)) },
    { id: 'gstreamer', label: 'GStreamer', body: command('whipclientsink of gst-plugins-rs', gstreamer(whip, token)) },
  ];
  const panels = tabs.map(({ id, body }, index) =>
    h('div', { id: `panel-${id}`, class: 'panel', role: 'tabpanel', 'aria-labelledby': `tab-${id}`, hidden: index > 0 }, body),
  );
  const buttons = tabs.map(({ id, label }, index) =>
    h(
      'button',
      {
        type: 'button',
        id: `tab-${id}`,
        role: 'tab',
        'aria-controls': `panel-${id}`,
        'aria-selected': String(index === 0),
        tabIndex: index === 0 ? 0 : -1,
        'data-testid': `help-${id}`,
        onclick: () => select(index),
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!step) return;
          const next = (index + step + tabs.length) % tabs.length;
          select(next);
          buttons[next]?.focus();
        },
      },
      label,
    ),
  );
  /** @param {number} chosen */
  const select = (chosen) => {
    buttons.forEach((button, index) => {
      button.setAttribute('aria-selected', String(index === chosen));
      button.tabIndex = index === chosen ? 0 : -1;
    });
    panels.forEach((panel, index) => (panel.hidden = index !== chosen));
  };
  const dialog = h(
    'dialog',
    {
      class: 'help',
      'aria-labelledby': 'help-title',
      'data-testid': 'stream-help',
      onclick: (/** @type {Event} */ event) => {
        if (event.target === dialog) dialog.close();
      },
    },
    h(
      'div',
      { class: 'help-inner' },
      h(
        'header',
        { class: 'side-head' },
        h('h2', { id: 'help-title' }, 'Stream into this room'),
        h('button', { type: 'button', class: 'button quiet square', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close')),
      ),
      h('p', { class: 'muted' }, 'Anything that speaks WHIP can send picture and sound here. It appears as one more tile.'),
      findings,
      copyRow('WHIP address', whip, 'whip-url'),
      tokenNote(room, authRequired),
      h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Program' }, buttons),
      panels,
      h(
        'p',
        { class: 'muted foot' },
        'Those who only watch need no seat in the room: ',
        h('a', { href: watchUrl, target: '_blank', rel: 'noopener', 'data-testid': 'watch-link' }, watchUrl),
      ),
    ),
  );
  return dialog;
}

/**
 * @param {string} room
 * @param {boolean} authRequired
 */
function tokenNote(room, authRequired) {
  if (!authRequired) return h('p', { class: 'hint' }, 'This server asks for no token: leave the field empty.');
  return h(
    'div',
    {},
    h('p', { class: 'hint' }, 'This server asks for a token that may publish. Where the server runs, this prints one:'),
    copyRow('', `weir token --room ${room} --identity encoder --publish`, 'token-command'),
  );
}

/**
 * @param {string} whip
 * @param {boolean} authRequired
 */
function obs(whip, authRequired) {
  return h(
    'div',
    {},
    h('h3', {}, 'Settings → Stream'),
    settings([
      ['Service', 'WHIP'],
      ['Server', whip],
      ['Bearer Token', authRequired ? 'the token' : '(empty)'],
    ]),
    h('h3', {}, 'Settings → Output, mode Advanced'),
    settings([
      ['Video encoder', 'x264, or a hardware H.264'],
      ['Rate control', 'CBR, 2500 Kbps'],
      ['Keyframe interval', '2 s'],
      ['Profile', 'baseline'],
      ['Tune', 'zerolatency'],
      ['B-frames', '0 (x264 options: bframes=0)'],
      ['Audio encoder', 'Opus'],
    ]),
    h('p', { class: 'hint' }, 'B-frames make browsers stutter, and a longer keyframe interval keeps newcomers waiting.'),
  );
}

/**
 * @param {string} whip
 * @param {string} token
 */
function ffmpeg(whip, token) {
  return [
    'ffmpeg -re -i video.mp4',
    '-c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency',
    '-b:v 2500k -maxrate 2500k -bufsize 2500k -r 30 -g 60 -bf 0 -pix_fmt yuv420p',
    '-c:a libopus -ac 2 -ar 48000 -b:a 96k',
    ...(token ? [`-authorization ${token}`] : []),
    `-f whip ${whip}`,
  ].join(' \\\n  ');
}

/**
 * @param {string} whip
 * @param {string} token
 */
function gstreamer(whip, token) {
  return [
    `gst-launch-1.0 whipclientsink name=whip signaller::whip-endpoint=${whip}`,
    ...(token ? [`signaller::auth-token=${token}`] : []),
    'autovideosrc ! videoconvert ! x264enc tune=zerolatency bframes=0 key-int-max=60 bitrate=2500',
    '! video/x-h264,profile=constrained-baseline ! h264parse ! whip.',
    'autoaudiosrc ! audioconvert ! audioresample ! opusenc ! whip.',
  ].join(' \\\n  ');
}

/** @param {[string, string][]} rows */
function settings(rows) {
  return h('dl', { class: 'settings' }, rows.map(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]).flat());
}

/**
 * @param {string} needs
 * @param {string} text
 */
function command(needs, text) {
  return h('div', {}, h('p', { class: 'hint' }, `Needs ${needs}.`), h('div', { class: 'code' }, h('pre', {}, h('code', {}, text)), copyButton(text, 'Copy the command')));
}

/**
 * @param {string} label
 * @param {string} value
 * @param {string} testid
 */
function copyRow(label, value, testid) {
  return h(
    'div',
    { class: 'copy-row' },
    label ? h('span', { class: 'label' }, label) : null,
    h('div', { class: 'code' }, h('code', { 'data-testid': testid }, value), copyButton(value, `Copy${label ? ` the ${label}` : ''}`)),
  );
}

/**
 * @param {string} value
 * @param {string} label
 */
function copyButton(value, label) {
  const button = h(
    'button',
    {
      type: 'button',
      class: 'button quiet small',
      'aria-label': label,
      onclick: async () => {
        if (!(await copyText(value))) {
          toast('The browser did not allow copying. Select the text instead.', 'bad');
          return;
        }
        button.replaceChildren(icon('check'), 'Copied');
        setTimeout(() => button.replaceChildren('Copy'), 1800);
      },
    },
    'Copy',
  );
  return button;
}
