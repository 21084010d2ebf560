// Which of the pictures in an encoder a time stamp at its end belongs to. Pictures come
// out in order, some not at all, some late. Both ends have a clock, and how far one is
// ahead of the other is not told: it is taken from what two time stamps agree on.

const near = 100; // ms; a busy machine captures a drawn picture up to 35 ms late
const apart = 200; // ms after which a picture that has not come out no longer holds up the next
const guessMost = 12;

/**
 * How long the next picture has to stay behind the last, in ms. No two distances
 * between pictures are then alike, so no two clocks explain the same time stamps.
 * @param {number} waiting pictures in the encoder, at least one
 */
export function gap(waiting) {
  return apart * 3 ** (waiting - 1);
}

export class Pairing {
  /** The time stamps' clock minus ours, in ms. */
  #clock = Number.NaN;
  /** What it would be, if a time stamp that it does not explain were some picture's. @type {number[]} */
  #guesses = [];

  /**
   * @param {number} stamp in ms
   * @param {number[]} times of the pictures in the encoder, by our clock, each a gap behind the last
   * @returns {number} the index of the picture; -1: it cannot be told
   */
  find(stamp, times) {
    const clocks = times.map((t) => turn(stamp - t));
    let at = clocks.findIndex((c) => alike(c, this.#clock));
    if (at < 0) {
      const agreed = clocks.filter((c) => this.#guesses.some((g) => alike(c, g)));
      this.#guesses = [...this.#guesses, ...clocks].slice(-guessMost);
      if (agreed.length !== 1) return -1;
      at = clocks.indexOf(/** @type {number} */ (agreed[0]));
    }
    this.#clock = /** @type {number} */ (clocks[at]);
    this.#guesses = [];
    return at;
  }
}

const round = 2 ** 32 / 90; // ms after which RTP time begins anew

/** @param {number} ms */
function turn(ms) {
  return ms - round * Math.round(ms / round);
}

/** @param {number} a @param {number} b */
function alike(a, b) {
  return Math.abs(turn(a - b)) < near;
}
