// Remembers the session of this tab over a reload: its id and token in sessionStorage,
// its file in IndexedDB, where a browser keeps a copy of it until the session is left.

const name = "detections";
const files = "files";
const keep = 24 * 3600 * 1000; // ms, of tabs that were closed
const largest = 1 << 30; // bytes of a file that is kept

/** @typedef {{session: string, token: string, name: string, size: number, kind: "file" | "live" | "watch"}} Saved */

/** @param {Saved} s */
export function save(s) {
  sessionStorage.setItem(name, JSON.stringify(s));
}

/** @returns {Saved | null} */
export function saved() {
  try {
    return JSON.parse(sessionStorage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

export function forget() {
  const s = saved();
  sessionStorage.removeItem(name);
  if (s) change((store) => store.delete(s.session)).catch(() => {});
}

/** @returns {Promise<IDBDatabase>} */
function database() {
  return new Promise((done, fail) => {
    const r = indexedDB.open(name, 1);
    r.onupgradeneeded = () => r.result.createObjectStore(files);
    r.onsuccess = () => done(r.result);
    r.onerror = () => fail(r.error);
  });
}

/** @template T @param {(store: IDBObjectStore) => IDBRequest<T>} what @returns {Promise<T>} */
async function change(what) {
  const db = await database();
  try {
    return await new Promise((done, fail) => {
      const r = what(db.transaction(files, "readwrite").objectStore(files));
      r.onsuccess = () => done(r.result);
      r.onerror = () => fail(r.error);
    });
  } finally {
    db.close();
  }
}

/** Keeps a session's file; a large one is asked for again after a reload. @param {string} session @param {File} file */
export async function keepFile(session, file) {
  if (file.size > largest) return;
  await tidy();
  await change((store) => store.put({ file, at: Date.now() }, session));
  if (saved()?.session !== session) await change((store) => store.delete(session)); // it was left meanwhile
}

/** @param {string} session @returns {Promise<File | null>} */
export async function keptFile(session) {
  const found = await change((store) => store.get(session));
  return found?.file ?? null;
}

/** Removes files of tabs that were closed long ago. */
async function tidy() {
  const db = await database();
  try {
    await new Promise((done, fail) => {
      const r = db.transaction(files, "readwrite").objectStore(files).openCursor();
      r.onsuccess = () => {
        const c = r.result;
        if (!c) return done(null);
        if (Date.now() - c.value.at > keep) c.delete();
        c.continue();
      };
      r.onerror = () => fail(r.error);
    });
  } finally {
    db.close();
  }
}
