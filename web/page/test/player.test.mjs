// What is made of results: of very many, of early and late pictures, of files that do not
// say how long they are.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { Density } from "../static/density.js";
import { Results } from "../static/results.js";
import { Hub, browser, counterReader, media, visit } from "./harness.mjs";

const hub = new Hub();
let chrome;

before(async () => {
  await Promise.all([browser().then((b) => (chrome = b)), hub.start()]);
});
after(async () => {
  await chrome?.close();
  await hub.end();
});

const readback = /willReadFrequently/; // a browser says so of reading pixels

const object = (label, confidence, more = {}) => ({ class: 0, label, confidence, box: [1, 1, 2, 2], ...more });
const result = (frame, pts_ms, detections) => ({ type: "detections", offset: frame, frame, pts_ms, width: 64, height: 36, detections, model: "m", timing: {} });

test("each result is looked at once for the time line, however many there are", () => {
  const density = new Density();
  let looks = 0;
  const list = [];
  for (let frame = 0; frame < 100_000; frame++) {
    list.push({ pts_ms: 40 * frame, get detections() { return looks++, { length: 1 + (frame % 7) }; } });
    if (frame % 1000 === 999) density.columns(list, 900, 4000);
  }
  assert.ok(looks < 101_000, `${looks}`);
  assert.ok(density.columns(list, 900, 4000).every((n) => n === 7));
});

test("a result that comes between others has its bar too", () => {
  const density = new Density();
  const list = [0, 40, 1000].map((pts_ms) => ({ pts_ms, detections: { length: 1 } }));
  density.columns(list, 100, 1);
  list.splice(2, 0, { pts_ms: 500, detections: { length: 3 } });
  assert.equal(density.columns(list, 100, 1)[50], 3);
});

test("few results are bars with a gap between them", () => {
  const list = [0, 1, 2].map((s) => result(s, 500 + 1000 * s, Array(s + 1)));
  assert.equal(new Density().columns(list, 30, 3).join(""), "111111111022222222203333333330");
  assert.match(new Density().columns(list, 17, 3).join(""), /^11110222220333/);
});

test("what was found is counted for every threshold, also of results that are no longer kept", () => {
  const results = new Results();
  for (let frame = 0; frame < 5000; frame++) {
    results.add(result(frame, 33 * frame, [object("person", 0.55), object("dog", 0.29, { class: 16 })]));
    results.keep(100);
  }
  assert.ok(results.list.length <= 150);
  for (const [threshold, counts] of [[0.55, { person: 5000, dog: 0 }], [0.29, { person: 5000, dog: 5000 }], [0.56, { person: 0, dog: 0 }], [0.3, { person: 5000, dog: 0 }]]) {
    results.threshold = threshold;
    assert.deepEqual(Object.fromEntries(results.counts), counts, `${threshold}`);
  }
  assert.equal(results.classOf("dog"), 16);
});

test("a live session whose time begins anew keeps its newest results, in their order", () => {
  const results = new Results();
  for (let frame = 0; frame < 400; frame++) {
    results.add(result(frame, 33 * (frame % 200), []));
    results.keep(50);
  }
  assert.equal(results.last.frame, 399);
  assert.deepEqual(results.until(results.last, 3).map((r) => r.frame), [397, 398, 399]);
});

/**
 * In the page: a file that plays while a session, which is none, tells what it is made to.
 * @param {string} name of a file of the test media
 */
async function played(page, name) {
  await page.evaluate(async (base64) => {
    const desk = await import("/page/desk.js");
    const session = { began: true, ended: false, feeding: true, acked: 0, open() {}, leave() {}, cancel() {} };
    desk.begin("file", "file");
    desk.play(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));
    desk.attach(session);
    window.desk = desk;
    window.tell = (m) => session.onmessage(m);
  }, readFileSync(media(name)).toString("base64"));
  await page.waitForFunction(() => window.desk.stage.hasPicture);
}

test("a hundred thousand results are drawn as seldom as the screen is", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await played(page, "counter.mp4");
  const costs = await page.evaluate(async (model) => {
    let drawn = 0;
    const real = CanvasRenderingContext2D.prototype.fillRect;
    CanvasRenderingContext2D.prototype.fillRect = function (...at) {
      if (this.canvas.id === "density") drawn++;
      real.apply(this, at);
    };
    const costs = [];
    for (let frame = 0; frame < 100_000; ) {
      for (let i = 0; i < 10_000; i++, frame++) window.tell({ ...model, frame, pts_ms: frame / 10 });
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      costs.push(drawn);
      drawn = 0;
    }
    return costs;
  }, result(0, 0, [object("person", 0.9)]));
  const width = await page.evaluate(() => document.getElementById("density").width);
  assert.ok(costs.every((n) => n > 0 && n <= 4 * width), `${costs} for ${width} columns`);
});

/** A tab that is not looked at shows no pictures, until `look`. */
const unseen = () => {
  const looked = new Promise((done) => (window.look = done));
  const ask = HTMLVideoElement.prototype.requestVideoFrameCallback;
  HTMLVideoElement.prototype.requestVideoFrameCallback = function (tell) {
    looked.then(() => ask.call(this, tell));
  };
};

/** A browser that loads nothing of what does not play. */
const sparing = () => {
  window.look = () => {};
  Object.defineProperty(HTMLMediaElement.prototype, "preload", { set() { this.setAttribute("preload", "none"); } });
};

for (const [what, script] of [["in a tab that is not looked at", unseen], ["in a browser that loads nothing by itself", sparing]]) {
  test(`the first picture is the first, ${what}, whatever keys are pressed`, async (t) => {
    const page = await visit(t, chrome, hub.url, { allowed: [readback], script });
    await page.evaluate(counterReader);
    await page.evaluate(() => window.watchCounter(768));
    await page.locator("#boxes").uncheck();
    await page.setInputFiles("#file", media("counter.mp4"));
    await page.locator("#player").press("ArrowRight");
    await page.waitForFunction(() => /^0:0[1-9]/.test(document.getElementById("time").textContent));
    await page.evaluate(() => window.look());
    await page.waitForFunction(() => window.samples.length >= 8);
    const samples = await page.evaluate(() => window.samples);
    assert.deepEqual(samples.filter((s) => s.frame !== s.counter), [], `of ${samples.length} samples`);
  });
}

test("where what was known is void, it is counted anew", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await played(page, "counter.mp4");
  await page.evaluate((model) => {
    for (const [recovered, frames] of [[false, 3], [true, 2], [false, 4]]) {
      window.tell({ type: "started", session: "s", epoch: "e", offset: 0, bytes: 0, recovered });
      for (let frame = 0; frame < frames; frame++) window.tell({ ...model, frame, pts_ms: 100 * frame });
    }
  }, result(0, 0, [object("person", 0.9)]));
  assert.equal(await page.evaluate(() => window.desk.results.objects), 4);
});

test("boxes are not held far beyond what is known", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await played(page, "counter.mp4");
  await page.evaluate((model) => {
    for (let frame = 0; frame <= 10; frame++) window.tell({ ...model, frame, pts_ms: 100 * frame });
    window.desk.now.player.pause();
  }, result(0, 0, [object("person", 0.9)]));
  for (const [s, held] of [[2, 10], [8, null]]) {
    await page.evaluate((to) => window.desk.now.player.seek(to), s + 0.05);
    await page.waitForFunction((ms) => Math.abs(window.desk.stage.time - ms) < 1.5, 1000 * s);
    assert.equal(await page.evaluate(() => window.desk.stage.held?.frame ?? null), held);
  }
});

test("in a file that does not say how long it is one can go to and fro", async (t) => {
  const page = await visit(t, chrome, hub.url, { script: () => Object.defineProperty(HTMLMediaElement.prototype, "duration", { get: () => Infinity }) });
  await played(page, "counter.mp4");
  await page.evaluate((model) => {
    for (let frame = 0; frame < 100; frame++) window.tell({ ...model, frame, pts_ms: 100 * frame });
    window.desk.now.player.pause();
    window.desk.now.player.seek(4.05);
  }, result(0, 0, []));
  const shows = (frame) => page.waitForFunction((n) => window.desk.stage.result?.frame === n, frame);
  await shows(40);
  await page.locator("#forth").click();
  await shows(41);
  assert.equal(await page.locator("#seek").getAttribute("max"), "9.9");
  await page.evaluate(() => window.desk.now.player.seek(1000));
  await page.waitForFunction(() => window.desk.now.player.time >= 9.9);
});

test("what grows all the time is not read out, and whoever presses Stop is led on", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await played(page, "counter.mp4");
  const [said, all] = [page.locator("#status [role=status]"), page.locator("#status")];
  await page.evaluate(() => window.tell({ type: "state", state: "running" }));
  for (const n of [1, 2]) {
    await page.evaluate((r) => window.tell(r), result(n, 100 * n, []));
    await all.filter({ hasText: `file: looking, ${n} frame` }).waitFor();
    assert.equal(await said.textContent(), "file: looking,");
  }
  await page.locator("#stop").focus();
  await page.evaluate(() => window.tell({ type: "end", offset: 9, outcome: "cancelled", bytes: 0, accounting: { inferred: 2, dropped: {}, failed: {}, undecoded: {} } }));
  await said.filter({ hasText: "file: stopped. 2 frames, 0 objects." }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "player");
});

test("what is left leaves no links, and the rows of objects stay while they are the same", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await played(page, "counter.mp4");
  await page.evaluate(() => window.tell({ type: "started", session: "s_1", epoch: "e", offset: 0, bytes: 0 }));
  await page.evaluate((r) => window.tell(r), result(0, 0, [object("person", 0.9)]));
  const row = await page.locator("#objects tr").elementHandle();
  await page.evaluate(() => new Promise((done) => {
    const { panel } = window.desk;
    panel.onrefresh = done;
    panel.touch();
  }));
  assert.ok(await row.evaluate((r) => r.isConnected));
  const links = () => page.evaluate(() => ["json", "csv"].map((id) => document.getElementById(id).getAttribute("href")));
  assert.deepEqual(await links(), ["json", "csv"].map((f) => `/v1/sessions/s_1/results?format=${f}`));
  await page.evaluate(() => window.desk.leave());
  assert.deepEqual(await links(), [null, null]);
});

test("metrics that are not there once are asked for again; those of others never", async (t) => {
  const page = await visit(t, chrome, hub.url, { allowed: [/502/, /403/] });
  const answers = [502, 200];
  let asked = 0;
  await page.route("**/metrics", (r) => r.fulfill({ status: answers[asked++] ?? 403, body: "" }));
  await page.clock.install();
  await page.reload();
  await page.evaluate(() => import("/page/desk.js").then((desk) => desk.begin("live", "Camera")));
  const refused = page.waitForResponse((r) => r.status() === 403);
  for (const _ of answers) await Promise.all([page.waitForResponse("**/metrics"), page.clock.runFor(1000)]);
  await Promise.all([refused, page.clock.runFor(1000)]);
  await page.evaluate(() => fetch("/health")); // what was answered before is known then
  const before = asked;
  await page.clock.runFor(5000);
  await page.evaluate(() => fetch("/health"));
  assert.equal(asked, before);
});

test("a running session's row stays the same one, and what is told of it is new", async (t) => {
  const page = await visit(t, chrome, hub.url);
  let inferred = 1;
  const session = (id) => ({ session: id, state: "running", mode: "file", media: { name: `${id}.mp4` }, accounting: { inferred } });
  await page.route("**/v1/sessions", (r) => r.fulfill({ json: { sessions: (inferred < 3 ? ["a", "b"] : ["b", "c"]).map(session) } }));
  await page.clock.install();
  await page.reload();
  const [a, b] = ["a", "b"].map((id) => page.locator("#sessions button").filter({ hasText: `${id}.mp4` }));
  await b.focus();
  await b.filter({ hasText: "1 frame" }).waitFor();
  const row = await b.elementHandle();
  for (inferred of [2, 3]) {
    await page.clock.runFor(3000);
    await b.filter({ hasText: `${inferred} frames` }).waitFor();
  }
  assert.ok(await row.evaluate((r) => r.isConnected && r === document.activeElement));
  assert.equal(await a.count(), 0);
  assert.match(await page.locator("#sessions").textContent(), /^c\.mp4.*b\.mp4/);
});
