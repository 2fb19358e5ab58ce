// Trust: jobs that wait for owners, policies and what was given away; who is in the tree and may be cut off, tokens for
// those who come, and what the audit log says.
import * as approvals from "./approvals.js";
import { action, ask, say } from "./ask.js";
import { choice, fill, h, keepingFocus, table } from "./dom.js";
import * as format from "./format.js";
import { t, word } from "./i18n.js";
import * as protection from "./protection.js";
import * as store from "./store.js";

const MOST = 200;

let main;
let about;
let parts;
let wanted = "";
let role = "device";

export function show(element, said, [job = ""] = []) {
  [main, about] = [element, said];
  parts = { nodes: h("div"), audit: h("div") };
  const calls = about.calls;
  fill(main, h("h1", {}, t("trust")),
    calls.includes("approval") && approvals.section(about, job),
    calls.includes("policies") && protection.policies(),
    calls.includes("budgets") && protection.budgets(),
    h("section", {}, h("h2", {}, t("members")), h("div", { class: "bar" },
      h("label", { class: "choice" }, h("span", {}, t("search")),
        h("input", { type: "search", value: wanted, oninput: (event) => {
          wanted = event.target.value.trim().toLowerCase();
          draw();
        } }))), parts.nodes),
    calls.includes("token") && token(),
    calls.includes("audit") && h("section", {}, h("h2", {}, t("audit log")),
      h("button", { type: "button", onclick: verify }, t("verify")), parts.audit));
  draw();
}

export function update(kinds) {
  if (kinds.has("member")) draw();
  if (kinds.has("approval") && about.calls.includes("approval")) keepingFocus(main, approvals.draw);
  if (["run", "rows", "job"].some((kind) => kinds.has(kind)) && about.calls.includes("budgets")) protection.draw();
}

function draw() {
  const may = about.calls.includes("revoke");
  const members = [...store.members.values()].filter((node) => node.name.toLowerCase().includes(wanted))
    .sort((a, b) => a.parent.localeCompare(b.parent) || a.name.localeCompare(b.name));
  const columns = [t("node"), t("role"), t("below"), t("state"), t("since"), t("address"), t("warning"), ...(may ? [t("act")] : [])];
  const rows = members.slice(0, MOST).map((node) => [node.name, word("role", node.role), node.parent,
    node.up ? t("connected") : `${t("state.o")}: ${node.why}`, format.when(node.since), node.address, node.warning,
    ...(may ? [action(t("revoke"), t("revoke?", { node: node.name }), "revoke", { name: node.name })] : [])]);
  keepingFocus(main, () => fill(parts.nodes, table(t("members"), columns.map((text) => ({ text })), rows),
    members.length > MOST && h("p", { class: "quiet" }, t("more", { n: members.length - MOST }))));
}

function token() {
  const made = h("output", { class: "token" });
  const roles = ["device", "fog", "developer", "owner", "auditor", "operator"].map((one) => [one, word("role", one)]);
  const uses = h("input", { type: "number", min: 1, max: 10000, value: 1 });
  return h("section", {}, h("h2", {}, t("token")), h("p", { class: "quiet" }, t("token is")),
    h("div", { class: "bar" },
      choice(t("role"), roles, role, (value) => {
        role = value;
      }),
      h("label", { class: "choice" }, h("span", {}, t("uses")), uses),
      h("button", { type: "button", onclick: async () => {
        try {
          made.textContent = await ask("token", { role, uses: Number(uses.value) });
        } catch (error) {
          say(error.message);
        }
      } }, t("make"))), made);
}

async function verify() {
  fill(parts.audit, h("p", {}, t("verifying")));
  try {
    const log = await ask("audit");
    const rows = log.records.toReversed().map((record) => [record.number, format.when(record.at), record.what, record.by, record.about,
      Object.entries(record.facts).map(([key, value]) => `${key}: ${value}`).join(", ")]);
    const columns = ["#", t("when"), t("what"), t("by"), t("about"), t("facts")].map((text) => ({ text }));
    fill(parts.audit, log.problems.length
      ? h("div", { class: "bad", role: "alert" }, h("p", {}, t("log broken")), h("ul", {}, log.problems.map((one) => h("li", {}, one))))
      : h("p", { class: "good" }, t("log holds", { n: format.number(log.size), node: log.node })),
    table(t("audit log"), columns, rows));
  } catch (error) {
    fill(parts.audit, h("p", { class: "bad" }, error.message));
  }
}
