// Which picture a time stamp belongs to, whatever an encoder does.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Pairing } from "../static/pairing.js";

/**
 * A camera, an encoder, and what the pairing says: each picture, when it went in, and
 * when it was told which time stamp it has.
 * @param {object} how
 * @param {(picture: number) => number | null} how.encode ms until it comes out; null: it does not
 * @param {(picture: number) => number} [how.late] ms between going in and the time that it gets
 */
async function film({ encode, late = () => 0, frame = 33, seconds = 10, ahead = 7_000_000 }) {
  const pairing = new Pairing();
  const pictures = [];
  const due = [];
  for (let now = 0; now < 1000 * seconds; now++) {
    while (due.length && due[0].at <= now) {
      pairing.leave(due.shift().stamp);
      await null; // who waits for it is told
    }
    if (now % frame !== 0 || !pairing.free(now)) continue;
    const p = { at: now, stamp: ((now + late(pictures.length) + ahead) * 90) % 2 ** 32, told: undefined, when: 0 };
    const ms = encode(pictures.length);
    if (ms !== null) due.push({ at: Math.max(now + ms, due.at(-1)?.at ?? 0), stamp: p.stamp });
    pictures.push(p);
    pairing.enter(now).then((stamp) => ([p.told, p.when] = [stamp, now]));
    await null;
  }
  const told = pictures.filter((p) => typeof p.told === "number");
  return { told, wrong: told.filter((p) => p.told !== p.stamp), first: told[0]?.at };
}

/** Checks that no picture is wrong, and that so many are told. */
async function holds(what, most, least) {
  const { told, wrong, first } = await film(what);
  assert.deepEqual(wrong, []);
  assert.ok(told.length >= least && first <= most, `${told.length} told, the first went in after ${first} ms`);
}

test("pictures that come out at once are known from the second on, as late as they are captured", async () => {
  await holds({ encode: () => 20, late: (p) => (35 * p) % 36 }, 300, 280);
});

test("an encoder that is slow at first, or always, shifts nothing", async () => {
  await holds({ encode: (p) => (p < 10 ? 250 : 20) }, 300, 200);
  await holds({ encode: () => 250 }, 300, 40);
  await holds({ encode: () => 1500 }, 1000, 30);
});

test("first pictures that never come out cost so many pictures, for however long", async () => {
  for (const [lost, most] of [[1, 900], [2, 3000], [4, 5500], [8, 11_000]]) await holds({ encode: (p) => (p < lost ? null : 20), seconds: 30 }, most, 200);
});

test("later, too, one that takes long and one that never comes out are told apart", async () => {
  await holds({ encode: (p) => (p % 20 === 5 ? 350 : p % 20 === 15 ? null : 20) }, 300, 140);
});

test("after a standstill it goes on at once, without those that nobody waits for any more", async () => {
  await holds({ encode: (p) => (p >= 100 && p < 104 ? 3000 : 20), seconds: 20 }, 300, 350);
  for (const frame of [16, 33]) for (const ms of [5050, 6000]) await holds({ encode: (p) => (p === 100 ? ms : 20), frame, seconds: 20 }, 300, 300);
});

test("an encoder that is up to four seconds late is never mistaken", async () => {
  for (const frame of [33, 40, 100, 200]) for (const ms of [1000, 2600, 4000]) await holds({ encode: () => ms, frame, seconds: 60 }, 400, 100);
});

test("a clock that steps is learned again", async () => {
  await holds({ encode: () => 20, late: (p) => (p < 100 ? 0 : 120), seconds: 40 }, 300, 700);
});

test("a first picture that takes six seconds does not stop it for good", async () => {
  await holds({ encode: (p) => (p === 0 ? 6000 : 20), seconds: 40 }, 9000, 700);
});

test("a picture that comes out once more is not another", async () => {
  const pairing = new Pairing();
  const told = [];
  const enter = async (at) => told.push([at, await pairing.enter(at)]);
  for (const at of [0, 300, 333]) {
    enter(at);
    pairing.leave(90 * at);
  }
  enter(366);
  pairing.leave(90 * 333);
  pairing.leave(90 * 366);
  await new Promise(setImmediate);
  assert.deepEqual(told, [[0, null], [300, 27_000], [333, 29_970], [366, 32_940]]);
});

test("RTP time begins anew after thirteen hours", async () => {
  await holds({ encode: () => 20, ahead: 2 ** 32 / 90 - 5000 }, 300, 280);
});
