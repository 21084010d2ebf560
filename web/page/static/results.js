// The results of one session: in order, counted by class, and filtered as the person at
// the page wants them.

/** How far a picture's time may be from its result's: less than any two pictures are apart. */
const tolerance = 1.5; // ms
const steps = 100; // of confidence: those of the slider

/**
 * What is counted of a label: how many of its objects were how sure.
 * @typedef {{class: number, sure: Uint32Array}} Label
 */

export class Results {
  /** @type {Found[]} */
  list = [];
  /**
   * Whether the list is in order of time, as a file's pictures are asked for. Else it is as
   * it came: the time of a live session begins anew with each of its segments.
   */
  byTime = false;
  /** @type {Map<string, Label>} */
  #labels = new Map();
  /** Labels that are not shown. @type {Set<string>} */
  hidden = new Set();
  threshold = 0.45;
  /** All that came, kept or not. */
  total = 0;

  clear() {
    this.list = [];
    this.#labels = new Map();
    this.total = 0;
  }

  /** Keeps of a result what is drawn: of an hour there are a hundred thousand. @param {Found} r */
  add({ frame, pts_ms, width, height, detections, error }) {
    const last = this.last;
    const at = !this.byTime || !last || last.pts_ms < pts_ms ? this.list.length : this.#search(pts_ms);
    this.list.splice(at, 0, { frame, pts_ms, width, height, detections, error });
    for (const d of detections) this.#count(d);
    this.total++;
  }

  /** @param {Detection} d */
  #count(d) {
    let l = this.#labels.get(d.label);
    if (!l) this.#labels.set(d.label, (l = { class: d.class, sure: new Uint32Array(steps + 1) }));
    const step = Math.floor((d.confidence + 1e-6) * steps);
    l.sure[step] = (l.sure[step] ?? 0) + 1;
  }

  /** How many objects of each label are sure enough. @returns {Map<string, number>} */
  get counts() {
    const from = Math.round(this.threshold * steps);
    return new Map([...this.#labels].map(([label, l]) => [label, l.sure.subarray(from).reduce((a, b) => a + b, 0)]));
  }

  /** @param {string} label */
  classOf(label) {
    return this.#labels.get(label)?.class ?? 0;
  }

  /** Objects that are sure enough. */
  get objects() {
    return [...this.counts.values()].reduce((a, b) => a + b, 0);
  }

  /** Those of them that are shown. */
  get visible() {
    return [...this.counts].reduce((n, [label, m]) => (this.hidden.has(label) ? n : n + m), 0);
  }

  /** Forgets all but the newest n. @param {number} n */
  keep(n) {
    if (this.list.length > n * 1.5) this.list.splice(0, this.list.length - n);
  }

  /** Index of the first result of this time or later. @param {number} pts */
  #search(pts) {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if ((this.list[mid]?.pts_ms ?? Infinity) < pts) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** The result of exactly the picture of this time. @param {number} pts */
  at(pts) {
    const r = this.list[this.#search(pts - tolerance)];
    return r && Math.abs(r.pts_ms - pts) <= tolerance ? r : null;
  }

  /** Up to n results that end with this one. @param {Found} r @param {number} n */
  until(r, n) {
    const end = (this.byTime ? this.#search(r.pts_ms) : this.list.findLastIndex((l) => l.frame === r.frame)) + 1;
    return this.list.slice(Math.max(0, end - n), end);
  }

  /** The last result before the picture of this time. @param {number} pts */
  before(pts) {
    return this.list[this.#search(pts - tolerance) - 1] ?? null;
  }

  /** The first one after it. @param {number} pts */
  after(pts) {
    return this.list[this.#search(pts + tolerance)] ?? null;
  }

  /** Whether a detection is to be seen. @param {Detection} d */
  shows(d) {
    return d.confidence >= this.threshold - 1e-6 && !this.hidden.has(d.label);
  }

  get last() {
    return this.list[this.list.length - 1] ?? null;
  }

  get first() {
    return this.list[0] ?? null;
  }
}
