// The rules of a library: what every recommendation obeys.

import { listRules, setRules } from "./api.js";
import { byId, element, showError } from "./dom.js";

let rules = [];
let turns = 0;
let known = new Map();

export function start() {
  byId("rule-form").addEventListener("submit", add);
  byId("rule-key").addEventListener("input", offerValues);
}

export async function load() {
  byId("rule-note").textContent = "";
  const turn = ++turns;
  try {
    const found = await current();
    if (turn === turns) show(found);
  } catch (error) {
    show([]);
    showError(error);
  }
}

async function current() {
  try {
    return await listRules();
  } catch (error) {
    // A library without backgrounds and rules is not there yet.
    if (error.reason === "LIBRARY_NOT_FOUND") return [];
    throw error;
  }
}

// Offers the keys and values that the backgrounds have.
export function offer(backgrounds) {
  for (const { features, attributes, keywords } of backgrounds) {
    for (const { category, labels } of features) learn(category, labels.map((each) => each.name));
    for (const { key, values } of attributes) learn(key, values);
    learn("keyword", keywords);
  }
  byId("rule-keys").replaceChildren(...[...known.keys()].sort().map(option));
  offerValues();
}

export const forget = () => { known = new Map(); };

function learn(key, values) {
  if (values.length) known.set(key, new Set([...(known.get(key) ?? []), ...values]));
}

function offerValues() {
  const values = known.get(byId("rule-key").value.trim()) ?? [];
  byId("rule-known").replaceChildren(...[...values].sort().map(option));
}

const option = (value) => element("option", { value });

async function add(event) {
  event.preventDefault();
  const anyOf = byId("rule-values").value.split(",").map((each) => each.trim()).filter(Boolean);
  const rule = { key: byId("rule-key").value.trim(), anyOf, exclude: byId("rule-kind").value === "never" };
  if (!await change((now) => [...now, rule])) return;
  byId("rule-form").reset();
  byId("rule-key").focus();
}

async function remove(rule) {
  const place = rules.indexOf(rule);
  if (!await change((now) => now.filter((each) => JSON.stringify(each) !== JSON.stringify(rule)))) return;
  const buttons = byId("rule-list").querySelectorAll("button");
  (buttons[place] ?? buttons[place - 1] ?? byId("rule-key")).focus();
}

// Changes what there is, not what is shown: others may have changed it meanwhile.
async function change(edit) {
  ++turns;
  try {
    const { rules: now, unknownKeys } = await setRules(edit(await current()));
    show(now);
    byId("rule-note").textContent = unknownKeys.length
      ? `No background has ${unknownKeys.join(", ")} yet: look whether it is misspelt.` : "";
    showError(null);
    return true;
  } catch (error) {
    showError(error);
    return false;
  }
}

// What is shown already stays, and with it the focus.
function show(now) {
  if (JSON.stringify(now) === JSON.stringify(rules)) return;
  rules = now;
  byId("rule-list").replaceChildren(...rules.map(row));
}

function row(rule) {
  const button = element("button", { type: "button", textContent: "Remove" });
  button.setAttribute("aria-label", `Remove the rule: ${inWords(rule)}`);
  button.addEventListener("click", () => remove(rule));
  return element("li", {}, element("span", { textContent: inWords(rule) }), button);
}

function inWords({ key, anyOf, exclude, range }) {
  const name = key.replaceAll("_", " ");
  const limits = range && [range.min !== undefined && `at least ${range.min}`, range.max !== undefined && `at most ${range.max}`];
  const what = range ? limits.filter(Boolean).join(" and ") : anyOf.join(" or ");
  return `${exclude ? "Never" : "Only"} ${name}: ${what}`;
}
