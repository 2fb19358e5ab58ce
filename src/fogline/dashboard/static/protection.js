// What protects data: the policies that hold, and what was given away of what may be.
import { ask } from "./ask.js";
import { fill, h, table } from "./dom.js";
import * as format from "./format.js";
import { t, word } from "./i18n.js";
import * as store from "./store.js";

const epsilon = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(4)));

const delta = (value) => (value < 0.001 ? value.toExponential() : String(value));

let byJob;

export function policies() {
  const found = h("div");
  return h("section", {}, h("h2", {}, t("policies")), h("p", { class: "quiet" }, t("policies are")),
    fetched("policies", t("read"), found, (said) => said.map(policy)), found);
}

function policy({ name, words, text, by, at }) {
  const signed = by ? t("signed", { by, when: format.when(at) }) : "";
  return h("div", { class: "panel" }, h("h3", {}, t(`policy.${name}`)), signed && h("p", { class: "quiet" }, signed),
    h("ul", {}, words.map((line) => h("li", {}, line))),
    text.trim() && h("details", {}, h("summary", {}, t("as written")), h("pre", { tabindex: 0 }, text)));
}

export function budgets() {
  const found = h("div");
  byJob = h("div");
  draw();
  return h("section", {}, h("h2", {}, t("budgets")), byJob, h("p", { class: "quiet" }, t("budgets are")),
    fetched("budgets", t("add up"), found, byNode), found);
}

// By job: of its own rows, whose ε is that of all rounds so far.
export function draw() {
  const rows = [...store.runs.values()].reverse().flatMap((run) => {
    const settings = store.jobs.get(run.name) ?? {};
    if (!("privacy.unit" in settings)) return [];
    const spent = store.rows.get(run.name)?.findLast((row) => Number.isFinite(row.epsilon))?.epsilon;
    const allowed = settings["privacy.epsilon"];
    const left = allowed === null || spent === undefined ? undefined : Math.max(0, allowed - spent);
    return [[run.label, word("unit", settings["privacy.unit"]), epsilon(spent), delta(settings["privacy.delta"]), epsilon(allowed), epsilon(left)]];
  });
  fill(byJob, rows.length ? table(t("by job"), columns(t("job")), rows) : h("p", { class: "quiet" }, t("no private job")));
}

function byNode(said) {
  const rows = said.map((one) => [one.node, one.problem ? h("span", { class: "bad" }, one.problem) : word("unit", one.unit),
    one.problem ? "–" : one.epsilon === null ? t("no bound") : epsilon(one.epsilon), one.problem ? "–" : delta(one.delta), epsilon(one.allowed), epsilon(one.left)]);
  return rows.length ? table(t("by node"), columns(t("node")), rows) : h("p", { class: "quiet" }, t("no ledger"));
}

const columns = (first) =>
  [first, t("unit"), "ε", "δ", t("allowed"), t("left")].map((text, i) => ({ text, number: i > 1 }));

// A button that fetches something and shows it.
function fetched(call, text, into, draw) {
  return h("button", { type: "button", onclick: async () => {
    fill(into, h("p", {}, t("verifying")));
    try {
      fill(into, draw(await ask(call)));
    } catch (error) {
      fill(into, h("p", { class: "bad" }, error.message));
    }
  } }, text);
}
