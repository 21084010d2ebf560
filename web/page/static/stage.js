// The stage: one canvas that shows a picture with the boxes that belong to it.

import { paint, trails } from "./draw.js";

/** @typedef {import("./results.js").Results} Results */

const trailLength = 30; // results

export class Stage {
  /** @type {HTMLCanvasElement} */
  canvas;
  /** The picture in its own size, kept for drawing again. @type {HTMLCanvasElement} */
  #plate = document.createElement("canvas");
  #hasPicture = false;
  /** @type {Found | null} */
  #result = null;
  /** @type {Found | null} */
  #held = null;
  #time = 0;
  #soon = 0;
  /** @type {Results} */
  results;
  /** The detection that is pointed at in the list. @type {Detection | null} */
  chosen = null;
  showBoxes = true;

  /** After each drawing. @type {(r: Found | null, held: boolean) => void} */
  ondraw = () => {};

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Results} results
   */
  constructor(canvas, results) {
    this.canvas = canvas;
    this.results = results;
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.#size(16, 9);
  }

  /** @param {number} width @param {number} height */
  #size(width, height) {
    if (this.#plate.width === width && this.#plate.height === height) return;
    this.#plate.width = width;
    this.#plate.height = height;
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.canvas.parentElement?.style.setProperty("--ratio", String(width / height));
  }

  /**
   * Shows a picture with what was found in it.
   * @param {CanvasImageSource} picture
   * @param {number} width
   * @param {number} height
   * @param {{time: number, result: Found | null, held?: Found | null}} what
   */
  show(picture, width, height, what) {
    this.#size(width, height);
    this.#context(this.#plate).drawImage(picture, 0, 0, width, height);
    this.#hasPicture = true;
    this.#time = what.time;
    this.#result = what.result;
    this.#held = what.result ? null : (what.held ?? null);
    this.draw();
  }

  /** Shows a result without its picture; the last one, where more come than the screen shows. @param {Found} r */
  showResult(r) {
    if (!this.#hasPicture) this.#size(r.width || 16, r.height || 9);
    this.#time = r.pts_ms;
    this.#result = r;
    this.#held = null;
    this.#soon ||= requestAnimationFrame(() => this.draw());
  }

  /** The result of the picture that is shown has come. @param {Found} r */
  complete(r) {
    this.#result = r;
    this.#held = null;
    this.draw();
  }

  clear() {
    this.#hasPicture = false;
    this.#result = this.#held = null;
    this.chosen = null;
    this.#plate.width = this.#plate.height = 1;
    this.canvas.width = this.canvas.height = 1;
    delete this.canvas.dataset.frame;
  }

  get result() {
    return this.#result;
  }

  /** The last result before a picture that has none. */
  get held() {
    return this.#held;
  }

  get hasPicture() {
    return this.#hasPicture;
  }

  /** Time of the picture, in ms. */
  get time() {
    return this.#time;
  }

  draw() {
    cancelAnimationFrame(this.#soon);
    this.#soon = 0;
    if (!this.#hasPicture && !this.#result) return;
    const shown = this.canvas.clientWidth;
    if (shown > 0) {
      const width = Math.round(shown * Math.min(devicePixelRatio, 2));
      const height = Math.round((width * this.#plate.height) / this.#plate.width);
      if (this.canvas.width !== width || this.canvas.height !== height) {
        this.canvas.width = width;
        this.canvas.height = height;
      }
    }
    this.#paint(this.#context(this.canvas));
    if (this.#result) {
      this.canvas.dataset.frame = String(this.#result.frame);
      this.canvas.dataset.pts = String(this.#result.pts_ms);
    } else delete this.canvas.dataset.frame;
    this.ondraw(this.#result ?? this.#held, this.#result === null);
  }

  /** @param {CanvasRenderingContext2D} c */
  #paint(c) {
    const r = this.#result;
    const shown = (/** @type {Found | null} */ of) => (of && this.showBoxes ? of.detections.filter((d) => this.results.shows(d)) : []);
    const boxes = shown(r);
    const source = r ?? this.#held;
    paint(c, {
      picture: this.#hasPicture ? this.#plate : null,
      width: source?.width || this.#plate.width, height: source?.height || this.#plate.height,
      boxes, held: shown(this.#held), trails: r ? trails(this.results.until(r, trailLength), boxes) : [], chosen: this.chosen,
    });
  }

  /** What is shown as a PNG in the source's own size. @returns {Promise<Blob | null>} */
  snapshot() {
    const c = document.createElement("canvas");
    c.width = this.#plate.width;
    c.height = this.#plate.height;
    this.#paint(this.#context(c));
    return new Promise((done) => c.toBlob(done, "image/png"));
  }

  /** @param {HTMLCanvasElement} c */
  #context(c) {
    const context = c.getContext("2d");
    if (!context) throw new Error("this browser has no 2D canvas");
    return context;
  }
}
