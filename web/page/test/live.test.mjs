// The camera where WebRTC does not go through: over the WebSocket, as the page does it
// and as other pages may.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Hub, away, browser, counterReader, says, sessionOf, visit } from "./harness.mjs";

const hub = new Hub();
let chrome;

before(async () => {
  await Promise.all([browser().then((b) => (chrome = b)), hub.start("--rtc-listen", "127.0.0.1:0")]); // what one of them leaves is closed below
});
after(async () => {
  await chrome?.close();
  await hub.end();
});

/** In the page, before its own scripts: keeps what it sends as media. */
function tap() {
  delete window.RTCPeerConnection;
  window.sentMedia = [];
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (what) {
    if (typeof what !== "string") window.sentMedia.push(what.slice(0));
    return send.call(this, what);
  };
}

/** In the page: the number in each picture of the IVF streams that were sent, by its time. */
async function decodeAll() {
  const found = {};
  let decoder;
  for (const message of window.sentMedia) {
    const v = new DataView(message);
    if (message.byteLength === 32) {
      await decoder?.flush();
      decoder = window.counterDecoder(found);
      continue;
    }
    const data = new Uint8Array(message, 12);
    decoder.decode(new EncodedVideoChunk({ type: data[0] & 1 ? "delta" : "key", timestamp: v.getUint32(4, true), data }));
  }
  await decoder.flush();
  return found;
}

test("without WebRTC the camera is sent as video, and every picture has the boxes of exactly that picture, also after the hub was restarted", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], script: tap, allowed: [/willReadFrequently/, ...away] });
  await page.evaluate(counterReader);
  await page.evaluate(() => window.watchCounter(768));
  await page.locator("#boxes").uncheck(); // they may lie over the counter
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => window.samples.length >= 10);
  const id = await sessionOf(page);
  await hub.stop();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  const before = await page.evaluate(() => window.samples.length);
  await page.waitForFunction((n) => window.samples.length >= n, before + 10);
  assert.equal(await sessionOf(page), id);
  await page.getByRole("button", { name: "Stop" }).click();
  await says(page, /Camera: done/);
  const samples = await page.evaluate(() => window.samples);
  const truth = await page.evaluate(decodeAll);
  const events = await hub.events(id);
  assert.deepEqual(samples.filter((s) => s.counter === null || truth[s.pts] !== s.counter), [], `of ${samples.length} samples`);
  assert.ok(new Set(samples.map((s) => s.counter)).size >= 10, JSON.stringify(samples));
  assert.ok(events.some((e) => e.type === "segment"));
  assert.ok(events.some((e) => e.detections?.some((d) => d.label === "person")));
  const info = await (await fetch(`${hub.url}/v1/sessions/${id}`)).json();
  assert.equal(info.media.container, "ivf");
});

/** In the page: a camera of its own, which is turned when the page says so. */
function turning() {
  delete window.RTCPeerConnection;
  const c = document.createElement("canvas");
  [c.width, c.height] = [640, 480];
  const context = c.getContext("2d");
  let n = 0;
  setInterval(() => {
    context.fillStyle = `hsl(${n++ % 360} 60% 50%)`;
    context.fillRect(0, 0, c.width, c.height);
  }, 40);
  window.turn = () => ([c.width, c.height] = [480, 640]);
  navigator.mediaDevices.getUserMedia = async () => c.captureStream();
}

test("stopped while the hub is away, it ends when the hub is back", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], script: () => delete window.RTCPeerConnection, allowed: away });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  await hub.stop();
  await page.getByRole("button", { name: "Stop" }).click();
  await hub.start("--rtc-listen", "127.0.0.1:0");
  await says(page, /Camera: done/);
});

test("stopped while it is being started, it leaves no session behind", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], script: () => delete window.RTCPeerConnection });
  let tell;
  const started = new Promise((done) => (tell = done));
  let go;
  const stopped = new Promise((done) => (go = done));
  await page.routeWebSocket(/v1\/session/, (ws) => {
    ws.connectToServer().onMessage(async (m) => {
      tell(JSON.parse(m).session);
      await stopped;
      ws.send(m);
    });
  });
  await page.reload(); // what is routed is said before a page begins
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  const id = await started;
  await page.getByRole("button", { name: "Stop" }).click();
  go();
  await page.locator("#drop").waitFor();
  const state = async () => (await (await fetch(`${hub.url}/v1/sessions/${id}`)).json()).state;
  while ((await state()) !== "ended") await page.waitForTimeout(10);
  assert.equal((await hub.events(id)).at(-1).outcome, "cancelled");
});

test("a camera that is turned goes on in the same session", async (t) => {
  const page = await visit(t, chrome, hub.url, { script: turning });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  const upright = () => { const { width, height } = document.getElementById("stage"); return height > width; };
  await page.waitForFunction(() => Number(document.getElementById("stage").dataset.frame) >= 3);
  assert.equal(await page.evaluate(upright), false);
  await page.evaluate(() => window.turn());
  await page.waitForFunction(upright);
  const id = await sessionOf(page);
  await page.getByRole("button", { name: "Stop" }).click();
  await says(page, /Camera: done/);
  const events = await hub.events(id);
  assert.deepEqual([...new Set(events.filter((e) => e.type === "detections").map((e) => `${e.width}×${e.height}`))], ["640×480", "480×640"]);
  assert.deepEqual(events.at(-1).accounting.undecoded, { corrupt: 0, late: 0, lost: 0, no_keyframe: 0, rate_limited: 0 });
});

/** A site of somebody else's with the printed page on it. */
async function site(t) {
  const text = readFileSync(new URL("../../../docs/clients/record.html", import.meta.url));
  const server = createServer((request, answer) => {
    const found = request.url.startsWith("/record.html");
    answer.writeHead(found ? 200 : 204, { "Content-Type": "text/html" }).end(found ? text : undefined);
  });
  await new Promise((done) => server.listen(0, "localhost", done));
  t.after(() => server.close());
  return `http://localhost:${server.address().port}`;
}

for (const kind of ["video/webm", "video/mp4"]) {
  test(`the printed page records a camera as ${kind}, and has results while it does`, async (t) => {
    const origin = await site(t);
    const open = new Hub();
    t.after(() => open.end());
    await open.start("--allowed-origin", origin);
    const allowed = away; // the hub ends before its page
    const script = `{ const known = MediaRecorder.isTypeSupported; MediaRecorder.isTypeSupported = (t) => t.startsWith("${kind}") && known(t); }`;
    const page = await visit(t, chrome, origin, { path: `/record.html?hub=${open.url.replace("http", "ws")}/v1/session`, permissions: ["camera"], script, allowed });
    const found = page.locator("#found");
    const persons = /person 0\.\d+[^]*\n[^]*person/;
    await found.filter({ hasText: persons }).waitFor();
    const restarts = kind === "video/webm";
    if (restarts) {
      await open.stop();
      await found.evaluate((e) => e.replaceChildren());
      await open.start("--allowed-origin", origin);
      await found.filter({ hasText: persons }).waitFor();
    }
    await page.getByRole("button", { name: "Stop" }).click();
    await found.filter({ hasText: /"type":"end"/ }).waitFor();
    const [{ session }] = (await (await fetch(`${open.url}/v1/sessions`)).json()).sessions;
    const events = await open.events(session);
    const end = events.at(-1);
    assert.equal(end.outcome, "done", JSON.stringify(end));
    if (!restarts) assert.deepEqual(end.accounting.undecoded, { corrupt: 0, late: 0, lost: 0, no_keyframe: 0, rate_limited: 0 });
    const results = events.filter((e) => e.type === "detections");
    const segments = events.filter((e) => e.type === "segment").map((e) => e.frame);
    assert.equal(segments.length > 0, restarts);
    for (const [i, r] of results.entries()) {
      const before = results[i - 1];
      const begins = !before || segments.some((f) => before.frame < f && f <= r.frame); // its time, too
      assert.ok(begins || r.pts_ms > before.pts_ms, JSON.stringify(r));
    }
    for (const { timing } of results) {
      const { receive, decode, queue, infer, order, total } = timing;
      assert.ok(Math.abs(receive + decode + queue + infer + order - total) < 0.01, JSON.stringify(timing));
    }
  });
}
