// Plays a file that lies on this machine while its detections come from the hub.
//
// A picture and its time are taken from the video element as one thing, a VideoFrame,
// so the boxes drawn are those of exactly that picture whatever the screen does. Where
// a browser has none, requestVideoFrameCallback's mediaTime is used.

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./results.js").Results} Results */

const ahead = 0.5; // s of results that must be there before waiting ends

export class Player {
  #video = document.createElement("video");
  #stage;
  #results;
  #url = "";
  /** Media time of the first picture, in ms; the hub's first result has the same picture. */
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
    v.addEventListener("error", () => {
      if (!this.#closed) this.onerror("This browser cannot show this file; the hub can still look at it. Boxes are drawn without the picture.");
    });
  }

  /** @param {Blob} file */
  open(file) {
    this.#url = URL.createObjectURL(file);
    this.#video.src = this.#url;
    this.#next();
    this.play();
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

  /** @param {number} mediaTime in ms */
  #frame(mediaTime) {
    const v = this.#video;
    let picture = null;
    try {
      picture = new VideoFrame(v);
    } catch {
      // No WebCodecs here.
    }
    const time = picture ? picture.timestamp / 1000 : mediaTime;
    if (Number.isNaN(this.#first)) this.#first = time;
    this.#shown = time;
    const pts = this.#pts(time);
    this.#stage.show(picture ?? v, v.videoWidth, v.videoHeight, {
      time, result: this.#results.at(pts), held: this.#results.before(pts),
    });
    picture?.close();
    this.#follow();
    this.onchange();
  }

  /** The hub's time of a picture: the container's own, which may begin anywhere. */
  /** @param {number} time */
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
    const last = this.#results.last;
    const first = this.#results.first;
    if (this.#complete) return this.duration;
    return last && first ? (last.pts_ms - first.pts_ms) / 1000 : 0;
  }

  get duration() {
    return Number.isFinite(this.#video.duration) ? this.#video.duration : 0;
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
    if (this.#closed || !this.#wants) return;
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
    this.#follow();
  }

  pause() {
    this.#wants = false;
    this.#video.pause();
    this.onchange();
  }

  /** @param {number} s */
  seek(s) {
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
