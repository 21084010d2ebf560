// Camera or screen. Every picture that is sent is held until its result is there, and
// then both are shown together: what is seen is what was understood, a few hundredths
// of a second ago. How pictures go to the hub is a Way's business.

/** @typedef {import("./stage.js").Stage} Stage */

/**
 * A way of pictures to the hub. It gives each one a key, by which its result is known.
 * @typedef {object} Way
 * @property {number} widest pixels; wider pictures are made smaller
 * @property {() => boolean} free whether another picture can be sent now
 * @property {(picture: HTMLCanvasElement, time: number) => Promise<number | null>} send its key; null: it was not sent
 * @property {(r: Result) => number | undefined} key the key of the picture that a result belongs to
 * @property {() => void} close
 */

const heldMost = 30;
const spareMost = 6;
const earlyMost = 8;

/** @typedef {{key: number, time: number, picture: HTMLCanvasElement}} Held */

export class Live {
  #stream;
  #way;
  #stage;
  #video = document.createElement("video");
  /** Sent, without a result yet, in order. @type {Held[]} */
  #held = [];
  /** Results that came before it was known which picture is theirs. @type {Result[]} */
  #early = [];
  /** To be drawn into again. @type {HTMLCanvasElement[]} */
  #spare = [];
  #started = performance.now();
  #last = -1;
  #answered = false;
  #closed = false;
  /** ms between pictures; 0: as many as there are. */
  interval = 0;
  /** Pictures that were not sent, because those before them were under way. */
  skipped = 0;

  /** The person or the system ended it. */
  onended = () => {};
  /** Capture to drawn, in ms. @type {(ms: number) => void} */
  onlatency = () => {};

  /** @param {MediaStream} stream @param {Way} way @param {Stage} stage */
  constructor(stream, way, stage) {
    this.#stream = stream;
    this.#way = way;
    this.#stage = stage;
    const v = this.#video;
    v.muted = true;
    v.playsInline = true;
    v.srcObject = stream;
    v.play().catch(() => {});
    for (const track of stream.getVideoTracks()) {
      track.addEventListener("ended", () => {
        if (!this.#closed) this.onended();
      });
    }
    this.#next();
  }

  /** Sends the pictures another way from now on. @param {Way} way */
  change(way) {
    this.#way.close();
    this.#way = way;
    this.#held = [];
    this.#early = [];
  }

  close() {
    this.#closed = true;
    this.#way.close();
    for (const track of this.#stream.getTracks()) track.stop();
    this.#video.srcObject = null;
    this.#held = [];
    this.#spare = [];
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
    const now = Math.round(performance.now() - this.#started);
    if (!this.#answered) this.#stage.show(v, v.videoWidth, v.videoHeight, { time: now, result: null });
    if (now < this.#last + Math.max(1, this.interval * 0.9)) return;
    if (!this.#way.free()) {
      this.skipped++;
      return;
    }
    this.#last = now;
    this.#send(now).catch((e) => console.warn("a picture could not be sent:", e));
  }

  /** @param {number} time */
  async #send(time) {
    const v = this.#video;
    const way = this.#way;
    const k = Math.min(1, way.widest / v.videoWidth);
    const c = this.#spare.pop() ?? document.createElement("canvas");
    // Even numbers: encoders halve them.
    const width = 2 * Math.round((v.videoWidth * k) / 2);
    const height = 2 * Math.round((v.videoHeight * k) / 2);
    if (c.width !== width || c.height !== height) {
      c.width = width;
      c.height = height;
    }
    c.getContext("2d")?.drawImage(v, 0, 0, width, height);
    const key = await way.send(c, time);
    if (key === null || way !== this.#way || this.#closed) return this.#free(c);
    this.#held.push({ key, time, picture: c });
    if (this.#held.length > heldMost) this.#free(this.#held.shift()?.picture);
    const early = this.#early.find((r) => way.key(r) === key);
    if (early) this.result(early);
  }

  /** @param {HTMLCanvasElement} [c] */
  #free(c) {
    if (c && this.#spare.length < spareMost) this.#spare.push(c);
  }

  /** Draws the picture whose result has come; those before it will have none. @param {Result} r */
  result(r) {
    const key = this.#way.key(r);
    const at = this.#held.findIndex((h) => h.key === key);
    const found = this.#held[at];
    if (!found) {
      this.#early.push(r);
      if (this.#early.length > earlyMost) this.#early.shift();
      return;
    }
    for (const h of this.#held.splice(0, at + 1)) if (h !== found) this.#free(h.picture);
    this.#early = [];
    this.#answered = true;
    this.#stage.show(found.picture, found.picture.width, found.picture.height, { time: found.time, result: r });
    this.#free(found.picture);
    this.onlatency(performance.now() - this.#started - found.time);
  }
}
