// What is on the page now: one session or picture, and what is told of it.

import { refused } from "./access.js";
import { byId, count, hide, say, sized } from "./dom.js";
import { HealthWatch } from "./health.js";
import { Meters } from "./meters.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Results } from "./results.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { forget, save } from "./store.js";
import { TimeLine } from "./timeline.js";
import { Whip } from "./whip.js";

/** @typedef {"idle" | "file" | "live" | "watch" | "picture"} Mode */

const liveResults = 2000; // results of a live session that are kept here; the hub keeps all

export const results = new Results();
export const stage = new Stage(byId("stage", HTMLCanvasElement), results);
export const panel = new Panel(results, stage);
export const line = new TimeLine(results);
export const meters = new Meters(byId("charts", HTMLElement));
export const health = new HealthWatch();

export const page = {
  player: byId("player", HTMLElement), frame: byId("frame", HTMLElement), drop: byId("drop", HTMLElement),
  controls: byId("controls", HTMLElement), transport: byId("transport", HTMLElement), status: byId("said", HTMLElement), counted: byId("counted", HTMLElement),
  problem: byId("problem", HTMLElement), badge: byId("badge", HTMLElement), legend: byId("legend", HTMLElement),
  upload: byId("upload", HTMLProgressElement), file: byId("file", HTMLInputElement), close: byId("close", HTMLButtonElement),
  stop: byId("stop", HTMLButtonElement), json: byId("json", HTMLAnchorElement), csv: byId("csv", HTMLAnchorElement),
};

/** What is on the page. */
export const now = {
  /** @type {Mode} */
  mode: "idle",
  name: "",
  /** Counts what was on the page: whoever waited for something asks whether it is still the same. */
  turn: 0,
  /** @type {Session | Whip | null} */
  session: null,
  /** @type {Player | null} */
  player: null,
  /** @type {import("./live.js").Live | null} */
  live: null,
  /** Of the file that is sent, in bytes. */
  size: 0,
  /** It waits for its file to be dropped again. */
  wantsFile: false,
  /** What the hub last said it is doing. */
  state: "",
  /** Of the connection, if it is not open: what stands on the picture, and below it. */
  link: { badge: "", text: "" },
  /** The hub will tell no more of the session. */
  over: false,
  /** @type {End | null} */
  end: null,
};

/** @param {Mode} m */
export function setMode(m) {
  now.mode = m;
  document.body.dataset.mode = m;
  page.drop.hidden = m !== "idle";
  page.frame.hidden = m === "idle";
  hide(page.controls, m === "idle");
  hide(page.transport, m !== "file");
  page.close.hidden = m === "idle";
  page.csv.hidden = m === "picture";
  meters.active = m !== "idle";
  results.byTime = m === "file";
}

/** Leaves what is on the page now. */
export function leave() {
  now.turn++;
  if (now.session instanceof Whip && !now.session.ended) now.session.finish();
  else if (now.session?.feeding && !now.session.ended) now.session.cancel();
  now.session?.leave();
  now.player?.close();
  now.live?.close();
  forget();
  now.session = null;
  now.player = null;
  now.live = null;
  now.end = null;
  now.wantsFile = false;
  now.size = 0;
  now.state = "";
  now.link = open;
  now.over = false;
  unlink();
  results.clear();
  panel.clear();
  line.reset();
  stage.clear();
  meters.reset();
  meters.skipped = () => 0;
  problem("");
  setMode("idle");
  showStatus();
}

/** There is nothing to be had yet. */
function unlink() {
  for (const link of [page.json, page.csv]) {
    if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
    link.removeAttribute("href");
  }
}

/** @param {string} text @param {"bad" | "note"} [level] */
export function problem(text, level = "bad") {
  page.problem.dataset.level = level;
  page.problem.hidden = text === "";
  say(page.problem, text);
}

/** @param {Mode} m @param {string} what */
export function begin(m, what) {
  leave();
  now.name = what;
  results.threshold = panel.threshold;
  setMode(m);
  page.player.focus({ preventScroll: true });
}

/** @param {Session | Whip} s */
export function attach(s) {
  now.session = s;
  s.onmessage = (m) => {
    if (s === now.session) take(m);
  };
  s.onlink = (l) => {
    if (s !== now.session) return;
    now.link = waits(l);
    if (l.state === "closed") over();
    if (l.state === "closed" && l.why) failed(l.code ?? "", l.why);
    showStatus();
  };
  if (s instanceof Session) s.onbytes = () => showUpload();
  s.open();
}

/** The hub will tell no more: nothing is sent to it any more. */
function over() {
  now.over = true;
  now.wantsFile = false;
  now.live?.close();
  now.live = null;
  showUpload();
}

const restarting = "The hub is restarting; the session goes on by itself.";

const open = { badge: "", text: "" };

/** @param {import("./session.js").Link} l */
function waits(l) {
  if (l.state === "connecting") return { badge: "Connecting", text: "Connecting." };
  if (l.state !== "waiting") return open;
  switch (l.wait) {
    case "goaway":
      return { badge: "Reconnecting", text: restarting };
    case "busy":
      return { badge: "Waiting", text: `Not now: ${l.why}. This page tries by itself.` };
    default:
      return { badge: "Reconnecting", text: refused() ? "This goes on when the hub knows who asks." : "The connection is lost; trying again." };
  }
}

/** @param {string} code @param {string} why */
function failed(code, why) {
  switch (code) {
    case "unsupported_media":
      problem(`This cannot be looked at: ${why}`);
      break;
    case "unknown_session":
      problem("The hub no longer knows this session: its results were kept for a while and are deleted.");
      forget();
      break;
    case "replaced":
      problem("Another page or program took over this session. What it finds can still be watched.");
      break;
    case "file_unreadable":
      now.wantsFile = true;
      problem(why);
      break;
    default:
      problem(why);
  }
}

/** @param {HubMessage} m */
function take(m) {
  switch (m.type) {
    case "started":
      started(m);
      break;
    case "detections":
      result(m);
      break;
    case "configured":
      panel.configured(m);
      break;
    case "state":
      now.state = m.state;
      break;
    case "progress":
      meters.accounting = m.accounting;
      break;
    case "end":
      ended(m);
      break;
    case "error":
      if (!m.temporary || (!m.fatal && !m.id)) failed(m.code, m.message); // else it is tried again
      break;
  }
  if (m.type !== "detections") showStatus();
}

/** @param {Started} m */
function started(m) {
  if (!m.recovered && results.total > 0) { // all of it comes again
    results.clear();
    line.show();
  }
  page.json.href = `/v1/sessions/${m.session}/results?format=json`;
  page.csv.href = `/v1/sessions/${m.session}/results?format=csv`;
  page.json.download = `${now.name || m.session}.json`;
  page.csv.download = `${now.name || m.session}.csv`;
  if (m.token && now.session && now.mode === "file") save({ session: m.session, token: m.token, name: now.name, size: now.size, kind: "file" });
  showUpload();
}

/** @param {Result} r */
function result(r) {
  results.add(r);
  meters.result(r);
  panel.touch();
  if (now.mode !== "file") results.keep(liveResults);
  if (now.live) now.live.result(r);
  else if (now.player) {
    now.player.result(r);
    if (!stage.hasPicture) stage.showResult(r);
  } else stage.showResult(r);
}

/** @param {End} e */
function ended(e) {
  now.end = e;
  now.wantsFile = false;
  meters.accounting = e.accounting;
  now.player?.complete();
  if (now.live) {
    now.live.close();
    now.live = null;
  }
  line.show();
  if (e.outcome === "failed") failed(e.code ?? "", e.message ?? `The session failed: ${e.code}.`);
}

const words = /** @type {Record<string, string>} */ ({
  waiting_for_engine: "Waiting for the engine.",
  waiting_for_index: "The file's index is at its end, so it can be looked at when all of it is there.",
  waiting_for_capacity: "Waiting for others to finish.",
  waiting_for_bytes: "Waiting for more of the file.",
  lingering: "Waiting for its sender to come back.",
});

export function showStatus() {
  const running = now.session !== null && now.end === null && !now.over;
  hide(page.stop, !(running && now.session?.feeding));
  const text = statusText();
  say(page.status, text ?? `${now.name}: looking,`);
  say(page.counted, text === null ? ` ${count(results.total, "frame")} so far.` : ""); // grows, so it is not read out
  const badge = running ? (now.mode === "live" ? "Live" : now.mode === "watch" ? "Watching" : "Looking") : "";
  page.badge.hidden = badge === "" || now.mode === "picture";
  page.badge.dataset.kind = now.link.badge ? "away" : now.mode;
  say(page.badge, now.link.badge || badge);
}

/** null: it is looked at. */
function statusText() {
  if (now.mode === "idle" || now.mode === "picture") return now.mode === "idle" ? "" : `${now.name}: ${count(results.visible, "object")}.`;
  if (now.wantsFile) return `Drop ${now.name} again, or choose it with File, to send the rest. What was sent is safe.`;
  if (now.end) {
    const found = `${count(now.end.accounting.inferred, "frame")}, ${count(results.objects, "object")}`;
    return now.end.outcome === "done" ? `${now.name}: done. ${found}.` : now.end.outcome === "cancelled" ? `${now.name}: stopped. ${found}.` : `${now.name}: ended early. ${found}.`;
  }
  if (now.over) return `${now.name}: ${count(results.total, "frame")} so far.`;
  if (now.link.text) return now.link.text;
  if (health.health?.draining) return restarting;
  if (now.state === "running") return null;
  return `${now.name}: ${(words[now.state] ?? "Connecting.").toLowerCase()}`;
}

export function showUpload() {
  const shows = now.mode === "file" && now.size > 0 && now.end === null && !now.over && now.session !== null && now.session.acked < now.size;
  page.upload.hidden = !shows;
  if (!shows || !now.session) return;
  page.upload.value = (100 * now.session.acked) / now.size;
  page.upload.setAttribute("aria-valuetext", `${sized(now.session.acked)} of ${sized(now.size)}`);
  page.upload.title = `${sized(now.session.acked)} of ${sized(now.size)} are safe at the hub`;
}

/** @param {Blob} file */
export function play(file) {
  now.player?.close();
  now.player = new Player(stage, results);
  line.player = now.player;
  now.player.onchange = () => line.show();
  now.player.onerror = (text) => {
    if (page.problem.hidden) problem(text, "note"); // the hub may have said why already
    now.player?.close();
    now.player = line.player = null;
    hide(page.transport, true);
    const last = results.last;
    if (last) stage.showResult(last);
  };
  now.player.open(file);
}

