// Runs side by side: a table, curves over rounds, time, bytes or energy, what came of one, and how settings differ.
import { again, ending } from "./again.js";
import { chart } from "./chart.js";
import { choice, fill, h, keepingFocus, table } from "./dom.js";
import * as format from "./format.js";
import { t, word } from "./i18n.js";
import * as store from "./store.js";

const FIRST = 6; // Runs that are drawn without being asked for.
const LOG_LINES = 200;
const LOSS = "loss or train_loss"; // Whichever there is, that of training first.
const HIDDEN = ["round", "wall"];

let main;
let about;
let parts;
let shown; // Names of the runs that are drawn; undefined: the newest.
let x = "round";
let ys = ["", LOSS]; // Empty: the headline metric.
let one = ""; // The run that is looked at.
let other = ""; // The one that it is held against.
let everything = false;

export function show(element, said) {
  [main, about] = [element, said];
  parts = Object.fromEntries(["list", "controls", "first", "second", "one"].map((name) => [name, h("div")]));
  parts.first.className = parts.second.className = "chart";
  fill(main, h("h1", {}, t("runs")), parts.list, h("section", { "aria-label": t("curves") }, parts.controls,
    h("div", { class: "charts" }, parts.first, parts.second)), parts.one);
  draw();
}

export function update(kinds) {
  if (["run", "rows", "job", "outcome", "log", "model"].some((kind) => kinds.has(kind))) draw();
}

function draw() {
  keepingFocus(main, () => {
    drawList();
    drawCharts();
    drawOne();
  });
}

const all = () => [...store.runs.values()].reverse();
const drawn = () => (shown ? all().filter((run) => shown.has(run.name)) : all().slice(0, FIRST));
const looked = () => store.runs.get(one) ?? all().find((run) => run.progress.status === "running") ?? all()[0];

const AMOUNTS = {
  round: (row) => row.round,
  seconds: (row) => row.seconds,
  bytes: (row) => {
    const moved = Object.entries(row).filter(([key]) => key.startsWith("up/") || key.startsWith("down/"));
    return moved.length ? moved.reduce((sum, [, amount]) => sum + amount, 0) : undefined;
  },
  joules: (row) => row.joules,
};
const TEXTS = {
  round: (value) => String(value),
  seconds: format.seconds,
  bytes: format.bytes,
  joules: format.joules,
};

function last(run, key) {
  const amount = AMOUNTS[key] ?? ((row) => row[key]);
  const row = store.rows.get(run.name)?.findLast((found) => Number.isFinite(amount(found)));
  return row && amount(row);
}

function drawList() {
  if (!store.runs.size) {
    fill(parts.list, h("p", {}, t("no runs")));
    return;
  }
  const names = new Set(drawn().map((run) => run.name));
  const text = (value, as) => (value === undefined ? "–" : as(value));
  const columns = [t("drawn"), t("run"), t("status"), t("method"), t("rounds"), t("metric"), t("time"), t("bytes"), t("energy")]
    .map((heading, i) => ({ text: heading, number: i > 3 }));
  fill(parts.list, table(t("runs"), columns, all().map((run) => [
    h("input", { type: "checkbox", checked: names.has(run.name), "aria-label": run.label, "data-focus": `drawn/${run.name}`,
      onchange: (event) => {
        shown = names;
        if (event.target.checked) shown.add(run.name);
        else shown.delete(run.name);
        draw();
      } }),
    h("button", { type: "button", class: "link", "data-focus": `one/${run.name}`, "aria-pressed": run === looked(), onclick: () => {
      one = run.name;
      draw();
    } }, run.label),
    h("span", { title: run.progress.why }, word("status", run.progress.status)),
    run.algorithm,
    `${run.progress.done} / ${run.rounds}`,
    run.headline ? `${run.headline} ${format.metric(run.headline, last(run, run.headline), run.unit)}` : "–",
    text(last(run, "seconds"), format.seconds),
    text(last(run, "bytes"), format.bytes),
    text(last(run, "joules"), format.joules),
  ])));
}

function drawCharts() {
  const runs = drawn();
  const keys = new Set(runs.flatMap((run) => Object.keys(store.rows.get(run.name)?.at(-1) ?? {})));
  for (const run of runs) if (run.headline) keys.add(run.headline);
  for (const key of HIDDEN) keys.delete(key);
  const options = [["", t("headline")], [LOSS, t("any loss")], ...[...keys].sort().map((key) => [key, key])];
  fill(parts.controls, h("div", { class: "bar" },
    choice(t("over"), Object.keys(AMOUNTS).map((key) => [key, t(`over.${key}`)]), x, (value) => {
      x = value;
      draw();
    }),
    ...ys.map((key, i) => choice(t("curve", { n: i + 1 }), options, key, (value) => {
      ys[i] = value;
      draw();
    }))));
  parts.controls.querySelectorAll("select").forEach((select, i) => {
    select.dataset.focus = `select/${i}`;
  });
  [parts.first, parts.second].forEach((element, i) => drawChart(element, runs, ys[i]));
}

const lossOf = (list) => (list.some((row) => Number.isFinite(row.train_loss)) ? "train_loss" : "loss");

function drawChart(element, runs, key) {
  const lines = runs.map((run) => {
    const list = store.rows.get(run.name) ?? [];
    const y = key === LOSS ? lossOf(list) : key || run.headline;
    const points = list
      .map((row) => [AMOUNTS[x](row), row[y]]).filter((point) => point.every(Number.isFinite));
    return { label: run.label, xs: points.map(([at]) => at), ys: points.map(([, value]) => value) };
  });
  const name = (key === LOSS ? t("any loss") : key) || runs[0]?.headline || t("metric");
  const plain = (value) => format.metric(name, value);
  const yText = /^(up|down)\//.test(name) ? format.bytes : TEXTS[name] ?? plain;
  chart(element, lines, { xLabel: t(`over.${x}`), yLabel: name, xText: TEXTS[x], yText, whole: x === "round", empty: t("no rows") });
}

// One run.

function drawOne() {
  const run = looked();
  if (!run) {
    fill(parts.one);
    return;
  }
  const asks = about.calls.includes("approval") && ["waiting", "queued", "running"].includes(run.progress.status);
  fill(parts.one, h("h2", {}, run.label),
    run.progress.why && h("p", {}, run.progress.why),
    asks && h("p", {}, h("a", { href: `#/trust/${encodeURIComponent(run.name)}`, "data-focus": "does" }, t("what it does"))),
    ending(run), onceMore(run), outcome(run), settings(run), log(run));
}

// What is typed there stays while the run goes on; another state may bring other buttons.
function onceMore(run) {
  const made = `${run.name} ${run.progress.status} ${store.models.size}`;
  if (parts.madeFor !== made) [parts.madeFor, parts.again] = [made, again(run, about)];
  return parts.again;
}

function bars(values, name, unit) {
  const most = Math.max(...values.map(([, value]) => value), Number.MIN_VALUE);
  return values.map(([label, value, text]) => [label,
    h("meter", { min: 0, max: most, value, "aria-label": label }), text ?? format.metric(name, value, unit)]);
}

function outcome(run) {
  const found = store.outcomes.get(run.name);
  if (!found) return null;
  const { headline, unit } = run;
  const fogs = found.fogs && Object.entries(found.fogs.values);
  const bins = found.devices?.bins.map(([mean, devices]) => [format.metric(headline, mean, unit), devices, format.number(devices)]);
  const columns = (first, second) => [{ text: first }, { text: "" }, { text: second, number: true }];
  const baselines = Object.entries(found.baselines).map(([name, value]) => [name, format.metric(headline, value, unit)]);
  const counts = Object.entries(found.counts).filter(([, n]) => n).map(([what, n]) => [what, format.number(n), found.reasons[what] ?? ""]);
  return h("div", { class: "columns" },
    fogs && fogs.length > 0 && h("section", {}, h("h3", {}, t("by fog")), table(t("by fog"), columns(t("node"), headline), bars(fogs, headline, unit))),
    bins && bins.length > 0 && h("section", {}, h("h3", {}, t("by device")), table(t("by device"), columns(headline, t("devices")), bars(bins, headline, unit))),
    baselines.length > 0 && h("section", {}, h("h3", {}, t("baselines")), table(t("baselines"), [{ text: t("name") }, { text: headline, number: true }], baselines)),
    counts.length > 0 && h("section", {}, h("h3", {}, t("mishaps")), table(t("mishaps"), [{ text: t("name") }, { text: t("count"), number: true }, { text: t("first reason") }], counts)));
}

function settings(run) {
  const mine = store.jobs.get(run.name);
  if (!mine) return null;
  const others = all().filter((found) => found !== run && store.jobs.has(found.name));
  const yours = store.jobs.get(other);
  const text = (value) => (value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value));
  const keys = [...new Set([...Object.keys(mine), ...Object.keys(yours ?? {})])].sort();
  const differ = (key) => yours && text(mine[key]) !== text(yours[key]);
  const listed = yours && !everything ? keys.filter(differ) : keys;
  const columns = [{ text: t("key") }, { text: run.label }, ...(yours ? [{ text: store.runs.get(other).label }] : [])];
  const rows = listed.map((key) => [differ(key) ? h("strong", {}, key) : key, text(mine[key]), ...(yours ? [text(yours[key])] : [])]);
  const opened = parts.settingsOpen ?? false;
  const details = h("details", { open: opened, ontoggle: () => {
    parts.settingsOpen = details.open;
  } }, h("summary", { "data-focus": "settings" }, t("settings")),
  h("div", { class: "bar" },
    others.length > 0 && choice(t("against"), [["", t("nobody")], ...others.map((found) => [found.name, found.label])], other, (value) => {
      other = value;
      draw();
    }),
    yours && h("label", { class: "choice" }, h("input", { type: "checkbox", checked: everything, onchange: (event) => {
      everything = event.target.checked;
      draw();
    } }), h("span", {}, t("all keys")))),
  yours && !rows.length ? h("p", {}, t("same")) : table(t("settings"), columns, rows));
  details.querySelectorAll("select, input").forEach((element, i) => {
    element.dataset.focus = `settings/${i}`;
  });
  return details;
}

function log(run) {
  const lines = store.logs.get(run.name);
  if (!lines?.length) return null;
  const rows = lines.filter((line) => !line.row).slice(-LOG_LINES).reverse()
    .map((line) => [format.when(line.at), line.round || "", line.node, line.what, [line.child, line.why].filter(Boolean).join(": ")]);
  const columns = [t("when"), t("round#"), t("node"), t("what"), t("why")].map((text) => ({ text }));
  return h("section", {}, h("h3", {}, t("log")), table(t("log"), columns, rows));
}
