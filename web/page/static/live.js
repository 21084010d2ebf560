// Camera or screen as pictures over the WebSocket. Every picture that is sent is held
// until its result is there, and then both are shown together: what is seen is what
// was understood, a few hundredths of a second ago.

import { cluster, header } from "./matroska.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./session.js").Session} Session */

const widest = 960; // pixels; the model sees fewer
const quality = 0.85;
const underWay = 4; // pictures sent and not answered; more would only grow old
const heldMost = 24;
const settleAfter = 1000; // ms after which a picture without an answer counts as dropped

/** @typedef {{time: number, picture: HTMLCanvasElement}} Held */

export class Live {
  #stream;
  #session;
  #stage;
  #video = document.createElement("video");
  /** Sent, without a result yet, in order. @type {Held[]} */
  #held = [];
  /** To be drawn into again. @type {HTMLCanvasElement[]} */
  #spare = [];
  #started = performance.now();
  #last = -1;
  #newStream = true; // the next picture needs a header before it
  #encoding = false;
  #answered = false;
  #closed = false;
  /** ms between pictures. */
  interval = 0;
  /** Pictures that were never sent, because the hub was busy. */
  skipped = 0;

  /** The person or the system ended it. */
  onended = () => {};
  /** Capture to drawn, in ms. @type {(ms: number) => void} */
  onlatency = () => {};

  /** @param {MediaStream} stream @param {Session} session @param {Stage} stage */
  constructor(stream, session, stage) {
    this.#stream = stream;
    this.#session = session;
    this.#stage = stage;
    const v = this.#video;
    v.muted = true;
    v.playsInline = true;
    v.srcObject = stream;
    v.play().catch(() => {});
    for (const track of stream.getVideoTracks()) track.addEventListener("ended", () => this.#end());
    this.#next();
  }

  #end() {
    if (this.#closed) return;
    this.#session.finish();
    this.close();
    this.onended();
  }

  close() {
    this.#closed = true;
    for (const track of this.#stream.getTracks()) track.stop();
    this.#video.srcObject = null;
    this.#held = this.#spare = [];
  }

  /** A connection begins another stream. */
  begin() {
    this.#newStream = true;
    this.#held = [];
  }

  #next() {
    this.#video.requestVideoFrameCallback(() => {
      if (this.#closed) return;
      this.#frame();
      this.#next();
    });
  }

  #frame() {
    const v = this.#video;
    if (!this.#answered) this.#stage.show(v, v.videoWidth, v.videoHeight, { time: performance.now() - this.#started, result: null });
    const now = Math.round(performance.now() - this.#started);
    if (!this.#session.connected || this.#encoding || now < this.#last + Math.max(1, this.interval * 0.9)) return;
    while (this.#held.length > 0 && (this.#held[0]?.time ?? now) < now - settleAfter) this.#release(this.#held.shift());
    if (this.#held.length >= underWay) {
      this.skipped++;
      return;
    }
    this.#last = now;
    this.#take(now).catch((e) => console.warn("a picture could not be sent:", e));
  }

  /** @param {number} time */
  async #take(time) {
    const v = this.#video;
    const k = Math.min(1, widest / v.videoWidth);
    const c = this.#spare.pop() ?? document.createElement("canvas");
    const width = Math.round(v.videoWidth * k);
    const height = Math.round(v.videoHeight * k);
    if (c.width !== width || c.height !== height) {
      c.width = width;
      c.height = height;
    }
    c.getContext("2d")?.drawImage(v, 0, 0, width, height);
    this.#encoding = true;
    try {
      const blob = await new Promise((/** @type {(b: Blob | null) => void} */ done) => c.toBlob(done, "image/jpeg", quality));
      if (!blob || this.#closed) return;
      const jpeg = new Uint8Array(await blob.arrayBuffer());
      this.#send(time, jpeg, c);
    } finally {
      this.#encoding = false;
    }
  }

  /** @param {number} time @param {Uint8Array} jpeg @param {HTMLCanvasElement} c */
  #send(time, jpeg, c) {
    if (this.#newStream && !this.#session.send(header(c.width, c.height))) return;
    this.#newStream = false; // a picture of another size says so itself
    if (!this.#session.send(cluster(time, jpeg))) return;
    this.#held.push({ time, picture: c });
    if (this.#held.length > heldMost) this.#release(this.#held.shift());
  }

  /** @param {Held | undefined} h */
  #release(h) {
    if (h && this.#spare.length < underWay) this.#spare.push(h.picture);
  }

  /** Draws the picture whose result has come, which settles those before it. @param {Result} r */
  result(r) {
    const time = Math.round(r.pts_ms);
    while (this.#held.length > 0) {
      const h = this.#held[0];
      if (!h || h.time > time) return;
      this.#held.shift();
      if (h.time === time) {
        this.#answered = true;
        this.#stage.show(h.picture, h.picture.width, h.picture.height, { time, result: r });
        this.onlatency(performance.now() - this.#started - time);
      }
      this.#release(h);
    }
  }
}

/**
 * Asks for the camera or the screen; the error says what a person can do.
 * @param {"camera" | "screen"} kind
 */
export async function capture(kind) {
  const devices = navigator.mediaDevices;
  if (!devices) throw new Error("Browsers give pages a camera or screen only over https or on localhost. Open this page as http://localhost or behind https.");
  try {
    if (kind === "screen") return await devices.getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: false });
    return await devices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: { ideal: "environment" } }, audio: false });
  } catch (e) {
    throw new Error(explain(kind, e instanceof DOMException ? e.name : String(e)), { cause: e });
  }
}

/** @param {"camera" | "screen"} kind @param {string} name */
function explain(kind, name) {
  const what = kind === "camera" ? "camera" : "screen";
  switch (name) {
    case "NotAllowedError":
      return kind === "camera"
        ? "The camera is blocked for this page. Allow it beside the address of the page, then press Camera again."
        : "Nothing is shared. Press Screen again and choose a window or screen.";
    case "NotFoundError":
      return `No ${what} was found. Connect one, then try again; or drop a file.`;
    case "NotReadableError":
      return `The ${what} is in use by another program. Close it there, then try again.`;
    default:
      return `The ${what} could not be opened (${name}).`;
  }
}
