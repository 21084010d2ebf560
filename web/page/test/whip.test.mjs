// The camera over WebRTC: that the boxes drawn are those of exactly the picture drawn
// is shown from what left the browser's encoder, decoded by another decoder.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { Hub, away, browser, counterReader, patience, says, sessionOf, visit, waitFor } from "./harness.mjs";

const hub = new Hub();
let chrome;

before(async () => {
  await Promise.all([browser().then((b) => (chrome = b)), hub.start("--rtc-listen", "127.0.0.1:0")]); // what one of them leaves is closed below
});
after(async () => {
  await chrome?.close();
  await hub.end();
});

/** The page's worker, which besides lets the test have what it passes on, and takes its time for each of the first ten. */
async function tap(page, ms) {
  const worker = readFileSync(new URL("../static/rtp.js", import.meta.url), "utf8");
  const spied = worker.replace("out.enqueue(frame);",
    'channel.postMessage({ stamp: frame.getMetadata().rtpTimestamp, type: frame.type, data: frame.data.slice(0) }); out.enqueue(frame);')
    .replace("transform(frame, out) {", "async transform(frame, out) { if (slow-- > 0) await new Promise((done) => setTimeout(done, ms));");
  assert.match(spied, /slow[^]*channel/);
  const before = `const channel = new BroadcastChannel("encoded"); let [slow, ms] = [10, ${ms}];`;
  await page.route("**/page/rtp.js", async (r) => r.fulfill({ response: await r.fetch(), body: before + spied }));
  await page.evaluate(() => {
    window.encoded = [];
    new BroadcastChannel("encoded").onmessage = (e) => window.encoded.push(e.data);
  });
}

/** In the page: the number in each picture that left the encoder, by its RTP time stamp. */
async function decodeAll() {
  const found = {};
  const decoder = window.counterDecoder(found);
  for (const e of window.encoded) decoder.decode(new EncodedVideoChunk({ type: e.type, timestamp: e.stamp, data: e.data }));
  await decoder.flush();
  return found;
}

const encoders = { "an encoder": 0, "an encoder that is slow at first": 250 };
for (const [encoder, ms] of Object.entries(encoders)) test(`every picture of the camera has the boxes of exactly that picture, over WebRTC, with ${encoder}`, async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/willReadFrequently/] });
  await page.evaluate(counterReader);
  await page.evaluate(() => window.watchCounter(768));
  await tap(page, ms);
  await page.locator("#boxes").uncheck();
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  const wanted = Number(process.env.SAMPLES ?? 25);
  await page.waitForFunction((n) => window.samples.length >= n, wanted, { timeout: patience + 1000 * wanted });
  await page.locator("#boxes").check();
  const id = await sessionOf(page);
  await page.getByRole("button", { name: "Stop" }).click();
  await says(page, /Camera: done/);
  const samples = await page.evaluate(() => window.samples);
  const truth = await page.evaluate(decodeAll);
  const events = (await hub.events(id)).filter((e) => e.type === "detections");
  const stamps = new Map(events.map((e) => [e.frame, e.rtp_ts]));
  const wrong = samples.filter((s) => s.counter === null || truth[stamps.get(s.frame)] !== s.counter);
  assert.deepEqual(wrong, [], `of ${samples.length} samples`);
  assert.ok(new Set(samples.map((s) => s.counter)).size >= 15);
  assert.ok(events.some((e) => e.detections.some((d) => d.label === "person")));
  t.diagnostic(`${samples.length} samples, ${events.length} results, ${Object.keys(truth).length} pictures sent`);
});

test("where the media port is not reached, the camera goes over the WebSocket", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/willReadFrequently/, /503/] });
  await page.route("**/v1/whip*", (r) => r.fulfill({ status: 503, contentType: "application/problem+json", body: '{"detail":"no WebRTC here"}' }));
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const info = await (await fetch(`${hub.url}/v1/sessions/${await sessionOf(page)}`)).json();
  assert.equal(info.media.container, "ivf");
});

test("so it does with a hub that takes no WebRTC", async (t) => {
  const without = new Hub();
  t.after(() => without.end());
  await without.start("--rtc-listen", "off");
  const page = await visit(t, chrome, without.url, { permissions: ["camera"], allowed: [/willReadFrequently/, /501/, ...away] });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
});

test("so it does where the hub answers, but its media port is behind a wall", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"] });
  await page.clock.install();
  const [answered, deleted] = [page.waitForResponse(/v1\/whip\?/), page.waitForRequest((r) => r.method() === "DELETE")];
  await page.route("**/v1/whip?*", async (r) => {
    const without = (sdp) => sdp.replaceAll(/^a=candidate:.*\r\n/gm, ""); // nobody knows where the other is
    const response = await r.fetch({ postData: without(r.request().postData()) });
    await r.fulfill({ response, body: without(await response.text()) });
  });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  const first = (await answered).headers().session;
  await page.clock.fastForward(10_000);
  await deleted;
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  assert.notEqual(await sessionOf(page), first);
});

test("so it does where the hub takes the question and never answers; what it answers later is ended", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"] });
  await page.clock.install();
  let answer, asked;
  const asks = new Promise((done) => (asked = done));
  await page.route("**/v1/whip?*", async (r) => {
    answer = () => r.continue();
    asked();
  });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await asks;
  await page.clock.fastForward(10_000);
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const info = await (await fetch(`${hub.url}/v1/sessions/${await sessionOf(page)}`)).json();
  assert.equal(info.media.container, "ivf");
  const deleted = page.waitForRequest((r) => r.method() === "DELETE");
  await answer();
  await deleted;
});

test("the camera goes by the servers that the hub tells of", async (t) => {
  const script = () => {
    window.RTCPeerConnection = class extends window.RTCPeerConnection {
      constructor(config) {
        super();
        window.iceServers = config.iceServers;
      }
    };
  };
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], script });
  const told = ['<stun:stun.example.org>; rel="ice-server"', '<turn:turn.example.org?transport=tcp>; rel="ice-server"; username="u"; credential="a, \\"b\\""; credential-type="password"'];
  await page.route("**/v1/whip", (r) => r.fulfill({ status: 204, headers: { Link: told.join(", ") } }));
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  assert.deepEqual(JSON.parse(await page.evaluate(() => JSON.stringify(window.iceServers))), [{ urls: "stun:stun.example.org" }, { urls: "turn:turn.example.org?transport=tcp", username: "u", credential: 'a, "b"' }]);
});

test("a screen is shared: what it shows is looked at, and stops when the browser's own button stops it", async (t) => {
  const sharing = await browser("--use-fake-ui-for-media-stream", "--auto-select-desktop-capture-source=Entire screen");
  t.after(() => sharing.close());
  const page = await visit(t, sharing, hub.url, { script: () => {
    const ask = navigator.mediaDevices.getDisplayMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getDisplayMedia = async (o) => (window.shared = await ask(o));
  } });
  await page.getByRole("button", { name: "Screen", exact: true }).click();
  await page.waitForFunction(() => Number(document.getElementById("stage").dataset.frame) >= 5);
  const id = await sessionOf(page);
  const info = await (await fetch(`${hub.url}/v1/sessions/${id}`)).json();
  assert.equal(info.media.name, "Screen");
  assert.equal(info.media.container, "units");
  await page.evaluate(() => {
    const [track] = window.shared.getVideoTracks();
    track.stop();
    track.dispatchEvent(new Event("ended"));
  });
  await says(page, /Screen: done/);
  const events = await hub.events(id);
  assert.equal(events.at(-1).outcome, "done");
  assert.ok(events.some((e) => e.type === "detections" && e.rtp_ts !== undefined && e.width > 0));
});

test("the hub is restarted while the camera runs: the same session goes on as another segment", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/404/, ...away] });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => Number(document.getElementById("stage").dataset.frame) >= 5);
  const id = await sessionOf(page);
  await hub.stop();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  const before = (await hub.events(id)).filter((e) => e.type === "detections").length;
  await page.waitForFunction((n) => Number(document.getElementById("stage").dataset.frame) >= n, before + 5);
  assert.equal(await sessionOf(page), id);
  assert.ok((await hub.events(id)).some((e) => e.type === "segment"));
  await hub.stop();
  await page.getByRole("button", { name: "Stop" }).click();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  await says(page, /Camera: done/);
});

test("a camera that is closed while the hub is away is ended when it is back", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/404/, ...away] });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const id = await sessionOf(page);
  await hub.stop();
  await page.getByRole("button", { name: "Close" }).click();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  await waitFor(async () => (await hub.events(id)).some((e) => e.type === "end"));
});

test("a session that ended while the hub was away is over, and the camera off", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/409/, ...away] });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const id = await sessionOf(page);
  const cancelled = () => fetch(`${hub.url}/v1/sessions/${id}/cancel`, { method: "POST" });
  await page.route("**/v1/whip?session=*", async (r) => (await cancelled().catch(() => {}), r.continue())); // the hub is away at first
  await hub.stop();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  await page.locator("#problem").filter({ hasText: /What was found is kept/ }).waitFor();
  await says(page, /Camera: \d+ frames? so far/);
  assert.equal(await page.getByRole("button", { name: "Stop" }).isVisible(), false);
});

test("a token that is not accepted any more ends no camera, and a stop is told until it is heard", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/401/, ...away] });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const id = await sessionOf(page);
  const refused = { status: 401, contentType: "application/problem+json", body: '{"code":"unauthorized","detail":"expired"}' };
  await page.route("**/v1/whip?session=*", (r) => r.fulfill(refused), { times: 1 });
  await hub.stop();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  await page.getByLabel("This hub wants to know who asks").waitFor();
  await page.waitForFunction(() => document.getElementById("badge").textContent === "Live");
  assert.equal(await sessionOf(page), id);
  const tries = [];
  await page.route("**/v1/whip/*", (r) => (tries.push(r) < 3 ? r.fulfill(refused) : r.continue()));
  await page.getByRole("button", { name: "Stop" }).click();
  await says(page, /Camera: done/);
  assert.equal(tries.length, 3);
});

test("a hub that comes back without WebRTC gets the camera over the WebSocket", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [/501/, ...away] });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const id = await sessionOf(page);
  await hub.stop();
  await hub.start("--rtc-listen", "off");
  await page.waitForFunction((i) => !document.getElementById("json").getAttribute("href").includes(i), id);
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const info = await (await fetch(`${hub.url}/v1/sessions/${await sessionOf(page)}`)).json();
  assert.equal(info.media.container, "ivf");
});
