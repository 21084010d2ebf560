// Which of the pictures in an encoder a time stamp at its end belongs to. Pictures come
// out in order, some not at all, some late. Both ends have a clock, and how far one is
// ahead of the other is not told: it is taken from what two time stamps agree on.

const near = 60; // ms; a busy machine captures a drawn picture up to 35 ms late
const apart = 200; // ms after which a picture that has not come out no longer holds up the next
const longest = 5000; // ms that a picture is waited for; slower encoders could be mistaken
const ticks = 90; // of RTP time in a ms
const round = 2 ** 32 / ticks; // ms after which RTP time begins anew

/** @typedef {{at: number, done: (stamp: number | null) => void}} Waiting */

export class Pairing {
  /** In the encoder, in order. @type {Waiting[]} */
  #waiting = [];
  /** The time stamps' clock minus ours, in ms. */
  #clock = Number.NaN;
  /** What it would be if the time stamps so far were those of some pictures. @type {number[]} */
  #guesses = [];
  /** The newest time stamp, in ms. */
  #last = Number.NaN;
  /** The first distance while the clock is not known. */
  #apart = apart;
  /** Whether the clock explained a time stamp since pictures were given up. */
  #right = false;

  /**
   * Whether another picture may go in. While the clock is not known no two distances
   * between pictures are alike, so no two clocks explain the same time stamps.
   * @param {number} now ms, as all times here
   */
  free(now) {
    const [first, last] = [this.#waiting[0], this.#waiting[this.#waiting.length - 1]];
    if (!first || !last) return true;
    const gap = now - last.at;
    if (gap > apart && now - first.at > longest) {
      this.giveUp();
      return true;
    }
    return gap > (Number.isNaN(this.#clock) ? this.#apart * 3 ** (this.#waiting.length - 1) : apart);
  }

  /**
   * A picture goes in.
   * @param {number} now
   * @returns {Promise<number | null>} its time stamp; null: it was left out, or cannot be told
   */
  enter(now) {
    return new Promise((done) => this.#waiting.push({ at: now, done }));
  }

  /** A picture comes out. @param {number} stamp in ticks of RTP time */
  leave(stamp) {
    const ms = stamp / ticks;
    if (turn(ms - this.#last) <= 0) return; // the same picture once more
    this.#last = ms;
    const clocks = this.#waiting.map((w) => turn(ms - w.at));
    const known = Number.isNaN(this.#clock) ? this.#agreed(clocks) : this.#clock;
    const at = clocks.findIndex((c) => alike(c, known));
    const found = this.#waiting[at];
    if (!found) return;
    this.#clock = turn(ms - found.at);
    this.#right = true;
    for (const w of this.#waiting.splice(0, at + 1)) w.done(w === found ? stamp : null);
  }

  /** No picture that is in the encoder is waited for any more. */
  giveUp() {
    for (const w of this.#waiting.splice(0)) w.done(null);
    this.#guesses = [];
    if (!this.#right) {
      this.#clock = Number.NaN;
      this.#apart = this.#apart === apart ? 1.6 * apart : apart; // pictures that come out yet do not look like those after them
    }
    this.#right = false;
  }

  /** The only clock on which this time stamp and one before agree. @param {number[]} clocks one for each picture that it could be of */
  #agreed(clocks) {
    const agreed = clocks.filter((c) => this.#guesses.some((g) => alike(c, g)));
    this.#guesses.push(...clocks);
    return agreed.length === 1 && agreed[0] !== undefined ? agreed[0] : Number.NaN;
  }
}

/** @param {number} ms */
function turn(ms) {
  return ms - round * Math.round(ms / round);
}

/** @param {number} a @param {number} b */
function alike(a, b) {
  return Math.abs(turn(a - b)) < near;
}
