// What becomes of a session whose connection, hub, file or person does something else
// than expected.

import assert from "node:assert/strict";
import { copyFileSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Hub, away, browser, holdUpload, media, says, sessionOf, visit, waitFor } from "./harness.mjs";

const hub = new Hub();
let chrome;

before(async () => {
  await Promise.all([browser().then((b) => (chrome = b)), hub.start()]); // what one of them leaves is closed below
});
after(async () => {
  await chrome?.close();
  await hub.end();
});

/** Lets what the page says first wait. */
async function holdStart(page) {
  const hold = { release: () => {}, asked: false };
  const free = new Promise((done) => (hold.release = done));
  await page.routeWebSocket(/v1\/session/, (ws) => {
    const server = ws.connectToServer();
    ws.onMessage(async (m) => {
      hold.asked = true;
      await free;
      server.send(m);
    });
  });
  return hold;
}

test("the hub is restarted in the middle: the page goes on by itself, and counts nothing twice", async (t) => {
  const page = await visit(t, chrome, hub.url, { allowed: away });
  const hold = await holdUpload(page, 1);
  await page.reload();
  await page.locator("#sample").selectOption("2");
  await page.setInputFiles("#file", media("counter.mp4"));
  const id = await sessionOf(page);
  await page.waitForFunction(() => document.getElementById("classes").children.length > 0);
  await hub.stop();
  await says(page, /restarting|trying again/);
  await page.locator("#badge", { hasText: "Reconnecting" }).waitFor();
  await hub.start();
  hold.release();
  await says(page, /done\. 20 frames/);
  assert.equal(await sessionOf(page), id);
  const found = (await hub.events(id)).flatMap((e) => e.detections ?? []).filter((d) => d.confidence >= 0.45);
  await says(page, new RegExp(` ${found.length} objects`)); // none twice
});

test("a line that takes nothing and is lost holds up nothing on the next one", async (t) => {
  const script = () => {
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
      constructor(...how) {
        super(...how);
        window.sockets.push(this);
      }
      get bufferedAmount() {
        return this === window.sockets[0] ? 8 << 20 : super.bufferedAmount;
      }
    };
  };
  const page = await visit(t, chrome, hub.url, { script });
  await page.setInputFiles("#file", media("plain.mp4"));
  const id = await sessionOf(page);
  await page.evaluate(() => window.sockets[0].close());
  await says(page, /done\. 20 frames/);
  assert.equal(await sessionOf(page), id);
});

test("a connection on which the hub is not heard any more is given up, and the session goes on", async (t) => {
  const page = await visit(t, chrome, hub.url);
  await page.clock.install();
  const asked = [];
  let connections = 0;
  await page.routeWebSocket(/v1\/session/, (ws) => {
    const server = ws.connectToServer();
    if (++connections > 1) return;
    ws.onMessage((m) => {
      if (typeof m === "string") asked.push(JSON.parse(m).type);
      server.send(m);
    });
    server.onMessage((m) => JSON.parse(m).type === "started" && ws.send(m));
    server.onClose(() => {}); // nor is it heard that the hub is done
  });
  await page.reload();
  await page.locator("#sample").selectOption("2");
  await page.setInputFiles("#file", media("counter.mp4"));
  const id = await sessionOf(page);
  await page.clock.fastForward(10_000); // it was heard
  await page.clock.fastForward(10_000);
  await page.clock.fastForward(10_000);
  await says(page, /done\. 20 frames/);
  assert.equal(await sessionOf(page), id);
  assert.equal(connections, 2);
  assert.ok(asked.includes("ping"), `${asked}`);
});

test("stopped while it connects, it goes back to the start, and nothing complains", async (t) => {
  const script = () => {
    delete window.RTCPeerConnection;
    window.WebSocket = class extends WebSocket {
      constructor(...how) {
        super(...how);
        window.closes = new Promise((done) => this.addEventListener("close", (e) => done(e.code)));
        queueMicrotask(() => document.getElementById("stop").click());
      }
    };
  };
  const page = await visit(t, chrome, hub.url, { permissions: ["camera"], script });
  await page.getByRole("button", { name: "Camera", exact: true }).click();
  await page.locator("#drop").waitFor({ state: "visible" });
  await page.waitForFunction(() => window.closes);
  assert.equal(await page.evaluate(() => window.closes), 1000);
});

test("what is set before the hub answers is in force", async (t) => {
  const page = await visit(t, chrome, hub.url);
  const hold = await holdStart(page);
  await page.reload();
  await page.setInputFiles("#file", media("plain.mp4"));
  await waitFor(async () => hold.asked);
  await page.locator("#sample").selectOption("1");
  await page.locator("#track").setChecked(false);
  hold.release();
  await says(page, /done/);
  const set = (await hub.events(await sessionOf(page))).filter((e) => e.type === "configured");
  assert.deepEqual(set.at(-1).sample, { fps: 1 });
});

test("what is set while there is no engine is said again when there is one", async (t) => {
  const page = await visit(t, chrome, hub.url);
  let [refused, pieces] = [false, 0];
  await page.routeWebSocket(/v1\/session/, (ws) => {
    const server = ws.connectToServer();
    ws.onMessage((m) => {
      const configures = typeof m === "string" && m.includes('"configure"');
      if (typeof m !== "string" && pieces++ > 0) return; // the session goes on meanwhile
      if (!configures || refused) return server.send(m);
      refused = true;
      ws.send(JSON.stringify({ type: "error", id: JSON.parse(m).id, code: "engine_unavailable", message: "not yet", temporary: true, fatal: false }));
      ws.send(JSON.stringify({ type: "state", state: "running" }));
    });
  });
  await page.reload();
  await page.setInputFiles("#file", media("people.mp4"));
  const id = await sessionOf(page);
  await page.locator("#sample").selectOption("1");
  await waitFor(async () => (await hub.events(id)).some((e) => e.type === "configured" && e.sample.fps === 1));
  assert.equal(await page.locator("#problem").isVisible(), false);
});

test("a session that is closed while the hub is away is cancelled when it is back", async (t) => {
  const page = await visit(t, chrome, hub.url, { allowed: away });
  await holdUpload(page, 1);
  await page.reload();
  await page.setInputFiles("#file", media("people.mp4"));
  const id = await sessionOf(page);
  await hub.stop();
  await page.locator("#badge", { hasText: "Reconnecting" }).waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.locator("#drop").waitFor();
  await hub.start();
  const last = await waitFor(async () => (await hub.events(id)).findLast((e) => e.type === "end"));
  assert.equal(last.outcome, "cancelled");
});

test("a file that is dropped again is sent where a page may not hash", async (t) => {
  const script = () => {
    window.indexedDB.open = () => { throw new Error("no files here"); };
    Object.defineProperty(crypto, "subtle", { value: undefined });
  };
  const page = await visit(t, chrome, hub.url, { script });
  const hold = await holdUpload(page, 1);
  await page.reload();
  await page.locator("#sample").selectOption("2");
  await page.setInputFiles("#file", media("people.mp4"));
  const id = await sessionOf(page);
  hold.sent = -1000;
  await page.reload();
  await says(page, /Drop people\.mp4 again/);
  await page.setInputFiles("#file", media("people.mp4"));
  await says(page, /done\. 20 frames/);
  assert.equal(await sessionOf(page), id);
});

test("a file that changes under the upload is asked for again, and the session goes on with the right one", async (t) => {
  const name = join(hub.dir, "people.mp4");
  copyFileSync(media("people.mp4"), name);
  const page = await visit(t, chrome, hub.url);
  const hold = await holdUpload(page, 1);
  await page.reload();
  await page.locator("#sample").selectOption("2");
  await page.evaluate(() => {
    const read = Blob.prototype.slice;
    Blob.prototype.slice = function (...range) { // the second piece is read when the file is another one
      return range[0] > 0 && !window.changed ? { arrayBuffer: () => window.change.then(() => read.apply(this, range).arrayBuffer()) } : read.apply(this, range);
    };
    window.change = new Promise((done) => (window.go = () => done((window.changed = true))));
  });
  await page.setInputFiles("#file", name);
  const id = await sessionOf(page);
  writeFileSync(name, "gone");
  utimesSync(name, 1, 1);
  await page.evaluate(() => window.go());
  await page.getByRole("alert").filter({ hasText: "cannot be read any more" }).waitFor();
  await page.waitForFunction(() => import("/page/desk.js").then(({ now }) => now.session.acked > 0));
  hold.sent = -1000;
  const changed = readFileSync(media("people.mp4"));
  changed[5000] ^= 1;
  await page.setInputFiles("#file", { name: "people.mp4", mimeType: "video/mp4", buffer: changed });
  await page.getByRole("alert").filter({ hasText: "its content differs" }).waitFor();
  await page.setInputFiles("#file", media("people.mp4"));
  await says(page, /done\. 20 frames/);
  assert.equal(await sessionOf(page), id);
});
