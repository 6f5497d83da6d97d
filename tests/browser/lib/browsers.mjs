// Chromium and Firefox, headless, with fake cameras and microphones that need no permission.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import puppeteer from 'puppeteer-core';

const CHROMIUM = process.env.TESTS_CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.TESTS_FIREFOX ?? '/usr/bin/firefox-esr';

export const haveChromium = existsSync(CHROMIUM);
export const haveFirefox = existsSync(FIREFOX);

const CHROMIUM_FLAGS = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  // Several pages share one window here: none of them is a page that nobody looks at.
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
];

/** A flag of Chromium's: its fake camera gives five pictures a second, not twenty. */
export const LIGHT_CAMERA = '--use-fake-device-for-media-stream=fps=5';

const FIREFOX_PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.loopback': true,
  // Without a permission Firefox offers the address of its default route alone, which never pairs with loopback.
  'permissions.default.camera': 1,
  'permissions.default.microphone': 1,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'app.update.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.enabled': false,
};

/** @param {{executable?: string, flags?: string[], pipe?: boolean}} [options] */
export function launchChromium({ executable = CHROMIUM, flags = [], pipe = false } = {}) {
  return puppeteer.launch({
    browser: 'chrome',
    executablePath: executable,
    headless: true,
    pipe,
    args: [...CHROMIUM_FLAGS, ...flags],
    defaultViewport: { width: 1280, height: 720 },
  });
}

/** A Chromium in another network namespace: it is spoken to by pipes, since it has no network in common with us. */
export function launchChromiumIn(namespace, directory, ...flags) {
  const executable = join(directory, 'chromium');
  writeFileSync(executable, `#!/bin/sh\nexec ip netns exec ${namespace} ${CHROMIUM} "$@"\n`, { mode: 0o755 });
  return launchChromium({ executable, flags, pipe: true });
}

export function launchFirefox() {
  return puppeteer.launch({
    browser: 'firefox',
    executablePath: FIREFOX,
    headless: true,
    extraPrefsFirefox: FIREFOX_PREFERENCES,
    defaultViewport: { width: 1280, height: 720 },
  });
}

/**
 * A page whose RTCPeerConnections are kept in `window.watched`, each with the count of what renegotiation would do.
 * The pages of one browser share nothing else: each has a context of its own.
 */
export async function newPage(browser) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  await page.evaluateOnNewDocument(watchPeerConnections);
  return page;
}

function watchPeerConnections() {
  window.watched = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args);
      this.counts = { negotiationneeded: 0, setLocalDescription: 0, setRemoteDescription: 0 };
      this.addEventListener('negotiationneeded', () => (this.counts.negotiationneeded += 1));
      window.watched.push(this);
    }
    setLocalDescription(...args) {
      this.counts.setLocalDescription += 1;
      return super.setLocalDescription(...args);
    }
    setRemoteDescription(...args) {
      this.counts.setRemoteDescription += 1;
      return super.setRemoteDescription(...args);
    }
  };
}

/** Ends the page and its context: for the server, a tab that was closed. */
export async function closePage(page) {
  await page.browserContext().close();
}
