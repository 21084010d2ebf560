// What can be looked at: files, pictures, camera and screen, and sessions that run.

import { call } from "./access.js";
import { capture } from "./capture.js";
import { say, sized } from "./dom.js";
import { attach, begin, leave, meters, now, page, panel, play, problem, results, setMode, showStatus, stage } from "./desk.js";
import { Encoded } from "./encoded.js";
import { Live } from "./live.js";
import { Pictures } from "./pictures.js";
import { Session } from "./session.js";
import { forget, keepFile, keptFile, saved } from "./store.js";
import { Track } from "./track.js";
import { Whip } from "./whip.js";

/** @param {File} file */
export async function openFile(file) {
  if (now.wantsFile && now.session instanceof Session) return openAgain(file, now.session);
  if (file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp)$/i.test(file.name)) return openPicture(file);
  begin("file", file.name);
  now.size = file.size;
  const s = new Session({ start: { media: { name: file.name, size: file.size }, mode: "file", sample: panel.sample, detect: { threshold: panel.threshold }, track: panel.track } });
  play(file);
  s.feed(file);
  attach(s);
  const kept = s.onmessage;
  s.onmessage = (m) => {
    kept(m);
    if (m.type !== "started") return;
    s.onmessage = kept;
    keepFile(m.session, file).catch(() => {}); // a reload then asks for it
  };
}

/** Goes on with the file that a reload lost, if it is the same. @param {File} file @param {Session} s */
async function openAgain(file, s) {
  const other = (/** @type {string} */ why) => problem(`${file.name} is another file than ${now.name}: ${why}. Drop the right one, or close this session.`);
  if (file.size !== now.size) return other(`it has ${sized(file.size)}, not ${sized(now.size)}`);
  problem(`Comparing ${file.name} with what the hub has.`, "note");
  let [same, why] = [/** @type {boolean | null} */ (null), ""];
  try {
    same = await s.refeed(file);
  } catch (e) {
    why = e instanceof Error ? e.message : String(e);
  }
  if (s !== now.session || !now.wantsFile) return;
  if (why) return problem(`${file.name} cannot be read: ${why}.`);
  if (same === null) return;
  if (!same) return other("its content differs");
  now.wantsFile = false;
  problem("");
  play(file);
  for (const r of results.list) now.player?.result(r);
  if (now.end) now.player?.complete();
  page.transport.hidden = false;
  showStatus();
}

/** @param {File} file */
async function openPicture(file) {
  begin("picture", file.name);
  const turn = now.turn;
  say(page.status, `${file.name}: looking.`);
  try {
    const [picture, answer] = await Promise.all([
      createImageBitmap(file).catch(() => null),
      // Everything that could be something is asked for; the slider then decides.
      call("/detect?threshold=0.05", { method: "POST", body: file }),
    ]);
    const body = await answer.json();
    if (turn !== now.turn) return picture?.close();
    if (!answer.ok) throw new Error(body.detail ?? body.title);
    /** @type {Result} */
    const r = { ...body, type: "detections", offset: 1, frame: 0, pts_ms: 0 };
    results.add(r);
    if (picture) stage.show(picture, r.width, r.height, { time: 0, result: r });
    else stage.showResult(r);
    picture?.close();
    page.json.href = URL.createObjectURL(new Blob([JSON.stringify(body, null, 2)], { type: "application/json" }));
    page.json.download = `${file.name}.json`;
    panel.touch();
    showStatus();
  } catch (e) {
    if (turn !== now.turn) return;
    problem(e instanceof Error ? e.message : String(e));
    say(page.status, "");
  }
}

const encoder = Encoded.codec();

/** @param {"camera" | "screen"} kind */
export async function openLive(kind) {
  problem("");
  const turn = now.turn;
  /** @type {MediaStream} */
  let stream;
  try {
    stream = await capture(kind);
  } catch (e) {
    if (turn === now.turn) problem(e instanceof Error ? e.message : String(e));
    return;
  }
  const codec = Track.possible ? null : await encoder; // WebRTC waits for nothing that it may not need
  if (turn !== now.turn) return stream.getTracks().forEach((track) => track.stop()); // something else was begun meanwhile
  begin("live", kind === "camera" ? "Camera" : "Screen");
  if (Track.possible) overWebRTC(stream);
  else overWebSocket(stream, codec);
}

/** @param {MediaStream} stream @param {import("./live.js").Way} way */
function show(stream, way) {
  const l = (now.live = new Live(stream, way, stage));
  l.interval = panel.fps ? 1000 / panel.fps : 0;
  l.onlatency = (ms) => meters.latency(ms);
  l.onended = () => stop();
  meters.skipped = () => l.skipped;
}

/** @typedef {import("./encoded.js").Codec} Codec */

/** @param {MediaStream} stream */
function overWebRTC(stream) {
  const s = new Whip({ name: now.name, threshold: String(panel.threshold), track: String(panel.track) });
  s.onway = (way) => now.live?.change(way);
  s.onfail = async (why) => {
    const codec = await encoder;
    if (s !== now.session) return;
    console.info(`over the WebSocket instead of WebRTC: ${why}`);
    overWebSocket(stream, codec);
  };
  show(stream, s.way);
  attach(s);
}

/** @param {MediaStream} stream @param {Codec | null} codec null: JPEGs */
function overWebSocket(stream, codec) {
  results.clear(); // what was found is another session's
  const s = new Session({ start: { media: { name: now.name, container: codec ? "ivf" : "jpeg" }, mode: "live", detect: { threshold: panel.threshold }, track: panel.track } });
  const way = codec ? new Encoded(s, codec) : new Pictures(s);
  if (way instanceof Encoded) {
    way.onfail = (why) => {
      if (s !== now.session) return;
      console.info(`JPEGs instead of video: ${why}`);
      s.cancel();
      s.leave();
      overWebSocket(stream, null);
    };
  }
  if (now.live) now.live.change(way);
  else show(stream, way);
  attach(s);
}

/** Ends what is sent and keeps what was found. */
export function stop() {
  if (now.session && !now.session.began) return leave();
  if (now.live && now.session) {
    if ("finish" in now.session) now.session.finish();
    now.live.close();
  } else now.session?.cancel();
  showStatus();
}

/** @param {string} id @param {string} what */
export function watch(id, what) {
  begin("watch", what);
  attach(new Session({ watch: id }));
}

/** Takes up what this tab did before it was reloaded. */
export async function takeUp() {
  const s = saved();
  if (!s) return;
  const turn = now.turn;
  const answer = await call(`/v1/sessions/${encodeURIComponent(s.session)}`);
  if (turn !== now.turn) return;
  if (!answer.ok) return answer.status === 404 ? forget() : undefined;
  /** @type {SessionInfo} */
  const info = await answer.json();
  const file = await keptFile(s.session).catch(() => null);
  if (turn !== now.turn) return;
  now.name = s.name;
  now.size = s.size;
  results.threshold = panel.threshold;
  setMode("file");
  const ended = info.state === "ended";
  const again = ended ? new Session({ watch: s.session }) : new Session({ resume: { session: s.session, token: s.token } });
  if (file) {
    play(file);
    if (!ended) again.feed(file);
  } else {
    page.transport.hidden = true;
    now.wantsFile = !ended && info.acked < s.size;
  }
  attach(again);
}

