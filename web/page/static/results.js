// The results of one session: by time, counted by class, and filtered as the person
// at the page wants them.

/** How far a picture's time may be from its result's: less than any two pictures are apart. */
const tolerance = 1.5; // ms

export class Results {
  /** In order of time. @type {Result[]} */
  list = [];
  /** @type {Map<string, number>} */
  counts = new Map();
  /** Labels that are not shown. @type {Set<string>} */
  hidden = new Set();
  threshold = 0.45;
  /** All that came, kept or not. */
  total = 0;

  clear() {
    this.list = [];
    this.counts = new Map();
    this.total = 0;
  }

  /** @param {Result} r */
  add(r) {
    const last = this.last;
    const at = !last || last.pts_ms < r.pts_ms ? this.list.length : this.#search(r.pts_ms);
    this.list.splice(at, 0, r);
    this.#count(r);
    this.total++;
  }

  /** @param {Result} r */
  #count(r) {
    for (const d of r.detections) {
      const n = this.counts.get(d.label) ?? 0;
      this.counts.set(d.label, d.confidence >= this.threshold - 1e-6 ? n + 1 : n);
    }
  }

  /** Counts again after the threshold was moved. */
  recount() {
    this.counts = new Map([...this.counts.keys()].map((label) => [label, 0]));
    for (const r of this.list) this.#count(r);
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

  /** Index of the first result at this time or later. @param {number} pts */
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

  /** Up to n results that end with this one. @param {Result} r @param {number} n */
  until(r, n) {
    const end = this.#search(r.pts_ms) + 1;
    return this.list.slice(Math.max(0, end - n), end);
  }

  /** The last result before this time. @param {number} pts */
  before(pts) {
    return this.list[this.#search(pts - tolerance) - 1] ?? null;
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
