// Who asks: on hubs that want to know, a token goes with every request. It is kept for
// this tab only.

import { byId, hide, say } from "./dom.js";

const name = "detections.token";
let token = sessionStorage.getItem(name) ?? "";

/** A request to the hub. @param {string | URL} url @param {RequestInit} [init] */
export async function call(url, init = {}) {
  const headers = new Headers(init.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const answer = await fetch(url, { ...init, headers });
  if (answer.status === 401) ask();
  return answer;
}

/** What a WebSocket says of it: browsers let it send no header. */
export function protocols() {
  return token ? ["detections.v1", `bearer.${token}`] : ["detections.v1"];
}

export function hasToken() {
  return token !== "";
}

/** Whether the hub has refused us, and no other token was given yet. */
export function refused() {
  return !byId("access", HTMLElement).hidden;
}

function ask() {
  if (refused()) return;
  byId("access", HTMLElement).hidden = false;
  say(byId("access-note", HTMLElement), token ? "This token is not accepted, or no longer. Paste another one." : "");
}

/** Wires the form. @param {() => void} accepted */
export function start(accepted) {
  const field = byId("token", HTMLInputElement);
  byId("access", HTMLFormElement).addEventListener("submit", async (e) => {
    e.preventDefault();
    const given = field.value.trim();
    const answer = await fetch("/v1/sessions", { headers: { Authorization: `Bearer ${given}` } }).catch(() => null);
    if (!answer || answer.status === 401) {
      say(byId("access-note", HTMLElement), answer ? "This token is not accepted." : "The hub does not answer.");
      field.focus();
      return;
    }
    token = given;
    sessionStorage.setItem(name, token);
    field.value = "";
    hide(byId("access", HTMLElement), true);
    accepted();
  });
}
