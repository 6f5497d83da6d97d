// How the app's senders follow the server's `layers`, in browsers that talk to themselves.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { haveChromium, haveFirefox, launchChromium, launchFirefox, newPage } from './lib/browsers.mjs';
import { startServer } from './lib/server.mjs';

const BROWSERS = [
  ['Chromium', haveChromium, launchChromium],
  ['Firefox', haveFirefox, launchFirefox],
];

for (const [name, have, launch] of BROWSERS) {
  describe(`layers of a sender in ${name}`, { skip: have ? false : `${name} is not installed` }, () => {
    let browser;
    let server;
    let page;

    before(async () => {
      server = await startServer(`lines-${name}`);
      browser = await launch();
      page = await newPage(browser);
      await page.goto(server.url);
    });

    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    /**
     * The rids that a camera is sent in after these words of the server, none of which waits for the one before: `apart`, in
     * tasks of their own, where Chromium takes no change beside another; or at once, where Firefox knows of none. The call
     * stands, since Chromium without an encoder is done before the next word.
     * @param {string[][]} words
     * @param {boolean} apart
     * @param {number} failing so many changes of parameters fail, at first
     */
    const sentAfter = (words, apart, failing = 0) =>
      page.evaluate(async (all, apart, failing) => {
        const { applyLayers } = await import('/assets/client/lines.js');
        const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
        from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate);
        to.onicecandidate = ({ candidate }) => candidate && from.addIceCandidate(candidate);
        const camera = await navigator.mediaDevices.getUserMedia({ video: true });
        const sendEncodings = ['q', 'h', 'f'].map((rid, index) => ({ rid, scaleResolutionDownBy: 4 / 2 ** index }));
        const { sender } = from.addTransceiver(camera.getTracks()[0], { direction: 'sendonly', sendEncodings });
        await from.setLocalDescription();
        await to.setRemoteDescription(from.localDescription);
        await to.setLocalDescription();
        // Who answers with plain lines takes one layer of three: what is sent of them is not asked here.
        const rids = sendEncodings.map(({ rid }) => `a=rid:${rid} recv`).join('\r\n');
        const sdp = `${to.localDescription.sdp.trimEnd()}\r\n${rids}\r\na=simulcast:recv q;h;f\r\n`;
        await from.setRemoteDescription({ type: 'answer', sdp });
        while (from.connectionState !== 'connected') {
          await new Promise((resolve) => from.addEventListener('connectionstatechange', resolve, { once: true }));
        }
        const set = sender.setParameters.bind(sender);
        let left = failing;
        sender.setParameters = async (parameters) => {
          if (left-- > 0) throw new DOMException('not now', 'OperationError');
          await set(parameters);
        };
        const applied = [];
        for (const wanted of all) {
          applied.push(applyLayers(sender, wanted));
          if (apart) await new Promise((resolve) => setTimeout(resolve));
        }
        const failed = (await Promise.allSettled(applied)).filter(({ reason }) => reason);
        if (failed.length > failing) throw failed[0].reason;
        const { encodings } = sender.getParameters();
        [from, to].forEach((pc) => pc.close());
        camera.getTracks().forEach((track) => track.stop());
        return encodings.filter((encoding) => encoding.active).map(({ rid }) => rid);
      }, words, apart, failing);

    const assertSent = async (words, rids) => {
      for (const apart of [true, false]) assert.deepEqual(await sentAfter(words, apart), rids, apart ? 'apart' : 'at once');
    };

    test('the layers wanted are sent, and no others', async () => {
      await assertSent([['q', 'f']], ['q', 'f']);
      await assertSent([[]], []);
    });

    test('who is told off and on again sends', async () => {
      await assertSent([[], ['q', 'h', 'f']], ['q', 'h', 'f']);
      await assertSent([[], ['q', 'h', 'f'], [], ['q', 'h', 'f']], ['q', 'h', 'f']);
    });

    test('of many words the last one counts', async () => {
      await assertSent([[], ['q'], ['q', 'h', 'f'], [], ['h']], ['h']);
      await assertSent([[], ['q', 'h', 'f'], []], []);
    });

    test('a change that fails does not take the next one with it', async () => {
      assert.deepEqual(await sentAfter([[], ['h']], false, 1), ['h']);
    });
  });
}
