// Plays a file that lies on this machine while its detections come from the hub.
//
// A picture and its time are taken from the video element as one thing, a VideoFrame,
// so the boxes drawn are those of exactly that picture whatever the screen does. Where
// a browser has none, requestVideoFrameCallback's mediaTime is used.

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./results.js").Results} Results */

const ahead = 0.5; // s of results that must be there before waiting ends
const loads = 1000; // ms that a browser has to load the first picture by itself
const heldMost = 2000; // ms that boxes are held: frames are looked at at least once a second

export class Player {
  #video = document.createElement("video");
  #stage;
  #results;
  #url = "";
  /**
   * Media time of the first picture, in ms; the hub's first result has the same picture.
   * Nothing plays and nothing is sought before it is known: another would be taken for it.
   */
  #first = Number.NaN;
  /** Time of the picture on the stage. */
  #shown = Number.NaN;
  #wants = false; // the person pressed play
  #complete = false; // no more results come
  #closed = false;

  /** Something changed that the controls show. */
  onchange = () => {};
  /** @type {(message: string) => void} */
  onerror = () => {};

  /** @param {Stage} stage @param {Results} results */
  constructor(stage, results) {
    this.#stage = stage;
    this.#results = results;
    const v = this.#video;
    v.muted = true;
    v.playsInline = true;
    v.preload = "auto";
    v.addEventListener("ended", () => {
      this.#wants = false;
      this.onchange();
    });
    v.addEventListener("timeupdate", () => this.#follow());
    v.addEventListener("loadedmetadata", () => this.onchange());
    v.addEventListener("loadeddata", () => this.#loaded());
    v.addEventListener("suspend", () => setTimeout(() => this.#urge(), loads));
    v.addEventListener("error", () => this.#unplayable());
  }

  #unplayable() {
    if (!this.#closed) this.onerror("This browser cannot show this file; the hub can still look at it. Boxes are drawn without the picture.");
  }

  /** The first picture is there. A tab that nobody looks at is told so in this way only. */
  #loaded() {
    if (this.#closed) return;
    if (this.#video.videoWidth === 0) this.#unplayable(); // it plays the sound alone
    else this.#frame(Number.NaN);
  }

  /** Some browsers load no picture of what does not play. It plays, and goes back to the first one. */
  #urge() {
    const v = this.#video;
    if (this.#closed || !Number.isNaN(this.#first) || v.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const back = () => {
      v.pause();
      v.currentTime = 0;
    };
    v.play().then(back).catch(() => {});
  }

  /** @param {Blob} file */
  open(file) {
    this.#url = URL.createObjectURL(file);
    this.#video.src = this.#url;
    this.#wants = true;
    this.#next();
    this.onchange();
  }

  close() {
    this.#closed = true;
    this.#video.pause();
    this.#video.removeAttribute("src");
    this.#video.load();
    URL.revokeObjectURL(this.#url);
  }

  #next() {
    this.#video.requestVideoFrameCallback((_, m) => {
      if (this.#closed) return;
      this.#frame(m.mediaTime * 1000);
      this.#next();
    });
  }

  /** @param {number} mediaTime in ms; NaN: not known */
  #frame(mediaTime) {
    const v = this.#video;
    let picture = null;
    try {
      picture = new VideoFrame(v);
    } catch {
      // No WebCodecs here.
    }
    const time = picture ? picture.timestamp / 1000 : mediaTime;
    if (Number.isNaN(this.#first) && v.paused && !v.seeking) this.#first = time;
    if (!Number.isNaN(time - this.#first)) this.#show(picture, time);
    picture?.close();
    this.#follow();
    this.onchange();
  }

  /** @param {VideoFrame | null} picture @param {number} time */
  #show(picture, time) {
    const v = this.#video;
    this.#shown = time;
    const pts = this.#pts(time);
    this.#stage.show(picture ?? v, v.videoWidth, v.videoHeight, { time, result: this.#results.at(pts), held: this.#held(pts) });
  }

  /** What was found last, if it was not long ago. @param {number} pts */
  #held(pts) {
    const r = this.#results.before(pts);
    return r && pts - r.pts_ms <= heldMost ? r : null;
  }

  /** The hub's time of a picture: the container's own, which may begin anywhere. @param {number} time */
  #pts(time) {
    return time - this.#first + (this.#results.first?.pts_ms ?? 0);
  }

  /** A result came: it may be the one that the stage waits for. @param {Found} r */
  result(r) {
    if (!Number.isNaN(this.#shown) && this.#stage.result === null && Math.abs(r.pts_ms - this.#pts(this.#shown)) < 1.5) this.#stage.complete(r);
    this.#follow();
  }

  /** No more results come. */
  complete() {
    this.#complete = true;
    this.#follow();
  }

  /** Up to where there are results, in s of the video. */
  get known() {
    return this.#complete ? this.duration : this.#told;
  }

  /** Of a file that does not say how long it is: up to where it was looked at. */
  get duration() {
    return Number.isFinite(this.#video.duration) ? this.#video.duration : this.#told;
  }

  get #told() {
    const { first, last } = this.#results;
    return first && last ? (last.pts_ms - first.pts_ms) / 1000 : 0;
  }

  get time() {
    return this.#video.currentTime;
  }

  get playing() {
    return this.#wants;
  }

  /** Playing, but ahead of the results. */
  get waiting() {
    return this.#wants && this.#video.paused && !this.#video.ended;
  }

  /** Pictures are never shown faster than they are understood. */
  #follow() {
    const v = this.#video;
    if (this.#closed || !this.#wants || Number.isNaN(this.#first)) return;
    const lead = this.#complete ? Infinity : this.known - v.currentTime;
    if (!v.paused && lead < 0.1) v.pause();
    else if (v.paused && (lead > ahead || this.#complete)) {
      v.play().catch((e) => {
        if (e.name === "AbortError") return; // paused again before it began
        this.#wants = false;
        this.onchange();
      });
    }
    this.onchange();
  }

  play() {
    if (this.#video.ended) this.#video.currentTime = 0;
    this.#wants = true;
    this.#urge();
    this.#follow();
  }

  pause() {
    this.#wants = false;
    this.#video.pause();
    this.onchange();
  }

  /** @param {number} s */
  seek(s) {
    if (Number.isNaN(this.#first)) return;
    this.#video.currentTime = Math.max(0, Math.min(s, this.duration));
  }

  /** To the next or previous result. @param {1 | -1} by */
  step(by) {
    this.pause();
    const now = this.#pts(this.#shown);
    const to = by > 0 ? this.#results.after(now) : this.#results.before(now);
    // Into the middle of the picture's time: its beginning may be rounded to the one before.
    if (to) this.seek((to.pts_ms - (this.#results.first?.pts_ms ?? 0) + this.#first) / 1000 + 0.002);
  }
}
