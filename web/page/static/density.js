// How much was found when, for the time line: of each column of pixels, the most.

const widest = 32; // pixels of one result, where there are few

export class Density {
  #columns = new Uint16Array(0);
  #scale = "";
  #taken = 0;
  /** @type {Found | undefined} */
  #last;

  /**
   * Takes what came since it was last asked: a long file has a hundred results in a column.
   * @param {Found[]} list in order of time
   * @param {number} width pixels
   * @param {number} duration s
   */
  columns(list, width, duration) {
    const begin = list[0]?.pts_ms ?? 0;
    const scale = `${width} ${duration} ${begin}`;
    const grown = list[this.#taken - 1] === this.#last; // nothing came in between
    if (scale !== this.#scale || !grown) {
      this.#scale = scale;
      this.#columns = new Uint16Array(width);
      this.#taken = 0;
    }
    const x = (/** @type {Found} */ r) => (width * (r.pts_ms - begin)) / 1000 / duration;
    // Once more that which was the last: it is known now how wide it is.
    for (let i = Math.max(0, this.#taken - 1); i < list.length; i++) {
      const [before, r, next] = [list[i - 1], list[i], list[i + 1]];
      if (r) this.#mark(x(r), next ? x(next) - x(r) : before ? x(r) - x(before) : 4, r.detections.length);
    }
    this.#taken = list.length;
    this.#last = list.at(-1);
    return this.#columns;
  }

  /** @param {number} from @param {number} gap to the next @param {number} n */
  #mark(from, gap, n) {
    const start = Math.floor(from);
    const end = Math.max(start + 1, Math.floor(from + (gap > 3 ? Math.min(gap - 1, widest) : gap)));
    for (let i = start; i < end; i++) if (n > (this.#columns[i] ?? n)) this.#columns[i] = n;
  }
}
