// The tree, live: the root and its round, a card for each aggregator, a square for each device; below it one of them in
// full, with its devices as a list.
import * as dots from "./dots.js";
import { choice, fill, h, keepingFocus, table } from "./dom.js";
import { index, lettersOf, STATES, totals } from "./fleet.js";
import * as format from "./format.js";
import { t } from "./i18n.js";
import * as store from "./store.js";

const MOST_CARDS = 120;
const BY_NAME = 12; // So many devices of a card are named; more of them are squares.
const MOST_ROWS = 100;
const PADDING = 30; // Pixels of a card at both sides together, as style.css has it.

// Cards that are in view: the squares of others are drawn when they come into it.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.inView = isIntersecting;
    if (isIntersecting) target.drawSquares?.();
  }
}, { rootMargin: "200px" });

let main;
let at; // Name of the aggregator that is shown in full; empty: the whole tree.
let chosen = ""; // Whose tree.
let wanted = ""; // What is searched for.
let only = ""; // The state to which the list is narrowed.
let all = false; // Whether also more cards than can be looked at are shown.
let built; // What is built, so that the next news only fill it.

export function show(element, about, rest) {
  main = element;
  at = rest[0] ?? "";
  built = undefined;
  draw();
}

export function update(kinds) {
  if (["nodes", "tree", "run", "rows"].some((kind) => kinds.has(kind))) draw();
}

// The tree that is asked for, or that of a run that is under way, or the last one.
function pick() {
  const names = [...store.nodes.keys()];
  if (names.includes(chosen)) return chosen;
  return names.find((name) => store.runs.get(name)?.progress.status === "running") ?? names.at(-1);
}

function draw() {
  const name = pick();
  const nodes = store.nodes.get(name);
  if (!nodes) {
    fill(main, h("h1", {}, t("tree")), h("p", {}, t("no tree")));
    return;
  }
  const tree = store.trees.get(name) ?? { states: "", rounds: [], round: 0, down: {}, up: {}, seconds: 0 };
  const shape = `${name}/${at}/${all}`;
  if (built?.shape !== shape || built.nodes !== nodes) {
    built = { shape, nodes, ...(index(nodes).places.has(at) ? buildOne(nodes) : buildAll(name, nodes)) };
  }
  keepingFocus(main, () => built.refresh(nodes, tree, name));
}

// Parts of both views.

function legend(counts) {
  return STATES.filter((state) => counts[state] || "tw".includes(state)).map((state) =>
    h("li", { class: `state ${state}` }, h("b", {}, format.number(counts[state])), ` ${t(`state.${state}`)}`));
}

function inWords(counts) {
  return STATES.filter((state) => counts[state]).map((state) => `${counts[state]} ${t(`state.${state}`)}`).join(", ");
}

// What a round waits for, in a sentence.
function waiting(round) {
  if (!round) return "";
  if (round.away) return t("away", { why: round.away });
  if (!round.open) return t("no round");
  if (!round.waits) return t("adds up", { here: round.here });
  const others = round.waits - round.names.slice(0, 3).length;
  const names = round.names.slice(0, 3).join(", ") + (others > 0 ? ` + ${others}` : "");
  return t("waits", { waits: round.waits, names, need: round.need, quorum: round.quorum });
}

function bytesOf(round) {
  return round && (round.sent || round.received) ? `↓ ${format.bytes(round.sent)} ↑ ${format.bytes(round.received)}` : "";
}

function search(onsearch) {
  return h("label", { class: "choice" }, h("span", {}, t("search")),
    h("input", { type: "search", value: wanted, oninput: (event) => {
      wanted = event.target.value.trim().toLowerCase();
      onsearch();
    } }));
}

// The run of a tree: the fleet has none of its own, and shows that which is under way, or was last.
function runOf(name) {
  const all_ = [...store.runs.values()];
  return store.runs.get(name) ?? all_.findLast((run) => run.progress.status === "running") ?? all_.at(-1);
}

function head(run, tree) {
  const rounds = run ? t("round of", { round: run.progress.done, rounds: run.rounds }) : t("round", { round: tree.round });
  const row = store.rows.get(run?.name)?.findLast((one) => one[run?.headline] !== undefined && one[run.headline] !== null);
  const facts = [
    run && run.label,
    run && t(`status.${run.progress.status}`),
    (run || tree.round > 0) && rounds,
    row && `${run.headline} ${format.metric(run.headline, row[run.headline], run.unit)}`,
    tree.seconds > 0 && t("clock", { time: format.seconds(tree.seconds) }),
  ];
  return facts.filter(Boolean).map((fact) => h("li", {}, fact));
}

// The whole tree.

function buildAll(name, nodes) {
  const { tiers } = index(nodes);
  const facts = h("ul", { class: "facts" });
  const states = h("ul", { class: "states", "aria-label": t("states") });
  const found = h("div", { class: "found" });
  const tierViews = tiers.map((tier) => tierView(nodes, tier));
  const names = [...store.nodes.keys()];
  const pickers = names.length > 1 && choice(t("run"), names.map((one) => [one, one]), name, (value) => {
    chosen = value;
    draw();
  });
  fill(main, h("h1", {}, t("tree")), h("div", { class: "bar" }, pickers, search(draw)), facts, states, found,
    h("div", { class: "tree" }, tierViews.map((view) => view.element)));
  return {
    refresh: (known, tree, of) => {
      fill(facts, head(runOf(of), tree));
      const sums = totals(known, tree.states);
      const root = known.aggregators.findIndex((node) => !node.parent);
      fill(states, legend(sums[root]));
      fill(found, wanted && matches(known, tree));
      for (const view of tierViews) view.refresh(tree, sums);
    },
  };
}

function tierView(nodes, tier) {
  const places = nodes.aggregators.flatMap((node, i) => (node.tier === tier ? [i] : []));
  const shown = all ? places : places.slice(0, MOST_CARDS);
  const cards = shown.map((i) => card(nodes, i));
  const traffic = h("span", { class: "quiet" });
  const more = places.length > shown.length && h("button", { type: "button", onclick: () => {
    all = true;
    draw();
  } }, t("show all", { n: places.length }));
  const element = h("section", { class: "tier" },
    h("h2", {}, `${tier} `, places.length > 1 && h("span", { class: "quiet" }, `× ${places.length} `), traffic),
    h("div", { class: "cards" }, cards.map((one) => one.element)), more);
  return {
    element,
    refresh: (tree, sums) => {
      const [down, up] = [tree.down[tier], tree.up[tier]];
      traffic.textContent = down || up ? `↓ ${format.bytes(down ?? 0)} ↑ ${format.bytes(up ?? 0)}` : "";
      refreshAll(cards, tree, sums);
    },
  };
}

// Widths are read before anything is written: else the browser would lay the page out anew for every card.
function refreshAll(cards, tree, sums) {
  const widths = cards.map((one) => one.width());
  cards.forEach((one, i) => one.refresh(tree, sums, widths[i]));
}

function card(nodes, i) {
  const node = nodes.aggregators[i];
  const canvas = h("canvas", { role: "img" });
  const names = h("ul", { class: "names" });
  const says = h("p", { class: "says" });
  const sums = h("p", { class: "quiet" });
  const element = h("a", { class: "card", href: `#/tree/${encodeURIComponent(node.name)}`, "data-focus": node.name },
    h("h3", {}, node.name), says, names, h("div", { class: "dots" }, canvas), sums);
  seen.observe(element);
  return {
    element,
    width: () => element.clientWidth - PADDING, // Of what is inside, the browser has no width while it is out of view.
    refresh: (tree, all_, width) => {
      const round = tree.rounds[i];
      const letters = lettersOf(nodes, tree.states, i);
      const words = inWords(all_[i]);
      element.classList.toggle("open", Boolean(round?.open));
      element.classList.toggle("away", Boolean(round?.away));
      says.textContent = waiting(round);
      sums.textContent = [words, bytesOf(round)].filter(Boolean).join(" · ");
      canvas.hidden = letters.length <= BY_NAME;
      names.hidden = !canvas.hidden || !letters;
      canvas.setAttribute("aria-label", words);
      element.drawSquares = () => dots.draw(canvas, letters, width);
      if (!canvas.hidden && element.inView) element.drawSquares();
      if (!names.hidden && names.drawn !== letters) {
        names.drawn = letters;
        fill(names, index(nodes).devices[i].map((device, at_) =>
          h("li", { class: `state ${letters[at_]}`, title: t(`state.${letters[at_]}`) }, nodes.devices[device])));
      }
    },
  };
}

function matches(nodes, tree) {
  const found = [];
  for (let i = 0; i < nodes.devices.length && found.length < MOST_ROWS; i += 1) {
    if (nodes.devices[i].toLowerCase().includes(wanted)) found.push(i);
  }
  const aggregators = nodes.aggregators.filter((node) => node.name.toLowerCase().includes(wanted)).slice(0, MOST_ROWS);
  if (!found.length && !aggregators.length) return h("p", {}, t("nothing found"));
  const rows = [
    ...aggregators.map((node) => [link(node.name), node.tier, "", link(node.parent)]),
    ...deviceRows(nodes, tree, found),
  ];
  return table(t("found"), columns(), rows);
}

function columns() {
  return [t("node"), t("tier"), t("state"), t("below")].map((text) => ({ text }));
}

function link(name) {
  return name && h("a", { href: `#/tree/${encodeURIComponent(name)}` }, name);
}

function deviceRows(nodes, tree, devices) {
  return devices.map((i) => {
    const state = tree.states[i] ?? "w";
    const name = nodes.devices[i];
    const known = store.members.get(name);
    return [name, t("device"), h("span", { class: `state ${state}`, title: known?.why }, t(`state.${state}`)),
      link(nodes.aggregators[nodes.homes[i]].name)];
  });
}

// One aggregator.

function buildOne(nodes) {
  const i = index(nodes).places.get(at);
  const node = nodes.aggregators[i];
  const says = h("p", { class: "says" });
  const states = h("ul", { class: "states", "aria-label": t("states") });
  const list = h("div");
  const below = index(nodes).below[i].map((child) => card(nodes, child));
  const pickState = choice(t("state"), [["", t("all")], ...STATES.map((state) => [state, t(`state.${state}`)])], only,
    (value) => {
      only = value;
      draw();
    });
  const devices = index(nodes).devices[i];
  fill(main, h("nav", { "aria-label": t("way") }, h("a", { href: "#/tree" }, t("whole tree")),
    node.parent && [" › ", link(node.parent)]),
  h("h1", {}, node.name), says, states, h("div", { class: "cards" }, below.map((one) => one.element)),
  devices.length > 0 && h("div", { class: "bar" }, search(draw), pickState), list);
  return {
    refresh: (known, tree) => {
      const sums = totals(known, tree.states);
      says.textContent = [waiting(tree.rounds[i]), bytesOf(tree.rounds[i])].filter(Boolean).join(" · ");
      fill(states, legend(sums[i]));
      refreshAll(below, tree, sums);
      const fits = devices.filter((device) =>
        (!only || (tree.states[device] ?? "w") === only) && known.devices[device].toLowerCase().includes(wanted));
      fill(list, devices.length > 0 && table(t("devices"), columns(), deviceRows(known, tree, fits.slice(0, MOST_ROWS))),
        fits.length > MOST_ROWS && h("p", { class: "quiet" }, t("more", { n: fits.length - MOST_ROWS })));
    },
  };
}
