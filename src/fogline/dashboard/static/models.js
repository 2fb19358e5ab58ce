// Models: their versions, what is served where and how it fares, and where it goes.
import { action } from "./ask.js";
import { fill, h, keepingFocus, table } from "./dom.js";
import * as format from "./format.js";
import { t, word } from "./i18n.js";
import * as store from "./store.js";

let main;
let about;

export function show(element, said) {
  [main, about] = [element, said];
  draw();
}

export function update(kinds) {
  if (kinds.has("model")) draw();
}

function draw() {
  const reports = [...store.models.values()];
  keepingFocus(main, () => fill(main, h("h1", {}, t("models")),
    reports.length ? reports.map(model) : h("p", {}, t("no models"))));
}

const WHAT = { promote: "promote?", rollback: "rollback?", pause: "pause?", resume: "resume?", advance: "advance?", abort: "abort?" };

function steer(report, act, version = 0) {
  const wanted = { model: report.model, action: act, version };
  const name = version ? `${report.model}@${version}` : report.model;
  return action(t(act), t(WHAT[act], { model: name }), "steer", wanted);
}

function model(report) {
  const { release } = report;
  const may = about.calls.includes("steer");
  const under = release && ["rolling", "paused"].includes(release.state);
  return h("section", { class: "panel" }, h("h2", {}, report.model),
    release ? h("p", {}, t("serves", { version: release.version, share: `${Math.round(100 * release.width)} %`,
      tiers: release.tiers.join(", "), state: word("release", release.state) }), " ", outcomes(report)) : h("p", {}, t("unreleased")),
    release && h("meter", { min: 0, max: 1, value: release.width, "aria-label": t("ring") }),
    may && h("div", { class: "buttons" },
      under && release.state === "rolling" && steer(report, "pause"),
      under && release.state === "paused" && steer(report, "resume"),
      under && steer(report, "advance"),
      under && steer(report, "abort"),
      release && report.cards.length > 1 && steer(report, "rollback")),
    table(t("versions"), columns(may), report.cards.map((card) => version(report, card, may))),
    report.notes.length > 0 && h("details", {}, h("summary", {}, t("notes")),
      h("ul", {}, report.notes.toReversed().map((note) => h("li", {}, `${format.when(note.at)} ${note.text}`, note.by && ` (${note.by})`)))));
}

function columns(may) {
  const texts = [t("version"), t("metrics"), t("trained by"), t("lineage"), t("approved"), t("answers"), t("errors"), t("accuracy"), t("latency"), t("offloaded"), t("drift")];
  return [...texts, ...(may ? [t("act")] : [])].map((text, i) => ({ text, number: i > 4 && i < 11 }));
}

function version(report, card, may) {
  const tally = report.tallies[card.version];
  const served = report.release?.version === card.version;
  const part = (amount, of) => (of ? `${(100 * amount / of).toFixed(1)} %` : "–");
  const psi = report.psi[card.version];
  const cells = [
    `${card.version}${served ? ` (${t("current")})` : ""}`,
    Object.entries(card.metrics).map(([name, value]) => `${name} ${format.metric(name, value)}`).join(", "),
    card.lineage.job,
    lineage(card.lineage),
    report.approved[card.version] ?? "–",
    tally ? format.number(tally.answers) : "–",
    tally ? part(tally.errors, tally.answers + tally.errors) : "–",
    tally ? part(tally.correct, tally.labels) : "–",
    tally?.answers ? format.seconds(tally.seconds / tally.answers) : "–",
    tally ? part(tally.offloaded, tally.rows) : "–",
    psi === undefined ? "–" : psi.toFixed(3),
  ];
  return may ? [...cells, served ? "" : steer(report, "promote", card.version)] : cells;
}

function lineage({ algorithm, rounds, by, parent }) {
  return [algorithm, rounds && t("of rounds", { n: rounds }), by, parent && t("after", { n: parent })].filter(Boolean).join(", ");
}

function outcomes(report) {
  const counts = new Map();
  for (const one of report.outcomes) {
    if (one.number === report.release.number) counts.set(one.what, (counts.get(one.what) ?? 0) + 1);
  }
  return [...counts].map(([what, n]) => `${word("outcome", what)}: ${n}`).join(", ");
}
