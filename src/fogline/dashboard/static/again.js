// A job once more: ended, cloned with other keys, or gone on with.
import { act, action, say } from "./ask.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { keyless } from "./sign-in.js";
import * as store from "./store.js";

const OPEN = ["waiting", "queued", "running"];

const isOpen = (run) => OPEN.includes(run.progress.status);

export function ending(run) {
  if (!run.stoppable || !isOpen(run)) return null;
  const how = (name) => action(t(name), t(`${name}?`, { job: run.label }), "stop", { job: run.name, how: name === "stop" ? "keep" : "publish" });
  return h("div", { class: "buttons" }, how("stop"), how("stop and publish"));
}

// Made once for a run, so that what is typed into it stays while the run goes on.
export function again(run, about) {
  const readable = isOpen(run) || about.role === "operator" || run.progress.by === about.who;
  if (readable && about.keyless.includes("clone")) return h("details", {}, h("summary", { "data-focus": "again" }, t("again")), keyless());
  if (!about.calls.includes("clone") || !readable) return null;
  const changes = h("textarea", { rows: 2, "data-focus": "changes", "aria-describedby": "changes-note" });
  const submit = (call, name) => h("button", { type: "button", "data-focus": `again/${call}`, onclick: () => {
    const wanted = { job: run.name, changes: changes.value.split("\n").map((line) => line.trim()).filter(Boolean) };
    act(t(name), t(`${name}?`, { job: run.label }), call, wanted, say);
  } }, t(name));
  const left = [...store.models.values()].some((report) => report.cards.some((card) => card.lineage.job === run.name));
  return h("details", {}, h("summary", { "data-focus": "again" }, t("again")),
    h("label", { class: "field" }, h("span", {}, t("changes")), changes),
    h("p", { class: "quiet", id: "changes-note" }, t("changes are")),
    h("div", { class: "buttons" }, submit("clone", "clone"), !isOpen(run) && left && run.progress.done < run.rounds && submit("resume", "go on")));
}
