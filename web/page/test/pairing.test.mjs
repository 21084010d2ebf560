// Which picture a time stamp belongs to, whatever an encoder does.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Pairing, gap } from "../static/pairing.js";

/** An encoder whose clock is ahead, and whose pictures are its numbers. */
class Encoder {
  #pairing = new Pairing();
  #waiting = [];
  #times = [];
  #now = 0;
  ahead;

  constructor(ahead = 7_000_000) {
    this.ahead = ahead;
  }

  /** Another picture goes in, as soon as it may, or later. */
  enter(later = 0) {
    this.#now += Math.max(later, this.#waiting.length ? gap(this.#waiting.length) : 0);
    return this.#waiting.push(this.#times.push(this.#now) - 1), this.#times.length - 1;
  }

  /** A picture comes out, with a time that is a little late: which one it is taken for. */
  leave(picture, late = 0) {
    const stamp = (this.#times[picture] + this.ahead + late) % (2 ** 32 / 90);
    const at = this.#pairing.find(stamp, this.#waiting.map((p) => this.#times[p]));
    return at < 0 ? null : this.#waiting.splice(0, at + 1).at(-1);
  }
}

/** Two pictures come out at once, and tell the clock. */
function known(ahead) {
  const e = new Encoder(ahead);
  e.leave(e.enter());
  const second = e.enter();
  assert.equal(e.leave(second), second);
  return e;
}

test("pictures that come out at once are known from the second on, as late as they are captured", () => {
  const e = known();
  for (const late of [35, 0, 20, 35]) {
    const p = e.enter(33);
    assert.equal(e.leave(p, late), p);
  }
});

test("a first picture that takes long is not taken for the next one, nor are those after it", () => {
  const e = new Encoder();
  const [first, second] = [e.enter(), e.enter()];
  assert.equal(e.leave(first), null);
  assert.equal(e.leave(second), second);
  const third = e.enter();
  assert.equal(e.leave(third), third);
});

test("a first picture that never comes out costs the next one", () => {
  const e = new Encoder();
  const [, second, third] = [e.enter(), e.enter(), e.enter()];
  assert.equal(e.leave(second), null);
  assert.equal(e.leave(third), third);
});

test("later, too, one that takes long and one that never comes out are told apart", () => {
  const e = known();
  const [slow, next] = [e.enter(33), e.enter()];
  assert.equal(e.leave(slow), slow);
  assert.equal(e.leave(next), next);
  const [, after] = [e.enter(33), e.enter()];
  assert.equal(e.leave(after), after);
});

test("a picture that nobody waits for any more is not taken for another", () => {
  const e = known();
  const [lost, next] = [e.enter(33), e.enter()];
  assert.equal(e.leave(next), next);
  const p = e.enter(150);
  assert.equal(e.leave(lost), null);
  assert.equal(e.leave(p), p);
});

test("a clock that was set anew is learned again", () => {
  const e = known();
  e.ahead += 5000;
  assert.equal(e.leave(e.enter(33)), null);
  const p = e.enter();
  assert.equal(e.leave(p), p);
});

test("RTP time begins anew after thirteen hours", () => {
  const e = known(2 ** 32 / 90 - 500);
  for (let i = 0; i < 5; i++) {
    const p = e.enter(150);
    assert.equal(e.leave(p), p);
  }
});
