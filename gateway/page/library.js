// The backgrounds of a library: a look at them, a search, import and deletion.

import { deleteBackground, importBackground, listBackgrounds } from "./api.js";
import { acceptFiles, byId, element, id, pictureOf, showError, title } from "./dom.js";
import * as rules from "./rules.js";

const PAGE = 200;
const AT_ONCE = 3;
let nextPage = "";

export function start() {
  byId("search").addEventListener("input", search);
  byId("more").addEventListener("click", () => load(nextPage));
  rules.start();
  acceptFiles(byId("import-drop"), byId("pictures"), importAll);
}

export async function load(pageToken = "") {
  if (!pageToken) {
    byId("list").replaceChildren();
    rules.forget();
  }
  try {
    const page = await listBackgrounds(pageToken, PAGE);
    byId("list").append(...page.backgrounds.map(card));
    nextPage = page.nextPageToken;
    rules.offer(page.backgrounds);
    showError(null);
  } catch (error) {
    nextPage = "";
    // An empty library is where an import begins.
    showError(error.reason === "LIBRARY_NOT_FOUND" ? null : error);
  }
  byId("more").hidden = !nextPage;
  search();
  if (!pageToken) await rules.load();
}

function card(background) {
  const captions = background.captions.map((each) => each.text).join(" ");
  const button = element("button", { type: "button", textContent: "Delete" });
  button.setAttribute("aria-label", `Delete ${title(background)}`);
  const made = element("li", { className: "card" }, pictureOf(background),
    element("div", { className: "text" },
      element("strong", { textContent: title(background) }),
      element("p", { className: "soft", textContent: captions }),
      element("div", { className: "buttons" }, button)));
  made.dataset.words = [id(background), background.title, ...background.keywords, captions].join(" ").toLowerCase();
  button.addEventListener("click", () => remove(background, made));
  return made;
}

async function remove(background, shown) {
  if (!window.confirm(`Delete ${title(background)} for good?`)) return;
  try {
    await deleteBackground(background.name);
    (shown.nextElementSibling ?? shown.previousElementSibling)?.querySelector("button").focus();
    shown.remove();
    search();
  } catch (error) {
    showError(error);
  }
}

function search() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...byId("list").children];
  for (const each of all) each.hidden = !words.every((word) => each.dataset.words.includes(word));
  const shown = all.filter((each) => !each.hidden).length;
  byId("count").textContent = all.length
    ? `${shown} of ${all.length}${nextPage ? " shown so far" : ""}`
    : "No backgrounds yet: import some.";
}

async function importAll(files) {
  const [progress, failures] = [byId("import-progress"), byId("import-failures")];
  byId("importing").hidden = false;
  failures.replaceChildren();
  progress.max = files.length;
  progress.value = 0;
  const waiting = [...files];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      try {
        await importBackground(idOf(file.name), file);
      } catch (error) {
        failures.append(element("li", { textContent: `${file.name}: ${error.message}` }));
      }
      progress.value += 1;
      byId("import-count").textContent = `${progress.value} of ${files.length}`;
    }
  }));
  byId("import-count").textContent = `${files.length - failures.children.length} of ${files.length} are in the library.`;
  await load();
}

function idOf(filename) {
  const plain = filename.replace(/\.[^.]*$/, "").normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return plain.replace(/^-+/, "").slice(0, 63).replace(/-+$/, "") || "picture";
}
