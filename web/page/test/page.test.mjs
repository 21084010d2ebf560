// The page in a real browser, against the real program.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Hub, away, axe, browser, counterReader, holdUpload, media, says, sessionOf, visit, waitFor } from "./harness.mjs";

const hub = new Hub();
let chrome;

before(async () => {
  await Promise.all([browser().then((b) => (chrome = b)), hub.start()]); // what one of them leaves is closed below
});
after(async () => {
  await chrome?.close();
  await hub.end();
});

/** A browser says so of reading pixels, which only these tests do. */
const readback = /willReadFrequently/;

/** Pictures for a person to look at. */
async function shoot(page, name) {
  if (process.env.DETECTIONS_SHOTS) await page.screenshot({ path: `${process.env.DETECTIONS_SHOTS}/${name}.png` });
}

test("a dropped file is looked at while it is sent, and every picture has the boxes that belong to it", async (t) => {
  const page = await visit(t, chrome, hub.url, { allowed: [readback] });
  await page.evaluate(counterReader);
  await page.evaluate(() => window.watchCounter(768));
  await page.locator("#boxes").uncheck(); // they may lie over the counter
  await page.setInputFiles("#file", media("counter.mp4"));
  await page.waitForFunction(() => window.samples.length >= 12);
  for (const [key, n] of [[",", 3], [".", 2], ["ArrowRight", 1], [",", 2], ["ArrowLeft", 1], [".", 3]]) {
    for (let i = 0; i < n; i++) {
      const seen = await page.evaluate(() => window.samples.length);
      await page.locator("#player").press(key);
      await page.waitForFunction((s) => window.samples.length > s, seen);
    }
  }
  const samples = await page.evaluate(() => window.samples);
  assert.deepEqual(samples.filter((s) => s.frame !== s.counter), [], `of ${samples.length} samples`);
  assert.ok(new Set(samples.map((s) => s.frame)).size >= 15, JSON.stringify(samples));
  await says(page, /done\. 100 frames, [1-9]\d\d objects/);

  // The boxes are in the screenshot where the hub says they are.
  await page.locator("#boxes").check();
  const { missing, persons } = await page.evaluate(boxesOnStage, await hub.events(await sessionOf(page)));
  assert.deepEqual(missing, []);
  assert.ok(persons >= 2);
  await page.locator("#objects tr").filter({ hasText: /^person #\d+\d\d %/ }).first().waitFor(); // it is followed
  await shoot(page, "file");
});

test("so it is where a file's time begins late and pictures are not stored in their order", async (t) => {
  const page = await visit(t, chrome, hub.url, { allowed: [readback] });
  await page.evaluate(counterReader);
  await page.evaluate(() => window.watchCounter(768));
  await page.locator("#boxes").uncheck();
  await page.setInputFiles("#file", media("counter-late.mkv"));
  await page.waitForFunction(() => window.samples.length >= 8);
  const samples = await page.evaluate(() => window.samples);
  assert.deepEqual(samples.filter((s) => s.frame !== s.counter || s.pts < 5000), [], `of ${samples.length} samples`);
});

/** In the page: the detections of the frame that is shown whose edges are not there in their colour. */
async function boxesOnStage(events) {
  const { colour } = await import("/page/draw.js");
  const stage = document.getElementById("stage");
  const shown = events.find((e) => e.type === "detections" && e.frame === Number(stage.dataset.frame));
  const c = stage.getContext("2d");
  const k = stage.width / shown.width;
  const inks = shown.detections.map((d) => colour(d.class).match(/\w\w/g).map((h) => parseInt(h, 16))); // another may lie above
  const near = (x, y) => {
    const d = c.getImageData(Math.round(x) - 1, Math.round(y) - 1, 3, 3).data;
    const is = (i, [r, g, b]) => Math.abs(d[i] - r) + Math.abs(d[i + 1] - g) + Math.abs(d[i + 2] - b) < 40;
    for (let i = 0; i < d.length; i += 4) if (inks.some((ink) => is(i, ink))) return true;
    return false;
  };
  const missing = shown.detections.filter((d) => {
    const [x, y, w, h] = d.box.map((v) => v * k);
    const edge = [0.2, 0.35, 0.5, 0.65, 0.8].flatMap((p) => [[x + w * p, y], [x + w * p, y + h], [x, y + h * p], [x + w, y + h * p]]);
    const inside = edge.filter(([a, b]) => a > 1 && b > 1 && a < stage.width - 2 && b < stage.height - 2);
    return inside.filter(([a, b]) => near(a, b)).length < inside.length / 2;
  });
  return { missing, persons: shown.detections.filter((d) => d.label === "person").length };
}

test("a reload in the middle goes on with the same session, and sends what was missing", async (t) => {
  const page = await visit(t, chrome, hub.url);
  const hold = await holdUpload(page, 2);
  await page.reload();
  await page.setInputFiles("#file", media("people.mp4"));
  const id = await sessionOf(page);
  await page.waitForFunction(() => document.getElementById("classes").children.length > 0);
  assert.ok(hold.sent >= 2);
  hold.sent = -1000; // from now on everything passes
  await page.reload();
  await says(page, /people\.mp4: done\. 100 frames/);
  assert.equal(await sessionOf(page), id);
  const events = await hub.events(id);
  assert.equal(events.at(-1).bytes, 849_556);
  assert.deepEqual(events.filter((e) => e.type === "detections").map((e) => e.frame), [...Array(100).keys()]);
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
});

test("where a browser keeps no files, the file is asked for again, and another one is noticed", async (t) => {
  const page = await visit(t, chrome, hub.url, { script: () => { window.indexedDB.open = () => { throw new Error("no files here"); }; } });
  const hold = await holdUpload(page, 2);
  await page.reload();
  await page.locator("#sample").selectOption("2");
  await page.setInputFiles("#file", media("people.mp4"));
  const id = await sessionOf(page);
  await page.waitForFunction(() => document.getElementById("classes").children.length > 0);
  hold.sent = -1000;
  await page.reload();
  await says(page, /Drop people\.mp4 again/);
  await page.setInputFiles("#file", media("plain.mp4"));
  await page.getByRole("alert").filter({ hasText: "another file than people.mp4" }).waitFor();
  const changed = readFileSync(media("people.mp4"));
  changed[5000] ^= 1;
  await page.setInputFiles("#file", { name: "people.mp4", mimeType: "video/mp4", buffer: changed });
  await page.getByRole("alert").filter({ hasText: "its content differs" }).waitFor();
  await page.setInputFiles("#file", media("people.mp4"));
  await says(page, /done\. 20 frames/);
  assert.equal((await hub.events(id)).at(-1).outcome, "done");
});

test("a session that runs is watched, stopped by its own page, and downloaded", async (t) => {
  const own = await visit(t, chrome, hub.url);
  const hold = await holdUpload(own, 1);
  await own.reload();
  await own.locator("#sample").selectOption("2");
  await own.setInputFiles("#file", media("people.mp4"));
  const id = await sessionOf(own);
  const page = await visit(t, chrome, hub.url);
  await page.locator("#sessions").getByRole("button", { name: "people.mp4" }).click();
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  assert.equal(await sessionOf(page), id);
  await own.getByRole("button", { name: "Stop" }).click();
  await says(own, /stopped/);
  await says(page, /stopped/);
  hold.release();
  for (const [name, begins] of [["CSV", /^frame,pts_ms,class/], ["JSON", /^\{"events":\[/], ["Snapshot", /^.PNG/]]) {
    const [file] = await Promise.all([page.waitForEvent("download"), page.locator(".row-of-buttons").getByText(name).click()]);
    assert.match(readFileSync(await file.path(), "latin1").slice(0, 40), begins);
  }
});

const health = { status: "healthy", version: "test", sessions: 0, draining: false };

/** The page asks how the hub is when it is looked at again. @param {import("playwright-core").Page} page */
const lookAgain = (page) => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));

test("an answer that is late does not undo what a later one told", async (t) => {
  const page = await visit(t, chrome, hub.url);
  const asked = [];
  await page.route("**/health", (r) => (asked.push(r) > 1 ? r.fulfill({ json: { ...health, aiAvailability: "DOWNLOADING" } }) : undefined));
  await lookAgain(page);
  while (asked.length === 0) await page.waitForTimeout(5);
  await lookAgain(page);
  await page.locator("#banner").filter({ hasText: /being downloaded/ }).waitFor();
  await asked[0].fulfill({ json: { ...health, aiAvailability: "ENABLED" } });
  await page.waitForTimeout(100); // for what must not come
  assert.match(await page.locator("#banner").textContent(), /being downloaded/);
});

test("the banner explains in words what the engine is doing", async (t) => {
  const page = await visit(t, chrome, hub.url);
  for (const [of, words] of [
    [{ aiAvailability: "DOWNLOADING", percent: 41.6 }, /being downloaded\..* 42 % done/],
    [{ aiAvailability: "CONVERTING", percent: 7 }, /prepared for this machine\..* 7 % done/],
    [{ aiAvailability: "None" }, /No engine is loaded yet/],
    [{ aiAvailability: "ERROR", reason: "the file is not a model" }, /cannot work: the file is not a model/],
    [{ aiAvailability: "ENABLED", provider: "cuda", model: "m", upgrade: { to: "tensorrt", percent: 3 } }, /faster engine \(TensorRT\) is being prepared/],
    [{ aiAvailability: "ENABLED", draining: true }, /being restarted/],
  ]) {
    await page.unrouteAll();
    await page.route("**/health", (r) => r.fulfill({ json: { ...health, ...of } }));
    await lookAgain(page);
    await page.locator("#banner").filter({ hasText: words }).waitFor();
    assert.equal(await page.locator("#banner progress").isVisible(), of.percent !== undefined || of.upgrade !== undefined);
    assert.doesNotMatch(await page.locator("#banner [role=status]").textContent(), /%/); // it would be read out at every step
  }
  await shoot(page, "banner");
});

test("a picture is looked at, and the slider filters at once", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await page.setInputFiles("#file", media("frame.jpg"));
  await says(page, /frame\.jpg: [5-9] objects/);
  assert.match(await page.locator("#objects tr").first().textContent(), /person[5-9]\d %/);
  await page.locator("#threshold").fill("95");
  await says(page, /frame\.jpg: 0 objects/);
  await shoot(page, "picture");
});

test("as JPEGs, too, the camera's pictures have the boxes that the hub found in exactly them", async (t) => {
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], allowed: [readback], script: () => { delete window.RTCPeerConnection; delete window.VideoEncoder; } });
  /** What went to the hub, by time. @type {Map<number, Buffer>} */
  const sent = new Map();
  page.on("websocket", (ws) => {
    let time;
    ws.on("framesent", ({ payload }) => {
      if (typeof payload === "string") time = JSON.parse(payload).client_ts;
      else sent.set(time, payload);
    });
  });
  await page.evaluate(counterReader);
  await page.evaluate(() => window.watchCounter(768));
  await page.locator("#boxes").uncheck();
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.waitForFunction(() => window.samples.length >= 20);
  await page.locator("#boxes").check();
  await shoot(page, "camera");
  const id = await sessionOf(page);
  // The slider acts on the running session.
  await page.locator("#threshold").fill("60");
  await waitFor(async () => (await hub.events(id)).some((e) => e.type === "configured" && e.detect.threshold === 0.6));
  await page.getByRole("button", { name: "Stop" }).click();
  await says(page, /Camera: done/);
  const samples = (await page.evaluate(() => window.samples)).slice(0, 20);
  const events = new Map((await hub.events(id)).filter((e) => e.type === "detections").map((e) => [e.frame, e]));
  const pictureOf = (s) => sent.get(events.get(s.frame).client_ts);
  const truth = await page.evaluate(async (jpegs) => {
    const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const all = [];
    for (const b of jpegs) {
      const bytes = Uint8Array.from(atob(b), (x) => x.charCodeAt(0));
      const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
      c.canvas.width = picture.width;
      c.canvas.height = picture.height;
      c.drawImage(picture, 0, 0);
      all.push(window.readCounter(c, picture.width / 768));
    }
    return all;
  }, samples.map((s) => pictureOf(s).toString("base64")));
  assert.deepEqual(samples.map((s) => s.counter), truth);
  assert.ok(truth.every((n) => n !== null) && new Set(truth).size >= 5, `${truth}`);

  // The hub finds in this very picture what the session found.
  const last = samples.at(-1); // before the slider was moved
  const answer = await (await fetch(`${hub.url}/detect`, { method: "POST", body: pictureOf(last) })).json();
  assert.deepEqual(events.get(last.frame).detections.map(({ track, ...d }) => d), answer.detections);
  assert.ok(answer.detections.some((d) => d.label === "person"));
});

for (const way of ["WebRTC", "the WebSocket"]) test(`a hub without room says so, and the camera begins as soon as there is some, over ${way}`, async (t) => {
  const small = new Hub();
  t.after(() => small.end());
  await small.start("--max-sessions", "1", "--rtc-listen", "127.0.0.1:0");
  const script = way === "WebRTC" ? undefined : () => delete window.RTCPeerConnection;
  const camera = async () => {
    const page = await visit(t, chrome, small.url, { permissions: ["camera"], script, allowed: away }); // the hub ends before its pages
    await page.getByRole("button", { name: "Camera", exact: true }).click();
    return page;
  };
  const first = await camera();
  const shows = (page) => page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  await shows(first);
  const [second, third] = [await camera(), await camera()];
  await says(second, /^Not now: .*limit.*tries by itself/);
  await second.locator("#badge", { hasText: "Waiting" }).waitFor();
  await says(third, /^Not now/);
  await third.getByRole("button", { name: "Stop" }).click();
  await third.locator("#drop").waitFor();
  await first.getByRole("button", { name: "Stop" }).click();
  await says(first, /Camera: done/);
  await shows(second);
  const info = await (await fetch(`${small.url}/v1/sessions/${await sessionOf(second)}`)).json();
  assert.equal(info.media.container, way === "WebRTC" ? "units" : "ivf");
});

test("a limit of the client is named, and its camera is off again", async (t) => {
  const small = new Hub();
  t.after(() => small.end());
  await small.start("--max-per-client", "1", "--rtc-listen", "127.0.0.1:0");
  const script = () => {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (o) => (window.captured = await ask(o));
  };
  const camera = async () => {
    const page = await visit(t, chrome, small.url, { permissions: ["camera"], script, allowed: [/429/, ...away] });
    await page.getByRole("button", { name: "Camera", exact: true }).click();
    return page;
  };
  const first = await camera();
  await first.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  const second = await camera();
  await second.locator("#problem").filter({ hasText: /limit for one client/ }).waitFor();
  assert.equal(await second.evaluate(() => window.captured.getVideoTracks()[0].readyState), "ended");
  assert.equal(await second.getByRole("button", { name: "Stop" }).isVisible(), false);
});

test("what cannot be looked at, and a camera that is denied, are explained", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await page.setInputFiles("#file", media("text.txt"));
  await page.getByRole("alert").filter({ hasText: "This cannot be looked at" }).waitFor();
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "The camera is blocked for this page" }).waitFor();
});

test("a hub that wants to know who asks is given a token", async (t) => {
  const guarded = new Hub();
  const key = guarded.key();
  await guarded.start("--auth", "required", "--api-keys", join(guarded.dir, "keys"));
  const page = await visit(t, chrome, guarded.url, { allowed: [/401/, /403/] });
  t.after(() => guarded.end()); // behind the page, which asks it for metrics until it is closed
  const field = page.getByLabel("This hub wants to know who asks");
  await field.fill("dk_WRONG");
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("alert").filter({ hasText: "This token is not accepted." }).waitFor();
  await judge(page, "token");
  await shoot(page, "token");
  await field.fill(key);
  await field.press("Enter");
  await field.waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => document.activeElement.id), "player");
  await page.setInputFiles("#file", media("plain.mp4"));
  await says(page, /done\. 20 frames/);
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByText("CSV").click()]);
  assert.match(readFileSync(await file.path(), "utf8"), /^frame,pts_ms/);
  await page.route("**/results?*", (r) => r.fulfill({ status: 403, json: { detail: "the key was taken back" } }));
  await page.getByText("CSV").click();
  await page.getByRole("alert").filter({ hasText: "not downloaded: the key was taken back" }).waitFor();
});

test("it is used with the keyboard alone", async (t) => {
  const page = await visit(t, chrome, hub.url);
  page.on("filechooser", (chooser) => chooser.setFiles(media("plain.mp4")));
  const focus = () => page.evaluate(() => document.activeElement.id);
  const tabTo = async (id) => {
    for (let i = 0; i < 40 && (await focus()) !== id; i++) await page.keyboard.press("Tab");
    assert.equal(await focus(), id);
  };
  await tabTo("choose");
  await page.keyboard.press("Enter");
  await says(page, /done/);
  assert.equal(await focus(), "player");
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Play" }).waitFor();
  await tabTo("forth");
  await page.keyboard.press("Enter");
  await tabTo("threshold");
  for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowRight");
  assert.equal(await page.locator("#threshold-value").textContent(), "50 %");
  await tabTo("track");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.label), "person");
  await page.keyboard.press("Space");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-pressed")), "false");
});

/** Fails on what axe complains about. */
async function judge(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(violations.map((v) => `${what}: ${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), []);
}

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing to complain about, ${colorScheme}`, async (t) => {
    const page = await visit(t, chrome, hub.url, { colorScheme });
    await judge(page, "empty");
    await shoot(page, `empty-${colorScheme}`);
    await page.setInputFiles("#file", media("plain.mp4"));
    await says(page, /done/);
    await page.locator("#classes button").first().click();
    await judge(page, "file");
    await shoot(page, `file-${colorScheme}`);
    await page.getByRole("link", { name: "Clients" }).first().click();
    await page.waitForURL(/clients/);
    await judge(page, "clients");
    await shoot(page, `clients-${colorScheme}`);
    await page.getByRole("link", { name: "API" }).first().click();
    await page.waitForURL(/reference/);
    await judge(page, "reference");
    await shoot(page, `reference-${colorScheme}`);
  });
}

test("it fits a phone", async (t) => {
  const page = await visit(t, chrome, hub.url, { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
  assert.ok(await fits());
  await page.setInputFiles("#file", media("plain.mp4"));
  await page.waitForFunction(() => document.getElementById("stage").dataset.frame !== undefined);
  assert.ok(await fits());
  await shoot(page, "phone");
  await page.goto(`${hub.url}/reference`);
  assert.ok(await fits());
});
