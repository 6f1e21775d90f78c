import { byId, showError } from "./dom.js";
import * as library from "./library.js";
import * as recommend from "./recommend.js";

const views = ["recommend", "backgrounds"];

function show(view) {
  for (const each of views) {
    byId(each).hidden = each !== view;
    byId(`show-${each}`).ariaPressed = String(each === view);
  }
  showError(null);
  if (view === "backgrounds") library.load();
}

for (const each of views) byId(`show-${each}`).addEventListener("click", () => show(each));

// The library is kept for the next visit, the key only as long as the tab is open.
byId("library").value = new URLSearchParams(location.search).get("library") ?? localStorage.getItem("library") ?? "samples";
byId("key").value = sessionStorage.getItem("key") ?? "";
byId("settings").addEventListener("submit", (event) => event.preventDefault());
byId("settings").addEventListener("change", () => {
  if (!byId("settings").reportValidity()) return;
  localStorage.setItem("library", byId("library").value);
  sessionStorage.setItem("key", byId("key").value);
  if (!byId("backgrounds").hidden) library.load();
});

recommend.start();
library.start();
