// Jobs that wait for owners of data: what each does, in words, and the owner's word on it.
import { act, ask, say } from "./ask.js";
import { fill, h, table } from "./dom.js";
import * as format from "./format.js";
import { t, word } from "./i18n.js";
import { keyless } from "./sign-in.js";
import * as store from "./store.js";

let about;
let job; // The one that is looked at; empty: none.
let list;
let panel;

export function section(said, wanted) {
  [about, job] = [said, wanted];
  [list, panel] = [h("div"), h("div", { "aria-live": "polite" })];
  draw();
  if (job) look();
  return h("section", {}, h("h2", {}, t("approvals")), list, panel);
}

export function draw() {
  const waiting = [...store.approvals.values()].sort((a, b) => a.submitted - b.submitted);
  const columns = [t("job"), t("submitted by"), t("when"), t("waits for"), t("nodes wait"), t("said")].map((text) => ({ text }));
  const rows = waiting.map((report) => [
    h("a", { href: `#/trust/${encodeURIComponent(report.job)}`, "data-focus": `approval/${report.job}`, "aria-current": report.job === job && "true" }, report.job),
    report.by, format.when(report.submitted), report.missing.join(", ") || "–", report.unapproved.join(", ") || "–",
    report.said.length ? h("ul", { class: "plain" }, report.said.map((one) => h("li", {}, saying(one)))) : "–"]);
  fill(list, rows.length ? table(t("approvals"), columns, rows) : h("p", { class: "quiet" }, t("nothing waits")));
}

function saying({ owner, verdict, reason, nodes }) {
  const where = nodes.length ? ` (${nodes.join(", ")})` : "";
  return `${owner}${where}: ${word("verdict", verdict)}${reason ? `, ${reason}` : ""}`;
}

// Fetched and verified on the person's machine, not by the cloud's word.
async function look() {
  const asked = job;
  say("");
  fill(panel, h("p", {}, t("looking", { job })));
  try {
    const found = await ask("approval", { job });
    if (asked === job) fill(panel, shown(found));
    panel.querySelector("h3")?.focus();
  } catch (error) {
    fill(panel, h("p", { class: "bad" }, error.message));
  }
}

function shown(found) {
  return h("div", { class: "panel" }, h("h3", { tabindex: -1 }, t("does", { job: found.job })),
    h("dl", {}, found.facts.map(([subject, text]) => [h("dt", {}, word("fact", subject)), h("dd", {}, text)])),
    about.keyless.includes("decide") && keyless(),
    about.calls.includes("decide") && decision(found));
}

function decision({ job: name, bundle }) {
  const reason = h("textarea", { rows: 2, maxlength: 1000, "aria-describedby": "reason-note" });
  const decide = (verdict, text, question) => h("button", { type: "button", onclick: () => {
    const wanted = { job: name, bundle, verdict, reason: reason.value.trim() };
    if (verdict === "refuse" && !wanted.reason) {
      say(t("no reason"));
      reason.focus();
      return;
    }
    act(text, question, "decide", wanted, (answer) => {
      say(answer);
      location.hash = "#/trust";
    });
  } }, text);
  return [h("label", { class: "field" }, h("span", {}, t("reason")), reason),
    h("p", { class: "quiet", id: "reason-note" }, t("reason is")),
    h("div", { class: "buttons" }, decide("approve", t("approve"), t("approve?", { job: name })),
      decide("refuse", t("refuse"), t("refuse?", { job: name })))];
}
