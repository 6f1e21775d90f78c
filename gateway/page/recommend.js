// A photo, its stages as they are done, and the backgrounds with what speaks for each.

import { recommend, recordFeedback, renderPreview } from "./api.js";
import { acceptFiles, byId, element, id, pictureOf, showError, title } from "./dom.js";

const LIMIT = 6;
const STAGES = ["features", "captions", "ranking", "previews"];
const SHOWN_PX = 768;
const SAVED_PX = 2048;
const SIGNALS = {
  SIGNAL_TEXT: "captions", SIGNAL_IMAGE: "picture", SIGNAL_PHOTO: "likeness", SIGNAL_COLOR: "colours",
  SIGNAL_SPACE: "free space", SIGNAL_KEYWORDS: "words", SIGNAL_FEEDBACK: "feedback",
};
let running = new AbortController();
let asked = null;

export function start() {
  acceptFiles(byId("photo-drop"), byId("photo"), ([photo]) => ask(photo));
  byId("preset").addEventListener("change", () => { if (asked) ask(asked); });
  for (const sample of byId("samples").querySelectorAll("button")) {
    const { src } = sample.querySelector("img");
    sample.addEventListener("click", async () => ask(await (await fetch(src)).blob()));
  }
}

const preset = () => byId("preset").value;

async function ask(photo) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  asked = photo;
  showError(null);
  reset(photo);
  try {
    const preview = { preset: preset(), size: SHOWN_PX };
    await recommend(photo, LIMIT, preview, (stage, answer) => { if (!signal.aborted) show(stage, answer); }, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("stages").hidden = true;
    showError(error);
  }
}

function reset(photo) {
  const shown = byId("photo-shown");
  URL.revokeObjectURL(shown.src);
  shown.src = URL.createObjectURL(photo);
  shown.hidden = false;
  for (const name of ["features", "captions", "recommendations"]) byId(name).hidden = true;
  byId("degraded").replaceChildren();
  byId("stages").hidden = false;
  for (const item of byId("stages").children) item.className = "";
  byId("stages").firstElementChild.className = "working";
}

function show(stage, answer) {
  if (answer.previews.length) return answer.previews.forEach(showPreview);
  const [done, next] = [stage, STAGES[STAGES.indexOf(stage) + 1]].map((name) =>
    byId("stages").querySelector(`[data-stage="${name}"]`));
  done.className = "done";
  if (next) next.className = "working";
  byId("degraded").append(...answer.degraded.map((each) => element("p", { textContent: each.message })));
  if (stage === "features") showFeatures(answer.features);
  if (stage === "captions") showCaptions(answer.candidates);
  if (stage === "ranking") showRecommendations(answer);
}

const percent = (share) => `${Math.round(share * 100)} %`;

function showFeatures(features) {
  const rows = features.flatMap(({ category, labels, unsure }) => [
    element("dt", { textContent: category.replaceAll("_", " ") }),
    element("dd", {}, ...(unsure || !labels.length ? ["not sure"] : labels.map(chip))),
  ]);
  byId("features").querySelector("dl").replaceChildren(...rows);
  byId("features").hidden = false;
}

function chip({ name, confidence }) {
  return element("span", { className: "chip" }, `${name} `, element("small", { textContent: percent(confidence) }));
}

function showCaptions(candidates) {
  const items = candidates.map(({ caption, scene, verdict, reason }) => {
    const used = verdict === "VERDICT_USED";
    return element("li", { className: used ? "used" : "dropped" },
      element("span", { className: "verdict", textContent: used ? "Used: " : "Dropped: " }), caption,
      element("span", { className: "scene", textContent: `Scene: ${scene}` }),
      element("span", { className: "reason", textContent: reason }));
  });
  byId("captions").querySelector("ul").replaceChildren(...items);
  byId("captions").hidden = false;
}

function showRecommendations({ recommendations, recommendationId, emptyReason }) {
  const opinions = new Map();
  const cards = recommendations.map((each) => card(each, recommendationId, opinions));
  byId("recommendations").querySelector("ol").replaceChildren(...cards);
  byId("recommendations").hidden = false;
  if (!cards.length) showError(new Error(emptyReason));
}

function card({ background, reason, signals }, recommendationId, opinions) {
  const text = element("div", { className: "text" },
    element("strong", { textContent: title(background) }),
    element("p", { className: "soft", textContent: reason }),
    element("details", {}, element("summary", { textContent: "What speaks for it" }), parts(signals)));
  const row = recommendationId ? buttons(background, recommendationId, opinions) : element("div", { className: "buttons" });
  row.append(saveButton(background));
  text.append(row);
  return element("li", { className: "card" }, pictureOf(background), text);
}

// In the place of the background's own picture.
function showPreview({ background, image, contentType, cutOut }) {
  const shown = byId("recommendations").querySelector(`img[data-name="${background}"]`);
  const alt = `Your product in ${shown.alt}`;
  const src = URL.createObjectURL(toBlob(image, contentType));
  shown.replaceWith(element("img", { className: "preview", alt, src, onload: (event) => URL.revokeObjectURL(event.target.src) }));
  if (!cutOut.rough || byId("degraded").querySelector(".rough")) return;
  byId("degraded").append(element("p", { className: "rough", textContent: `Look closely at the previews. ${cutOut.reason}` }));
}

const toBlob = (base64, type) => new Blob([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))], { type });

// A large preview, rendered when it is asked for.
function saveButton(background) {
  const button = element("button", { type: "button", textContent: "Save" });
  button.setAttribute("aria-label", `Save the preview in ${title(background)}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { image, contentType } = await renderPreview(asked, id(background), preset(), SAVED_PX);
      const href = URL.createObjectURL(toBlob(image, contentType));
      element("a", { href, download: `${id(background)}.jpg` }).click();
      URL.revokeObjectURL(href);
      showError(null);
    } catch (error) {
      showError(error);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

function parts(signals) {
  const rows = signals.flatMap(({ signal, similarity, weight }) => {
    const name = SIGNALS[signal] ?? signal;
    return [
      element("span", { textContent: name }),
      element("meter", { min: 0, max: 1, value: Math.max(0, similarity), ariaLabel: `${name}: ${percent(similarity)}` }),
      element("span", { textContent: `× ${percent(weight)}` }),
    ];
  });
  return element("div", { className: "parts" }, ...rows);
}

function buttons(background, recommendationId, opinions) {
  const kinds = { chosen: "Like", rejected: "Dislike" };
  const made = Object.entries(kinds).map(([opinion, label]) => {
    const button = element("button", { type: "button", textContent: label, ariaPressed: "false" });
    button.setAttribute("aria-label", `${label}: ${title(background)}`);
    button.addEventListener("click", () => toggle(opinion, button));
    return button;
  });

  async function toggle(opinion, button) {
    const before = opinions.get(background.name);
    if (before === opinion) opinions.delete(background.name);
    else opinions.set(background.name, opinion);
    try {
      const of = (wanted) => [...opinions].filter(([, each]) => each === wanted).map(([name]) => name);
      await recordFeedback(recommendationId, of("chosen"), of("rejected"));
      for (const each of made) each.ariaPressed = String(each === button && before !== opinion);
      showError(null);
    } catch (error) {
      if (before) opinions.set(background.name, before);
      else opinions.delete(background.name);
      showError(error);
    }
  }

  return element("div", { className: "buttons" }, ...made);
}
