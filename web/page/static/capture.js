// The camera and the screen, and in words why they cannot be had.

/**
 * Asks for the camera or the screen; the error says what a person can do.
 * @param {"camera" | "screen"} kind
 */
export async function capture(kind) {
  const devices = navigator.mediaDevices;
  if (!devices) throw new Error("Browsers give pages a camera or screen only over https or on localhost. Open this page as http://localhost or behind https.");
  try {
    if (kind === "screen") return await devices.getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: false });
    return await devices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: { ideal: "environment" } }, audio: false });
  } catch (e) {
    throw new Error(explain(kind, e instanceof DOMException ? e.name : String(e)), { cause: e });
  }
}

/** @param {"camera" | "screen"} kind @param {string} name */
function explain(kind, name) {
  const what = kind === "camera" ? "camera" : "screen";
  switch (name) {
    case "NotAllowedError":
      return kind === "camera"
        ? "The camera is blocked for this page. Allow it beside the address of the page, then press Camera again."
        : "Nothing is shared. Press Screen again and choose a window or screen.";
    case "NotFoundError":
      return `No ${what} was found. Connect one, then try again; or drop a file.`;
    case "NotReadableError":
      return `The ${what} is in use by another program. Close it there, then try again.`;
    default:
      return `The ${what} could not be opened (${name}).`;
  }
}
