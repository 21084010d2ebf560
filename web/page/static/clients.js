// Copies what is shown.

import { byId, say } from "./dom.js";

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const text = button.parentElement?.querySelector("code")?.textContent ?? "";
    const label = button.firstChild;
    try {
      await navigator.clipboard.writeText(text);
      say(byId("copied", HTMLElement), "Copied.");
      if (label) label.textContent = "Copied";
    } catch {
      say(byId("copied", HTMLElement), "This browser does not allow copying here; select the text instead.");
      if (label) label.textContent = "Select the text";
    }
    setTimeout(() => {
      if (label) label.textContent = "Copy";
      say(byId("copied", HTMLElement), "");
    }, 2000);
  });
}
