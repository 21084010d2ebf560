// Makes docs/page.jpg: the page with the sample clip. `make docs-page` runs it.

import { Hub, browser, media, says } from "./harness.mjs";

const hub = new Hub();
const [chrome] = await Promise.all([browser(), hub.start()]);
try {
  const page = await chrome.newPage({ viewport: { width: 1280, height: 1180 } });
  await page.goto(hub.url);
  await page.setInputFiles("#file", media("people.mp4"));
  await page.waitForFunction(() => Number(document.getElementById("stage").dataset.frame) >= 55, null, { timeout: 120_000 });
  await page.locator("#play").click();
  await says(page, /done/);
  await page.locator("#sample").focus(); // no ring around the picture
  await page.evaluate(() => document.activeElement.blur());
  await page.waitForTimeout(1500); // the charts are a second behind
  await page.screenshot({ path: process.argv[2], type: "jpeg", quality: 82 });
} finally {
  await chrome.close();
  await hub.end();
}
